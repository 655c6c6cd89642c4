//! What authentication costs, beside bare loops, with the goals of its design:
//! `cargo bench --bench auth`. Prints tables; 2 minutes.
//!
//! Not criterion: what is compared takes turns within each round, so that whatever else the machine
//! does meanwhile befalls both.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock and looks at files")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot run says why and ends"
)]
#![expect(clippy::indexing_slicing, reason = "a list of times is not empty")]
#![expect(clippy::print_stdout, reason = "that is what it is for")]

#[path = "support/auth_checks.rs"]
mod auth_checks;
#[path = "support/auth_load.rs"]
mod auth_load;
#[path = "support/auth_logins.rs"]
mod auth_logins;
#[path = "support/random.rs"]
mod random;
#[path = "support/store.rs"]
mod store;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hightower_kv::state::Durability;
use hightower_kv::{AesGcmEncryptor, Argon2SecretHasher, AuthService, SingleNodeEngine};

const PASSWORD: &str = "a-password-to-measure";

type Auth = AuthService<Arc<SingleNodeEngine>, Argon2SecretHasher, AesGcmEncryptor>;

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores, one node, Argon2id with 19 MiB and three passes\n");
    println!("| row | p50 | p99 | goal | |");
    println!("|---|--:|--:|---|---|");
    auth_logins::print();
    auth_checks::print();
    println!();
    auth_load::print();
}

fn open(directory: &Path, durability: Durability) -> (Arc<SingleNodeEngine>, Auth) {
    store::open(directory, durability).into_argon2_hasher_aes_gcm_auth_service([7; 32])
}

/// The time that so many of a hundred took at most.
fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn reached(is_reached: bool) -> &'static str {
    if is_reached { "reached" } else { "MISSED" }
}

/// One line: times in microseconds, and what they should be.
fn row(name: &str, times: &mut [Duration], goal: &str, is_reached: impl Fn(f64, f64) -> bool) {
    let (p50, p99) = (micros(percentile(times, 50)), micros(percentile(times, 99)));
    let told = if goal.is_empty() { "" } else { reached(is_reached(p50, p99)) };
    println!("| {name} | {p50:.2} us | {p99:.2} us | {goal} | {told} |");
}
