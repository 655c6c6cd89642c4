//! Commands that wait for the leader, and the promise that each of them is answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::answering::Answering;
use super::submission::{Reply, Slot};
use super::wake::wake_task;
use crate::command::Command;
use crate::command::codec;
use crate::command::limits::Limits;
use crate::error::{Error, Result};
use crate::state::{ApplyOutcome, Durability};
use crate::storage::log_writer::Purpose;

/// Most commands in one round, and most bytes: a round is one write, and who came first should not
/// wait long for who came last.
const ROUND_COMMANDS_MAX: usize = 1024;
const ROUND_BYTES_MAX: usize = 4 << 20;

/// Numbers that the committer goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommitRules {
    pub(crate) limits: Limits,
    pub(crate) durability: Durability,
    pub(crate) queue_commands_max: usize,
    pub(crate) queue_bytes_max: usize,
    pub(crate) submit_timeout: Duration,
    /// Whether there is a thread for commands that nobody waits for on a thread.
    pub(crate) has_worker: bool,
}

/// A command on its way.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) command: Command,
    /// The first part of its payload; the second is in the command.
    pub(crate) head: Vec<u8>,
    pub(crate) purpose: Purpose,
    pub(crate) reply: Answer,
}

impl Pending {
    pub(crate) fn bytes(&self) -> usize {
        self.head.len() + codec::body_of(&self.command).len()
    }
}

/// Somebody who will get an answer, whatever happens: a command that is dropped without one was
/// lost in a panic, and nobody knows whether it is in the log.
#[derive(Debug)]
pub(crate) struct Answer(Option<Reply>);

impl Answer {
    pub(crate) const fn new(reply: Reply) -> Self {
        Self(Some(reply))
    }

    pub(crate) fn give(self, result: Result<ApplyOutcome>) {
        self.put(result).into_iter().for_each(wake_task);
    }

    /// As [`Self::give`]; a task that waits for it is woken by the caller, where it can.
    #[must_use = "the task waits to be woken"]
    fn put(mut self, result: Result<ApplyOutcome>) -> Option<Waker> {
        let reply = self.0.take()?;
        count_refused(&result);
        reply.put(result)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            let cause = "the thread that committed it panicked".into();
            // It unwinds, and leads until it has: a callback that waited would wait for it.
            let _answering = Answering::begin();
            let result = Err(Error::OutcomeUnknown { cause });
            count_refused(&result);
            reply.answer(result);
        }
    }
}

/// Counts a command that is refused, unless only what it asks for is the cause.
#[inline]
pub(crate) fn count_refused(result: &Result<ApplyOutcome>) {
    if let Err(error) = result {
        count_refusal(error);
    }
}

#[cold]
fn count_refusal(error: &Error) {
    let reason = match error {
        Error::DiskFull(_) => "disk_full",
        Error::Overloaded(_) => "overloaded",
        Error::Poisoned { .. } | Error::OutcomeUnknown { .. } => "poisoned",
        _ => return,
    };
    metrics::counter!(crate::metrics::REFUSED_TOTAL, "reason" => reason).increment(1);
}

/// Commands that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) pending: VecDeque<Pending>,
    /// Payload bytes of them.
    pub(crate) bytes: usize,
    /// Whether somebody commits, or has been told to.
    ///
    /// Invariant: while it is set, exactly one thread is in `lead` or about to be.
    pub(crate) leading: bool,
    pub(crate) closed: bool,
}

impl Queue {
    /// Takes the commands of one round, in order; at least one where there is any.
    pub(crate) fn take_round(&mut self) -> Vec<Pending> {
        let mut bytes = 0;
        let mut count = 0;
        for pending in self.pending.iter().take(ROUND_COMMANDS_MAX) {
            // What it will look at was looked at in the state before the round. With others before
            // it, which move what is due, it would go on to rows that nobody has looked at, and one
            // that cannot be read would be met when the entry is in the log.
            if count > 0 && matches!(pending.command, Command::Expire { .. }) {
                break;
            }
            bytes += pending.bytes();
            if count > 0 && bytes > ROUND_BYTES_MAX {
                bytes -= pending.bytes();
                break;
            }
            count += 1;
        }
        self.bytes -= bytes;
        self.pending.drain(..count).collect()
    }

    /// The first thread that waits and so can lead.
    pub(crate) fn first_thread(&self) -> Option<Arc<Slot>> {
        self.pending.iter().find_map(|pending| match &pending.reply.0 {
            Some(Reply::Thread(slot)) => Some(Arc::clone(slot)),
            _ => None,
        })
    }
}

