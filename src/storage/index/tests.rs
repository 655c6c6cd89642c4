use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Bound;

use bytes::Bytes;
use proptest::prelude::*;

use super::heads::Head;
use super::*;

type Model = BTreeMap<Bytes, u64>;

/// Numbers that are the same in each run; a test does not need better ones.
struct Numbers(u64);

/// Shapes of keys that [`Numbers::key_of`] knows.
const SHAPES: u64 = 7;

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A key of any shape.
    fn key(&mut self) -> Bytes {
        let shape = self.below(SHAPES);
        self.key_of(shape)
    }

    /// Keys of several shapes, so that heads are sharp, blunt, padded and equal, and fronts are
    /// none, short and long.
    fn key_of(&mut self, shape: u64) -> Bytes {
        let number = self.below(2000);
        match shape {
            0 => Bytes::from(number.to_le_bytes().to_vec()),
            1 => Bytes::from(format!("user:{number:012}")),
            2 => Bytes::from(format!("a-very-long-prefix-that-all-share/{}", number % 300)),
            3 => Bytes::from(vec![0; usize::try_from(number % 40).unwrap()]),
            4 => Bytes::from(vec![
                u8::try_from(number % 7).unwrap();
                1 + usize::try_from(number % 30).unwrap()
            ]),
            // What tells them apart is in two places, both in the heads of inner nodes.
            5 => Bytes::from(format!("{:07x}:{number:08x}", number % 7)),
            // ... and the second one is not.
            _ => Bytes::from(format!("{}/the-same-in-all-of-them/{number}", number % 7)),
        }
    }
}

fn assert_same(index: &Index<u64>, model: &Model) {
    index.validate();
    assert_eq!(index.len(), model.len());
    assert!(index.iter().eq(model.iter()));
    assert!(index.iter().rev().eq(model.iter().rev()));
}

#[test]
fn random_changes_equal_the_standard_map() {
    // Of one shape, so that all of them share something, and of all shapes.
    for seed in 0..2 * SHAPES {
        let mut numbers = Numbers(seed);
        let (mut index, mut model) = (Index::new(), Model::new());
        for step in 0..6000 {
            let key = if seed < SHAPES { numbers.key_of(seed) } else { numbers.key() };
            assert_eq!(index.get(&key), model.get(&key));
            // It may be shown other values before it, and must be shown this one.
            let shown = Cell::new(None);
            assert_eq!(index.get_asking(&key, |&value| shown.set(Some(value))), model.get(&key));
            assert!(model.get(&key).is_none_or(|&value| shown.get() == Some(value)));
            // Grow, then shrink, so that nodes split and merge.
            if numbers.below(10) < if step < 3000 { 7 } else { 3 } {
                assert_eq!(index.insert(key.clone(), step), model.insert(key, step));
            } else {
                assert_eq!(index.remove(&key), model.remove(&key));
            }
            if step % 100 == 0 {
                assert_same(&index, &model);
            }
        }
        assert_same(&index, &model);
    }
}

#[test]
fn a_clone_never_changes() {
    let mut numbers = Numbers(1);
    let (mut index, mut model) = (Index::new(), Model::new());
    let mut kept = Vec::new();
    for step in 0..4000 {
        let key = numbers.key();
        if numbers.below(10) < 6 {
            index.insert(key.clone(), step);
            model.insert(key, step);
        } else {
            index.remove(&key);
            model.remove(&key);
        }
        if step % 97 == 0 {
            kept.push((index.clone(), model.clone()));
        }
    }
    for (index, model) in &kept {
        assert_same(index, model);
    }
}

#[test]
fn a_clone_can_go_its_own_way() {
    let mut first: Index<u64> = (0..1000).map(ascending).collect::<Vec<_>>().into_index();
    let mut second = first.clone();
    for n in 0..1000 {
        first.remove(&ascending(n).0);
        second.insert(ascending(n).0, n + 1);
    }
    assert!(first.is_empty());
    assert!(second.iter().all(|(key, value)| *key == ascending(value - 1).0));
    second.validate();
}

fn ascending(n: u64) -> (Bytes, u64) {
    (Bytes::from(format!("key-{n:08}")), n)
}

trait IntoIndex {
    fn into_index(self) -> Index<u64>;
}

impl IntoIndex for Vec<(Bytes, u64)> {
    fn into_index(self) -> Index<u64> {
        Index::from_sorted(self).unwrap()
    }
}

#[test]
fn inserting_in_order_leaves_nearly_full_nodes() {
    const ROWS: u64 = 10_000;
    for reversed in [false, true] {
        let mut index = Index::new();
        for n in 0..ROWS {
            let (key, value) = ascending(if reversed { ROWS - n } else { n });
            index.insert(key, value);
        }
        index.validate();
        let nodes_min = usize::try_from(ROWS).unwrap() / FANOUT;
        let leaves = index.root.leaves();
        assert!(leaves < nodes_min * 5 / 4, "{leaves} leaves, reversed: {reversed}");
    }
}

