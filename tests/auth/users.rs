//! Users, and that plain access does not reach them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hightower_kv::engine::submission::{Callback, Submission};
use hightower_kv::env::Env;
use hightower_kv::{
    AesGcmEncryptor, ApplyOutcome, AuthService, Command, Error, KvEngine, ReadContext,
    SingleNodeEngine, StateView,
};

use crate::support::{
    FastAuth, FastHasher, MASTER, PASSWORD, engine_on, fast_on, simulated, simulated_fast,
};
use crate::tokens;

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
fn what_is_refused_or_only_looks_binds_a_new_store_to_no_master_key() {
    let (engine, auth, _) = simulated_fast();
    let before = engine.read_with(StateView::version);
    let long = vec![b'x'; (64 << 10) + 1];
    let refused = auth.create_user_with_metadata("captain", PASSWORD, Some(&long));
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    assert!(matches!(auth.create_user("captain", "short"), Err(Error::Validation(_))));
    let forger = auth.acting_as("ops\n2");
    assert!(matches!(forger.create_user("captain", PASSWORD), Err(Error::Validation(_))));
    assert_eq!(engine.read_with(StateView::version), before, "what was refused was written");
    assert!(auth.authenticate_api_key(&tokens::make(&"0".repeat(22), [7; 32])).unwrap().is_none());
    assert_eq!(engine.read_with(StateView::version), before, "looking for a key writes");
    auth.create_user("captain", PASSWORD).unwrap();
    assert!(engine.read_with(StateView::version) > before);
}

#[test]
fn a10_of_several_that_create_one_name_one_does() {
    let (_, auth, _) = simulated_fast();
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
fn users_are_listed_by_name_whole_and_in_pages() {
    let (_, auth, _) = simulated_fast();
    for at in 0..300 {
        auth.create_user(&format!("user{:03}", (at * 7) % 300), PASSWORD).unwrap();
    }
    let users = auth.list_users().unwrap();
    assert_eq!(users.len(), 300);
    assert!(users.is_sorted_by(|a, b| a.username < b.username));
    let (mut pages, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = auth.list_users_after(after.as_deref(), 100).unwrap();
        let Some(last) = page.last() else { break };
        assert_eq!(page.len(), 100);
        after = Some(last.username.clone());
        pages.extend(page);
    }
    assert_eq!(pages, users);
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

/// An engine that hands each command in again, as a client does whose answer was lost on the way,
/// and gives the second answer.
struct Repeating {
    engine: Arc<SingleNodeEngine>,
    is_on: AtomicBool,
}

impl KvEngine for Repeating {
    fn submit(&self, command: Command) -> Result<ApplyOutcome, Error> {
        if self.is_on.load(Ordering::SeqCst) {
            self.engine.submit(command.clone())?;
        }
        self.engine.submit(command)
    }

    fn submit_async(&self, command: Command) -> Submission {
        self.engine.submit_async(command)
    }

    fn submit_with(&self, command: Command, callback: Callback) {
        self.engine.submit_with(command, callback);
    }

    fn view(&self, context: ReadContext) -> Result<StateView, Error> {
        self.engine.view(context)
    }

    fn flush(&self) -> Result<(), Error> {
        self.engine.flush()
    }
}

#[test]
fn a_change_whose_answer_was_lost_is_no_conflict_with_itself() {
    let machine = Env::simulated(1);
    let engine = Arc::new(engine_on(machine.env.clone()));
    let repeating = Arc::new(Repeating { engine, is_on: AtomicBool::new(true) });
    let (hasher, encryptor) = (FastHasher::default(), AesGcmEncryptor::new(MASTER));
    let calls = Arc::clone(&hasher.calls);
    let auth = AuthService::with_env(Arc::clone(&repeating), hasher, encryptor, machine.env);
    let user = auth.create_user_with_metadata("captain", PASSWORD, Some(b"1")).unwrap();
    assert_eq!(auth.find_user("captain").unwrap().as_ref(), Some(&user));
    assert!(matches!(auth.create_user("captain", PASSWORD), Err(Error::Conflict(_))));
    assert!(auth.change_password("captain", PASSWORD, "another-one").unwrap());
    auth.reset_password(&user.user_id, PASSWORD).unwrap();
    auth.set_user_metadata(&user.user_id, Some(b"2")).unwrap();
    let (key, _) = auth.create_api_key(&user.user_id, None).unwrap();
    assert!(auth.revoke_api_key(&key.key_id).unwrap());
    for _ in 0..20 {
        assert!(!auth.verify_password("captain", "wrong-password").unwrap());
    }
    assert_eq!(calls.real(), 11, "failures are not told twice");
    auth.delete_user(&user.user_id).unwrap();
    assert_eq!(auth.audit(1, u64::MAX).unwrap().len(), 9, "each change has one row");
}

/// A call, and whether its answer is what it should be.
type Call<'a> = &'a dyn Fn(&FastAuth) -> bool;

#[test]
fn a_restart_between_any_two_calls_changes_no_answer() {
    let mut machine = Env::simulated(1);
    let calls: [(&str, Call<'_>); 12] = [
        ("create", &|auth| auth.create_user("captain", PASSWORD).is_ok()),
        ("again", &|auth| {
            matches!(auth.create_user("captain", "12345678"), Err(Error::Conflict(_)))
        }),
        ("verify", &|auth| auth.verify_password("captain", PASSWORD).unwrap()),
        ("change", &|auth| auth.change_password("captain", PASSWORD, "another-one").unwrap()),
        ("old", &|auth| !auth.verify_password("captain", PASSWORD).unwrap()),
        ("new", &|auth| auth.verify_password("captain", "another-one").unwrap()),
        ("metadata", &|auth| {
            let user = auth.find_user("captain").unwrap().unwrap();
            auth.set_user_metadata(&user.user_id, Some(b"1")).is_ok()
        }),
        ("open", &|auth| {
            let user = auth.find_user("captain").unwrap().unwrap();
            auth.decrypt_user_metadata(&user).unwrap().unwrap() == b"1"
        }),
        ("lock", &|auth| {
            (0..10).all(|_| !auth.verify_password("captain", "wrong-password").unwrap())
        }),
        ("locked", &|auth| {
            !auth.verify_password("captain", "another-one").unwrap() && auth.calls.real() == 0
        }),
        ("delete", &|auth| {
            let user = auth.find_user("captain").unwrap().unwrap();
            assert!(auth.last_login(&user.user_id).unwrap().is_some());
            auth.delete_user(&user.user_id).is_ok()
        }),
        ("gone", &|auth| auth.list_users().unwrap().is_empty() && auth.audit(1, 99).is_ok()),
    ];
    for (name, call) in calls {
        let engine = Arc::new(engine_on(machine.env.clone()));
        assert!(call(&fast_on(&engine, machine.env.clone())), "{name}");
        // The power fails as soon as the call has returned.
        let cut = hightower_kv::env::fs_sim::PowerCut::Nothing;
        machine = Env::simulated_on(machine.fs.power_cut(cut), 1 + machine.fs.operations());
    }
}
