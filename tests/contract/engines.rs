//! The engines that keep the contract.

use std::sync::Arc;
use std::time::Duration;

use hightower_kv::raft::ClusterConfig;
use hightower_kv::raft::cluster_engine::ClusterEngine;
use hightower_kv::raft::test_cluster::{Disk, TestCluster};
use hightower_kv::types::NodeId;
use hightower_kv::{KvEngine, SingleNodeEngine, StoreConfig};

/// How long a call may take. Reached only by a failure.
const DEADLINE: Duration = Duration::from_mins(1);

/// An engine for one test, with whatever it stands on.
pub(crate) trait Harness: Sized {
    /// What is tested.
    type Engine: KvEngine + 'static;

    /// A new, empty engine.
    fn new() -> Self {
        Self::with_deadline(DEADLINE)
    }

    /// As [`Self::new`], with calls that may take so long.
    fn with_deadline(deadline: Duration) -> Self;

    /// The engine.
    fn engine(&self) -> Arc<Self::Engine>;
}

/// A store by itself.
pub(crate) struct Single {
    engine: Arc<SingleNodeEngine>,
    _directory: tempfile::TempDir,
}

impl Harness for Single {
    type Engine = SingleNodeEngine;

    fn with_deadline(deadline: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = StoreConfig::default();
        config.data_dir = directory.path().join("data");
        config.submit_timeout = deadline;
        let engine = Arc::new(SingleNodeEngine::with_config(config).unwrap());
        Self { engine, _directory: directory }
    }

    fn engine(&self) -> Arc<SingleNodeEngine> {
        Arc::clone(&self.engine)
    }
}

fn start(voters: u64, seed: u64, deadline: Duration) -> TestCluster {
    // Long, so that nobody else leads because the machine is busy: no test here means that.
    let longest = Duration::from_secs(4).min(deadline);
    let election_timeout = (longest / 2, longest);
    let config = ClusterConfig { election_timeout, deadline, ..ClusterConfig::default() };
    TestCluster::start_with(voters, Disk::Simulated, seed, config).unwrap()
}

/// A cluster of one voter.
pub(crate) struct One(TestCluster);

impl Harness for One {
    type Engine = ClusterEngine;

    fn with_deadline(deadline: Duration) -> Self {
        Self(start(1, 1, deadline))
    }

    fn engine(&self) -> Arc<ClusterEngine> {
        self.0.node(NodeId(1))
    }
}

/// The leader of three voters.
pub(crate) struct Leader(TestCluster);

impl Harness for Leader {
    type Engine = ClusterEngine;

    fn with_deadline(deadline: Duration) -> Self {
        Self(start(3, 2, deadline))
    }

    fn engine(&self) -> Arc<ClusterEngine> {
        self.0.node(self.0.leader().unwrap())
    }
}

/// A follower among three voters.
pub(crate) struct Follower(TestCluster);

impl Harness for Follower {
    type Engine = ClusterEngine;

    fn with_deadline(deadline: Duration) -> Self {
        Self(start(3, 3, deadline))
    }

    fn engine(&self) -> Arc<ClusterEngine> {
        let leader = self.0.leader().unwrap();
        self.0.node(self.0.ids().into_iter().find(|&id| id != leader).unwrap())
    }
}

/// Makes a test of each function for each engine.
macro_rules! contract {
    ($($test:ident),+ $(,)?) => {
        mod single {
            use crate::engines::{Harness, Single};
            $(#[test] fn $test() { super::$test(&Single::new()); })+
        }
        mod one_voter {
            use crate::engines::{Harness, One};
            $(#[test] fn $test() { super::$test(&One::new()); })+
        }
        mod leader_of_three {
            use crate::engines::{Harness, Leader};
            $(#[test] fn $test() { super::$test(&Leader::new()); })+
        }
        mod follower_of_three {
            use crate::engines::{Harness, Follower};
            $(#[test] fn $test() { super::$test(&Follower::new()); })+
        }
    };
}

pub(crate) use contract;
