//! Many logins at once.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use hightower_kv::Error;

use crate::support::{PASSWORD, in_own_process, simulated};

const MIB: u64 = 1 << 20;

/// The most memory that this process has had, in bytes; `None` where the system does not say.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[test]
fn a2_ten_times_the_load_takes_the_memory_of_two_logins_and_the_excess_is_refused() {
    if !in_own_process(
        "load::a2_ten_times_the_load_takes_the_memory_of_two_logins_and_the_excess_is_refused",
    ) {
        return;
    }
    let (_, auth, _) = simulated();
    let before = peak_memory();
    auth.create_user("captain", PASSWORD).unwrap();
    let refused = |callers: usize| {
        let (start, refused) = (Barrier::new(callers), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for at in 0..callers {
                let (auth, start, refused) = (&auth, &start, &refused);
                scope.spawn(move || {
                    let name = if at % 2 == 0 { "captain" } else { "nobody" };
                    start.wait();
                    match auth.verify_password(name, PASSWORD) {
                        Ok(is_right) => assert_eq!(is_right, at % 2 == 0),
                        Err(Error::Overloaded(_)) => {
                            refused.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(error) => panic!("{error}"),
                    }
                });
            }
        });
        refused.into_inner()
    };
    assert_eq!(refused(20), 0);
    let excess = refused(120);
    assert!((20..=54).contains(&excess), "two work and 64 wait: {excess}");
    assert!(auth.verify_password("captain", PASSWORD).unwrap(), "and then it goes on");
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        let grown = after - before;
        println!(
            "A2: 20 and 120 logins at once took {} MiB more, and {excess} of 120 were refused",
            grown / MIB
        );
        assert!(grown <= (2 * 19 + 16) * MIB, "{grown} bytes");
    }
}
