//! Requests of one stream are taken in the order in which they were sent.
//!
//! A leader sends entries without waiting for the answer to those before. A network may bring the
//! later ones first, and a follower that took them first would say that something is missing. So
//! each request says which one of its stream it is, and waits here for those before it.
//!
//! Only speed depends on this: Raft itself refuses what does not follow.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::wire::request::Turn;
use crate::types::NodeId;

/// How long a request waits for those before it. They are on their way, or were lost.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Most senders that are remembered; more can only be strangers.
const SENDERS_MAX: usize = 1024;

/// Most streams of a sender that are remembered, the newest of them.
const STREAMS_MAX: usize = 8;

/// Whose turn it is, in each stream of each sender.
#[derive(Debug, Default)]
pub(super) struct Turns {
    senders: Mutex<BTreeMap<NodeId, Streams>>,
}

/// The newest streams of a sender, by their names, oldest first.
type Streams = VecDeque<(u64, Arc<Line>)>;

/// The requests of one stream: the number of the next.
type Line = watch::Sender<u64>;

/// The right to go first. Dropped, or passed on, it lets the next one go.
#[derive(Debug)]
pub(super) struct Pass {
    line: Option<Arc<Line>>,
    number: u64,
}

/// Those before did not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfTurn;

impl Turns {
    /// Waits until every request before `turn` has been taken.
    pub(super) async fn wait(&self, from: NodeId, turn: Turn) -> Result<Pass, OutOfTurn> {
        let number = turn.number;
        if turn.stream == 0 {
            return Ok(Pass { line: None, number });
        }
        let line = self.line(from, turn.stream);
        let mut next = line.subscribe();
        if *next.borrow_and_update() < number {
            let mine = |next: &u64| *next >= number;
            match tokio::time::timeout(WAIT_MAX, next.wait_for(mine)).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return Err(OutOfTurn),
            }
        }
        Ok(Pass { line: Some(line), number })
    }

    fn line(&self, from: NodeId, stream: u64) -> Arc<Line> {
        let mut senders = self.senders.lock();
        if senders.len() >= SENDERS_MAX && !senders.contains_key(&from) {
            senders.clear();
        }
        let streams = senders.entry(from).or_default();
        if let Some((_, line)) = streams.iter().find(|(known, _)| *known == stream) {
            return Arc::clone(line);
        }
        // The oldest was given up: a sender has one stream at a time, and begins another when that
        // one fails.
        if streams.len() >= STREAMS_MAX {
            streams.pop_front();
        }
        let line = Arc::new(watch::Sender::default());
        streams.push_back((stream, Arc::clone(&line)));
        line
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let Some(line) = &self.line else { return };
        line.send_if_modified(|next| {
            let passed = *next == self.number;
            if passed {
                *next = self.number.saturating_add(1);
            }
            passed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(stream: u64, number: u64) -> Turn {
        Turn { stream, number }
    }

    fn run(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap().block_on(test);
    }

    #[test]
    fn a_later_request_waits_for_the_one_before() {
        run(async {
            let turns = Turns::default();
            let order = Mutex::new(Vec::new());
            let take = async |number| {
                let pass = turns.wait(NodeId(1), turn(7, number)).await.unwrap();
                order.lock().push(number);
                drop(pass);
            };
            tokio::join!(take(2), take(1), take(0));
            assert_eq!(*order.lock(), [0, 1, 2]);
        });
    }

    #[test]
    fn a_request_does_not_wait_for_ever_for_one_that_was_lost() {
        run(async {
            let turns = Turns::default();
            drop(turns.wait(NodeId(1), turn(7, 0)).await.unwrap());
            assert_eq!(turns.wait(NodeId(1), turn(7, 2)).await.unwrap_err(), OutOfTurn);
            drop(turns.wait(NodeId(1), turn(7, 1)).await.unwrap());
            drop(turns.wait(NodeId(1), turn(7, 2)).await.unwrap());
        });
    }

    #[test]
    fn streams_of_one_sender_do_not_disturb_each_other() {
        run(async {
            let turns = Turns::default();
            for (stream, number) in [(7, 0), (8, 0), (7, 1), (8, 1), (9, 0), (7, 2)] {
                let started = tokio::time::Instant::now();
                drop(turns.wait(NodeId(1), turn(stream, number)).await.unwrap());
                assert_eq!(started.elapsed(), Duration::ZERO, "{stream} {number}");
            }
        });
    }

    #[test]
    fn repeats_new_streams_and_other_senders_do_not_wait() {
        run(async {
            let turns = Turns::default();
            for (sender, stream, number) in [(1, 7, 0), (1, 7, 1), (1, 7, 0), (1, 8, 0), (2, 7, 0)]
            {
                let started = tokio::time::Instant::now();
                drop(turns.wait(NodeId(sender), turn(stream, number)).await.unwrap());
                assert_eq!(started.elapsed(), Duration::ZERO);
            }
            drop(turns.wait(NodeId(3), Turn::default()).await.unwrap());
        });
    }

    #[test]
    fn a_stream_that_newer_ones_have_pushed_out_begins_again() {
        run(async {
            let turns = Turns::default();
            drop(turns.wait(NodeId(1), turn(7, 0)).await.unwrap());
            for stream in 0..STREAMS_MAX as u64 {
                assert!(turns.wait(NodeId(1), turn(7, 1)).await.is_ok(), "{stream} newer ones");
                drop(turns.wait(NodeId(1), turn(100 + stream, 0)).await.unwrap());
            }
            assert_eq!(turns.wait(NodeId(1), turn(7, 1)).await.unwrap_err(), OutOfTurn);
            assert_eq!(turns.senders.lock()[&NodeId(1)].len(), STREAMS_MAX);
        });
    }
}
