//! A place in the rows of a state, which moves over tail and tables together.

use std::hint::black_box;
use std::ops::Bound;
use std::slice;

use bytes::Bytes;

use super::below::{Above, Below};
use super::gaps::{GAP_GROWS_ROWS_MIN, GAP_ROWS_MIN, Gap, Gaps};
use super::tail::Tail;
use super::value::Value;
use crate::storage::error::StorageError;
use crate::storage::index::Range;
use crate::storage::merge_cursor::{MergeCursor, Nearby, RowCursor};
use crate::storage::prefix_index::as_slice;
use crate::storage::record::{Direction, Record};
use crate::storage::run::RunCursor;
use crate::storage::table::RowRef;
use crate::storage::table_set::TableSet;
use crate::types::{Timestamp, Version};

/// A state of fewer rows, all of them in memory, is in the processor's caches anyway: asking for
/// what comes next takes 3 ns a row there, and saves a fifth of the first scan of larger ones.
const ASKED_FOR_ROWS_MIN: usize = 20_000;

/// A row of a state, where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// The log index of the entry that wrote it.
    pub version: Version,
    /// The stamp of that entry.
    pub timestamp: Timestamp,
}

/// Rows of a state one after the other, each lent until the next is asked for: nothing is copied,
/// allocated or counted for a row, which makes it the fastest way through many.
///
/// ```
/// # use hightower_kv::{KvEngine, SingleNodeEngine};
/// # let directory = tempfile::tempdir().unwrap();
/// # let engine = SingleNodeEngine::open(directory.path().join("data"))?;
/// engine.put(b"user:1".to_vec(), b"ann".to_vec())?;
/// let bytes = engine.read_with(|view| {
///     let mut bytes = 0;
///     let mut rows = view.cursor_prefix(b"user:")?;
///     while let Some(row) = rows.next()? {
///         bytes += row.value.len();
///     }
///     Ok::<_, hightower_kv::Error>(bytes)
/// })?;
/// assert_eq!(bytes, 3);
/// # Ok::<(), hightower_kv::Error>(())
/// ```
#[derive(Debug)]
pub struct Cursor<'a> {
    rows: Rows<'a>,
    /// Whether the row here was given.
    given: bool,
    way: Way<'a>,
}

/// What a cursor goes over, and where gaps are looked for.
#[derive(Debug)]
struct Way<'a> {
    layers: Layers<'a>,
    direction: Direction,
    /// Where it began; of no use, and `Unbounded`, where no gaps are looked for.
    start: Bound<Bytes>,
    end: Bound<Bytes>,
    /// Whether that was before or in a gap, which it left out.
    began_at_gap: bool,
}

/// Whether no key can lie within the bounds.
pub(super) fn is_empty(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        _ => false,
    }
}

/// As [`is_empty`], of bounds of which the first lies against the direction.
fn is_over(start: Bound<&[u8]>, end: &Bound<Bytes>, direction: Direction) -> bool {
    match direction {
        Direction::Forward => is_empty(start, as_slice(end)),
        Direction::Backward => is_empty(as_slice(end), start),
    }
}

/// Rows without values, one after the other, that a cursor goes over.
#[derive(Debug, Default)]
struct Removed {
    /// How many since it last went on behind a gap.
    rows: usize,
    /// How often it did.
    gaps: usize,
    /// How many rows it was spared so.
    spared: usize,
    /// The first key of the stretch that is known to be one of it; `None`: all from where the
    /// cursor began are.
    near: Option<Bytes>,
}

/// The merged rows. Where there is one source, which is so of a state without tables and after a
/// compaction, there is nothing to merge.
#[derive(Debug)]
enum Rows<'a> {
    One(Source<'a>),
    Merged(MergeCursor<Source<'a>>),
    /// Merged, some of them below cuts. It stands apart from the others, which every scan goes
    /// through: with a third kind of source a scan in memory took a third longer.
    Below(Box<MergeCursor<Below<'a, Source<'a>>>>),
    /// What could not be read. Without it, older records of its keys would be shown.
    Failed(StorageError),
}

/// What a state is made of, newest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layers<'a> {
    pub(super) tail: &'a Tail,
    pub(super) frozen: &'a Tail,
    pub(super) base: &'a TableSet,
    /// Stretches to leave out; `None`: each row is looked at.
    pub(super) gaps: Option<&'a Gaps>,
}

