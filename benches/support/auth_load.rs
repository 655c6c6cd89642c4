//! What logins and checks of API keys do to writes and reads beside them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hightower_kv::state::Durability;
use hightower_kv::{ApiToken, KvEngine, SingleNodeEngine};

use crate::store::scratch;
use crate::{Auth, PASSWORD, auth_checks, median, micros, open, percentile, reached};

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_secs(2);
const CHECK_EVERY: Duration = Duration::from_millis(1);
/// Reads after each write.
const GETS: u64 = 20;
/// A goal of the design.
const PERCENT_MORE_MAX: f64 = 20.0;

/// What runs beside the writes and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    Checks,
    ChecksAndLogins,
}

const KINDS: [(Beside, &str); 3] = [
    (Beside::Nothing, "nothing else"),
    (Beside::Checks, "1,000 key checks a second"),
    (Beside::ChecksAndLogins, "1,000 key checks a second and two logins"),
];

#[derive(Default)]
struct Times {
    put: Vec<f64>,
    get: Vec<f64>,
    logins: u64,
    checks: u64,
}

pub(crate) fn print() {
    println!("| beside one client of puts and gets | put p99 | get p99 | put | get | goal | |");
    println!("|---|--:|--:|--:|--:|---|---|");
    for (durability, name) in [(Durability::Synced, "synced"), (Durability::Buffered, "buffered")] {
        let directory = scratch();
        let (engine, auth) = open(directory.path(), durability);
        let tokens = auth_checks::issue(&auth, 1000);
        auth.create_user("second", PASSWORD).unwrap();
        let mut all = KINDS.map(|_| Times::default());
        for _ in 0..ROUNDS {
            for ((beside, _), times) in KINDS.iter().zip(&mut all) {
                round(&engine, &auth, &tokens, *beside, times);
            }
        }
        print_rows(name, &mut all);
    }
}

fn print_rows(durability: &str, all: &mut [Times; 3]) {
    let bare = (median(&mut all[0].put), median(&mut all[0].get));
    for ((beside, name), times) in KINDS.iter().zip(all) {
        let (put, get) = (median(&mut times.put), median(&mut times.get));
        let more = |now: f64, before: f64| (now / before - 1.0) * 100.0;
        let (more_put, more_get) = (more(put, bare.0), more(get, bare.1));
        let (goal, told) = if *beside == Beside::Nothing {
            ("", "")
        } else {
            let is_reached = more_put.max(more_get) <= PERCENT_MORE_MAX;
            ("at most 20 % more", reached(is_reached))
        };
        let seconds = ROUND.as_secs_f64() * ROUNDS as f64;
        let (logins, checks) = (times.logins as f64 / seconds, times.checks as f64 / seconds);
        println!(
            "| {durability}: {name} ({checks:.0} checks, {logins:.0} logins a second) | \
             {put:.1} us | {get:.2} us | {more_put:+.0} % | {more_get:+.0} % | {goal} | {told} |"
        );
    }
}

fn round(
    engine: &SingleNodeEngine,
    auth: &Auth,
    tokens: &[ApiToken],
    beside: Beside,
    times: &mut Times,
) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let checker =
            (beside != Beside::Nothing).then(|| scope.spawn(|| check(auth, tokens, &stop)));
        let logins: Vec<_> = ["owner", "second"]
            .into_iter()
            .filter(|_| beside == Beside::ChecksAndLogins)
            .map(|name| scope.spawn(|| log_in(auth, name, &stop)))
            .collect();
        let (mut puts, mut gets) = put_and_get(engine);
        stop.store(true, Ordering::Relaxed);
        times.put.push(micros(percentile(&mut puts, 99)));
        times.get.push(micros(percentile(&mut gets, 99)));
        times.checks += checker.map_or(0, |thread| thread.join().unwrap());
        times.logins += logins.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>();
    });
}

fn put_and_get(engine: &SingleNodeEngine) -> (Vec<Duration>, Vec<Duration>) {
    let (mut puts, mut gets, started) = (Vec::new(), Vec::new(), Instant::now());
    let key = |number: u64| format!("key:{:012}", number % 10_000).into_bytes();
    for number in 0_u64.. {
        let at = Instant::now();
        engine.put(key(number), number.to_le_bytes().repeat(12)).unwrap();
        puts.push(at.elapsed());
        for back in 0..GETS {
            let key = key(number.saturating_sub(back));
            let at = Instant::now();
            assert!(engine.get(&key).unwrap().is_some());
            gets.push(at.elapsed());
        }
        if started.elapsed() >= ROUND {
            break;
        }
    }
    (puts, gets)
}

/// Checks at a steady pace; one that is late is made up for.
fn check(auth: &Auth, tokens: &[ApiToken], stop: &AtomicBool) -> u64 {
    let started = Instant::now();
    for (number, token) in (0_u32..).zip(tokens.iter().cycle()) {
        if stop.load(Ordering::Relaxed) {
            return u64::from(number);
        }
        assert!(auth.authenticate_api_key(token).unwrap().is_some());
        std::thread::sleep((CHECK_EVERY * (number + 1)).saturating_sub(started.elapsed()));
    }
    0
}

fn log_in(auth: &Auth, name: &str, stop: &AtomicBool) -> u64 {
    let mut logins = 0;
    while !stop.load(Ordering::Relaxed) {
        assert!(auth.verify_password(name, PASSWORD).unwrap());
        logins += 1;
    }
    logins
}
