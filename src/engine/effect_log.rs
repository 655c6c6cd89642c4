//! What the newest entries of the log changed, and when: the part of it that the log does not say.
//!
//! Eight bytes an entry, in chunks; what does not fit, the *details*, stands beside them. It is
//! memory only: the entries behind the newest manifest are applied again at each opening, which
//! tells it again.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::state::{Detail, Effect, Effects};
use crate::types::{LogIndex, Timestamp};

/// Entries of a chunk, at most: what is forgotten at once.
const CHUNK_ENTRIES: usize = 1024;
/// Bytes of details with which a chunk takes no further entry: a thousand batches in one chunk
/// would be gigabytes that can only be forgotten together.
const CHUNK_DETAIL_BYTES: usize = 1 << 20;
/// Entries of which the effects are kept, 8 MiB, although the log may have more. Beyond it only
/// those behind the newest manifest are.
const ENTRIES_MAX: usize = 1 << 20;
/// Bytes of details that are kept of entries which the newest manifest holds, as [`heap_of`] counts
/// them: 230,000 changes made by batches. Those behind the manifest stay whatever they take: before
/// the next one they are written to the archive, where there is one. How many there are is bounded
/// by the log and the tail that may gather until then.
const DETAIL_BYTES_MAX: usize = 16 << 20;

/// Bytes that the details of an entry take beside them: the head of the [`Arc`], its place in the
/// map.
const PLACE_BYTES: usize = 64;
/// Bytes that a buffer takes beside its own: its head, and what the allocator rounds up.
const BUFFER_BYTES: usize = 48;

/// What a code means. What an entry replaced or removed had `code - HAD` bytes.
const NOTHING: u32 = 0;
const CREATED: u32 = 1;
const HAD: u32 = 2;
/// The effects stand in `details`. No value is so long that its code is this.
const DETAILS: u32 = u32::MAX;

/// Bytes of memory that the details of an entry take, roughly. A buffer that is shared counts, too:
/// whoever shares it may let go of it.
fn heap_of(details: &[Detail]) -> usize {
    let buffer = |bytes: &Bytes| BUFFER_BYTES + bytes.len();
    let beside = |detail: &Detail| match detail {
        Detail::Own { .. } => 0,
        Detail::Explicit { key, value, .. } => buffer(key) + value.as_ref().map_or(0, buffer),
        // Of no more use once a manifest holds it.
        Detail::Many(_) => DETAIL_BYTES_MAX,
    };
    PLACE_BYTES + size_of_val(details) + details.iter().map(beside).sum::<usize>()
}

/// One entry.
#[derive(Clone, Copy, Debug)]
struct Slot {
    code: u32,
    /// Microseconds since the first stamp of the chunk.
    stamp: u32,
}

/// Entries that follow each other.
#[derive(Clone, Debug)]
struct Chunk {
    first: LogIndex,
    /// The stamp of the first.
    stamp: Timestamp,
    /// At least one.
    slots: Vec<Slot>,
    /// What the details of its entries take. Invariant: less than [`CHUNK_DETAIL_BYTES`] without
    /// those of the last.
    detail_bytes: usize,
}

impl Chunk {
    fn end(&self) -> LogIndex {
        LogIndex(self.first.0 + self.slots.len() as u64)
    }

    fn stamp_of(&self, slot: Slot) -> Timestamp {
        Timestamp(self.stamp.0 + u64::from(slot.stamp))
    }
}

/// The effects of one entry, and its stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryEffects {
    pub(crate) timestamp: Timestamp,
    pub(crate) effects: Effects,
}

/// The effects of the newest entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct EffectLog {
    /// Invariant: each follows the one before without a gap.
    chunks: VecDeque<Chunk>,
    /// Of the entries whose code is [`DETAILS`].
    details: BTreeMap<LogIndex, Arc<Vec<Detail>>>,
    /// The entry behind the last one told.
    next: LogIndex,
    /// The last entry that the newest manifest holds.
    covered: Option<LogIndex>,
}

