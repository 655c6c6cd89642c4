//! What removals of very many rows leave, in memory and in tables, against a model.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::command::reserved_key;
use crate::env::rng::SeededRng;
use crate::env::{Env, Simulated};
use crate::state::effects::{Detail, Effects};
use crate::state::gaps::GAP_ROWS_MIN;
use crate::storage::error::StorageError;
use crate::storage::format::table_name;
use crate::storage::log_scan::TailPolicy;
use crate::storage::manifest::{ManifestHead, TableEntry};
use crate::storage::merge_choice::MergeGoal;
use crate::storage::record::Direction;
use crate::storage::store::{Store, StoreOptions};
use crate::storage::store_lock::Absent;
use crate::storage::table_store::TableStoreOptions;
use crate::types::{LogId, NodeId, Term};

const KEYS: u64 = 1_000;

type Rows = BTreeMap<Bytes, Bytes>;

fn key(number: u64) -> Bytes {
    format!("k{number:04}").into()
}

/// Few rows a table, so that cuts reach over several.
fn open(env: &Env) -> Store {
    // And no block stays in memory.
    let (table_bytes_max, memory_bytes) = (2_000, 0);
    let tables =
        TableStoreOptions { table_bytes_max, memory_bytes, ..TableStoreOptions::default() };
    let options = StoreOptions {
        segment_bytes_max: 4096,
        unsynced_bytes_max: 1 << 20,
        wait_max: Duration::ZERO,
        reserve_bytes: 0,
        node: NodeId(1),
        cluster: None,
        tail: TailPolicy::Refuse,
        absent: Absent::Create,
        tables,
    };
    Store::open(env.clone(), Path::new("/data"), &options).unwrap()
}

/// A state with tables below it, what it should have, and what was told of removals.
struct At {
    store: Store,
    state: KvState,
    rows: Rows,
    index: u64,
    /// How the last freeze left it; `None` when that is in tables.
    frozen: Option<ManifestHead>,
    /// Removals that no table has, with the rows that they met; the number of the freeze before.
    removals: Vec<(Arc<Removal>, Rows, u64)>,
    freezes: u64,
}

impl At {
    fn new(env: &Env) -> Self {
        let mut state = KvState::new();
        state.track_digest().unwrap();
        let (rows, removals) = (Rows::new(), Vec::new());
        Self { store: open(env), state, rows, index: 0, frozen: None, removals, freezes: 0 }
    }

    fn apply(&mut self, command: Command) -> Effects {
        self.index += 1;
        let looked = self.state.check(&command).unwrap();
        let (index, clock) = (LogIndex(self.index), Timestamp(self.index));
        self.state.apply_telling(index, clock, command, looked).unwrap().1
    }

    fn set(&mut self, key: Bytes) {
        let value = Bytes::from(self.index.to_string());
        self.apply(Command::set(key.clone(), value.clone()));
        self.rows.insert(key, value);
    }

    fn delete(&mut self, key: Bytes) {
        self.rows.remove(&key);
        self.apply(Command::delete(key));
    }

    fn delete_prefix(&mut self, prefix: &Bytes) {
        let is_met = |key: &Bytes, _: &mut Bytes| key.starts_with(prefix);
        let met: Rows = self.rows.extract_if(.., is_met).collect();
        if let Effects::Several(details) = self.apply(Command::delete_prefix(prefix.clone()))
            && let [Detail::Many(removal)] = &**details
        {
            self.removals.push((Arc::clone(removal), met, self.freezes));
        }
    }

    fn freeze(&mut self) {
        if self.frozen.is_some() {
            return;
        }
        self.state.freeze();
        self.freezes += 1;
        let index = LogIndex(self.index);
        self.frozen = Some(ManifestHead {
            last: LogId { term: Term(1), leader: NodeId(1), index },
            timestamp: Timestamp(self.index),
            membership: Bytes::from_static(b"members"),
            ..ManifestHead::default()
        });
    }

    /// Writes what was set aside. Afterwards tables alone say what was removed by then.
    fn write(&mut self) {
        let Some(head) = self.frozen.take() else { return };
        let tail = self.state.frozen();
        let before = self.store.tables().set().runs().len();
        let set = self.store.add_run(&head, tail.rows(), tail.cuts()).unwrap();
        let newest = set.runs().first().filter(|_| set.runs().len() > before);
        let tombstones = newest.map_or(0, |run| run.tombstones());
        assert!(tombstones <= tail.rows().len() as u64 + tail.cuts().hidden().rows);
        self.state.rebase(set, true);
        self.removals.retain(|(removal, _, freezes)| {
            let is_in_memory = *freezes == self.freezes;
            assert_eq!(removal.before(self.state.as_view()).is_some(), is_in_memory);
            is_in_memory
        });
    }

