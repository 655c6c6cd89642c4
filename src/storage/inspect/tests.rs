//! A store on the simulated disk, damaged in known places.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::env::Simulated;
use crate::env::fs_sim::SimFs;
use crate::storage::cuts::Cuts;
use crate::storage::index::Index;
use crate::storage::log_entry::{Completion, EntryKind, NewEntry, Payload};
use crate::storage::log_scan::TailPolicy;
use crate::storage::log_writer::Purpose;
use crate::storage::manifest::ManifestHead;
use crate::storage::record::Record;
use crate::storage::store::{Store, StoreOptions};
use crate::storage::table_store::TableStoreOptions;
use crate::types::{LogId, Term, Timestamp, Version};

const ROOT: &str = "/data";
const TABLE: &str = "tables/0000000001.tbl";

fn options() -> StoreOptions {
    StoreOptions {
        segment_bytes_max: 4096,
        unsynced_bytes_max: 1 << 20,
        wait_max: Duration::ZERO,
        reserve_bytes: 0,
        node: NodeId(1),
        cluster: None,
        tail: TailPolicy::Refuse,
        absent: Absent::Create,
        tables: TableStoreOptions::default(),
    }
}

fn id(index: u64) -> LogId {
    LogId { term: Term(1), leader: NodeId(1), index: LogIndex(index) }
}

fn open(env: &Env) -> Store {
    Store::open(env.clone(), Path::new(ROOT), &options()).unwrap()
}

/// A store with a table, several segments, and nothing that waits to be repaired.
fn store() -> Simulated {
    let machine = Env::simulated(1);
    let store = open(&machine.env);
    for index in 0..100 {
        let entry = NewEntry {
            id: id(index),
            clock: Timestamp(index),
            kind: EntryKind::Normal,
            payload: Payload { head: vec![1; 100], body: Bytes::from(vec![2; 100]) },
        };
        store.log().append(&[entry], Purpose::Grow, Completion::none()).unwrap();
    }
    store.log().sync().unwrap();
    let membership = Bytes::from_static(b"members");
    let head = ManifestHead {
        last: id(50),
        timestamp: Timestamp(50),
        membership,
        ..ManifestHead::default()
    };
    let row = |n: u8| {
        let value = Some(Bytes::from(vec![n; 900]));
        let record = Record { value, version: Version(50), timestamp: Timestamp(50) };
        (Bytes::from(vec![n]), record)
    };
    store.add_run(&head, &Index::from_sorted([row(7), row(8)]).unwrap(), &Cuts::default()).unwrap();
    store.log().purge(id(50)).unwrap();
    store.close().unwrap();
    machine
}

fn verified(fs: &SimFs) -> VerifyReport {
    let machine = Env::simulated_on(fs.clone(), 2);
    verify(&machine.env, Path::new(ROOT)).unwrap()
}

fn damaged_files(report: &VerifyReport) -> Vec<&Path> {
    let mut files: Vec<&Path> = report.damages.iter().map(|damage| damage.file.as_path()).collect();
    files.dedup();
    files
}

/// How many bytes of a file mean something.
fn used(path: &Path, bytes: &[u8]) -> usize {
    let is_segment = path.extension().is_some_and(|suffix| suffix == "seg");
    if is_segment { nonzero_end(bytes) } else { bytes.len() }
}

#[test]
fn a_store_that_was_closed_has_no_damage_and_no_leftover() {
    let machine = store();
    let before = machine.fs.files();
    let report = verified(&machine.fs);
    assert_eq!(report.damages, []);
    assert_eq!(report.leftovers, []);
    // Identity, watermark, manifest, table, and more than two segments.
    assert!(report.files >= 7, "{report:?}");
    assert!(report.frames >= 50 && report.checksums > 2 * report.frames, "{report:?}");
    assert_eq!(machine.fs.files(), before, "nothing was written");
}

#[test]
fn a_flipped_bit_in_any_place_of_any_file_is_named_with_that_file() {
    let machine = store();
    let mut flips = 0;
    for (path, bytes) in machine.fs.files() {
        for at in (0..used(&path, &bytes)).step_by(37) {
            let fs = machine.fs.kill();
            fs.flip_bit(&path, at as u64 * 8 + 3).unwrap();
            let report = verified(&fs);
            assert_eq!(damaged_files(&report), [path.as_path()], "byte {at}: {report:?}");
            flips += 1;
        }
    }
    assert!(flips > 300, "{flips} flips");
}