impl<'a> Layers<'a> {
    /// The rows of one in memory between two bounds, of which the first is the one that lies
    /// against the direction.
    fn tree(
        &self,
        layer: &'a Tail,
        (start, end): (Bound<&[u8]>, &Bound<Bytes>),
        direction: Direction,
    ) -> Source<'a> {
        let range = layer.rows().range(match direction {
            Direction::Forward => (start, as_slice(end)),
            Direction::Backward => (as_slice(end), start),
        });
        let rows = self.tail.rows().len() + self.frozen.rows().len();
        let asks = !self.base.is_empty() || rows >= ASKED_FOR_ROWS_MIN;
        Source::Tree(TreeCursor::new(range, direction, asks))
    }
}

/// Rows of one layer.
#[derive(Debug)]
enum Source<'a> {
    Tree(TreeCursor<'a>),
    Run(RunCursor),
}

/// A place in a tree in memory.
#[derive(Debug)]
struct TreeCursor<'a> {
    /// Rows of the leaves behind the one it is in.
    range: Range<'a, Record>,
    direction: Direction,
    /// Whether the rows of a leaf are asked for when it is entered.
    asks: bool,
    /// Rows of its leaf that are still to come, so that most steps look no further.
    rest: slice::Iter<'a, (Bytes, Record)>,
    here: Option<&'a (Bytes, Record)>,
}

impl<'a> TreeCursor<'a> {
    fn new(range: Range<'a, Record>, direction: Direction, asks: bool) -> Self {
        let mut cursor = Self { range, direction, asks, rest: [].iter(), here: None };
        cursor.step();
        cursor
    }

    #[inline]
    fn step(&mut self) {
        self.here = self.next_here().or_else(|| self.enter());
    }

    #[inline]
    fn next_here(&mut self) -> Option<&'a (Bytes, Record)> {
        match self.direction {
            Direction::Forward => self.rest.next(),
            Direction::Backward => self.rest.next_back(),
        }
    }

    /// Goes to the next leaf and the first row there.
    #[cold]
    fn enter(&mut self) -> Option<&'a (Bytes, Record)> {
        let rows = match self.direction {
            Direction::Forward => self.range.next_rows(),
            Direction::Backward => self.range.next_rows_back(),
        };
        if self.asks {
            ask_for_all(rows);
        }
        self.rest = rows.iter();
        self.next_here()
    }
}

/// Looks at both ends of each key and each value. They are wherever whoever put them had them: all
/// are asked for at the same time, instead of one after the other as the rows come.
#[inline]
fn ask_for_all(rows: &[(Bytes, Record)]) {
    let ends = |bytes: &[u8]| bytes.first().copied().zip(bytes.last().copied());
    let looked = rows
        .iter()
        .flat_map(|(key, Record { value, .. })| [ends(key), value.as_deref().and_then(ends)]);
    black_box(looked.flatten().fold(0_u8, |all, (first, last)| all | first | last));
}

impl RowCursor for TreeCursor<'_> {
    #[inline]
    fn row(&self) -> Option<RowRef<'_>> {
        let (key, record) = self.here?;
        let Record { ref value, version, timestamp } = *record;
        Some(RowRef { key, value: value.as_deref(), version, timestamp })
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        self.here.map(|(key, _)| key.as_ref())
    }

    #[inline]
    fn has_value(&self) -> Option<bool> {
        self.here.map(|(_, record)| !record.is_tombstone())
    }

    fn shared_row(&self) -> Option<(Bytes, Record)> {
        self.here.map(|(key, record)| (key.clone(), record.clone()))
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        self.step();
        Ok(())
    }

    #[inline]
    fn advance_nearby(&mut self) -> Option<Nearby> {
        let next @ (key, record) = self.next_here()?;
        self.here = Some(next);
        Some(Nearby::new(key, !record.is_tombstone()))
    }
}

