//! Whether memory and disk grow with the age of a directory: few keys, overwritten many times.

use hightower_kv::KvEngine;
use hightower_kv::state::Durability;

use crate::data::Shape;
use crate::store::{open, scratch};
use crate::system::{bytes_below, status_kib};

/// What is overwritten, how often in all.
const SHAPE: Shape = Shape { rows: 1_000, key: 16, value: 64 };
const PUTS: usize = 2_000_000;
const QUARTERS: usize = 4;
const ROUNDS_BETWEEN_LOOKS: u64 = 10;

/// Overwrites and prints, at every quarter, what the process holds and the most that the directory
/// held.
pub(crate) fn print_growth() {
    let directory = scratch();
    let store = open(directory.path(), Durability::Buffered);
    let rows = SHAPE.rows();
    println!("| puts | resident, MiB | directory at most, MiB |\n|--:|--:|--:|");
    let mut rounds = 0u64;
    for quarter in 1..=QUARTERS {
        let mut most = 0;
        for _ in 0..PUTS / SHAPE.rows / QUARTERS {
            rounds += 1;
            for (key, value) in &rows {
                let mut value = value.clone();
                // Another value each time: setting the one that is there would change nothing.
                value.splice(..8, rounds.to_le_bytes());
                store.put(key.clone(), value).expect("a put");
            }
            // The log shrinks by whole files, so any one moment may be a high or a low.
            if rounds.is_multiple_of(ROUNDS_BETWEEN_LOOKS) {
                most = most.max(bytes_below(directory.path()));
            }
        }
        let resident = status_kib("VmRSS") / 1024;
        println!("| {} | {resident} | {} |", PUTS / QUARTERS * quarter, most >> 20);
    }
}
