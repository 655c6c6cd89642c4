//! Who waits until an entry is applied.

use tokio::sync::watch;

use crate::types::{LogId, LogIndex};

/// The last entry that was applied, and how to wait for one. A clone watches the same.
#[derive(Clone, Debug)]
pub struct AppliedWatch {
    last: watch::Receiver<Option<LogId>>,
}

/// The end that tells.
#[derive(Debug)]
pub(crate) struct AppliedMark {
    last: watch::Sender<Option<LogId>>,
}

impl AppliedMark {
    pub(crate) fn new(last: Option<LogId>) -> Self {
        Self { last: watch::Sender::new(last) }
    }

    /// Tells who waits, if the entry is another one. To be called once its effect can be read.
    pub(crate) fn advance(&self, to: Option<LogId>) {
        self.last.send_if_modified(|last| {
            let is_other = *last != to;
            *last = to;
            is_other
        });
    }

    pub(crate) fn watch(&self) -> AppliedWatch {
        AppliedWatch { last: self.last.subscribe() }
    }
}

impl AppliedWatch {
    /// The last entry applied; `None` before the first.
    #[must_use]
    pub fn last(&self) -> Option<LogId> {
        *self.last.borrow()
    }

    /// Waits until everything up to `index` is applied, and can be read. Returns the last entry
    /// applied then; `None` when the node has stopped and it never will be.
    pub async fn wait_for(&mut self, index: LogIndex) -> Option<LogId> {
        let is_there = |last: &Option<LogId>| last.is_some_and(|last| last.index >= index);
        self.last.wait_for(is_there).await.ok().and_then(|last| *last)
    }
}
