//! Records that are written at most once a minute, such as when something was used last.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::command::{Command, Guard};
use crate::engine::Versioned;
use crate::types::Timestamp;

/// Least time between two writes of one record.
pub(super) const WRITTEN_EVERY: Duration = Duration::from_mins(1);
/// Records that are remembered, so that they are not written again too soon.
const KEPT_MAX: usize = 100_000;

/// Whether a record with the stamp `at` need not be written again yet.
pub(super) fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    Duration::from_micros(now.0.saturating_sub(at.0)) < WRITTEN_EVERY
}

/// Writes the record at `at` anew, if it is as it was read, so that of several at once one writes;
/// and if what it is about, at `of`, is still there. Its stamp is what counts: the value only has
/// to be another one each time.
pub(super) fn write_down(at: Bytes, before: Option<&Versioned>, of: Bytes) -> Command {
    let as_before = match before {
        None => Guard::absent(at.clone()),
        Some(row) => Guard::version_equals(at.clone(), row.version),
    };
    let count = before.and_then(|row| <[u8; 8]>::try_from(row.value.as_bytes()).ok());
    let count = count.map_or(0, u64::from_le_bytes).wrapping_add(1);
    let set = Command::set(at, count.to_le_bytes().to_vec());
    Command::reserved([Guard::present(of), as_before], [set])
}

/// When this node last wrote each record, by the clock that never goes back.
#[derive(Debug, Default)]
pub(super) struct Coalesced(Mutex<HashMap<String, Duration>>);

impl Coalesced {
    /// Whether a record is due, whose row has the stamp `written_at`; it counts as written then.
    pub(super) fn is_due(
        &self,
        id: &str,
        elapsed: Duration,
        now: Timestamp,
        written_at: Option<Timestamp>,
    ) -> bool {
        if written_at.is_some_and(|at| is_recent(at, now)) {
            return false;
        }
        let mut written = self.0.lock();
        let is_recent = |at: &Duration| elapsed.saturating_sub(*at) < WRITTEN_EVERY;
        if written.get(id).is_some_and(is_recent) {
            return false;
        }
        if written.len() >= KEPT_MAX {
            written.retain(|_, at| is_recent(at));
        }
        written.insert(id.to_owned(), elapsed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_due_once_a_minute_by_the_row_and_by_this_node() {
        let (written, now) = (Coalesced::default(), Timestamp(1_000_000_000_000));
        let minute = Duration::from_mins(1);
        assert!(written.is_due("a", Duration::ZERO, now, None));
        assert!(!written.is_due("a", Duration::from_secs(59), now, None));
        assert!(written.is_due("b", Duration::ZERO, now, None));
        assert!(!written.is_due("a", minute, now, Some(Timestamp(now.0 - 59_000_000))));
        assert!(written.is_due("a", minute, now, Some(Timestamp(now.0 - 60_000_000))));
    }
}
