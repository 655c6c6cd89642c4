//! The bytes of a file, sector by sector. Sectors are shared between copies until one changes them.

use std::ops::Range;
use std::sync::Arc;

/// What the simulated device writes in one piece.
pub const SECTOR_BYTES: usize = 512;

/// Longest file of a simulated disk: the list of sectors of a file is kept in full.
pub const FILE_BYTES_MAX: u64 = 1 << 32;

static ZEROS: [u8; SECTOR_BYTES] = [0; SECTOR_BYTES];
static HOLE: Sector = Sector::Hole;

/// One sector of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Sector {
    /// Never written, no room taken.
    #[default]
    Hole,
    /// Never written, room taken.
    Reserved,
    /// Written.
    Data(Arc<[u8; SECTOR_BYTES]>),
}

impl Sector {
    pub(super) fn bytes(&self) -> &[u8; SECTOR_BYTES] {
        match self {
            Self::Hole | Self::Reserved => &ZEROS,
            Self::Data(bytes) => bytes,
        }
    }

    fn takes_room(&self) -> bool {
        !matches!(self, Self::Hole)
    }

    fn bytes_mut(&mut self) -> &mut [u8; SECTOR_BYTES] {
        if !matches!(self, Self::Data(_)) {
            *self = Self::Data(Arc::new(ZEROS));
        }
        match self {
            Self::Data(bytes) => Arc::make_mut(bytes),
            Self::Hole | Self::Reserved => unreachable!("made data above"),
        }
    }
}

/// The part of a byte range that lies in one sector.
pub(super) struct Span {
    /// Number of the sector in its file.
    pub(super) sector: usize,
    /// Where in the sector.
    pub(super) within: Range<usize>,
    /// Where in the range.
    pub(super) part: Range<usize>,
}

/// Takes `offset..offset + len` apart into sectors.
pub(super) fn spans(offset: u64, len: usize) -> impl Iterator<Item = Span> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let start = within_sector(at);
        let count = (SECTOR_BYTES - start).min(len - done);
        let span =
            Span { sector: sector_of(at), within: start..start + count, part: done..done + count };
        done += count;
        (count > 0).then_some(span)
    })
}

/// Which sector the byte at `offset` is in.
pub(super) fn sector_of(offset: u64) -> usize {
    usize::try_from(offset / SECTOR_BYTES as u64).unwrap_or(usize::MAX)
}

/// How many sectors a file of `len` bytes has.
fn sectors_for(len: u64) -> usize {
    usize::try_from(len.div_ceil(SECTOR_BYTES as u64)).unwrap_or(usize::MAX)
}

fn within_sector(offset: u64) -> usize {
    usize::try_from(offset % SECTOR_BYTES as u64).unwrap_or(0)
}

/// The bytes and the length of a file.
///
/// Invariant: bytes of `sectors` at or after `len` are zero, so that a file that grows reads as
/// zero there. Only between [`Content::put`] and the [`Content::set_len`] that follows may it be
/// otherwise.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    len: u64,
    /// Sectors after the last one here are holes.
    sectors: Vec<Sector>,
    /// How many of them are not.
    taken: usize,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn sector(&self, index: usize) -> &Sector {
        self.sectors.get(index).unwrap_or(&HOLE)
    }

    /// Changes a sector, which is made a hole where there is none yet.
    fn change(&mut self, index: usize, change: impl FnOnce(&mut Sector)) {
        if self.sectors.len() <= index {
            self.sectors.resize(index + 1, Sector::Hole);
        }
        if let Some(sector) = self.sectors.get_mut(index) {
            self.taken -= usize::from(sector.takes_room());
            change(sector);
            self.taken += usize::from(sector.takes_room());
        }
    }

    /// Replaces a whole sector; the length stays.
    pub(super) fn put(&mut self, index: usize, sector: Sector) {
        self.change(index, |place| *place = sector);
    }

    /// Reads what there is of `buf` at `offset`.
    #[expect(clippy::indexing_slicing, reason = "spans lie in the sector and in the range")]
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let there = self.len.saturating_sub(offset);
        let count = buf.len().min(usize::try_from(there).unwrap_or(usize::MAX));
        for span in spans(offset, count) {
            let bytes = self.sector(span.sector).bytes();
            buf[span.part].copy_from_slice(&bytes[span.within]);
        }
        count
    }

    /// Writes `data` at `offset`, growing the file where needed.
    #[expect(clippy::indexing_slicing, reason = "spans lie in the sector and in the range")]
    pub(super) fn write(&mut self, data: &[u8], offset: u64) {
        for span in spans(offset, data.len()) {
            self.change(span.sector, |sector| {
                sector.bytes_mut()[span.within].copy_from_slice(&data[span.part]);
            });
        }
        if !data.is_empty() {
            self.len = self.len.max(offset + data.len() as u64);
        }
    }

    /// Sets the length; what lay after it is gone.
    pub(super) fn set_len(&mut self, len: u64) {
        self.len = len;
        let gone = self.sectors.get(sectors_for(len)..).unwrap_or_default();
        self.taken -= gone.iter().filter(|sector| sector.takes_room()).count();
        self.sectors.truncate(sectors_for(len));
        let kept = within_sector(len);
        if kept > 0
            && let Some(last @ Sector::Data(_)) = self.sectors.get_mut(sector_of(len))
            && last.bytes().iter().skip(kept).any(|byte| *byte != 0)
        {
            last.bytes_mut().iter_mut().skip(kept).for_each(|byte| *byte = 0);
        }
    }

    /// Takes room for the holes in `offset..end`, growing the file where needed.
    pub(super) fn reserve(&mut self, offset: u64, end: u64) {
        for index in sector_of(offset)..sectors_for(end) {
            self.change(index, |sector| {
                if !sector.takes_room() {
                    *sector = Sector::Reserved;
                }
            });
        }
        self.len = self.len.max(end);
    }

    /// Takes the room that `other` has reserved.
    pub(super) fn reserve_as(&mut self, other: &Self) {
        for (index, sector) in other.sectors.iter().enumerate() {
            if *sector == Sector::Reserved && *self.sector(index) == Sector::Hole {
                self.put(index, Sector::Reserved);
            }
        }
    }

    /// Sectors from the one that holds byte `len` on that are not holes.
    pub(super) fn sectors_from(&self, len: u64) -> Range<usize> {
        sector_of(len)..self.sectors.len()
    }

    /// Room taken, in bytes.
    pub(super) fn used_bytes(&self) -> u64 {
        self.taken as u64 * SECTOR_BYTES as u64
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(0)];
        self.read(&mut bytes, 0);
        bytes
    }
}
