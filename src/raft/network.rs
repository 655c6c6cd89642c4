//! Asking other nodes: the one place where requests leave.
//!
//! [`NetworkFactory`] is what openraft makes its connections with, and what a node asks others
//! with. It opens nothing: everything goes through the application's [`Transport`].

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::transport::{Transport, TransportError};
use super::wire::envelope::{Addressee, Envelope};
use super::wire::error::WireError;
use super::wire::request::{ForwardedWrite, Request, Turn};
use super::wire::response::{Greeting, Refusal, Response, WriteFailure};
use crate::command::membership::{Membership, Peer};
use crate::env::Env;
use crate::state::Applied;
use crate::storage::identity::Identity;
use crate::types::{LogId, LogIndex, NodeId, RandomId};

/// How long nothing more is said about a node whose identity is wrong.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// What may be under way to one node at once, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkLimits {
    /// Most bytes of entries in one request. An entry that is larger goes alone.
    pub request_bytes_max: usize,
    /// Most requests with entries that are under way to one follower.
    pub in_flight_max: usize,
    /// Most bytes of them, unless one alone is more.
    pub in_flight_bytes_max: usize,
    /// Most bytes of a snapshot in one request.
    pub chunk_bytes_max: usize,
    /// How long entries on their way may take at least, whatever openraft says: a follower answers
    /// after it has synced.
    pub append_deadline_min: Duration,
    /// How long a chunk of a snapshot may take at least.
    pub chunk_deadline_min: Duration,
    /// How long a follower may take to check and install a snapshot.
    pub install_deadline: Duration,
}

impl Default for NetworkLimits {
    fn default() -> Self {
        Self {
            request_bytes_max: 4 << 20,
            in_flight_max: 16,
            in_flight_bytes_max: 16 << 20,
            chunk_bytes_max: 1 << 20,
            append_deadline_min: Duration::from_secs(2),
            chunk_deadline_min: Duration::from_secs(10),
            install_deadline: Duration::from_mins(5),
        }
    }
}

/// Makes connections to other nodes. A clone is a pointer.
#[derive(Clone, Debug)]
pub struct NetworkFactory {
    shared: Arc<Shared>,
}

struct Shared {
    identity: Identity,
    transport: Arc<dyn Transport>,
    limits: NetworkLimits,
    env: Env,
    /// Numbers of streams and transfers: a random beginning, so that none repeats one of an earlier
    /// run.
    numbers: AtomicU64,
    /// The newest members.
    members: Mutex<BTreeMap<NodeId, Peer>>,
    /// When a warning about a node was last written.
    warned: Mutex<BTreeMap<NodeId, Duration>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl NetworkFactory {
    /// Connections that say they come from `identity`.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn new(
        identity: Identity,
        transport: Arc<dyn Transport>,
        limits: NetworkLimits,
        env: Env,
    ) -> io::Result<Self> {
        let numbers = AtomicU64::new(env.rng.next_u64()?);
        let (members, warned) = (Mutex::default(), Mutex::default());
        let shared = Shared { identity, transport, limits, env, numbers, members, warned };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A connection to a member. Costs nothing: the first request goes out with the first call.
    #[must_use]
    pub fn connect(&self, target: NodeId, peer: &Peer) -> Connection {
        Connection {
            shared: Arc::clone(&self.shared),
            to: Addressee { node: target, incarnation: peer.incarnation },
            address: peer.address.as_str().into(),
            ordered: true,
        }
    }

    /// Takes in where the members are by now. openraft keeps a connection for as long as a leader
    /// leads.
    pub(super) fn set_members(&self, members: &Membership) {
        *self.shared.members.lock() = members.nodes().clone();
    }
}

/// The way to one node. A clone is a pointer; nothing is held open.
#[derive(Clone, Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    to: Addressee,
    address: Arc<str>,
    /// Whether the requests of a stream must be taken in their order.
    ordered: bool,
}

