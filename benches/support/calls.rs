//! What a call of the kernel costs beside itself.
//!
//! The processor guesses where functions return to, from what it remembers of their calls. The
//! kernel's own calls push that out: so each function that lies between a write call and whoever
//! wanted it is returned from by a wrong guess.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use crate::store::scratch;

/// Bytes of a write call, about those of a small put.
const BYTES: usize = 128;
const CALLS: u64 = 4096;
const REPETITIONS: usize = 41;
/// How many functions lie between the loop and the call, besides one.
const FUNCTIONS: usize = 16;

/// Prints how long a write call takes, directly and below some functions.
pub(crate) fn print_depths() {
    let directory = scratch();
    let file = File::create(directory.path().join("calls")).expect("a file");
    let [direct, below, alone] = [(0, Some(&file)), (FUNCTIONS, Some(&file)), (FUNCTIONS, None)]
        .map(|(functions, file)| nanos_of(functions, file));
    println!(
        "* a write call of {BYTES} bytes: {direct:.0} ns, through {FUNCTIONS} functions more \
         {below:.0} ns; these alone: {alone:.0} ns",
    );
}

/// How long such a call takes, the median of many loops.
fn nanos_of(functions: usize, file: Option<&File>) -> f64 {
    let bytes = [7; BYTES];
    let mut times = [0.0; REPETITIONS];
    for time in &mut times {
        let started = Instant::now();
        for at in 0..CALLS {
            call(functions, file, &bytes, at * BYTES as u64);
        }
        *time = started.elapsed().as_secs_f64() * 1e9 / CALLS as f64;
    }
    times.sort_by(f64::total_cmp);
    times[REPETITIONS / 2]
}

/// Writes, so many functions further down, if there is a file to write to.
#[inline(never)]
fn call(functions: usize, file: Option<&File>, bytes: &[u8], at: u64) -> u64 {
    if functions == 0 {
        file.map_or(Ok(()), |file| file.write_all_at(bytes, at)).expect("a write");
        return 0;
    }
    // Something is left to do behind the call, so that it is one.
    black_box(call(functions - 1, file, bytes, at)) + 1
}