#[test]
fn removing_gives_the_nodes_back() {
    let mut index = (0..10_000).map(ascending).collect::<Vec<_>>().into_index();
    for n in (0..10_000).filter(|n| n % 100 != 0) {
        assert_eq!(index.remove(&ascending(n).0), Some(n));
    }
    index.validate();
    assert_eq!(index.len(), 100);
    assert!(index.root.leaves() <= 100 / (FANOUT / 8));
    for n in (0..10_000).filter(|n| n % 100 == 0) {
        assert_eq!(index.remove(&ascending(n).0), Some(n));
    }
    assert_eq!(index.root.leaves(), 1);
    index.validate();
}

#[test]
fn bulk_building_equals_inserting_for_every_small_size() {
    let sizes = (0..200).chain([FANOUT * FANOUT - 1, FANOUT * FANOUT, 2000, 5000]);
    for size in sizes {
        let rows: Vec<_> = (0..size as u64).map(ascending).collect();
        let model: Model = rows.iter().cloned().collect();
        assert_same(&rows.into_index(), &model);
    }
}

#[test]
fn bulk_building_refuses_rows_that_do_not_ascend() {
    let rows = |numbers: &[u64]| numbers.iter().copied().map(ascending).collect::<Vec<_>>();
    assert_eq!(Index::from_sorted(rows(&[1, 1])).unwrap_err(), NotAscending { row: 1 });
    assert_eq!(Index::from_sorted(rows(&[1, 3, 2])).unwrap_err(), NotAscending { row: 2 });
}

#[test]
fn replacing_a_value_lets_go_of_the_old_key() {
    let buffer = Bytes::from(vec![b'k'; 100]);
    let mut index = Index::new();
    index.insert(buffer.slice(..10), 1);
    assert!(!buffer.is_unique());
    index.insert(Bytes::copy_from_slice(&buffer[..10]), 2);
    assert!(buffer.is_unique());
}

#[test]
fn separators_do_not_keep_the_buffers_of_removed_rows() {
    let buffer = Bytes::from((0..=255).collect::<Vec<u8>>());
    let mut index = Index::new();
    for n in 0..256 {
        index.insert(buffer.slice(n..), n);
    }
    for n in 0..256 {
        index.insert(Bytes::copy_from_slice(&buffer[n..]), n);
    }
    assert!(buffer.is_unique());
}

fn bound(choice: u64, key: &Bytes) -> Bound<&[u8]> {
    match choice {
        0 => Bound::Unbounded,
        1 => Bound::Included(key),
        _ => Bound::Excluded(key),
    }
}

/// Not `BTreeMap::range`: it panics for bounds that are the wrong way round.
fn model_range(model: &Model, (from, to): (Bound<&[u8]>, Bound<&[u8]>)) -> Vec<(Bytes, u64)> {
    let behind = |key: &[u8]| match from {
        Bound::Unbounded => true,
        Bound::Included(from) => from <= key,
        Bound::Excluded(from) => from < key,
    };
    let before = |key: &[u8]| match to {
        Bound::Unbounded => true,
        Bound::Included(to) => key <= to,
        Bound::Excluded(to) => key < to,
    };
    let rows = model.iter().filter(|(key, _)| behind(key) && before(key));
    rows.map(|(key, value)| (key.clone(), *value)).collect()
}

#[test]
fn ranges_equal_the_standard_map_from_both_ends() {
    let mut numbers = Numbers(3);
    for size in [0, 1, 2, 31, 33, 500, 3000] {
        let model: Model = (0..size).map(|n| (numbers.key(), n)).collect();
        let index = model.clone().into_iter().collect::<Vec<_>>().into_index();
        for _ in 0..300 {
            let (from, to) = (numbers.key(), numbers.key());
            let bounds = (bound(numbers.below(3), &from), bound(numbers.below(3), &to));
            let expected = model_range(&model, bounds);
            let owned = |(key, value): (&Bytes, &u64)| (key.clone(), *value);
            assert_eq!(index.range(bounds).map(owned).collect::<Vec<_>>(), expected);
            let mut backwards: Vec<_> = index.range(bounds).rev().map(owned).collect();
            backwards.reverse();
            assert_eq!(backwards, expected);
            assert_eq!(from_both_ends(index.range(bounds).map(owned), &mut numbers), expected);
            assert_eq!(pieces_from_both_ends(index.range(bounds), &mut numbers), expected);
        }
    }
}

