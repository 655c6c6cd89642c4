//! One round: what waits is appended as one write, synced, applied and answered.

use std::task::Waker;

use super::{Committer, Leader};
use crate::command::{Command, codec};
use crate::engine::commit_queue::{Answer, Pending, answer_all};
use crate::error::{Error, Result};
use crate::state::{Applied, ApplyOutcome, Looked};
use crate::storage::error::StorageError;
use crate::storage::log_entry::{Completion, EntryKind, EntryRef};
use crate::storage::log_writer::Purpose;
use crate::types::{LogId, LogIndex, Timestamp};

/// Most room that is kept for the next command.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// A command that was not appended: who is told, and why.
type Refused = (Answer, Result<ApplyOutcome>);

impl Committer {
    /// Appends, syncs and applies one command of this thread.
    pub(super) fn commit_one(&self, command: Command, purpose: Purpose) -> Result<ApplyOutcome> {
        let started = self.start_timing();
        let mut leader = self.leader.lock();
        let looked = self.machine.check_looks(&command, 0)?;
        let id = LogId { term: self.term, leader: self.node, index: leader.next };
        let clock = self.machine.log_clock.now();
        let mut head = std::mem::take(&mut leader.scratch);
        codec::encode_head_into(&command, &mut head);
        let payload = [head.as_slice(), codec::body_of(&command)];
        let bytes = payload_len(payload);
        let entry = EntryRef { id, clock, kind: EntryKind::Normal, payload };
        let appended = self.machine.store.log().append_one(&entry, purpose);
        if head.capacity() <= SCRATCH_BYTES_MAX {
            leader.scratch = head;
        }
        appended.map_err(|error| self.refusal(error))?;
        leader.next = id.index.next();
        self.make_durable()?;
        let applied = {
            let mut replica = self.machine.replica.write();
            self.machine.apply(&mut replica, id, clock, command, looked, bytes)?
        };
        drop(leader);
        self.metrics.commits.increment(1);
        self.metrics.commit_bytes.increment(bytes as u64);
        self.metrics.batch_entries.record(1.0);
        self.stop_timing(started);
        Ok(applied.with_durability(self.rules.durability))
    }

    /// Appends, syncs, applies and answers a round.
    /// Gives back tasks that are to be woken: see [`answer_all`].
    pub(super) fn commit(&self, mut round: Vec<Pending>) -> Vec<Waker> {
        let started = self.start_timing();
        let mut leader = self.leader.lock();
        // Answering may run a caller's code, which may even close the store: not before all that is
        // going to be written is.
        let mut refused = self.refuse_unfit(&mut round);
        let clock = self.machine.log_clock.now();
        let first = leader.next;
        refused.extend(self.append_round(&leader, clock, &mut round));
        if round.is_empty() {
            drop(leader);
            return answer_all(refused);
        }
        leader.next = LogIndex(first.0 + round.len() as u64);
        if let Err(error) = self.make_durable() {
            drop(leader);
            refused.extend(round.into_iter().map(|it| (it.reply, Err(error.clone()))));
            return answer_all(refused);
        }
        let (mut answers, entries) = (refused, round.len());
        answers.reserve(entries);
        let durability = self.rules.durability;
        let mut bytes = 0;
        {
            let mut replica = self.machine.replica.write();
            let mut index = first;
            let mut failed = None;
            for pending in round {
                let len = pending.bytes();
                bytes += len as u64;
                let id = LogId { term: self.term, leader: self.node, index };
                // Those before it may have changed what was seen.
                let (command, looked) = (pending.command, Looked::default());
                // What comes behind an entry that could not be applied would see another state than
                // when the log is replayed.
                let applied = match &failed {
                    None => self.machine.apply(&mut replica, id, clock, command, looked, len),
                    Some(error) => Err(Error::clone(error)),
                };
                failed = failed.or_else(|| applied.as_ref().err().cloned());
                let told = applied.map(|applied: Applied| applied.with_durability(durability));
                answers.push((pending.reply, told));
                index = index.next();
            }
        }
        drop(leader);
        self.metrics.commits.increment(entries as u64);
        self.metrics.commit_bytes.increment(bytes);
        self.metrics.batch_entries.record(entries as f64);
        self.stop_timing(started);
        answer_all(answers)
    }