/// What was forgotten. Freeing it takes a moment, so it is dropped without the lock.
#[derive(Debug)]
pub(crate) struct Forgotten {
    _chunks: VecDeque<Chunk>,
    _details: BTreeMap<LogIndex, Arc<Vec<Detail>>>,
}

impl EffectLog {
    /// Without an entry, for a state of which a manifest holds everything up to `covered`.
    pub(crate) fn behind(covered: LogIndex) -> Self {
        Self { next: covered.next(), covered: Some(covered), ..Self::default() }
    }

    /// The entries whose effects are known; an empty range before the next one when none are.
    pub(crate) fn range(&self) -> Range<LogIndex> {
        self.chunks.front().map_or(self.next, |chunk| chunk.first)..self.next
    }

    /// Takes in the effects of the entry that was just applied. Some nanoseconds, and one or two
    /// for each detail. Where it does not follow the last one told, everything before it is
    /// forgotten.
    pub(crate) fn push(&mut self, index: LogIndex, stamp: Timestamp, effects: Effects) {
        let code = match effects {
            Effects::One(Effect::Nothing) => NOTHING,
            Effects::One(Effect::Created) => CREATED,
            Effects::One(Effect::Had(bytes)) => HAD + bytes.min(DETAILS - HAD - 1),
            Effects::Several(_) => DETAILS,
        };
        if let Some(chunk) = self.chunks.back_mut()
            && chunk.slots.len() < CHUNK_ENTRIES
            && chunk.detail_bytes < CHUNK_DETAIL_BYTES
            && chunk.end() == index
            && let Some(delta) = stamp.0.checked_sub(chunk.stamp.0)
            && let Ok(stamp) = u32::try_from(delta)
        {
            chunk.slots.push(Slot { code, stamp });
        } else {
            self.begin_chunk(index, stamp, code);
        }
        self.next = index.next();
        if let Effects::Several(details) = effects {
            if let Some(chunk) = self.chunks.back_mut() {
                chunk.detail_bytes += heap_of(&details);
            }
            self.details.insert(index, details);
        }
    }

    #[cold]
    fn begin_chunk(&mut self, first: LogIndex, stamp: Timestamp, code: u32) {
        if self.chunks.back().is_some_and(|chunk| chunk.end() != first) {
            self.chunks.clear();
            self.details.clear();
        }
        let mut slots = Vec::with_capacity(CHUNK_ENTRIES);
        slots.push(Slot { code, stamp: 0 });
        self.chunks.push_back(Chunk { first, stamp, slots, detail_bytes: 0 });
        let start = self.range().start;
        let known = usize::try_from(first.0 - start.0).unwrap_or(usize::MAX);
        if known > ENTRIES_MAX {
            let surplus = (known - ENTRIES_MAX) as u64;
            drop(self.forget(LogIndex(start.0.saturating_add(surplus))));
        }
    }

    /// Takes in a run whose entries were told in any order.
    pub(crate) fn take_run(&mut self, run: RunEffects) {
        let RunEffects { first, last, told, slots } = run;
        if told != slots.len() {
            // Indexes with gaps: nobody asks for what is between them.
            self.chunks.clear();
            self.details.clear();
            self.next = last.next();
            return;
        }
        for (at, EntryEffects { timestamp, effects }) in (0..).zip(slots) {
            self.push(LogIndex(first.0 + at), timestamp, effects);
        }
    }

    /// Says that a manifest holds everything up to `covered`, and that the log begins with `first`:
    /// forgets what neither needs, in whole chunks, and of what the manifest holds the oldest, too,
    /// until details take no more than [`DETAIL_BYTES_MAX`].
    pub(crate) fn trim(&mut self, covered: LogIndex, first: LogIndex) -> Forgotten {
        self.covered = self.covered.max(Some(covered));
        self.forget(first.max(self.first_that_fits()))
    }

