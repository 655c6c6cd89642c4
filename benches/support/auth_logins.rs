//! Logins: what a password costs, and that a wrong one costs the same.

use std::time::{Duration, Instant};

use hightower_kv::state::Durability;

use crate::random::Random;
use crate::store::scratch;
use crate::{Auth, PASSWORD, micros, open, percentile, row};

const LOGINS: usize = 60;
/// Of each kind of refusal; a user is locked out after ten.
const REFUSALS: usize = 100;
const MILLIS: f64 = 1000.0;

pub(crate) fn print() {
    let directory = scratch();
    let (_engine, auth) = open(directory.path(), Durability::Buffered);
    for name in ["captain", "pilot", "disabled", "locked"] {
        auth.create_user(name, PASSWORD).unwrap();
    }
    let is_reached = |p50: f64, _| (15.0 * MILLIS..=60.0 * MILLIS).contains(&p50);
    let mut alone: Vec<_> = (0..LOGINS).map(|_| login(&auth, "captain")).collect();
    row("login", &mut alone, "p50 15 to 60 ms", is_reached);
    let mut at_once: Vec<_> = std::thread::scope(|scope| {
        let user = |name| {
            let auth = auth.clone();
            scope.spawn(move || (0..LOGINS).map(|_| login(&auth, name)).collect::<Vec<_>>())
        };
        let threads = [user("captain"), user("pilot")];
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    row("login, two at once", &mut at_once, "p50 15 to 60 ms", is_reached);
    print_refusals(&auth);
}

fn login(auth: &Auth, name: &str) -> Duration {
    let started = Instant::now();
    assert!(auth.verify_password(name, PASSWORD).unwrap());
    started.elapsed()
}

/// Whoever is refused learns nothing from how long it took.
fn print_refusals(auth: &Auth) {
    let disabled = auth.find_user("disabled").unwrap().unwrap();
    auth.disable_user(&disabled.user_id).unwrap();
    let refused = |name: &str| {
        let started = Instant::now();
        assert!(!auth.verify_password(name, "not-the-password").unwrap());
        started.elapsed()
    };
    for _ in 0..10 {
        refused("locked");
    }
    let kinds = ["nobody", "disabled", "locked", "captain"];
    let (mut times, mut order, mut random) = (kinds.map(|_| Vec::new()), [0, 1, 2, 3], Random(3));
    for number in 0..REFUSALS {
        // In another order each time: what ran before leaves caches behind.
        random.shuffle(&mut order);
        for kind in order {
            times[kind].push(refused(kinds[kind]));
        }
        if number % 5 == 4 {
            login(auth, "captain");
        }
    }
    let mut medians = times.map(|mut times| micros(percentile(&mut times, 50)));
    medians.sort_unstable_by(f64::total_cmp);
    let (least, most) = (medians[0], medians[medians.len() - 1]);
    let apart = (most / least - 1.0) * 100.0;
    println!(
        "| refusals: unknown, disabled, locked, wrong: least and greatest p50 | {least:.2} us | \
         {most:.2} us | at most 2 % apart | {} ({apart:.2} %) |",
        crate::reached(apart <= 2.0)
    );
}
