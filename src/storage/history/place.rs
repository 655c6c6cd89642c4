//! What a change file says of its blocks: where each stands and what it covers.

use std::ops::Range;

use crate::storage::format::{
    CHANGES_PLACE_BYTES, PROLOGUE_BYTES, TABLE_BLOCK_HEADER_BYTES, take_u32, take_u64,
};
use crate::types::{LogIndex, Timestamp};

/// The first and the last entry of something, and their stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: LogIndex,
    pub(super) last: LogIndex,
    pub(super) stamps: (Timestamp, Timestamp),
}

impl Span {
    fn is_ordered(&self) -> bool {
        self.first <= self.last && self.stamps.0 <= self.stamps.1
    }

    /// Whether `next` may stand behind this one: an entry may go on in the next block.
    fn precedes(&self, next: &Self) -> bool {
        self.last <= next.first && self.stamps.1 <= next.stamps.0
    }

    /// Whether `part` lies within this one.
    pub(super) fn contains(&self, part: &Self) -> bool {
        self.first <= part.first
            && part.last <= self.last
            && self.stamps.0 <= part.stamps.0
            && part.stamps.1 <= self.stamps.1
    }
}

/// One block of a change file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Where the block stands in the file.
    pub(super) block: Range<u64>,
    /// Where its filter does.
    pub(super) filter: Range<u64>,
    pub(super) filter_crc: u32,
    pub(super) span: Span,
}

/// Appends what the file says of a block.
pub(super) fn write(place: &Place, out: &mut Vec<u8>) {
    let Place { block, filter, filter_crc, span } = place;
    let (from, to) = span.stamps;
    for field in [block.end, span.first.0, span.last.0, from.0, to.0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    let filter_bytes = u32::try_from(filter.end - filter.start).unwrap_or(u32::MAX);
    out.extend_from_slice(&filter_bytes.to_le_bytes());
    out.extend_from_slice(&filter_crc.to_le_bytes());
}

/// Reads what [`write`] wrote for each block, of a file whose blocks end at `blocks_end` and whose
/// filters stand at `filters`. `None` when they are not one behind the other, or out of order.
pub(super) fn parse(bytes: &[u8], blocks_end: u64, filters: &Range<u64>) -> Option<Vec<Place>> {
    let (rows, rest) = bytes.as_chunks::<CHANGES_PLACE_BYTES>();
    rest.is_empty().then_some(())?;
    let mut places: Vec<Place> = Vec::with_capacity(rows.len());
    let (mut start, mut filter_start) = (PROLOGUE_BYTES as u64, filters.start);
    for row in rows {
        let field = |at| take_u64(row, at);
        let span = Span {
            first: LogIndex(field(8)?),
            last: LogIndex(field(16)?),
            stamps: (Timestamp(field(24)?), Timestamp(field(32)?)),
        };
        let end = field(0)?;
        let filter_end = filter_start.checked_add(u64::from(take_u32(row, 40)?))?;
        let is_long_enough = start.checked_add(TABLE_BLOCK_HEADER_BYTES as u64)? < end;
        let follows = places.last().is_none_or(|before| before.span.precedes(&span));
        (is_long_enough && span.is_ordered() && follows).then_some(())?;
        let filter_crc = take_u32(row, 44)?;
        places.push(Place {
            block: start..end,
            filter: filter_start..filter_end,
            filter_crc,
            span,
        });
        (start, filter_start) = (end, filter_end);
    }
    (start == blocks_end && filter_start == filters.end).then_some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Vec<Place> {
        let span = |first, last| Span {
            first: LogIndex(first),
            last: LogIndex(last),
            stamps: (Timestamp(first), Timestamp(last)),
        };
        vec![
            Place { block: 40..100, filter: 300..332, filter_crc: 1, span: span(3, 5) },
            Place { block: 100..200, filter: 332..396, filter_crc: 2, span: span(5, 5) },
            Place { block: 200..204, filter: 396..428, filter_crc: 3, span: span(5, 9) },
        ]
    }

    fn bytes(places: &[Place]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for place in places {
            write(place, &mut bytes);
        }
        bytes
    }

    #[test]
    fn places_read_back() {
        let mut places = places();
        places[2].block.end = 230;
        let written = bytes(&places);
        assert_eq!(parse(&written, 230, &(300..428)), Some(places));
        assert_eq!(parse(&written, 231, &(300..428)), None);
        assert_eq!(parse(&written, 230, &(300..429)), None);
        assert_eq!(parse(&written[1..], 230, &(300..428)), None);
        assert_eq!(parse(&[], 40, &(40..40)), Some(Vec::new()));
    }

    #[test]
    fn places_that_make_no_sense_are_refused() {
        let check = |change: fn(&mut Vec<Place>)| {
            let mut places = places();
            places[2].block.end = 230;
            change(&mut places);
            let (end, filters) = (places[2].block.end, 300..places[2].filter.end);
            parse(&bytes(&places), end, &filters).is_some()
        };
        assert!(check(|_| ()));
        assert!(!check(|places| places[2].block.end = 204), "a block shorter than its header");
        assert!(!check(|places| places[1].span.first = LogIndex(4)));
        assert!(!check(|places| places[0].span.last = LogIndex(2)));
        assert!(!check(|places| places[1].span.stamps.0 = Timestamp(4)));
        assert!(!check(|places| places[1].block.end = u64::MAX));
    }
}
