//! The engines that keep the contract.

use std::sync::Arc;

use hightower_kv::raft::cluster_engine::ClusterEngine;
use hightower_kv::raft::test_cluster::{Disk, TestCluster};
use hightower_kv::types::NodeId;
use hightower_kv::{KvEngine, SingleNodeEngine, StoreConfig};

/// An engine for one test, with whatever it stands on.
pub(crate) trait Harness {
    /// What is tested.
    type Engine: KvEngine + 'static;

    /// A new, empty engine.
    fn new() -> Self;

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

    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = StoreConfig::default();
        config.data_dir = directory.path().join("data");
        let engine = Arc::new(SingleNodeEngine::with_config(config).unwrap());
        Self { engine, _directory: directory }
    }

    fn engine(&self) -> Arc<SingleNodeEngine> {
        Arc::clone(&self.engine)
    }
}

/// A cluster of one voter.
pub(crate) struct One(TestCluster);

impl Harness for One {
    type Engine = ClusterEngine;

    fn new() -> Self {
        Self(TestCluster::start(1, Disk::Simulated, 1).unwrap())
    }

    fn engine(&self) -> Arc<ClusterEngine> {
        self.0.node(NodeId(1))
    }
}

/// The leader of three voters.
pub(crate) struct Leader(TestCluster);

impl Harness for Leader {
    type Engine = ClusterEngine;

    fn new() -> Self {
        Self(TestCluster::start(3, Disk::Simulated, 2).unwrap())
    }

    fn engine(&self) -> Arc<ClusterEngine> {
        self.0.node(self.0.leader().unwrap())
    }
}

/// A follower among three voters.
pub(crate) struct Follower(TestCluster);

impl Harness for Follower {
    type Engine = ClusterEngine;

    fn new() -> Self {
        Self(TestCluster::start(3, Disk::Simulated, 3).unwrap())
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
