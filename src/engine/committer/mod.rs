//! The way of a write: queue, leader, log, state, answer.
//!
//! Whoever submits while nobody commits becomes the *leader*: it appends its command, syncs where
//! the durability asks for it, applies, answers. Who comes meanwhile queues; the leader of the next
//! round takes all of them together, as one write and one sync. So a lone caller pays no hand-over,
//! and many share the device.
//!
//! The leader alone proposes and alone changes the state, so the log's order and the state's order
//! are one. Of a round threads that wait are answered first, then the others in that order.

mod round;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::answering::Answering;
use super::commit_queue::{
    Answer, CommitRules, Pending, Queue, answer_all, count_refused, purpose_of,
};
use super::machine::Machine;
use super::submission::{Reply, Slot, Submission, Turn};
use super::wake::wake_task;
use crate::command::Command;
use crate::command::codec;
use crate::command::limits::validate_command;
use crate::error::{Error, Result};
use crate::metrics::EngineMetrics;
use crate::state::{ApplyOutcome, Durability};
use crate::storage::error::StorageError;
use crate::storage::log_writer::Purpose;
use crate::types::{LogIndex, NodeId, Term};

/// How often a caller whose write is not synced looks whether it can lead before it goes to sleep.
/// Measured with 1 to 8 threads on 2 cores: fewer make eight threads slower than one.
const LOOKS_BEFORE_SLEEP: usize = 100;