    fn merge(&mut self, goal: MergeGoal) {
        if let Some(step) = self.store.merge_step(goal).unwrap() {
            self.state.rebase(step.set, false);
        }
    }

    fn check_removals(&self) {
        for (removal, met, _) in &self.removals {
            let before = removal.before(self.state.as_view()).unwrap();
            assert_eq!(removal.rows(), met.len() as u64);
            let mut found = Rows::new();
            let mut rows = before.cursor_of_all(removal.stretch().bounds()).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let (key, value) = (row.key, row.value);
                found.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            }
            assert_eq!(&found, met);
        }
    }
}

fn check(rng: &SeededRng, view: &StateView, rows: &Rows) {
    assert_eq!(view.len(), rows.len());
    for _ in 0..5 {
        let key = key(rng.up_to(KEYS));
        assert_eq!(view.get(&key).unwrap().as_deref(), rows.get(&key).map(|it| &**it), "{key:?}");
    }
    let (from, to) = (key(rng.up_to(KEYS)), key(rng.up_to(KEYS)));
    let (from, to) = if from <= to { (from, to) } else { (to, from) };
    let limit = usize::try_from(1 + rng.up_to(200)).unwrap();
    for direction in [Direction::Forward, Direction::Backward] {
        let within = rows.range(from.clone()..to.clone());
        let expected: Vec<_> = match direction {
            Direction::Forward => within.take(limit).collect(),
            Direction::Backward => within.rev().take(limit).collect(),
        };
        let mut cursor = view.cursor(from.clone()..to.clone(), direction).unwrap();
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(row) = cursor.next().unwrap()
        {
            found.push((Bytes::copy_from_slice(row.key), Bytes::copy_from_slice(row.value)));
        }
        let found: Vec<_> = found.iter().map(|(key, value)| (key, value)).collect();
        assert_eq!(found, expected, "{from:?} {to:?} {direction:?}");
    }
}

#[test]
fn whatever_is_cut_set_aside_written_and_merged_every_state_has_what_the_model_has() {
    let (mut cuts_of_both, mut removals) = (0, 0);
    for seed in 0..24 {
        let rng = SeededRng::new(seed);
        let Simulated { env, fs: _fs, .. } = Env::simulated(seed);
        let mut at = At::new(&env);
        let mut kept: Vec<(StateView, Rows)> = Vec::new();
        for number in 0..KEYS {
            if number % 3 != seed % 3 {
                at.set(key(number));
            }
        }
        for step in 0..800 {
            match rng.up_to(99) {
                0..=59 => at.set(key(rng.up_to(KEYS))),
                60..=75 => at.delete(key(rng.up_to(KEYS))),
                76..=87 => {
                    // A tenth of all, a hundredth, or ten keys.
                    let digits = 1 + usize::try_from(rng.up_to(2)).unwrap();
                    at.delete_prefix(&key(rng.up_to(KEYS)).slice(..=digits));
                }
                88 => at.delete_prefix(&Bytes::from(if step % 2 == 0 { "" } else { "k" })),
                89..=91 => at.freeze(),
                92..=95 => at.write(),
                96 => at.merge(MergeGoal::Everything),
                _ => at.merge(MergeGoal::Due { compaction_threshold: 0 }),
            }
            let StateView { tail, frozen, .. } = at.state.as_view();
            cuts_of_both += u64::from(!tail.cuts().is_empty() && !frozen.cuts().is_empty());
            removals += at.removals.len();
            if rng.up_to(9) == 0 {
                kept.push((at.state.view(), at.rows.clone()));
                at.check_removals();
            }
            check(&rng, at.state.as_view(), &at.rows);
            let nth = usize::try_from(rng.up_to(kept.len() as u64)).unwrap();
            if let Some((view, rows)) = kept.get(nth) {
                check(&rng, view, rows);
            }
            if step % 50 == 0 {
                at.state.validate().unwrap();
            }
        }
        // All of it is in tables in the end, where there are no cuts.
        for _ in 0..2 {
            at.freeze();
            at.write();
        }
        let view = at.state.as_view();
        assert!(view.tail.is_empty() && view.frozen.is_empty());
        assert_eq!(rows_of(view).len(), at.rows.len());
        check(&rng, view, &at.rows);
        at.state.validate().unwrap();
    }
    assert!(cuts_of_both > 500 && removals > 5_000, "{cuts_of_both} {removals}");
}

/// A state of so many rows that are in tables.
fn in_tables(env: &Env) -> At {
    let mut at = At::new(env);
    for number in 0..KEYS {
        at.set(key(number));
    }
    at.freeze();
    at.write();
    at
}

