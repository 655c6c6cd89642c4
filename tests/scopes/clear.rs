//! A scope is cleared as a whole: one entry, all or none.

use hightower_kv::{Outcome, Scope};

use crate::support::{Store, bytes, named, opened};

const KEYS: u64 = 40;

fn fill(store: &Store) {
    for number in 0..KEYS {
        let key = || format!("{number:03}").into_bytes();
        for scope in [named("a"), named("b"), Scope::Ephemeral, Scope::Permanent] {
            store.engine.scope(scope).put(key(), bytes("v")).unwrap();
        }
    }
}

fn len(store: &Store, scope: Scope) -> u64 {
    store.engine.scope(scope).len().unwrap() as u64
}

#[test]
fn clearing_is_one_entry_and_spares_everything_else() {
    let store = Store::new(40);
    fill(&store);
    let before = store.view().version().unwrap();
    let cleared = store.engine.scope(named("a")).clear().unwrap();
    assert_eq!(cleared.outcome, Outcome::Removed { keys: KEYS });
    assert_eq!(store.view().version().unwrap().0, before.0 + 1);
    assert_eq!(len(&store, named("a")), 0);
    for scope in [named("b"), Scope::Ephemeral, Scope::Permanent] {
        assert_eq!(len(&store, scope), KEYS);
    }
    assert_eq!(store.engine.scope(named("a")).clear().unwrap().outcome, Outcome::NotFound);
    let cleared = store.engine.scope(Scope::Permanent).clear().unwrap();
    assert_eq!(cleared.outcome, Outcome::Removed { keys: KEYS });
    assert_eq!(len(&store, named("b")), KEYS);
    let store = store.reopen();
    assert_eq!((len(&store, named("a")), len(&store, named("b"))), (0, KEYS));
}

#[test]
fn a_kill_at_any_moment_of_clearing_leaves_all_or_none() {
    let store = Store::new(41);
    fill(&store);
    store.engine.run_compaction_now().unwrap();
    store.sim.fs.start_history();
    store.engine.scope(named("a")).clear().unwrap();
    store.engine.flush().unwrap();
    let images = store.sim.fs.take_history();
    assert!(!images.is_empty());
    let mut seen = Vec::new();
    for image in &images {
        let store = opened(image);
        let left = len(&store, named("a"));
        assert!(left == 0 || left == KEYS, "{left}");
        assert_eq!((len(&store, named("b")), len(&store, Scope::Ephemeral)), (KEYS, 0));
        seen.push(left);
    }
    assert_eq!(seen.last(), Some(&0));
}