/// Why there is no answer to a request. Unless it says otherwise, the request may have arrived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The transport could not bring it there: it did not arrive.
    #[error("{0}")]
    NotSent(String),
    /// No answer came in time.
    #[error("no answer came within {0:?}")]
    Timeout(Duration),
    /// The node refused, or another one did whom the request reached. Nothing was done for what
    /// reached it; a network that brings a request twice may have brought the other one in.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Somebody else answered.
    #[error("{found:?} answered, expected {expected:?}")]
    Stranger {
        /// Who was asked.
        expected: Addressee,
        /// Who answered.
        found: Identity,
    },
    /// What came back is no answer to the request.
    #[error("the answer cannot be understood: {0}")]
    Garbled(#[from] WireError),
    /// The answer is one to another kind of request.
    #[error("the answer is one to another kind of request")]
    WrongKind,
    /// The request cannot be sent at all, and was not.
    #[error("cannot be sent: {0}")]
    Unsendable(String),
}

impl CallError {
    /// Whether the request reached the wrong directory, or came from one.
    #[must_use]
    pub const fn is_identity(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_identity(),
            Self::Stranger { .. } => true,
            _ => false,
        }
    }
}

impl Connection {
    /// The node at the other end.
    #[must_use]
    pub const fn target(&self) -> NodeId {
        self.to.node
    }

    /// The same way for requests that may overtake each other: heartbeats, which bring no entries.
    pub(super) fn unordered(self) -> Self {
        Self { ordered: false, ..self }
    }

    pub(super) fn limits(&self) -> &NetworkLimits {
        &self.shared.limits
    }

    pub(super) fn own_node(&self) -> NodeId {
        self.shared.identity.node
    }

    pub(super) fn envelope(&self) -> Envelope {
        Envelope { from: self.shared.identity, to: self.to }
    }

    /// The beginning of a stream.
    pub(super) fn first_turn(&self) -> Turn {
        let stream = if self.ordered { self.next_stream() } else { 0 };
        Turn { stream, number: 0 }
    }

    /// A number that no stream of this node has had.
    fn next_stream(&self) -> u64 {
        loop {
            // Zero says that a request is part of no stream.
            let number = self.shared.numbers.fetch_add(1, Ordering::Relaxed);
            if number != 0 {
                return number;
            }
        }
    }

