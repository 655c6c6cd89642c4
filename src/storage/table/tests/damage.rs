//! What becomes of a table whose bytes changed: told, with the file, and never served.

use super::*;
use crate::storage::format::{TABLE_BLOCK_HEADER_BYTES, TABLE_MAGIC};
use crate::storage::prologue::Prologue;
use crate::storage::table::block_file::block_header;

/// A table of a few blocks, its bytes, and where it stands.
struct Subject {
    machine: Simulated,
    scratch: Scratch,
    rows: Rows,
    summary: TableSummary,
    bytes: Vec<u8>,
}

impl Subject {
    fn new(compression: Compression) -> Self {
        let (machine, scratch) = machine();
        let rows = some_rows(12);
        let summary = write(&scratch, options(compression, 200), &rows);
        let bytes = machine.fs.read_file(&scratch.path(TableId(1))).unwrap();
        Self { machine, scratch, rows, summary, bytes }
    }

    /// Puts other bytes in place of the file, and says what reading all of it finds.
    fn read(&self, bytes: &[u8]) -> Result<(), StorageError> {
        self.machine.fs.write_file(&self.scratch.path(TableId(1)), bytes).unwrap();
        // No neighbours are read and nothing is cached: each look finds the damage itself.
        let table = self.scratch.open(&self.summary, &Arc::new(BlockCache::new(0)))?;
        let mut told = None;
        for (key, record) in &self.rows {
            match table.get(key) {
                Ok(found) => assert_eq!(found.as_ref(), Some(record), "a wrong answer"),
                Err(error) => told = Some(error),
            }
        }
        for direction in [Direction::Forward, Direction::Backward] {
            let found = TableCursor::seek(&table, direction, Bound::Unbounded).and_then(collect);
            match found {
                Ok(found) => assert_eq!(found, expected(&self.rows, direction, Bound::Unbounded)),
                Err(error) => told = Some(error),
            }
        }
        let verified = table.verify();
        assert_eq!(verified.is_err(), told.is_some() || bytes != self.bytes);
        told.map_or(verified, Err)
    }

