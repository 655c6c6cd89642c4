//! Opening a million small keys: after a kill, after a clean close, after a compaction. Then
//! whether memory and disk grow with the age of a directory.
//!
//! Not criterion: every sample is a process, a second long.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock and looks at files")]
#![expect(clippy::expect_used, reason = "a bench that cannot run says why and ends")]
#![expect(clippy::print_stdout, reason = "that is what it is for")]

#[path = "support/age.rs"]
mod age;
#[path = "support/child.rs"]
mod child;
#[path = "support/data.rs"]
mod data;
#[path = "support/opening.rs"]
mod opening;
#[path = "support/store.rs"]
mod store;
#[path = "support/system.rs"]
mod system;

fn main() {
    if opening::ran_as_child() || !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    opening::print_openings();
    println!("\n1,000 keys overwritten again and again:\n");
    age::print_growth();
}
