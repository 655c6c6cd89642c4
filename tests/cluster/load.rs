//! Clients that write and read while something befalls the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hightower_kv::raft::ClusterEngine;
use hightower_kv::raft::test_cluster::TestCluster;
use hightower_kv::types::NodeId;
use hightower_kv::{Condition, Error, KvEngine, StateView, Version};
use parking_lot::{Condvar, Mutex, RwLock};

use crate::ledger::Ledger;
use crate::support::{DEADLINE, PATIENCE, SLACK, agreed};

/// The key that one client writes with numbers that grow, and all others read.
const REGISTER: &[u8] = b"register";

/// Clients of a cluster.
pub(crate) struct Load {
    engines: RwLock<BTreeMap<NodeId, Arc<ClusterEngine>>>,
    ledger: Mutex<Ledger>,
    noted: Condvar,
    stop: AtomicBool,
    value_bytes: usize,
    /// The greatest number that was acknowledged, or read by anybody: no read that begins later may
    /// see a smaller one.
    seen: AtomicU64,
    reads: AtomicU64,
}

/// Ends the clients also when a test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Load {
    /// Clients of all nodes that are open.
    pub(crate) fn new(cluster: &TestCluster) -> Self {
        Self::of_values(cluster, 20)
    }

    /// As [`Self::new`]; each value has about so many bytes.
    pub(crate) fn of_values(cluster: &TestCluster, value_bytes: usize) -> Self {
        let load = Self {
            engines: RwLock::default(),
            ledger: Mutex::default(),
            noted: Condvar::new(),
            stop: AtomicBool::new(false),
            value_bytes,
            seen: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        };
        load.refresh(cluster);
        load
    }

    /// Takes in which nodes are open now. Nodes that ended are still asked, and must say so.
    pub(crate) fn refresh(&self, cluster: &TestCluster) {
        let mut engines = self.engines.write();
        engines.extend(cluster.ids().into_iter().map(|id| (id, cluster.node(id))));
    }

    /// Writes from `writers` threads through all nodes in turn, while `act` is done.
    pub(crate) fn during<T>(&self, writers: u64, act: impl FnOnce() -> T) -> T {
        self.stop.store(false, Ordering::Release);
        std::thread::scope(|scope| {
            let _stop = Stop(&self.stop);
            let before = self.acknowledged();
            for writer in 0..writers {
                scope.spawn(move || self.write(writer, before));
            }
            act()
        })
    }

    /// As [`Self::during`], with the register too: one who writes it, and a reader of each node.
    pub(crate) fn during_with_register<T>(&self, writers: u64, act: impl FnOnce() -> T) -> T {
        self.stop.store(false, Ordering::Release);
        std::thread::scope(|scope| {
            let _stop = Stop(&self.stop);
            scope.spawn(|| self.write_register());
            for id in self.ids() {
                scope.spawn(move || self.read_register(id));
            }
            self.during(writers, act)
        })
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn ids(&self) -> Vec<NodeId> {
        self.engines.read().keys().copied().collect()
    }

    /// One of the nodes, another for each number.
    fn any(&self, number: usize) -> Arc<ClusterEngine> {
        let engines = self.engines.read();
        Arc::clone(engines.values().nth(number % engines.len()).unwrap())
    }

    fn write(&self, writer: u64, round: usize) {
        let _stop = Stop(&self.stop);
        let mut last = Version::default();
        for number in 0_usize.. {
            if self.stopped() {
                return;
            }
            let key = format!("w{writer}-{round}-{number:06}").into_bytes();
            let mut value = key.clone();
            value.resize(self.value_bytes.max(key.len()), b'.');
            let engine = self.any(number + usize::try_from(writer).unwrap());
            let begun = Instant::now();
            let result = engine.compare_and_set(key.clone(), Condition::Absent, value.clone());
            in_time(begun, "a write");
            match &result {
                Ok(outcome) => {
                    assert!(outcome.version > last, "a later write has an earlier version");
                    last = outcome.version;
                }
                Err(Error::OutcomeUnknown { .. }) => {}
                Err(_) => pause(),
            }
            self.ledger.lock().note(key, value, result);
            self.noted.notify_all();
        }
    }

    fn write_register(&self) {
        let _stop = Stop(&self.stop);
        let (mut number, mut version) = (self.seen.load(Ordering::Acquire), None);
        for attempt in 0_usize.. {
            if self.stopped() {
                return;
            }
            let engine = self.any(attempt);
            // The condition keeps a late write of an earlier number from coming after this one.
            let condition = match version {
                Some(version) => Condition::VersionEquals(version),
                None => Condition::Absent,
            };
            number += 1;
            let value = number.to_string().into_bytes();
            let begun = Instant::now();
            let result = engine.compare_and_set(REGISTER.to_vec(), condition, value);
            in_time(begun, "a write of the register");
            match result {
                Ok(outcome) if outcome.is_applied() => {
                    version = Some(outcome.version);
                    self.seen.fetch_max(number, Ordering::AcqRel);
                }
                _ => {
                    pause();
                    if let Ok(found) = engine.get_versioned(REGISTER) {
                        version = found.map(|found| found.version);
                    }
                }
            }
        }
    }

    fn read_register(&self, id: NodeId) {
        let _stop = Stop(&self.stop);
        while !self.stopped() {
            let engine = Arc::clone(&self.engines.read()[&id]);
            let (begun, seen) = (Instant::now(), self.seen.load(Ordering::Acquire));
            let read = engine.get(REGISTER);
            in_time(begun, "a read");
            let Ok(read) = read else {
                pause();
                continue;
            };
            let text =
                read.map_or("0".to_owned(), |read| String::from_utf8(read.to_vec()).unwrap());
            let found = text.parse::<u64>().unwrap();
            assert!(found >= seen, "node {id} reads {found} after {seen} was seen");
            self.seen.fetch_max(found, Ordering::AcqRel);
            self.reads.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// How many writes were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.ledger.lock().acknowledged()
    }

    /// Waits until so many more writes are acknowledged.
    pub(crate) fn progress(&self, more: usize) {
        let end = Instant::now() + PATIENCE;
        let mut ledger = self.ledger.lock();
        let wanted = ledger.acknowledged() + more;
        while ledger.acknowledged() < wanted {
            assert!(!self.stopped(), "a client has failed");
            let late = self.noted.wait_until(&mut ledger, end).timed_out();
            assert!(!late, "no progress: {} of {wanted} acknowledged", ledger.acknowledged());
        }
    }

    /// The nodes agree, and with them what the clients were told.
    pub(crate) fn check(&self, cluster: &TestCluster) -> StateView {
        let state = agreed(cluster);
        self.ledger.lock().check(&state);
        if let Some(found) = state.get(REGISTER).unwrap() {
            let found: u64 = String::from_utf8(found.to_vec()).unwrap().parse().unwrap();
            assert!(found >= self.seen.load(Ordering::Acquire), "the register went back");
            assert!(self.reads.load(Ordering::Acquire) > 0, "nobody could read");
        }
        state
    }
}

/// Everybody is answered by the deadline.
pub(crate) fn in_time(begun: Instant, what: &str) {
    let took = begun.elapsed();
    assert!(took < DEADLINE + SLACK, "{what} was answered after {took:?}");
}

/// What a client does that was refused, so that it does not take the machine from the others.
fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}
