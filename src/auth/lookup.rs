//! Reading records of one state.

use bytes::Bytes;

use super::keyspace;
use super::record_codec::malformed;
use super::records::UserRecord;
use crate::engine::StateView;
use crate::error::Result;
use crate::types::Version;

/// Rows that a list is read in.
const ROWS_AT_ONCE: usize = 1024;

/// A record with the version that a change of it is guarded by.
pub(super) struct Found<T> {
    pub(super) record: T,
    pub(super) version: Version,
}

/// A reserved record of a state.
pub(super) fn find<T>(
    view: &StateView,
    key: &[u8],
    read: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<Option<Found<T>>> {
    let Some(row) = view.reserved().get(key)? else { return Ok(None) };
    Ok(Some(Found { record: read(&row.value)?, version: row.version }))
}

/// Every record of a state below a prefix, in key order.
pub(super) fn find_all<T>(
    view: &StateView,
    prefix: &[u8],
    read: impl Fn(&Bytes, &[u8]) -> Result<T>,
) -> Result<Vec<T>> {
    let (mut found, mut after): (Vec<T>, Option<Bytes>) = (Vec::new(), None);
    loop {
        let rows = view.reserved().rows(prefix, after.as_deref(), ROWS_AT_ONCE)?;
        for (key, row) in &rows {
            found.push(read(key, &row.value)?);
        }
        after = rows.last().map(|row| row.0.clone());
        if rows.len() < ROWS_AT_ONCE {
            return Ok(found);
        }
    }
}

/// # Errors
/// `Crypto` for what is no record, or one of another user.
pub(super) fn user_by_id(view: &StateView, id: &str) -> Result<Option<Found<UserRecord>>> {
    let found = find(view, &keyspace::user(id), UserRecord::from_bytes)?;
    if found.as_ref().is_some_and(|found| found.record.user_id != id) {
        return Err(malformed());
    }
    Ok(found)
}

/// The user of a normalised name.
pub(super) fn user_by_name(view: &StateView, name: &str) -> Result<Option<Found<UserRecord>>> {
    let id = |bytes: &[u8]| Ok(String::from_utf8_lossy(bytes).into_owned());
    match find(view, &keyspace::user_by_name(name), id)? {
        Some(found) => user_by_id(view, &found.record),
        None => Ok(None),
    }
}

pub(super) fn api_key_ids(view: &StateView, user_id: &str) -> Result<Vec<String>> {
    let prefix = keyspace::api_key_by_user(user_id, "");
    find_all(view, &prefix, |_, id| Ok(String::from_utf8_lossy(id).into_owned()))
}
