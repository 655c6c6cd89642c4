//! Scopes and times are the same on every engine.

use std::time::Duration;

use hightower_kv::engine::Lease;
use hightower_kv::env::Env;
use hightower_kv::{Condition, Error, KvEngine, Outcome, Scope, Scopes};

use crate::engines::{Harness, contract};

contract!(
    each_scope_has_keys_of_its_own,
    clearing_a_scope_leaves_the_others,
    ephemeral_values_are_compared_as_they_were_given,
    a_key_with_a_time_goes_by_itself_and_not_before,
    a_lease_takes_its_keys_with_it,
    times_that_cannot_be_are_refused,
);

/// How long something may take that must happen. Reached only by a failure.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

fn scopes() -> [Scope; 3] {
    [Scope::Permanent, Scope::Ephemeral, Scope::named("n").unwrap()]
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = Env::system().clock;
    let end = clock.elapsed() + PATIENCE;
    while !holds() {
        assert!(clock.elapsed() < end, "{what}");
        std::thread::yield_now();
    }
}

fn each_scope_has_keys_of_its_own<H: Harness>(harness: &H) {
    let engine = harness.engine();
    for scope in scopes() {
        let value = scope.to_string().into_bytes();
        let scoped = engine.scope(scope);
        assert_eq!(scoped.put(b"k".to_vec(), value.clone()).unwrap().outcome, Outcome::Applied);
        let again = scoped.put(b"k".to_vec(), value).unwrap();
        assert_eq!(again.outcome, Outcome::Unchanged);
    }
    for scope in scopes() {
        let scoped = engine.scope(scope.clone());
        assert_eq!(scoped.get(b"k").unwrap().unwrap(), scope.to_string().as_str());
        assert_eq!(scoped.len().unwrap(), 1);
        assert_eq!(scoped.scan("a".."z").unwrap().rev().count(), 1);
    }
}

fn clearing_a_scope_leaves_the_others<H: Harness>(harness: &H) {
    let engine = harness.engine();
    for scope in scopes() {
        for key in ["a", "b"] {
            let key = key.as_bytes().to_vec();
            engine.scope(scope.clone()).put(key, b"v".to_vec()).unwrap();
        }
    }
    let cleared = engine.scope(Scope::named("n").unwrap()).clear().unwrap();
    assert_eq!(cleared.outcome, Outcome::Removed { keys: 2 });
    let left = scopes().map(|scope| engine.scope(scope).len().unwrap());
    assert_eq!(left, [2, 2, 0]);
}

fn ephemeral_values_are_compared_as_they_were_given<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let scoped = engine.scope(Scope::Ephemeral);
    let swap = |condition, value: &str| {
        scoped.compare_and_set(b"k".to_vec(), condition, value.as_bytes().to_vec()).unwrap()
    };
    assert!(swap(Condition::Absent, "1").is_applied());
    assert!(swap(Condition::ValueEquals("1".into()), "2").is_applied());
    assert_eq!(swap(Condition::ValueEquals("1".into()), "3").failed_guard(), Some(0));
}

fn a_key_with_a_time_goes_by_itself_and_not_before<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let ttl = Duration::from_millis(50);
    let put = engine.put_with_ttl(b"k".to_vec(), b"v".to_vec(), ttl).unwrap();
    engine.put(b"stays".to_vec(), b"v".to_vec()).unwrap();
    until("the key goes", || !engine.contains(b"k").unwrap());
    let view = engine.view(hightower_kv::ReadContext::Linearizable).unwrap();
    assert!(view.timestamp().0 >= put.timestamp.0 + 50_000);
    assert_eq!(view.len(), 1);
}

fn a_lease_takes_its_keys_with_it<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let lease = Lease::grant(harness.engine(), Env::system(), Duration::from_mins(1)).unwrap();
    lease.put(b"a".to_vec(), b"v".to_vec()).unwrap();
    engine.scope(Scope::Ephemeral).put_until(b"b".to_vec(), b"v".to_vec(), lease.until()).unwrap();
    lease.keep_alive().unwrap();
    assert!(engine.expires_at(b"a").unwrap().is_some());
    assert_eq!(lease.revoke().unwrap().outcome, Outcome::Removed { keys: 2 });
    assert!(engine.is_empty().unwrap());
    // On a busy machine a short one may be over before anything is put.
    let short = [50, 500, 5_000].map(Duration::from_millis).into_iter().find_map(|ttl| {
        let lease = Lease::grant(harness.engine(), Env::system(), ttl).unwrap();
        match lease.put(b"a".to_vec(), b"v".to_vec()) {
            Err(Error::NotFound(_)) => None,
            put => put.map(|_| Some(lease)).unwrap(),
        }
    });
    let short = short.unwrap();
    until("the lease ends", || short.remaining().unwrap().is_none());
    assert!(engine.is_empty().unwrap());
    assert!(matches!(short.keep_alive(), Err(Error::NotFound(_))));
}

fn times_that_cannot_be_are_refused<H: Harness>(harness: &H) {
    let engine = harness.engine();
    for ttl in [Duration::ZERO, Duration::from_hours(11 * 366 * 24)] {
        let refused = engine.put_with_ttl(b"k".to_vec(), b"v".to_vec(), ttl);
        assert!(matches!(refused, Err(Error::Validation(_))), "{refused:?}");
        let refused = Lease::grant(harness.engine(), Env::system(), ttl);
        assert!(matches!(refused, Err(Error::Validation(_))), "{refused:?}");
    }
    assert!(engine.is_empty().unwrap());
}
