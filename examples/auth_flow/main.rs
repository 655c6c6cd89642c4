//! Users, passwords and API keys beside a store: the helper that the README shows, word for word.
//!
//! `cargo run --release --example auth_flow [DIRECTORY]`. Makes the store `auth-data` in the
//! directory; without one it works in a temporary one, which is removed at the end.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "an application makes its own directories")]

use std::path::PathBuf;

// Not a module: nothing may be laid out in another way than the README does.
include!("readme.rs");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let argument = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = argument.unwrap_or_else(|| scratch.path().to_owned());
    std::fs::create_dir_all(&directory)?;
    std::env::set_current_dir(&directory)?;
    Ok(bootstrap_auth()?)
}
