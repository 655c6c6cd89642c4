//! A directory of the simulated disk: names on the medium, names that are shown, and the changes
//! between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Names a file or a directory for the life of a disk; never used twice.
pub(super) type NodeId = u64;

pub(super) type Names = BTreeMap<Arc<str>, NodeId>;

/// One change of the names in one directory.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    /// A file or directory was made, or a file got a second name.
    Add { name: Arc<str>, node: NodeId },
    /// A file was removed.
    Remove { name: Arc<str>, node: NodeId },
    /// A rename: file systems do this in one step, so a power cut does, too.
    Rename {
        to: Arc<str>,
        node: NodeId,
        /// Names of the same file in the directory that were not renamed.
        others: BTreeSet<Arc<str>>,
    },
}

impl NameChange {
    pub(super) fn node(&self) -> NodeId {
        match self {
            Self::Add { node, .. } | Self::Remove { node, .. } | Self::Rename { node, .. } => *node,
        }
    }

    /// Makes the change, also where changes before it were lost: a rename names the file whatever
    /// it was called, a removal removes only what it was meant for.
    pub(super) fn apply(&self, names: &mut Names) {
        match self {
            Self::Add { name, node } => {
                names.insert(Arc::clone(name), *node);
            }
            Self::Remove { name, node } => {
                if names.get(name) == Some(node) {
                    names.remove(name);
                }
            }
            Self::Rename { to, node, others } => {
                names.retain(|name, named| named != node || others.contains(name));
                names.insert(Arc::clone(to), *node);
            }
        }
    }
}

/// A change that no sync of the directory has covered yet.
#[derive(Clone, Debug)]
pub(super) struct PendingName {
    /// Order among the changes of all directories.
    pub(super) sequence: u64,
    pub(super) change: NameChange,
}

/// One directory.
#[derive(Clone, Debug, Default)]
pub(super) struct SimDir {
    /// The names on the medium.
    pub(super) durable: Arc<Names>,
    /// The names that are shown.
    pub(super) cache: Arc<Names>,
    /// Changes since the last sync, oldest first.
    pub(super) pending: Vec<PendingName>,
}

impl SimDir {
    /// A directory with `names`, on the medium and shown.
    pub(super) fn clean(names: Arc<Names>) -> Self {
        Self { durable: Arc::clone(&names), cache: names, pending: Vec::new() }
    }

    pub(super) fn change(&mut self, sequence: u64, change: NameChange) {
        change.apply(Arc::make_mut(&mut self.cache));
        self.pending.push(PendingName { sequence, change });
    }

    /// The names on the medium if of the changes since the last sync those that `keep` names
    /// survive.
    pub(super) fn surviving(&self, mut keep: impl FnMut(&PendingName) -> bool) -> Arc<Names> {
        let mut names = Arc::clone(&self.durable);
        for pending in &self.pending {
            if keep(pending) {
                pending.change.apply(Arc::make_mut(&mut names));
            }
        }
        names
    }

    /// The sync worked: the medium has all changes since the last one. Whether a node may have lost
    /// its last name by one of them.
    pub(super) fn sync(&mut self) -> bool {
        self.durable = self.surviving(|_| true);
        let adds = |pending: &PendingName| matches!(pending.change, NameChange::Add { .. });
        let only_adds = self.pending.iter().all(adds);
        self.pending.clear();
        !only_adds
    }

    /// Everything that the directory names, named, or would name after a power cut.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let pending = self.pending.iter().map(|pending| pending.change.node());
        self.cache.values().chain(self.durable.values()).copied().chain(pending)
    }
}