/// A round of fewer commands waits for more before it syncs. With more, measured with 8 threads and
/// beyond, it is better to sync meanwhile: waking so many callers takes as long as a sync.
const GATHER_BELOW: usize = 4;
/// How often in a row a leader looks for more callers in vain before it begins such a round.
const GATHER_LOOKS_IN_VAIN: usize = 3;

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

    /// As [`Self::submit`], for a command that [`Self::check`] has told the purpose of.
    ///
    /// # Errors
    /// As [`super::api::KvEngine::submit`].
    pub(crate) fn submit_checked(
        &self,
        command: Command,
        purpose: Purpose,
    ) -> Result<ApplyOutcome> {
        Answering::refuse()?;
        // A round that does not sync takes about a microsecond, and being woken takes several: so
        // whoever finds another leading looks again a few times before it goes to sleep. Where
        // rounds sync, it is better to wait together and share the sync.
        let looks = match self.rules.durability {
            Durability::Buffered => LOOKS_BEFORE_SLEEP,
            Durability::Synced => 1,
        };
        if self.take_lead_within(looks)? {
            return self.lead_alone(command, purpose);
        }
        self.wait_for_leader(command, purpose)
    }

    /// Queues a command of this thread, and waits until somebody has committed it, or leads.
    fn wait_for_leader(&self, command: Command, purpose: Purpose) -> Result<ApplyOutcome> {
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

    /// As [`Self::take_lead`], looking so often at most.
    fn take_lead_within(&self, looks: usize) -> Result<bool> {
        for _ in 1..looks {
            if self.take_lead()? {
                return Ok(true);
            }
            std::thread::yield_now();
        }
        self.take_lead()
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

    /// Payload bytes of commands that wait for somebody to commit them.
    pub(crate) fn queued_bytes(&self) -> u64 {
        self.queue.lock().bytes as u64
    }

    /// Returns when all entries that were stamped before the call are applied or refused.
    pub(crate) fn settle(&self) {
        drop(self.leader.lock());
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
            let result = self.submit(command);
            let _answering = Answering::begin();
            reply.answer(result);
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
    pub(crate) fn check(&self, command: &Command) -> Result<Purpose> {
        self.machine.store.log().check()?;
        validate_command(command, &self.rules.limits)?;
        Ok(purpose_of(command))
    }

    /// Queues a command, after waiting for room. A command that gets none is answered `Overloaded`;
    /// one of a callback at once.
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
        // A callback is called by whoever would make room.
        let wait_max =
            if Answering::is_here() { Duration::ZERO } else { self.rules.submit_timeout };
        let waited = self.room.wait_while_for(&mut queue, full, wait_max);
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
        let leading = Leading::begin(self);
        let result = self.commit_one(command, purpose);
        count_refused(&result);
        leading.end();
        self.machine.watchers.wake();
        result
    }

    /// Commits a round of what is in the queue, then passes the lead on. The caller has set
    /// `leading`.
    fn lead(&self) {
        let leading = Leading::begin(self);
        if self.rules.durability == Durability::Synced {
            self.gather();
        }
        let round = self.take_round();
        let tasks = if round.is_empty() { Vec::new() } else { self.commit(round) };
        leading.end();
        self.machine.watchers.wake();
        tasks.into_iter().for_each(wake_task);
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
    #[inline]
    fn make_durable(&self) -> Result<()> {
        match self.rules.durability {
            Durability::Buffered => Ok(()),
            Durability::Synced => self.sync(),
        }
    }

    /// Apart from the rest, beside which it takes long.
    #[cold]
    fn sync(&self) -> Result<()> {
        self.machine.store.log().sync().map_err(|error| {
            // The entry is in the file; whether it is on the device, nobody knows.
            Error::OutcomeUnknown { cause: error.to_string().into() }
        })
    }

    /// What a caller is told whose command could not be appended.
    #[cold]
    fn refusal(&self, error: StorageError) -> Error {
        let written =
            matches!(error, StorageError::Io { .. }) && self.machine.store.log().check().is_err();
        if written {
            Error::OutcomeUnknown { cause: error.to_string().into() }
        } else {
            Error::from(error)
        }
    }

    /// Passes the lead on to a thread that waits, or to the worker; or nobody leads.
    fn pass_lead(&self) {
        let mut queue = self.queue.lock();
        // Asked first, since nearly always nobody waits.
        if !queue.pending.is_empty()
            && let Some(slot) = queue.first_thread()
        {
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

    /// Commits what nobody waits for on a thread, until the queue is closed and empty. What it
    /// calls before and after each round may wait: it does not lead meanwhile.
    pub(crate) fn work(&self, before_round: impl Fn(), after_round: impl Fn()) {
        loop {
            let mut queue = self.queue.lock();
            self.work.wait_while(&mut queue, |queue| {
                queue.leading || (queue.pending.is_empty() && !queue.closed)
            });
            if queue.pending.is_empty() {
                return;
            }
            drop(queue);
            before_round();
            let mut queue = self.queue.lock();
            // A thread that waits for its own may have come first.
            if queue.leading || queue.pending.is_empty() {
                continue;
            }
            queue.leading = true;
            drop(queue);
            self.lead();
            after_round();
        }
    }

    /// Why no more commands are taken.
    #[cold]
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
        let closed = self.closed();
        let answers = pending.into_iter().map(|it| (it.reply, Err(closed.clone())));
        answer_all(answers.collect()).into_iter().for_each(wake_task);
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

/// The lead, until it [ends](Self::end). Dropped before, in a panic, the store stops. Whether this
/// thread panics is not asked: a command of a destructor is committed while some other panic, of
/// the caller's own, unwinds.
struct Leading<'a>(Option<&'a Committer>);

impl<'a> Leading<'a> {
    /// The caller has set `leading`.
    const fn begin(committer: &'a Committer) -> Self {
        Self(Some(committer))
    }

    /// Passes the lead on.
    fn end(mut self) {
        if let Some(committer) = self.0.take() {
            committer.pass_lead();
        }
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        if let Some(committer) = self.0.take() {
            committer.abandon("a thread panicked while it committed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StoreConfig;
    use crate::engine::{KvEngine, SingleNodeEngine};

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
    fn threads_that_wait_lead_each_other_where_the_store_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            data_dir: directory.path().join("data"),
            worker_threads: 0,
            ..StoreConfig::default()
        };
        let engine = Arc::new(SingleNodeEngine::with_config(config).unwrap());
        let (tell, told) = std::sync::mpsc::channel();
        for thread in 0..4_u32 {
            let (engine, tell) = (Arc::clone(&engine), tell.clone());
            let puts = move || {
                for put in 0..100_u32 {
                    let key = [thread.to_le_bytes(), put.to_le_bytes()].concat();
                    engine.put(key, b"1".to_vec()).unwrap();
                }
                tell.send(thread).unwrap();
            };
            std::thread::Builder::new().spawn(puts).unwrap();
        }
        for _ in 0..4 {
            told.recv_timeout(Duration::from_mins(1)).unwrap();
        }
        assert_eq!(engine.len().unwrap(), 400);
    }

    #[test]
    fn a_callback_waits_neither_for_room_nor_for_an_answer() {
        let directory = tempfile::tempdir().unwrap();
        let config = StoreConfig {
            data_dir: directory.path().join("data"),
            worker_threads: 1,
            queue_commands_max: 1,
            submit_timeout: Duration::from_hours(1),
            ..StoreConfig::default()
        };
        let engine = Arc::new(SingleNodeEngine::with_config(config).unwrap());
        let handle = Arc::clone(&engine);
        let (tell, told) = std::sync::mpsc::channel();
        let callback = move |_| {
            let set = |key: &'static str| handle.submit_async(Command::set(key, "1"));
            let queued = set("queued");
            tell.send((set("refused").wait(), queued.wait())).unwrap();
        };
        engine.submit_with(Command::set("first", "1"), Box::new(callback));
        let (refused, waited) = told.recv_timeout(Duration::from_mins(1)).unwrap();
        assert!(matches!(refused, Err(Error::Overloaded(_))), "{refused:?}");
        assert!(matches!(waited, Err(Error::Validation(_))), "{waited:?}");
        // Nobody waited for it, and it is committed.
        engine.put(b"behind".to_vec(), b"1".to_vec()).unwrap();
        assert!(engine.get(b"queued").unwrap().is_some());
        assert!(engine.get(b"refused").unwrap().is_none());
    }
}