impl RowCursor for Source<'_> {
    #[inline]
    fn row(&self) -> Option<RowRef<'_>> {
        match self {
            Self::Tree(cursor) => cursor.row(),
            Self::Run(cursor) => cursor.row(),
        }
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Tree(cursor) => cursor.key(),
            Self::Run(cursor) => cursor.key(),
        }
    }

    #[inline]
    fn has_value(&self) -> Option<bool> {
        match self {
            Self::Tree(cursor) => cursor.has_value(),
            Self::Run(cursor) => cursor.has_value(),
        }
    }

    fn shared_row(&self) -> Option<(Bytes, Record)> {
        match self {
            Self::Tree(cursor) => cursor.shared_row(),
            Self::Run(cursor) => cursor.shared_row(),
        }
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        match self {
            Self::Tree(cursor) => cursor.advance(),
            Self::Run(cursor) => cursor.advance(),
        }
    }

    #[inline]
    fn advance_nearby(&mut self) -> Option<Nearby> {
        match self {
            Self::Tree(cursor) => cursor.advance_nearby(),
            Self::Run(cursor) => RowCursor::advance_nearby(cursor),
        }
    }
}

impl Removed {
    /// Goes on behind a gap.
    fn enter(&mut self, gap: &Gap) {
        self.gaps += 1;
        self.spared += gap.rows() + std::mem::take(&mut self.rows);
    }

    /// Whether later scans gain something. Two gaps with a few rows between them become one.
    const fn is_worth_telling(&self, are_at_gap: bool) -> bool {
        let rows_min = if are_at_gap { GAP_GROWS_ROWS_MIN } else { GAP_ROWS_MIN };
        self.rows >= rows_min || self.gaps >= 2
    }
}

impl<'a> Rows<'a> {
    /// Those between two bounds, of which the first is the one that lies against the direction.
    fn between(
        layers: Layers<'a>,
        (start, end): (Bound<&[u8]>, &Bound<Bytes>),
        direction: Direction,
    ) -> Result<Self, StorageError> {
        let Layers { tail, frozen, base, .. } = layers;
        if !(tail.cuts().is_empty() && frozen.cuts().is_empty()) {
            return Self::below_cuts(layers, (start, end), direction);
        }
        let runs = base.cursors_until(direction, start, end)?;
        let mut sources = Vec::with_capacity(runs.len() + 2);
        for layer in [tail, frozen].into_iter().filter(|layer| !layer.rows().is_empty()) {
            sources.push(layers.tree(layer, (start, end), direction));
        }
        sources.extend(runs.into_iter().map(Source::Run));
        // Many a source has no row within the bounds; that of a small tail, most of all.
        sources.retain(|source| source.key().is_some());
        Ok(match sources.pop() {
            Some(mut only) if sources.is_empty() => {
                if let Source::Run(run) = &mut only {
                    run.go_alone();
                }
                Rows::One(only)
            }
            last => {
                sources.extend(last);
                Rows::Merged(MergeCursor::new(sources, direction)?)
            }
        })
    }