    /// Takes the commands out of the round that the machine refuses: see
    /// [`check_looks`](crate::engine::machine::Machine::check_looks).
    fn refuse_unfit(&self, round: &mut Vec<Pending>) -> Vec<Refused> {
        let mut tombstone_bytes = 0;
        let mut check = |pending: &Pending| {
            let looked = self.machine.check_looks(&pending.command, tombstone_bytes)?;
            tombstone_bytes += looked.tombstone_bytes();
            Ok(())
        };
        let mut refused = Vec::new();
        let first = round.iter().position(|pending| check(pending).is_err());
        for pending in first.map_or_else(Vec::new, |first| round.split_off(first)) {
            match check(&pending) {
                Ok(()) => round.push(pending),
                Err(error) => refused.push((pending.reply, Err(error))),
            }
        }
        refused
    }

    /// Appends the commands of a round as one write. Gives back what was refused; on a full disk
    /// each is tried by itself, and the others are appended.
    fn append_round(
        &self,
        leader: &Leader,
        clock: Timestamp,
        round: &mut Vec<Pending>,
    ) -> Vec<Refused> {
        if round.is_empty() {
            return Vec::new();
        }
        let grows = round.iter().any(|pending| pending.purpose == Purpose::Grow);
        let purpose = if grows { Purpose::Grow } else { Purpose::Relieve };
        match self.append(leader.next, clock, round, purpose) {
            Ok(()) => Vec::new(),
            Err(error) if error.is_disk_full() && round.len() > 1 => {
                self.append_each(leader.next, clock, round)
            }
            Err(error) => {
                let error = self.refusal(error);
                let all = std::mem::take(round).into_iter();
                all.map(|it| (it.reply, Err(error.clone()))).collect()
            }
        }
    }

    /// As [`Self::append_round`], each command as a write of its own.
    fn append_each(
        &self,
        first: LogIndex,
        clock: Timestamp,
        round: &mut Vec<Pending>,
    ) -> Vec<Refused> {
        let mut refused = Vec::new();
        // What is no shorter than new data that found no room finds none either.
        let mut too_long: Option<(usize, Error)> = None;
        for pending in std::mem::take(round) {
            let len = pending.bytes();
            let is_new = pending.purpose == Purpose::Grow;
            if is_new
                && let Some((shortest, error)) = &too_long
                && len >= *shortest
            {
                refused.push((pending.reply, Err(error.clone())));
                continue;
            }
            let next = LogIndex(first.0 + round.len() as u64);
            match self.append(next, clock, std::slice::from_ref(&pending), pending.purpose) {
                Ok(()) => round.push(pending),
                Err(error) => {
                    let is_too_long = is_new && error.is_disk_full();
                    let error = self.refusal(error);
                    if is_too_long {
                        too_long = Some((len, error.clone()));
                    }
                    refused.push((pending.reply, Err(error)));
                }
            }
        }
        refused
    }

    /// Appends commands as entries from `index` on.
    fn append(
        &self,
        mut index: LogIndex,
        clock: Timestamp,
        round: &[Pending],
        purpose: Purpose,
    ) -> std::result::Result<(), StorageError> {
        let mut entries = Vec::with_capacity(round.len());
        for pending in round {
            let id = LogId { term: self.term, leader: self.node, index };
            let payload = [pending.head.as_slice(), codec::body_of(&pending.command)];
            entries.push(EntryRef { id, clock, kind: EntryKind::Normal, payload });
            index = index.next();
        }
        self.machine.store.log().append_refs(&entries, purpose, Completion::none())
    }
}

