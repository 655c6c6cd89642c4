//! Users, and that plain access does not reach them.

use hightower_kv::{Error, KvEngine};

use crate::support::{PASSWORD, simulated, simulated_fast};

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
    let (engine, auth, _) = simulated_fast();
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
