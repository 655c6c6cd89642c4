//! The past on the simulated disk: appended, read, compressed, given up, cut off, damaged. What is
//! shared stands here.

mod appending;
mod looking;
mod model;
mod packing;
mod meanwhile;
mod crash;
mod disk_full;
mod damage;
mod hostile;
mod opening;
mod ahead;
mod golden;
mod inspecting;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::tables::{Rows, context, read, record, table_options, try_tables};
use super::*;
use crate::env::fs::Fs;
use crate::env::rng::SeededRng;
use crate::storage::history::{
    ARCHIVE_COMPRESSION, Archive, Base, EntryChanges, EraInfo, KeyChange, look,
};
use crate::storage::record::Direction;

/// Keys and values.
type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store's tables and its past, and what was ever appended.
struct Past {
    fs: SimFs,
    tables: TableStore,
    archive: Archive,
    /// What the entries changed that changed something, by index.
    entries: BTreeMap<u64, EntryChanges>,
    /// The entry that is archived next.
    next: u64,
    /// The state after the last entry, and the one that is in the tables.
    values: Values,
    in_tables: Values,
}

fn stamp(index: u64) -> Timestamp {
    // Several entries have the same.
    Timestamp(index / 3 * 10)
}

/// As opening a store for writing does it.
fn try_archive(fs: &SimFs) -> Result<Archive, StorageError> {
    let context = context(fs);
    let found = look(&context)?;
    Archive::for_writing(&context, &found, Some(LogIndex(u64::MAX)))
}

fn archive(fs: &SimFs) -> Archive {
    try_archive(fs).unwrap()
}

fn set(key: &str, value: &str, before: Option<u32>) -> KeyChange {
    let value = Some(Bytes::copy_from_slice(value.as_bytes()));
    KeyChange { key: Bytes::copy_from_slice(key.as_bytes()), value, before }
}

fn changed(index: u64, changes: Vec<KeyChange>) -> EntryChanges {
    EntryChanges { index: LogIndex(index), timestamp: stamp(index), changes }
}

fn append(
    archive: &Archive,
    range: RangeInclusive<u64>,
    entries: &[EntryChanges],
) -> Result<(), StorageError> {
    let stamps = (stamp(*range.start()), stamp(*range.end()));
    let range = LogIndex(*range.start())..=LogIndex(*range.end());
    archive.append(range, stamps, &mut entries.iter().cloned().map(Ok)).map(drop)
}

fn read_all(
    archive: &Archive,
    range: RangeInclusive<u64>,
) -> Result<Vec<EntryChanges>, StorageError> {
    archive.read(LogIndex(*range.start())..=LogIndex(*range.end())).collect()
}

fn compress(archive: &Archive) -> Result<bool, StorageError> {
    archive.compress_step(ARCHIVE_COMPRESSION, &mut |_| true).map(|done| done.is_some())
}

fn apply_entry(values: &mut Values, entry: &EntryChanges) {
    for KeyChange { key, value, .. } in &entry.changes {
        match value {
            Some(value) => values.insert(key.to_vec(), value.to_vec()),
            None => values.remove(&**key),
        };
    }
}

/// The values in tables.
fn values_of(base: &Base) -> Result<Values, StorageError> {
    let rows = read(&base.set, Direction::Forward)?.into_iter();
    Ok(rows.map(|(key, record)| (key, record.value.unwrap_or_default().to_vec())).collect())
}

impl Past {
    fn new(fs: &SimFs) -> Self {
        let tables = try_tables(fs, table_options()).unwrap();
        Self {
            fs: fs.clone(),
            tables,
            archive: archive(fs),
            entries: BTreeMap::new(),
            next: 0,
            values: Values::new(),
            in_tables: Values::new(),
        }
    }

