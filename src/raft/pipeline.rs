//! Entries on their way to one follower, several requests at once, answers in order.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{FuturesOrdered, Stream, unfold};
use openraft::errors::RPCError;
use openraft::network::RPCTypes;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use openraft::type_config::alias::LogIdOf;

use super::convert::{bytes_of, encode_append};
use super::network::{CallError, Connection};
use super::rpc_error::rpc_error;
use super::transport::BoxFuture;
use super::type_config::{TypeConfig, log_id_of, raft_log_id_of, raft_vote_of};
use super::wire::request::Turn;
use super::wire::response::{AppendAnswer, Response};
use crate::types::LogId;

type Request = AppendEntriesRequest<TypeConfig>;
type Answer = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// Takes from the front of `request` as many entries as fit into `bytes_max`, and at least one; the
/// rest stays, to follow them.
pub(super) fn split_front(request: &mut Request, bytes_max: usize) -> (Request, usize) {
    let mut bytes = 0_usize;
    let mut count = 0;
    for entry in &request.entries {
        let more = bytes.saturating_add(bytes_of(entry));
        if count > 0 && more > bytes_max {
            break;
        }
        (bytes, count) = (more, count + 1);
    }
    let rest = request.entries.split_off(count);
    let front = Request {
        vote: request.vote,
        prev_log_id: request.prev_log_id,
        entries: std::mem::replace(&mut request.entries, rest),
        leader_commit: request.leader_commit,
    };
    request.prev_log_id = last_of(&front);
    (front, bytes)
}

/// The last entry that a follower has when it has taken the request.
pub(super) fn last_of(request: &Request) -> Option<LogIdOf<TypeConfig>> {
    request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id)
}

/// What stands in the answer to a request to append.
///
/// # Errors
/// Why there is none.
pub(super) async fn append(
    connection: &Connection,
    turn: Turn,
    request: &Request,
    deadline: Duration,
) -> Result<AppendAnswer, CallError> {
    let encoded = encode_append(&connection.envelope(), turn, request)
        .map_err(|error| CallError::Unsendable(error.to_string()))?;
    match connection.call(encoded, deadline).await? {
        Response::AppendEntries(answer) => Ok(answer),
        _ => Err(CallError::WrongKind),
    }
}

/// A request that has come to its end.
struct Landed {
    previous: Option<LogId>,
    last: Option<LogId>,
    bytes: usize,
    answer: Result<AppendAnswer, CallError>,
}

/// The requests of one stream.
struct Pipeline<'a, S> {
    connection: &'a Connection,
    deadline: Duration,
    /// `None` when it is exhausted, or must not be read on.
    input: Option<S>,
    /// What was read and not sent yet.
    waiting: Option<Request>,
    in_flight: FuturesOrdered<BoxFuture<'a, Landed>>,
    /// The last entries of those in flight, in their order.
    ends: VecDeque<Option<LogIdOf<TypeConfig>>>,
    bytes: usize,
    turn: Turn,
    /// Whether the follower has said of any request of this stream that it has the entries.
    acked: bool,
}

/// Sends what comes out of `input` and yields the answers in the same order. Ends after the first
/// one that is no success. Of requests that end with the same entry the last one's answer speaks
/// for all.
pub(super) fn stream<'a, S>(
    connection: &'a Connection,
    input: S,
    deadline: Duration,
) -> impl Stream<Item = Answer> + Send + 'a
where
    S: Stream<Item = Request> + Send + Unpin + 'a,
{
    let pipeline = Pipeline {
        connection,
        deadline,
        input: Some(input),
        waiting: None,
        in_flight: FuturesOrdered::new(),
        ends: VecDeque::new(),
        bytes: 0,
        turn: connection.first_turn(),
        acked: false,
    };
    unfold(Some(pipeline), async |pipeline| {
        let mut pipeline = pipeline?;
        loop {
            let landed = pipeline.next().await?;
            let last = landed.last;
            let (answer, goes_on) = pipeline.judge(landed)?;
            // openraft notes when it handed a request out, and takes "has everything up to x" for
            // an answer to all that end there: it would believe that the follower has followed
            // since a request was handed out which is not answered, and a leader that was deposed
            // would serve reads.
            if !goes_on || !pipeline.has_more_up_to(last) {
                return Some((answer, goes_on.then_some(pipeline)));
            }
        }
    })
}

