//! `WATERMARK`: how far the log is known to be synced.
//!
//! It is evidence, not truth: an old one only makes recovery less sure that damage is damage, and
//! one that does not check counts as absent. One that says *more* than was synced would make
//! recovery refuse a lawful torn tail, so it is written only after a sync has returned.

use super::format::{Fields, WATERMARK_BYTES, take_u32, take_u64};
use super::identity::Identity;
use crate::types::LogPosition;

/// The file's content.
pub(crate) fn encode(position: LogPosition, identity: &Identity) -> [u8; WATERMARK_BYTES] {
    Fields::new()
        .u64(position.to_u64())
        .u32(0)
        .crc(crc32c::crc32c(&identity.incarnation.0))
        .finish()
}

/// The position in the file; `None` when it does not check.
pub(crate) fn decode(bytes: &[u8], identity: &Identity) -> Option<LogPosition> {
    let position = LogPosition::from_u64(take_u64(bytes, 0)?);
    let zero = take_u32(bytes, 8)?;
    (zero == 0 && encode(position, identity) == bytes).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::RandomId;
    use crate::types::{NodeId, SegmentId};

    #[test]
    fn every_flipped_bit_or_other_length_counts_as_absent() {
        let identity = |byte| Identity {
            cluster: RandomId([0; 16]),
            node: NodeId(1),
            incarnation: RandomId([byte; 16]),
        };
        let position = LogPosition { segment: SegmentId(3), offset: 4096 };
        let good = encode(position, &identity(1));
        assert_eq!(decode(&good, &identity(1)), Some(position));
        assert_eq!(decode(&good, &identity(2)), None, "of another directory");
        for bit in 0..good.len() * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes, &identity(1)), None, "bit {bit}");
        }
        assert_eq!(decode(&good[..15], &identity(1)), None);
        assert_eq!(decode(&[&good[..], &[0]].concat(), &identity(1)), None);
    }
}
