//! A8, A10, A13, A14: the same service on three nodes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hightower_kv::auth::{ApiKeyOptions, Grant};
use hightower_kv::raft::test_cluster::{Disk, TestCluster};
use hightower_kv::raft::transport::{BoxFuture, RequestHandler};
use hightower_kv::raft::{ClusterConfig, ClusterEngine};
use hightower_kv::state::digest::StateDigest;
use hightower_kv::types::NodeId;
use hightower_kv::{AesGcmEncryptor, ApiToken, AuthService, Error, KvEngine, ReadContext, Result};
use parking_lot::Mutex;

use crate::support::{FastHasher, MASTER, PASSWORD};
use crate::tokens;

type Auth = AuthService<Arc<ClusterEngine>, FastHasher, AesGcmEncryptor>;

/// How long something may take that must happen. Reached only by a failure.
const PATIENCE: Duration = Duration::from_mins(5);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Nodes that wait long, each for the others and for an answer: other tests keep the machine busy,
/// and most calls here are made once.
fn start(disk: Disk, seed: u64) -> TestCluster {
    start_with(disk, seed, Duration::from_secs(4), Duration::from_secs(30))
}

/// As [`start`], with the longest time to an election and for a call.
fn start_with(disk: Disk, seed: u64, elected: Duration, deadline: Duration) -> TestCluster {
    let mut config = ClusterConfig {
        election_timeout: (elected / 2, elected),
        heartbeat: Duration::from_millis(50),
        deadline,
        ..ClusterConfig::default()
    };
    config.store.max_segment_size = 64 << 10;
    config.log_kept = 20;
    TestCluster::start_with(3, disk, seed, config).unwrap()
}

/// The service of one node: what every node of an application makes for itself.
fn service(cluster: &TestCluster, id: NodeId) -> Auth {
    AuthService::new(cluster.node(id), FastHasher::default(), AesGcmEncryptor::new(MASTER))
}

/// Tries again while nobody leads. What it is not known of is tried again, too.
fn persist<T>(what: &str, mut attempt: impl FnMut() -> Result<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) if is_passing(&error) => assert!(Instant::now() < end, "{what}: {error}"),
            Err(error) => panic!("{what}: {error}"),
        }
        std::thread::yield_now();
    }
}

fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable(_)
            | Error::NotLeader { .. }
            | Error::Overloaded(_)
            | Error::NotYet { .. }
            | Error::OutcomeUnknown { .. }
    )
}

fn accepts(auth: &Auth, token: &str) -> bool {
    persist("a check", || auth.authenticate_api_key(token)).is_some()
}

/// All nodes have come to one state.
fn assert_agreed(cluster: &TestCluster) {
    let end = Instant::now() + PATIENCE;
    loop {
        cluster.settle().unwrap();
        let views: Vec<_> = cluster
            .ids()
            .into_iter()
            .map(|id| cluster.node(id).view(ReadContext::Local).unwrap())
            .collect();
        if views.windows(2).all(|two| two[0].last_applied() == two[1].last_applied()) {
            let digests: Vec<_> = views.iter().map(|view| StateDigest::of(view).unwrap()).collect();
            assert!(digests.windows(2).all(|two| two[0] == two[1]), "A13: the states differ");
            return;
        }
        assert!(Instant::now() < end, "the nodes do not come to rest");
    }
}

#[test]
fn a8_created_issued_accepted_and_revoked_on_different_nodes() {
    let mut cluster = start(Disk::Simulated, 1);
    let services = [1, 2, 3].map(|id| service(&cluster, NodeId(id)));
    let [one, two, three] = &services;
    let user = one.create_user_with_metadata("captain", PASSWORD, Some(b"ops")).unwrap();
    assert!(matches!(two.create_user("Captain", PASSWORD), Err(Error::Conflict(_))));
    persist("a role", || three.put_role("crew", vec![Grant::to_write("ship/")]));
    persist("its user", || two.set_user_roles(&user.user_id, &["crew"]));
    let options = ApiKeyOptions::new().metadata(b"bridge");
    let (key, token) = two.create_api_key_with(&user.user_id, &options).unwrap();
    let (_, kept) = three.create_api_key(&user.user_id, None).unwrap();
    for auth in &services {
        let found = persist("a check", || auth.authenticate_api_key(&token)).unwrap();
        let metadata = persist("its metadata", || auth.decrypt_api_key_metadata(&found));
        assert_eq!(metadata.unwrap(), b"bridge");
        assert!(persist("a login", || auth.verify_password("captain", PASSWORD)));
    }
    persist("the end of a user", || three.disable_user(&user.user_id));
    assert!(services.iter().all(|auth| !accepts(auth, &token)), "disabled");
    persist("a user again", || two.enable_user(&user.user_id));
    assert!(services.iter().all(|auth| accepts(auth, &token)), "enabled");
    assert!(one.revoke_api_key(&key.key_id).unwrap());
    for auth in &services {
        assert!(!accepts(auth, &token), "revoked");
        assert!(accepts(auth, &kept));
    }
    drop(services);
    let leader = cluster.leader().unwrap();
    cluster.kill(leader);
    for id in cluster.ids() {
        let auth = service(&cluster, id);
        assert!(!accepts(&auth, &token) && accepts(&auth, &kept), "after a failover");
    }
    cluster.restart(leader).unwrap();
    let auth = service(&cluster, leader);
    assert!(!accepts(&auth, &token) && accepts(&auth, &kept), "after a restart");
    persist("the trail", || auth.audit(1, u64::MAX));
    assert_agreed(&cluster);
}

