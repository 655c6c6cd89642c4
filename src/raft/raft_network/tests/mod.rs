//! Two nodes and a network between them: what openraft sees of the one, and the other is asked.

mod appending;
mod asking;
mod snapshots;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::type_config::alias::LogIdOf;
use parking_lot::Mutex;

use super::*;
use crate::command::Command;
use crate::command::membership::{Membership, Peer};
use crate::env::Env;
use crate::raft::network::NetworkLimits;
use crate::raft::router::Router;
use crate::raft::server::{Peerside, Server};
use crate::raft::transport::{BoxFuture as Boxed, Transport, TransportError};
use crate::raft::type_config::{Proposal, raft_log_id_of, raft_vote_of};
use crate::raft::wire::request::{ForwardedWrite, SnapshotChunk, SnapshotFinish, SnapshotOffer};
use crate::raft::wire::response::{
    ChunkAnswer, FinishAnswer, Greeting, OfferAnswer, Refusal, WriteFailure,
};
use crate::state::{Applied, Outcome};
use crate::storage::identity::Identity;
use crate::storage::manifest_frames;
use crate::storage::snapshot_held::PartInfo;
use crate::types::{LogId, LogIndex, RandomId, Term, Timestamp, Version, Vote};

const LEADER: NodeId = NodeId(1);
const FOLLOWER: NodeId = NodeId(2);
const TTL: Duration = Duration::from_millis(400);

/// What the follower does besides what it should.
#[derive(Clone, Default)]
struct Habits {
    /// How long an append takes.
    work: Duration,
    /// Says that something is missing from this request on, counting from 0.
    conflict_from: Option<usize>,
    /// Has seen this vote.
    vote: Option<Vote>,
    /// Refuses whatever it is asked.
    refusal: Option<Refusal>,
    /// Says so of the first snapshot that it has whole.
    finds_damage: bool,
    /// Says that it has so many bytes more of each table.
    exaggerates: u64,
    /// Forgets the transfer when so many chunks are there.
    forgets_after: Option<usize>,
}

/// A follower that remembers what it was asked.
struct Follower {
    habits: Habits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    log: Vec<LogId>,
    appends: usize,
    busy: usize,
    busiest: usize,
    offer: Option<(RandomId, Vec<PartInfo>)>,
    /// What it has of tables, by their hashes.
    files: BTreeMap<[u8; 32], Vec<u8>>,
    chunks: Vec<(u32, u64, usize)>,
    forgot: bool,
    finished: usize,
}

fn identity(node: NodeId) -> Identity {
    let incarnation = RandomId([u8::try_from(node.0).unwrap(); 16]);
    Identity { cluster: RandomId([9; 16]), node, incarnation }
}

fn id(index: u64) -> LogId {
    LogId { term: Term(1), leader: LEADER, index: LogIndex(index) }
}

fn leader_vote() -> Vote {
    Vote { term: Term(1), node: LEADER, committed: true }
}

fn raft_id(index: u64) -> LogIdOf<TypeConfig> {
    raft_log_id_of(id(index))
}

/// A request with entries `first..=last`, each with a value of `bytes` bytes.
fn entries(first: u64, last: u64, bytes: usize) -> AppendEntriesRequest<TypeConfig> {
    let entry = |index| {
        let (key, value) = (Bytes::from_static(b"key"), vec![7; bytes].into());
        let proposal = Proposal::new(Timestamp(5), Command::Set { key, value });
        let payload = openraft::EntryPayload::Normal(proposal);
        openraft::Entry { log_id: raft_id(index), payload }
    };
    AppendEntriesRequest {
        vote: raft_vote_of(leader_vote()),
        prev_log_id: first.checked_sub(1).map(raft_id),
        entries: (first..=last).map(entry).collect(),
        leader_commit: None,
    }
}

fn parts_of(manifest: &Bytes) -> Vec<PartInfo> {
    let manifest = manifest_frames::decode(manifest, "offer".as_ref()).unwrap();
    manifest.tables().map(PartInfo::of).collect()
}

impl Follower {
    fn take(
        &self,
        request: &AppendEntriesRequest<TypeConfig>,
    ) -> AppendEntriesResponse<TypeConfig> {
        let mut state = self.state.lock();
        state.appends += 1;
        if let Some(vote) = self.habits.vote {
            return AppendEntriesResponse::HigherVote(raft_vote_of(vote));
        }
        let has =
            request.prev_log_id.is_none_or(|previous| previous.index < state.log.len() as u64);
        let forced = self.habits.conflict_from.is_some_and(|from| state.appends > from);
        if !has || forced {
            return AppendEntriesResponse::Conflict;
        }
        for entry in &request.entries {
            // What it has already stays, as Raft wants it.
            if entry.log_id.index == state.log.len() as u64 {
                state.log.push(id(entry.log_id.index));
            }
        }
        AppendEntriesResponse::Success
    }

    fn refuse(&self) -> Result<(), Refusal> {
        self.habits.refusal.clone().map_or(Ok(()), Err)
    }
}