fn payload_len(payload: [&[u8]; 2]) -> usize {
    payload[0].len() + payload[1].len()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use metrics_util::CompositeKey;
    use metrics_util::debugging::DebugValue;
    use parking_lot::Mutex;

    use super::*;
    use crate::config::StoreConfig;
    use crate::engine::commit_queue::purpose_of;
    use crate::engine::submission::Reply;
    use crate::engine::{KvEngine, SingleNodeEngine, SnapshotEngine};
    use crate::env::fs_sim::{Operation, SimError, SimFs};
    use crate::env::{Env, Simulated};

    /// A command in the queue, of which `tell` is told the answer.
    fn pending(
        command: Command,
        tell: impl FnOnce(Result<ApplyOutcome>) + Send + 'static,
    ) -> Pending {
        Pending {
            head: codec::encode_head(&command),
            purpose: purpose_of(&command),
            command,
            reply: Answer::new(Reply::Callback(Box::new(tell))),
        }
    }

    /// Commits a round whose first command looks at a row that no cache keeps, on a disk that fails
    /// at this operation of it. Returns the answers, and where tables were read when it was in the
    /// log.
    fn round_that_fails_at(operation: Option<usize>) -> (SimFs, Vec<Result<()>>, Vec<usize>) {
        let Simulated { env, fs, .. } = Env::simulated(3);
        let config = StoreConfig {
            data_dir: "/data".into(),
            worker_threads: 0,
            memory_budget: 1 << 20,
            ..StoreConfig::default()
        };
        let engine = SingleNodeEngine::with_env(&config, env).unwrap();
        engine.put(b"long".to_vec(), vec![7; 1 << 20]).unwrap();
        engine.run_compaction_now().unwrap();
        let answers = Arc::new(Mutex::new(Vec::new()));
        let set = |key: &str| {
            let told = Arc::clone(&answers);
            let tell = move |result: Result<_>| told.lock().push(result.map(|_| ()));
            pending(Command::set(key.to_owned(), "new"), tell)
        };
        fs.start_trace();
        if let Some(at) = operation {
            fs.fail_operation(fs.operations() + 1 + at as u64, SimError::Io);
        }
        engine.inner.committer.commit(vec![set("long"), set("other")]);
        let is_table_read = |operation: Operation, path: &std::path::Path| {
            operation == Operation::Read && path.starts_with("/data/tables")
        };
        let trace = fs.take_trace();
        let written = trace.iter().rposition(|it| it.operation == Operation::Write).unwrap();
        let reads = trace.iter().enumerate().skip(written);
        let reads = reads.filter(|(_, it)| is_table_read(it.operation, &it.path));
        let reads = reads.map(|(at, _)| at).collect();
        let answers = std::mem::take(&mut *answers.lock());
        (fs.kill(), answers, reads)
    }

    /// How often something was counted meanwhile, on this thread.
    fn counted(name: &str, work: impl FnOnce()) -> u64 {
        let recorder = metrics_util::debugging::DebuggingRecorder::new();
        let seen = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, work);
        let of_name = |(key, _, _, value): (CompositeKey, _, _, DebugValue)| match value {
            DebugValue::Counter(count) if key.key().name() == name => count,
            _ => 0,
        };
        seen.snapshot().into_vec().into_iter().map(of_name).sum()
    }

    #[test]
    fn each_command_that_is_refused_counts_and_a_store_that_is_given_back_does_not() {
        let refused = |fails_sync: bool| {
            let Simulated { env, fs, .. } = Env::simulated(3);
            let config = StoreConfig {
                data_dir: "/data".into(),
                worker_threads: 0,
                fsync_interval: Duration::ZERO,
                ..StoreConfig::default()
            };
            let engine = SingleNodeEngine::with_env(&config, env).unwrap();
            if fails_sync {
                fs.fail_all_syncs();
            }
            let sets = ["a", "b", "c"].map(|key| pending(Command::set(key, "1"), drop));
            let refused = counted(crate::metrics::REFUSED_TOTAL, || {
                engine.inner.committer.commit(Vec::from(sets));
                assert_eq!(engine.put(b"d".to_vec(), b"1".to_vec()).is_err(), fails_sync);
            });
            let store = &engine.inner.committer.machine.store;
            let stopped = counted(crate::metrics::POISONED_TOTAL, || store.log().shut());
            (refused, stopped)
        };
        assert_eq!(refused(false), (0, 0));
        // What comes when it has stopped is not even tried.
        assert_eq!(refused(true), (3, 0));
    }

    #[test]
    fn on_a_full_disk_what_fits_is_written_beside_what_does_not() {
        let Simulated { env, fs, .. } = Env::simulated(3);
        let config =
            StoreConfig { data_dir: "/data".into(), worker_threads: 0, ..StoreConfig::default() };
        let engine = SingleNodeEngine::with_env(&config, env).unwrap();
        engine.put(b"gone".to_vec(), b"1".to_vec()).unwrap();
        let answers = Arc::new(Mutex::new(Vec::new()));
        let last_at_refusal = Arc::new(Mutex::new(None));
        let told_of = |command: Command| {
            let (told, last) = (Arc::clone(&answers), Arc::clone(&last_at_refusal));
            let inner = Arc::clone(&engine.inner);
            let tell = move |result: Result<ApplyOutcome>| {
                if result.is_err() {
                    *last.lock() = inner.committer.machine.store.log().hard_state().last;
                }
                told.lock().push(result.map(|outcome| outcome.version.0));
            };
            pending(command, tell)
        };
        fs.set_space(Some(fs.used_bytes()));
        let refused = counted(crate::metrics::REFUSED_TOTAL, || {
            engine.inner.committer.commit(vec![
                told_of(Command::set("a", "1")),
                told_of(Command::set("large", vec![7; 8 << 20])),
                told_of(Command::delete("gone")),
                told_of(Command::set("b", "2")),
            ]);
        });
        assert_eq!(refused, 1);
        let answers = std::mem::take(&mut *answers.lock());
        let first = engine.latest_version().0 - 2;
        match answers.as_slice() {
            [Err(Error::DiskFull(_)), Ok(a), Ok(deleted), Ok(b)] => {
                assert_eq!([*a, *deleted, *b], [first, first + 1, first + 2]);
            }
            other => panic!("{other:?}"),
        }
        // Whoever is told may close the store: nothing may be left to be written.
        let last = last_at_refusal.lock().map(|last: LogId| last.index.0);
        assert_eq!(last, Some(engine.latest_version().0));
        let get = |key: &str| engine.get(key.as_bytes()).unwrap().map(|value| value.len());
        assert_eq!(["a", "b", "gone", "large"].map(get), [Some(1), Some(1), None, None]);
    }

    #[test]
    fn what_comes_behind_an_entry_that_cannot_be_applied_is_not_applied_either() {
        let (_, answers, reads) = round_that_fails_at(None);
        assert!(answers.iter().all(Result::is_ok) && !reads.is_empty(), "{answers:?}");
        let (fs, answers, _) = round_that_fails_at(reads.first().copied());
        let is_unknown = |answer: &Result<()>| matches!(answer, Err(Error::OutcomeUnknown { .. }));
        assert!(answers.len() == 2 && answers.iter().all(is_unknown), "{answers:?}");
        // Both are in the log.
        let config = StoreConfig { data_dir: "/data".into(), ..StoreConfig::default() };
        let engine = SingleNodeEngine::with_env(&config, Env::simulated_on(fs, 1).env).unwrap();
        for key in ["long", "other"] {
            assert_eq!(engine.get(key.as_bytes()).unwrap().as_deref(), Some(&b"new"[..]));
        }
    }
}
