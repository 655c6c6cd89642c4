//! Memory that is filled once, handed out as bytes that never change, and read at random.
//!
//! The processor finds the address of a page of 4 KiB in its own tables for some thousand pages
//! only; beyond them each look waits for memory once or twice more. So a long piece is asked for in
//! pages of 2 MiB, where the operating system has them and is asked (`madvise`, Linux).

use bytes::Bytes;
use memmap2::MmapMut;

/// Length of a large page. A piece that has one is a mapping of its own, which is given back as
/// soon as it is dropped.
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Zeros, to be written over.
pub(super) enum Memory {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

impl Memory {
    /// So many zeros, of which at least `used` will be written over. Of a mapping the others take
    /// no room. `None` when there is none.
    pub(super) fn zeroed(len: usize, used: usize) -> Option<Self> {
        let large = used.min(len) / LARGE_PAGE_BYTES * LARGE_PAGE_BYTES;
        if large == 0 {
            return Some(Self::Heap(vec![0; len]));
        }
        let map = MmapMut::map_anon(len).ok()?;
        // A wish: without large pages reading is slower, and nothing else is different. Not for the
        // end, where most of one might never be used.
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(memmap2::Advice::HugePage, 0, large);
        Some(Self::Mapped(map))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read_and_the_rest_is_zero() {
        for len in [0, 1, 4096, LARGE_PAGE_BYTES - 1, LARGE_PAGE_BYTES, 5 << 20] {
            for used in [0, len, len / 2, LARGE_PAGE_BYTES, usize::MAX] {
                let mut memory = Memory::zeroed(len, used).unwrap();
                assert_eq!(memory.bytes().len(), len);
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
        assert!(Memory::zeroed(usize::MAX / 2, usize::MAX).is_none());
    }
}