    /// As [`Self::between`], where there are cuts.
    #[cold]
    fn below_cuts(
        layers: Layers<'a>,
        (start, end): (Bound<&[u8]>, &Bound<Bytes>),
        direction: Direction,
    ) -> Result<Self, StorageError> {
        let Layers { tail, frozen, base, gaps } = layers;
        // Who looks at each row looks at hidden ones, too.
        let start_below = |above: Above<'a>| match gaps {
            Some(_) => above.start(start, direction).filter(|&it| !is_over(it, end, direction)),
            None => Some(start),
        };
        let mut sources = Vec::with_capacity(base.runs().len() + 2);
        for (layer, above) in [(tail, Above::default()), (frozen, Above::new([tail.cuts()]))] {
            if let Some(start) = start_below(above) {
                let rows = layers.tree(layer, (start, end), direction);
                sources.push(Below::new(rows, above));
            }
        }
        let above = Above::new([tail.cuts(), frozen.cuts()]);
        if let Some(start) = start_below(above) {
            let runs = base.cursors_until(direction, start, end)?;
            sources.extend(runs.into_iter().map(|run| Below::new(Source::Run(run), above)));
        }
        sources.retain(|source| source.key().is_some());
        Ok(Self::Below(Box::new(MergeCursor::new(sources, direction)?)))
    }

    /// Those behind a gap, up to a bound.
    fn behind(
        gap: &Gap,
        layers: Layers<'a>,
        end: &Bound<Bytes>,
        direction: Direction,
    ) -> Result<Self, StorageError> {
        match gap.beyond(direction).filter(|&start| !is_over(start, end, direction)) {
            Some(start) => Self::between(layers, (start, end), direction),
            // Nothing is read that does not lie within the bounds.
            None => Ok(Self::Merged(MergeCursor::new(Vec::new(), direction)?)),
        }
    }

    /// The source of the row here, which may be hidden; one that is on no row behind the last one.
    #[inline]
    fn source(&self) -> Option<&Source<'a>> {
        match self {
            Self::One(only) => Some(only),
            Self::Merged(merge) => merge.lead(),
            Self::Below(merge) => merge.lead().map(Below::rows),
            Self::Failed(_) => None,
        }
    }

    /// Whether the row here has a value that counts; `None` behind the last one.
    #[inline]
    fn has_value(&self) -> Option<bool> {
        match self {
            Self::Below(merge) => merge.has_value(),
            rows => rows.source().and_then(RowCursor::has_value),
        }
    }

    /// Whether a cut hides the row here.
    fn is_hidden(&self) -> bool {
        match self {
            Self::Below(merge) => merge.lead().is_some_and(Below::is_hidden),
            _ => false,
        }
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        let moved = match self {
            Self::One(cursor) => cursor.advance(),
            Self::Merged(cursor) => cursor.advance(),
            Self::Below(cursor) => cursor.advance(),
            Self::Failed(error) => Err(error.clone()),
        };
        moved.inspect_err(|error| *self = Self::Failed(error.clone()))
    }

    /// As [`RowCursor::advance_nearby`]; whether the row has a value.
    #[inline]
    fn advance_nearby(&mut self) -> Option<bool> {
        let near = match self {
            Self::One(cursor) => cursor.advance_nearby(),
            Self::Merged(cursor) => cursor.advance_nearby(),
            Self::Below(_) | Self::Failed(_) => None,
        };
        near.map(|near| near.has_value)
    }
}

impl<'a> Cursor<'a> {
    /// Stands before the first row within the bounds that lies in `direction`.
    pub(super) fn new(
        layers: Layers<'a>,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
    ) -> Result<Self, StorageError> {
        let (start, end) = match direction {
            Direction::Forward => (from, to),
            Direction::Backward => (to, from),
        };
        let end = end.map(Bytes::copy_from_slice);
        // A state that is all in the tail has no tombstones.
        let gaps = layers.gaps.filter(|_| !(layers.base.is_empty() && layers.frozen.is_empty()));
        let layers = Layers { gaps, ..layers };
        let known = gaps.and_then(|gaps| gaps.at(start, direction));
        let rows = match known {
            Some(gap) => Rows::behind(gap, layers, &end, direction)?,
            None => Rows::between(layers, (start, &end), direction)?,
        };
        let start =
            if gaps.is_some() { start.map(Bytes::copy_from_slice) } else { Bound::Unbounded };
        let way = Way { layers, direction, start, end, began_at_gap: known.is_some() };
        Ok(Self { rows, given: false, way })
    }

    /// Goes to the next row that is there.
    #[inline]
    fn step(&mut self) -> Result<bool, StorageError> {
        let near = if self.given { self.rows.advance_nearby() } else { None };
        if near == Some(true) { Ok(true) } else { self.step_further(near) }
    }

