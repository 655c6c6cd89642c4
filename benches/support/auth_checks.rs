//! Checks of API keys.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hightower_kv::state::Durability;
use hightower_kv::{ApiToken, KvEngine};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::random::Random;
use crate::store::scratch;
use crate::{Auth, PASSWORD, open, row};

const KEYS: usize = 10_000;
const PASSES: usize = 10;
/// A goal of the design, in microseconds.
const CHECK_P99: f64 = 20.0;

/// Issues keys to one user.
pub(crate) fn issue(auth: &Auth, count: usize) -> Vec<ApiToken> {
    let user = auth.create_user("owner", PASSWORD).unwrap();
    (0..count).map(|_| auth.create_api_key(&user.user_id, None).unwrap().1).collect()
}

pub(crate) fn print() {
    let directory = scratch();
    let (engine, auth) = open(directory.path(), Durability::Buffered);
    let mut tokens = issue(&auth, KEYS);
    let other_directory = scratch();
    let mut foreign = issue(&open(other_directory.path(), Durability::Buffered).1, KEYS / 10);
    let goal = format!("p99 at most {CHECK_P99} us");
    let is_reached = |_, p99| p99 <= CHECK_P99;
    // The first use of each key is written down, which is not measured; the put is behind it.
    check(&auth, &mut tokens, 1, true);
    engine.put(b"last".to_vec(), Vec::new()).unwrap();
    let before = engine.stats().latest_version;
    let (mut bare, mut checks) = (Vec::new(), Vec::new());
    let map = BareMap::new(&tokens);
    for _ in 0..PASSES {
        bare.extend(map.look_up(&mut tokens));
        checks.extend(check(&auth, &mut tokens, 1, true));
    }
    assert_eq!(engine.stats().latest_version, before, "a check wrote");
    row("bare loop: HMAC and a hash map of 10,000", &mut bare, "", |_, _| true);
    row("key check, 10,000 keys in random order", &mut checks, &goal, is_reached);
    engine.run_compaction_now().unwrap();
    let mut compacted = check(&auth, &mut tokens, PASSES, true);
    row("key check, all records in tables", &mut compacted, &goal, is_reached);
    let mut unknown = check(&auth, &mut foreign, PASSES * 10, false);
    row("key check, tokens of another store", &mut unknown, &goal, is_reached);
    let mut garbage = check(&auth, &mut garbage(), PASSES, false);
    row("key check, wrong checksum", &mut garbage, &goal, is_reached);
}

/// Checks all tokens several times, each time in another order.
fn check<T: AsText>(auth: &Auth, tokens: &mut [T], passes: usize, valid: bool) -> Vec<Duration> {
    let (mut random, mut times) = (Random(1), Vec::with_capacity(tokens.len() * passes));
    for _ in 0..passes {
        random.shuffle(tokens);
        for token in &*tokens {
            let started = Instant::now();
            let found = auth.authenticate_api_key(token.text()).unwrap();
            times.push(started.elapsed());
            assert_eq!(found.is_some(), valid);
        }
    }
    times
}

/// Well-formed but for the checksum.
fn garbage() -> Vec<String> {
    let mut random = Random(2);
    let digits = b"0123456789abcdefghijABCDEFGHIJKL";
    let digit = |byte: &u8| char::from(digits[usize::from(byte % 32)]);
    (0..KEYS)
        .map(|_| {
            let text: String = random.bytes(71).iter().map(digit).collect();
            format!("htk_{}_{}", &text[..22], &text[22..])
        })
        .collect()
}

trait AsText {
    fn text(&self) -> &str;
}

impl AsText for ApiToken {
    fn text(&self) -> &str {
        self.expose()
    }
}

impl AsText for String {
    fn text(&self) -> &str {
        self
    }
}

/// The least that a check must do.
struct BareMap {
    key: [u8; 32],
    hashes: HashMap<String, [u8; 32]>,
}

impl BareMap {
    fn new(tokens: &[ApiToken]) -> Self {
        let mut map = Self { key: [7; 32], hashes: HashMap::new() };
        for token in tokens {
            map.hashes.insert(token[4..26].to_owned(), map.hash(token.expose()));
        }
        map
    }

    fn hash(&self, token: &str) -> [u8; 32] {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key).unwrap();
        mac.update(token.as_bytes());
        mac.finalize().into_bytes().into()
    }

    fn look_up(&self, tokens: &mut [ApiToken]) -> Vec<Duration> {
        Random(1).shuffle(tokens);
        let check = |token: &ApiToken| {
            let started = Instant::now();
            let is_valid = self.hashes.get(&token[4..26]) == Some(&self.hash(token));
            let time = started.elapsed();
            assert!(is_valid);
            time
        };
        tokens.iter().map(check).collect()
    }
}
