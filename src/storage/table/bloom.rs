//! Says of most keys that are not in a table, or in a block of changes, that they are not, for ten
//! bits a key and one look into memory.

use super::key_hash::KeyHash;

/// Bits of the filter for each key: about one in a hundred keys that are not there passes.
const BITS_PER_KEY: u64 = 10;
/// Numbers of a group, each with one bit for a key.
const LANES: usize = 8;
/// Bytes of a group.
const GROUP_BYTES: usize = LANES * 4;
/// Digits of pi, made odd: multiplied by an odd number no two hashes become one.
const ODD: [u32; LANES] = [
    0x243f_6a89,
    0x85a3_08d3,
    0x1319_8a2f,
    0x0370_7345,
    0xa409_3823,
    0x299f_31d1,
    0x082e_fa99,
    0xec4e_6c89,
];

/// Aligned so that a group never stands in two cache lines.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct Group([u32; LANES]);

/// The filter of one table, or of one block of changes.
pub(in crate::storage) struct Filter {
    /// At least one.
    groups: Box<[Group]>,
}

impl Filter {
    /// The filter of these keys.
    pub(in crate::storage) fn of(hashes: &[u64]) -> Self {
        let bits = (hashes.len() as u64).saturating_mul(BITS_PER_KEY);
        let groups = bits.div_ceil(8 * GROUP_BYTES as u64).max(1);
        let groups = usize::try_from(groups).unwrap_or(usize::MAX);
        let mut groups = vec![Group::default(); groups].into_boxed_slice();
        for &hash in hashes {
            if let Some(group) = groups.get_mut(group_of(hash, groups.len())) {
                for (lane, odd) in group.0.iter_mut().zip(ODD) {
                    *lane |= bit(hash, odd);
                }
            }
        }
        Self { groups }
    }

    /// Reads what [`Self::write`] wrote; `None` when it is not of whole groups, or of none.
    pub(in crate::storage) fn parse(bytes: &[u8]) -> Option<Self> {
        let (whole, rest) = bytes.as_chunks::<GROUP_BYTES>();
        (!whole.is_empty() && rest.is_empty()).then_some(())?;
        let group = |bytes: &[u8; GROUP_BYTES]| {
            let mut group = Group::default();
            let (lanes, _) = bytes.as_chunks::<4>();
            for (lane, bytes) in group.0.iter_mut().zip(lanes) {
                *lane = u32::from_le_bytes(*bytes);
            }
            group
        };
        Some(Self { groups: whole.iter().map(group).collect() })
    }

    pub(in crate::storage) fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.bytes());
        for lane in self.groups.iter().flat_map(|group| group.0) {
            out.extend_from_slice(&lane.to_le_bytes());
        }
    }

    /// Length, in the file and in memory.
    pub(super) fn bytes(&self) -> usize {
        self.groups.len() * GROUP_BYTES
    }

    /// Whether a key with this hash may be in the table.
    #[inline]
    pub(in crate::storage) fn may_contain(&self, KeyHash(hash): KeyHash) -> bool {
        let Some(group) = self.groups.get(group_of(hash, self.groups.len())) else {
            return true;
        };
        let missing = group.0.iter().zip(ODD).fold(0, |missing, (lane, odd)| {
            let bit = bit(hash, odd);
            missing | (bit & !lane)
        });
        missing == 0
    }
}

#[inline]
fn group_of(hash: u64, groups: usize) -> usize {
    (((hash >> 32) * groups as u64) >> 32) as usize
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
fn bit(hash: u64, odd: u32) -> u32 {
    1 << ((hash as u32).wrapping_mul(odd) >> 27)
}

impl std::fmt::Debug for Filter {
    /// Shows the length only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(keys: std::ops::Range<u32>) -> Vec<u64> {
        keys.map(|key| KeyHash::of(format!("key-{key:08}").as_bytes()).0).collect()
    }

    #[test]
    fn every_key_passes_and_few_others_do() {
        for rows in [1, 2, 30, 1000, 100_000] {
            let filter = Filter::of(&hashes(0..rows));
            assert!(hashes(0..rows).into_iter().all(|hash| filter.may_contain(KeyHash(hash))));
            let others = hashes(1_000_000..1_100_000).into_iter();
            let passed = others.filter(|&hash| filter.may_contain(KeyHash(hash))).count();
            assert!(passed < 2000, "{passed} of 100,000 passed a filter of {rows} keys");
        }
    }

    #[test]
    fn a_filter_reads_back() {
        let filter = Filter::of(&hashes(0..100));
        let mut bytes = Vec::new();
        filter.write(&mut bytes);
        assert_eq!(bytes.len(), filter.bytes());
        let read = Filter::parse(&bytes).unwrap();
        for hash in hashes(0..1000) {
            assert_eq!(read.may_contain(KeyHash(hash)), filter.may_contain(KeyHash(hash)));
        }
    }

    #[test]
    fn parts_of_groups_are_refused() {
        assert!(Filter::parse(&[]).is_none());
        assert!(Filter::parse(&[0; 33]).is_none());
    }

    // The bits are part of the format; this one was worked out by hand from docs/format.md.
    #[test]
    fn the_bits_are_those_of_the_format() {
        assert_eq!(group_of(0xffff_ffff_0000_0000, 7), 6);
        assert_eq!(bit(1, 0x85a3_08d3), 1 << 16);
        assert_eq!(bit(2, 0x85a3_08d3), 1 << 1);
    }
}
