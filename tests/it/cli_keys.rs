//! `htkvctl key`, `list-users` and `audit` on stores with much in them, or beside a clock that is
//! behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use hightower_kv::auth::ApiKeyOptions;
use hightower_kv::env::Env;
use hightower_kv::env::clock::ManualClock;
use hightower_kv::{
    AesGcmEncryptor, Argon2SecretHasher, AuthService, KvEngine, SingleNodeEngine, StoreConfig,
    Timestamp,
};

use crate::cli::Ctl;
use crate::cli_auth::{KEY, library, ok};

const DAY_MICROS: u64 = 86_400 * 1_000_000;

#[test]
fn the_end_of_a_key_is_held_against_the_time_of_the_log_where_that_is_later() {
    let ctl = Ctl::new();
    ok(&ctl, &["user", "add", "captain"]);
    let mut config = StoreConfig::default();
    config.data_dir = ctl.directory();
    // A clock that was a year ahead: the log has gone there, and stays.
    let system = Env::system();
    let ahead = system.clock.now().0 + 365 * DAY_MICROS;
    let env = Env { clock: Arc::new(ManualClock::new(Timestamp(ahead))), ..system };
    let engine = SingleNodeEngine::with_env(&config, env).unwrap();
    engine.put(b"a".to_vec(), b"1".to_vec()).unwrap();
    engine.close().unwrap();
    let token = ok(&ctl, &["key", "issue", "captain", "--expires-in", "90d"]);
    let accepted = library(&ctl, &[(1, KEY)]).authenticate_api_key(token.trim_end()).unwrap();
    let end = accepted.expect("it has not expired").expires_at.unwrap().0;
    assert!((ahead + 90 * DAY_MICROS..ahead + 91 * DAY_MICROS).contains(&end), "{end}");
    assert!(ok(&ctl, &["key", "list", "captain"]).contains("\tvalid\t"));
    // One whose end the log has passed is refused, and is shown so.
    let engine = Arc::new(SingleNodeEngine::open(ctl.directory()).unwrap());
    let auth = AuthService::new(
        Arc::clone(&engine),
        Argon2SecretHasher::default(),
        AesGcmEncryptor::new(KEY),
    );
    let user = auth.find_user("captain").unwrap().unwrap();
    let (_, token) = auth.create_api_key(&user.user_id, Some(Timestamp(ahead))).unwrap();
    assert!(auth.authenticate_api_key(&token).unwrap().is_none());
    drop(auth);
    Arc::into_inner(engine).unwrap().close().unwrap();
    let listed = ok(&ctl, &["key", "list", "captain"]);
    assert_eq!(listed.matches("\texpired\t").count(), 1, "{listed}");
}

#[test]
fn users_keys_and_rows_of_the_trail_are_listed_however_many_there_are() {
    let ctl = Ctl::new();
    let engine = Arc::new(SingleNodeEngine::open(ctl.directory()).unwrap());
    let weak = Argon2SecretHasher::with_parameters(19 * 1024, 2, 1).unwrap();
    let auth = AuthService::new(Arc::clone(&engine), weak, AesGcmEncryptor::new(KEY));
    let users: BTreeSet<String> = (0..130)
        .map(|number| auth.create_user(&format!("user-{number:03}"), "a password").unwrap().user_id)
        .collect();
    let owner = auth.find_user("user-007").unwrap().unwrap();
    let keys: BTreeSet<String> = (0..128)
        .map(|_| auth.create_api_key_with(&owner.user_id, &ApiKeyOptions::new()).unwrap().0.key_id)
        .collect();
    drop(auth);
    Arc::into_inner(engine).unwrap().close().unwrap();
    let firsts = |args: &[&str]| -> Vec<String> {
        ok(&ctl, args).lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    };
    let listed = firsts(&["list-users"]);
    assert_eq!(listed.len(), 130);
    assert!(listed.into_iter().collect::<BTreeSet<_>>() == users);
    let listed = firsts(&["key", "list", "user-007"]);
    assert!(listed.is_sorted() && listed.len() == 128);
    assert!(listed.into_iter().collect::<BTreeSet<_>>() == keys);
    assert!(ok(&ctl, &["user", "show", "user-007"]).contains("api keys  128\n"));
    let rows = firsts(&["audit", "--from", "3", "--to", "257"]);
    assert_eq!(rows, (3..=257).map(|number| number.to_string()).collect::<Vec<_>>());
}