/// Takes each row from an end chosen at random, until both have met.
fn from_both_ends<T>(
    mut rows: impl DoubleEndedIterator<Item = T>,
    numbers: &mut Numbers,
) -> Vec<T> {
    let (mut front, mut back) = (Vec::new(), Vec::new());
    loop {
        let (end, row) = match numbers.below(2) {
            0 => (&mut front, rows.next()),
            _ => (&mut back, rows.next_back()),
        };
        let Some(row) = row else { break };
        end.push(row);
    }
    back.reverse();
    front.append(&mut back);
    front
}

/// Takes the rows of a leaf, or one row, from an end chosen at random, until both have met.
fn pieces_from_both_ends(mut rows: Range<'_, u64>, numbers: &mut Numbers) -> Vec<(Bytes, u64)> {
    let (mut front, mut back) = (Vec::new(), Vec::new());
    loop {
        let (end, piece) = match numbers.below(3) {
            0 => (&mut front, rows.next_rows().to_vec()),
            1 => (&mut back, rows.next_rows_back().iter().rev().cloned().collect()),
            _ => (
                &mut front,
                rows.next().map(|(key, value)| (key.clone(), *value)).into_iter().collect(),
            ),
        };
        if piece.is_empty() {
            break;
        }
        end.extend(piece);
    }
    assert!(rows.next().is_none(), "a piece is empty at the end only");
    back.reverse();
    front.append(&mut back);
    front
}

/// Bytes as a number that orders as they do, a digit after the other.
fn naive_head(key: &[u8], skip: usize, bytes: usize) -> u128 {
    let digits = key.iter().skip(skip).chain(std::iter::repeat(&0)).take(bytes);
    digits.fold(0, |number, &digit| (number << 8) | u128::from(digit))
}

proptest! {
    #[test]
    fn a_head_is_the_bytes_behind_the_front_as_a_number(
        key in proptest::collection::vec(any::<u8>(), 0..40),
        skip in 0..45_usize,
    ) {
        prop_assert_eq!(u128::from(u64::of(&key, skip)), naive_head(&key, skip, 8));
        prop_assert_eq!(u128::of(&key, skip), naive_head(&key, skip, 16));
    }

    #[test]
    fn short_keys_over_a_small_alphabet_equal_the_standard_map(
        changes in proptest::collection::vec(
            (
                proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..6),
                0..4_u64,
            ),
            0..600,
        ),
    ) {
        let (mut index, mut model) = (Index::new(), Model::new());
        for (key, what) in changes {
            let key = Bytes::from(key);
            if what == 0 {
                prop_assert_eq!(index.remove(&key), model.remove(&key));
            } else {
                prop_assert_eq!(index.insert(key.clone(), what), model.insert(key, what));
            }
        }
        assert_same(&index, &model);
    }
}

impl<V> Node<V> {
    fn leaves(&self) -> usize {
        match self {
            Self::Leaf(_) => 1,
            Self::Inner(inner) => inner.children().iter().map(|child| child.leaves()).sum(),
        }
    }
}

#[test]
fn a_row_is_found_by_the_hash_of_its_key_in_every_state() {
    let mut numbers = Numbers(11);
    let hash = |key: &[u8]| {
        let mut hasher = DefaultHasher::new();
        hasher.write(key);
        hasher.finish()
    };
    let key = |number: u64| Bytes::from(format!("{number:06}"));
    let mut index = Index::new();
    assert_eq!(index.places(hash).and_then(|it| it.get_asking(7, b"", |_| ()).copied()), None);
    let mut kept = Vec::new();
    for size in [1_u64, 31, 32, 33, 1_000, 20_000] {
        while (index.len() as u64) < size {
            let number = numbers.below(2 * size);
            index.insert(key(number), number);
        }
        kept.push((index.clone(), index.places(hash).unwrap()));
        // What is changed later is not seen.
        for _ in 0..size / 4 {
            index.remove(&key(numbers.below(2 * size)));
        }
    }
    for (index, places) in &kept {
        for number in 0..40_100 {
            let key = key(number);
            let found = places.get_asking(hash(&key), &key, |_| ());
            assert_eq!(found, index.get(&key), "{number} of {}", index.len());
        }
    }
}

#[test]
fn keys_of_one_hash_are_placed_up_to_a_bound() {
    let of = |count: u64| {
        let rows = (0..count).map(|number| (Bytes::from(format!("{number:06}")), number));
        Index::from_sorted(rows).unwrap()
    };
    let few = of(100);
    let places = few.places(|_| u64::MAX).unwrap();
    for (key, number) in &few {
        assert_eq!(places.get_asking(u64::MAX, key, |_| ()), Some(number));
    }
    assert_eq!(places.get_asking(u64::MAX, b"other", |_| ()), None);
    assert!(of(200).places(|_| u64::MAX).is_none());
}
