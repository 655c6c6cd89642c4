//! How fresh a read must be.

use crate::types::Version;

/// What a read promises about the writes that it sees.
///
/// A store of one voter answers all of them from its state: it has applied everything that was
/// acknowledged, so the state is always linearizable. The contexts are the same for a cluster,
/// where they differ in cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadContext {
    /// Everything acknowledged before the read began.
    #[default]
    Linearizable,
    /// Everything acknowledged before the read began, if no clock in the cluster runs so much
    /// faster than another that a leader believes in its lease for longer than the others do. In a
    /// cluster that saves asking a majority.
    Lease,
    /// What this node has applied; in a cluster it may be behind.
    Local,
    /// At least this version: what a caller that wrote it needs to see its own write.
    AtLeast(Version),
    /// Exactly this version, of the past: what the state was after that entry. Reading the past
    /// takes as long as `SingleNodeEngine::snapshot_at` says.
    At(Version),
}
