//! Secrets at rest: encryption, rotation, and records that were changed.

use std::sync::Arc;

use hightower_kv::auth::{Action, Grant, Principal};
use hightower_kv::env::Env;
use hightower_kv::env::fs_sim::PowerCut;
use hightower_kv::{AesGcmEncryptor, Command, Error, KvEngine, SingleNodeEngine};

use crate::support::{
    FastAuth, MASTER, PASSWORD, engine_on, fast_on, fast_with, open, row_key, simulated_fast,
    value_of,
};

const NEW: [u8; 32] = [8; 32];

fn set(engine: &SingleNodeEngine, key: &[u8], value: &[u8]) {
    engine.submit(Command::reserved([], [Command::set(key.to_vec(), value.to_vec())])).unwrap();
}

#[test]
fn a11_every_swap_of_metadata_among_a_hundred_records_fails() {
    let (_, auth, _) = simulated_fast();
    let (mut users, mut keys) = (Vec::new(), Vec::new());
    for at in 0..50 {
        let metadata = format!("plain-{at}");
        let name = format!("user{at}");
        let user = auth.create_user_with_metadata(&name, PASSWORD, Some(metadata.as_bytes()));
        let user = user.unwrap();
        let owner = &user.user_id;
        let key = auth.create_api_key_with_metadata(owner, None, Some(metadata.as_bytes()));
        keys.push(key.unwrap().0);
        users.push(user);
    }
    let envelopes: Vec<_> = users
        .iter()
        .map(|user| user.metadata.clone())
        .chain(keys.iter().map(|key| key.metadata.clone()))
        .collect();
    let mut swaps = 0;
    for (at, envelope) in envelopes.iter().enumerate() {
        for to in 0..100 {
            let opened = if to < 50 {
                let mut user = users[to].clone();
                user.metadata.clone_from(envelope);
                auth.decrypt_user_metadata(&user)
            } else {
                let mut key = keys[to - 50].clone();
                key.metadata.clone_from(envelope);
                auth.decrypt_api_key_metadata(&key)
            };
            if at == to {
                assert_eq!(opened.unwrap().unwrap(), format!("plain-{}", at % 50).as_bytes());
            } else {
                assert!(matches!(opened, Err(Error::Crypto(_))), "{at} in {to}");
                swaps += 1;
            }
        }
    }
    println!("A11: {swaps} swaps of metadata among 100 records: none opens");
}

#[test]
fn a11_older_metadata_put_back_does_not_open() {
    let (engine, auth, _) = simulated_fast();
    let old = auth.create_user_with_metadata("captain", PASSWORD, Some(b"old")).unwrap();
    let new = auth.set_user_metadata(&old.user_id, Some(b"new")).unwrap();
    assert_eq!(auth.decrypt_user_metadata(&new).unwrap().unwrap(), b"new");
    let stored = auth.find_user("captain").unwrap().unwrap();
    assert_eq!(stored, new);
    let mut back = stored;
    back.metadata.clone_from(&old.metadata);
    assert!(matches!(auth.decrypt_user_metadata(&back), Err(Error::Crypto(_))));
    let none = auth.set_user_metadata(&old.user_id, None).unwrap();
    assert_eq!(auth.decrypt_user_metadata(&none).unwrap(), None);
    // Removing it does not start the count anew.
    let again = auth.set_user_metadata(&old.user_id, Some(b"again")).unwrap();
    let mut back = again.clone();
    back.metadata.clone_from(&new.metadata);
    assert!(auth.decrypt_user_metadata(&back).is_err());
    let long = vec![0; (64 << 10) + 1];
    let refused = auth.set_user_metadata(&old.user_id, Some(&long));
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    assert!(auth.set_user_metadata(&old.user_id, long.get(1..)).is_ok());
    assert!(auth.verify_password("captain", PASSWORD).unwrap());
    assert!(matches!(auth.set_user_metadata("none", None), Err(Error::NotFound(_))));
    drop(engine);
}

/// Flips every bit of the row under `key`, and looks at what `look` finds each time.
fn flip_each(engine: &SingleNodeEngine, key: &[u8], mut look: impl FnMut(usize)) {
    let row = value_of(engine, key).unwrap();
    for bit in 0..row.len() * 8 {
        let mut flipped = row.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        set(engine, key, &flipped);
        look(bit);
    }
    set(engine, key, &row);
}

#[test]
fn a11_a_flipped_bit_of_a_user_shows_no_plaintext_and_accepts_no_wrong_password() {
    let (engine, auth, _) = simulated_fast();
    let user = auth.create_user_with_metadata("captain", PASSWORD, Some(b"plain")).unwrap();
    let key = row_key(&["auth/user/", &user.user_id]);
    let mut shown = 0;
    flip_each(&engine, &key, |bit| {
        assert!(!auth.verify_password("captain", "wrong-password").unwrap_or(false), "bit {bit}");
        auth.unlock_user(&user.user_id).ok();
        let Ok(Some(user)) = auth.find_user("captain") else { return };
        match auth.decrypt_user_metadata(&user) {
            // The bit is in another field.
            Ok(Some(plain)) => assert_eq!(plain, b"plain", "bit {bit}"),
            Ok(None) => panic!("bit {bit}"),
            Err(_) => shown += 1,
        }
    });
    assert!(shown > 800, "most bits are of the envelope: {shown}");
}

