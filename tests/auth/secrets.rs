//! Secrets at rest: encryption, rotation, and what is nowhere.

use hightower_kv::{AesGcmEncryptor, Error};

use crate::support::{MASTER, PASSWORD, open, simulated};

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
