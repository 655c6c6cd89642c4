//! A new directory that holds one state: rows and their versions, in tables, with an empty log that
//! goes on behind it.

use std::path::Path;
use std::sync::Arc;

use super::backup::CopySummary;
use super::context::Context;
use super::copy_target::CopyTarget;
use super::error::StorageError;
use super::format::{LOG_NAME, WATERMARK_NAME};
use super::hard_state::{HardState, SegmentState};
use super::identity::Identity;
use super::inspect;
use super::log_segment::LogSegment;
use super::manifest::{Manifest, ManifestHead, TableEntry};
use super::manifest_file;
use super::merge::{Peeked, RowSource};
use super::store::SEGMENT_BYTES_FLOOR;
use super::sync_gate::SyncGate;
use super::table_dir::{self, Output};
use super::table_store::TableStoreOptions;
use super::watermark;
use crate::env::Env;
use crate::types::{NodeId, SegmentId, TableId};

/// The state that the new directory is to hold.
pub(crate) struct NewState<'a> {
    /// Which state it is. The log goes on behind its last entry.
    pub(crate) head: ManifestHead,
    /// Who the directory becomes, in a cluster of its own.
    pub(crate) node: NodeId,
    /// How tables are written.
    pub(crate) tables: TableStoreOptions,
    /// The rows of the state, in strictly ascending order of keys, without tombstones.
    pub(crate) rows: &'a mut dyn RowSource,
}

/// Makes a directory that does not exist yet or is empty a store with this state, and checks every
/// byte of it. `source` is the store that the state comes from.
///
/// After a crash at any moment: the whole store, or a directory that is refused as unfinished.
///
/// # Errors
/// `UnusableDirectory`: nothing was made. Those of the rows; `Corrupt`: what was written does not
/// check; `Io`, `DiskFull`: the directory is as before, as far as what was made could be removed;
/// where it could not, it is refused as unfinished.
pub(crate) fn write_state(
    env: &Env,
    source: &Path,
    directory: &Path,
    state: NewState<'_>,
) -> Result<CopySummary, StorageError> {
    let mut target = CopyTarget::create(env, source, directory)?;
    let written = fill(env, &mut target, state)
        .and_then(|summary| target.finish().map(|()| summary))
        .inspect_err(|_| target.abandon())?;
    tracing::info!(to = %directory.display(), bytes = written.bytes, "a state was written out");
    Ok(written)
}

fn fill(
    env: &Env,
    target: &mut CopyTarget,
    state: NewState<'_>,
) -> Result<CopySummary, StorageError> {
    let NewState { head, node, tables, rows } = state;
    let root = target.root().to_owned();
    let identity = Identity::random(&*env.rng, node, &root)?;
    let context = Context::new(env.clone(), SyncGate::new(Arc::clone(&env.fs)), &root, identity);
    let last = head.last;
    let mut rows = Peeked::new(Borrowed(rows))?;
    let mut manifest = Manifest { number: 1, head, next_table: TableId(1), runs: Vec::new() };
    let output = Output { table: tables.table, table_bytes_max: tables.table_bytes_max };
    let mut run = Vec::new();
    while rows.has_more() {
        let id = manifest.next_table;
        manifest.next_table = id.next().ok_or(StorageError::TablesExhausted)?;
        target.expect(context.table_path(id));
        let summary = table_dir::write_table(&context, id, output, &mut rows)?;
        run.push(TableEntry { summary, after: None });
    }
    if !run.is_empty() {
        manifest.runs.push(run);
    }
    target.expect(manifest_file::path_of(&context, manifest.number));
    manifest_file::publish(&context, &manifest)?;
    let hard = HardState { purged: Some(last), last: Some(last), ..HardState::default() };
    let begin = SegmentState { hard, previous: None };
    target.expect(context.segment_path(SegmentId(1)));
    let segment = LogSegment::create(&context, SegmentId(1), begin, &[], SEGMENT_BYTES_FLOOR)?;
    let mark = watermark::encode(segment.position(), &identity);
    target.write(&Path::new(LOG_NAME).join(WATERMARK_NAME), &mark)?;
    target.identify(&identity)?;
    let report = inspect::verify_files(env, &root, &mut |_| ())?;
    report.check_whole()?;
    let (files, bytes) = (report.files, report.bytes);
    Ok(CopySummary { last: Some(last), files, bytes, ..CopySummary::default() })
}

/// A source that belongs to somebody else.
struct Borrowed<'a>(&'a mut dyn RowSource);

impl RowSource for Borrowed<'_> {
    fn next_row(&mut self) -> Result<Option<(bytes::Bytes, super::record::Record)>, StorageError> {
        self.0.next_row()
    }
}
