//! API keys: from when, for whom and until when they are accepted.

use std::sync::Arc;
use std::time::Duration;

use hightower_kv::auth::{ApiKeyOptions, Grant};
use hightower_kv::env::Env;
use hightower_kv::{AesGcmEncryptor, AuthService, Command, Error, KvEngine, SingleNodeEngine};
use hightower_kv::{Timestamp, Version};

use crate::support::{
    FastAuth, FastHasher, MASTER, PASSWORD, engine_on, fast_on, simulated, simulated_fast,
};
use crate::tokens;

/// What a simulated clock shows first.
const START: u64 = 1_000_000_000_000;
const SECOND: u64 = 1_000_000;

fn reserved(key: &str) -> Vec<u8> {
    [&[0xff; 8][..], key.as_bytes()].concat()
}

fn latest(engine: &SingleNodeEngine) -> Version {
    engine.stats().latest_version
}

/// Reserved keys below a prefix.
fn rows_below(engine: &SingleNodeEngine, prefix: &str) -> usize {
    engine.read_with(|view| view.reserved().rows(&reserved(prefix), None, 99_999).unwrap().len())
}

#[test]
fn a8_expired_disabled_and_deleted_are_refused_at_once() {
    let (_, auth, clock) = simulated();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let (key, token) = auth.create_api_key(&user.user_id, None).unwrap();
    let end = Timestamp(START + 60 * SECOND);
    let (_, short) = auth.create_api_key(&user.user_id, Some(end)).unwrap();
    assert!(auth.authenticate_api_key(&short).unwrap().is_some());
    clock.advance(Duration::from_secs(61));
    assert!(auth.authenticate_api_key(&short).unwrap().is_none());
    assert_eq!(auth.list_api_keys(&user.user_id).unwrap().len(), 2);
    assert!(auth.authenticate_api_key(&token).unwrap().is_some());
    assert!(auth.api_key_last_used(&key.key_id).unwrap().is_some());
    auth.disable_user(&user.user_id).unwrap();
    assert!(auth.authenticate_api_key(&token).unwrap().is_none());
    assert!(!auth.verify_password("captain", PASSWORD).unwrap());
    auth.enable_user(&user.user_id).unwrap();
    assert!(auth.authenticate_api_key(&token).unwrap().is_some());
    auth.delete_user(&user.user_id).unwrap();
    assert!(auth.authenticate_api_key(&token).unwrap().is_none());
    assert!(matches!(auth.create_api_key(&user.user_id, None), Err(Error::NotFound(_))));
    assert!(auth.find_user("captain").unwrap().is_none());
}

/// What another service on the same engine changes of a key that this one has accepted before.
#[test]
fn a8_what_was_accepted_before_is_held_against_the_rows_as_they_are() {
    let (engine, auth, _) = simulated_fast();
    let other = fast_on(&engine, engine.env().clone());
    let accepts = |token: &str| auth.authenticate_api_key(token).unwrap().is_some();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let id = user.user_id.as_str();
    let (key, token) = auth.create_api_key(id, None).unwrap();
    let (_, second) = other.create_api_key(id, None).unwrap();
    assert!(accepts(&token) && accepts(&second));
    for _ in 0..3 {
        other.disable_user(id).unwrap();
        assert!(!accepts(&token) && !accepts(&second), "disabled");
        other.enable_user(id).unwrap();
        assert!(accepts(&token) && accepts(&second), "enabled");
        other.reset_password(id, "another-password").unwrap();
        engine.run_compaction_now().unwrap();
        assert!(accepts(&token) && accepts(&second), "another password, and in tables");
    }
    assert!(other.revoke_api_key(&key.key_id).unwrap());
    assert!(!accepts(&token) && accepts(&second), "revoked");
    other.delete_user(id).unwrap();
    assert!(!accepts(&second), "deleted");
    let again = other.create_user("captain", PASSWORD).unwrap();
    assert!(again.user_id != user.user_id && !accepts(&second), "the name is another's");
}

