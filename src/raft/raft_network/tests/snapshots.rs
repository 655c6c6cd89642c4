use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};

use super::*;
use crate::config::{Compression, StoreConfig};
use crate::env::fs_sim::{SimError, SimFs};
use crate::raft::log_store::LogStoreLimits;
use crate::raft::snapshot::{NamedSnapshot, named};
use crate::raft::storage::RaftStorage;
use crate::storage::snapshot_held::HeldSnapshot;
use crate::storage::snapshot_incoming::Snapshot;

/// A leader's store, whose snapshot has several tables.
struct Source {
    fs: SimFs,
    storage: RaftStorage,
}

impl Source {
    async fn new() -> Self {
        let fs = SimFs::new(1);
        let config = StoreConfig {
            data_dir: "/data".into(),
            // Tables have half of that at most.
            max_segment_size: 4096,
            disk_reserve: 0,
            compression: Compression::Off,
            ..StoreConfig::default()
        };
        let env = Env::simulated_on(fs.clone(), 5).env;
        let limits = LogStoreLimits::default();
        let mut storage =
            RaftStorage::open(&config, None, env, limits, Arc::new(|_| true)).unwrap();
        let items = (0..30_u8).map(|index| {
            let (key, value) = (vec![index].into(), vec![index; 500].into());
            let proposal = Proposal::new(Timestamp(5), Command::Set { key, value });
            let payload = openraft::EntryPayload::Normal(proposal);
            Ok((openraft::Entry { log_id: raft_id(index.into()), payload }, None))
        });
        let state = &mut storage.state;
        state.apply(futures_util::stream::iter(items.collect::<Vec<_>>())).await.unwrap();
        state.get_snapshot_builder().await.build_snapshot().await.unwrap();
        Self { fs, storage }
    }

    fn snapshot(&self) -> NamedSnapshot {
        named(Some(Snapshot::Held(self.held()))).unwrap()
    }

    fn held(&self) -> HeldSnapshot {
        self.storage.machine.store.tables().hold().unwrap()
    }

    /// What a table has from `offset` on.
    fn bytes(&self, part: usize, offset: u64) -> Bytes {
        self.held().read(part, offset, usize::MAX).unwrap()
    }

    /// The chunks in which the tables go when so many bytes of each are there.
    fn chunks(&self, has: &[u64]) -> Vec<(u32, u64, usize)> {
        let mut chunks = Vec::new();
        for (part, has) in (0..).zip(has) {
            let mut offset = *has;
            while offset < self.held().parts()[part as usize].bytes {
                let left = self.bytes(part as usize, offset).len();
                chunks.push((part, offset, left.min(CHUNK_BYTES)));
                offset += CHUNK_BYTES as u64;
            }
        }
        chunks
    }
}

/// Less than a table has, so that each goes in several.
const CHUNK_BYTES: usize = 700;

type Sent = Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>>;

async fn send(pair: &Pair, source: &Source) -> Sent {
    let never = std::future::pending();
    send_until(pair, source.snapshot(), never).await
}

async fn send_until(
    pair: &Pair,
    snapshot: NamedSnapshot,
    cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
) -> Sent {
    let mut connection = pair.connection.clone();
    let vote = raft_vote_of(leader_vote());
    connection.full_snapshot(vote, snapshot, cancel, RPCOption::new(TTL)).await
}

fn limits() -> NetworkLimits {
    NetworkLimits { chunk_bytes_max: CHUNK_BYTES, ..NetworkLimits::default() }
}

#[test]
fn a_snapshot_is_offered_sent_in_chunks_and_finished() {
    run(async {
        let (pair, source) = (Pair::new(Habits::default(), limits()), Source::new().await);
        let sent = send(&pair, &source).await.unwrap();
        assert_eq!(sent, SnapshotResponse::new(raft_vote_of(leader_vote())));
        let state = pair.follower.state.lock();
        let (held, (_, parts)) = (source.held(), state.offer.as_ref().unwrap());
        assert!(parts.len() > 2, "{parts:?}");
        assert_eq!(parts, held.parts());
        assert_eq!(state.chunks, source.chunks(&vec![0; parts.len()]));
        assert!(state.chunks.len() > parts.len() * 2);
        for (number, part) in parts.iter().enumerate() {
            assert_eq!(state.files[&part.hash], source.bytes(number, 0));
            assert_eq!(state.files[&part.hash].len() as u64, part.bytes);
        }
        assert_eq!(state.finished, 1);
    });
}