    /// A name that no transfer of any node has had.
    pub(super) fn next_transfer(&self) -> io::Result<RandomId> {
        let mut id = [0; 16];
        self.shared.env.rng.fill(&mut id)?;
        Ok(RandomId(id))
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn ask(
        &self,
        request: &Request,
        deadline: Duration,
    ) -> Result<Response, CallError> {
        self.call(request.encode(&self.envelope()), deadline).await
    }

    /// As [`Self::ask`], for a request that is encoded already.
    pub(super) async fn call(
        &self,
        request: Bytes,
        deadline: Duration,
    ) -> Result<Response, CallError> {
        let result =
            self.exchange(request, deadline).await.and_then(|(from, response)| match response {
                // A stranger can say that it is one, and nothing about the node that was asked.
                Response::Refused(refusal) if refusal.is_identity() => {
                    Err(CallError::Refused(refusal))
                }
                Response::Refused(refusal) => {
                    self.check_sender(from).and(Err(CallError::Refused(refusal)))
                }
                response => self.check_sender(from).map(|()| response),
            });
        if let Err(error) = &result {
            self.report(error);
        }
        result
    }

    async fn exchange(
        &self,
        request: Bytes,
        deadline: Duration,
    ) -> Result<(Identity, Response), CallError> {
        let transport = &self.shared.transport;
        let answer = transport.call(self.to.node, &self.address(), request.clone(), deadline);
        let answer = match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(TransportError::Unreachable(reason))) => {
                return Err(CallError::NotSent(reason));
            }
            Ok(Err(TransportError::Timeout)) | Err(_) => return Err(CallError::Timeout(deadline)),
        };
        Ok(Response::decode(&answer, &request)?)
    }

    /// Where the directory is that is meant: it may have moved since the connection was made.
    fn address(&self) -> Arc<str> {
        let members = self.shared.members.lock();
        match members.get(&self.to.node) {
            Some(peer) if self.to.incarnation.is_some_and(|it| peer.incarnation == Some(it)) => {
                peer.address.as_str().into()
            }
            _ => Arc::clone(&self.address),
        }
    }

    /// An answer counts only when it comes from the directory that was asked: another one may have
    /// forgotten what it promised.
    fn check_sender(&self, from: Identity) -> Result<(), CallError> {
        let meant = from.cluster == self.shared.identity.cluster
            && from.node == self.to.node
            && self.to.incarnation.is_none_or(|expected| expected == from.incarnation);
        if meant { Ok(()) } else { Err(CallError::Stranger { expected: self.to, found: from }) }
    }

    /// Says so when a directory is not the one it should be, but not for every heartbeat.
    fn report(&self, error: &CallError) {
        let node = self.to.node;
        if !error.is_identity() {
            tracing::debug!(%node, address = %self.address, %error, "a request has no answer");
            return;
        }
        let now = self.shared.env.clock.elapsed();
        let mut warned = self.shared.warned.lock();
        let recent = warned.get(&node).is_some_and(|at| now.saturating_sub(*at) < WARNING_INTERVAL);
        if recent {
            return;
        }
        warned.insert(node, now);
        drop(warned);
        tracing::warn!(
            %node, address = %self.address, %error,
            "this member cannot be talked to: identities do not match, so one of the two \
             directories was wiped, copied or given to another address; remove the member and let \
             it join again under a new id"
        );
    }

    /// Asks who is there. The answer may come from any directory of the same cluster, and from a
    /// new one of any.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn hello(&self, deadline: Duration) -> Result<(Identity, Greeting), CallError> {
        let request = Request::Hello.encode(&self.envelope());
        match self.exchange(request, deadline).await? {
            (from, Response::Hello(greeting)) => Ok((from, greeting)),
            (_, Response::Refused(refusal)) => Err(refusal.into()),
            _ => Err(CallError::WrongKind),
        }
    }

    /// Gives writes to the leader, to be appended in this order: at most
    /// [`WRITE_COMMANDS_MAX`](super::wire::request::WRITE_COMMANDS_MAX). When there is no answer,
    /// the outcome is not known unless the error is `NotSent`, `Unsendable`, or `Refused` with
    /// `NotLeader` or `Stopped`.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn write(
        &self,
        commands: Vec<Bytes>,
        deadline: Duration,
    ) -> Result<Vec<Result<Applied, WriteFailure>>, CallError> {
        let write = ForwardedWrite { number: self.next_stream(), deadline, commands };
        match self.ask(&Request::Write(write), deadline).await? {
            Response::Write(result) => Ok(result),
            _ => Err(CallError::WrongKind),
        }
    }

    /// Asks the leader what must be applied before a linearizable read may be answered.
    ///
    /// # Errors
    /// Why there is no answer; `Refused(NotLeader)` by a node that does not lead.
    pub async fn read_index(
        &self,
        lease: bool,
        deadline: Duration,
    ) -> Result<Option<LogId>, CallError> {
        match self.ask(&Request::ReadIndex { lease }, deadline).await? {
            Response::ReadIndex(id) => Ok(id),
            _ => Err(CallError::WrongKind),
        }
    }

    /// Asks for the digest of the state at an index; `None` from a node that does not know it.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn digest(
        &self,
        index: LogIndex,
        deadline: Duration,
    ) -> Result<Option<[u8; 16]>, CallError> {
        match self.ask(&Request::Digest { index }, deadline).await? {
            Response::Digest(digest) => Ok(digest),
            _ => Err(CallError::WrongKind),
        }
    }
}
