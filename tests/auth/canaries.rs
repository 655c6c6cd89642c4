//! Rule A14: canaries in place of every secret go through every call, and are then looked for in
//! all that leaves the process.

use std::fmt::Debug;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use hightower_kv::auth::{Action, Grant, PasswordPolicy, Principal};
use hightower_kv::{
    AesGcmEncryptor, Argon2SecretHasher, AuthService, BcryptSecretHasher, Compression, Error,
    ReadOnlyEngine, SecretHasher, SingleNodeEngine, StoreConfig,
};

use crate::support::in_own_process;

const OLD_MASTER: &[u8; 32] = b"canary-master-key-one-0123456789";
const NEW_MASTER: &[u8; 32] = b"canary-master-key-two-0123456789";
const PEPPER: &[u8] = b"canary-pepper";

/// All that is logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// All that is shown: `Debug` of records and errors, and what errors say.
#[derive(Default)]
struct Shown(String);

impl Shown {
    fn show(&mut self, what: &impl Debug) {
        use std::fmt::Write;
        writeln!(self.0, "{what:?} {what:#?}").unwrap();
    }

    fn fails<T: Debug>(&mut self, result: Result<T, Error>) {
        let error = result.unwrap_err();
        self.show(&error);
        self.0.push_str(&error.to_string());
    }
}

type Auth = AuthService<Arc<SingleNodeEngine>, Argon2SecretHasher, AesGcmEncryptor>;

fn service(engine: &Arc<SingleNodeEngine>, current: u32) -> Auth {
    let keys = [(1, *OLD_MASTER), (2, *NEW_MASTER)];
    let encryptor = AesGcmEncryptor::with_keyring(current, keys).unwrap();
    let hasher = Argon2SecretHasher::default().with_pepper(PEPPER);
    AuthService::new(Arc::clone(engine), hasher, encryptor)
}

/// Calls everything. Returns the secrets of the tokens.
fn call_everything(engine: &Arc<SingleNodeEngine>, shown: &mut Shown) -> Vec<String> {
    let auth = service(engine, 1).acting_as("admin");
    let user = auth.create_user_with_metadata("one", "canary-password-1", Some(b"canary-data-1"));
    let user = user.unwrap();
    let id = &user.user_id;
    auth.create_user("two", "canary-password-2").unwrap();
    shown.fails(auth.create_user("two", "canary-password-3"));
    shown.fails(auth.create_user("canary-password-4", "canary-password-4"));
    shown.fails(auth.create_user("x", &"canary-long-password".repeat(60)));
    shown.fails(
        auth.with_password_policy(PasswordPolicy::with_characters_min(99))
            .create_user("y", "canary-short"),
    );
    let auth = service(engine, 1);
    assert!(auth.verify_password("one", "canary-password-1").unwrap());
    for _ in 0..6 {
        assert!(!auth.verify_password("one", "canary-wrong-password").unwrap());
        assert!(!auth.verify_password("nobody", "canary-wrong-password").unwrap());
    }
    assert!(auth.change_password("one", "canary-password-1", "canary-password-5").unwrap());
    auth.reset_password(id, "canary-password-6").unwrap();
    shown.fails(auth.reset_password("none", "canary-password-7"));
    shown.show(&auth.set_user_metadata(id, Some(b"canary-data-2")).unwrap());
    shown.fails(auth.set_user_metadata(id, Some(&b"canary-long-data".repeat(9000))));
    let (key, token) = auth.create_api_key_with_metadata(id, None, Some(b"canary-data-3")).unwrap();
    let (gone, revoked) = auth.create_api_key(id, None).unwrap();
    shown.show(&auth.authenticate_api_key(&token).unwrap().unwrap());
    shown.show(&(&user, &key, &gone, &token, &revoked));
    assert!(auth.revoke_api_key(&gone.key_id).unwrap());
    assert!(auth.authenticate_api_key(&revoked).unwrap().is_none());
    assert!(auth.authenticate_api_key(&token.replace('_', "-")).unwrap().is_none());
    shown.fails(auth.create_api_key_with_metadata("none", None, Some(b"canary-data-4")));
    let grant = Grant { prefix: b"a/".to_vec(), read: true, write: false };
    shown.show(&auth.put_role("crew", vec![grant]).unwrap());
    auth.set_user_roles(id, &["crew"]).unwrap();
    assert!(auth.authorize(Principal::ApiKey(&key.key_id), Action::Read, b"a/b").unwrap());
    auth.disable_user(id).unwrap();
    assert!(!auth.verify_password("one", "canary-password-6").unwrap());
    auth.enable_user(id).unwrap();
    auth.unlock_user(id).unwrap();
    shown.show(&auth.list_users().unwrap());
    shown.show(&auth.list_api_keys(id).unwrap());
    shown.show(&(auth.last_login(id).unwrap(), auth.api_key_last_used(&key.key_id).unwrap()));
    let mut moved = auth.find_user("one").unwrap().unwrap();
    moved.metadata.clone_from(&key.metadata);
    shown.fails(auth.decrypt_user_metadata(&moved));
    let auth = service(engine, 2);
    assert_eq!(auth.rotate_master_key().unwrap(), 3);
    let found = auth.find_user("one").unwrap().unwrap();
    assert_eq!(auth.decrypt_user_metadata(&found).unwrap().unwrap(), b"canary-data-2");
    assert_eq!(
        auth.decrypt_api_key_metadata(&auth.list_api_keys(id).unwrap()[0]).unwrap().unwrap(),
        b"canary-data-3"
    );
    let old = AesGcmEncryptor::new(*OLD_MASTER);
    let without = AuthService::new(Arc::clone(engine), BcryptSecretHasher::default(), old.clone());
    shown.fails(without.decrypt_user_metadata(&found));
    shown.fails(without.audit(1, 9));
    shown.fails(AesGcmEncryptor::with_keyring(3, [(1, *OLD_MASTER)]));
    shown.fails(BcryptSecretHasher::default().hash(&[b'c'; 99], &hightower_kv::env::rng::OsRng));
    let hasher = Argon2SecretHasher::default().with_pepper(PEPPER);
    shown.fails(hasher.verify(b"canary-password", "canary-hash"));
    shown.show(&auth.audit(1, u64::MAX).unwrap());
    shown.show(&(&auth, &old, &hasher, BcryptSecretHasher::default(), engine));
    auth.delete_user(&auth.find_user("two").unwrap().unwrap().user_id).unwrap();
    let secret = |token: &str| token.split('_').nth(2).unwrap().to_owned();
    vec![secret(&token), secret(&revoked)]
}

