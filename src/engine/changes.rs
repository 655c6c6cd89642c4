//! What entries changed, read from the log and from what applying them told.

use std::ops::Range;

use bytes::Bytes;

use super::effect_log::{EffectLog, EntryEffects};
use super::log_record::{LogContent, LogRecord};
use super::machine::Machine;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::state::{Detail, Effect, Effects, Removal, StateView, named_row};
use crate::storage::error::StorageError;
use crate::storage::history::{EntryChanges, KeyChange};
use crate::storage::log_entry::Entry;
use crate::storage::store::ReadOnlyStore;
use crate::types::{LogId, LogIndex, Timestamp, Version};

/// Where the changes of the newest entries are read: the log, with what applying it told.
pub(crate) trait ChangeSource {
    /// The entries that can be read: all that are applied from the first one on; an empty range
    /// before the next one when there are none. The beginning may move on as soon as this returns.
    fn range(&self) -> Range<LogIndex>;

    /// The changes of the entries of `range` that are applied, in order, each entry once, also
    /// those that changed nothing; as many as have `bytes_max` bytes in the log, and at least one
    /// where there is one.
    ///
    /// # Errors
    /// `Compacted` when the first of them cannot be read any more; `Corrupt`, `Io`;
    /// `Serialization` for an entry that is whole and cannot be understood.
    fn read(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Vec<EntryChanges>>;

    /// The last entry whose stamp is not after `time`, with its stamp; `None` where it is before
    /// those that are known here.
    fn last_at(&self, time: Timestamp) -> Option<(LogIndex, Timestamp)>;
}

/// The changes that the log of an open store has. Reading them waits for nobody and holds up
/// nobody: the lock of the replica is held for as long as it takes to copy eight bytes an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LiveChanges<'a> {
    machine: &'a Machine,
}

impl<'a> LiveChanges<'a> {
    /// Those of this machine.
    pub(crate) const fn of(machine: &'a Machine) -> Self {
        Self { machine }
    }

    fn compacted(self) -> Error {
        Error::Compacted { oldest: Version::from(self.range().start) }
    }
}

impl ChangeSource for LiveChanges<'_> {
    fn range(&self) -> Range<LogIndex> {
        let known = self.machine.replica.read().effects.range();
        readable(&known, self.machine.store.log().hard_state().purged)
    }

    fn read(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Vec<EntryChanges>> {
        let known = self.range();
        let range = range.start..range.end.min(known.end);
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        if range.start < known.start {
            return Err(self.compacted());
        }
        let entries = match self.machine.store.log().read_range(range, bytes_max) {
            Ok(entries) => entries,
            // Purged meanwhile.
            Err(StorageError::Purged { .. }) => return Err(self.compacted()),
            Err(error) => return Err(error.into()),
        };
        let span = span_of(&entries).ok_or_else(|| self.compacted())?;
        // Both of one moment.
        let (effects, now) = {
            let replica = self.machine.replica.read();
            (replica.effects.read(span), replica.kv.view())
        };
        let effects = effects.ok_or_else(|| self.compacted())?;
        join(&entries, effects, &now, || self.compacted())
    }

    fn last_at(&self, time: Timestamp) -> Option<(LogIndex, Timestamp)> {
        self.machine.replica.read().effects.last_at(time)
    }
}

/// The changes that the log of a store has which nobody writes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClosedChanges<'a> {
    store: &'a ReadOnlyStore,
    effects: &'a EffectLog,
    now: &'a StateView,
}

impl<'a> ClosedChanges<'a> {
    /// Of a store, what applying its log told, and the state that this has led to.
    pub(crate) const fn of(
        store: &'a ReadOnlyStore,
        effects: &'a EffectLog,
        now: &'a StateView,
    ) -> Self {
        Self { store, effects, now }
    }
}