#[test]
fn flipped_bits_of_other_records_are_refused_and_accept_nothing() {
    let (engine, auth, _) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let (record, token) = auth.create_api_key(&user.user_id, None).unwrap();
    let (_, other) = auth.create_api_key(&user.user_id, None).unwrap();
    let env = engine.env().clone();
    let grant = Grant { prefix: b"a/".to_vec(), read: true, write: false };
    auth.put_role("crew", vec![grant]).unwrap();
    auth.set_user_roles(&user.user_id, &["crew"]).unwrap();
    flip_each(&engine, &row_key(&["auth/role/crew"]), |_| {
        // What it permits is what it says; it may be refused, and does not end the process.
        drop(auth.authorize(Principal::User(&user.user_id), Action::Read, b"a/b"));
    });
    flip_each(&engine, &row_key(&["auth/apikey/", &record.key_id]), |bit| {
        if let Ok(Some(found)) = auth.authenticate_api_key(&token) {
            // The bit is in what this key does not depend on.
            assert_eq!(found.owner_id, user.user_id, "bit {bit}");
        }
        // A fresh service, whose realm is read anew, knows no more.
        assert!(auth.authenticate_api_key(&other).unwrap().is_some(), "bit {bit}");
    });
    flip_each(&engine, &row_key(&["auth/realm"]), |bit| {
        let fresh = fast_on(&engine, env.clone());
        assert!(!matches!(fresh.authenticate_api_key(&token), Ok(Some(_))), "bit {bit}");
        assert!(fresh.audit(1, 9).is_err(), "bit {bit}");
    });
    let name = row_key(&["auth/user_by_name/captain"]);
    flip_each(&engine, &name, |bit| {
        assert!(!auth.verify_password("captain", PASSWORD).unwrap_or(false), "bit {bit}");
    });
    for head in [row_key(&["auth/audit_head"]), row_key(&["auth/wraps/", "0000000001"])] {
        flip_each(&engine, &head, |_| {
            drop(auth.audit(1, 9));
            drop(auth.find_user("captain"));
        });
    }
}

#[test]
fn a12_after_a_rotation_the_old_master_key_is_needed_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let (old, new) = ((1, MASTER), (2, NEW));
    let auth = open(&path, AesGcmEncryptor::new(MASTER));
    let user = auth.create_user_with_metadata("captain", PASSWORD, Some(b"ops")).unwrap();
    let (_, token) = auth.create_api_key(&user.user_id, None).unwrap();
    drop(auth);
    let auth = open(&path, AesGcmEncryptor::with_keyring(2, [new]).unwrap());
    let refused = auth.audit(0, 9).unwrap_err();
    assert!(matches!(refused, Error::UnknownKey { id: 1 }));
    assert!(refused.to_string().contains("add it"), "{refused}");
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
fn a12_a_missing_key_is_told_for_exactly_the_records_that_need_it() {
    let (engine, auth, _) = simulated_fast();
    let env = engine.env().clone();
    auth.create_user_with_metadata("one", PASSWORD, Some(b"1")).unwrap();
    let ring = |keys: &[(u32, [u8; 32])]| {
        AesGcmEncryptor::with_keyring(keys.last().unwrap().0, keys.to_vec()).unwrap()
    };
    let later = fast_with(&engine, env.clone(), ring(&[(1, MASTER), (2, NEW)]), 1);
    let two = later.create_user_with_metadata("two", PASSWORD, Some(b"2")).unwrap();
    let before = fast_with(&engine, env, ring(&[(1, MASTER)]), 1);
    let one = before.find_user("one").unwrap().unwrap();
    assert_eq!(before.decrypt_user_metadata(&one).unwrap().unwrap(), b"1");
    let missing = before.decrypt_user_metadata(&two);
    assert!(matches!(missing, Err(Error::UnknownKey { id: 2 })));
    assert!(before.verify_password("two", PASSWORD).unwrap(), "which needs none");
}