#[test]
fn very_many_rows_that_are_removed_take_no_memory_and_become_tombstones() {
    let mut at = in_tables(&Env::simulated(1).env);
    for digit in [1, 3, 2, 0] {
        at.delete_prefix(&Bytes::from(format!("k0{digit}")));
    }
    at.set(key(399));
    let StateView { tail, .. } = at.state.as_view();
    assert_eq!(tail.rows().len(), 1);
    let [cut] = tail.cuts().as_slice() else { panic!("{:?}", tail.cuts()) };
    assert_eq!((cut.hidden.rows, cut.hidden.key_bytes), (400, 2_000));
    // Room for them is kept.
    assert!(at.state.unwritten_bytes() > 400 * (5 + 20));
    let before = at.store.tables().set();
    at.freeze();
    at.write();
    // Tables that it has hidden as a whole are gone, and of others the rows that it has hidden.
    let set = at.store.tables().set();
    let rows = |table: &&TableEntry| table.summary.rows;
    let is_hidden = |table: &&TableEntry| *table.summary.last_key < b"k04"[..];
    let hidden: u64 = before.tables().filter(is_hidden).map(|table| rows(&table)).sum();
    assert!(hidden > 0 && hidden < 399, "{hidden}");
    assert_eq!(set.runs().len(), 2);
    let [newest, oldest] = [0, 1].map(|at| set.runs()[at].size());
    assert_eq!((newest.tombstones, oldest.rows), (399 - hidden, KEYS - hidden));
    assert_eq!(at.state.unwritten_bytes(), 0);
    check(&SeededRng::new(1), at.state.as_view(), &at.rows);
}

#[test]
fn a_table_with_tombstones_stays_where_one_does_that_has_what_they_hide() {
    let mut at = in_tables(&Env::simulated(1).env);
    let second = at.store.tables().set().tables().nth(1).unwrap().summary.clone();
    // A stretch in which that table begins, and does not end.
    let prefix = second.first_key.slice(..3);
    assert!(!second.last_key.starts_with(&prefix));
    let from = at.rows.range(second.first_key..);
    let keys: Vec<Bytes> = from.map(|(key, _)| key.clone()).take(10).collect();
    assert!(keys.iter().all(|key| key.starts_with(&prefix)));
    for key in keys {
        at.delete(key);
    }
    at.freeze();
    at.write();
    at.delete_prefix(&prefix);
    assert_eq!(at.state.as_view().tail.cuts().hidden().rows, 90);
    at.freeze();
    at.write();
    let sizes: Vec<_> = at.store.tables().set().runs().iter().map(|run| run.size()).collect();
    assert_eq!(sizes.iter().map(|size| size.tombstones).collect::<Vec<_>>(), [90, 10, 0]);
    check(&SeededRng::new(1), at.state.as_view(), &at.rows);
    // Where all of it is hidden nothing stays for it.
    at.delete_prefix(&Bytes::new());
    at.freeze();
    at.write();
    assert_eq!(at.store.tables().set().runs().len(), 0);
    check(&SeededRng::new(1), at.state.as_view(), &at.rows);
}

#[test]
fn all_that_is_removed_at_once_leaves_no_table_and_no_tombstone() {
    let mut at = in_tables(&Env::simulated(1).env);
    at.delete_prefix(&Bytes::new());
    at.set(key(7));
    let view = at.state.view();
    at.freeze();
    at.write();
    let set = at.store.tables().set();
    assert_eq!((set.runs().len(), set.rows(), set.runs()[0].tombstones()), (1, 1, 0));
    check(&SeededRng::new(1), at.state.as_view(), &at.rows);
    check(&SeededRng::new(1), &view, &at.rows);
}

#[test]
fn a_scan_goes_on_behind_a_cut() {
    for direction in [Direction::Forward, Direction::Backward] {
        let mut at = in_tables(&Env::simulated(1).env);
        for digit in 1..=8 {
            at.delete_prefix(&Bytes::from(format!("k0{digit}")));
        }
        let mut cursor = at.state.as_view().cursor::<&[u8]>(.., direction).unwrap();
        let mut rows = 0;
        while cursor.next().unwrap().is_some() {
            rows += 1;
        }
        assert_eq!(rows, 200);
        // It tells of the stretch, and how many rows it has gone over there.
        at.set(key(0));
        let gap = at.state.as_view().gaps.at(Bound::Included(&key(500)), direction).unwrap();
        assert!(gap.rows() <= 2 * GAP_ROWS_MIN, "{} rows", gap.rows());
    }
}