impl ChangeSource for ClosedChanges<'_> {
    fn range(&self) -> Range<LogIndex> {
        readable(&self.effects.range(), self.store.hard_state().purged)
    }

    fn read(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Vec<EntryChanges>> {
        let known = self.range();
        let range = range.start..range.end.min(known.end);
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        let compacted = || Error::Compacted { oldest: known.start.into() };
        if range.start < known.start {
            return Err(compacted());
        }
        let entries = self.store.read_range(range, bytes_max)?;
        let effects = span_of(&entries).and_then(|span| self.effects.read(span));
        join(&entries, effects.ok_or_else(compacted)?, self.now, compacted)
    }

    fn last_at(&self, time: Timestamp) -> Option<(LogIndex, Timestamp)> {
        self.effects.last_at(time)
    }
}

/// The entries that are in the log, of those whose effects are known.
fn readable(known: &Range<LogIndex>, purged: Option<LogId>) -> Range<LogIndex> {
    let first = purged.map_or(LogIndex(0), |purged| purged.index.next());
    known.start.max(first).min(known.end)..known.end
}

fn span_of(entries: &[Entry]) -> Option<Range<LogIndex>> {
    let (first, last) = (entries.first()?, entries.last()?);
    Some(first.id.index..last.id.index.next())
}

/// Puts entries and their effects together; `now` is the state of the moment at which these were
/// told.
fn join(
    entries: &[Entry],
    effects: Vec<EntryEffects>,
    now: &StateView,
    compacted: impl Fn() -> Error,
) -> Result<Vec<EntryChanges>> {
    let joined = entries.iter().zip(effects).map(|(entry, EntryEffects { timestamp, effects })| {
        let index = entry.id.index;
        let changes = match effects {
            Effects::One(Effect::Nothing) => Vec::new(),
            effects => match LogRecord::understand(entry)?.content {
                LogContent::Command(command) => changes_of(&command, &effects, now),
                LogContent::Blank | LogContent::Membership(_) => Err(Untold::Disagree),
            }
            .map_err(|untold| match untold {
                Untold::Disagree => disagree(index),
                Untold::Gone => compacted(),
                Untold::Unreadable(error) => error.into(),
            })?,
        };
        Ok(EntryChanges { index, timestamp, changes })
    });
    joined.collect()
}

fn disagree(index: LogIndex) -> Error {
    let reason = "it did not change what it was seen to change".to_owned();
    Error::Serialization { index, reason }
}

/// Why it cannot be told what a command changed.
#[derive(Debug)]
pub(crate) enum Untold {
    /// The effects cannot be those of the command.
    Disagree,
    /// It removed very many rows, and tables have that by now.
    Gone,
    /// One of these rows cannot be read.
    Unreadable(StorageError),
}

/// The changes that a command made: each key once, in ascending order, with its last value and what
/// it had before the entry. A key that was created and removed again is not among them. `now` is
/// the state of the moment at which the effects were told.
///
/// # Errors
/// That it cannot be told.
pub(crate) fn changes_of(
    command: &Command,
    effects: &Effects,
    now: &StateView,
) -> std::result::Result<Vec<KeyChange>, Untold> {
    let named = |at, before| {
        let (key, value) = named_row(command, at).ok_or(Untold::Disagree)?;
        Ok(KeyChange { key: key.clone(), value: value.cloned(), before })
    };
    Ok(match effects {
        Effects::One(Effect::Nothing) => Vec::new(),
        Effects::One(Effect::Created) => vec![named(0, None)?],
        Effects::One(Effect::Had(bytes)) => vec![named(0, Some(*bytes))?],
        Effects::Several(details) => {
            let mut changes = Vec::with_capacity(details.len());
            for detail in &**details {
                match detail {
                    Detail::Own { at, before } => changes.push(named(*at, *before)?),
                    Detail::Explicit { key, value, before } => {
                        let (key, value) = (key.clone(), value.clone());
                        changes.push(KeyChange { key, value, before: *before });
                    }
                    Detail::Many(removal) => {
                        let before = removal.before(now).ok_or(Untold::Gone)?;
                        let removed = removed(removal, &before).map_err(Untold::Unreadable)?;
                        changes.extend(removed);
                    }
                }
            }
            net(changes)
        }
    })
}

