//! Where commands wait that a node was given and cannot decide about.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::inflight::Waiting;
use super::type_config::Proposal;

/// Who is to decide about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    /// Whoever leads: a node that does not passes it on.
    Any,
    /// This node or nobody: it was passed on to it.
    Last,
}

/// A command and who waits for it.
#[derive(Debug)]
pub(crate) struct Item {
    pub(super) proposal: Proposal,
    pub(super) waiting: Arc<Waiting>,
    pub(super) hop: Hop,
    /// Whether openraft gave it back.
    pub(super) came_back: bool,
    /// Dropped when the next one may go past the queue.
    pub(super) place: Place,
}

/// Counts for as long as it lives.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    fn in_queue(places: &Arc<AtomicUsize>) -> Self {
        places.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(places))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Where they wait. What bounds it is the bound on all writes under way.
#[derive(Clone, Debug)]
pub(crate) struct ForwardQueue {
    send: mpsc::UnboundedSender<Item>,
    /// How many are in the queue, or were taken out of it and are not out of the way.
    places: Arc<AtomicUsize>,
}

impl ForwardQueue {
    /// The queue, and its other end.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Item>) {
        let (send, receive) = mpsc::unbounded_channel();
        (Self { send, places: Arc::default() }, receive)
    }

    pub(super) fn push(&self, proposal: Proposal, waiting: Arc<Waiting>, hop: Hop) {
        self.put(proposal, waiting, hop, false);
    }

    /// What openraft did not take. It goes before what was handed in after it.
    pub(super) fn push_back(&self, proposal: Proposal, waiting: Arc<Waiting>) {
        self.put(proposal, waiting, Hop::Any, true);
    }

    fn put(&self, proposal: Proposal, waiting: Arc<Waiting>, hop: Hop, came_back: bool) {
        let place = Place::in_queue(&self.places);
        // When nobody takes them any more, dropping one answers it.
        drop(self.send.send(Item { proposal, waiting, hop, came_back, place }));
    }

    /// Whether nobody waits here whom one that is proposed at once would overtake.
    pub(super) fn is_empty(&self) -> bool {
        self.places.load(Ordering::Acquire) == 0
    }
}
