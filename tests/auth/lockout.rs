//! Lockout: what it lets through, what it costs, and that it ends.

use std::sync::Arc;
use std::time::Duration;

use hightower_kv::env::Env;
use hightower_kv::env::rng::Rng;
use hightower_kv::{
    AesGcmEncryptor, AuthService, Command, Error, KvEngine, SecretHasher, SingleNodeEngine,
    Timestamp,
};
use parking_lot::Mutex;

use crate::support::{FastHasher, MASTER, PASSWORD, engine_on, fast_on, simulated_fast};

const WRONG: &str = "wrong-password";
const QUARTER: Duration = Duration::from_mins(15);
const START: Timestamp = Timestamp(1_000_000_000_000);

fn entries(engine: &SingleNodeEngine) -> u64 {
    engine.stats().latest_version.0
}

#[test]
fn a5_ten_thousand_guesses_are_ten_checks_and_two_writes() {
    let (engine, auth, _) = simulated_fast();
    auth.create_user("captain", PASSWORD).unwrap();
    let (calls, before) = (&auth.calls, entries(&engine));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let auth = &auth;
            scope.spawn(move || {
                for guess in 0..2500 {
                    let guess = format!("guess-{thread}-{guess}");
                    assert!(!auth.verify_password("captain", &guess).unwrap());
                }
            });
        }
    });
    let (checks, writes) = (calls.real(), entries(&engine) - before);
    println!("A5: of 10,000 guesses {checks} were checked, and cost {writes} writes");
    assert_eq!((checks, checks + calls.dummy()), (10, 10_000));
    assert!(writes * 5 <= checks, "{writes}");
    assert!(!auth.verify_password("captain", PASSWORD).unwrap(), "the right one neither");
}

#[test]
fn a5_two_nodes_check_at_most_fifteen_wrong_passwords() {
    let mut most = 0;
    for round in 0..200_u64 {
        let machine = Env::simulated(round);
        let engine = Arc::new(engine_on(machine.env.clone()));
        let nodes = [fast_on(&engine, machine.env.clone()), fast_on(&engine, machine.env)];
        nodes[0].create_user("captain", PASSWORD).unwrap();
        if round % 2 == 0 {
            // The first tells five and has four more; the second does not know of those.
            for (node, guesses) in [(0, 9), (1, 20), (0, 20)] {
                for _ in 0..guesses {
                    assert!(!nodes[node].verify_password("captain", WRONG).unwrap());
                }
            }
        } else {
            std::thread::scope(|scope| {
                for node in &nodes {
                    for _ in 0..2 {
                        scope.spawn(|| {
                            for _ in 0..20 {
                                assert!(!node.verify_password("captain", WRONG).unwrap());
                            }
                        });
                    }
                }
            });
        }
        let checks: u64 = nodes.iter().map(|node| node.calls.real()).sum();
        assert!((10..=15).contains(&checks), "round {round}: {checks}");
        // A command that the other node was faster than is an entry too, and changes nothing.
        let told = ["user.failures", "user.lock"];
        let rows = nodes[0].audit(2, u64::MAX).unwrap();
        assert!(rows.iter().all(|row| told.contains(&row.action.as_str())));
        assert!(rows.len() as u64 * 5 <= checks, "round {round}: {rows:?}");
        most = most.max(checks);
        assert!(nodes.iter().all(|node| !node.verify_password("captain", PASSWORD).unwrap()));
    }
    println!("A5: two nodes checked at most {most} wrong passwords before both refused");
    assert!(most >= 14, "{most}");
}

#[test]
fn a5_a_lock_ends_with_its_time_and_the_next_is_twice_as_long() {
    let (_, auth, clock) = simulated_fast();
    auth.create_user("captain", PASSWORD).unwrap();
    for lasts in [QUARTER, 2 * QUARTER, 4 * QUARTER] {
        let before = auth.calls.real();
        for _ in 0..30 {
            assert!(!auth.verify_password("captain", WRONG).unwrap());
        }
        assert_eq!(auth.calls.real(), before + 10);
        clock.advance(lasts.saturating_sub(Duration::from_micros(1)));
        assert!(!auth.verify_password("captain", PASSWORD).unwrap(), "locked for {lasts:?}");
        clock.advance(Duration::from_micros(1));
    }
    assert!(auth.verify_password("captain", PASSWORD).unwrap());
    // And the count begins anew.
    for _ in 0..9 {
        assert!(!auth.verify_password("captain", WRONG).unwrap());
    }
    assert!(auth.verify_password("captain", PASSWORD).unwrap());
}

#[test]
fn a5_an_administrator_ends_a_lock() {
    let (_, auth, _) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let lock = || {
        for _ in 0..10 {
            assert!(!auth.verify_password("captain", WRONG).unwrap());
        }
        assert!(!auth.verify_password("captain", PASSWORD).unwrap());
    };
    lock();
    auth.reset_password(&user.user_id, PASSWORD).unwrap();
    assert!(auth.verify_password("captain", PASSWORD).unwrap());
    lock();
    auth.unlock_user(&user.user_id).unwrap();
    assert!(auth.verify_password("captain", PASSWORD).unwrap());
    let rows = auth.audit(1, u64::MAX).unwrap();
    assert_eq!(rows.iter().filter(|row| row.action == "user.lock").count(), 2);
}

/// A hasher during whose next check something happens.
struct Meanwhile<F>(FastHasher, Mutex<Option<F>>);

