//! Lengths that lie, with checksums that do not: refused, in memory bounded by the file.

use super::*;
use crate::storage::format::{
    FRAME_ALIGN, HEADER_BYTES, PAYLOAD_BYTES_MAX, PROLOGUE_BYTES, SHORT_HEADER_BYTES,
};
use crate::storage::frame::Salt;

/// The salt of a file, from its prologue.
fn salt(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[16..24].try_into().unwrap())
}

/// Gives the header at `at` another payload length, and a checksum that fits.
fn lie(bytes: &mut [u8], at: usize, len: u32) {
    let is_short = bytes[at] & 0xe0 != 0;
    let (field, header_crc) =
        if is_short { (at + 8..at + 11, at + 28) } else { (at + 4..at + 8, at + 52) };
    bytes[field.clone()].copy_from_slice(&len.to_le_bytes()[..field.len()]);
    let seed = crc32c::crc32c(&salt(bytes).to_le_bytes());
    let seed = crc32c::crc32c_append(seed, &(at as u64).to_le_bytes());
    let crc = crc32c::crc32c_append(seed, &bytes[at..header_crc]);
    bytes[header_crc..header_crc + 4].copy_from_slice(&crc.to_le_bytes());
}

fn closed() -> SimFs {
    let fs = SimFs::new(1);
    let store = open(&fs);
    append(store.log(), 0..6, 100);
    publish_snapshot(&store, 2).unwrap();
    store.close().unwrap();
    fs.kill()
}

#[test]
fn a_frame_longer_than_its_file_is_corrupt_and_costs_no_memory() {
    let lengths = [PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX - 8, (1 << 24) - 1, 1 << 20, 5000];
    for len in lengths.map(|len| u32::try_from(len).unwrap()) {
        // The state frame has a long header, the entries behind it have short ones.
        let entry = SHORT_HEADER_BYTES + 100usize.next_multiple_of(FRAME_ALIGN);
        let entries = [208, 208 + entry].into_iter().filter(|_| len >> 24 == 0);
        for at in entries.chain([PROLOGUE_BYTES]) {
            let fs = closed();
            let mut bytes = fs.read_file(&segment(1)).unwrap();
            lie(&mut bytes, at, len);
            assert!(
                crate::storage::frame::check_header(
                    &bytes[at..],
                    Salt::new(salt(&bytes), 1),
                    at as u64
                )
                .is_some_and(|checked| checked.header.payload_len == len),
                "the lie is a good one"
            );
            fs.write_file(&segment(1), &bytes).unwrap();
            let error = try_open(&fs).unwrap_err();
            assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
        }
        let fs = closed();
        let file = manifest(&fs);
        let good = fs.read_file(&file).unwrap();
        for at in [PROLOGUE_BYTES, PROLOGUE_BYTES + HEADER_BYTES + 8] {
            let mut bytes = good.clone();
            lie(&mut bytes, at, len);
            fs.write_file(&file, &bytes).unwrap();
            let error = try_open(&fs).unwrap_err();
            assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
        }
    }
}

#[test]
fn a_file_longer_than_any_segment_is_corrupt_without_being_read() {
    use crate::env::fs::{Fs, OpenHow};
    for file in [segment(1), path("log/WATERMARK")] {
        let fs = closed();
        let long = fs.open(&file, OpenHow::ReadWrite).unwrap();
        long.set_len(crate::env::fs_sim::FILE_BYTES_MAX).unwrap();
        drop(long);
        let opened = try_open(&fs);
        if file == segment(1) {
            let error = opened.unwrap_err();
            assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
        } else {
            assert_eq!(indexes(opened.unwrap().log()).len(), 6);
        }
    }
}

#[test]
fn a_manifest_may_be_followed_by_nothing() {
    let fs = closed();
    let file = manifest(&fs);
    let mut bytes = fs.read_file(&file).unwrap();
    bytes.resize(bytes.len() + 4096, 0);
    fs.write_file(&file, &bytes).unwrap();
    let error = try_open(&fs).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
}