#[test]
fn what_the_follower_has_already_is_not_sent() {
    run(async {
        let (pair, source) = (Pair::new(Habits::default(), limits()), Source::new().await);
        let parts = source.held().parts().to_vec();
        // All of the first, some of the second, nothing of the others.
        let mut has = vec![0; parts.len()];
        (has[0], has[1]) = (parts[0].bytes, 1000);
        for (number, part) in parts.iter().enumerate() {
            let file = source.bytes(number, 0)[..usize::try_from(has[number]).unwrap()].to_vec();
            pair.follower.state.lock().files.insert(part.hash, file);
        }
        send(&pair, &source).await.unwrap();
        let state = pair.follower.state.lock();
        assert_eq!(state.chunks, source.chunks(&has));
        for (number, part) in parts.iter().enumerate() {
            assert_eq!(state.files[&part.hash], source.bytes(number, 0));
        }
    });
}

#[test]
fn a_transfer_that_the_follower_has_forgotten_goes_on_with_the_next_one() {
    run(async {
        let source = Source::new().await;
        let pair = Pair::new(Habits { forgets_after: Some(4), ..Habits::default() }, limits());
        assert!(matches!(send(&pair, &source).await, Err(StreamingError::Network(_))));
        send(&pair, &source).await.unwrap();
        let state = pair.follower.state.lock();
        assert_eq!(state.chunks, source.chunks(&vec![0; source.held().parts().len()]));
    });
}

#[test]
fn a_follower_that_says_it_has_more_than_there_is_gets_nothing() {
    run(async {
        let source = Source::new().await;
        let pair = Pair::new(Habits { exaggerates: 1 << 20, ..Habits::default() }, limits());
        assert!(matches!(send(&pair, &source).await, Err(StreamingError::Network(_))));
        let state = pair.follower.state.lock();
        assert_eq!((state.chunks.len(), state.finished), (0, 0));
    });
}

#[test]
fn damage_at_the_follower_is_tried_again() {
    run(async {
        let habits = Habits { finds_damage: true, ..Habits::default() };
        let (pair, source) = (Pair::new(habits, limits()), Source::new().await);
        assert!(matches!(send(&pair, &source).await, Err(StreamingError::Network(_))));
        assert!(send(&pair, &source).await.is_ok());
    });
}

#[test]
fn the_state_before_any_entry_is_not_sent() {
    run(async {
        let pair = Pair::new(Habits::default(), limits());
        let nothing = named(None).unwrap();
        let sent = send_until(&pair, nothing, std::future::pending()).await;
        assert!(matches!(sent, Err(StreamingError::Network(_))), "{sent:?}");
        assert!(pair.follower.state.lock().offer.is_none());
    });
}

#[test]
fn a_follower_with_a_higher_vote_gets_nothing() {
    run(async {
        let vote = Vote { term: Term(7), node: FOLLOWER, committed: false };
        let pair = Pair::new(Habits { vote: Some(vote), ..Habits::default() }, limits());
        let source = Source::new().await;
        assert_eq!(send(&pair, &source).await.unwrap(), SnapshotResponse::new(raft_vote_of(vote)));
        assert!(pair.follower.state.lock().chunks.is_empty());
    });
}

#[test]
fn files_that_cannot_be_read_stop_the_sender() {
    run(async {
        let (pair, source) = (Pair::new(Habits::default(), limits()), Source::new().await);
        source.fs.fail_operation(source.fs.operations() + 3, SimError::Io);
        let sent = send(&pair, &source).await;
        assert!(matches!(sent, Err(StreamingError::StorageError(_))), "{sent:?}");
        assert_eq!(pair.follower.state.lock().chunks.len(), 2);
    });
}

#[test]
fn a_transfer_that_is_cancelled_ends() {
    run(async {
        let (pair, source) = (Pair::new(Habits::default(), limits()), Source::new().await);
        pair.router.isolate(FOLLOWER);
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            ReplicationClosed::new("enough")
        };
        let started = tokio::time::Instant::now();
        let sent = send_until(&pair, source.snapshot(), cancel).await;
        assert!(matches!(sent, Err(StreamingError::Closed(_))), "{sent:?}");
        assert!(started.elapsed() < Duration::from_millis(10));
    });
}

#[test]
fn a_follower_that_is_not_there_is_reported_as_such() {
    run(async {
        let (pair, source) = (Pair::new(Habits::default(), limits()), Source::new().await);
        pair.router.unregister(FOLLOWER);
        assert!(matches!(send(&pair, &source).await, Err(StreamingError::Unreachable(_))));
        pair.router.register(FOLLOWER, Arc::new(Server::new(Arc::clone(&pair.follower) as _)));
        pair.router.cut(FOLLOWER, LEADER);
        assert!(matches!(send(&pair, &source).await, Err(StreamingError::Timeout(_))));
    });
}
