//! The way of a write: queue, leader, log, state, answer.
//!
//! Whoever submits while nobody commits becomes the *leader*: it appends its command, syncs where
//! the durability asks for it, applies, answers. Who comes meanwhile queues; the leader of the next
//! round takes all of them together, as one write and one sync. So a lone caller pays no hand-over,
//! and many share the device.
//!
//! The leader alone proposes and alone changes the state, so the log's order, the state's order and
//! the order of the answers are one.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::commit_queue::{Answer, Answering, CommitRules, Pending, Queue, answer_all, purpose_of};
use super::machine::Machine;
use super::submission::{Reply, Slot, Submission, Turn};
use crate::command::Command;
use crate::command::codec;
use crate::command::limits::validate_command;
use crate::error::{Error, Result};
use crate::metrics::EngineMetrics;
use crate::state::{Applied, ApplyOutcome, Durability, Looked};
use crate::storage::error::StorageError;
use crate::storage::log_entry::{Completion, EntryKind, EntryRef};
use crate::storage::log_writer::Purpose;
use crate::types::{LogId, LogIndex, NodeId, Term, Timestamp};

/// How often a caller whose write is not synced looks whether it can lead before it goes to sleep.
/// Measured with 1 to 8 threads on 2 cores: fewer make eight threads slower than one.
const LOOKS_BEFORE_SLEEP: usize = 100;

/// A round of fewer commands waits for more before it syncs. With more, measured with 8 threads and
/// beyond, it is better to sync meanwhile: waking so many callers takes as long as a sync.
const GATHER_BELOW: usize = 4;
/// How often in a row a leader looks for more callers in vain before it begins such a round.
const GATHER_LOOKS_IN_VAIN: usize = 3;

/// Most room that is kept for the next command.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// What only the leader touches.
#[derive(Debug)]
struct Leader {
    /// Index of the next entry.
    next: LogIndex,
    /// Room that a lone caller's command is encoded into.
    scratch: Vec<u8>,
}

/// The heart of an engine of one voter.
#[derive(Debug)]
pub(crate) struct Committer {
    pub(crate) machine: Machine,
    rules: CommitRules,
    node: NodeId,
    /// Of this opening: with one voter it never changes.
    term: Term,
    queue: Mutex<Queue>,
    /// Signalled when commands leave the queue.
    room: Condvar,
    /// Signalled when there are commands and nobody to lead.
    work: Condvar,
    leader: Mutex<Leader>,
    metrics: EngineMetrics,
}

impl Committer {
    /// `term` is this opening's, `machine` has applied everything in the log.
    pub(crate) fn new(machine: Machine, term: Term, rules: CommitRules) -> Self {
        let last = machine.replica.read().last;
        let next = last.map_or(LogIndex(0), |last| last.index.next());
        Self {
            node: machine.store.identity().node,
            term,
            machine,
            rules,
            queue: Mutex::new(Queue::default()),
            room: Condvar::new(),
            work: Condvar::new(),
            leader: Mutex::new(Leader { next, scratch: Vec::new() }),
            metrics: EngineMetrics::new(),
        }
    }

    pub(crate) const fn term(&self) -> Term {
        self.term
    }

    /// Commits a command on this thread, or waits until another has.
    ///
    /// # Errors
    /// As [`super::api::KvEngine::submit`].
    pub(crate) fn submit(&self, command: Command) -> Result<ApplyOutcome> {
        let purpose = self.check(&command)?;
        self.submit_checked(command, purpose)
    }

    /// As [`Self::submit`], for a command that is this engine's own and no caller's.
    ///
    /// # Errors
    /// As [`super::api::KvEngine::submit`].
    pub(crate) fn submit_own(&self, command: Command) -> Result<ApplyOutcome> {
        self.machine.store.log().check()?;
        let purpose = purpose_of(&command);
        self.submit_checked(command, purpose)
    }