/// The bytes of every file below a directory.
fn files(directory: &Path) -> Vec<Vec<u8>> {
    let (mut files, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push(std::fs::read(path).unwrap());
            }
        }
    }
    files
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn a14_no_secret_is_in_a_file_a_backup_the_log_debug_or_an_error() {
    if !in_own_process("canaries::a14_no_secret_is_in_a_file_a_backup_the_log_debug_or_an_error") {
        return;
    }
    let logged = Logged::default();
    let writer = logged.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let directory = tempfile::tempdir().unwrap();
    let (data, copy) = (directory.path().join("data"), directory.path().join("copy"));
    let mut config = StoreConfig::default();
    config.data_dir.clone_from(&data);
    config.compression = Compression::Off;
    let engine = Arc::new(SingleNodeEngine::with_config(config).unwrap());
    let mut shown = Shown::default();
    let secrets = call_everything(&engine, &mut shown);
    // As a log, then as tables and snapshot, each with its backup.
    let mut places = vec![("the log", files(&data))];
    engine.run_compaction_now().unwrap();
    engine.backup(&copy).unwrap();
    places.extend([("the tables", files(&data)), ("the backup", files(&copy))]);
    drop(engine);
    for entry in ReadOnlyEngine::open(&copy).unwrap().entries(None) {
        shown.show(&entry.unwrap());
    }
    for (place, files) in &places {
        let is_found = files.iter().any(|file| holds(file, b"$argon2id$"));
        assert!(is_found, "the search finds what is in {place}");
    }
    places.push(("what is shown", vec![shown.0.into_bytes()]));
    let log = logged.0.lock().unwrap().clone();
    assert!(holds(&log, b"TRACE") || holds(&log, b"DEBUG"), "the log is written");
    places.push(("what is logged", vec![log]));
    let mut needles: Vec<Vec<u8>> = vec![b"canary".to_vec()];
    needles.extend(secrets.into_iter().map(String::into_bytes));
    let mut searched = 0;
    for (place, files) in &places {
        searched += files.iter().map(Vec::len).sum::<usize>();
        for needle in &needles {
            let is_found = files.iter().any(|file| holds(file, needle));
            assert!(!is_found, "{} in {place}", needle.escape_ascii());
        }
    }
    for (place, files) in &places[3..] {
        for hash in [&b"$argon2id$"[..], b"$2b$"] {
            assert!(!files.iter().any(|file| holds(file, hash)), "a hash in {place}");
        }
    }
    println!("A14: {searched} bytes of disk, backup, log, Debug and errors: 0 canaries");
}
