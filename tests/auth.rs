//! Users, passwords, API keys and roles: the rules of the authentication layer, each by its test.
#![cfg(feature = "auth")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hightower_kv::auth::{Action, Grant, Principal};
use hightower_kv::env::Env;
use hightower_kv::env::clock::ManualClock;
use hightower_kv::{
    AesGcmEncryptor, Argon2SecretHasher, AuthService, Error, KvEngine, SingleNodeEngine,
    StoreConfig, Timestamp,
};

const MASTER: [u8; 32] = [7; 32];
const PASSWORD: &str = "canary-password-1";

type Auth = AuthService<Arc<SingleNodeEngine>, Argon2SecretHasher, AesGcmEncryptor>;

/// A service on a simulated machine, with the clock to move.
fn simulated() -> (Arc<SingleNodeEngine>, Auth, ManualClock) {
    let machine = Env::simulated(1);
    let mut config = StoreConfig::default();
    config.data_dir = "/data".into();
    config.worker_threads = 0;
    let engine = SingleNodeEngine::with_env(&config, machine.env).unwrap();
    let (engine, auth) = engine.into_argon2_hasher_aes_gcm_auth_service(MASTER);
    (engine, auth, machine.clock)
}

fn open(directory: &Path, encryptor: AesGcmEncryptor) -> Auth {
    let engine = Arc::new(SingleNodeEngine::open(directory).unwrap());
    AuthService::new(engine, Argon2SecretHasher::default(), encryptor)
}

#[test]
fn the_seeds_flow_does_what_it_says() {
    let (engine, auth, _) = simulated();
    let user = auth.create_user_with_metadata("captain", PASSWORD, Some(b"ops")).unwrap();
    assert!(auth.verify_password("Captain", PASSWORD).unwrap());
    assert!(!auth.verify_password("captain", "another").unwrap());
    assert!(!auth.verify_password("nobody", PASSWORD).unwrap());
    assert_eq!(auth.decrypt_user_metadata(&user).unwrap().unwrap(), b"ops");
    let (record, token) = auth.create_api_key(&user.user_id, None).unwrap();
    let found = auth.authenticate_api_key(&token).unwrap().unwrap();
    assert_eq!(found.owner_id, user.user_id);
    assert!(auth.revoke_api_key(&record.key_id).unwrap());
    assert!(auth.authenticate_api_key(&token).unwrap().is_none());
    assert!(!auth.revoke_api_key(&record.key_id).unwrap());
    assert_eq!(engine.len().unwrap(), 0);
}

#[test]
fn a10_of_several_that_create_one_name_one_does() {
    let (_, auth, _) = simulated();
    let created = std::thread::scope(|scope| {
        let create = || auth.create_user("Captain ", PASSWORD);
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(create)).collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.filter(|result| !matches!(result, Err(Error::Conflict(_)))).count()
    });
    assert_eq!(created, 1);
    assert_eq!(auth.list_users().unwrap().len(), 1);
}

#[test]
fn plain_access_reaches_no_record_before_and_after_compaction() {
    let (engine, auth, _) = simulated();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let key = [&[0xff; 8][..], b"auth/user/", user.user_id.as_bytes()].concat();
    engine.put(b"plain".to_vec(), b"1".to_vec()).unwrap();
    for _ in 0..2 {
        assert!(matches!(engine.get(&key), Err(Error::ReservedKey)));
        assert!(matches!(engine.get_versioned(&key), Err(Error::ReservedKey)));
        assert!(matches!(engine.contains(&key), Err(Error::ReservedKey)));
        assert!(matches!(engine.get_prefix(&[0xff; 8]), Err(Error::ReservedKey)));
        assert!(matches!(engine.put(key.clone(), vec![]), Err(Error::ReservedKey)));
        assert!(matches!(engine.delete(key.clone()), Err(Error::ReservedKey)));
        assert_eq!(engine.get_prefix(b"").unwrap().len(), 1);
        assert_eq!(engine.scan::<&[u8], _>(..).unwrap().count(), 1);
        assert_eq!(engine.len().unwrap(), 1);
        engine.run_compaction_now().unwrap();
    }
    assert!(auth.verify_password("captain", PASSWORD).unwrap());
}

