//! A new directory with a state of the past.

use std::num::NonZeroU64;
use std::path::Path;

use bytes::Bytes;

use super::backup::BackupReport;
use super::machine::Machine;
use super::replay::membership_bytes;
use super::rest::Rest;
use crate::command::membership::Membership;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::state::{Cursor, StateView};
use crate::storage::error::StorageError;
use crate::storage::manifest::ManifestHead;
use crate::storage::merge::RowSource;
use crate::storage::record::Record;
use crate::storage::state_copy::{NewState, write_state};
use crate::storage::table_store::TableStoreOptions;
use crate::types::{LogId, NodeId, Term};

/// The rows of a state, to be written to tables.
struct StateRows<'a>(Cursor<'a>);

impl RowSource for StateRows<'_> {
    fn next_row(&mut self) -> std::result::Result<Option<(Bytes, Record)>, StorageError> {
        let Some(row) = self.0.next()? else { return Ok(None) };
        let value = Some(Bytes::copy_from_slice(row.value));
        let record = Record { value, version: row.version, timestamp: row.timestamp };
        Ok(Some((Bytes::copy_from_slice(row.key), record)))
    }
}

impl Machine {
    /// Makes `directory` a store with a state of this one: see [`restore_view`].
    ///
    /// # Errors
    /// Those of [`restore_view`].
    pub(crate) fn restore(&self, view: &StateView, directory: &Path) -> Result<BackupReport> {
        let who = (self.store.identity().node, self.store.tables().options());
        restore_view(&self.env, self.store.directory(), directory, who, view)
    }
}

/// Makes `directory` a store with the rows of `view`: a cluster of one voter with an identity of
/// its own and no session, whose log goes on behind the version of the view.
///
/// # Errors
/// Those of [`write_state`]; `Validation` for the state before any entry, which no log follows.
pub(crate) fn restore_view(
    env: &Env,
    source: &Path,
    directory: &Path,
    (node, tables): (NodeId, TableStoreOptions),
    view: &StateView,
) -> Result<BackupReport> {
    let started = env.clock.elapsed();
    let Some(index) = view.last_applied() else {
        let text = "the state before the first entry is that of a new store; create one instead";
        return Err(Error::Validation(text.to_owned()));
    };
    // An entry of term 0: it is there before anybody was elected.
    let last = LogId { term: Term(0), leader: node, index };
    let rest = Rest {
        membership_id: Some(last),
        reserved_keys: NonZeroU64::new(view.reserved_keys()),
        ..Rest::default()
    };
    let head = ManifestHead {
        last,
        timestamp: view.timestamp(),
        membership: membership_bytes(Some(&Membership::single(node))),
        sessions: rest.encode(),
        keys: view.keys_of_all(),
        live_bytes: view.live_bytes(),
    };
    let mut rows = StateRows(view.cursor_of_everything()?);
    let state = NewState { head, node, tables, rows: &mut rows };
    let summary = write_state(env, source, directory, state)?;
    Ok(BackupReport::new(summary, env.clock.elapsed().saturating_sub(started)))
}