    fn submit_checked(&self, command: Command, purpose: Purpose) -> Result<ApplyOutcome> {
        Answering::refuse()?;
        // A round that does not sync takes about a microsecond, and being woken takes several: so
        // whoever finds another leading looks again a few times before it goes to sleep. Where
        // rounds sync, it is better to wait together and share the sync.
        let looks = match self.rules.durability {
            Durability::Buffered => LOOKS_BEFORE_SLEEP,
            Durability::Synced => 1,
        };
        for look in 1..=looks {
            if self.take_lead()? {
                return self.lead_alone(command, purpose);
            }
            if look < looks {
                std::thread::yield_now();
            }
        }
        // Encoded without the lock; whoever leads by now may have ended meanwhile.
        let head = codec::encode_head(&command);
        let slot = Slot::new();
        let reply = Answer::new(Reply::Thread(Arc::clone(&slot)));
        let pending = Pending { command, head, purpose, reply };
        let mut queue = self.enqueue(self.queue.lock(), pending);
        let lead = !queue.leading;
        queue.leading = true;
        drop(queue);
        if lead {
            self.lead();
        }
        loop {
            match slot.turn() {
                Turn::Done(result) => return result,
                Turn::Lead => self.lead(),
            }
        }
    }

    /// Becomes the leader, if there is none and nobody waits. Whoever gets `true` must lead.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`.
    fn take_lead(&self) -> Result<bool> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(self.closed());
        }
        let takes = !queue.leading && queue.pending.is_empty();
        queue.leading |= takes;
        Ok(takes)
    }

    /// Hands a command in. The answer comes from whoever commits it.
    pub(crate) fn submit_async(&self, command: Command) -> Submission {
        if !self.rules.has_worker {
            return Submission::done(self.submit(command));
        }
        let slot = Slot::new();
        self.hand_in(command, Reply::Future(Arc::clone(&slot)));
        Submission::new(slot)
    }

    /// As [`Self::submit_async`], with any kind of reply.
    pub(crate) fn submit_with(&self, command: Command, reply: Reply) {
        if self.rules.has_worker {
            self.hand_in(command, reply);
        } else {
            reply.answer(self.submit(command));
        }
    }

    fn hand_in(&self, command: Command, reply: Reply) {
        let purpose = match self.check(&command) {
            Ok(purpose) => purpose,
            Err(error) => return reply.answer(Err(error)),
        };
        let head = codec::encode_head(&command);
        let queue = self.queue.lock();
        if queue.closed {
            drop(queue);
            return reply.answer(Err(self.closed()));
        }
        let pending = Pending { command, head, purpose, reply: Answer::new(reply) };
        let queue = self.enqueue(queue, pending);
        if !queue.leading {
            self.work.notify_one();
        }
    }

    /// Checks that a command may be proposed, and whether it needs room.
    fn check(&self, command: &Command) -> Result<Purpose> {
        self.machine.store.log().check()?;
        validate_command(command, &self.rules.limits)?;
        Ok(purpose_of(command))
    }

    /// Queues a command, after waiting for room. A command that gets none is answered `Overloaded`.
    fn enqueue<'a>(
        &'a self,
        mut queue: MutexGuard<'a, Queue>,
        pending: Pending,
    ) -> MutexGuard<'a, Queue> {
        let bytes = pending.bytes();
        let full = |queue: &mut Queue| {
            !queue.closed
                && !queue.pending.is_empty()
                && (queue.pending.len() >= self.rules.queue_commands_max
                    || queue.bytes.saturating_add(bytes) > self.rules.queue_bytes_max)
        };
        let waited = self.room.wait_while_for(&mut queue, full, self.rules.submit_timeout);
        if waited.timed_out() || queue.closed {
            let waiting = format!("{} commands wait for the writer", queue.pending.len());
            let error = if queue.closed { self.closed() } else { Error::Overloaded(waiting) };
            // The answer may run a caller's code, which must not meet our lock.
            MutexGuard::unlocked(&mut queue, || pending.reply.give(Err(error)));
            return queue;
        }
        queue.bytes += bytes;
        queue.pending.push_back(pending);
        self.metrics.queue.increment(1.0);
        queue
    }

    /// Commits one command of this thread, without a queue and without a hand-over.
    fn lead_alone(&self, command: Command, purpose: Purpose) -> Result<ApplyOutcome> {
        let leading = Leading(self);
        let started = self.start_timing();
        let mut leader = self.leader.lock();
        let looked = self.machine.check_looks(&command, 0).map_err(count_refused)?;
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
        let result = appended.map_err(|error| self.refusal(error)).and_then(|()| {
            leader.next = id.index.next();
            self.make_durable()?;
            let mut replica = self.machine.replica.write();
            let applied = self.machine.apply(&mut replica, id, clock, (command, looked), bytes)?;
            Ok(applied.with_durability(self.rules.durability))
        });
        drop(leader);
        if result.is_ok() {
            self.metrics.commits.increment(1);
            self.metrics.commit_bytes.increment(bytes as u64);
            self.metrics.batch_entries.record(1.0);
            self.stop_timing(started);
        }
        drop(leading);
        self.machine.watchers.wake();
        result
    }

    /// Commits a round of what is in the queue, then passes the lead on. The caller has set
    /// `leading`.
    fn lead(&self) {
        let leading = Leading(self);
        if self.rules.durability == Durability::Synced {
            self.gather();
        }
        let round = self.take_round();
        if !round.is_empty() {
            self.commit(round);
        }
        drop(leading);
        self.machine.watchers.wake();
    }

    /// Where few wait, lets those come, too, whom the round before has just answered: otherwise
    /// they would come a moment after the sync began, and two callers would be no faster than one.
    fn gather(&self) {
        let mut there = self.queue.lock().pending.len();
        let mut in_vain = 0;
        while there < GATHER_BELOW && in_vain < GATHER_LOOKS_IN_VAIN {
            std::thread::yield_now();
            let now = self.queue.lock().pending.len();
            in_vain = if now > there { 0 } else { in_vain + 1 };
            there = now;
        }
    }

    /// Takes the commands of one round out of the queue.
    fn take_round(&self) -> Vec<Pending> {
        let round = self.queue.lock().take_round();
        self.room.notify_all();
        self.metrics.queue.decrement(round.len() as f64);
        round
    }

    /// Appends, syncs, applies and answers a round.
    fn commit(&self, mut round: Vec<Pending>) {
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
            return answer_each(refused);
        }
        leader.next = LogIndex(first.0 + round.len() as u64);
        if let Err(error) = self.make_durable() {
            drop(leader);
            answer_all(round, &error);
            return answer_each(refused);
        }
        let mut answers = Vec::with_capacity(round.len());
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
                let command = (pending.command, Looked::default());
                // What comes behind an entry that could not be applied would see another state than
                // when the log is replayed.
                let applied = match &failed {
                    None => self.machine.apply(&mut replica, id, clock, command, len),
                    Some(error) => Err(Error::clone(error)),
                };
                failed = failed.or_else(|| applied.as_ref().err().cloned());
                answers.push((pending.reply, applied));
                index = index.next();
            }
        }
        drop(leader);
        self.metrics.commits.increment(answers.len() as u64);
        self.metrics.commit_bytes.increment(bytes);
        self.metrics.batch_entries.record(answers.len() as f64);
        self.stop_timing(started);
        answer_each(refused);
        let _answering = Answering::begin();
        for (reply, applied) in answers {
            let durability = self.rules.durability;
            reply.give(applied.map(|applied: Applied| applied.with_durability(durability)));
        }
    }

    /// Takes the commands that [`Machine::check_looks`] refuses out of the round.
    fn refuse_unfit(&self, round: &mut Vec<Pending>) -> Vec<(Pending, Error)> {
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
                Err(error) => refused.push((pending, count_refused(error))),
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
    ) -> Vec<(Pending, Error)> {
        let grows = round.iter().any(|pending| pending.purpose == Purpose::Grow);
        let purpose = if grows { Purpose::Grow } else { Purpose::Relieve };
        if round.is_empty() {
            return Vec::new();
        }
        match self.append(leader.next, clock, round, purpose) {
            Ok(()) => return Vec::new(),
            Err(error) if error.is_disk_full() && round.len() > 1 => {}
            Err(error) => {
                let error = self.refusal(error);
                let all = std::mem::take(round).into_iter();
                return all.map(|pending| (pending, error.clone())).collect();
            }
        }
        let mut refused = Vec::new();
        // What is no shorter than new data that found no room finds none either.
        let mut too_long: Option<(usize, Error)> = None;
        for pending in std::mem::take(round) {
            let len = pending.bytes();
            let is_new = pending.purpose == Purpose::Grow;
            if let Some((shortest, error)) = &too_long
                && is_new
                && len >= *shortest
            {
                refused.push((pending, error.clone()));
                continue;
            }
            let next = LogIndex(leader.next.0 + round.len() as u64);
            let alone = std::slice::from_ref(&pending);
            match self.append(next, clock, alone, pending.purpose) {
                Ok(()) => round.push(pending),
                Err(error) => {
                    let is_full = error.is_disk_full();
                    let error = self.refusal(error);
                    if is_new && is_full {
                        too_long = Some((len, error.clone()));
                    }
                    refused.push((pending, error));
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

    /// When a round began, where it will sync: reading the clock is nothing beside that. Other
    /// rounds take about as long as it takes to time them.
    fn start_timing(&self) -> Option<Duration> {
        (self.rules.durability == Durability::Synced).then(|| self.machine.env.clock.elapsed())
    }

    fn stop_timing(&self, started: Option<Duration>) {
        if let Some(started) = started {
            let elapsed = self.machine.env.clock.elapsed().saturating_sub(started);
            self.metrics.commit_seconds.record(elapsed);
        }
    }

    /// Syncs where `Ok` means synced. Nothing is applied before, so no reader sees a write that
    /// could still be lost.
    fn make_durable(&self) -> Result<()> {
        match self.rules.durability {
            Durability::Buffered => Ok(()),
            Durability::Synced => self.machine.store.log().sync().map_err(|error| {
                // The entry is in the file; whether it is on the device, nobody knows.
                Error::OutcomeUnknown { cause: error.to_string().into() }
            }),
        }
    }

    /// What a caller is told whose command could not be appended.
    fn refusal(&self, error: StorageError) -> Error {
        let written =
            matches!(error, StorageError::Io { .. }) && self.machine.store.log().check().is_err();
        let error = if written {
            Error::OutcomeUnknown { cause: error.to_string().into() }
        } else {
            Error::from(error)
        };
        count_refused(error)
    }

    /// Passes the lead on to a thread that waits, or to the worker; or nobody leads.
    fn pass_lead(&self) {
        let mut queue = self.queue.lock();
        let waiting = queue.first_thread();
        if let Some(slot) = waiting {
            drop(queue);
            slot.lead();
            return;
        }
        queue.leading = false;
        // The worker also waits for the last round before it ends.
        if !queue.pending.is_empty() || queue.closed {
            self.work.notify_one();
        }
    }

    /// Commits what nobody waits for on a thread, until the queue is closed and empty.
    pub(crate) fn work(&self) {
        loop {
            let mut queue = self.queue.lock();
            self.work.wait_while(&mut queue, |queue| {
                queue.leading || (queue.pending.is_empty() && !queue.closed)
            });
            if queue.pending.is_empty() {
                return;
            }
            queue.leading = true;
            drop(queue);
            self.lead();
        }
    }

    /// Why no more commands are taken.
    fn closed(&self) -> Error {
        match self.machine.store.log().check() {
            Err(error) => Error::from(error),
            Ok(()) => Error::Closed("closed"),
        }
    }

    /// Takes no more commands. What is queued is still committed, by the worker.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.work.notify_all();
        self.room.notify_all();
    }

    /// As [`Self::close`], on a thread that commits, and in the middle of it: it does not come to
    /// commit what is queued, and nobody else may, who would wait for it.
    pub(crate) fn close_here(&self) {
        let pending = {
            let mut queue = self.queue.lock();
            queue.leading = false;
            queue.bytes = 0;
            queue.closed = true;
            std::mem::take(&mut queue.pending)
        };
        self.metrics.queue.decrement(pending.len() as f64);
        answer_all(pending, &self.closed());
        self.room.notify_all();
        self.work.notify_all();
    }

    /// After a panic in a thread of the store: it stops, and everybody who waits is told.
    pub(crate) fn abandon(&self, cause: &str) {
        self.machine.stop(cause);
        // The worker may be the thread that panicked: nobody would take what came later.
        self.close_here();
    }
}

/// The lead, for as long as it lives. Passed on when dropped; in a panic the store stops instead.
struct Leading<'a>(&'a Committer);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abandon("a thread panicked while it committed");
        } else {
            self.0.pass_lead();
        }
    }
}

