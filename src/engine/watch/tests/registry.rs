//! Who is marked by what.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use crate::command::reserved_key;
use crate::engine::watch::registry::{Registry, Seat};
use crate::storage::stretch::Stretch;
use crate::types::LogIndex;

fn seats<const N: usize>(registry: &Arc<Registry>, prefixes: [&[u8]; N]) -> [Seat; N] {
    prefixes.map(|prefix| registry.enter(&Bytes::copy_from_slice(prefix)))
}

fn marks<const N: usize>(seats: &[Seat; N]) -> [Option<u64>; N] {
    std::array::from_fn(|at| seats[at].marked().map(|index| index.0))
}

#[test]
fn a_change_marks_those_whose_prefix_its_key_has() {
    let registry = Arc::<Registry>::default();
    let seats = seats(&registry, [b"", b"a", b"ab", b"abc", b"b", b"ab"]);
    registry.changed(LogIndex(4), &[b"ab"]);
    assert_eq!(marks(&seats), [Some(4), Some(4), Some(4), None, None, Some(4)]);
}

#[test]
fn the_first_change_since_it_was_armed_stays_the_mark() {
    let registry = Arc::<Registry>::default();
    let [seat] = seats(&registry, [b"a"]);
    for index in [3, 4, 9] {
        registry.changed(LogIndex(index), &[b"a1"]);
    }
    assert_eq!(seat.marked(), Some(LogIndex(3)));
    assert_eq!(seat.arm(), Some(LogIndex(3)));
    assert_eq!(seat.marked(), None);
    registry.changed(LogIndex(11), &[b"a2"]);
    assert_eq!(seat.arm(), Some(LogIndex(11)));
}

#[test]
fn reserved_keys_mark_only_who_watches_them() {
    let registry = Arc::<Registry>::default();
    let (reserved, other) = (reserved_key(b"s/"), reserved_key(b"t/"));
    let plain_beside: &[u8] = &[0xff; 7];
    let seats = seats(&registry, [b"", plain_beside, &reserved, &other]);
    registry.changed(LogIndex(1), &[&reserved_key(b"s/x")]);
    assert_eq!(marks(&seats), [None, None, Some(1), None]);
    let many: Vec<Bytes> = (0..100).map(|n| reserved_key(format!("t/{n:03}").as_bytes())).collect();
    let many: Vec<&[u8]> = many.iter().map(AsRef::as_ref).collect();
    registry.changed(LogIndex(2), &many);
    assert_eq!(marks(&seats), [None, None, Some(1), Some(2)]);
}

#[test]
fn a_removal_of_very_many_marks_those_who_watch_any_key_of_the_stretch() {
    let stretch = |from: &'static [u8], to: Option<&'static [u8]>| Stretch {
        from: from.into(),
        to: to.map(Bytes::from_static),
    };
    let reserved = reserved_key(b"s/");
    let marked = |stretch: &Stretch| {
        let registry = Arc::<Registry>::default();
        let prefixes: [&[u8]; 7] = [b"", b"a", b"b", b"b/", b"b/1", b"c", &reserved];
        let seats = seats(&registry, prefixes);
        registry.changed_within(LogIndex(3), stretch);
        marks(&seats).map(|mark| mark.is_some())
    };
    let within_b = [true, false, true, true, true, false, false];
    assert_eq!(marked(&stretch(b"b/", Some(b"b0"))), within_b);
    assert_eq!(marked(&stretch(b"b/12", Some(b"b/13"))), within_b);
    assert_eq!(marked(&stretch(b"b", None)), [true, false, true, true, true, true, false]);
    assert_eq!(marked(&stretch(b"", None)), [true, true, true, true, true, true, false]);
    let of_reserved = Stretch { from: reserved_key(b"s/1"), to: None };
    assert_eq!(marked(&of_reserved), [false, false, false, false, false, false, true]);
}

#[test]
fn when_nobody_knows_what_changed_everybody_is_marked() {
    let registry = Arc::<Registry>::default();
    let seats = seats(&registry, [b"", b"a", b"bcd"]);
    registry.changed(LogIndex(1), &[b"ax"]);
    registry.changed_unknown(LogIndex(5));
    assert_eq!(marks(&seats), [Some(1), Some(1), Some(5)]);
}

#[test]
fn a_seat_that_is_left_is_gone() {
    let registry = Arc::<Registry>::default();
    assert!(registry.is_empty());
    let [a, b, c] = seats(&registry, [b"a", b"a", b"bc"]);
    assert_eq!((registry.len(), registry.prefixes()), (3, 2));
    drop((a, c));
    assert_eq!((registry.len(), registry.prefixes()), (1, 1));
    registry.changed(LogIndex(1), &[b"a", b"bc"]);
    assert_eq!(b.marked(), Some(LogIndex(1)));
    drop(b);
    assert!(registry.is_empty());
    assert_eq!(registry.prefixes(), 0);
    registry.changed(LogIndex(2), &[b"a"]);
}

#[test]
fn who_comes_after_the_end_does_not_wait() {
    let registry = Arc::<Registry>::default();
    registry.stop();
    let [seat] = seats(&registry, [b"a"]);
    assert!(seat.wait(None));
    assert!(seat.is_stopped());
}

proptest! {
    /// Keys among prefixes and prefixes among keys find the same.
    #[test]
    fn many_keys_mark_as_each_of_them_would(
        prefixes in prop::collection::vec("[ab]{0,4}", 1..8),
        keys in prop::collection::vec("[abc]{1,5}", 64..90),
    ) {
        let (one, other) = (Arc::<Registry>::default(), Arc::<Registry>::default());
        let enter = |registry: &Arc<Registry>| -> Vec<Seat> {
            prefixes.iter().map(|it| registry.enter(&Bytes::from(it.clone()))).collect()
        };
        let (singly, together) = (enter(&one), enter(&other));
        let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
        for key in &keys {
            one.changed(LogIndex(1), &[key]);
        }
        other.changed(LogIndex(1), &keys);
        for ((a, b), prefix) in singly.iter().zip(&together).zip(&prefixes) {
            let expected = keys.iter().any(|key| key.starts_with(prefix.as_bytes()));
            prop_assert_eq!(a.marked().is_some(), expected, "{}", prefix);
            prop_assert_eq!(b.marked().is_some(), expected, "{}", prefix);
        }
    }
}
