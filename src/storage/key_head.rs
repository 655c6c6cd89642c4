//! The first bytes of a key as a number, so that most keys are told apart without looking at them.

use super::record::Direction;

/// The first sixteen bytes of a key, filled with zeros, as a number.
///
/// Where two differ they order the keys; where they do not, the keys must be compared. With eight
/// bytes, keys of one prefix would often be alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyHead(u128);

impl KeyHead {
    /// The greatest: no head comes after it.
    pub(crate) const MAX: Self = Self(u128::MAX);

    /// The head of a key, in the order of ascending keys.
    #[inline]
    #[expect(
        clippy::big_endian_bytes,
        reason = "the first byte must weigh most for numbers to order as bytes do"
    )]
    pub(crate) fn of(key: &[u8]) -> Self {
        if let Some(whole) = key.first_chunk::<16>() {
            return Self(u128::from_be_bytes(*whole));
        }
        let (front, rest) = match key.split_first_chunk::<8>() {
            Some((front, rest)) => (u64::from_be_bytes(*front), rest),
            None => (short(key), &[][..]),
        };
        Self((u128::from(front) << 64) | u128::from(short(rest)))
    }

    /// The same in the order in which rows come that are read in `direction`.
    #[inline]
    pub(crate) const fn towards(self, direction: Direction) -> Self {
        match direction {
            Direction::Forward => self,
            Direction::Backward => Self(!self.0),
        }
    }
}

/// Fewer than eight bytes, filled with zeros, as a number.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    let byte = |at: usize| bytes.get(at).map_or(0, |&byte| u64::from(byte));
    (0..8).fold(0, |number, at| (number << 8) | byte(at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn heads_that_differ_order_their_keys(
            a in proptest::collection::vec(0_u8..3, 0..20),
            b in proptest::collection::vec(0_u8..3, 0..20),
        ) {
            let [of_a, of_b] = [&a, &b].map(|key| KeyHead::of(key));
            prop_assert!(of_a == of_b || of_a.cmp(&of_b) == a.cmp(&b));
            let back = |head: KeyHead| head.towards(Direction::Backward);
            prop_assert_eq!(back(of_a).cmp(&back(of_b)), of_b.cmp(&of_a));
        }

        #[test]
        fn keys_that_differ_within_sixteen_bytes_but_for_zeros_have_other_heads(
            a in proptest::collection::vec(any::<u8>(), 0..20),
            b in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let front = |key: &[u8]| {
                let mut front = key.to_vec();
                front.resize(16, 0);
                front
            };
            prop_assert_eq!(KeyHead::of(&a) == KeyHead::of(&b), front(&a) == front(&b));
        }
    }
}
