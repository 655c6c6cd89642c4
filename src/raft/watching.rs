//! Watching on a node of a cluster: what it has applied.

use std::ops::Range;
use std::sync::Arc;

use super::cluster_engine::ClusterEngine;
use super::node::Node;
use crate::engine::api::KvEngine;
use crate::engine::read_context::ReadContext;
use crate::engine::watch::options::{Begin, WatchOptions};
use crate::engine::watch::source::{Chunk, Source};
use crate::engine::watch::watch_engine::WatchEngine;
use crate::engine::watch::watcher::Watcher;
use crate::error::Result;
use crate::state::StateView;
use crate::types::LogIndex;

impl Source for Node {
    fn check(&self) -> Result<()> {
        Self::check(self)
    }

    fn hold(&self, during: &mut dyn FnMut(LogIndex)) {
        self.machine.hold(during);
    }

    fn view(&self) -> Result<StateView> {
        Self::view(self)
    }

    fn changes(&self, range: Range<LogIndex>, bytes_max: usize) -> Result<Chunk> {
        self.machine.changes(range, bytes_max)
    }
}

impl WatchEngine for ClusterEngine {
    /// What this node applies, whether it leads or not, and through elections.
    ///
    /// When the node is sent a snapshot because it lacks too much of the log, nobody here knows
    /// what changed in between, and every watcher is told `Compacted`: it begins anew with the
    /// state, or goes on from its position on a node that was not left behind.
    fn watch_with(&self, options: WatchOptions) -> Result<Watcher> {
        options.validate()?;
        match options.begin {
            Begin::State(context) if context != ReadContext::Local => {
                drop(KvEngine::view(self, context)?);
            }
            _ => {}
        }
        let source: Arc<dyn Source> = Arc::clone(&self.node) as _;
        let machine = &self.node.machine;
        let clock = Arc::clone(&machine.env.clock);
        Watcher::new(Arc::downgrade(&source), &*source, &machine.watchers, clock, &options)
    }
}
