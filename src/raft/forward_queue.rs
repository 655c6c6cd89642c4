//! Where commands wait that a node was given and cannot decide about.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::inflight::Waiting;
use super::type_config::Proposal;

/// A command and who waits for it.
pub(super) type Item = (Proposal, Arc<Waiting>);

/// Where they wait. What bounds it is the bound on all writes under way.
#[derive(Clone, Debug)]
pub(crate) struct ForwardQueue(mpsc::UnboundedSender<Item>);

impl ForwardQueue {
    /// The queue, and its other end.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Item>) {
        let (send, receive) = mpsc::unbounded_channel();
        (Self(send), receive)
    }

    pub(crate) fn push(&self, proposal: Proposal, waiting: Arc<Waiting>) {
        // When nobody takes them any more, dropping one answers it.
        drop(self.0.send((proposal, waiting)));
    }
}