#[test]
fn a8_a_leader_that_is_cut_off_accepts_no_key_that_was_revoked_meanwhile() {
    // Each check of one that is cut off takes as long as a call may.
    let times = [400, 500].map(Duration::from_millis);
    let cluster = start_with(Disk::Simulated, 2, times[0], times[1]);
    let old = cluster.leader().unwrap();
    let cut_off = service(&cluster, old);
    let user = persist("a user", || match cut_off.create_user("captain", PASSWORD) {
        // By an attempt before, of which it was not known.
        Err(Error::Conflict(_)) => cut_off.find_user("captain").map(Option::unwrap),
        made => made,
    });
    let (key, token) = persist("a key", || cut_off.create_api_key(&user.user_id, None));
    assert!(accepts(&cut_off, &token));
    cluster.router().isolate(old);
    let others: Vec<NodeId> = cluster.ids().into_iter().filter(|&id| id != old).collect();
    let other = service(&cluster, others[0]);
    persist("the revoke", || other.revoke_api_key(&key.key_id));
    let mut refused = 0;
    for _ in 0..2 {
        match cut_off.authenticate_api_key(&token) {
            Err(error) => assert!(is_passing(&error), "{error}"),
            Ok(found) => panic!("the leader that is cut off has answered {found:?}"),
        }
        refused += 1;
    }
    cluster.router().rejoin(old);
    assert!(!accepts(&cut_off, &token), "after it is back");
    assert!(others.iter().all(|&id| !accepts(&service(&cluster, id), &token)));
    println!("A8: a leader that was cut off refused {refused} of {refused} checks");
    assert_agreed(&cluster);
}

#[test]
fn a_node_that_is_cut_off_says_so_to_all_within_one_deadline() {
    let deadline = Duration::from_secs(1);
    let cluster = start_with(Disk::Simulated, 5, Duration::from_millis(800), deadline);
    let old = cluster.leader().unwrap();
    let cut_off = service(&cluster, old);
    let user = persist("a user", || match cut_off.create_user("captain", PASSWORD) {
        // By an attempt before, of which it was not known.
        Err(Error::Conflict(_)) => cut_off.find_user("captain").map(Option::unwrap),
        made => made,
    });
    cluster.router().isolate(old);
    let started = Instant::now();
    let refused = |error: Error| assert!(is_passing(&error), "{error}");
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                refused(cut_off.verify_password("captain", PASSWORD).unwrap_err());
            });
            scope.spawn(|| refused(cut_off.disable_user(&user.user_id).unwrap_err()));
        }
    });
    // One behind the other would be six deadlines for logins, and twelve for changes.
    let took = started.elapsed();
    assert!(took < 4 * deadline, "{took:?}");
}

