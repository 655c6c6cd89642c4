//! A network within one process, whose faults a test decides.
//!
//! Each node gets a [`Transport`] of its own from the router and registers what answers its
//! requests. Between each two nodes there is a link in each direction; what happens on it is drawn
//! from the router's seed and the link's own two ends, so that traffic on one link does not change
//! what happens on another.
//!
//! What arrives is worked on whether or not its sender still waits: a request can take effect
//! after its sender has given it up, as on any network.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use hightower_kv::raft::router::Router;
//! use hightower_kv::raft::transport::{BoxFuture, RequestHandler, TransportError};
//! use hightower_kv::types::NodeId;
//!
//! struct Echo;
//! impl RequestHandler for Echo {
//!     fn handle(&self, request: Bytes) -> BoxFuture<'static, Bytes> {
//!         Box::pin(std::future::ready(request))
//!     }
//! }
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
//! runtime.block_on(async {
//!     let router = Router::new(1);
//!     router.register(NodeId(2), Arc::new(Echo));
//!     let one = router.transport(NodeId(1));
//!     let ask = || one.call(NodeId(2), "", Bytes::from("hi"), Duration::from_millis(20));
//!     assert_eq!(ask().await, Ok(Bytes::from("hi")));
//!     router.cut(NodeId(2), NodeId(1));
//!     assert_eq!(ask().await, Err(TransportError::Timeout), "it arrived, the answer did not");
//!     router.heal_all();
//!     assert_eq!(ask().await, Ok(Bytes::from("hi")));
//! });
//! # Ok::<(), std::io::Error>(())
//! ```

mod link;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use self::link::{Link, Plan};
pub use self::link::{LinkCounters, LinkFaults};
use super::transport::{BoxFuture, RequestHandler, Transport, TransportError};
use crate::types::NodeId;

/// A network within one process. A clone is the same network.
#[derive(Clone)]
pub struct Router {
    shared: Arc<Shared>,
}

struct Shared {
    seed: u64,
    nodes: Mutex<BTreeMap<NodeId, Arc<dyn RequestHandler>>>,
    wires: Mutex<Wires>,
}

/// Everything between the nodes.
#[derive(Debug, Default)]
struct Wires {
    links: BTreeMap<(NodeId, NodeId), Link>,
    cuts: BTreeSet<(NodeId, NodeId)>,
    isolated: BTreeSet<NodeId>,
    /// Who is on which side; empty for no partition.
    sides: BTreeMap<NodeId, usize>,
}

impl Wires {
    /// Whether what travels from one node to the other is lost.
    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        let apart = !self.sides.is_empty()
            && match (self.sides.get(&from), self.sides.get(&to)) {
                (Some(one), Some(other)) => one != other,
                _ => true,
            };
        apart
            || self.cuts.contains(&(from, to))
            || self.isolated.contains(&from)
            || self.isolated.contains(&to)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<NodeId> = self.shared.nodes.lock().keys().copied().collect();
        f.debug_struct("Router").field("nodes", &nodes).finish_non_exhaustive()
    }
}

impl Router {
    /// A network without nodes and without faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (nodes, wires) = (Mutex::default(), Mutex::default());
        Self { shared: Arc::new(Shared { seed, nodes, wires }) }
    }

    /// What `node` sends its requests with. It must be called on a tokio runtime with time.
    #[must_use]
    pub fn transport(&self, node: NodeId) -> Arc<dyn Transport> {
        Arc::new(Port { router: self.clone(), node })
    }

    /// From now on, requests for `node` go to `handler`. Replaces the one before.
    pub fn register(&self, node: NodeId, handler: Arc<dyn RequestHandler>) {
        self.shared.nodes.lock().insert(node, handler);
    }

    /// Nobody answers for `node` any more: requests to it fail at once, as to a process that has
    /// ended. Those that it has already are answered with `Timeout`: they may have taken effect.
    pub fn unregister(&self, node: NodeId) {
        self.shared.nodes.lock().remove(&node);
    }

    /// Whatever travels from `from` to `to` is lost from now on: requests, and the answers to
    /// requests of the other direction, which do arrive.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.shared.wires.lock().cuts.insert((from, to));
    }

    /// Undoes [`Self::cut`].
    pub fn heal(&self, from: NodeId, to: NodeId) {
        self.shared.wires.lock().cuts.remove(&(from, to));
    }

    /// Whatever travels to or from `node` is lost from now on.
    pub fn isolate(&self, node: NodeId) {
        self.shared.wires.lock().isolated.insert(node);
    }

    /// Undoes [`Self::isolate`].
    pub fn rejoin(&self, node: NodeId) {
        self.shared.wires.lock().isolated.remove(&node);
    }

    /// Whatever travels from one side to another is lost from now on. A node that no side names is
    /// alone. Replaces the partition before.
    ///
    /// # Panics
    /// When a node is on two sides.
    pub fn partition(&self, sides: &[&[NodeId]]) {
        let mut of = BTreeMap::new();
        for (side, nodes) in sides.iter().enumerate() {
            for node in *nodes {
                let before = of.insert(*node, side);
                assert!(before.is_none(), "node {node} is on two sides");
            }
        }
        self.shared.wires.lock().sides = of;
    }

    /// Undoes every cut, isolation and partition, and takes all faults away. What is on its way
    /// stays late, and what was lost stays lost.
    pub fn heal_all(&self) {
        let mut wires = self.shared.wires.lock();
        wires.cuts.clear();
        wires.isolated.clear();
        wires.sides.clear();
        for link in wires.links.values_mut() {
            link.faults = LinkFaults::default();
        }
    }

    /// What befalls requests from `from` to `to`, and the answers to them, from now on.
    ///
    /// # Panics
    /// When a probability is not between 0 and 1.
    pub fn set_faults(&self, from: NodeId, to: NodeId, faults: LinkFaults) {
        faults.check();
        self.on_link(from, to, |link| link.faults = faults);
    }

    /// What has befallen the requests from `from` to `to` so far.
    #[must_use]
    pub fn counters(&self, from: NodeId, to: NodeId) -> LinkCounters {
        self.on_link(from, to, |link| link.counters)
    }

    fn on_link<T>(&self, from: NodeId, to: NodeId, act: impl FnOnce(&mut Link) -> T) -> T {
        let mut wires = self.shared.wires.lock();
        let link = wires.links.entry((from, to));
        act(link.or_insert_with(|| Link::new(self.shared.seed, from, to)))
    }

    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.shared.wires.lock().is_cut(from, to)
    }

    fn handler(&self, node: NodeId) -> Result<Arc<dyn RequestHandler>, TransportError> {
        let handler = self.shared.nodes.lock().get(&node).cloned();
        handler.ok_or_else(|| TransportError::Unreachable(format!("node {node} is not there")))
    }
}