#[test]
fn a_key_is_shown_as_it_is_after_a_rotation_by_another_service() {
    let (engine, auth, _) = simulated_fast();
    let keyring = || AesGcmEncryptor::with_keyring(2, [(1, MASTER), (2, [8; 32])]).unwrap();
    let service = |encryptor| {
        let env = engine.env().clone();
        AuthService::with_env(Arc::clone(&engine), FastHasher::default(), encryptor, env)
    };
    let (both, rotating) = (service(keyring()), service(keyring()));
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let (_, token) =
        auth.create_api_key_with_metadata(&user.user_id, None, Some(b"bridge")).unwrap();
    let under = || both.authenticate_api_key(&token).unwrap().unwrap().metadata.unwrap().key_id;
    assert_eq!(under(), 1);
    assert!(rotating.rotate_master_key().unwrap() > 0);
    assert_eq!(under(), 2);
    let key = both.authenticate_api_key(&token).unwrap().unwrap();
    assert_eq!(both.decrypt_api_key_metadata(&key).unwrap().unwrap(), b"bridge");
}

#[test]
fn a8_an_expired_key_stays_so_when_the_clock_goes_back_and_after_a_restart() {
    let machine = Env::simulated(1);
    let engine = Arc::new(engine_on(machine.env.clone()));
    let auth = fast_on(&engine, machine.env.clone());
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let end = Timestamp(START + 60 * SECOND);
    let (key, token) = auth.create_api_key(&user.user_id, Some(end)).unwrap();
    let accepts = |auth: &FastAuth| auth.authenticate_api_key(&token).unwrap().is_some();
    machine.clock.set_now(Timestamp(end.0 - 1));
    assert!(accepts(&auth), "a microsecond before its end");
    machine.clock.set_now(end);
    assert!(!accepts(&auth), "at its end");
    machine.clock.set_now(Timestamp(START));
    assert!(!accepts(&auth), "the clock went back");
    let by_key = hightower_kv::auth::Principal::ApiKey(&key.key_id);
    let read = hightower_kv::auth::Action::Read;
    auth.put_role("all", vec![Grant::to_read("")]).unwrap();
    auth.set_user_roles(&user.user_id, &["all"]).unwrap();
    assert!(!auth.authorize(by_key, read, b"ship").unwrap());
    let before = latest(&engine);
    for _ in 0..100 {
        assert!(!accepts(&auth));
    }
    assert_eq!(latest(&engine), before, "told once");
    drop((auth, engine));
    let engine = Arc::new(engine_on(machine.env.clone()));
    assert!(!accepts(&fast_on(&engine, machine.env)), "after a restart");
}

#[test]
fn a8_time_that_one_check_has_seen_does_not_go_back_for_another() {
    let (engine, auth, clock) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let end = Timestamp(START + 30 * SECOND);
    let (_, ending) = auth.create_api_key(&user.user_id, Some(end)).unwrap();
    let (_, other) = auth.create_api_key(&user.user_id, None).unwrap();
    assert!(auth.authenticate_api_key(&other).unwrap().is_some());
    let before = latest(&engine);
    clock.set_now(end);
    assert!(auth.authenticate_api_key(&other).unwrap().is_some());
    clock.set_now(Timestamp(START));
    assert_eq!(latest(&engine), before, "the log does not know of that time");
    assert!(auth.authenticate_api_key(&ending).unwrap().is_none());
}

#[test]
fn a6_a_right_id_with_another_secret_is_refused_also_after_the_right_one() {
    let (_, auth, _) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let (key, token) = auth.create_api_key(&user.user_id, None).unwrap();
    // Another store's key, made to look as if it had this id: its checksum is right.
    for secret in [[7; 32], [0; 32], [255; 32]] {
        let forged = tokens::make(&key.key_id, secret);
        assert!(auth.authenticate_api_key(&forged).unwrap().is_none());
        assert!(auth.authenticate_api_key(&token).unwrap().is_some());
    }
    assert_eq!(tokens::make(&key.key_id, tokens::secret_of(&token)), *token, "forged well");
}

#[test]
fn issued_with_options_listed_without_secrets_and_revoked_once() {
    let (_, auth, _) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let options = ApiKeyOptions::new()
        .label("bridge")
        .expires_at(Timestamp(START * 2))
        .grants([Grant::to_read("ship/")])
        .metadata(b"canary-data");
    let (key, token) = auth.create_api_key_with(&user.user_id, &options).unwrap();
    let listed = auth.list_api_keys(&user.user_id).unwrap();
    assert_eq!(listed, std::slice::from_ref(&key));
    assert_eq!((key.label.as_str(), key.expires_at), ("bridge", Some(Timestamp(START * 2))));
    assert_eq!(key.grants.as_deref(), Some(&[Grant::to_read("ship/")][..]));
    assert_eq!(auth.authenticate_api_key(&token).unwrap().unwrap(), key);
    let shown = format!("{listed:?} {options:?} {token:?}");
    assert!(!shown.contains("canary") && !shown.contains(&token[27..60]), "{shown}");
    assert!(auth.revoke_api_key(&key.key_id).unwrap());
    assert!(!auth.revoke_api_key(&key.key_id).unwrap(), "again");
    assert!(!auth.revoke_api_key("unknown").unwrap());
    assert!(auth.list_api_keys(&user.user_id).unwrap().is_empty());
    let large = ApiKeyOptions::new().metadata(&vec![7; 65_537]);
    let refused = auth.create_api_key_with(&user.user_id, &large);
    assert!(matches!(refused, Err(Error::TooLarge { limit: 65_536, .. })));
}

