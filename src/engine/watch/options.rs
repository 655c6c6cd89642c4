//! What is watched, and from where on.

use bytes::Bytes;

use super::shown::Shown;
use crate::command::Scope;
use crate::command::scope::OWNER_BYTES;
use crate::engine::api::refuse_reserved;
use crate::engine::read_context::ReadContext;
use crate::error::Result;
use crate::types::Version;

/// Where a watcher begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Behind what is applied when it is made.
    Now,
    /// With the changes of this version.
    At(Version),
    /// With the rows of a state that is at least as fresh as this says.
    State(ReadContext),
}

/// What a watcher tells: the keys by their prefix, and where it begins.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    scope: Scope,
    prefix: Bytes,
    pub(crate) begin: Begin,
}

impl WatchOptions {
    /// What is committed from now on under `prefix`; an empty one is every key there is.
    pub fn new(prefix: impl AsRef<[u8]>) -> Self {
        let prefix = Bytes::copy_from_slice(prefix.as_ref());
        Self { scope: Scope::Permanent, prefix, begin: Begin::Now }
    }

    /// Watches this scope in place of the permanent one: prefix and keys are the scope's own. A key
    /// of the ephemeral one that gets the value it has from another opening of a store has changed
    /// hands, which is an event.
    #[must_use]
    pub fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Begins with what `version` changed: everything with this version or a greater one is told,
    /// and nothing older. It is what [`Watcher::position`](super::Watcher::position) gave, or one
    /// more than the version that was handled last; `Version(0)` is everything there ever was.
    ///
    /// A version that is not there yet is waited for on a cluster, where a node may lag behind the
    /// one that told it; on a single node, where nobody can have seen it, it is `NotYet`.
    #[must_use]
    pub const fn from_version(mut self, version: Version) -> Self {
        self.begin = Begin::At(version);
        self
    }

    /// Begins with the rows of the state, and goes on with what follows it. The state is that of
    /// the node when the watcher is first asked, and kept until its last row was told.
    ///
    /// In place of [`Self::from_version`]: the later call counts.
    #[must_use]
    pub const fn with_state(self) -> Self {
        self.with_state_at(ReadContext::Local)
    }

    /// As [`Self::with_state`], with a state at least as fresh as a read with `context` is when the
    /// watcher is made. Making it then waits as such a read does.
    #[must_use]
    pub const fn with_state_at(mut self, context: ReadContext) -> Self {
        self.begin = Begin::State(context);
        self
    }

    /// Refuses what may not be watched.
    ///
    /// # Errors
    /// `ReservedKey`.
    pub(crate) fn validate(&self) -> Result<()> {
        match self.scope {
            Scope::Permanent => refuse_reserved(&self.prefix),
            Scope::Ephemeral | Scope::Named(_) => Ok(()),
        }
    }

    /// The rows, where they stand.
    pub(crate) fn shown(&self) -> Shown {
        let value_head = match self.scope {
            Scope::Permanent => return Shown::whole(&self.prefix),
            Scope::Named(_) => 0,
            Scope::Ephemeral => OWNER_BYTES,
        };
        Shown::within(&self.scope.prefix(), &self.prefix, value_head)
    }
}