#[test]
fn a5_ten_failures_lock_a_user_out_for_a_while() {
    let (_, auth, clock) = simulated();
    auth.create_user("captain", PASSWORD).unwrap();
    for _ in 0..10 {
        assert!(!auth.verify_password("captain", "wrong-password").unwrap());
    }
    assert!(!auth.verify_password("captain", PASSWORD).unwrap(), "locked");
    clock.advance(Duration::from_secs(15 * 60 + 1));
    assert!(auth.verify_password("captain", PASSWORD).unwrap(), "no longer");
}

#[test]
fn a8_expired_disabled_and_deleted_are_refused_at_once() {
    let (_, auth, clock) = simulated();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let (key, token) = auth.create_api_key(&user.user_id, None).unwrap();
    let end = Timestamp(1_000_000_000_000 + 60_000_000);
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

#[test]
fn passwords_are_changed_with_the_old_one_or_by_an_administrator() {
    let (_, auth, _) = simulated();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    assert!(!auth.change_password("captain", "wrong-password", "another-one").unwrap());
    assert!(auth.change_password("captain", PASSWORD, "another-one").unwrap());
    assert!(!auth.verify_password("captain", PASSWORD).unwrap());
    auth.reset_password(&user.user_id, "a-third-one").unwrap();
    assert!(auth.verify_password("captain", "a-third-one").unwrap());
    for (name, password) in [("a", "short"), ("password", "Password"), ("a\u{202e}", PASSWORD)] {
        assert!(matches!(auth.create_user(name, password), Err(Error::Validation(_))), "{name}");
    }
    let long = "x".repeat(1025);
    assert!(matches!(auth.create_user("b", &long), Err(Error::TooLarge { .. })));
}

#[test]
fn a11_metadata_of_one_record_does_not_open_in_another() {
    let (_, auth, _) = simulated();
    let mut one = auth.create_user_with_metadata("one", PASSWORD, Some(b"1")).unwrap();
    let two = auth.create_user_with_metadata("two", PASSWORD, Some(b"2")).unwrap();
    one.metadata.clone_from(&two.metadata);
    assert!(matches!(auth.decrypt_user_metadata(&one), Err(Error::Crypto(_))));
}

#[test]
fn a12_after_a_rotation_the_old_master_key_is_needed_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let (old, new) = ((1, MASTER), (2, [8; 32]));
    let auth = open(&path, AesGcmEncryptor::new(MASTER));
    let user = auth.create_user_with_metadata("captain", PASSWORD, Some(b"ops")).unwrap();
    let (_, token) = auth.create_api_key(&user.user_id, None).unwrap();
    drop(auth);
    let auth = open(&path, AesGcmEncryptor::with_keyring(2, [new]).unwrap());
    assert!(matches!(auth.audit(0, 9), Err(Error::UnknownKey { id: 1 })));
    drop(auth);
    let auth = open(&path, AesGcmEncryptor::with_keyring(2, [old, new]).unwrap());
    assert_eq!(auth.rotate_master_key().unwrap(), 2);
    assert_eq!(auth.rotate_master_key().unwrap(), 0);
    drop(auth);
    let auth = open(&path, AesGcmEncryptor::with_keyring(2, [new]).unwrap());
    let user = auth.find_user("captain").unwrap().unwrap();
    assert_eq!(auth.decrypt_user_metadata(&user).unwrap().unwrap(), b"ops");
    assert!(auth.authenticate_api_key(&token).unwrap().is_some());
}

