//! Scans that leave out stretches of what was removed show what scans of every row show.

use std::collections::BTreeMap;

use super::*;
use crate::env::rng::SeededRng;
use crate::state::gaps::{GAP_GROWS_ROWS_MIN, GAP_ROWS_MIN};
use crate::storage::record::Direction;

const KEYS: u64 = 600;

type Rows = BTreeMap<Bytes, Bytes>;

fn key(number: u64) -> Bytes {
    format!("q/{number:05}").into()
}

fn apply(state: &mut KvState, index: u64, command: Command) {
    state.apply(LogIndex(index), Timestamp(index), command).unwrap();
}

/// A state of so many rows that are below the tail, so that removing one leaves a tombstone.
fn filled() -> KvState {
    let mut state = KvState::new();
    for number in 0..KEYS {
        let (key, value) = (key(number), Bytes::from("value"));
        apply(&mut state, number + 1, Command::Set { key, value });
    }
    state.freeze();
    state
}

fn bound(rng: &SeededRng) -> Bound<Bytes> {
    match rng.up_to(4) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(key(rng.up_to(KEYS))),
        _ => Bound::Excluded(key(rng.up_to(KEYS))),
    }
}

/// At most so many rows, by a cursor.
fn scanned(
    view: &StateView,
    bounds: (Bound<Bytes>, Bound<Bytes>),
    direction: Direction,
    limit: usize,
) -> Vec<(Bytes, Bytes)> {
    let mut cursor = view.cursor::<Bytes>(bounds, direction).unwrap();
    let mut rows = Vec::new();
    while rows.len() < limit
        && let Some(row) = cursor.next().unwrap()
    {
        rows.push((Bytes::copy_from_slice(row.key), Bytes::copy_from_slice(row.value)));
    }
    rows
}

fn expected(
    model: &Rows,
    (from, to): &(Bound<Bytes>, Bound<Bytes>),
    direction: Direction,
    limit: usize,
) -> Vec<(Bytes, Bytes)> {
    let is_in = |key: &Bytes| {
        let is_behind = match from {
            Bound::Included(from) => key >= from,
            Bound::Excluded(from) => key > from,
            Bound::Unbounded => true,
        };
        is_behind
            && match to {
                Bound::Included(to) => key <= to,
                Bound::Excluded(to) => key < to,
                Bound::Unbounded => true,
            }
    };
    let rows = model.iter().filter(|(key, _)| is_in(key));
    let rows = rows.map(|(key, value)| (key.clone(), value.clone()));
    match direction {
        Direction::Forward => rows.take(limit).collect(),
        Direction::Backward => rows.rev().take(limit).collect(),
    }
}

#[test]
fn scans_of_every_state_equal_the_model_whatever_gaps_were_found() {
    for seed in 0..20 {
        let rng = SeededRng::new(seed);
        let mut state = filled();
        let mut model: Rows = (0..KEYS).map(|number| (key(number), "value".into())).collect();
        let mut kept = Vec::new();
        let mut with_gaps = 0;
        for index in KEYS + 1..KEYS + 1500 {
            match rng.up_to(9) {
                // Much is removed in a row, here and there something comes.
                0..=6 => {
                    let first = model.range(key(rng.up_to(KEYS))..).next();
                    let Some(key) = first.map(|(key, _)| key.clone()) else { continue };
                    model.remove(&key);
                    apply(&mut state, index, Command::Delete { key });
                }
                7 if rng.up_to(9) == 0 => {
                    let prefix = Bytes::from(format!("q/{:04}", rng.up_to(KEYS / 10)));
                    model.retain(|key, _| !key.starts_with(&prefix));
                    apply(&mut state, index, Command::DeletePrefix { prefix });
                }
                7 => {}
                _ => {
                    let (key, value) = (key(rng.up_to(KEYS)), Bytes::from(index.to_string()));
                    model.insert(key.clone(), value.clone());
                    apply(&mut state, index, Command::Set { key, value });
                }
            }
            if rng.up_to(2) == 0 {
                kept.push((state.view(), model.clone()));
            }
            // Any state that is still there may be scanned at any time.
            let at = usize::try_from(rng.up_to(kept.len() as u64)).unwrap();
            let (view, model) = kept.get(at).unwrap_or(&(state.view(), model.clone())).clone();
            let (bounds, limit) =
                ((bound(&rng), bound(&rng)), usize::try_from(1 + rng.up_to(600)).unwrap());
            for direction in [Direction::Forward, Direction::Backward] {
                let found = scanned(&view, bounds.clone(), direction, limit);
                assert_eq!(found, expected(&model, &bounds, direction, limit), "{bounds:?}");
            }
            with_gaps +=
                usize::from((0..KEYS).any(|number| state.as_view().gaps.contain(&key(number))));
            if index % 100 == 0 {
                state.validate().unwrap();
            }
        }
        assert!(with_gaps > 200, "seed {seed}: {with_gaps} states with gaps");
    }
}

#[test]
fn taking_from_either_end_goes_over_few_of_those_that_are_gone() {
    for direction in [Direction::Forward, Direction::Backward] {
        let mut state = filled();
        // By how far a key is from the end that is taken from.
        let nth = |at: u64| match direction {
            Direction::Forward => key(at),
            Direction::Backward => key(KEYS - 1 - at),
        };
        for (index, taken) in (KEYS + 1..).zip(0..KEYS) {
            let all = (Bound::Included(key(0)), Bound::Excluded(key(KEYS)));
            let next = scanned(state.as_view(), all, direction, 1);
            assert_eq!(next.first().map(|(key, _)| key), Some(&nth(taken)));
            if taken > GAP_ROWS_MIN as u64 {
                let before = nth(taken - GAP_GROWS_ROWS_MIN as u64 - 1);
                assert!(state.as_view().gaps.contain(&before), "{direction:?} {taken}");
            }
            apply(&mut state, index, Command::Delete { key: nth(taken) });
        }
        assert!(state.as_view().is_empty());
    }
}

#[test]
fn what_changes_of_the_past_bring_is_in_no_gap() {
    let mut state = filled();
    apply(&mut state, KEYS + 1, Command::DeletePrefix { prefix: "q/".into() });
    assert!(rows_of(state.as_view()).is_empty());
    apply(&mut state, KEYS + 2, Command::set("other", "x"));
    // Behind more tombstones than a scan goes over before it looks for a gap.
    let last = key(KEYS - 1);
    assert!(state.as_view().gaps.contain(&last));
    let mut past = PastState::new(state.view());
    let change = RowChange {
        key: &last,
        value: Some(b"back"),
        before: None,
        version: Version(KEYS + 3),
        timestamp: Timestamp(KEYS + 3),
    };
    assert!(past.change(change));
    let view = past.finish(LogIndex(KEYS + 3), Timestamp(KEYS + 3));
    assert_eq!(rows_of(&view).len(), 2);
}
