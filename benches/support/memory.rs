//! What this machine's memory does when nobody has touched it for a while.
//!
//! A virtual machine may be slow to touch its own memory again, because its host takes the way to
//! it away meanwhile. Every figure here has a part of that.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// What is touched, a byte a page.
const BYTES: usize = 64 << 20;
const PAGE_BYTES: usize = 4096;
const PAUSES: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(500)];
/// Beyond any wait for memory that is there.
const SLOW: Duration = Duration::from_micros(20);

/// Touches the same pages after pauses and prints how long that takes.
pub(crate) fn print_pauses() {
    let memory = vec![1u8; BYTES];
    // The first time is for the system to find the pages.
    touch(&memory);
    for pause in PAUSES {
        touch(&memory);
        std::thread::sleep(pause);
        let (time, slow) = touch(&memory);
        println!(
            "* reading a byte of each of {} pages again after {} ms: {:.1} ms, {slow} of them \
             slower than {} us",
            BYTES / PAGE_BYTES,
            pause.as_millis(),
            time.as_secs_f64() * 1e3,
            SLOW.as_micros(),
        );
    }
}

/// How long it takes to read a byte of each page, and how many pages were slow.
fn touch(memory: &[u8]) -> (Duration, usize) {
    let mut slow = 0;
    let started = Instant::now();
    for page in memory.chunks(PAGE_BYTES) {
        let touched = Instant::now();
        black_box(page.first().copied());
        slow += usize::from(touched.elapsed() > SLOW);
    }
    (started.elapsed(), slow)
}