    /// As [`Self::step`], which has not come to a row with a value nearby.
    fn step_further(&mut self, near: Option<bool>) -> Result<bool, StorageError> {
        if self.given && near.is_none() {
            self.rows.advance()?;
        }
        let mut removed = Removed::default();
        let is_first = !std::mem::replace(&mut self.given, true);
        loop {
            match self.rows.has_value() {
                Some(false) => {
                    removed.rows += 1;
                    if removed.rows.is_multiple_of(GAP_ROWS_MIN)
                        && self.leave_out(&mut removed, is_first)?
                    {
                        continue;
                    }
                    if self.rows.advance_nearby().is_none() {
                        self.rows.advance()?;
                    }
                }
                found => {
                    if removed.is_worth_telling(is_first && self.way.began_at_gap) {
                        self.tell(&removed);
                    }
                    return Ok(found.is_some());
                }
            }
        }
    }

    /// Where many rows were removed: goes on behind the gap that this one is in, or, in layers that
    /// a cut hides, behind that; false where neither is known.
    #[cold]
    fn leave_out(&mut self, removed: &mut Removed, is_first: bool) -> Result<bool, StorageError> {
        let Way { layers, direction, ref end, .. } = self.way;
        let (Some(gaps), Some(key)) = (layers.gaps, self.rows.source().and_then(RowCursor::key))
        else {
            return Ok(false);
        };
        if removed.near.is_none() && !is_first {
            removed.near = Some(Bytes::copy_from_slice(key));
        }
        let here = Bound::Included(key);
        let further = match gaps.at(here, direction) {
            Some(gap) => {
                removed.enter(gap);
                Rows::behind(gap, layers, end, direction)
            }
            None if self.rows.is_hidden() => Rows::between(layers, (here, end), direction),
            None => return Ok(false),
        };
        match further {
            Ok(rows) => self.rows = rows,
            Err(error) => {
                self.rows = Rows::Failed(error.clone());
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Tells later scans of what this one has gone over. It is on the row behind it, or behind the
    /// last one.
    #[cold]
    fn tell(&self, removed: &Removed) {
        let Way { layers, direction, ref start, ref end, began_at_gap: _ } = self.way;
        let Some(gaps) = layers.gaps else { return };
        let near = removed.near.as_deref().map_or(as_slice(start), Bound::Included);
        let far = match self.rows.source().and_then(RowCursor::key) {
            Some(key) => Bound::Excluded(key),
            None => as_slice(end),
        };
        let rows = removed.rows + removed.spared;
        gaps.tell(match direction {
            Direction::Forward => Gap::between(near, far, rows),
            Direction::Backward => Gap::between(far, near, rows),
        });
    }

    /// The next row; `None` when all were given.
    ///
    /// Not an [`Iterator`]: the row is lent until the next call.
    ///
    /// # Errors
    /// `Corrupt`, `Io` when a table cannot be read; from then on always.
    #[expect(clippy::should_implement_trait, reason = "an Iterator cannot lend its items")]
    #[expect(
        clippy::inline_always,
        reason = "what the caller does not look at is not made, which is a tenth of a scan"
    )]
    #[inline(always)]
    pub fn next(&mut self) -> Result<Option<Row<'_>>, StorageError> {
        if !self.step()? {
            return Ok(None);
        }
        Ok(self.rows.source().and_then(|source| {
            let RowRef { key, value, version, timestamp } = source.row()?;
            Some(Row { key, value: value?, version, timestamp })
        }))
    }

    /// The key of the row that was given last.
    pub(super) fn key_given(&self) -> Option<&[u8]> {
        if self.given { self.rows.source()?.key() } else { None }
    }

    /// As [`Self::next`], sharing the buffers of the row.
    pub(super) fn next_shared(&mut self) -> Result<Option<(Bytes, Value)>, StorageError> {
        if !self.step()? {
            return Ok(None);
        }
        let row = self.rows.source().and_then(RowCursor::shared_row);
        Ok(row.and_then(|(key, record)| Some((key, Value::from(record.value?)))))
    }
}
