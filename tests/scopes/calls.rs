//! A scope is used as the engine is, and sees its own keys only.

use std::sync::Arc;

use hightower_kv::{
    Command, Condition, Error, Guard, KvEngine, Outcome, Scope, Scopes, StateView, Version,
};

use crate::support::{Store, bytes, named};

fn all_scopes() -> [Scope; 4] {
    [Scope::Permanent, Scope::Ephemeral, named("a"), named("ab")]
}

type Row = Result<(bytes::Bytes, hightower_kv::Value), hightower_kv::storage::error::StorageError>;

fn keys(rows: impl Iterator<Item = Row>) -> Vec<String> {
    rows.map(|row| String::from_utf8(row.unwrap().0.to_vec()).unwrap()).collect()
}

#[test]
fn the_same_key_in_four_scopes_is_four_keys() {
    let store = Store::new(20);
    for (at, scope) in all_scopes().into_iter().enumerate() {
        let scoped = store.engine.scope(scope);
        let put = scoped.put(bytes("k"), vec![u8::try_from(at).unwrap()]).unwrap();
        assert_eq!(put.outcome, Outcome::Applied);
    }
    for (at, scope) in all_scopes().into_iter().enumerate() {
        let scoped = store.engine.scope(scope);
        assert_eq!(scoped.get(b"k").unwrap().unwrap(), [u8::try_from(at).unwrap()]);
        assert_eq!(scoped.len().unwrap(), 1);
    }
    store.engine.scope(named("a")).delete(bytes("k")).unwrap();
    assert!(store.engine.scope(named("ab")).contains(b"k").unwrap());
}

#[test]
fn puts_and_deletes_tell_what_plain_ones_tell() {
    let store = Store::new(21);
    for scope in all_scopes() {
        let scoped = store.engine.scope(scope);
        let first = scoped.put(bytes("k"), bytes("v")).unwrap();
        let again = scoped.put(bytes("k"), bytes("v")).unwrap();
        assert_eq!(again.outcome, Outcome::Unchanged);
        assert_eq!((again.version, again.timestamp), (first.version, first.timestamp));
        let row = scoped.get_versioned(b"k").unwrap().unwrap();
        assert_eq!((row.version, row.timestamp), (first.version, first.timestamp));
        let delete = || scoped.delete(bytes("k")).unwrap().outcome;
        assert_eq!(delete(), Outcome::Removed { keys: 1 });
        assert_eq!(delete(), Outcome::NotFound);
    }
}

#[test]
fn rows_come_in_order_from_both_ends_and_as_many_as_are_taken() {
    let store = Store::new(22);
    for scope in all_scopes() {
        let scoped = store.engine.scope(scope);
        for number in 0..600 {
            scoped.put(format!("{number:03}").into_bytes(), bytes("v")).unwrap();
        }
    }
    store.engine.run_compaction_now().unwrap();
    for scope in all_scopes() {
        let scoped = store.engine.scope(scope);
        assert_eq!(keys(scoped.scan::<&str>(..).unwrap().take(2)), ["000", "001"]);
        assert_eq!(keys(scoped.scan::<&str>(..).unwrap().rev().take(2)), ["599", "598"]);
        assert_eq!(keys(scoped.scan("298".."301").unwrap()), ["298", "299", "300"]);
        assert_eq!(keys(scoped.scan(.."001").unwrap()), ["000"]);
        assert_eq!(keys(scoped.scan("599"..).unwrap()), ["599"]);
        assert_eq!(scoped.scan::<&str>(..).unwrap().count(), 600);
        let found = scoped.get_prefix(b"12").unwrap();
        assert_eq!(found.len(), 10);
        assert!(found.iter().all(|(_, value)| *value == "v"));
        assert_eq!(scoped.len().unwrap(), 600);
    }
}