    /// The first entry of the newest chunks whose details take [`DETAIL_BYTES_MAX`] together at
    /// most; the next entry where those of the newest chunk alone take more. O(chunks).
    fn first_that_fits(&self) -> LogIndex {
        let mut bytes = 0;
        let fits = |chunk: &&Chunk| {
            bytes += chunk.detail_bytes;
            bytes <= DETAIL_BYTES_MAX
        };
        let fitting = self.chunks.iter().rev().take_while(fits);
        fitting.last().map_or(self.next, |chunk| chunk.first)
    }

    /// Forgets the chunks that end before `first` and before what a manifest holds.
    fn forget(&mut self, first: LogIndex) -> Forgotten {
        let end = first.min(self.covered.map_or(LogIndex(0), LogIndex::next));
        let gone = self.chunks.partition_point(|chunk| chunk.end() <= end);
        let kept = self.chunks.split_off(gone);
        let chunks = std::mem::replace(&mut self.chunks, kept);
        let first = self.chunks.front().map_or(end, |chunk| chunk.first);
        let kept = self.details.split_off(&first);
        Forgotten { _chunks: chunks, _details: std::mem::replace(&mut self.details, kept) }
    }

    /// What the entries of `range` changed; `None` unless it is known of all of them.
    pub(crate) fn read(&self, range: Range<LogIndex>) -> Option<Vec<EntryEffects>> {
        let known = self.range();
        if range.start >= range.end {
            return Some(Vec::new());
        }
        if range.start < known.start || range.end > known.end {
            return None;
        }
        let mut read = Vec::new();
        let from = self.chunks.partition_point(|chunk| chunk.end() <= range.start);
        for chunk in self.chunks.range(from..) {
            for (index, &slot) in (chunk.first.0..).map(LogIndex).zip(&chunk.slots) {
                if index >= range.end {
                    return Some(read);
                }
                if index >= range.start {
                    let timestamp = chunk.stamp_of(slot);
                    read.push(EntryEffects { timestamp, effects: self.effects_of(index, slot)? });
                }
            }
        }
        Some(read)
    }

    fn effects_of(&self, index: LogIndex, slot: Slot) -> Option<Effects> {
        Some(match slot.code {
            NOTHING => Effects::One(Effect::Nothing),
            CREATED => Effects::One(Effect::Created),
            DETAILS => Effects::Several(Arc::clone(self.details.get(&index)?)),
            code => Effects::One(Effect::Had(code - HAD)),
        })
    }

    /// The last entry known whose stamp is not after `time`, with its stamp.
    pub(crate) fn last_at(&self, time: Timestamp) -> Option<(LogIndex, Timestamp)> {
        let at = self.chunks.partition_point(|chunk| chunk.stamp <= time).checked_sub(1)?;
        let chunk = self.chunks.get(at)?;
        let count = chunk.slots.partition_point(|&slot| chunk.stamp_of(slot) <= time);
        let slot = *chunk.slots.get(count.checked_sub(1)?)?;
        Some((LogIndex(chunk.first.0 + count as u64 - 1), chunk.stamp_of(slot)))
    }
}

/// The effects of entries that are applied in another order than that of the log.
#[derive(Debug)]
pub(crate) struct RunEffects {
    first: LogIndex,
    last: LogIndex,
    told: usize,
    slots: Vec<EntryEffects>,
}

impl RunEffects {
    /// Of the entries from the first to the last of `span`; `entries` of them are going to be told.
    pub(crate) fn new((first, last): (LogIndex, LogIndex), entries: usize) -> Self {
        let span = usize::try_from(last.0 - first.0).unwrap_or(usize::MAX).saturating_add(1);
        let nothing = EntryEffects { timestamp: Timestamp(0), effects: Effects::default() };
        // With gaps the places are of no use.
        let slots = if span == entries { vec![nothing; entries] } else { Vec::new() };
        Self { first, last, told: 0, slots }
    }

