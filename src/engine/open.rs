//! From a directory to a store and what it holds: what all engines that write begin with.

use super::budget::table_options;
use super::keeping::Keeping;
use super::machine::Machine;
use super::pressure::Pressure;
use super::replay::{ReadAhead, Replayed, checkpoint, replay};
use crate::config::StoreConfig;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::storage::log_scan::TailPolicy;
use crate::storage::store::{Store, StoreOptions};
use crate::storage::store_lock::Absent;
use crate::types::{NodeId, RandomId};

/// Opens a store, or creates it, and applies everything in its log: for who alone decides what is
/// committed.
///
/// # Errors
/// Those of [`Store::open`] and of [`replay`].
pub(crate) fn open_replayed(env: &Env, config: &StoreConfig) -> Result<(Store, Replayed)> {
    let store = open_store(env, config, config.unsynced_bytes_max, None)?;
    purge_behind_tables(&store)?;
    let (log, tables) = (store.log(), store.tables());
    let read_ahead = if config.worker_threads > 0 { ReadAhead::Thread } else { ReadAhead::Inline };
    let (head, set, hard) = (tables.manifest_head(), tables.set(), log.hard_state());
    let replayed =
        replay(head.as_ref(), set, hard, read_ahead, |range, bytes| log.read_range(range, bytes))?;
    Ok((store, replayed))
}

/// Opens a store, or creates it, with the state of its newest manifest. Nothing behind that is
/// applied: of a voter among several only the others together know what is committed. The digest is
/// tracked from there on: where the manifest does not have it, the whole state is read.
///
/// The log does not bound what is unsynced: whoever appends does, and waits elsewhere than on the
/// device.
///
/// # Errors
/// Those of [`Store::open`]; `IdentityMismatch` for a directory of another node, or of another
/// cluster than `cluster`; `Serialization` for a manifest of a newer release;
/// `Corrupt`, `Io` of a table.
#[cfg_attr(not(any(test, feature = "raft")), expect(dead_code, reason = "for clusters"))]
pub(crate) fn open_machine(
    env: Env,
    config: &StoreConfig,
    cluster: Option<RandomId>,
) -> Result<Machine> {
    let store = open_store(&env, config, u64::MAX, cluster)?;
    check_identity(&store, config.node_id, cluster)?;
    let tables = store.tables();
    let mut replica = checkpoint(tables.manifest_head().as_ref(), tables.set())?;
    replica.kv.track_digest()?;
    Ok(Machine::new(env, store, replica, Pressure::default(), Keeping::new(config)))
}

/// Refuses the directory of somebody else.
fn check_identity(store: &Store, node: NodeId, cluster: Option<RandomId>) -> Result<()> {
    let identity = store.identity();
    let directory = store.directory().display();
    let refuse = |text: String| Err(Error::IdentityMismatch(text));
    if identity.node != node {
        let found = identity.node;
        return refuse(format!("{directory} belongs to node {found}, expected node {node}"));
    }
    match cluster {
        Some(cluster) if cluster != identity.cluster => {
            let found = identity.cluster;
            refuse(format!("{directory} belongs to cluster {found}, expected {cluster}"))
        }
        _ => Ok(()),
    }
}

fn open_store(
    env: &Env,
    config: &StoreConfig,
    unsynced_bytes_max: u64,
    cluster: Option<RandomId>,
) -> Result<Store> {
    let options = StoreOptions {
        segment_bytes_max: config.max_segment_size,
        unsynced_bytes_max,
        wait_max: config.submit_timeout,
        reserve_bytes: config.disk_reserve,
        node: config.node_id,
        cluster,
        tail: TailPolicy::Refuse,
        absent: Absent::Create,
        tables: table_options(config),
    };
    Ok(Store::open(env.clone(), &config.data_dir, &options)?)
}

