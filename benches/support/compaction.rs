//! A compaction of a store that was just written, and beside it writing as many bytes.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use hightower_kv::KvEngine;
use hightower_kv::env::fs::{Fs, OpenHow, write_all_at};
use hightower_kv::env::fs_disk::DiskFs;
use hightower_kv::state::Durability;

use crate::data::Shape;
use crate::store::{open, scratch};

/// What is put, and how many of the keys are deleted again.
pub(crate) const PUTS: Shape = Shape { rows: 20_000, key: 16, value: 100 };
pub(crate) const DELETES: usize = 4_000;

/// How long a compaction takes after the puts and the deletes, which are not timed.
pub(crate) fn engine() -> Duration {
    let directory = scratch();
    let store = open(directory.path(), Durability::Buffered);
    let rows = PUTS.rows();
    let deleted: Vec<_> = rows.iter().take(DELETES).map(|(key, _)| key.clone()).collect();
    for (key, value) in rows {
        store.put(key, value).expect("a put");
    }
    for key in deleted {
        store.delete(key).expect("a delete");
    }
    let started = Instant::now();
    let report = store.run_compaction_now().expect("a compaction");
    let time = started.elapsed();
    assert_eq!(report.rows, (PUTS.rows - DELETES) as u64);
    time
}

/// How long it takes to write the rows that are left into a file and sync it.
pub(crate) fn bare() -> Duration {
    let directory = scratch();
    let rows = PUTS.rows();
    let rows = rows.iter().skip(DELETES);
    let bytes: Vec<u8> = rows.flat_map(|(key, value)| [&key[..], value].concat()).collect();
    let started = Instant::now();
    let file = DiskFs::new().open(&directory.path().join("bare"), OpenHow::CreateNew);
    let file = file.expect("a file for the bare loop");
    write_all_at(&*file, &mut [IoSlice::new(&bytes)], 0).expect("a bare write");
    file.sync().expect("a bare sync");
    started.elapsed()
}