#[test]
fn what_a_cut_hides_and_cannot_be_read_keeps_the_tail_from_being_written_and_loses_nothing() {
    let Simulated { env, fs, .. } = Env::simulated(1);
    let mut at = in_tables(&env);
    // A part of the first table.
    at.delete_prefix(&Bytes::from("k000"));
    at.set(key(3));
    let id = at.store.tables().set().tables().next().unwrap().summary.id;
    let table = Path::new("/data/tables").join(table_name(id));
    fs.flip_bit(&table, 8 * 200).unwrap();
    at.freeze();
    let (tail, head) = (at.state.frozen(), at.frozen.clone().unwrap());
    for _ in 0..2 {
        match at.store.add_run(&head, tail.rows(), tail.cuts()) {
            Err(StorageError::Corrupt { file, .. }) => assert_eq!(file, table),
            other => panic!("{other:?}"),
        }
    }
    // What is in memory is as it was, and so is what is in tables once it can be read.
    assert_eq!(at.state.as_view().get(&key(3)).unwrap().as_deref(), Some(&*at.rows[&key(3)]));
    assert_eq!(at.state.as_view().get(&key(4)).unwrap(), None);
    fs.flip_bit(&table, 8 * 200).unwrap();
    at.write();
    check(&SeededRng::new(1), at.state.as_view(), &at.rows);
    at.state.validate().unwrap();
}

#[test]
fn a_tail_that_is_nothing_but_a_cut_is_one() {
    let mut at = in_tables(&Env::simulated(1).env);
    at.delete_prefix(&Bytes::new());
    assert!(at.state.has_tail());
    at.freeze();
    assert!(at.state.has_tail());
    // Nothing comes in the place of what is set aside.
    at.state.freeze();
    check(&SeededRng::new(1), at.state.as_view(), &at.rows);
    at.write();
    assert!(!at.state.has_tail());
    check(&SeededRng::new(1), at.state.as_view(), &at.rows);
}

#[test]
fn a_table_stays_while_a_merge_goes_on_at_its_place() {
    let mut at = in_tables(&Env::simulated(1).env);
    for number in (0..KEYS).step_by(2) {
        at.set(key(number));
    }
    at.freeze();
    at.write();
    at.merge(MergeGoal::Everything);
    assert!(at.store.tables().set().runs().iter().any(|run| run.is_being_merged()));
    at.delete_prefix(&Bytes::new());
    at.set(key(7));
    at.freeze();
    at.write();
    assert!(at.store.tables().set().runs().len() > 2);
    for _ in 0..100 {
        check(&SeededRng::new(1), at.state.as_view(), &at.rows);
        at.merge(MergeGoal::Everything);
    }
    let set = at.store.tables().set();
    assert_eq!((set.runs().len(), set.rows()), (1, 1));
}

#[test]
fn a_key_that_comes_and_goes_where_its_layers_below_do_not_count_leaves_nothing() {
    let mut at = in_tables(&Env::simulated(1).env);
    at.delete_prefix(&Bytes::new());
    at.set(key(3));
    at.delete(key(3));
    assert_eq!(at.state.as_view().tail.rows().len(), 0);
    assert_eq!(at.apply(Command::delete(key(3))), Effects::default());
    assert!(at.state.as_view().is_empty());
    assert_eq!(at.apply(Command::delete_prefix("")), Effects::default());
}

#[test]
fn what_hid_a_row_below_goes_on_hiding_it_when_a_cut_takes_its_place() {
    let mut at = in_tables(&Env::simulated(1).env);
    at.delete(key(5));
    at.set(key(6));
    at.delete_prefix(&Bytes::from("k000"));
    assert_eq!(at.state.as_view().tail.rows().len(), 0);
    let hidden = at.state.as_view().tail.cuts().hidden();
    assert_eq!((hidden.rows, hidden.key_bytes), (10, 50));
    at.freeze();
    at.write();
    let tombstones = at.store.tables().set().runs()[0].tombstones();
    assert_eq!(tombstones, 10, "they are the first rows of the first table");
    check(&SeededRng::new(1), at.state.as_view(), &at.rows);
}

#[test]
fn a_cut_of_plain_keys_hides_no_reserved_ones() {
    let mut at = in_tables(&Env::simulated(1).env);
    let rows = (0..9_u8).map(|n| Command::set(reserved_key(&[b'r', n]), "kept"));
    at.apply(Command::reserved([], rows));
    at.freeze();
    at.write();
    at.delete_prefix(&Bytes::new());
    assert_eq!(at.state.as_view().len(), 0);
    assert_eq!(at.state.as_view().reserved_keys(), 9);
    at.state.validate().unwrap();
    at.freeze();
    at.write();
    at.state.validate().unwrap();
    // And the other way round.
    at.set(key(1));
    at.apply(Command::reserved([], [Command::delete_prefix(reserved_key(b"r"))]));
    assert_eq!(at.state.as_view().reserved_keys(), 0);
    assert_eq!(at.state.as_view().len(), 1);
    at.state.validate().unwrap();
}
