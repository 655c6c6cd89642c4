//! Users on three nodes: a key is issued on one, accepted on another, revoked on a third.
//!
//! `cargo run --release --example auth_cluster`. All nodes run in this process, each on a directory
//! of its own below a temporary one, which is removed at the end. The router comes with the feature
//! `testing`; `tcp_cluster` is a network over sockets.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hightower_kv::raft::router::Router;
use hightower_kv::raft::{ClusterConfig, ClusterEngine};
use hightower_kv::types::{NodeId, RandomId};
use hightower_kv::{AesGcmEncryptor, Argon2SecretHasher, AuthService};
use tokio::runtime::Builder;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
type Auth = AuthService<Arc<ClusterEngine>, Argon2SecretHasher, AesGcmEncryptor>;

/// How long an election is waited for; none takes as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The same on every node: what one of them encrypts, another one reads. An application gives each
/// node 32 random bytes of its own in a file (`htkvctl master-key new`), never in its source.
const MASTER_KEY: [u8; 32] = *b"an example's key: protects none.";

fn main() -> Outcome<()> {
    let scratch = tempfile::tempdir()?;
    let (router, runtime) = (Router::new(1), Builder::new_current_thread().build()?);

    println!("1. Three nodes are opened and made one cluster; each has a service of its own.");
    let mut nodes: Vec<(NodeId, Arc<ClusterEngine>)> = Vec::new();
    for id in [1, 2, 3].map(NodeId) {
        let cluster = nodes.first().map(|(_, engine)| engine.cluster_id());
        nodes.push((id, Arc::new(open(scratch.path(), &router, id, cluster)?)));
    }
    let members = nodes.iter().map(|(id, _)| (*id, address_of(*id))).collect();
    let first = nodes.first().ok_or("no node")?;
    runtime.block_on(first.1.initialize(members))?;
    for (_, engine) in &nodes {
        runtime.block_on(engine.wait_until(PATIENCE, |status| status.leader.is_some()))?;
    }
    let services: Vec<Auth> = nodes.iter().map(service).collect::<Outcome<_>>()?;
    let [one, two, three] = services.as_slice() else { return Err("three nodes".into()) };

    println!("2. Node 1 creates a user. Node 2 checks the password and reads the metadata.");
    let metadata = b"{\"role\":\"ops\"}".as_slice();
    let user = one.create_user_with_metadata("captain", "it-doesnt-take-much", Some(metadata))?;
    println!("   created user {}", user.user_id);
    assert!(two.verify_password("captain", "it-doesnt-take-much")?);
    assert!(!two.verify_password("captain", "something else")?);
    let same = two.find_user("captain")?.ok_or("node 2 knows the user")?;
    assert_eq!(two.decrypt_user_metadata(&same)?.as_deref(), Some(metadata));
    // Names are unique in the cluster, whichever node is asked.
    assert!(three.create_user("Captain", "another password").is_err());

    println!("3. Node 1 issues a key. Node 2 accepts its token.");
    let (record, token) = one.create_api_key(&user.user_id, None)?;
    println!("   issued key {}", record.key_id);
    let accepted = two.authenticate_api_key(&token)?.ok_or("node 2 should accept it")?;
    assert_eq!(accepted.owner_id, user.user_id);
    println!("   token resolves to user {}", accepted.owner_id);

    println!("4. Node 3 revokes the key. It is refused everywhere, at once.");
    three.revoke_api_key(&record.key_id)?;
    for auth in &services {
        assert!(auth.authenticate_api_key(&token)?.is_none());
    }

    println!("5. One audit trail, the same on every node:");
    let trail = one.audit(1, u64::MAX)?;
    assert_eq!(three.audit(1, u64::MAX)?, trail);
    for row in &trail {
        println!("   {}  {}  {}  {}", row.number, row.actor, row.action, row.subject);
    }

    for (_, engine) in &nodes {
        runtime.block_on(engine.shutdown())?;
    }
    Ok(())
}

/// The service of a node, which the audit trail names.
fn service((id, engine): &(NodeId, Arc<ClusterEngine>)) -> Outcome<Auth> {
    let encryptor = AesGcmEncryptor::with_keyring(1, [(1, MASTER_KEY)])?;
    let auth = AuthService::new(Arc::clone(engine), Argon2SecretHasher::default(), encryptor);
    Ok(auth.acting_as(&address_of(*id)))
}

/// What the members know a node by. The router goes by the number alone.
fn address_of(id: NodeId) -> String {
    format!("node-{id}")
}

/// Opens a node. The first one makes a cluster, the others are created for it.
fn open(
    directory: &Path,
    router: &Router,
    id: NodeId,
    cluster: Option<RandomId>,
) -> Outcome<ClusterEngine> {
    let mut config = ClusterConfig::default();
    config.store.data_dir = directory.join(address_of(id));
    config.store.node_id = id;
    config.address = address_of(id);
    config.cluster = cluster;
    let engine = ClusterEngine::open(config, router.transport(id))?;
    router.register(id, engine.handler());
    Ok(engine)
}
