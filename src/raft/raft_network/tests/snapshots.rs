use openraft::type_config::alias::{SnapshotMetaOf, StoredMembershipOf};

use super::*;
use crate::raft::snapshot_source::SnapshotSource;
use crate::raft::type_config::raft_membership_of;
use crate::raft::wire::request::SnapshotPart;

/// Files in memory.
#[derive(Debug)]
struct Files {
    files: Vec<Vec<u8>>,
    readable: bool,
}

impl SnapshotSource for Files {
    fn parts(&self) -> Vec<SnapshotPart> {
        let part = |file: &Vec<u8>| SnapshotPart { hash: [file[0]; 32], bytes: file.len() as u64 };
        self.files.iter().map(part).collect()
    }

    fn read(&self, part: u32, offset: u64, bytes: usize) -> std::io::Result<Bytes> {
        if !self.readable {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        let offset = usize::try_from(offset).unwrap();
        Ok(Bytes::copy_from_slice(&self.files[part as usize][offset..offset + bytes]))
    }
}

type Sent = Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>>;

async fn send(pair: &Pair, readable: bool) -> Sent {
    let never = std::future::pending();
    send_until(pair, readable, never).await
}

async fn send_until(
    pair: &Pair,
    readable: bool,
    cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
) -> Sent {
    let membership = raft_membership_of(&Membership::single(LEADER));
    let meta = SnapshotMetaOf::<TypeConfig> {
        last_log_id: Some(raft_id(9)),
        last_membership: StoredMembershipOf::<TypeConfig>::new(Some(raft_id(0)), membership),
    };
    let files = vec![vec![1; 10], vec![2; 250], vec![3; 100]];
    let snapshot = SnapshotData::Held(Arc::new(Files { files, readable }));
    let snapshot = SnapshotOf::<TypeConfig, SnapshotData> { meta, snapshot };
    let mut connection = pair.connection.clone();
    let vote = raft_vote_of(leader_vote());
    connection.full_snapshot(vote, snapshot, cancel, RPCOption::new(TTL)).await
}

fn limits() -> NetworkLimits {
    NetworkLimits { chunk_bytes_max: 100, ..NetworkLimits::default() }
}

#[test]
fn a_snapshot_is_offered_sent_in_chunks_and_finished() {
    run(async {
        let pair = Pair::new(Habits::default(), limits());
        let sent = send(&pair, true).await.unwrap();
        assert_eq!(sent, SnapshotResponse::new(raft_vote_of(leader_vote())));
        let state = pair.follower.state.lock();
        let chunks = [(0, 0, 10), (1, 0, 100), (1, 100, 100), (1, 200, 50), (2, 0, 100)];
        assert_eq!(state.chunks, chunks);
        assert_eq!(state.files[&[2; 32]], [2; 250]);
        let offer = state.offer.as_ref().unwrap();
        assert_eq!((offer.last, offer.membership_id), (Some(id(9)), Some(id(0))));
        assert_eq!(offer.membership, Some(Membership::single(LEADER)));
        assert_eq!(state.finished, 1);
    });
}

#[test]
fn what_the_follower_has_already_is_not_sent() {
    run(async {
        let pair = Pair::new(Habits::default(), limits());
        pair.follower.state.lock().files.extend([([2; 32], vec![2; 220]), ([3; 32], vec![3; 100])]);
        send(&pair, true).await.unwrap();
        assert_eq!(pair.follower.state.lock().chunks, [(0, 0, 10), (1, 220, 30)]);
    });
}

#[test]
fn damage_at_the_follower_is_tried_again() {
    run(async {
        let habits = Habits { finds_damage: true, ..Habits::default() };
        let pair = Pair::new(habits, limits());
        assert!(matches!(send(&pair, true).await, Err(StreamingError::Network(_))));
        assert!(send(&pair, true).await.is_ok());
    });
}

#[test]
fn a_follower_with_a_higher_vote_gets_nothing() {
    run(async {
        let vote = Vote { term: Term(7), node: FOLLOWER, committed: false };
        let pair = Pair::new(Habits { vote: Some(vote), ..Habits::default() }, limits());
        assert_eq!(send(&pair, true).await.unwrap(), SnapshotResponse::new(raft_vote_of(vote)));
        assert!(pair.follower.state.lock().chunks.is_empty());
    });
}

#[test]
fn files_that_cannot_be_read_stop_the_sender() {
    run(async {
        let pair = Pair::new(Habits::default(), limits());
        assert!(matches!(send(&pair, false).await, Err(StreamingError::StorageError(_))));
    });
}

#[test]
fn a_transfer_that_is_cancelled_ends() {
    run(async {
        let pair = Pair::new(Habits::default(), limits());
        pair.router.isolate(FOLLOWER);
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            ReplicationClosed::new("enough")
        };
        let started = tokio::time::Instant::now();
        let sent = send_until(&pair, true, cancel).await;
        assert!(matches!(sent, Err(StreamingError::Closed(_))), "{sent:?}");
        assert!(started.elapsed() < Duration::from_millis(10));
    });
}

#[test]
fn a_follower_that_is_not_there_is_reported_as_such() {
    run(async {
        let pair = Pair::new(Habits::default(), limits());
        pair.router.unregister(FOLLOWER);
        assert!(matches!(send(&pair, true).await, Err(StreamingError::Unreachable(_))));
        pair.router.register(FOLLOWER, Arc::new(Server::new(Arc::clone(&pair.follower) as _)));
        pair.router.cut(FOLLOWER, LEADER);
        assert!(matches!(send(&pair, true).await, Err(StreamingError::Timeout(_))));
    });
}
