//! A9, A10: calls of several threads at once, on one node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hightower_kv::env::fs_sim::PowerCut;
use hightower_kv::env::{Env, Simulated};
use hightower_kv::{ApiToken, Error, KvEngine, SingleNodeEngine, StoreConfig};
use parking_lot::{Mutex, RwLock};

use crate::support::{FastAuth, PASSWORD, engine_on, fast_on};

/// Calls of all threads together.
const CALLS: u64 = 100_000;
const KEYS: usize = 6;
/// Every seat is authenticated at, and its keys are revoked and issued. The first ones' passwords
/// are changed, the next ones are also disabled and enabled, the last ones deleted and made anew.
const STEADY: usize = 4;
const SWITCHED: usize = 2;
const DELETED: usize = 2;
const SEATS: usize = STEADY + SWITCHED + DELETED;

/// A key, and whether a call that ended it has returned.
struct Key {
    id: String,
    token: ApiToken,
    is_ended: AtomicBool,
}

/// What is known of a user from calls that have returned.
struct Seat {
    name: String,
    id: String,
    is_disabled: AtomicBool,
    /// How often it was enabled: one between two looks is noticed.
    enabled: AtomicU64,
    keys: Vec<Arc<Key>>,
}

struct Race {
    machine: Simulated,
    engine: Arc<SingleNodeEngine>,
    auth: FastAuth,
    /// Locked for reading by whoever races, for writing only to put in a new user or new keys.
    seats: Vec<RwLock<Seat>>,
    left: AtomicU64,
    accepted: AtomicU64,
    changed: AtomicU64,
    ended: Mutex<Vec<Arc<Key>>>,
    gone: Mutex<BTreeSet<String>>,
}

