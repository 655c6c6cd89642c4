//! A test that nothing may run beside: it asks what the whole process has, or has done.

use std::process::{Command, Stdio};

/// Runs a test of this binary by itself in a process of its own. `None` in that process, where the
/// test is to be made; what it printed, in the one that waited for it.
pub(crate) fn run_alone(test: &str) -> Option<String> {
    const ALONE: &str = "HTKV_TEST_ALONE";
    if std::env::var_os(ALONE).is_some_and(|it| it == test) {
        return None;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ALONE, test);
    // Its complaints, and what it has skipped, are for everybody to see.
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    Some(said)
}
