//! The digest that is kept up to date entry by entry, and what it was at entries of the past.
//!
//! It is a sum of hashes, one for each row and for each part of a session, modulo 2^128. Adding and
//! taking away commute, so its cost for an entry is that of the rows which the entry changes, and
//! the order in which a state came about does not enter. `docs/format.md` says what is hashed and
//! how, since nodes of different releases compare it.
//!
//! The hash is the one of the tables' filters twice over, with other numbers: a multiplication of
//! 64 bits in each of two lanes for eight bytes, which is some gigabytes a second and some tens of
//! nanoseconds for a small row. That finds what it is for, a bug, a bit that flipped in memory, or
//! a release that applies a command differently: such accidents do not choose their rows, and two
//! different states have the same digest with a chance of about 2^-128. A cryptographic hash costs
//! ten times as much for a small row and would be needed only against somebody who chooses rows to
//! hide a difference, and who is among the voters then anyway. [`StateDigest`](super::StateDigest)
//! is there for those who want one.

use std::collections::{BTreeMap, VecDeque};

use crate::command::StateCheck;
use crate::types::{LogIndex, Timestamp, Version};

/// A digest is noted at each entry whose index is a multiple of it.
pub const CHECK_INTERVAL: u64 = 1_000;

/// How many of the newest digests that were noted are known.
pub const CHECKS_KEPT: usize = 16;

const SEEDS: [u64; 2] = [0x4528_21e6_38d0_1377, 0x1319_8a2e_0370_7344];
const FACTORS: [u64; 2] = [0xbe54_66cf_34e9_0c6d, 0xc0ac_29b7_c97c_50dd];
const LAST_FACTOR: u64 = 0x3f84_d5b5_b547_0917;

/// What is hashed, so that one thing never counts as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Row = 0,
    Session = 1,
    Answer = 2,
}

/// A hash on its way.
#[derive(Debug)]
pub(super) struct PartHash([u64; 2]);

impl PartHash {
    pub(super) const fn new(part: Part) -> Self {
        Self(SEEDS).number(part as u64)
    }

    pub(super) const fn number(self, number: u64) -> Self {
        let Self([a, b]) = self;
        let [factor_a, factor_b] = FACTORS;
        Self([fold(a ^ number, factor_a), fold(b ^ number, factor_b)])
    }

    /// As numbers of eight bytes, the last filled with zeros; the length stands elsewhere.
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self = self.number(u64::from_le_bytes(*word));
        }
        if rest.is_empty() {
            return self;
        }
        self.number(rest.iter().rev().fold(0, |number, &byte| (number << 8) | u64::from(byte)))
    }

    pub(super) fn finish(self) -> Sum {
        let Self([a, b]) = self;
        let [a, b] = [fold(a, LAST_FACTOR), fold(b, LAST_FACTOR)];
        Sum((u128::from(a) << 64) | u128::from(b))
    }
}

/// Both halves of the product, so that every bit of `a` reaches every bit of the result.
#[expect(clippy::cast_possible_truncation, reason = "the halves are taken apart")]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product as u64) ^ ((product >> 64) as u64)
}

/// A sum of hashes, modulo 2^128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(pub u128);

impl Sum {
    /// The hash of one row.
    pub(super) fn of_row(key: &[u8], value: &[u8], version: Version, timestamp: Timestamp) -> Self {
        let hash = PartHash::new(Part::Row).number(version.0).number(timestamp.0);
        let hash = hash.number(key.len() as u64).number(value.len() as u64);
        hash.bytes(key).bytes(value).finish()
    }

    pub(super) const fn add(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }

    pub(super) const fn take_away(&mut self, other: Self) {
        self.0 = self.0.wrapping_sub(other.0);
    }

    const fn to_check(self) -> StateCheck {
        StateCheck(self.0.to_le_bytes())
    }
}

/// The digest of a state that is being kept up to date.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracker {
    /// The sum over all rows.
    pub(super) rows: Sum,
    /// What was noted, oldest first.
    noted: VecDeque<(LogIndex, StateCheck)>,
}

impl Tracker {
    pub(super) fn new(rows: Sum) -> Self {
        Self { rows, noted: VecDeque::new() }
    }

    /// The digest: `sessions` is the sum over them.
    pub(super) fn digest(&self, sessions: Sum) -> StateCheck {
        let mut all = self.rows;
        all.add(sessions);
        all.to_check()
    }

    /// Keeps the digest after entry `index` in mind, when it is one of those.
    pub(super) fn note(&mut self, index: LogIndex, sessions: Sum) {
        if is_noted(index) {
            self.push(index, self.digest(sessions));
        }
    }

    fn push(&mut self, index: LogIndex, digest: StateCheck) {
        if self.noted.len() == CHECKS_KEPT {
            self.noted.pop_front();
        }
        self.noted.push_back((index, digest));
    }

    pub(super) fn recorded(&self, index: LogIndex) -> Option<StateCheck> {
        self.noted.iter().find(|&&(at, _)| at == index).map(|&(_, digest)| digest)
    }

    /// Begins a run whose entries are applied in another order than that of the log.
    pub(super) const fn begin_run(&self) -> RunSums {
        RunSums { before: self.rows, now: self.rows, intervals: BTreeMap::new() }
    }

    /// Notes what would have been noted in the order of the log.
    pub(super) fn end_run(&mut self, run: RunSums, sessions: Sum) {
        let mut rows = run.before;
        for (end, Interval { change, is_whole }) in run.intervals {
            rows.add(change);
            if is_whole {
                self.push(end, Self::new(rows).digest(sessions));
            }
        }
    }
}

/// Whether the digest after this entry is noted.
const fn is_noted(index: LogIndex) -> bool {
    index.0.is_multiple_of(CHECK_INTERVAL)
}

/// By how much the entries of a run change the sum, for each interval between two notes. A sum does
/// not mind the order, so what an entry adds counts for its interval whenever it is applied.
#[derive(Debug)]
pub(super) struct RunSums {
    before: Sum,
    now: Sum,
    /// By the index that ends the interval.
    intervals: BTreeMap<LogIndex, Interval>,
}

#[derive(Debug, Default)]
struct Interval {
    change: Sum,
    /// Whether the run has the entry that ends it.
    is_whole: bool,
}

impl RunSums {
    /// Entry `index` was applied, and now the sum over all rows is `rows`.
    pub(super) fn applied(&mut self, index: LogIndex, rows: Sum) {
        let end = index.0.checked_next_multiple_of(CHECK_INTERVAL).unwrap_or(u64::MAX);
        let interval = self.intervals.entry(LogIndex(end)).or_default();
        interval.change.add(rows);
        interval.change.take_away(self.now);
        interval.is_whole |= is_noted(index);
        self.now = rows;
    }
}