    /// Makes up what the next entries change.
    fn make_up(&mut self, rng: &SeededRng, count: u64, value_bytes: u64) -> Vec<EntryChanges> {
        let mut made = Vec::new();
        for index in self.next..self.next + count {
            let mut changes: BTreeMap<Vec<u8>, KeyChange> = BTreeMap::new();
            for _ in 0..rng.up_to(3) {
                let key = format!("key-{:02}", rng.up_to(30)).into_bytes();
                let before = self.values.get(&key).map(|value| u32::try_from(value.len()).unwrap());
                let len = usize::try_from(rng.up_to(value_bytes)).unwrap();
                let value = (rng.up_to(3) > 0).then(|| payload(rng.up_to(1 << 30), len).into());
                let change = KeyChange { key: key.clone().into(), value, before };
                changes.insert(key, change);
            }
            if !changes.is_empty() {
                let entry = changed(index, changes.into_values().collect());
                apply_entry(&mut self.values, &entry);
                made.push(entry);
            }
        }
        made
    }

    fn append(&mut self, rng: &SeededRng, count: u64, value_bytes: u64) {
        let entries = self.make_up(rng, count, value_bytes);
        append(&self.archive, self.next..=self.next + count - 1, &entries).unwrap();
        self.entries.extend(entries.into_iter().map(|entry| (entry.index.0, entry)));
        self.next += count;
    }

    /// Publishes a manifest with the state so far.
    fn publish(&mut self) {
        let version = self.next - 1;
        let changed =
            self.values.iter().filter(|(key, value)| self.in_tables.get(*key) != Some(value));
        let put = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            (key.clone(), Some(record(version, Some(value.clone()))))
        };
        let mut rows: Rows = changed.map(put).collect();
        let removed = self.in_tables.keys().filter(|key| !self.values.contains_key(*key));
        rows.extend(removed.map(|key| (key.clone(), None)));
        let bytes = self.values.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        let head = ManifestHead {
            last: id(version),
            timestamp: stamp(version),
            keys: self.values.len() as u64,
            live_bytes: bytes,
            ..ManifestHead::default()
        };
        let row = |(key, row): (Vec<u8>, Option<Record>)| {
            (Bytes::from(key), row.unwrap_or_else(|| record(version, None)))
        };
        self.tables.add_run(head, &mut rows.into_iter().map(row)).unwrap();
        self.in_tables = self.values.clone();
    }

    fn begin_era(&mut self) {
        self.archive.begin_era(&self.tables).unwrap();
    }

    /// An era begins with the state so far.
    fn next_era(&mut self) {
        self.publish();
        self.begin_era();
    }

    fn reopen(&mut self) {
        self.tables = try_tables(&self.fs, table_options()).unwrap();
        self.archive = archive(&self.fs);
    }

    /// The state after an entry.
    fn values_at(&self, index: u64) -> Values {
        let mut values = Values::new();
        self.entries.range(..=index).for_each(|(_, entry)| apply_entry(&mut values, entry));
        values
    }

    fn expected(&self, range: RangeInclusive<u64>) -> Vec<EntryChanges> {
        self.entries.range(range).map(|(_, entry)| entry.clone()).collect()
    }

    /// Holds an archive that has the entries from `oldest` to `last` against what was appended.
    fn check(&self, archive: &Archive, what: &str) {
        let Some(last) = archive.last() else { return };
        let oldest = archive.eras()[0].first.0;
        if oldest <= last.0 {
            let all = read_all(archive, oldest..=last.0);
            assert_eq!(all.unwrap(), self.expected(oldest..=last.0), "{what}");
        }
        let first_state = archive.eras()[0].base_last().map_or(0, |base| base.0);
        for index in [first_state, u64::midpoint(first_state, last.0), last.0] {
            let base = archive.base_for(LogIndex(index)).unwrap();
            let mut values = values_of(&base).unwrap();
            for entry in archive.read(base.from..=LogIndex(index)) {
                apply_entry(&mut values, &entry.unwrap());
            }
            assert_eq!(values, self.values_at(index), "{what}: the state after {index}");
        }
    }

    /// Holds every way to look into the past against what was appended.
    fn check_all(&self, rng: &SeededRng, what: &str) {
        let archive = &self.archive;
        self.check(archive, what);
        let Some(oldest) = archive.eras().first().map(|era| era.first.0) else { return };
        let Some(last) = archive.last().filter(|last| last.0 >= oldest) else { return };
        for _ in 0..5 {
            let first = oldest + rng.up_to(last.0 - oldest);
            let range = first..=first + rng.up_to(last.0 - first);
            let what = format!("{what}: {range:?}");
            assert_eq!(read_all(archive, range.clone()).unwrap(), self.expected(range.clone()));
            let key = format!("key-{:02}", rng.up_to(31)).into_bytes();
            let of_key = |entry: EntryChanges| {
                let change = entry.changes.into_iter().find(|change| change.key == key)?;
                Some((entry.index, entry.timestamp, change))
            };
            let expected: Vec<_> =
                self.expected(range.clone()).into_iter().filter_map(of_key).collect();
            let range = LogIndex(*range.start())..=LogIndex(*range.end());
            assert_eq!(archive.changes_of(&key, range).unwrap(), expected, "{what}");
            let time = Timestamp(rng.up_to(stamp(last.0).0 + 20));
            let found = archive.index_at(time).unwrap();
            self.check_time(oldest, last.0, time, found.map(|index| index.0), &what);
        }
    }

    /// What is found at a time has a stamp at or before it, and no change stands between it and the
    /// first entry with a later stamp.
    fn check_time(&self, oldest: u64, last: u64, time: Timestamp, found: Option<u64>, what: &str) {
        let first_state = oldest.saturating_sub(1);
        let Some(found) = found else {
            assert!(stamp(first_state) > time, "{what} {time}");
            return;
        };
        assert!(stamp(found) <= time && found <= last, "{what} {time}: {found}");
        let between = self.entries.range(found + 1..).find(|(index, _)| stamp(**index) <= time);
        assert_eq!(between, None, "{what} {time}: {found}");
    }
}