impl<S: Stream<Item = Request> + Send + Unpin> Pipeline<'_, S> {
    /// Sends whatever there is room for, until the oldest request has come to its end. `None` when
    /// there is nothing left.
    async fn next(&mut self) -> Option<Landed> {
        loop {
            while self.has_room() && self.waiting.is_some() {
                self.send();
            }
            let reads_on = self.waiting.is_none() && self.has_room();
            tokio::select! {
                biased;
                read = next_of(&mut self.input), if reads_on && self.input.is_some() => {
                    if read.is_none() {
                        self.input = None;
                    }
                    self.waiting = read;
                }
                Some(landed) = self.in_flight.next() => {
                    self.ends.pop_front();
                    self.bytes = self.bytes.saturating_sub(landed.bytes);
                    return Some(landed);
                }
                else => return None,
            }
        }
    }

    /// Whether a request that is not answered ends there as well. None ends before: they follow one
    /// another.
    fn has_more_up_to(&self, last: Option<LogId>) -> bool {
        let waiting = self.waiting.as_ref().map(last_of);
        let next = self.ends.front().copied().or(waiting);
        next.is_some_and(|next| next.as_ref().map(log_id_of) <= last)
    }

    /// Whether a request of the largest usual size may go.
    fn has_room(&self) -> bool {
        let limits = self.connection.limits();
        let bytes = self.bytes.saturating_add(limits.request_bytes_max);
        self.in_flight.is_empty()
            || (self.in_flight.len() < limits.in_flight_max && bytes <= limits.in_flight_bytes_max)
    }

    /// Sends the front of what was read.
    fn send(&mut self) {
        let Some(mut request) = self.waiting.take() else { return };
        let (front, bytes) = split_front(&mut request, self.connection.limits().request_bytes_max);
        if !request.entries.is_empty() {
            self.waiting = Some(request);
        }
        let (connection, deadline, turn) = (self.connection, self.deadline, self.turn);
        self.turn.number = self.turn.number.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.ends.push_back(last_of(&front));
        self.in_flight.push_back(Box::pin(async move {
            let previous = front.prev_log_id.as_ref().map(log_id_of);
            let last = last_of(&front).as_ref().map(log_id_of);
            let answer = append(connection, turn, &front, deadline).await;
            Landed { previous, last, bytes, answer }
        }));
    }

    /// What openraft is told of an answer, and whether the stream goes on. `None` ends the stream
    /// without a word: openraft begins another one behind what was acknowledged.
    fn judge(&mut self, landed: Landed) -> Option<(Answer, bool)> {
        let Landed { previous, last, answer, .. } = landed;
        Some(match answer {
            Ok(AppendAnswer::Success) => {
                self.acked = true;
                (Ok(Ok(last.map(raft_log_id_of))), true)
            }
            Ok(AppendAnswer::Partial(part)) => {
                self.acked = true;
                (Ok(Ok(part.map(raft_log_id_of))), part == last)
            }
            // The follower has said in this stream that it has the entry before this one. So the
            // network brought this request first, and openraft would take the answer for a follower
            // that lost what it had acknowledged.
            Ok(AppendAnswer::Conflict) if self.acked => return None,
            Ok(AppendAnswer::Conflict) => match previous {
                Some(previous) => {
                    let conflict = StreamAppendError::Conflict(raft_log_id_of(previous));
                    (Ok(Err(conflict)), false)
                }
                // Nothing can be missing before the first entry.
                None => (Err(self.error(&CallError::WrongKind)), false),
            },
            Ok(AppendAnswer::HigherVote(vote)) => {
                (Ok(Err(StreamAppendError::HigherVote(raft_vote_of(vote)))), false)
            }
            Err(error) => (Err(self.error(&error)), false),
        })
    }

    fn error(&self, error: &CallError) -> RPCError<TypeConfig> {
        rpc_error(self.connection, RPCTypes::AppendEntries, error)
    }
}

async fn next_of<S: Stream + Unpin>(input: &mut Option<S>) -> Option<S::Item> {
    input.as_mut()?.next().await
}