/// The rows that were removed together, given the state before.
fn removed(
    removal: &Removal,
    before: &StateView,
) -> std::result::Result<Vec<KeyChange>, StorageError> {
    let mut changes = Vec::with_capacity(usize::try_from(removal.rows()).unwrap_or_default());
    let mut rows = before.cursor_of_all(removal.stretch().bounds())?;
    while let Some(row) = rows.next()? {
        let key = Bytes::copy_from_slice(row.key);
        // A value has less than 2^30 bytes.
        let before = Some(u32::try_from(row.value.len()).unwrap_or(u32::MAX));
        changes.push(KeyChange { key, value: None, before });
    }
    Ok(changes)
}

/// What changes that follow each other amount to.
fn net(mut changes: Vec<KeyChange>) -> Vec<KeyChange> {
    // Stable: the changes of one key stay in their order.
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    changes.dedup_by(|later, first| {
        let same = later.key == first.key;
        if same {
            first.value = later.value.take();
        }
        same
    });
    changes.retain(|change| change.value.is_some() || change.before.is_some());
    changes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    use super::*;
    use crate::command::{Guard, RESERVED_PREFIX, SessionId, reserved_key};
    use crate::config::StoreConfig;
    use crate::engine::{KvEngine, SingleNodeEngine, SnapshotEngine};
    use crate::env::{Env, Simulated};
    use crate::state::{KvState, Looked, StateView};
    use crate::storage::record::Direction;

    fn any_single() -> impl Strategy<Value = Command> {
        let key = || "[a-c]{1,2}";
        prop_oneof![
            6 => (key(), "[xy]{0,3}").prop_map(|(key, value)| Command::set(key, value)),
            3 => key().prop_map(Command::delete),
            1 => "[a-c]{0,1}".prop_map(Command::delete_prefix),
        ]
    }

    fn any_change() -> impl Strategy<Value = Command> {
        let reserve = |command| match command {
            Command::Set { key, value } => Command::set(reserved_key(&key), value),
            Command::Delete { key } => Command::delete(reserved_key(&key)),
            // Not of all reserved keys: among them are those that only times change.
            Command::DeletePrefix { prefix } if !prefix.is_empty() => {
                Command::delete_prefix(reserved_key(&prefix))
            }
            _ => Command::delete_prefix(reserved_key(b"a")),
        };
        let singles = || proptest::collection::vec(any_single(), 1..6);
        prop_oneof![
            5 => any_single(),
            3 => singles().prop_map(Command::batch),
            1 => ("[a-c]", singles()).prop_map(|(key, commands)| {
                Command::guarded([Guard::present(key)], commands)
            }),
            2 => singles().prop_map(move |commands| {
                Command::reserved([], commands.into_iter().map(reserve))
            }),
        ]
    }

    fn any_command() -> impl Strategy<Value = Command> {
        let session = SessionId([1; 16]);
        prop_oneof![
            6 => any_change(),
            1 => Just(Command::open_session(session)),
            2 => (1..20_u64, any_change())
                .prop_map(move |(request, change)| Command::in_session(session, request, change)),
        ]
    }

    type Rows = BTreeMap<Bytes, (Bytes, Version)>;

    /// All rows of both keyspaces.
    fn rows_of(view: &StateView) -> Rows {
        let mut rows = Rows::new();
        let mut plain = view.cursor::<&[u8]>(.., Direction::Forward).unwrap();
        while let Some(row) = plain.next().unwrap() {
            let value = Bytes::copy_from_slice(row.value);
            rows.insert(Bytes::copy_from_slice(row.key), (value, row.version));
        }
        for (key, row) in view.reserved().rows(RESERVED_PREFIX, None, usize::MAX).unwrap() {
            rows.insert(key, (row.value.to_vec().into(), row.version));
        }
        rows
    }

    /// What two states differ in, of which the second is that of entry `index`.
    fn difference(before: &Rows, after: &Rows, index: LogIndex) -> Vec<KeyChange> {
        let len =
            |key: &Bytes| before.get(key).map(|(value, _)| u32::try_from(value.len()).unwrap());
        let set = after.iter().filter(|(_, (_, version))| *version == Version::from(index));
        let set = set.map(|(key, (value, _))| KeyChange {
            key: key.clone(),
            value: Some(value.clone()),
            before: len(key),
        });
        let gone = before.keys().filter(|key| !after.contains_key(*key));
        let gone = gone.map(|key| KeyChange { key: key.clone(), value: None, before: len(key) });
        let mut changes: Vec<_> = set.chain(gone).collect();
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        changes
    }

    proptest! {
        #[test]
        fn the_changes_of_an_entry_are_what_the_states_before_and_after_differ_in(
            commands in proptest::collection::vec(any_command(), 1..60),
            freeze_at in 0..60_u64,
        ) {
            let mut state = KvState::new();
            let mut before = Rows::new();
            let mut told_of = Vec::new();
            for (index, command) in (1..).map(LogIndex).zip(commands) {
                let clock = Timestamp(index.0);
                let looked = Looked::default();
                let told = state.apply_telling(index, clock, command.clone(), looked);
                let after = rows_of(state.as_view());
                let (_, effects) = told.unwrap();
                told_of.push((command, effects, difference(&before, &after, index)));
                // Also later, as long as no table has what they removed.
                for (command, effects, expected) in &told_of {
                    let changes = changes_of(command, effects, state.as_view()).unwrap();
                    prop_assert_eq!(&changes, expected, "{:?}", command);
                }
                if index.0 == freeze_at {
                    state.freeze();
                }
                before = after;
            }
        }
    }

    /// An engine whose changes are known from its states.
    struct Watched {
        sim: Simulated,
        config: StoreConfig,
        engine: Option<SingleNodeEngine>,
        expected: BTreeMap<LogIndex, EntryChanges>,
        rows: Rows,
    }

    impl Watched {
        fn new(segment_bytes: u64) -> Self {
            let sim = Env::simulated(5);
            let config = StoreConfig {
                data_dir: "/data".into(),
                worker_threads: 0,
                max_segment_size: segment_bytes,
                compaction_threshold: u64::MAX,
                ..StoreConfig::default()
            };
            let (expected, rows) = (BTreeMap::new(), Rows::new());
            let mut watched = Self { sim, config, engine: None, expected, rows };
            watched.reopen();
            watched
        }

        fn engine(&self) -> &SingleNodeEngine {
            self.engine.as_ref().unwrap()
        }

        fn reopen(&mut self) {
            self.engine = None;
            self.engine =
                Some(SingleNodeEngine::with_env(&self.config, self.sim.env.clone()).unwrap());
            // The blank entry of the new term changes no row, and its stamp is the last one.
            self.note();
        }

        fn submit(&mut self, command: Command) {
            self.engine().submit(command).unwrap();
            self.note();
        }

        fn note(&mut self) {
            let view = self.engine().snapshot_state();
            let (index, timestamp) = (view.last_applied().unwrap(), view.timestamp());
            let rows = rows_of(&view);
            let changes = difference(&self.rows, &rows, index);
            self.expected.insert(index, EntryChanges { index, timestamp, changes });
            self.rows = rows;
        }

        fn live(&self) -> LiveChanges<'_> {
            LiveChanges::of(&self.engine().inner.committer.machine)
        }

        /// Holds everything that can be read against what it should be.
        fn check(&self, bytes_max: usize) {
            let Range { start, end } = self.live().range();
            let last = *self.expected.keys().next_back().unwrap();
            assert_eq!(end, last.next());
            let mut next = start;
            while next < end {
                let read = self.live().read(next..LogIndex(u64::MAX), bytes_max).unwrap();
                assert!(!read.is_empty());
                for changes in read {
                    assert_eq!(changes.index, next);
                    // The membership of a new directory is not among the expected ones.
                    if let Some(expected) = self.expected.get(&next) {
                        assert_eq!(&changes, expected);
                    }
                    next = next.next();
                }
            }
            if let Some(before) = start.previous() {
                let refused = self.live().read(before..end, 1).unwrap_err();
                let oldest = Version::from(start);
                assert!(matches!(refused, Error::Compacted { oldest: o } if o == oldest));
            }
        }
    }

    fn commands(count: usize) -> Vec<Command> {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let strategy = any_command();
        let value = |_| strategy.new_tree(&mut runner).unwrap().current();
        (0..count).map(value).collect()
    }

    #[test]
    fn live_changes_are_those_of_the_entries_whatever_is_compacted_and_opened_again() {
        let mut watched = Watched::new(4096);
        for (at, command) in commands(600).into_iter().enumerate() {
            watched.submit(command);
            if at % 37 == 0 {
                watched.reopen();
            }
            if at % 101 == 0 {
                watched.engine().run_compaction_now().unwrap();
            }
            if at % 11 == 0 {
                watched.check(1 + at);
            }
        }
    }

    #[test]
    fn entries_of_the_segment_that_is_being_written_stay_readable_behind_a_compaction() {
        let mut watched = Watched::new(1 << 20);
        for round in 0..50_u8 {
            watched.submit(Command::batch([
                Command::set(format!("{}", round % 7), vec![round; 9]),
                Command::delete(format!("{}", round % 3)),
            ]));
        }
        let before = watched.live().range();
        // Everything useless is due, so this write ends in a compaction.
        watched.engine().set_compaction_threshold(0);
        watched.submit(Command::set("last", "1"));
        let machine = &watched.engine().inner.committer.machine;
        let head = machine.store.tables().manifest_head().unwrap();
        assert!(head.last.index > before.start);
        assert_eq!(watched.live().range().start, before.start);
        watched.check(1 << 20);
    }

    #[test]
    fn which_rows_one_removal_of_very_many_met_is_told_until_tables_have_it() {
        let mut watched = Watched::new(1 << 20);
        let set = |round: u8| (0..60_u8).map(move |n| Command::set(vec![n], vec![n; round.into()]));
        set(1).for_each(|command| watched.submit(command));
        watched.engine().run_compaction_now().unwrap();
        // Rows of tables, of memory, and of both.
        set(2).step_by(3).for_each(|command| watched.submit(command));
        watched.submit(Command::delete(vec![4]));
        watched.submit(Command::delete_prefix(""));
        set(3).step_by(2).for_each(|command| watched.submit(command));
        watched.submit(Command::batch([
            Command::set(vec![1], "beside"),
            Command::delete_prefix(""),
            Command::set(vec![2], "beside"),
        ]));
        watched.check(1 << 20);
        let removed = watched.live().range().end.previous().unwrap();
        watched.engine().set_compaction_threshold(0);
        watched.submit(Command::set("last", "1"));
        assert_eq!(watched.live().range().start, removed.next());
        watched.check(1 << 20);
    }

    #[test]
    fn what_takes_too_much_memory_is_compacted_although_the_log_has_it() {
        let mut watched = Watched::new(4 << 20);
        watched.config.emit_snapshot_after_compaction = false;
        watched.reopen();
        // 26 MB of details.
        for round in 0..12_u32 {
            let set = |at: u32| Command::set(format!("{at:05}"), round.to_string());
            watched.submit(Command::batch((0..30_000).map(set)));
        }
        watched.engine().run_compaction_now().unwrap();
        let Range { start, end } = watched.live().range();
        assert!(start < end);
        let before = start.previous().unwrap();
        let log = watched.engine().inner.committer.machine.store.log();
        assert_eq!(log.read_range(before..start, 1).unwrap().len(), 1);
        watched.check(1 << 20);
    }
}
