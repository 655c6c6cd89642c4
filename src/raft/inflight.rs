//! Writes that wait for their answer: how many there may be, and for how long.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::engine::answering::Answering;
use crate::engine::submission::Reply;
use crate::error::{Error, Result};
use crate::state::ApplyOutcome;

/// Bounds on what waits, and who is overdue.
#[derive(Debug)]
pub(crate) struct Inflight {
    commands_max: usize,
    bytes_max: usize,
    commands: AtomicUsize,
    bytes: AtomicUsize,
    /// How many were taken in.
    taken: AtomicU64,
    /// In the order of their deadlines: all are given the same time.
    waiting: Mutex<VecDeque<(Duration, Weak<Waiting>)>>,
}

/// Somebody who gets one answer, whatever happens. Counts until its command is out of the way:
/// whoever is told at the deadline that nobody knows has left it behind in the log.
#[derive(Debug)]
pub(crate) struct Waiting {
    reply: Mutex<Option<Reply>>,
    /// The how manieth it was that was taken in.
    number: u64,
    bytes: usize,
    counts: AtomicBool,
    among: Arc<Inflight>,
}

impl Inflight {
    pub(crate) fn new(commands_max: usize, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            commands_max,
            bytes_max,
            commands: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            waiting: Mutex::default(),
        })
    }

    /// Takes one more in; `bytes` of it are kept until it is answered. Whoever is refused is told
    /// at once: a queue that is full does not get shorter by waiting in front of it.
    pub(crate) fn admit(
        self: &Arc<Self>,
        reply: Reply,
        bytes: usize,
        deadline: Duration,
    ) -> Option<Arc<Waiting>> {
        let before = self.commands.fetch_add(1, Ordering::AcqRel);
        let bytes_before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        let number = self.taken.fetch_add(1, Ordering::AcqRel);
        let (reply, counts) = (Mutex::new(Some(reply)), AtomicBool::new(true));
        let waiting = Arc::new(Waiting { reply, number, bytes, counts, among: Arc::clone(self) });
        let full = before >= self.commands_max
            || (before > 0 && bytes_before.saturating_add(bytes) > self.bytes_max);
        if full {
            let text = format!("{before} commands of {bytes_before} bytes wait for an answer");
            waiting.answer(Err(Error::Overloaded(text)));
            return None;
        }
        self.waiting.lock().push_back((deadline, Arc::downgrade(&waiting)));
        Some(waiting)
    }

    /// Answers those that are overdue, and forgets those that were answered.
    pub(crate) fn expire(&self, now: Duration) {
        let mut overdue = Vec::new();
        {
            let mut waiting = self.waiting.lock();
            while let Some((deadline, first)) = waiting.front() {
                let first = first.upgrade();
                if first.is_some() && *deadline > now {
                    break;
                }
                overdue.extend(first);
                waiting.pop_front();
            }
        }
        for waiting in overdue {
            let cause = "no answer before the deadline".into();
            waiting.tell(Err(Error::OutcomeUnknown { cause }));
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn commands(&self) -> usize {
        self.commands.load(Ordering::Acquire)
    }
}

impl Waiting {
    /// Gives the answer, of which the first one counts: the command is out of the way.
    pub(crate) fn answer(&self, result: Result<ApplyOutcome>) {
        // First, so that there is room for whoever has the answer and goes on.
        if self.counts.swap(false, Ordering::AcqRel) {
            self.among.commands.fetch_sub(1, Ordering::AcqRel);
            self.among.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        }
        self.tell(result);
    }

    /// Gives the answer. The command may still be under way.
    fn tell(&self, result: Result<ApplyOutcome>) {
        let reply = self.reply.lock().take();
        if let Some(reply) = reply {
            // A callback that waited here would keep others from being answered, itself included.
            let _answering = Answering::begin();
            reply.answer(result);
        }
    }

    /// Of two that one caller handed in, the earlier has the smaller number.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Whether the answer was given.
    pub(crate) fn is_answered(&self) -> bool {
        self.reply.lock().is_none()
    }
}

impl Drop for Waiting {
    /// Whoever held it last went away without an answer: nobody knows what became of it.
    fn drop(&mut self) {
        let cause = "the node stopped".into();
        self.answer(Err(Error::OutcomeUnknown { cause }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::submission::Slot;
    use crate::engine::submission::Submission;

    fn admit(
        inflight: &Arc<Inflight>,
        bytes: usize,
        deadline: u64,
    ) -> (Option<Arc<Waiting>>, Submission) {
        let slot = Slot::new();
        let deadline = Duration::from_secs(deadline);
        (inflight.admit(Reply::Future(Arc::clone(&slot)), bytes, deadline), Submission::new(slot))
    }

    #[test]
    fn who_comes_when_it_is_full_is_told_at_once_and_room_comes_back() {
        let inflight = Inflight::new(2, 100);
        let (first, _one) = admit(&inflight, 60, 9);
        let (too_large, refused) = admit(&inflight, 60, 9);
        assert!(first.is_some() && too_large.is_none());
        assert!(matches!(refused.wait(), Err(Error::Overloaded(_))));
        let (second, _two) = admit(&inflight, 40, 9);
        let (third, refused) = admit(&inflight, 0, 9);
        assert!(second.is_some() && third.is_none());
        assert!(matches!(refused.wait(), Err(Error::Overloaded(_))));
        drop(first);
        assert_eq!(inflight.commands(), 1);
        assert!(admit(&inflight, 60, 9).0.is_some());
    }

    #[test]
    fn one_that_is_larger_than_the_bound_is_taken_when_it_is_alone() {
        let inflight = Inflight::new(2, 100);
        assert!(admit(&inflight, 1000, 9).0.is_some());
    }

    #[test]
    fn who_is_overdue_is_answered_and_nobody_else() {
        let inflight = Inflight::new(9, 100);
        let (early, one) = admit(&inflight, 1, 1);
        let (late, _two) = admit(&inflight, 1, 3);
        inflight.expire(Duration::from_secs(2));
        assert!(matches!(one.wait(), Err(Error::OutcomeUnknown { .. })));
        assert!(!late.unwrap().is_answered());
        assert_eq!(inflight.commands(), 1, "what was given up is still under way");
        drop(early);
        assert_eq!(inflight.commands(), 0);
    }

    #[test]
    fn who_is_forgotten_is_answered() {
        let inflight = Inflight::new(9, 100);
        let (waiting, one) = admit(&inflight, 1, 1);
        drop(waiting);
        assert!(matches!(one.wait(), Err(Error::OutcomeUnknown { .. })));
    }
}