impl<F: FnOnce() + Send> SecretHasher for Meanwhile<F> {
    fn hash(&self, secret: &[u8], rng: &dyn Rng) -> Result<String, Error> {
        self.0.hash(secret, rng)
    }

    fn verify(&self, secret: &[u8], hash: &str) -> Result<bool, Error> {
        let happens = self.1.lock().take();
        if let Some(happens) = happens {
            happens();
        }
        self.0.verify(secret, hash)
    }

    fn is_outdated(&self, hash: &str) -> bool {
        self.0.is_outdated(hash)
    }

    fn dummy(&self) -> String {
        self.0.dummy()
    }
}

#[test]
fn a5_a_right_password_under_way_ends_no_lock_that_is_told_meanwhile() {
    for known in [0, 5] {
        let machine = Env::simulated(1);
        let engine = Arc::new(engine_on(machine.env.clone()));
        let other = fast_on(&engine, machine.env.clone());
        other.create_user("captain", PASSWORD).unwrap();
        let fail = |times| {
            for _ in 0..times {
                assert!(!other.verify_password("captain", WRONG).unwrap());
            }
        };
        fail(known);
        let lock = || fail(10 - known);
        let hasher = Meanwhile(FastHasher::default(), Mutex::new(Some(lock)));
        let encryptor = AesGcmEncryptor::new(MASTER);
        let auth = AuthService::with_env(Arc::clone(&engine), hasher, encryptor, machine.env);
        assert!(auth.verify_password("captain", PASSWORD).unwrap(), "it began before");
        assert!(!auth.verify_password("captain", PASSWORD).unwrap(), "{known}: the lock is there");
        assert!(!other.verify_password("captain", PASSWORD).unwrap(), "{known}: on each node");
    }
}

#[test]
fn a5_a_clock_that_goes_back_makes_no_lock_longer() {
    for back in [Duration::from_hours(1), Duration::from_hours(24 * 365)] {
        let (engine, auth, clock) = simulated_fast();
        // A clock that was a year ahead: the log has gone there, and stays.
        clock.set_now(Timestamp(START.0 + 2 * u64::try_from(back.as_micros()).unwrap()));
        auth.create_user("captain", PASSWORD).unwrap();
        clock.set_now(START);
        for _ in 0..10 {
            assert!(!auth.verify_password("captain", WRONG).unwrap());
        }
        assert!(engine.stats().last_timestamp > START);
        clock.advance(Duration::from_micros(1));
        assert!(!auth.verify_password("captain", PASSWORD).unwrap(), "seen here first");
        clock.advance(QUARTER);
        assert!(auth.verify_password("captain", PASSWORD).unwrap());
    }
}

#[test]
fn a5_a_clock_that_is_ahead_on_one_node_ends_no_lock() {
    let machine = Env::simulated(1);
    let engine = Arc::new(engine_on(machine.env.clone()));
    let auth = fast_on(&engine, machine.env.clone());
    auth.create_user("captain", PASSWORD).unwrap();
    for _ in 0..10 {
        assert!(!auth.verify_password("captain", WRONG).unwrap());
    }
    // A year ahead, and not the node that stamps entries.
    let other = Env::simulated(2);
    other.clock.advance(Duration::from_hours(24 * 365));
    let ahead = fast_on(&engine, other.env);
    let before = entries(&engine);
    for _ in 0..50 {
        assert!(!ahead.verify_password("captain", PASSWORD).unwrap());
    }
    assert_eq!(ahead.calls.real(), 0);
    assert_eq!(entries(&engine), before + 1, "it asked the log once");
}

#[test]
fn a5_a_lock_ends_after_a_restart_although_nobody_writes() {
    let mut machine = Env::simulated(1);
    let engine = Arc::new(engine_on(machine.env.clone()));
    let auth = fast_on(&engine, machine.env.clone());
    auth.create_user("captain", PASSWORD).unwrap();
    for _ in 0..10 {
        assert!(!auth.verify_password("captain", WRONG).unwrap());
    }
    for minutes in [0, 14, 15] {
        machine = Env::simulated_on(machine.fs.kill(), 1);
        machine.clock.set_now(Timestamp(START.0 + minutes * 60_000_000));
        let engine = Arc::new(engine_on(machine.env.clone()));
        let auth = fast_on(&engine, machine.env.clone());
        let is_over = auth.verify_password("captain", PASSWORD).unwrap();
        assert_eq!(is_over, minutes == 15, "{minutes}");
    }
}

#[test]
fn a5_whatever_stands_in_a_row_of_failures_no_password_is_accepted_by_it() {
    let (engine, auth, clock) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    for _ in 0..5 {
        assert!(!auth.verify_password("captain", WRONG).unwrap());
    }
    let key = crate::support::row_key(&["auth/failures/", &user.user_id]);
    let row = crate::support::value_of(&engine, &key).unwrap();
    for bit in 0..row.len() * 8 {
        let mut flipped = row.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        engine.submit(Command::reserved([], [Command::set(key.clone(), flipped)])).unwrap();
        assert!(!auth.verify_password("captain", WRONG).unwrap_or(false), "bit {bit}");
        // Whatever it says, a lock of it is over after a day, or the row is refused as malformed.
        clock.advance(Duration::from_hours(24));
        let right = auth.verify_password("captain", PASSWORD);
        assert!(!matches!(right, Ok(false)), "bit {bit}");
        if right.is_err() {
            auth.reset_password(&user.user_id, PASSWORD).unwrap();
        }
    }
}