#[test]
fn a_user_has_at_most_ten_thousand_keys() {
    let (engine, auth, _) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let (key, _) = auth.create_api_key(&user.user_id, None).unwrap();
    let count = reserved(&format!("auth/apikey_count/{}", user.user_id));
    let has = |keys: u64| [&[1][..], &keys.to_le_bytes()].concat();
    let stored = || engine.read_with(|view| view.reserved().get(&count).unwrap().unwrap().value);
    assert_eq!(&*stored(), &*has(1));
    engine.submit(Command::reserved([], [Command::set(count.clone(), has(9_999))])).unwrap();
    auth.create_api_key(&user.user_id, None).unwrap();
    let refused = auth.create_api_key(&user.user_id, None);
    assert!(matches!(refused, Err(Error::Conflict(_))), "one more");
    auth.revoke_api_key(&key.key_id).unwrap();
    auth.create_api_key(&user.user_id, None).unwrap();
}

#[test]
fn a_user_with_as_many_keys_as_may_be_is_deleted_by_one_command() {
    let (engine, auth, _) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let (key, token) = auth.create_api_key(&user.user_id, None).unwrap();
    assert!(auth.authenticate_api_key(&token).unwrap().is_some());
    let row = |number: u64| {
        let id = format!("{number:022}");
        let at = reserved(&format!("auth/apikey_by_user/{}/{id}", user.user_id));
        Command::set(at, id.into_bytes())
    };
    engine.submit(Command::reserved([], (1..10_000).map(row))).unwrap();
    let before = latest(&engine);
    auth.delete_user(&user.user_id).unwrap();
    assert_eq!(latest(&engine).0, before.0 + 1);
    assert_eq!(rows_below(&engine, "auth/apikey"), 0);
    assert!(auth.api_key_last_used(&key.key_id).unwrap().is_none());
}

#[test]
fn a9_a_use_is_written_down_once_a_minute_whichever_service_saw_it() {
    let (engine, auth, clock) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let (key, token) = auth.create_api_key(&user.user_id, None).unwrap();
    let other = fast_on(&engine, engine.env().clone());
    let writes = || {
        let before = latest(&engine).0;
        for _ in 0..500 {
            assert!(auth.authenticate_api_key(&token).unwrap().is_some());
            assert!(other.authenticate_api_key(&token).unwrap().is_some());
        }
        latest(&engine).0 - before
    };
    let last_used = || auth.api_key_last_used(&key.key_id).unwrap();
    assert_eq!((last_used(), writes()), (None, 1));
    assert_eq!(last_used(), Some(Timestamp(START)));
    clock.advance(Duration::from_secs(59));
    assert_eq!(writes(), 0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(writes(), 1);
    assert_eq!(last_used(), Some(Timestamp(START + 60 * SECOND)));
    clock.set_now(Timestamp(START));
    assert_eq!(writes(), 0, "the clock went back");
    let restarted = fast_on(&engine, engine.env().clone());
    let before = latest(&engine);
    assert!(restarted.authenticate_api_key(&token).unwrap().is_some());
    assert_eq!(latest(&engine), before, "as after a restart");
    auth.revoke_api_key(&key.key_id).unwrap();
    clock.set_now(Timestamp(START + 600 * SECOND));
    assert!(other.authenticate_api_key(&token).unwrap().is_none());
    assert_eq!(last_used(), None);
}

#[test]
fn a9_a_wrong_secret_writes_nothing_and_is_no_use() {
    let (engine, auth, _) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let (key, _) = auth.create_api_key(&user.user_id, Some(Timestamp(START))).unwrap();
    let before = latest(&engine);
    assert!(auth.authenticate_api_key(&tokens::make(&key.key_id, [7; 32])).unwrap().is_none());
    assert_eq!(latest(&engine), before);
    assert!(auth.api_key_last_used(&key.key_id).unwrap().is_none());
}