#[test]
fn a10_of_creates_of_one_name_on_three_nodes_one_wins() {
    let cluster = start(Disk::Simulated, 3);
    let services = [1, 2, 3].map(|id| service(&cluster, NodeId(id)));
    let rounds = 20;
    for round in 0..rounds {
        let name = format!("name-{round}");
        let create = |auth: &Auth| match auth.create_user(&name, PASSWORD) {
            Ok(user) => Some(user.user_id),
            Err(Error::Conflict(_)) => None,
            Err(error) => panic!("{error}"),
        };
        let created: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                services.iter().map(|auth| scope.spawn(move || create(auth))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(created.len(), 1, "round {round}");
        for auth in &services {
            assert_eq!(auth.find_user(&name).unwrap().unwrap().user_id, created[0]);
        }
    }
    assert_eq!(services[0].list_users().unwrap().len(), rounds);
    services[1].audit(1, u64::MAX).unwrap();
    assert_agreed(&cluster);
}

/// Hands everything on and keeps a copy.
struct Tapped {
    inner: Arc<dyn RequestHandler>,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl RequestHandler for Tapped {
    fn handle(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
        self.heard.lock().extend_from_slice(&request);
        let (answer, heard) = (self.inner.handle(request), Arc::clone(&self.heard));
        Box::pin(async move {
            let answer = answer.await;
            heard.lock().extend_from_slice(&answer);
            answer
        })
    }
}

fn tap(cluster: &TestCluster, heard: &Arc<Mutex<Vec<u8>>>, id: NodeId) {
    let (inner, heard) = (cluster.node(id).handler(), Arc::clone(heard));
    cluster.router().register(id, Arc::new(Tapped { inner, heard }));
}

/// What must be nowhere.
fn canaries(tokens: &[ApiToken]) -> Vec<Vec<u8>> {
    let mut all = vec![PASSWORD.as_bytes().to_vec(), b"canary-metadata".to_vec(), MASTER.to_vec()];
    for token in tokens {
        all.push(token.as_bytes()[27..70].to_vec());
        all.push(tokens::secret_of(token).to_vec());
    }
    all
}

fn assert_free_of(what: &str, bytes: &[u8], canaries: &[Vec<u8>]) {
    for canary in canaries {
        let found = bytes.windows(canary.len()).any(|window| window == canary);
        assert!(!found, "{what} has {}", canary.escape_ascii());
    }
}

#[test]
fn a14_no_secret_is_on_the_wire_or_on_a_disk_and_a_node_from_a_snapshot_knows_all() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = start(Disk::Real(directory.path().to_owned()), 4);
    let heard = Arc::new(Mutex::new(Vec::new()));
    for id in cluster.ids() {
        tap(&cluster, &heard, id);
    }
    let leader = cluster.leader().unwrap();
    let follower = cluster.ids().into_iter().find(|&id| id != leader).unwrap();
    // On a follower, so that every change travels.
    let auth = service(&cluster, follower);
    let metadata = Some(&b"canary-metadata"[..]);
    let create = |name| auth.create_user_with_metadata(name, PASSWORD, metadata).unwrap();
    let (user, locked) = (create("captain"), create("locked"));
    let mut tokens = Vec::new();
    for _ in 0..5 {
        let options = ApiKeyOptions::new().metadata(b"canary-metadata");
        let (_, token) = auth.create_api_key_with(&user.user_id, &options).unwrap();
        assert!(accepts(&auth, &token));
        tokens.push(token);
    }
    assert!(auth.verify_password("captain", PASSWORD).unwrap());
    for _ in 0..10 {
        assert!(!auth.verify_password("locked", "not-the-password").unwrap());
    }
    for id in cluster.ids() {
        let told = service(&cluster, id);
        assert!(!told.verify_password("locked", PASSWORD).unwrap(), "locked out on node {id}");
    }
    // Enough that the log is purged, and a new node gets a snapshot.
    for number in 0..400_u32 {
        let row = || (number.to_le_bytes().to_vec(), vec![9; 1000]);
        persist("a write", || cluster.node(follower).put(row().0, row().1));
    }
    for id in cluster.ids() {
        persist("a snapshot", || block_on(cluster.node(id).snapshot_now()));
    }
    cluster.open(NodeId(4)).unwrap();
    tap(&cluster, &heard, NodeId(4));
    let led = cluster.node(cluster.leader().unwrap());
    let wait = hightower_kv::raft::Wait::CaughtUp;
    persist("a learner", || block_on(led.add_learner(NodeId(4), "node-4".to_owned(), wait)));
    cluster.settle().unwrap();
    let learner = service(&cluster, NodeId(4));
    assert!(tokens.iter().all(|token| accepts(&learner, token)), "a learner accepts the keys");
    assert!(!persist("a login", || learner.verify_password("locked", PASSWORD)), "and locks out");
    assert!(persist("a login", || learner.verify_password("captain", PASSWORD)));
    persist("the trail", || learner.audit(1, u64::MAX));
    assert_agreed(&cluster);
    let snapshots = cluster.node(NodeId(4)).status().snapshot.is_some();
    let canaries = canaries(&tokens);
    let wire = heard.lock().clone();
    let holds = |bytes: &[u8]| bytes.windows(22).any(|window| window == locked.user_id.as_bytes());
    assert!(holds(&wire), "the search finds what was sent");
    assert_free_of("the wire", &wire, &canaries);
    drop((auth, learner, led));
    let files = crate::keys_hostile::bytes_below(directory.path());
    assert!(holds(&files), "the search finds what is there");
    assert_free_of("a disk", &files, &canaries);
    println!(
        "A14: {} secrets, {} KiB of the wire and {} KiB of disks searched, 0 found (snapshot: \
         {snapshots})",
        canaries.len(),
        wire.len() >> 10,
        files.len() >> 10
    );
}