/// A key of a user; `None` when the user was deleted meanwhile.
fn issue(auth: &FastAuth, user: &str) -> Option<Arc<Key>> {
    match auth.create_api_key(user, None) {
        Ok((key, token)) => {
            Some(Arc::new(Key { id: key.key_id, token, is_ended: AtomicBool::new(false) }))
        }
        Err(Error::NotFound(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

fn take_seat(auth: &FastAuth, name: &str) -> Seat {
    let id = auth.create_user(name, PASSWORD).unwrap().user_id;
    let keys = (0..KEYS).map(|_| issue(auth, &id).unwrap()).collect();
    let (is_disabled, enabled) = (AtomicBool::new(false), AtomicU64::new(0));
    Seat { name: name.to_owned(), id, is_disabled, enabled, keys }
}

impl Race {
    fn new() -> Self {
        let machine = Env::simulated(9);
        let mut config = StoreConfig::default();
        config.data_dir = "/data".into();
        config.worker_threads = 1;
        let engine = SingleNodeEngine::with_env(&config, machine.env.clone()).unwrap();
        let engine = Arc::new(engine);
        let auth = fast_on(&engine, machine.env.clone());
        let seats = (0..SEATS).map(|number| take_seat(&auth, &format!("user-{number}")));
        Self {
            seats: seats.map(RwLock::new).collect(),
            engine,
            auth,
            machine,
            left: AtomicU64::new(CALLS),
            accepted: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            ended: Mutex::default(),
            gone: Mutex::default(),
        }
    }

    /// Runs `call` with 0, 1, 2.. until all threads together have made their calls.
    fn until_done(&self, mut call: impl FnMut(usize)) {
        let order = Ordering::SeqCst;
        for number in 0.. {
            if self.left.fetch_update(order, order, |left| left.checked_sub(1)).is_err() {
                return;
            }
            call(number);
        }
    }

    fn authenticate(&self, number: usize) {
        let seat = self.seats[number % SEATS].read();
        let key = &seat.keys[number / SEATS % KEYS];
        let enabled = seat.enabled.load(Ordering::SeqCst);
        let disabled = seat.is_disabled.load(Ordering::SeqCst);
        let ended = key.is_ended.load(Ordering::SeqCst);
        if self.auth.authenticate_api_key(&key.token).unwrap().is_none() {
            return;
        }
        self.accepted.fetch_add(1, Ordering::SeqCst);
        assert!(!ended, "a key was accepted after the call that ended it had returned");
        let was_enabled = enabled != seat.enabled.load(Ordering::SeqCst);
        assert!(!disabled || was_enabled, "a key of a disabled user was accepted");
    }

    fn end(&self, key: &Arc<Key>) {
        key.is_ended.store(true, Ordering::SeqCst);
        self.ended.lock().push(Arc::clone(key));
    }

    /// Ends a key of a seat; one that has none left gets others.
    fn revoke(&self, number: usize) {
        let at = number % SEATS;
        let seat = self.seats[at].read();
        if let Some(key) = seat.keys.iter().find(|key| !key.is_ended.load(Ordering::SeqCst)) {
            let was_there = self.auth.revoke_api_key(&key.id).unwrap();
            assert!(was_there || at >= STEADY + SWITCHED, "who else ended it?");
            self.end(key);
            assert!(self.auth.authenticate_api_key(&key.token).unwrap().is_none());
            return;
        }
        let id = seat.id.clone();
        drop(seat);
        let keys: Option<Vec<_>> = (0..KEYS).map(|_| issue(&self.auth, &id)).collect();
        let mut seat = self.seats[at].write();
        match keys {
            Some(keys) if seat.id == id => seat.keys = keys,
            // They went with the user.
            Some(keys) => keys.iter().for_each(|key| self.end(key)),
            None => {}
        }
    }

    fn change_password(&self, number: usize, passwords: &mut [String]) {
        let at = number % passwords.len();
        let seat = self.seats[at].read();
        // Failures of before count no more, and uses are written down again.
        self.machine.clock.advance(Duration::from_mins(16));
        let (name, new) = (&seat.name, format!("password-{number}"));
        if !self.auth.change_password(name, &passwords[at], &new).unwrap() {
            assert!(at >= STEADY, "the password was right, and nobody disables this user");
            return;
        }
        self.changed.fetch_add(1, Ordering::SeqCst);
        let old = std::mem::replace(&mut passwords[at], new);
        if number.is_multiple_of(16) {
            assert!(!self.auth.verify_password(name, &old).unwrap(), "the old password came back");
        }
    }

    fn switch(&self, number: usize) {
        let seat = self.seats[STEADY + number % SWITCHED].read();
        self.auth.disable_user(&seat.id).unwrap();
        seat.is_disabled.store(true, Ordering::SeqCst);
        for key in &seat.keys {
            assert!(self.auth.authenticate_api_key(&key.token).unwrap().is_none());
        }
        seat.is_disabled.store(false, Ordering::SeqCst);
        seat.enabled.fetch_add(1, Ordering::SeqCst);
        self.auth.enable_user(&seat.id).unwrap();
    }

    /// Deletes a user under everybody's hands, and puts another one of that name in its place.
    fn delete(&self, number: usize) {
        let at = STEADY + SWITCHED + number % DELETED;
        let name = {
            let seat = self.seats[at].read();
            self.auth.delete_user(&seat.id).unwrap();
            seat.keys.iter().for_each(|key| self.end(key));
            self.gone.lock().insert(seat.id.clone());
            seat.name.clone()
        };
        // Others find the user gone until here.
        let mut seat = self.seats[at].write();
        seat.keys.iter().for_each(|key| self.end(key));
        *seat = take_seat(&self.auth, &name);
    }
}

#[test]
fn a9_nothing_comes_back_when_everything_is_raced() {
    let race = Race::new();
    std::thread::scope(|scope| {
        for start in 0..2 {
            let race = &race;
            scope.spawn(move || race.until_done(|number| race.authenticate(number * 7 + start)));
        }
        scope.spawn(|| race.until_done(|number| race.revoke(number)));
        scope.spawn(|| {
            let mut passwords = vec![PASSWORD.to_owned(); STEADY + SWITCHED];
            race.until_done(|number| race.change_password(number, &mut passwords));
        });
        scope.spawn(|| race.until_done(|number| race.switch(number)));
        scope.spawn(|| race.until_done(|number| race.delete(number)));
    });
    let rows = check_what_is_left(&race, &race.auth, &race.engine);
    println!(
        "A9: {CALLS} calls, {} checks accepted, {} passwords changed, {} keys and {} users ended, \
         0 of them came back; {rows} rows of the trail verified",
        race.accepted.load(Ordering::SeqCst),
        race.changed.load(Ordering::SeqCst),
        race.ended.lock().len(),
        race.gone.lock().len(),
    );
    // As after a power cut: what was answered is on the disk.
    let after = Env::simulated_on(race.machine.fs.power_cut(PowerCut::Nothing), 10);
    after.clock.set_now(race.machine.env.clock.now());
    let engine = Arc::new(engine_on(after.env.clone()));
    check_what_is_left(&race, &fast_on(&engine, after.env), &engine);
}

/// Holds what the service says against what the calls have answered. Returns how long the trail is.
fn check_what_is_left(race: &Race, auth: &FastAuth, engine: &SingleNodeEngine) -> usize {
    let (ended, gone) = (race.ended.lock(), race.gone.lock());
    for key in ended.iter() {
        assert!(auth.authenticate_api_key(&key.token).unwrap().is_none(), "an ended key is back");
        assert!(auth.api_key_last_used(&key.id).unwrap().is_none(), "its last use is back");
    }
    let users = auth.list_users().unwrap();
    assert!(users.iter().all(|user| !gone.contains(&user.user_id)), "a deleted user is back");
    let names: Vec<&str> = users.iter().map(|user| user.username.as_str()).collect();
    let seats: Vec<_> = race.seats.iter().map(RwLock::read).collect();
    assert_eq!(names, seats.iter().map(|seat| seat.name.as_str()).collect::<Vec<_>>());
    let mut live = BTreeSet::new();
    for seat in &seats {
        assert_eq!(auth.find_user(&seat.name).unwrap().unwrap().user_id, seat.id);
        let is_live = |key: &&Arc<Key>| !key.is_ended.load(Ordering::SeqCst);
        let expected: BTreeSet<String> =
            seat.keys.iter().filter(is_live).map(|key| key.id.clone()).collect();
        let listed = auth.list_api_keys(&seat.id).unwrap();
        let listed: BTreeSet<String> = listed.into_iter().map(|key| key.key_id).collect();
        assert_eq!(listed, expected, "the keys of {}", seat.name);
        for key in seat.keys.iter().filter(is_live) {
            assert!(auth.authenticate_api_key(&key.token).unwrap().is_some(), "a live key");
        }
        live.extend(expected);
    }
    // Behind every use that was handed in.
    engine.put(b"last".to_vec(), Vec::new()).unwrap();
    for kind in ["auth/apikey/", "auth/apikey_used/"] {
        let prefix = [&[0xff; 8][..], kind.as_bytes()].concat();
        let rows = engine.read_with(|view| view.reserved().rows(&prefix, None, 99_999).unwrap());
        let id = |key: &[u8]| String::from_utf8(key[prefix.len()..].to_vec()).unwrap();
        assert!(rows.iter().all(|(key, _)| live.contains(&id(key))), "rows of ended keys");
        assert_eq!(rows.len(), live.len(), "{kind}");
    }
    auth.audit(1, u64::MAX).unwrap().len()
}

#[test]
fn a10_of_concurrent_creates_of_one_name_one_wins_over_a_thousand_restarts() {
    let winners: usize = (0..STORES).map(creates_over_restarts).sum();
    println!("A10: {} restarts, {winners} names, each created once", STORES * RESTARTS);
}

/// Stores, since an opening takes as long as the log is, and restarts of each.
const STORES: u64 = 20;
const RESTARTS: u64 = 50;

/// How many names were created.
fn creates_over_restarts(seed: u64) -> usize {
    let mut machine = Env::simulated(seed);
    let mut winners = 0;
    for round in 0..RESTARTS {
        let engine = Arc::new(engine_on(machine.env.clone()));
        // Two services, as of two handles that know nothing of each other.
        let services = [0, 1].map(|_| fast_on(&engine, machine.env.clone()));
        let name = format!("name-{}", round / 2);
        let created = std::thread::scope(|scope| {
            let create = |auth: &FastAuth| match auth.create_user(&name, PASSWORD) {
                Ok(user) => Some(user.user_id),
                Err(Error::Conflict(_)) => None,
                Err(error) => panic!("{error}"),
            };
            let [one, other] = &services;
            let thread = scope.spawn(move || create(one));
            let created = [create(other), thread.join().unwrap()];
            created.into_iter().flatten().collect::<Vec<_>>()
        });
        // Of each name the first round creates one, and after the restart it is taken.
        assert_eq!(created.len() as u64, 1 - round % 2, "round {round}");
        winners += created.len();
        let found = services[0].find_user(&name).unwrap().unwrap();
        assert!(created.is_empty() || created == [found.user_id]);
        machine =
            Env::simulated_on(machine.fs.power_cut(PowerCut::random(round)), seed + 100 * round);
    }
    let engine = Arc::new(engine_on(machine.env.clone()));
    assert_eq!(fast_on(&engine, machine.env).list_users().unwrap().len(), winners);
    winners
}