#[test]
fn batches_and_guards_are_about_keys_of_the_scope() {
    let store = Store::new(23);
    for scope in all_scopes() {
        let scoped = store.engine.scope(scope);
        let sets = vec![Command::set("a", "1"), Command::set("b", "2")];
        assert_eq!(scoped.submit_batch(sets).unwrap().outcome, Outcome::Applied);
        let version = scoped.get_versioned(b"a").unwrap().unwrap().version;
        let guards = vec![Guard::version_equals("a", version), Guard::value_equals("b", "2")];
        let change = vec![Command::delete("a"), Command::set("b", "3")];
        assert!(scoped.submit_guarded(guards.clone(), change.clone()).unwrap().is_applied());
        let failed = scoped.submit_guarded(guards, change).unwrap();
        assert_eq!(failed.failed_guard(), Some(0));
        let failed = scoped.submit_guarded(vec![Guard::value_equals("b", "2")], Vec::new());
        assert_eq!(failed.unwrap().failed_guard(), Some(0));
        let nested = scoped.submit_batch(vec![Command::batch([Command::delete("a")])]);
        assert!(matches!(nested, Err(Error::Validation(_))), "{nested:?}");
    }
    assert_eq!(store.engine.len().unwrap(), 1);
}

#[test]
fn compare_and_set_compares_what_the_caller_gave() {
    let store = Store::new(24);
    for scope in all_scopes() {
        let scoped = store.engine.scope(scope);
        let swap = |condition, value: &str| {
            scoped.compare_and_set(bytes("k"), condition, bytes(value)).unwrap().is_applied()
        };
        assert!(swap(Condition::Absent, "1"));
        assert!(!swap(Condition::Absent, "2"));
        assert!(swap(Condition::ValueEquals("1".into()), "2"));
        assert!(!swap(Condition::ValueEquals("1".into()), "3"));
        assert!(!swap(Condition::VersionEquals(Version(1)), "3"));
        assert!(swap(Condition::Present, "3"));
        assert_eq!(scoped.get(b"k").unwrap().unwrap(), "3");
    }
}

#[test]
fn an_empty_key_is_refused_and_limits_count_the_physical_key() {
    let store = Store::new(25);
    for scope in all_scopes() {
        let prefix = scope.prefix_bytes();
        let scoped = store.engine.scope(scope);
        for refused in [
            scoped.put(Vec::new(), bytes("v")),
            scoped.delete(Vec::new()),
            scoped.put_with_ttl(Vec::new(), bytes("v"), crate::support::SECOND),
            scoped.compare_and_set(Vec::new(), Condition::Absent, bytes("v")),
        ] {
            assert!(matches!(refused, Err(Error::Validation(_))), "{refused:?}");
        }
        let longest = vec![b'k'; (64 << 10) - prefix];
        assert!(scoped.put(longest.clone(), bytes("v")).is_ok());
        let longer = [longest, bytes("k")].concat();
        let refused = scoped.put(longer, bytes("v"));
        assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    }
    assert!(Scope::named("").is_err());
    assert!(Scope::named(&"n".repeat(256)).is_err());
}

#[test]
fn every_engine_has_scopes_also_one_that_is_not_known() {
    let Store { engine, .. } = Store::new(26);
    let engine: Arc<dyn KvEngine> = Arc::new(engine);
    engine.scope(named("n")).put(bytes("k"), bytes("v")).unwrap();
    let dynamic: &dyn KvEngine = &*engine;
    assert_eq!(dynamic.scope(named("n")).get(b"k").unwrap().unwrap(), "v");
    dynamic.scope(Scope::Ephemeral).put(bytes("k"), bytes("v")).unwrap();
    assert_eq!(engine.scope(Scope::Ephemeral).len().unwrap(), 1);
}

#[test]
fn a_view_keeps_its_scopes_whatever_is_written_later() {
    let store = Store::new(27);
    let scoped = store.engine.scope(named("n"));
    scoped.put(bytes("k"), bytes("old")).unwrap();
    let view: StateView = store.view();
    scoped.clear().unwrap();
    assert_eq!(view.scope(&named("n")).get(b"k").unwrap().unwrap(), "old");
    assert!(scoped.get(b"k").unwrap().is_none());
}

#[test]
fn plain_calls_reach_no_key_of_a_scope() {
    let store = Store::new(28);
    store.engine.scope(named("n")).put(bytes("k"), bytes("v")).unwrap();
    let physical = named("n").key(b"k").to_vec();
    assert!(matches!(store.engine.get(&physical), Err(Error::ReservedKey)));
    assert!(matches!(store.engine.put(physical, bytes("v")), Err(Error::ReservedKey)));
    assert!(store.engine.is_empty().unwrap());
    store.engine.submit(Command::delete_prefix("")).unwrap();
    assert_eq!(store.engine.scope(named("n")).len().unwrap(), 1);
}