#[test]
fn a_damage_is_named_with_the_offset_of_its_frame() {
    let machine = store();
    let path = Path::new(ROOT).join("log").join(crate::storage::format::segment_name(SegmentId(5)));
    machine.fs.flip_bit(&path, (u64::from(HEAD_BYTES) + 60) * 8).unwrap();
    let report = verified(&machine.fs);
    let offsets: Vec<u64> = report.damages.iter().map(|damage| damage.offset).collect();
    assert_eq!(offsets, [u64::from(HEAD_BYTES)]);
}

#[test]
fn several_damages_are_all_named_also_within_one_file() {
    let machine = store();
    let files = machine.fs.files();
    let segments = files.iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "seg"));
    let (segment, _) = segments.min().unwrap();
    let frame = crate::storage::frame::entry_frame_len(200) as u64;
    // A payload, a header, and a payload again, with whole frames between them.
    for frame_number in [0, 2, 4] {
        let in_header = if frame_number == 2 { 0 } else { 60 };
        let byte = u64::from(HEAD_BYTES) + frame_number * frame + in_header;
        machine.fs.flip_bit(segment, byte * 8).unwrap();
    }
    let root = Path::new(ROOT);
    let table = root.join(TABLE);
    machine.fs.flip_bit(&table, 8 * 200).unwrap();
    machine.fs.flip_bit(&root.join(IDENTITY_NAME), 8 * 20).unwrap();
    let report = verified(&machine.fs);
    let found: Vec<(&Path, u64)> =
        report.damages.iter().map(|damage| (damage.file.as_path(), damage.offset)).collect();
    let head = u64::from(HEAD_BYTES);
    assert_eq!(
        found,
        [
            (root.join(IDENTITY_NAME).as_path(), 0),
            (segment, head),
            (segment, head + 2 * frame),
            (segment, head + 4 * frame),
            (&table, 40),
        ],
    );
}

#[test]
fn files_that_are_missing_are_named() {
    for name in ["IDENTITY", "log/0000000006.seg", TABLE] {
        let machine = store();
        let path = Path::new(ROOT).join(name);
        machine.fs.remove_file(&path).unwrap();
        let report = verified(&machine.fs);
        assert_eq!(damaged_files(&report), [path.as_path()], "{report:?}");
    }
}

#[test]
fn what_is_not_part_of_the_store_is_listed_and_no_damage() {
    let machine = store();
    let root = Path::new(ROOT);
    for name in ["notes", "IDENTITY.tmp", "log/0000000001-300.torn", "tables/0000000009.tbl"] {
        machine.fs.write_file(&root.join(name), b"x").unwrap();
    }
    let report = verified(&machine.fs);
    assert_eq!(report.damages, []);
    let names: Vec<&Path> = report.leftovers.iter().map(|left| left.file.as_path()).collect();
    let expected = ["IDENTITY.tmp", "notes", "log/0000000001-300.torn", "tables/0000000009.tbl"]
        .map(|name| root.join(name));
    assert_eq!(names, expected);
}

#[test]
fn an_end_that_was_never_fully_written_is_no_damage() {
    let machine = store();
    let files = machine.fs.files();
    let segments = files.iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "seg"));
    let (last, bytes) = segments.max().unwrap();
    let mut bytes = bytes.get(..nonzero_end(bytes).next_multiple_of(8)).unwrap().to_vec();
    bytes.extend_from_slice(&[9; 20]);
    machine.fs.write_file(last, &bytes).unwrap();
    let report = verified(&machine.fs);
    assert_eq!(report.damages, []);
    assert_eq!(report.leftovers.len(), 1, "{report:?}");
    // As opening it has it.
    drop(open(&machine.env));
}

#[test]
fn a_store_that_is_open_is_locked_and_no_store_is_said() {
    let machine = store();
    let open = open(&machine.env);
    let refused = verify(&machine.env, Path::new(ROOT)).unwrap_err();
    assert!(matches!(refused, StorageError::Locked { .. }), "{refused}");
    drop(open);
    let refused = verify(&machine.env, Path::new("/nothing")).unwrap_err();
    assert!(matches!(refused, StorageError::NoStore { .. }), "{refused}");
}