#[test]
fn a12_wraps_are_counted_and_a_key_that_wrapped_too_often_is_refused() {
    let (engine, auth, _) = simulated_fast();
    let user = auth.create_user_with_metadata("captain", PASSWORD, Some(b"1")).unwrap();
    let key = row_key(&["auth/wraps/", "0000000001"]);
    let count = |bytes: Vec<u8>| u64::from_le_bytes(bytes[1..].try_into().unwrap());
    assert_eq!(count(value_of(&engine, &key).unwrap()), 2, "the realm and the metadata");
    auth.create_user("plain", PASSWORD).unwrap();
    auth.set_user_metadata(&user.user_id, Some(b"2")).unwrap();
    auth.create_api_key_with_metadata(&user.user_id, None, Some(b"3")).unwrap();
    assert_eq!(count(value_of(&engine, &key).unwrap()), 4);
    let most = [&[1][..], &((1_u64 << 31) - 1).to_le_bytes()].concat();
    set(&engine, &key, &most);
    auth.set_user_metadata(&user.user_id, Some(b"last")).unwrap();
    let refused = auth.set_user_metadata(&user.user_id, Some(b"more")).unwrap_err();
    assert!(refused.to_string().contains("rotate_master_key"), "{refused}");
    assert!(auth.verify_password("captain", PASSWORD).unwrap(), "what wraps nothing goes on");
    auth.disable_user(&user.user_id).unwrap();
    let ring = AesGcmEncryptor::with_keyring(2, [(1, MASTER), (2, NEW)]).unwrap();
    let next = fast_with(&engine, engine.env().clone(), ring, 1);
    assert_eq!(next.rotate_master_key().unwrap(), 3);
    let key = row_key(&["auth/wraps/", "0000000002"]);
    assert_eq!(count(value_of(&engine, &key).unwrap()), 3);
    next.set_user_metadata(&user.user_id, Some(b"more")).unwrap();
}

/// Users and keys with metadata, two of each, and one user without.
fn filled(auth: &FastAuth) {
    for name in ["one", "two"] {
        let user = auth.create_user_with_metadata(name, PASSWORD, Some(name.as_bytes())).unwrap();
        let key = auth.create_api_key_with_metadata(&user.user_id, None, Some(name.as_bytes()));
        key.unwrap();
    }
    auth.create_user("plain", PASSWORD).unwrap();
}

#[test]
fn a12_a_rotation_that_would_leave_something_behind_changes_nothing() {
    let (engine, auth, _) = simulated_fast();
    filled(&auth);
    let service = |keys: &[(u32, [u8; 32])]| {
        let current = keys.last().unwrap().0;
        let ring = AesGcmEncryptor::with_keyring(current, keys.to_vec()).unwrap();
        fast_with(&engine, engine.env().clone(), ring, 1)
    };
    let (one, two, three) = ((1, MASTER), (2, NEW), (3, [9; 32]));
    assert_eq!(service(&[one, two]).rotate_master_key().unwrap(), 5);
    // A node that was not restarted, or a rotation that was not finished: the old key is needed.
    let user = auth.find_user("plain").unwrap().unwrap();
    auth.set_user_metadata(&user.user_id, Some(b"late")).unwrap();
    let before = engine.stats().latest_version;
    for _ in 0..2 {
        let refused = service(&[two, three]).rotate_master_key();
        assert!(matches!(refused, Err(Error::UnknownKey { id: 1 })), "{refused:?}");
    }
    assert_eq!(engine.stats().latest_version, before);
    service(&[two]).audit(1, 9).unwrap();
    assert_eq!(service(&[one, two]).rotate_master_key().unwrap(), 1, "the first is finished");
    assert_eq!(service(&[two, three]).rotate_master_key().unwrap(), 6);
    let user = service(&[three]).find_user("plain").unwrap().unwrap();
    assert_eq!(service(&[three]).decrypt_user_metadata(&user).unwrap().unwrap(), b"late");
}

#[test]
fn a12_a_crash_at_any_step_of_a_rotation_is_gone_on_from() {
    let machine = Env::simulated(1);
    let engine = Arc::new(engine_on(machine.env.clone()));
    filled(&fast_on(&engine, machine.env.clone()));
    let both = || AesGcmEncryptor::with_keyring(2, [(1, MASTER), (2, NEW)]).unwrap();
    machine.fs.start_history();
    let rewrapped = fast_with(&engine, machine.env.clone(), both(), 1).rotate_master_key();
    assert_eq!(rewrapped.unwrap(), 5);
    let history = machine.fs.take_history();
    let (mut images, mut left) = (0, [0; 6]);
    for image in &history {
        for cut in [PowerCut::Nothing, PowerCut::random(image.operation())] {
            let machine = Env::simulated_on(image.power_cut(cut), 2);
            let engine = Arc::new(engine_on(machine.env.clone()));
            let auth = fast_with(&engine, machine.env.clone(), both(), 1);
            let again = auth.rotate_master_key().unwrap();
            left[usize::try_from(again).unwrap()] += 1;
            let new = AesGcmEncryptor::with_keyring(2, [(2, NEW)]).unwrap();
            let auth = fast_with(&engine, machine.env, new, 1);
            for user in auth.list_users().unwrap() {
                let plain = auth.decrypt_user_metadata(&user).unwrap();
                assert!(plain.is_none_or(|plain| plain == user.username.as_bytes()));
                for key in auth.list_api_keys(&user.user_id).unwrap() {
                    let plain = auth.decrypt_api_key_metadata(&key).unwrap().unwrap();
                    assert_eq!(plain, user.username.as_bytes());
                }
            }
            assert_eq!(auth.audit(1, u64::MAX).unwrap().len(), 10);
            images += 1;
        }
    }
    println!("A12: {images} crashes within a rotation, of which each step was left by {left:?}");
    assert!(left.iter().all(|images| *images > 0), "{left:?}");
}
