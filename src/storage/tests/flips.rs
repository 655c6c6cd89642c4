//! Every bit of every file of a cleanly closed directory, flipped.

use super::*;
use crate::storage::store::ReadOnlyStore;

type Content = (HardState, Vec<Entry>, Option<Snapshot>);

fn read(store: &Store) -> Result<Content, StorageError> {
    let (hard, entries) = read_log(store.log())?;
    let snapshot = read_snapshot(store.tables())?;
    Ok((hard, entries, snapshot))
}

/// A few segments, one with a rewritten tail before it, and a snapshot.
fn small() -> SimFs {
    let fs = SimFs::new(1);
    let options = StoreOptions { reserve_bytes: 64, ..options() };
    let store = open_with(&fs, &options).unwrap();
    append(store.log(), 0..8, 40);
    store.log().save_vote(vote(3)).unwrap();
    append(store.log(), 8..10, 700);
    drop(store);
    let store = open_with(&fs, &options).unwrap();
    store.log().truncate_after(Some(id(8))).unwrap();
    append(store.log(), 9..14, 600);
    store.log().save_committed(id(11)).unwrap();
    publish_snapshot(&store, 4).unwrap();
    store.log().purge(id(4)).unwrap();
    store.close().unwrap();
    fs.kill()
}

fn named(error: &StorageError) -> Option<&Path> {
    match error {
        StorageError::Corrupt { file, .. }
        | StorageError::UnsupportedFormat { file, .. }
        | StorageError::MissingFile { file, .. }
        | StorageError::TailAmbiguous { file, .. } => Some(file),
        StorageError::MissingSegment { directory, .. } => Some(directory),
        _ => None,
    }
}

/// What becomes of a directory in which `file` is damaged: refused by name with nothing written, or
/// read exactly as before. Returns whether it was refused.
fn refused_or_harmless(fs: &SimFs, file: &Path, before: &Content, what: &str) -> bool {
    let damaged = fs.files();
    let reader = ReadOnlyStore::open(env(fs), Path::new(ROOT), table_options());
    let readable = reader.is_ok();
    drop(reader);
    assert_eq!(fs.files(), damaged, "{what}");
    let options = StoreOptions { reserve_bytes: 64, ..options() };
    let opened = open_with(fs, &options);
    assert_eq!(opened.is_ok(), readable, "{what}");
    if opened.is_err() {
        assert_eq!(fs.files(), damaged, "{what}");
    }
    match opened.and_then(|store| read(&store)) {
        Ok(content) => {
            assert_eq!(content, *before, "{what}");
            false
        }
        Err(error) => {
            assert_eq!(named(&error), Some(file), "{what}: {error}");
            true
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_by_name_or_harmless() {
    let clean = small();
    let before = read(&open(&clean.kill())).unwrap();
    let (mut tried, mut refused) = (0, 0);
    for (file, bytes) in clean.files() {
        let mut harmless = 0;
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let fs = clean.kill();
            fs.write_file(&file, &flipped).unwrap();
            let what = format!("{} bit {bit}", file.display());
            tried += 1;
            if refused_or_harmless(&fs, &file, &before, &what) {
                refused += 1;
            } else {
                harmless += 1;
            }
        }
        let whole = ["LOCK", "WATERMARK", "RESERVE"].iter().any(|name| file.ends_with(name));
        assert!(!whole || harmless == bytes.len() * 8, "{}", file.display());
        println!("{}: {} bits, {harmless} harmless", file.display(), bytes.len() * 8);
    }
    println!("{tried} bits, {refused} refused");
    assert!(refused > tried / 2);
}

#[test]
fn every_zeroed_sector_is_refused_by_name_or_harmless() {
    let clean = small();
    let before = read(&open(&clean.kill())).unwrap();
    for (file, bytes) in clean.files() {
        for sector in 0..bytes.len().div_ceil(512) {
            let mut zeroed = bytes.clone();
            let end = bytes.len().min((sector + 1) * 512);
            zeroed[sector * 512..end].fill(0);
            let fs = clean.kill();
            fs.write_file(&file, &zeroed).unwrap();
            let what = format!("{} sector {sector}", file.display());
            refused_or_harmless(&fs, &file, &before, &what);
        }
    }
}

#[test]
fn every_shortened_file_is_refused_by_name_or_harmless() {
    let clean = small();
    let before = read(&open(&clean.kill())).unwrap();
    for (file, bytes) in clean.files() {
        for len in (0..bytes.len()).step_by(4) {
            let fs = clean.kill();
            fs.write_file(&file, &bytes[..len]).unwrap();
            let what = format!("{} cut to {len}", file.display());
            refused_or_harmless(&fs, &file, &before, &what);
        }
    }
}
