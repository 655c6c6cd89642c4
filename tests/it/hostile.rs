//! Row S27, seen from outside: lengths that lie. Huge sparse files and frames that promise more
//! than there is are refused at once, and memory stays near what is there.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hightower_kv::{Error, KvEngine, ReadOnlyEngine, SingleNodeEngine};

use crate::alone::run_alone;
use crate::support::{REAL_MACHINE, real_config, skipped};

const TEBIBYTE: u64 = 1 << 40;

/// A closed store on the real disk, with a snapshot and more than one segment.
fn closed_store(directory: &Path) -> PathBuf {
    let path = directory.join("data");
    let mut config = real_config(&path);
    // So that there are segments.
    config.emit_snapshot_after_compaction = false;
    let engine = SingleNodeEngine::with_config(config).unwrap();
    for key in 0..100_u8 {
        engine.put(vec![key], vec![key; 500]).unwrap();
    }
    engine.run_compaction_now().unwrap();
    for key in 0..200_u8 {
        engine.put(vec![key], vec![key; 700]).unwrap();
    }
    engine.close().unwrap();
    path
}

/// The greatest memory this process has had, in bytes; `None` where the system does not say.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

fn files(path: &Path) -> Vec<PathBuf> {
    crate::support::bytes_below(path).into_keys().collect()
}

#[test]
fn a_sparse_file_of_a_tebibyte_is_refused_without_being_read() {
    let _alone = REAL_MACHINE.lock();
    if run_alone("hostile::a_sparse_file_of_a_tebibyte_is_refused_without_being_read").is_some() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = closed_store(directory.path());
    let before = peak_memory();
    for file in files(&path) {
        let open = OpenOptions::new().write(true).open(&file).unwrap();
        let len = open.metadata().unwrap().len();
        if let Err(error) = open.set_len(TEBIBYTE) {
            return skipped(&format!("no sparse files here: {error}"));
        }
        for writing in [false, true] {
            let error = if writing {
                SingleNodeEngine::with_config(real_config(&path)).err()
            } else {
                ReadOnlyEngine::open(&path).err()
            };
            let spare = ["LOCK", "WATERMARK"].iter().any(|name| file.ends_with(name));
            match error {
                None => assert!(spare, "{}", file.display()),
                Some(error) => {
                    assert!(matches!(error, Error::Corrupt(_)), "{}: {error}", file.display());
                    let name = file.file_name().unwrap().to_string_lossy();
                    assert!(error.to_string().contains(&*name), "{error}");
                }
            }
        }
        open.set_len(len).unwrap();
    }
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        assert!(after < before + (512 << 20), "memory went from {before} to {after} bytes");
    } else {
        skipped("this system does not tell how much memory a process had");
    }
}

/// The salt in the prologue of a segment or a snapshot.
fn salt_of(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.get(16..24).unwrap().try_into().unwrap())
}

/// A header that checks and promises `len` bytes of payload, in place of the one at `offset`;
/// `None` where it is a short one that cannot.
fn lie(bytes: &[u8], offset: usize, len: u32) -> Option<Vec<u8>> {
    let rest = bytes.get(offset..).unwrap();
    let is_short = rest.first().unwrap() & 0xe0 != 0;
    let (header_bytes, field) = if is_short { (32, 8..11) } else { (56, 4..8) };
    let len = len.to_le_bytes();
    let (told, beyond) = len.split_at(field.len());
    let mut header = rest.get(..header_bytes).unwrap().to_vec();
    header.splice(field, told.iter().copied());
    let salt = crc32c::crc32c(&salt_of(bytes).to_le_bytes());
    let seed = crc32c::crc32c_append(salt, &(offset as u64).to_le_bytes());
    header.truncate(header_bytes - 4);
    let checksum = crc32c::crc32c_append(seed, &header);
    header.extend_from_slice(&checksum.to_le_bytes());
    beyond.iter().all(|&byte| byte == 0).then_some(header)
}

#[test]
fn a_frame_that_promises_more_than_there_is_is_refused() {
    let _alone = REAL_MACHINE.lock();
    if run_alone("hostile::a_frame_that_promises_more_than_there_is_is_refused").is_some() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = closed_store(directory.path());
    let before = peak_memory();
    let mut tried = 0;
    for file in files(&path) {
        let bytes = std::fs::read(&file).unwrap();
        // Tables have no frames; what their lengths may say is tried where they are read.
        if bytes.len() < 512 || file.extension().is_some_and(|it| it == "tbl") {
            continue;
        }
        let open = OpenOptions::new().write(true).open(&file).unwrap();
        // The first frame, the state frame of a segment and the head of a manifest; and the one
        // behind it.
        let first = 40;
        let len = u32::from_le_bytes(bytes.get(first + 4..first + 8).unwrap().try_into().unwrap());
        let second = first + 56 + usize::try_from(len).unwrap().next_multiple_of(8);
        for offset in [first, second] {
            let shorter = [1 << 20, (1 << 24) - 8, (1 << 24) - 1];
            let longer = [(1 << 30) - 64, 1 << 30, (1 << 30) + 1, u32::MAX - 7, u32::MAX];
            for len in shorter.into_iter().chain(longer) {
                let honest = bytes.get(offset..offset + 56).unwrap();
                let Some(lie) = lie(&bytes, offset, len) else { continue };
                open.write_all_at(&lie, offset as u64).unwrap();
                let error = SingleNodeEngine::with_config(real_config(&path)).unwrap_err();
                assert!(matches!(error, Error::Corrupt(_)), "{}: {error}", file.display());
                let error = ReadOnlyEngine::open(&path).unwrap_err();
                assert!(matches!(error, Error::Corrupt(_)), "{}: {error}", file.display());
                open.write_all_at(honest, offset as u64).unwrap();
                tried += 1;
            }
        }
    }
    assert!(tried >= 24, "{tried}");
    assert_eq!(ReadOnlyEngine::open(&path).unwrap().view().len(), 200);
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        assert!(after < before + (512 << 20), "memory went from {before} to {after} bytes");
    }
}
