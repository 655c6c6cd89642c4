//! Memory that is filled once, handed out as bytes that never change, and read at random.
//!
//! The processor finds the address of a page of 4 KiB in its own tables for some thousand pages
//! only; beyond them each look waits for memory once or twice more. So a long piece is asked for in
//! pages of 2 MiB, where the operating system has them and is asked (`madvise`, Linux).

use bytes::Bytes;
use memmap2::MmapMut;

/// Length of a large page. A piece as long is a mapping of its own: what is not written over takes
/// no room, and all of it is given back as soon as it is dropped.
const LARGE_PAGE_BYTES: usize = 2 << 20;
/// Length of the smallest pages there are.
const PAGE_BYTES: usize = 4 << 10;

/// Zeros, to be written over.
pub(super) enum Memory {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

impl Memory {
    /// So many zeros, of which at least `used` will be written over. `None` when memory is out.
    pub(super) fn zeroed(len: usize, used: usize) -> Option<Self> {
        if len < LARGE_PAGE_BYTES {
            return Some(Self::Heap(vec![0; len]));
        }
        let map = MmapMut::map_anon(len).ok()?;
        // Not for the end, where most of a large page might never be used.
        ask_for_large_pages(&map, used.min(len) / LARGE_PAGE_BYTES * LARGE_PAGE_BYTES);
        Some(Self::Mapped(map))
    }

    /// Writes to each page, for who is going to read before writing. A page that is read first is
    /// one of zeros, which all share; the write behind it maps another in its place, for which each
    /// processor that runs a thread of this process is interrupted.
    pub(super) fn touch(&mut self) {
        self.bytes().iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 0);
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }

    /// The bytes, from now on shared.
    pub(super) fn freeze(self) -> Bytes {
        match self {
            Self::Heap(bytes) => bytes.into(),
            Self::Mapped(map) => Bytes::from_owner(map),
        }
    }
}

/// A wish: without large pages reading is slower, and nothing else is different.
#[cfg(target_os = "linux")]
fn ask_for_large_pages(map: &MmapMut, len: usize) {
    if len > 0 {
        let _ = map.advise_range(memmap2::Advice::HugePage, 0, len);
    }
}

#[cfg(not(target_os = "linux"))]
const fn ask_for_large_pages(_map: &MmapMut, _len: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read_and_the_rest_is_zero() {
        for len in [0, 1, 4096, LARGE_PAGE_BYTES - 1, LARGE_PAGE_BYTES, 5 << 20] {
            for used in [0, len, len / 2, LARGE_PAGE_BYTES, usize::MAX] {
                let mut memory = Memory::zeroed(len, used).unwrap();
                assert_eq!(memory.bytes().len(), len);
                // On the heap, what is never used would not be given back.
                assert_eq!(matches!(memory, Memory::Mapped(_)), len >= LARGE_PAGE_BYTES);
                memory.touch();
                let last = len.saturating_sub(3);
                memory.bytes()[last..].fill(7);
                let bytes = memory.freeze();
                assert!(bytes[..last].iter().all(|byte| *byte == 0), "{len}");
                assert!(bytes[last..].iter().all(|byte| *byte == 7), "{len}");
            }
        }
    }

    #[test]
    fn more_than_there_can_be_is_refused() {
        for used in [0, usize::MAX] {
            assert!(Memory::zeroed(usize::MAX / 2, used).is_none());
        }
    }
}