/// What one node sends its requests with.
struct Port {
    router: Router,
    node: NodeId,
}

impl Transport for Port {
    fn call(
        &self,
        target: NodeId,
        _address: &str,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        assert_ne!(self.node, target, "a node sends itself nothing");
        let trip = Trip { router: self.router.clone(), from: self.node, to: target };
        Box::pin(async move {
            // Decided here, in the order in which the sender sends.
            let plan = trip.on_link(Link::plan);
            if plan.duplicate {
                let (trip, request) = (trip.clone(), request.clone());
                tokio::spawn(
                    async move { trip.arrive(plan.duplicate_delay, &plan, request).await },
                );
            }
            // A task of its own: what is on its way stays so when the sender gives up.
            let exchange = tokio::spawn(async move { trip.there_and_back(plan, request).await });
            let answer = async {
                match exchange.await {
                    Ok(Ok(Some(answer))) => Ok(answer),
                    Ok(Ok(None)) => pending().await,
                    Ok(Err(error)) => Err(error),
                    // The handler panicked: the request did arrive.
                    Err(_) => Err(TransportError::Timeout),
                }
            };
            match tokio::time::timeout(deadline, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(TransportError::Timeout),
            }
        })
    }
}

/// One request on its way.
#[derive(Clone)]
struct Trip {
    router: Router,
    from: NodeId,
    to: NodeId,
}

impl Trip {
    fn on_link<T>(&self, act: impl FnOnce(&mut Link) -> T) -> T {
        self.router.on_link(self.from, self.to, act)
    }

    /// The answer; `None` when it or the request is lost.
    async fn there_and_back(
        &self,
        plan: Plan,
        request: Bytes,
    ) -> Result<Option<Bytes>, TransportError> {
        let Some((handler, answer)) = self.arrive(plan.request_delay, &plan, request).await? else {
            return Ok(None);
        };
        pause(plan.response_delay).await;
        // Who has ended in the meantime does not answer; the request may have taken effect.
        if !self.router.handler(self.to).is_ok_and(|now| Arc::ptr_eq(&now, &handler)) {
            self.on_link(|link| link.counters.responses_lost += 1);
            return Err(TransportError::Timeout);
        }
        if plan.response_lost || self.router.is_cut(self.to, self.from) {
            self.on_link(|link| link.counters.responses_lost += 1);
            return Ok(None);
        }
        self.on_link(|link| link.counters.answered += 1);
        Ok(Some(answer))
    }

    /// Who takes the request when it arrives, and what it answers.
    async fn arrive(
        &self,
        delay: Duration,
        plan: &Plan,
        request: Bytes,
    ) -> Result<Option<(Arc<dyn RequestHandler>, Bytes)>, TransportError> {
        pause(delay).await;
        if plan.request_lost || self.router.is_cut(self.from, self.to) {
            self.on_link(|link| link.counters.requests_lost += 1);
            return Ok(None);
        }
        let handler = self.router.handler(self.to)?;
        self.on_link(|link| link.counters.arrived += 1);
        let answer = handler.handle(request).await;
        Ok(Some((handler, answer)))
    }
}

/// Lets the time pass. None at all where there is no delay: a timer takes at least a millisecond.
async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

#[cfg(test)]
mod tests;
