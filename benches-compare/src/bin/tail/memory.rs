//! How many bytes are allocated: the system's allocator, which counts while it is asked to.
#![expect(unsafe_code, reason = "an allocator is unsafe to implement; it hands everything on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Off while times are taken, so that they are not those of counting.
static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_COUNTING.load(Ordering::Relaxed) {
            ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        }
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if IS_COUNTING.load(Ordering::Relaxed) {
            ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        }
        // SAFETY: the caller's.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Bytes that `make` allocates and does not free; what it makes is dropped afterwards.
pub(crate) fn bytes_of<T>(make: impl FnOnce() -> T) -> usize {
    ALLOCATED.store(0, Ordering::Relaxed);
    IS_COUNTING.store(true, Ordering::Relaxed);
    let result = make();
    IS_COUNTING.store(false, Ordering::Relaxed);
    let bytes = ALLOCATED.load(Ordering::Relaxed);
    drop(result);
    bytes
}
