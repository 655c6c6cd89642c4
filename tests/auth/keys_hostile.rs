//! What is no token, and where no token may be found.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hightower_kv::auth::ApiKeyOptions;
use hightower_kv::engine::submission::Callback;
use hightower_kv::env::Env;
use hightower_kv::{AesGcmEncryptor, ApplyOutcome, AuthService, Command, KvEngine, ReadContext};
use hightower_kv::{SingleNodeEngine, StateView, Submission};

use crate::support::{FastHasher, MASTER, PASSWORD, fast_on, simulated_fast};
use crate::tokens;

/// An engine that counts how often it is read.
struct Counting {
    engine: Arc<SingleNodeEngine>,
    views: AtomicU64,
}

impl KvEngine for Counting {
    fn submit(&self, command: Command) -> hightower_kv::Result<ApplyOutcome> {
        self.engine.submit(command)
    }

    fn submit_async(&self, command: Command) -> Submission {
        self.engine.submit_async(command)
    }

    fn submit_with(&self, command: Command, callback: Callback) {
        self.engine.submit_with(command, callback);
    }

    fn view(&self, context: ReadContext) -> hightower_kv::Result<StateView> {
        self.views.fetch_add(1, Ordering::SeqCst);
        self.engine.view(context)
    }

    fn flush(&self) -> hightower_kv::Result<()> {
        KvEngine::flush(&*self.engine)
    }
}

#[test]
fn a7_none_of_a_million_random_strings_is_accepted_or_looked_up() {
    let (engine, auth, _) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let (_, token) = auth.create_api_key(&user.user_id, None).unwrap();
    let env = engine.env().clone();
    let counting = Arc::new(Counting { engine, views: AtomicU64::new(0) });
    let (hasher, encryptor) = (FastHasher::default(), AesGcmEncryptor::new(MASTER));
    let auth = AuthService::with_env(Arc::clone(&counting), hasher, encryptor, env.clone());
    assert!(auth.authenticate_api_key(&token).unwrap().is_some());
    let before = counting.views.load(Ordering::SeqCst);
    let mut accepted = 0;
    for number in 0..1_000_000_u32 {
        let mut bytes = [0; 80];
        env.rng.fill(&mut bytes).unwrap();
        let text = random_text(number, &bytes, &token);
        accepted += u32::from(auth.authenticate_api_key(&text).unwrap().is_some());
    }
    let looked_up = counting.views.load(Ordering::SeqCst) - before;
    println!("A7: 1,000,000 random strings, {accepted} accepted, {looked_up} looked up");
    assert_eq!((accepted, looked_up), (0, 0));
    assert!(auth.authenticate_api_key(&token).unwrap().is_some());
    assert!(counting.views.load(Ordering::SeqCst) > before, "the engine counts");
}

/// Of four kinds: any characters, the shape of a token, a token with one of its characters
/// replaced, and a token that is cut or goes on.
fn random_text(number: u32, bytes: &[u8], token: &str) -> String {
    const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-";
    let digits: String =
        bytes.iter().map(|byte| char::from(DIGITS[usize::from(byte % 62)])).collect();
    let at = usize::from(bytes[0]) % token.len();
    match number % 4 {
        0 => String::from_utf8_lossy(bytes).into_owned(),
        1 => format!("htk_{}_{}", &digits[..22], &digits[22..71]),
        2 => {
            let other = DIGITS.iter().find(|it| **it != token.as_bytes()[at] && **it > bytes[1]);
            let other = char::from(*other.unwrap_or(&b'-'));
            format!("{}{other}{}", &token[..at], &token[at + 1..])
        }
        _ if bytes[1].is_multiple_of(2) => token[..at].to_owned(),
        _ => format!("{token}{}", &digits[..=at]),
    }
}

#[test]
fn a6_no_file_has_a_token_or_its_secret_in_any_form() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let engine = Arc::new(SingleNodeEngine::open(&path).unwrap());
    let auth = fast_on(&engine, Env::system());
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let mut tokens = Vec::new();
    for round in 0..3 {
        for number in 0..50 {
            let options = ApiKeyOptions::new().label("bridge").metadata(b"canary-data");
            let (key, token) = auth.create_api_key_with(&user.user_id, &options).unwrap();
            assert!(auth.authenticate_api_key(&token).unwrap().is_some());
            if number % 5 == 0 {
                auth.revoke_api_key(&key.key_id).unwrap();
            }
            tokens.push((key.key_id, token));
        }
        if round == 1 {
            engine.run_compaction_now().unwrap();
        }
    }
    engine.backup(directory.path().join("backup")).unwrap();
    drop((auth, engine));
    let bytes = bytes_below(directory.path());
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    let last = tokens.last().unwrap();
    assert!(holds(last.0.as_bytes()), "the search finds what is there");
    // Whichever 8 bytes of a secret there were: every place is held against all of them at once.
    let mut needles = HashSet::new();
    for (_, token) in &tokens {
        needles.extend(token.as_bytes()[27..].windows(8).map(<[u8]>::to_vec));
        let secret = tokens::secret_of(token);
        needles.extend(secret.windows(8).map(<[u8]>::to_vec));
        let hex: Vec<u8> = secret.iter().flat_map(|it| format!("{it:02x}").into_bytes()).collect();
        needles.extend(hex.windows(8).map(<[u8]>::to_vec));
    }
    // What begins with a zero is left out, since most of a file that was reserved is zeros.
    let is_found = |window: &&[u8]| window[0] != 0 && needles.contains(*window);
    let found = bytes.windows(8).filter(is_found).count();
    println!("A6: {} tokens, {} MiB of files searched, {found} found", 150, bytes.len() >> 20);
    assert_eq!(found, 0);
    assert!(!holds(b"canary-data"));
}

/// All files below a directory, one after the other.
pub(crate) fn bytes_below(directory: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    #[expect(clippy::disallowed_methods, reason = "what is really on disk")]
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(bytes_below(&path));
        } else {
            all.extend(std::fs::read(path).unwrap());
        }
    }
    all
}