    /// Notes one entry.
    pub(crate) fn tell(&mut self, index: LogIndex, timestamp: Timestamp, effects: Effects) {
        self.told += 1;
        let at = usize::try_from(index.0 - self.first.0).unwrap_or(usize::MAX);
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = EntryEffects { timestamp, effects };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_effects() -> impl Strategy<Value = Effects> {
        prop_oneof![
            Just(Effects::One(Effect::Nothing)),
            Just(Effects::One(Effect::Created)),
            (0..1_u32 << 30).prop_map(|bytes| Effects::One(Effect::Had(bytes))),
            (0..9_u32)
                .prop_map(|at| Effects::Several(vec![Detail::Own { at, before: None }].into())),
        ]
    }

    /// Those of a batch of so many commands, each of which made a row.
    fn batch(commands: u32) -> Effects {
        let details = (0..commands).map(|at| Detail::Own { at, before: None });
        Effects::Several(details.collect::<Vec<_>>().into())
    }

    /// Bytes of all details. What the chunks say of them must be right.
    fn held(log: &EffectLog) -> usize {
        let held: usize = log.details.values().map(|details| heap_of(details)).sum();
        assert_eq!(held, log.chunks.iter().map(|chunk| chunk.detail_bytes).sum::<usize>());
        held
    }

    /// Stamps that stand still, go on, and jump further than 32 bits reach.
    fn any_step() -> impl Strategy<Value = u64> {
        prop_oneof![4 => Just(0), 8 => 1..50_u64, 1 => (1_u64 << 31)..(1 << 34)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_entry_is_told_as_it_was_noted(
            first in 0..5_u64,
            steps in proptest::collection::vec((any_step(), any_effects()), 1..3_000),
            cut in any::<proptest::sample::Index>(),
            split in any::<proptest::sample::Index>(),
        ) {
            let mut log = EffectLog::default();
            let mut stamp = 1_000;
            let mut expected = Vec::new();
            for (step, effects) in steps {
                stamp += step;
                expected.push(EntryEffects { timestamp: Timestamp(stamp), effects });
            }
            // The first part one by one, the rest as a run, told from its end.
            let split = split.index(expected.len());
            for (at, it) in expected.iter().enumerate().take(split) {
                log.push(LogIndex(first + at as u64), it.timestamp, it.effects.clone());
            }
            let end = LogIndex(first + expected.len() as u64);
            let span = (LogIndex(first + split as u64), end.previous().unwrap());
            let mut run = RunEffects::new(span, expected.len() - split);
            for (at, it) in expected.iter().enumerate().skip(split).rev() {
                run.tell(LogIndex(first + at as u64), it.timestamp, it.effects.clone());
            }
            log.take_run(run);
            prop_assert_eq!(log.range(), LogIndex(first)..end);
            prop_assert_eq!(log.read(log.range()).unwrap(), expected.clone());
            let cut = cut.index(expected.len());
            let from = LogIndex(first + cut as u64);
            prop_assert_eq!(log.read(from..end).unwrap(), &expected[cut..]);
            let time = expected[cut].timestamp;
            let last = expected.iter().rposition(|it| it.timestamp <= time).unwrap();
            prop_assert_eq!(log.last_at(time), Some((LogIndex(first + last as u64), time)));
            prop_assert_eq!(log.last_at(Timestamp(999)), None);
            prop_assert_eq!(log.read(from..end.next()), None);
        }

        #[test]
        fn what_is_forgotten_is_what_nobody_needs_and_no_more(
            steps in proptest::collection::vec(
                (0..3_usize, proptest::option::weighted(0.3, (0..20_u64, 0..200_u64))),
                1..200,
            ),
        ) {
            let sizes = [Effects::default(), batch(3_000), batch(30_000)];
            let chunk_max = CHUNK_DETAIL_BYTES + 30_000 * size_of::<Detail>() + PLACE_BYTES;
            let (mut log, mut noted) = (EffectLog::default(), Vec::new());
            let mut covered = LogIndex(0);
            for (index, (size, trim)) in (0_u64..).zip(steps) {
                let (timestamp, effects) = (Timestamp(index), sizes[size].clone());
                log.push(LogIndex(index), timestamp, effects.clone());
                noted.push(EntryEffects { timestamp, effects });
                // How many of the newest entries no manifest holds, and how many the log has.
                let Some((behind, kept)) = trim else { continue };
                covered = covered.max(LogIndex(index.saturating_sub(behind)));
                let first = LogIndex(index.saturating_sub(kept));
                let before = log.range().start;
                drop(log.trim(covered, first));
                let start = log.range().start;
                prop_assert!((before..=covered.next()).contains(&start));
                let bytes: usize = log.chunks.iter().map(|chunk| chunk.detail_bytes).sum();
                let oldest_ends = log.chunks.front().map(Chunk::end);
                let is_needed = oldest_ends > Some(covered.next());
                prop_assert!(bytes <= DETAIL_BYTES_MAX || is_needed, "{bytes}");
                if start > before && start > first {
                    prop_assert!(bytes + chunk_max > DETAIL_BYTES_MAX, "{bytes}");
                }
            }
            held(&log);
            let Range { start, end } = log.range();
            prop_assert_eq!(end, LogIndex(noted.len() as u64));
            let told = log.read(start..end).unwrap();
            prop_assert!(told == noted[usize::try_from(start.0).unwrap()..]);
            if let Some(before) = start.previous() {
                prop_assert!(log.read(before..end).is_none());
            }
        }
    }

    fn filled(entries: u64) -> EffectLog {
        let mut log = EffectLog::default();
        for index in 0..entries {
            let details = Effects::Several(vec![Detail::Own { at: 7, before: None }].into());
            let effects = if index % 100 == 0 { details } else { Effects::default() };
            log.push(LogIndex(index), Timestamp(index), effects);
        }
        log
    }

    #[test]
    fn whole_chunks_are_forgotten_once_neither_log_nor_manifest_needs_them() {
        let mut log = filled(5_000);
        // The log is purged further than the manifest reaches, and the other way round.
        drop(log.trim(LogIndex(1_023), LogIndex(4_000)));
        assert_eq!(log.range().start, LogIndex(1_024));
        drop(log.trim(LogIndex(4_999), LogIndex(3_071)));
        assert_eq!(log.range().start, LogIndex(2_048));
        assert_eq!(log.details.keys().next(), Some(&LogIndex(2_100)));
        assert_eq!(log.read(LogIndex(2_047)..LogIndex(2_050)), None);
        assert!(log.read(log.range()).is_some());
        drop(log.trim(LogIndex(4_999), LogIndex(5_000)));
        assert_eq!(log.range(), LogIndex(5_000)..LogIndex(5_000));
        assert!(log.details.is_empty());
    }

    #[test]
    fn an_entry_behind_the_manifest_is_never_forgotten() {
        let more = ENTRIES_MAX as u64 + 5_000;
        let log = filled(more);
        assert_eq!(log.range(), LogIndex(0)..LogIndex(more));
        let mut log = EffectLog::behind(LogIndex(3_000));
        for index in 3_001..more {
            log.push(LogIndex(index), Timestamp(index), Effects::default());
        }
        assert_eq!(log.range().start, LogIndex(3_001));
        drop(log.trim(LogIndex(more - 1), LogIndex(0)));
        for index in more..more + 2_000 {
            log.push(LogIndex(index), Timestamp(index), Effects::default());
        }
        let Range { start, end } = log.range();
        assert_eq!(end, LogIndex(more + 2_000));
        let known = usize::try_from(end.0 - start.0).unwrap();
        assert!((ENTRIES_MAX..=ENTRIES_MAX + CHUNK_ENTRIES).contains(&known), "{known}");
    }

    #[test]
    fn details_that_a_manifest_holds_stay_within_their_limit() {
        let effects = batch(10_000);
        let mut log = EffectLog::default();
        for index in 0..1_000 {
            log.push(LogIndex(index), Timestamp(index), effects.clone());
            drop(log.trim(LogIndex(index), LogIndex(0)));
            assert!(held(&log) <= DETAIL_BYTES_MAX, "{index}");
        }
        // As much as fits is told, and what does not is as unknown as what the log has lost.
        let entry = 10_000 * size_of::<Detail>() + PLACE_BYTES;
        assert!(held(&log) + CHUNK_DETAIL_BYTES + entry > DETAIL_BYTES_MAX);
        let Range { start, end } = log.range();
        assert_eq!(end, LogIndex(1_000));
        let told = log.read(start..end).unwrap();
        assert_eq!(told.len() as u64, end.0 - start.0);
        assert!(told.iter().all(|it| it.effects == effects));
        let before = start.previous().unwrap();
        assert!(log.read(before..end).is_none());
        assert_eq!(log.last_at(Timestamp(before.0)), None);
        assert_eq!(log.last_at(Timestamp(start.0)), Some((start, Timestamp(start.0))));
    }

    #[test]
    fn details_behind_the_manifest_stay_whatever_they_take() {
        let mut log = EffectLog::default();
        for index in 0..40 {
            log.push(LogIndex(index), Timestamp(index), batch(10_000));
        }
        // Two entries are a chunk.
        drop(log.trim(LogIndex(4), LogIndex(0)));
        assert_eq!(log.range(), LogIndex(4)..LogIndex(40));
        assert!(held(&log) > DETAIL_BYTES_MAX);
        assert!(log.read(log.range()).is_some());
        drop(log.trim(LogIndex(39), LogIndex(0)));
        assert!(log.range().start > LogIndex(4) && held(&log) <= DETAIL_BYTES_MAX);
    }

    #[test]
    fn an_entry_that_is_too_large_alone_goes_once_a_manifest_holds_it() {
        let mut log = filled(1);
        log.push(LogIndex(1), Timestamp(1), batch(1 << 18));
        log.push(LogIndex(2), Timestamp(2), Effects::default());
        assert!(held(&log) > DETAIL_BYTES_MAX);
        drop(log.trim(LogIndex(0), LogIndex(0)));
        assert_eq!(log.range(), LogIndex(0)..LogIndex(3));
        drop(log.trim(LogIndex(1), LogIndex(0)));
        assert_eq!(log.range(), LogIndex(2)..LogIndex(3));
        // Also where nothing follows it.
        log.push(LogIndex(3), Timestamp(3), batch(1 << 18));
        drop(log.trim(LogIndex(3), LogIndex(0)));
        assert_eq!(log.range(), LogIndex(4)..LogIndex(4));
        assert_eq!(held(&log), 0);
        log.push(LogIndex(4), Timestamp(4), batch(1));
        assert_eq!(log.read(LogIndex(4)..LogIndex(5)).unwrap().len(), 1);
    }

    #[test]
    fn keys_and_values_count_as_well() {
        let bytes = Bytes::from(vec![b'x'; 10_000]);
        let (key, value) = (bytes.clone(), Some(bytes));
        let row = Detail::Explicit { key, value, before: None };
        let effects = Effects::Several(vec![row; 5].into());
        let mut log = EffectLog::default();
        for index in 0..500 {
            log.push(LogIndex(index), Timestamp(index), effects.clone());
        }
        drop(log.trim(LogIndex(499), LogIndex(0)));
        let known = usize::try_from(log.range().end.0 - log.range().start.0).unwrap();
        assert!((150..DETAIL_BYTES_MAX / 100_000).contains(&known), "{known}");
    }

    #[test]
    fn an_entry_behind_a_gap_begins_anew() {
        let mut log = filled(150);
        log.push(LogIndex(152), Timestamp(7), Effects::default());
        assert_eq!(log.range(), LogIndex(152)..LogIndex(153));
        assert!(log.details.is_empty());
    }
}