/// Every path below the folder of the past.
fn paths(fs: &SimFs) -> Vec<String> {
    let root = path("archive");
    let files = fs.files().into_iter().map(|(path, _)| path);
    let below = files.filter(|path| path.starts_with(&root));
    below.map(|path| path.strip_prefix(&root).unwrap().to_string_lossy().into_owned()).collect()
}

fn folders(fs: &SimFs) -> Vec<String> {
    let names = |folder: &Path| match fs.list(folder) {
        Ok(entries) => entries.into_iter().map(|entry| entry.name).collect(),
        Err(_) => Vec::new(),
    };
    names(&path("archive"))
}

/// Nothing is in the folder of the past but its eras, and nothing in those but what counts.
fn check_no_leftovers(fs: &SimFs, archive: &Archive, what: &str) {
    let eras = archive.eras();
    assert_eq!(folders(fs).len(), eras.len(), "{what}: {:?}", folders(fs));
    let changes: usize = eras.iter().map(|era| era.files.len()).sum();
    let is_change = |path: &&String| [Some("chg"), Some("chz")].contains(&path.rsplit('.').next());
    let paths = paths(fs);
    assert_eq!(paths.iter().filter(is_change).count(), changes, "{what}: {paths:?}");
    assert!(!paths.iter().any(|path| path.contains(".tmp")), "{what}: {paths:?}");
    assert_eq!(fs.kind(&path("archive.tmp")).unwrap(), None, "{what}");
}

fn named(error: &StorageError) -> Option<&Path> {
    match error {
        StorageError::Corrupt { file, .. }
        | StorageError::UnsupportedFormat { file, .. }
        | StorageError::MissingFile { file, .. } => Some(file),
        _ => None,
    }
}

/// The change files, oldest first.
fn change_files(fs: &SimFs) -> Vec<PathBuf> {
    let paths = paths(fs).into_iter().filter(|path| path.contains(".ch"));
    paths.map(|name| path("archive").join(name)).collect()
}
