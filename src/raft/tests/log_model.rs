//! The log against a model: any sequence of appends, truncations, purges and restarts, with a cache
//! of any size.

use std::collections::BTreeMap;

use openraft::entry::RaftEntry;
use openraft::storage::{RaftLogReader, RaftLogStorage};
use proptest::prelude::*;

use super::{append_synced, id, normal, open_with, run};
use crate::command::Command;
use crate::env::fs_sim::SimFs;
use crate::raft::log_store::{LogStore, LogStoreLimits};
use crate::raft::type_config::{log_id_of, raft_log_id_of};
use crate::types::LogId;

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    /// Keeps so many of what there is, in percent.
    Truncate(u64),
    Purge(u64),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..30_u64).prop_map(Step::Append),
        2 => (0..=100_u64).prop_map(Step::Truncate),
        1 => (0..=110_u64).prop_map(Step::Purge),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..25)
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<u64, LogId>,
    purged: Option<LogId>,
    term: u64,
}

impl Model {
    fn next(&self) -> u64 {
        let last = self.entries.values().next_back().copied().or(self.purged);
        last.map_or(0, |last| last.index.0 + 1)
    }

    fn at(&self, percent: u64) -> u64 {
        let first = self.entries.keys().next().copied().unwrap_or_default();
        first + (self.next() - first) * percent / 100
    }
}

async fn check(log: &mut LogStore, model: &Model) {
    let entries = log.try_get_log_entries(..).await.unwrap();
    let read: Vec<LogId> = entries.iter().map(|entry| log_id_of(&entry.log_id())).collect();
    assert_eq!(read, model.entries.values().copied().collect::<Vec<_>>());
    let state = log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id.map(|id| log_id_of(&id)), model.purged);
    let last = model.entries.values().next_back().copied().or(model.purged);
    assert_eq!(state.last_log_id.map(|id| log_id_of(&id)), last);
    for (&index, _) in model.entries.iter().step_by(7) {
        let some = log.limited_get_log_entries(index, model.next()).await.unwrap();
        assert_eq!(some[0].log_id().index, index);
    }
}

async fn follow(steps: Vec<Step>, cache_bytes_max: usize) {
    let mut fs = SimFs::new(2);
    let limits =
        LogStoreLimits { cache_bytes_max, read_bytes_max: 100, ..LogStoreLimits::default() };
    let mut storage = open_with(&fs, limits);
    let mut model = Model::default();
    for step in steps {
        let log = &mut storage.log;
        match step {
            Step::Append(count) => {
                model.term += 1;
                let ids: Vec<LogId> =
                    (model.next()..model.next() + count).map(|i| id(model.term, i)).collect();
                let set =
                    |id: &LogId| normal(id.term.0, id.index.0, Command::set("key", vec![7; 40]));
                append_synced(log, ids.iter().map(set).collect()).await;
                model.entries.extend(ids.into_iter().map(|id| (id.index.0, id)));
            }
            Step::Truncate(percent) => {
                let from = model.at(percent);
                drop(model.entries.split_off(&from));
                let kept = model.entries.values().next_back().copied().or(model.purged);
                log.truncate_after(kept.map(raft_log_id_of)).await.unwrap();
            }
            Step::Purge(percent) => {
                let upto = model.at(percent);
                let upto = model.entries.get(&upto).copied().unwrap_or(id(model.term, upto));
                if model.purged.is_none_or(|purged| purged.index < upto.index) {
                    model.entries = model.entries.split_off(&(upto.index.0 + 1));
                    model.purged = Some(upto);
                    log.purge(raft_log_id_of(upto)).await.unwrap();
                }
            }
            // What is purged must be in a snapshot before a directory is opened again.
            Step::Restart if model.purged.is_some() => {}
            Step::Restart => {
                drop(storage);
                fs = fs.kill();
                storage = open_with(&fs, limits);
            }
        }
        check(&mut storage.log, &model).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_what_a_model_says(
        steps in steps(),
        cache in prop_oneof![Just(1_usize), Just(2000), Just(1 << 20)],
    ) {
        run(follow(steps, cache));
    }
}