#[test]
fn a14_no_secret_is_in_a_file_or_in_debug() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let auth = open(&path, AesGcmEncryptor::new(MASTER));
    let user = auth.create_user_with_metadata("captain", PASSWORD, Some(b"canary-data")).unwrap();
    let (key, token) = auth.create_api_key(&user.user_id, None).unwrap();
    assert!(auth.verify_password("captain", PASSWORD).unwrap());
    assert!(auth.authenticate_api_key(&token).unwrap().is_some());
    let shown = format!("{auth:?} {user:?} {key:?} {token:?} {:?}", AesGcmEncryptor::new(MASTER));
    let secret = token.split('_').nth(2).unwrap().to_owned();
    assert!(!shown.contains("canary") && !shown.contains(&secret), "{shown}");
    assert!(!shown.contains("$argon2id$"), "{shown}");
    drop(auth);
    let mut files = Vec::new();
    let mut directories = vec![path];
    while let Some(directory) = directories.pop() {
        #[expect(clippy::disallowed_methods, reason = "what is really on disk")]
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push(std::fs::read(path).unwrap());
            }
        }
    }
    assert!(files.len() > 3);
    let holds = |needle: &[u8]| {
        files.iter().any(|file| file.windows(needle.len()).any(|window| window == needle))
    };
    assert!(holds(b"$argon2id$"), "the search finds what is there");
    for needle in [PASSWORD.as_bytes(), b"canary-data", secret.as_bytes(), &MASTER] {
        assert!(!holds(needle), "{}", needle.escape_ascii());
    }
}

#[test]
fn a17_every_change_is_in_the_trail_which_verifies() {
    let (_, auth, _) = simulated();
    let auth = auth.acting_as("admin");
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let (key, _) = auth.create_api_key(&user.user_id, None).unwrap();
    auth.revoke_api_key(&key.key_id).unwrap();
    auth.disable_user(&user.user_id).unwrap();
    let rows = auth.audit(1, u64::MAX).unwrap();
    let actions: Vec<&str> = rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["user.create", "apikey.create", "apikey.revoke", "user.disable"]);
    assert!(rows.iter().all(|row| row.actor == "admin"));
    assert!(rows.is_sorted_by(|a, b| a.version < b.version && a.timestamp <= b.timestamp));
    assert_eq!(auth.audit(2, 3).unwrap().len(), 2);
}

#[test]
fn a17_a_removed_or_changed_row_is_found() {
    use hightower_kv::Command;
    let key =
        |number: u64| [&[0xff; 8][..], format!("auth/audit/{number:020}").as_bytes()].concat();
    let change: [&dyn Fn(&SingleNodeEngine) -> Command; 3] =
        [&|_| Command::delete(key(2)), &|_| Command::delete(key(3)), &|engine| {
            let row = engine.read_with(|view| view.reserved().get(&key(2)).unwrap().unwrap());
            let mut bytes = row.value.to_vec();
            if let Some(byte) = bytes.get_mut(9) {
                *byte ^= 1;
            }
            Command::set(key(2), bytes)
        }];
    for (at, change) in change.iter().enumerate() {
        let (engine, auth, _) = simulated();
        let user = auth.create_user("captain", PASSWORD).unwrap();
        auth.disable_user(&user.user_id).unwrap();
        auth.enable_user(&user.user_id).unwrap();
        engine.submit(Command::reserved([], [change(&engine)])).unwrap();
        let found = auth.audit(1, 9);
        assert!(matches!(found, Err(Error::AuditBroken { .. })), "{at}: {found:?}");
    }
}

#[test]
fn what_no_role_permits_is_refused() {
    let (_, auth, _) = simulated();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let (key, _) = auth.create_api_key(&user.user_id, None).unwrap();
    let grant = Grant { prefix: b"ship/".to_vec(), read: true, write: false };
    auth.put_role("Crew", vec![grant]).unwrap();
    let (by_user, by_key) = (Principal::User(&user.user_id), Principal::ApiKey(&key.key_id));
    let may = |who, action, key: &[u8]| auth.authorize(who, action, key).unwrap();
    assert!(!may(by_user, Action::Read, b"ship/log"));
    assert!(matches!(auth.set_user_roles(&user.user_id, &["none"]), Err(Error::NotFound(_))));
    auth.set_user_roles(&user.user_id, &["crew"]).unwrap();
    assert!(may(by_user, Action::Read, b"ship/log") && may(by_key, Action::Read, b"ship/log"));
    assert!(!may(by_user, Action::Write, b"ship/log"));
    assert!(!may(by_user, Action::Read, b"shore"));
    assert!(!may(by_user, Action::Read, &[0xff; 9]));
    assert!(auth.delete_role("crew").unwrap());
    assert!(!may(by_user, Action::Read, b"ship/log"));
}