/// Tells each its own error.
fn answer_each(refused: Vec<(Pending, Error)>) {
    for (pending, error) in refused {
        answer_all([pending], &error);
    }
}

/// Counts a command that is refused, unless only what it asks for is the cause.
fn count_refused(error: Error) -> Error {
    let reason = match &error {
        Error::DiskFull(_) => "disk_full",
        Error::Overloaded(_) => "overloaded",
        Error::Poisoned { .. } | Error::OutcomeUnknown { .. } => "poisoned",
        _ => return error,
    };
    metrics::counter!(crate::metrics::REFUSED_TOTAL, "reason" => reason).increment(1);
    error
}

fn payload_len(payload: [&[u8]; 2]) -> usize {
    payload[0].len() + payload[1].len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StoreConfig;
    use crate::engine::{KvEngine, SingleNodeEngine, SnapshotEngine};
    use crate::env::fs_sim::{Operation, SimError, SimFs};
    use crate::env::{Env, Simulated};

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
        let pending = |key: &str| {
            let command = Command::set(key.to_owned(), "new");
            let told = Arc::clone(&answers);
            let callback = move |result: Result<_>| told.lock().push(result.map(|_| ()));
            Pending {
                head: codec::encode_head(&command),
                purpose: purpose_of(&command),
                command,
                reply: Answer::new(Reply::Callback(Box::new(callback))),
            }
        };
        fs.start_trace();
        if let Some(at) = operation {
            fs.fail_operation(fs.operations() + 1 + at as u64, SimError::Io);
        }
        engine.inner.committer.commit(vec![pending("long"), pending("other")]);
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

    #[test]
    fn what_waits_behind_a_callback_that_drops_the_last_handle_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            data_dir: directory.path().join("data"),
            worker_threads: 1,
            fsync_interval: Duration::from_hours(1),
            ..StoreConfig::default()
        };
        let engine = Arc::new(SingleNodeEngine::with_config(config.clone()).unwrap());
        let inner = Arc::clone(&engine.inner);
        let waiting = || inner.committer.queue.lock().pending.len();
        let (has_begun, begun) = std::sync::mpsc::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let last = Arc::clone(&engine);
        // Its removal comes from another thread of the store, which the close waits for.
        engine.put_with_ttl(b"short".to_vec(), b"0".to_vec(), Duration::from_millis(300)).unwrap();
        let callback = move |_| {
            has_begun.send(()).unwrap();
            may_go_on.recv().unwrap();
            drop(last);
        };
        engine.submit_with(Command::set("first", "1"), Box::new(callback));
        begun.recv().unwrap();
        let later = engine.submit_async(Command::set("later", "2"));
        // On a machine that was slow until here it may have gone before.
        let clock = &inner.committer.machine.env.clock;
        let started = clock.elapsed();
        while waiting() < 2 && clock.elapsed().saturating_sub(started) < Duration::from_secs(3) {
            std::thread::yield_now();
        }
        drop(engine);
        go_on.send(()).unwrap();
        assert!(matches!(later.wait(), Err(Error::Closed(_))));
        // It was refused before the directory was given back.
        let engine = loop {
            match SingleNodeEngine::with_config(config.clone()) {
                Err(Error::Locked(_)) => std::thread::yield_now(),
                opened => break opened.unwrap(),
            }
        };
        assert_eq!(engine.get(b"first").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(engine.get(b"later").unwrap(), None);
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
        let pending = |command: Command| {
            let (told, last) = (Arc::clone(&answers), Arc::clone(&last_at_refusal));
            let inner = Arc::clone(&engine.inner);
            let callback = move |result: Result<ApplyOutcome>| {
                if result.is_err() {
                    *last.lock() = inner.committer.machine.store.log().hard_state().last;
                }
                told.lock().push(result.map(|outcome| outcome.version.0));
            };
            Pending {
                head: codec::encode_head(&command),
                purpose: purpose_of(&command),
                command,
                reply: Answer::new(Reply::Callback(Box::new(callback))),
            }
        };
        fs.set_space(Some(fs.used_bytes()));
        engine.inner.committer.commit(vec![
            pending(Command::set("a", "1")),
            pending(Command::set("large", vec![7; 8 << 20])),
            pending(Command::delete("gone")),
            pending(Command::set("b", "2")),
        ]);
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