/// Gives answers, and runs callbacks with them. The caller leads, so nobody may wait for a command
/// meanwhile. The tasks that are given back are to be woken when it leads no more: whoever they are
/// woken by may have to wait for other threads, and these for the lead.
///
/// Threads that wait come first: a callback may drop the last handle and so close the store, which
/// waits for threads of the store that wait here.
#[must_use = "the tasks wait to be woken"]
pub(crate) fn answer_all(mut answers: Vec<(Answer, Result<ApplyOutcome>)>) -> Vec<Waker> {
    let _answering = Answering::begin();
    answers.sort_by_key(|(answer, _)| !matches!(answer.0, Some(Reply::Thread(_))));
    answers.into_iter().filter_map(|(answer, result)| answer.put(result)).collect()
}

/// Whether a command needs room or makes it.
#[inline]
pub(crate) fn purpose_of(command: &Command) -> Purpose {
    match command {
        // Nearly always.
        Command::Set { .. } => Purpose::Grow,
        other => purpose_of_other(other),
    }
}

/// As [`purpose_of`], apart from a set by itself, which is told without a call.
fn purpose_of_other(command: &Command) -> Purpose {
    match command {
        Command::Set { .. }
        | Command::SetExpiring { .. }
        // It is two rows that stay for as long as the key does.
        | Command::Attach { .. }
        | Command::OpenSession { .. }
        | Command::GrantLease { .. } => Purpose::Grow,
        Command::Delete { .. }
        | Command::DeletePrefix { .. }
        | Command::CloseSession { .. }
        | Command::KeepAlive { .. }
        | Command::RevokeLease { .. }
        | Command::Expire { .. }
        | Command::Check { .. } => Purpose::Relieve,
        Command::InSession { command, .. } => purpose_of(command),
        Command::Reserved(batch) => purpose_of_all(&batch.commands),
        Command::Batch { commands, .. } => purpose_of_all(commands),
    }
}

/// Whether any of the commands needs room.
fn purpose_of_all(commands: &[Command]) -> Purpose {
    let sets = commands.iter().any(|command| purpose_of(command) == Purpose::Grow);
    if sets { Purpose::Grow } else { Purpose::Relieve }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{LeaseId, SessionId, Until};

    #[test]
    fn threads_are_answered_before_anything_of_a_caller_is_called() {
        let waiting = Slot::new();
        let slot = Arc::clone(&waiting);
        let (tell, told) = std::sync::mpsc::channel();
        let callback = Reply::Callback(Box::new(move |_| {
            tell.send(slot.is_answered() && Answering::refuse().is_err()).unwrap();
        }));
        let replies = [callback, Reply::Thread(waiting)];
        let answers = replies.map(|it| (Answer::new(it), Err(Error::Closed("closed"))));
        assert!(answer_all(answers.into()).is_empty(), "no task waits");
        assert!(told.recv().unwrap());
        Answering::refuse().unwrap();
    }

    #[test]
    fn a_callback_of_what_a_panic_left_behind_may_not_wait_either() {
        let (tell, told) = std::sync::mpsc::channel();
        let callback =
            Reply::Callback(Box::new(move |_| tell.send(Answering::refuse().is_err()).unwrap()));
        drop(Answer::new(callback));
        assert!(told.recv().unwrap());
        Answering::refuse().unwrap();
    }

    #[test]
    fn what_is_due_is_removed_by_the_first_of_a_round() {
        let pending = |command: Command| Pending {
            purpose: purpose_of(&command),
            head: vec![0; 8],
            reply: Answer::new(Reply::Callback(Box::new(drop))),
            command,
        };
        let mut queue = Queue::default();
        let expire = || Command::Expire { limit: 1 };
        for command in [Command::set("a", "1"), expire(), Command::set("b", "2"), expire()] {
            queue.pending.push_back(pending(command));
        }
        queue.bytes = queue.pending.iter().map(Pending::bytes).sum();
        let lengths: Vec<usize> = (0..4).map(|_| queue.take_round().len()).collect();
        assert_eq!(lengths, [1, 2, 1, 0]);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn only_what_leaves_less_than_there_was_makes_room() {
        let lease = LeaseId([1; 16]);
        let attach = || Command::Attach { key: "k".into(), until: Until::After(1) };
        for command in [
            Command::set("k", "v"),
            attach(),
            Command::in_session(SessionId([1; 16]), 1, attach()),
            Command::batch([Command::delete("k"), Command::set("k", "v")]),
            Command::GrantLease { lease, ttl: 1 },
        ] {
            assert_eq!(purpose_of(&command), Purpose::Grow, "{command:?}");
        }
        for command in [
            Command::delete("k"),
            Command::KeepAlive { lease },
            Command::RevokeLease { lease },
            Command::Expire { limit: 1 },
            Command::batch([Command::delete("k")]),
        ] {
            assert_eq!(purpose_of(&command), Purpose::Relieve, "{command:?}");
        }
    }
}