/// Where the log ends before the state in the tables, purges it up to there, so that it goes on
/// behind it. So it is where the last entries of a log were damaged and cut that tables have.
fn purge_behind_tables(store: &Store) -> Result<()> {
    let (Some(head), log) = (store.tables().manifest_head(), store.log()) else { return Ok(()) };
    if log.hard_state().last.is_none_or(|last| last.index < head.last.index) {
        tracing::warn!(last = %head.last.index, "the log ends before the state in the tables");
        log.purge(head.last)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::sync::atomic::{AtomicBool, Ordering};

    use bytes::Bytes;

    use super::*;
    use crate::command::{Command, Guard, SessionId, StateCheck, codec, reserved_key};
    use crate::engine::compaction::{Effort, Frozen, KeepLog, Merges, Rules, compact};
    use crate::engine::pressure::Marks;
    use crate::engine::replay::check_counts;
    use crate::engine::rest::Rest;
    use crate::env::Simulated;
    use crate::env::rng::SeededRng;
    use crate::state::{Looked, StateDigest};
    use crate::storage::log_entry::{Completion, EntryKind, EntryRef};
    use crate::storage::log_writer::Purpose;
    use crate::storage::manifest::ManifestHead;
    use crate::types::{LogId, LogIndex, NodeId, Term, Timestamp};

    const ENTRIES: u64 = 2_500;

    /// A node that is given committed entries.
    struct Node {
        sim: Simulated,
        config: StoreConfig,
        machine: Machine,
        frozen: Option<Frozen>,
    }

    impl Node {
        fn new() -> Self {
            Self::with_segments_of(StoreConfig::default().max_segment_size)
        }

        fn with_segments_of(max_segment_size: u64) -> Self {
            let sim = Env::simulated(7);
            let config = StoreConfig {
                data_dir: "/data".into(),
                worker_threads: 0,
                max_segment_size,
                ..StoreConfig::default()
            };
            let machine = open_machine(sim.env.clone(), &config, None).unwrap();
            Self { sim, config, machine, frozen: None }
        }

        /// One with a plain row and two that are reserved, all of them in a table.
        fn with_reserved_rows(plain: &'static str) -> Self {
            let mut node = Self::new();
            node.apply(Command::set(plain, "1"));
            let sets = ["x", "y"].map(|name| Command::set(reserved_key(name.as_bytes()), "2"));
            node.apply(Command::reserved([], sets));
            node.compact();
            node
        }

        fn apply(&mut self, command: Command) {
            apply_to(&self.machine, command);
        }

        fn compact(&mut self) {
            let marks = Marks { behind: 1, tail: 1, stale: 1, stale_max: 1, stale_gathered: 1 };
            let rules = Rules { keep_log: KeepLog::Purge, marks, merges: Merges::Do };
            let effort = Effort::Due { threshold: 4_000 };
            compact(&self.machine, &mut self.frozen, rules, effort).unwrap();
        }

        /// Opens what is on the disk; what the log has behind the manifest is applied again.
        fn reopen(self) -> Self {
            let Self { sim, config, machine, .. } = self;
            let last = machine.replica.read().last.unwrap().index;
            machine.store.log().sync().unwrap();
            drop(machine);
            let machine = open_machine(sim.env.clone(), &config, None).unwrap();
            let begin = machine.replica.read().last.map_or(LogIndex(1), |last| last.index.next());
            let mut next = begin;
            while next <= last {
                let entries = machine.store.log().read_range(next..last.next(), 1 << 16).unwrap();
                let mut replica = machine.replica.write();
                for entry in entries {
                    let command = codec::decode(&entry.payload, 1 << 20).unwrap();
                    let bytes = entry.payload.len();
                    machine
                        .apply(
                            &mut replica,
                            entry.id,
                            entry.clock,
                            command,
                            Looked::default(),
                            bytes,
                        )
                        .unwrap();
                    next = entry.id.index.next();
                }
            }
            Self { sim, config, machine, frozen: None }
        }

        fn digests(&self) -> (StateCheck, StateDigest) {
            let replica = self.machine.replica.read();
            (replica.kv.state_check().unwrap(), replica.kv.digest().unwrap())
        }

        fn recorded(&self, index: u64) -> Option<StateCheck> {
            self.machine.replica.read().kv.recorded(LogIndex(index))
        }

        fn validate(&self) {
            self.machine.replica.read().kv.validate().unwrap();
        }
    }

    /// Appends and applies a committed entry.
    fn apply_to(machine: &Machine, command: Command) {
        let last = machine.replica.read().last.map_or(0, |last| last.index.0);
        let index = LogIndex(last + 1);
        let id = LogId { term: Term(1), leader: NodeId(1), index };
        let clock = Timestamp(index.0 * 1_000_000);
        let payload = Bytes::from(codec::encode(&command).to_payload());
        let kind = EntryKind::Normal;
        let entry = EntryRef { id, clock, kind, payload: [&payload, &[]] };
        machine.store.log().append_refs(&[entry], Purpose::Grow, Completion::none()).unwrap();
        let (mut replica, looked) = (machine.replica.write(), Looked::default());
        machine.apply(&mut replica, id, clock, command, looked, payload.len()).unwrap();
    }

    fn any_change(rng: &SeededRng) -> Command {
        let key = || format!("{:02}", rng.up_to(60));
        let value = || vec![b'v'; usize::try_from(rng.up_to(40)).unwrap()];
        match rng.up_to(9) {
            0 | 1 => Command::delete(key()),
            2 => Command::delete_prefix(format!("{}", rng.up_to(5))),
            3 => {
                let commands = [Command::set(key(), value()), Command::delete(key())];
                Command::guarded([Guard::present(key())], commands)
            }
            _ => Command::set(key(), value()),
        }
    }

    fn any_command(rng: &SeededRng) -> Command {
        let session = SessionId([u8::try_from(rng.up_to(3)).unwrap(); 16]);
        match rng.up_to(9) {
            0 => Command::open_session(session),
            1..=3 => Command::in_session(session, 1 + rng.up_to(40), any_change(rng)),
            _ => any_change(rng),
        }
    }

    #[test]
    fn digest_and_sessions_are_the_same_whatever_was_compacted_and_opened_again() {
        let (rng, choices) = (SeededRng::new(3), SeededRng::new(4));
        let (mut plain, mut restless) = (Node::new(), Node::new());
        let mut found = 0;
        for index in 1..=ENTRIES {
            // A check, when both know what to compare.
            let checked = index.is_multiple_of(1_000).then(|| plain.recorded(index - 1_000));
            let command = match checked.flatten() {
                Some(digest) => {
                    found += 1;
                    Command::Check { index: LogIndex(index - 1_000), digest: Some(digest) }
                }
                None => any_command(&rng),
            };
            plain.apply(command.clone());
            restless.apply(command);
            match choices.up_to(199) {
                0..=3 => restless.compact(),
                4 => restless = restless.reopen(),
                5 => {
                    restless.compact();
                    restless = restless.reopen();
                }
                _ => {}
            }
            if index.is_multiple_of(100) {
                restless.validate();
                assert_eq!(restless.digests(), plain.digests(), "{index}");
            }
        }
        assert!(found > 0);
        for node in [&plain, &restless] {
            assert_eq!(node.machine.replica.read().kv.diverged(), None);
            assert!(node.machine.replica.read().kv.as_view().sessions().len() > 2);
        }
    }

    // Of a store that compacts by itself and of the snapshots of a cluster alike.
    #[test]
    fn a_compaction_that_is_due_ends_beside_a_writer_that_does_not_rest() {
        const ROWS: u64 = 50_000;
        // Tables of 32 KiB: a merge takes many steps, and the tail is written between them.
        let mut node = Node::with_segments_of(64 << 10);
        let set = |n: u64| Command::set(format!("{n:08}"), vec![b'v'; 100]);
        let marks = Marks {
            behind: 16 << 10,
            tail: 1 << 30,
            stale: 1 << 30,
            stale_max: 1 << 30,
            stale_gathered: 1 << 30,
        };
        let rules = Rules { keep_log: KeepLog::Keep, marks, merges: Merges::Do };
        let effort = Effort::Due { threshold: 1 << 30 };
        for run in 0..6 {
            (0..2_000).for_each(|n| node.apply(set(run * 2_000 + n)));
            compact(&node.machine, &mut node.frozen, rules, effort).unwrap();
        }
        node.apply(set(ROWS));
        let Node { machine, frozen, .. } = &mut node;
        let is_over = AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            let machine = &*machine;
            let writer = scope.spawn(|| {
                let mut written = 0;
                while written < ROWS && !is_over.load(Ordering::Acquire) {
                    // As far ahead as a writer gets, and no further.
                    if machine.load.pressure().behind < 24 << 10 {
                        apply_to(machine, set(ROWS + written));
                        written += 1;
                    } else {
                        std::thread::yield_now();
                    }
                }
                written
            });
            while machine.load.pressure().behind < marks.behind {
                std::thread::yield_now();
            }
            compact(machine, frozen, rules, effort).unwrap();
            is_over.store(true, Ordering::Release);
            writer.join().unwrap()
        });
        assert!(written < ROWS, "it went on for as long as there were writes");
    }

    // So that a store is closed, and a snapshot installed, without waiting for minutes.
    #[test]
    fn a_merge_in_the_background_rests_where_something_waits_for_it_and_goes_on_later() {
        let mut node = Node::with_segments_of(64 << 10);
        let marks = Marks {
            behind: 1,
            tail: 1,
            stale: 1 << 30,
            stale_max: 1 << 30,
            stale_gathered: 1 << 30,
        };
        let rules = Rules { keep_log: KeepLog::Purge, marks, merges: Merges::Do };
        let effort = Effort::Due { threshold: 1 << 30 };
        let is_under_way = |machine: &Machine| {
            machine.store.tables().set().runs().iter().any(|run| run.is_being_merged())
        };
        for run in 0..7 {
            for n in 0..2_000 {
                node.apply(Command::set(format!("{n:06}-{run}"), vec![b'v'; 100]));
            }
            let Node { machine, frozen, .. } = &mut node;
            let rests = || compact(machine, frozen, rules, effort).unwrap();
            machine.while_merges_rest(rests);
        }
        assert!(is_under_way(&node.machine));
        compact(&node.machine, &mut node.frozen, rules, effort).unwrap();
        assert!(!is_under_way(&node.machine));
        node.validate();
    }

    #[test]
    fn a_manifest_with_a_digest_spares_the_scan() {
        let mut node = Node::new();
        node.apply(Command::set("a", "1"));
        node.apply(Command::set("b", "2"));
        node.compact();
        let (_, digest) = node.digests();
        let node = node.reopen();
        let sum = node.machine.replica.read().kv.sum();
        let head = node.machine.store.tables().manifest_head();
        let replica = checkpoint(head.as_ref(), node.machine.store.tables().set()).unwrap();
        assert!(sum.is_some());
        assert_eq!(replica.kv.sum(), sum);
        assert_eq!(replica.kv.digest().unwrap(), digest);
    }

    #[test]
    fn a_put_is_what_it_is_although_a_merge_takes_the_tombstone_away_that_it_has_seen() {
        let mut node = Node::new();
        node.apply(Command::set("other", "1"));
        node.apply(Command::set("key", "1"));
        node.compact();
        node.apply(Command::delete("key"));
        let marks = Marks { behind: 1, tail: 1, stale: 1, stale_max: 1, stale_gathered: 1 };
        let rules = Rules { keep_log: KeepLog::Purge, marks, merges: Merges::Leave };
        let effort = Effort::Due { threshold: 1 << 20 };
        compact(&node.machine, &mut node.frozen, rules, effort).unwrap();
        assert_eq!(node.machine.store.tables().set().runs().len(), 2);
        let set = Command::set("key", "2");
        let looked = node.machine.replica.read().kv.check(&set).unwrap();
        let rules = Rules { merges: Merges::Do, ..rules };
        compact(&node.machine, &mut node.frozen, rules, Effort::All).unwrap();
        assert_eq!(node.machine.store.tables().set().rows(), 1);
        let mut replica = node.machine.replica.write();
        let last = replica.last.unwrap();
        let id = LogId { index: last.index.next(), ..last };
        node.machine.apply(&mut replica, id, Timestamp(0), set, looked, 1).unwrap();
        replica.kv.validate().unwrap();
        assert_eq!(replica.kv.as_view().len(), 2);
    }

    #[test]
    fn what_a_removal_of_plain_keys_takes_has_nothing_of_reserved_ones() {
        let node = Node::with_reserved_rows("key");
        let replica = node.machine.replica.read();
        let bytes = |command| replica.kv.check(&command).unwrap().tombstone_bytes();
        let of_one = bytes(Command::delete_prefix("key"));
        assert_eq!(bytes(Command::delete_prefix("")), of_one);
        let reserved = Command::delete_prefix(reserved_key(b""));
        assert!(bytes(Command::reserved([], [reserved])) > of_one);
    }

    #[test]
    fn a_manifest_says_how_many_keys_there_are_and_where_that_cannot_be_they_are_counted() {
        let node = Node::with_reserved_rows("a");
        let node = node.reopen();
        node.validate();
        let tables = node.machine.store.tables();
        let mut head = tables.manifest_head().unwrap();
        let mut rest = Rest::decode(&head.sessions).unwrap();
        assert_eq!(rest.reserved_keys, NonZeroU64::new(2));
        let counts = |head: &ManifestHead| {
            let replica = checkpoint(Some(head), tables.set()).unwrap();
            let view = replica.kv.as_view();
            (view.keys_of_all(), view.reserved_keys(), view.live_bytes())
        };
        let (keys, bytes) = (head.keys, head.live_bytes);
        // What an older release wrote, what is believed, and what cannot be.
        for (said, counted) in [(0, 2), (3, 3), (4, 2)] {
            rest.reserved_keys = NonZeroU64::new(said);
            head.sessions = rest.encode();
            assert_eq!(counts(&head), (keys, counted, bytes), "{said:?}");
            assert_eq!(check_counts(&head).is_ok(), said <= keys, "what another node says");
        }
        rest.reserved_keys = NonZeroU64::new(2);
        head.sessions = rest.encode();
        for (told_keys, live_bytes, counted) in [
            (keys, bytes, (keys, 2, bytes)),
            (keys - 1, bytes, (keys - 1, 2, bytes)),
            (keys + 1, bytes, (keys, 2, bytes)),
            (keys - 1, bytes + 1, (keys, 2, bytes)),
            (u64::MAX, u64::MAX, (keys, 2, bytes)),
        ] {
            let told = ManifestHead { keys: told_keys, live_bytes, ..head.clone() };
            assert_eq!(counts(&told), counted);
        }
    }

    #[test]
    fn a_manifest_that_counts_otherwise_is_written_anew_although_no_entry_came() {
        let mut node = Node::new();
        node.apply(Command::set("a", "1"));
        node.apply(Command::set("b", "2"));
        node.compact();
        let head = || node.machine.store.tables().manifest_head().unwrap();
        let (said, told) = (head(), ManifestHead { keys: 1, ..head() });
        let other = checkpoint(Some(&told), node.machine.store.tables().set()).unwrap();
        *node.machine.replica.write() = other;
        node.compact();
        let written = node.machine.store.tables().manifest_head().unwrap();
        assert_eq!((written.last, said.keys, written.keys), (said.last, 2, 1));
        assert_eq!(node.machine.store.tables().set().rows(), 2);
    }

    #[test]
    fn what_a_manifest_says_too_little_of_stops_nobody() {
        let mut node = Node::new();
        let sets = ["x", "y"].map(|name| Command::set(reserved_key(name.as_bytes()), "2"));
        node.apply(Command::reserved([], sets));
        node.apply(Command::set("a", "1"));
        node.apply(Command::set("b", "1"));
        node.compact();
        let tables = node.machine.store.tables();
        let mut rest = Rest::decode(&tables.manifest_head().unwrap().sessions).unwrap();
        rest.reserved_keys = NonZeroU64::new(1);
        let sessions = rest.encode();
        let head = tables.manifest_head().unwrap();
        let told = ManifestHead { keys: 1, live_bytes: 1, sessions, ..head };
        let mut replica = checkpoint(Some(&told), tables.set()).unwrap();
        for (at, command) in [
            Command::delete("a"),
            Command::delete("b"),
            Command::reserved([], [b"x", b"y"].map(|it| Command::delete_prefix(reserved_key(it)))),
        ]
        .into_iter()
        .enumerate()
        {
            let index = told.last.index.0 + 1 + at as u64;
            let id = LogId { index: LogIndex(index), ..told.last };
            node.machine
                .apply(&mut replica, id, Timestamp(0), command, Looked::default(), 1)
                .unwrap();
            // Or the next opening would refuse what is written of it.
            let view = replica.kv.as_view();
            assert!(view.keys_of_all() >= view.reserved_keys());
        }
        let view = replica.kv.as_view();
        assert_eq!((view.len(), view.reserved_keys(), view.live_bytes()), (0, 0, 0));
    }

    const IMAGE_ROWS: u32 = 8_000;

    /// More than is read when a store is opened.
    fn image_row(number: u32) -> (String, Vec<u8>) {
        (format!("key-{number:06}"), vec![7; 200])
    }

    /// All of them in one table.
    fn node_with_image_rows() -> Node {
        let mut node = Node::new();
        for (key, value) in (0..IMAGE_ROWS).map(image_row) {
            node.apply(Command::Set { key: key.into(), value: value.into() });
        }
        node.compact();
        node
    }

    /// Gets each of them from the tables.
    fn get_image_rows(node: &Node) {
        for (key, _) in (0..IMAGE_ROWS).map(image_row) {
            node.machine.store.tables().set().get(key.as_bytes()).unwrap().unwrap();
        }
    }

    #[test]
    fn without_a_thread_a_compaction_has_tables_that_are_asked_for_read_whole() {
        let node = node_with_image_rows();
        assert_eq!(node.machine.store.tables().set().images(), 1, "what was just written");
        let mut node = node.reopen();
        assert_eq!(node.machine.store.tables().set().images(), 0);
        get_image_rows(&node);
        assert_eq!(node.machine.store.tables().set().images(), 0);
        node.apply(Command::Set { key: "other".into(), value: "1".into() });
        node.compact();
        let set = node.machine.store.tables().set();
        assert_eq!((set.tables().count(), set.images()), (2, 2));
    }

    #[test]
    fn no_image_is_begun_when_the_store_ends() {
        let mut node = node_with_image_rows();
        for is_ending in [true, false] {
            node = node.reopen();
            get_image_rows(&node);
            let tables = node.machine.store.tables();
            if is_ending {
                tables.image_bell().expect();
                tables.image_bell().stop();
            }
            tables.ask_for_images();
            assert_eq!(tables.set().images(), usize::from(!is_ending));
        }
    }

    #[test]
    fn a_thread_reads_tables_whole_that_are_asked_for_and_ends_with_the_store() {
        use crate::engine::{KvEngine, SingleNodeEngine};
        use std::time::Duration;
        let directory = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            data_dir: directory.path().join("data"),
            worker_threads: 1,
            fsync_interval: Duration::from_millis(100),
            ..StoreConfig::default()
        };
        let engine = SingleNodeEngine::with_config(config.clone()).unwrap();
        for (key, value) in (0..IMAGE_ROWS).map(image_row) {
            engine.put(key.into_bytes(), value).unwrap();
        }
        engine.close().unwrap();
        let engine = SingleNodeEngine::with_config(config).unwrap();
        let images = || engine.inner.committer.machine.store.tables().set().images();
        assert_eq!(images(), 0);
        for (key, value) in (0..IMAGE_ROWS).map(image_row) {
            assert_eq!(engine.get(key.as_bytes()).unwrap().as_deref(), Some(&*value));
        }
        let clock = &engine.inner.committer.machine.env.clock;
        let until = clock.elapsed() + Duration::from_mins(1);
        while images() == 0 {
            assert!(clock.elapsed() < until, "nobody reads it");
            std::thread::yield_now();
        }
        for (key, value) in (0..IMAGE_ROWS).map(image_row) {
            assert_eq!(engine.get(key.as_bytes()).unwrap().as_deref(), Some(&*value));
        }
        engine.close().unwrap();
    }
}
