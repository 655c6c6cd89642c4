//! From a directory to a store and what it holds: what all engines that write begin with.

use super::budget::table_options;
use super::machine::Machine;
use super::pressure::Pressure;
use super::replay::{ReadAhead, Replayed, checkpoint, replay};
use crate::config::StoreConfig;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::storage::log_scan::TailPolicy;
use crate::storage::store::{Absent, Store, StoreOptions};
use crate::types::{NodeId, RandomId};

/// Opens a store, or creates it, and applies everything in its log: for who alone decides what is
/// committed.
///
/// # Errors
/// Those of [`Store::open`] and of [`replay`].
pub(crate) fn open_replayed(env: &Env, config: &StoreConfig) -> Result<(Store, Replayed)> {
    let store = open_store(env, config, config.unsynced_bytes_max, None)?;
    let (log, tables) = (store.log(), store.tables());
    let read_ahead = if config.worker_threads > 0 { ReadAhead::Thread } else { ReadAhead::Inline };
    let (head, set, hard) = (tables.manifest_head(), tables.set(), log.hard_state());
    let replayed =
        replay(head.as_ref(), set, hard, read_ahead, |range, bytes| log.read_range(range, bytes))?;
    Ok((store, replayed))
}

/// Opens a store, or creates it, with the state of its newest manifest. Nothing behind that is
/// applied: of a voter among several only the others together know what is committed.
///
/// The log does not bound what is unsynced: whoever appends does, and waits elsewhere than on the
/// device.
///
/// # Errors
/// Those of [`Store::open`]; `IdentityMismatch` for a directory of another node, or of another
/// cluster than `cluster`; `Serialization` for a manifest of a newer release.
pub(crate) fn open_machine(
    env: Env,
    config: &StoreConfig,
    cluster: Option<RandomId>,
) -> Result<Machine> {
    let store = open_store(&env, config, u64::MAX, cluster)?;
    check_identity(&store, config.node_id, cluster)?;
    let tables = store.tables();
    let replica = checkpoint(tables.manifest_head().as_ref(), tables.set())?;
    Ok(Machine::new(env, store, replica, Pressure::default()))
}

/// Refuses the directory of somebody else.
fn check_identity(store: &Store, node: NodeId, cluster: Option<RandomId>) -> Result<()> {
    let identity = store.identity();
    let directory = store.directory().display();
    let refuse = |text: String| Err(Error::IdentityMismatch(text));
    if identity.node != node {
        let found = identity.node;
        return refuse(format!("{directory} belongs to node {found}, expected node {node}"));
    }
    match cluster {
        Some(cluster) if cluster != identity.cluster => {
            let found = identity.cluster;
            refuse(format!("{directory} belongs to cluster {found}, expected {cluster}"))
        }
        _ => Ok(()),
    }
}

fn open_store(
    env: &Env,
    config: &StoreConfig,
    unsynced_bytes_max: u64,
    cluster: Option<RandomId>,
) -> Result<Store> {
    let options = StoreOptions {
        segment_bytes_max: config.max_segment_size,
        unsynced_bytes_max,
        wait_max: config.submit_timeout,
        reserve_bytes: config.disk_reserve,
        node: config.node_id,
        cluster,
        tail: TailPolicy::Refuse,
        absent: Absent::Create,
        tables: table_options(config),
    };
    Ok(Store::open(env.clone(), &config.data_dir, &options)?)
}
