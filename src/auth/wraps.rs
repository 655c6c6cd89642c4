//! How often a master key has wrapped a data key.

use super::record_codec::{Reader, Writer};
use crate::error::{Error, Result};

const VERSION: u8 = 1;
/// So often a master key wraps.
const WRAPS_MAX: u64 = 1 << 31;
/// From here on it is warned, now and then.
const WRAPS_WARNED: u64 = 1 << 30;
const WARNED_EVERY: u64 = 1 << 20;

pub(super) fn to_bytes(wraps: u64) -> Vec<u8> {
    Writer::new(VERSION).number(wraps).finish()
}

pub(super) fn from_bytes(bytes: &[u8]) -> Result<u64> {
    let mut from = Reader::new(bytes, VERSION)?;
    let wraps = from.number()?;
    from.finish()?;
    Ok(wraps)
}

/// The count after `more` wraps by the master key `id`.
///
/// # Errors
/// `Crypto`: it has wrapped as often as it may.
pub(super) fn after(id: u32, before: u64, more: u64) -> Result<u64> {
    let after = before.saturating_add(more);
    if after > WRAPS_MAX {
        return Err(Error::Crypto(format!(
            "the master key {id} has wrapped {before} data keys, of at most {WRAPS_MAX}: add a new \
             key to the keyring as the current one, and call rotate_master_key"
        )));
    }
    if is_warned(before, after) {
        tracing::warn!(key = id, wraps = after, most = WRAPS_MAX, "rotate the master key soon");
    }
    Ok(after)
}

fn is_warned(before: u64, after: u64) -> bool {
    let is_first = before < WRAPS_WARNED;
    after >= WRAPS_WARNED && (is_first || before / WARNED_EVERY != after / WARNED_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_key_wraps_two_to_the_31st_times_and_no_more() {
        assert_eq!(after(1, WRAPS_MAX - 1, 1).unwrap(), WRAPS_MAX);
        let error = after(1, WRAPS_MAX, 1).unwrap_err().to_string();
        assert!(error.contains("rotate_master_key"), "{error}");
        assert!(after(1, u64::MAX, u64::MAX).is_err());
    }

    #[test]
    fn a_warning_comes_at_two_to_the_30th_and_now_and_then_from_there() {
        assert!(!is_warned(WRAPS_WARNED - 2, WRAPS_WARNED - 1));
        assert!(is_warned(WRAPS_WARNED - 1, WRAPS_WARNED));
        assert!(!is_warned(WRAPS_WARNED, WRAPS_WARNED + 1));
        assert!(is_warned(WRAPS_WARNED, WRAPS_WARNED + WARNED_EVERY));
    }

    #[test]
    fn a_count_is_read_as_it_was_written() {
        assert_eq!(from_bytes(&to_bytes(7)).unwrap(), 7);
        assert!(from_bytes(&to_bytes(7)[..8]).is_err());
    }
}
