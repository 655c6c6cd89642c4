//! The helper that the README shows, word for word.
//!
//! `cargo run --release --example auth_helper`. It makes a store `auth-data` where it is started,
//! and wants to find none there.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "an example shows what it does")]

// Not a module: nothing may be laid out in another way than the README does.
include!("readme.rs");

fn main() -> hightower_kv::Result<()> {
    bootstrap_auth()
}
