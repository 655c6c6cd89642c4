//! Scopes and times: what is removed by itself is told as what somebody removes.

use std::time::Duration;

use hightower_kv::env::Env;
use hightower_kv::env::fs_sim::SimFs;
use hightower_kv::{
    Change, KvEngine, Scope, SingleNodeEngine, WatchEngine, WatchEvent, WatchOptions, Watcher,
};

use crate::support::{open_sim, sim_config};

/// Key and value of each change of the next event; `None` when there is none.
fn next(watcher: &mut Watcher) -> Option<Vec<(String, Option<String>)>> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let event = watcher.try_next().unwrap()?;
    Some(match event {
        WatchEvent::Row { key, value, .. } => vec![(text(&key), Some(text(&value)))],
        WatchEvent::Current { .. } => Vec::new(),
        WatchEvent::Changed(entry) => entry
            .changes
            .iter()
            .map(|Change { key, value, .. }| (text(key), value.as_deref().map(text)))
            .collect(),
        other => panic!("unknown: {other:?}"),
    })
}

fn set(key: &str, value: &str) -> (String, Option<String>) {
    (key.to_owned(), Some(value.to_owned()))
}

fn removed(key: &str) -> (String, Option<String>) {
    (key.to_owned(), None)
}

#[test]
fn each_scope_is_watched_by_itself_with_its_own_keys_and_values() {
    let engine = open_sim(&SimFs::new(1));
    let named = || Scope::named("cache").unwrap();
    let watch = |options: WatchOptions| engine.watch_with(options).unwrap();
    let mut plain = watch(WatchOptions::new(b"k"));
    let mut of_named = watch(WatchOptions::new(b"k").scope(named()));
    let mut of_ephemeral = watch(WatchOptions::new(b"k").scope(Scope::Ephemeral));
    engine.scope(named()).put(b"k1".to_vec(), b"named".to_vec()).unwrap();
    engine.scope(named()).put(b"other".to_vec(), b"named".to_vec()).unwrap();
    engine.scope(Scope::Ephemeral).put(b"k2".to_vec(), b"ephemeral".to_vec()).unwrap();
    engine.put(b"k3".to_vec(), b"plain".to_vec()).unwrap();
    assert_eq!(next(&mut plain), Some(vec![set("k3", "plain")]));
    assert_eq!(next(&mut of_named), Some(vec![set("k1", "named")]));
    assert_eq!(next(&mut of_ephemeral), Some(vec![set("k2", "ephemeral")]));
    // Clearing is one entry.
    engine.scope(named()).put(b"k0".to_vec(), b"named".to_vec()).unwrap();
    engine.scope(named()).clear().unwrap();
    assert_eq!(next(&mut of_named), Some(vec![set("k0", "named")]));
    assert_eq!(next(&mut of_named), Some(vec![removed("k0"), removed("k1")]));
    for watcher in [&mut plain, &mut of_named, &mut of_ephemeral] {
        assert_eq!(next(watcher), None);
    }
}

#[test]
fn the_state_of_a_scope_is_told_as_that_of_the_plain_keyspace() {
    let engine = open_sim(&SimFs::new(2));
    let run = engine.scope(Scope::Ephemeral);
    for key in ["a", "b1", "b2"] {
        run.put(key.into(), b"v".to_vec()).unwrap();
    }
    engine.put(b"b3".to_vec(), b"plain".to_vec()).unwrap();
    engine.run_compaction_now().unwrap();
    let options = WatchOptions::new(b"b").scope(Scope::Ephemeral).with_state();
    let mut watcher = engine.watch_with(options).unwrap();
    assert_eq!(next(&mut watcher), Some(vec![set("b1", "v")]));
    assert_eq!(next(&mut watcher), Some(vec![set("b2", "v")]));
    assert_eq!(next(&mut watcher), Some(Vec::new()));
    run.delete(b"b1".to_vec()).unwrap();
    assert_eq!(next(&mut watcher), Some(vec![removed("b1")]));
    let Some(WatchEvent::Changed(entry)) = ({
        run.put(b"b2".to_vec(), b"long".to_vec()).unwrap();
        watcher.try_next().unwrap()
    }) else {
        panic!("not a change");
    };
    // The length of the value that was shown, not of what is stored.
    assert_eq!(entry.changes[0].before, Some(1));
}

#[test]
fn a_key_whose_time_is_over_is_told_as_removed() {
    let sim = Env::simulated(3);
    let engine = SingleNodeEngine::with_env(&sim_config(), sim.env.clone()).unwrap();
    let mut watcher = engine.watch(b"s/").unwrap();
    let second = Duration::from_secs(1);
    engine.put_with_ttl(b"s/1".to_vec(), b"x".to_vec(), second).unwrap();
    assert_eq!(next(&mut watcher), Some(vec![set("s/1", "x")]));
    sim.clock.advance(2 * second);
    // Without threads whoever writes does what is due.
    engine.put(b"tick".to_vec(), b"1".to_vec()).unwrap();
    engine.put(b"tick".to_vec(), b"2".to_vec()).unwrap();
    assert_eq!(next(&mut watcher), Some(vec![removed("s/1")]));
    assert_eq!(next(&mut watcher), None);
}
