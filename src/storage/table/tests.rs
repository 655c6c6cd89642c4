//! Tables as their users see them: written, read back, damaged.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::scratch::Scratch;
use super::{BlockCache, Cached, KeyHash, Table, TableCursor, TableOptions, TableSummary};
use crate::env::{Env, Simulated};
use crate::storage::record::{Direction, Record};
use crate::types::{TableId, Timestamp, Version};

type Rows = BTreeMap<Vec<u8>, Record>;

fn machine() -> (Simulated, Scratch) {
    let machine = Env::simulated(1);
    machine.env.fs.create_dir(Path::new("/data")).unwrap();
    let scratch = Scratch::new(machine.env.clone(), Path::new("/data")).unwrap();
    (machine, scratch)
}

fn record(value: Option<&[u8]>, number: u64) -> Record {
    Record {
        value: value.map(Bytes::copy_from_slice),
        version: Version(number),
        timestamp: Timestamp(1_700_000_000_000_000 + number),
    }
}

fn some_rows(count: u64) -> Rows {
    (0..count)
        .map(|n| {
            let value = format!("value of {n}").repeat(1 + usize::try_from(n % 9).unwrap());
            let value = (n % 7 != 3).then_some(value.as_bytes());
            (format!("key-{:05}", n * 3).into_bytes(), record(value, n))
        })
        .collect()
}

fn write(scratch: &Scratch, options: TableOptions, rows: &Rows) -> TableSummary {
    let rows = rows.iter().map(|(key, record)| (key.clone().into(), record.clone()));
    scratch.write(TableId(1), options, rows).unwrap()
}

fn read_all(table: &Arc<Table>, direction: Direction, from: Bound<&[u8]>) -> Vec<(Bytes, Record)> {
    let mut cursor = TableCursor::seek(table, direction, from).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = cursor.shared_row() {
        let borrowed = cursor.row().unwrap();
        assert_eq!(borrowed.key, row.0);
        assert_eq!(borrowed.value, row.1.value.as_deref());
        assert_eq!((borrowed.version, borrowed.timestamp), (row.1.version, row.1.timestamp));
        rows.push(row);
        cursor.advance().unwrap();
    }
    cursor.advance().unwrap();
    assert!(cursor.row().is_none());
    rows
}

#[test]
fn a_table_reads_back() {
    let (_machine, scratch) = machine();
    let rows = some_rows(1000);
    let summary = write(&scratch, TableOptions { block_bytes: 300, ..Default::default() }, &rows);
    let cache = Arc::new(BlockCache::new(1 << 20));
    let table = scratch.open(&summary, &cache).unwrap();
    for (key, record) in &rows {
        assert!(table.may_contain(KeyHash::of(key)));
        assert_eq!(table.get(key).unwrap().as_ref(), Some(record));
        assert_eq!(table.get_cached(key), Cached::Hit(Some(record.clone())));
        let near = [key.as_slice(), b"\0"].concat();
        assert_eq!(table.get(&near).unwrap(), None);
    }
    let all: Vec<_> = rows.iter().map(|(k, r)| (Bytes::from(k.clone()), r.clone())).collect();
    assert_eq!(read_all(&table, Direction::Forward, Bound::Unbounded), all);
    let back: Vec<_> = all.into_iter().rev().collect();
    assert_eq!(read_all(&table, Direction::Backward, Bound::Unbounded), back);
    table.verify().unwrap();
}