    fn assert_told(&self, bytes: &[u8], what: &str) -> u64 {
        match self.read(bytes) {
            Err(StorageError::Corrupt { file, offset, .. }) => {
                assert_eq!(file, self.scratch.path(TableId(1)), "{what}");
                offset
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn every_flipped_bit_is_told() {
    for compression in compressions() {
        let subject = Subject::new(compression);
        subject.read(&subject.bytes).unwrap();
        for bit in 0..subject.bytes.len() * 8 {
            let mut bytes = subject.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let offset = subject.assert_told(&bytes, &format!("bit {bit}"));
            // Where a part begins that has the bit.
            assert!(offset <= bit as u64 / 8, "bit {bit} told at {offset}");
        }
    }
}

#[test]
fn damage_in_a_block_is_told_with_the_offset_of_the_block() {
    let subject = Subject::new(Compression::Off);
    let mut bytes = subject.bytes.clone();
    bytes[PROLOGUE_BYTES + 20] ^= 1;
    assert_eq!(subject.assert_told(&bytes, "first block"), PROLOGUE_BYTES as u64);
    let table = open(&subject.scratch, &subject.summary);
    let last = subject.rows.last_key_value().unwrap();
    assert_eq!(table.get(last.0).unwrap().as_ref(), Some(last.1), "other blocks can be read");
}

#[test]
fn a_shorter_or_longer_file_is_told() {
    let subject = Subject::new(Compression::Off);
    for len in 0..subject.bytes.len() {
        subject.assert_told(&subject.bytes[..len], &format!("cut to {len}"));
    }
    subject.assert_told(&[&subject.bytes[..], &[0]].concat(), "a byte more");
}

#[test]
fn zeros_are_told() {
    let subject = Subject::new(Compression::Lz4);
    for at in (0..subject.bytes.len()).step_by(16) {
        let mut bytes = subject.bytes.clone();
        let end = bytes.len().min(at + 32);
        bytes[at..end].fill(0);
        if bytes != subject.bytes {
            subject.assert_told(&bytes, &format!("zeros at {at}"));
        }
    }
    subject.assert_told(&vec![0; subject.bytes.len()], "all zero");
}

#[test]
fn a_block_in_the_place_of_another_is_told() {
    let (machine, scratch) = machine();
    let rows: Rows = (0..8_u8).map(|n| (vec![n], record(Some(&[n; 90]), 1))).collect();
    let summary = write(&scratch, options(Compression::Off, 91), &rows);
    let path = scratch.path(TableId(1));
    let mut bytes = machine.fs.read_file(&path).unwrap();
    let index_at = bytes.len() - TABLE_FOOTER_BYTES;
    let index_at = u64::from_le_bytes(bytes[index_at..index_at + 8].try_into().unwrap());
    let block = (usize::try_from(index_at).unwrap() - PROLOGUE_BYTES) / 8;
    bytes.copy_within(PROLOGUE_BYTES..PROLOGUE_BYTES + block, PROLOGUE_BYTES + block);
    machine.fs.write_file(&path, &bytes).unwrap();
    let table = open(&scratch, &summary);
    assert!(table.get(&[0]).unwrap().is_some());
    assert!(matches!(table.get(&[1]), Err(StorageError::Corrupt { .. })));
}

/// A table is not only what this release writes: another node may have sent it.
#[test]
fn a_block_whose_keys_belong_to_another_is_told_by_whatever_reads_it() {
    let (machine, scratch) = machine();
    let rows: Rows = (1..9_u8).map(|n| (vec![n * 8], record(Some(&[n; 90]), 1))).collect();
    let summary = write(&scratch, options(Compression::Off, 91), &rows);
    let path = scratch.path(TableId(1));
    let whole = machine.fs.read_file(&path).unwrap();
    let salt = Prologue::decode_any(&whole, TABLE_MAGIC, &path).unwrap().salt();
    let index_at = whole.len() - TABLE_FOOTER_BYTES;
    let index_at = u64::from_le_bytes(whole[index_at..index_at + 8].try_into().unwrap());
    let block_bytes = (usize::try_from(index_at).unwrap() - PROLOGUE_BYTES) / 8;
    // The key of a block, and whether it may stand there.
    for (block, key, may_be) in [
        (0, 7, false),
        (3, 24, false),
        (3, 32, true),
        (3, 40, false),
        (7, 64, true),
        (7, 65, false),
    ] {
        let mut bytes = whole.clone();
        let at = PROLOGUE_BYTES + block * block_bytes;
        let (head, content) = bytes[at..at + block_bytes].split_at_mut(TABLE_BLOCK_HEADER_BYTES);
        content[0] = key;
        let len = content.len();
        head.copy_from_slice(&block_header(salt, at as u64, 0, len, &[content]));
        machine.fs.write_file(&path, &bytes).unwrap();
        let is_told = |read: Result<(), StorageError>| match read {
            Ok(()) => false,
            Err(StorageError::Corrupt { offset, .. }) => offset == at as u64,
            Err(error) => panic!("{error}"),
        };
        for direction in [Direction::Forward, Direction::Backward] {
            let table = open(&scratch, &summary);
            let scanned = TableCursor::seek(&table, direction, Bound::Unbounded);
            let scanned = scanned.and_then(collect).map(drop);
            assert_eq!(!is_told(scanned), may_be, "{key} in block {block}");
        }
        let table = open(&scratch, &summary);
        table.make_image();
        assert_eq!(table.has_image(), may_be, "{key} in block {block}");
    }
}

#[test]
fn a_table_of_another_number_directory_or_content_is_refused() {
    let subject = Subject::new(Compression::Off);
    let refused = |scratch: &Scratch, summary: &TableSummary, bytes: &[u8]| {
        let disk = &subject.machine.fs;
        disk.write_file(&scratch.path(summary.id), bytes).unwrap();
        let error = scratch.open(summary, &Arc::new(BlockCache::new(BUDGET))).unwrap_err();
        assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(scratch.path(summary.id).to_str().unwrap()), "{error}");
        error.to_string()
    };
    let other_id = TableSummary { id: TableId(2), ..subject.summary.clone() };
    let error = refused(&subject.scratch, &other_id, &subject.bytes);
    assert!(error.contains("numbered 1"), "{error}");
    subject.machine.env.fs.create_dir(Path::new("/other")).unwrap();
    let other = Scratch::new(subject.machine.env.clone(), Path::new("/other")).unwrap();
    let error = refused(&other, &subject.summary, &subject.bytes);
    assert!(error.contains("another directory"), "{error}");
    let mut summary = subject.summary.clone();
    summary.tombstones += 1;
    let error = refused(&subject.scratch, &summary, &subject.bytes);
    assert!(error.contains("another than the one expected"), "{error}");
}