/// An answer that is there at once.
fn now<'a, T: Send + 'a>(value: T) -> Boxed<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Peerside for Follower {
    fn identity(&self) -> Identity {
        identity(FOLLOWER)
    }

    fn members(&self) -> Option<Arc<Membership>> {
        None
    }

    fn greeting(&self) -> Greeting {
        Greeting { pristine: true, last: self.state.lock().log.last().copied() }
    }

    fn append(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> Boxed<'_, Result<AppendEntriesResponse<TypeConfig>, Refusal>> {
        Box::pin(async move {
            self.refuse()?;
            let answer = self.take(&request);
            {
                let mut state = self.state.lock();
                state.busy += 1;
                state.busiest = state.busiest.max(state.busy);
            }
            tokio::time::sleep(self.habits.work).await;
            self.state.lock().busy -= 1;
            Ok(answer)
        })
    }

    fn vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Boxed<'_, Result<VoteResponse<TypeConfig>, Refusal>> {
        now(self.refuse().map(|()| VoteResponse::new(request.vote, Some(raft_id(3)), true)))
    }

    fn pre_vote(
        &self,
        request: VoteRequest<TypeConfig>,
    ) -> Boxed<'_, Result<VoteResponse<TypeConfig>, Refusal>> {
        now(self.refuse().map(|()| VoteResponse::new(request.vote, None, false)))
    }

    fn transfer_leader(
        &self,
        request: TransferLeaderRequest<TypeConfig>,
    ) -> Boxed<'_, Result<TransferLeaderResponse<TypeConfig>, Refusal>> {
        let expected = request.last_log_id().copied();
        let short = openraft::raft::TransferLeaderError::LogNotFlushed { expected, actual: None };
        now(Ok(Err(short)))
    }

    fn snapshot_offer(&self, offer: SnapshotOffer) -> Boxed<'_, Result<OfferAnswer, Refusal>> {
        if let Some(vote) = self.habits.vote {
            return now(Ok(OfferAnswer::HigherVote(vote)));
        }
        let mut state = self.state.lock();
        let parts = parts_of(&offer.manifest);
        let has = |hash| state.files.get(hash).map_or(0, |file| file.len() as u64);
        let has = parts.iter().map(|part| has(&part.hash) + self.habits.exaggerates).collect();
        state.offer = Some((offer.transfer, parts));
        now(Ok(OfferAnswer::Has(has)))
    }

    fn snapshot_chunk(&self, chunk: SnapshotChunk) -> Boxed<'_, Result<ChunkAnswer, Refusal>> {
        let mut state = self.state.lock();
        if self.habits.forgets_after == Some(state.chunks.len()) && !state.forgot {
            state.forgot = true;
            state.offer = None;
        }
        let offer = state.offer.as_ref().filter(|(transfer, _)| *transfer == chunk.transfer);
        let Some((_, parts)) = offer else { return now(Ok(ChunkAnswer::UnknownTransfer)) };
        let hash = parts[chunk.part as usize].hash;
        state.chunks.push((chunk.part, chunk.offset, chunk.bytes.len()));
        let file = state.files.entry(hash).or_default();
        assert_eq!(file.len() as u64, chunk.offset);
        file.extend_from_slice(&chunk.bytes);
        now(Ok(ChunkAnswer::Stored))
    }

    fn snapshot_finish(&self, finish: SnapshotFinish) -> Boxed<'_, Result<FinishAnswer, Refusal>> {
        let mut state = self.state.lock();
        state.finished += 1;
        if self.habits.finds_damage && state.finished == 1 {
            state.files.clear();
            return now(Ok(FinishAnswer::Damaged));
        }
        now(Ok(FinishAnswer::Done(finish.vote)))
    }

    fn write(
        &self,
        from: NodeId,
        write: ForwardedWrite,
    ) -> Boxed<'_, Result<Vec<Result<Applied, WriteFailure>>, Refusal>> {
        assert_eq!(from, LEADER);
        let result = |(version, command): (u64, &Bytes)| {
            if command.is_empty() {
                return Err(WriteFailure::Invalid("nothing to do".to_owned()));
            }
            let (outcome, version) = (Outcome::Applied, Version(version));
            Ok(Applied { outcome, version, timestamp: Timestamp(5), stale_bytes: 6 })
        };
        now(self.refuse().map(|()| (4..).zip(&write.commands).map(result).collect()))
    }

    fn read_index(&self, lease: bool) -> Boxed<'_, Result<Option<LogId>, Refusal>> {
        now(self.refuse().map(|()| Some(id(if lease { 7 } else { 8 }))))
    }

    fn digest(&self, index: LogIndex) -> Option<[u8; 16]> {
        (index == LogIndex(1000)).then_some([3; 16])
    }
}

/// A leader's way to its follower.
struct Pair {
    router: Router,
    follower: Arc<Follower>,
    connection: Connection,
}

impl Pair {
    fn new(habits: Habits, limits: NetworkLimits) -> Self {
        Self::expecting(habits, limits, Some(identity(FOLLOWER).incarnation))
    }

    fn expecting(habits: Habits, limits: NetworkLimits, incarnation: Option<RandomId>) -> Self {
        let router = Router::new(3);
        let follower = Arc::new(Follower { habits, state: Mutex::default() });
        router.register(FOLLOWER, Arc::new(Server::new(Arc::clone(&follower) as _)));
        let env = Env::simulated(1).env;
        let transport = router.transport(LEADER);
        let factory = NetworkFactory::new(identity(LEADER), transport, limits, env).unwrap();
        let peer = Peer { address: "there".to_owned(), incarnation };
        let connection = factory.connect(FOLLOWER, &peer);
        Self { router, follower, connection }
    }

    fn usual() -> Self {
        Self::new(Habits::default(), NetworkLimits::default())
    }
}

/// Time moves when nothing else does.
fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    // Boxed: the compiler makes one copy of the runtime, not one for each test.
    let test: Pin<Box<dyn Future<Output = T> + '_>> = Box::pin(test);
    runtime.block_on(test)
}
