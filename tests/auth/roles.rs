//! What roles permit.

use hightower_kv::Error;
use hightower_kv::auth::{Action, ApiKeyOptions, Grant, Principal};

use crate::support::{PASSWORD, simulated, simulated_fast};

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

#[test]
fn a_key_with_grants_may_do_what_both_they_and_its_owners_roles_permit() {
    let (_, auth, _) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    auth.put_role("crew", vec![Grant::to_write("ship/"), Grant::to_read("port/")]).unwrap();
    auth.set_user_roles(&user.user_id, &["crew"]).unwrap();
    let issue = |options: ApiKeyOptions| {
        let (key, token) = auth.create_api_key_with(&user.user_id, &options).unwrap();
        let shown = auth.authenticate_api_key(&token).unwrap().unwrap();
        assert_eq!(shown.grants, key.grants);
        key.key_id
    };
    let all = issue(ApiKeyOptions::new());
    let nothing = issue(ApiKeyOptions::new().grants([]));
    let some = issue(ApiKeyOptions::new().grants([
        Grant::to_read("ship/log/"),
        Grant::to_write("port/"),
        Grant::to_write("shore/"),
    ]));
    for (action, row, by_all, by_some) in [
        (Action::Read, "ship/log/1", true, true),
        (Action::Write, "ship/log/1", true, false),
        (Action::Read, "ship/log", true, false),
        (Action::Read, "ship/crew", true, false),
        (Action::Read, "port/1", true, true),
        (Action::Write, "port/1", false, false),
        (Action::Read, "shore/1", false, false),
    ] {
        let may = |id: &str| auth.authorize(Principal::ApiKey(id), action, row.as_bytes()).unwrap();
        assert_eq!((may(&all), may(&some)), (by_all, by_some), "{action:?} {row}");
        assert!(!may(&nothing), "{action:?} {row}");
    }
    let may =
        |id: &str| auth.authorize(Principal::ApiKey(id), Action::Read, b"ship/log/1").unwrap();
    assert!(!may("unknown") && !may(&user.user_id));
    auth.disable_user(&user.user_id).unwrap();
    assert!(!may(&all) && !may(&some), "the owner is disabled");
    auth.enable_user(&user.user_id).unwrap();
    assert!(may(&some));
    auth.set_user_roles(&user.user_id, &[]).unwrap();
    assert!(!may(&all) && !may(&some), "the owner has no roles");
    auth.revoke_api_key(&some).unwrap();
    assert!(!may(&some));
}

#[test]
fn roles_and_grants_are_bounded() {
    let (_, auth, _) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let grants = |count: usize| (0..count).map(|_| Grant::to_read("a")).collect::<Vec<_>>();
    auth.put_role("role", grants(256)).unwrap();
    let refused = |result| matches!(result, Err(Error::TooLarge { .. }));
    assert!(refused(auth.put_role("role", grants(257)).map(drop)));
    assert!(refused(auth.put_role("role", vec![Grant::to_read(vec![b'a'; 1025])]).map(drop)));
    let reserved = auth.put_role("role", vec![Grant::to_read(vec![0xff; 8])]);
    assert!(matches!(reserved, Err(Error::ReservedKey)));
    let names: Vec<String> = (0..65).map(|number| format!("role-{number}")).collect();
    for name in &names {
        auth.put_role(name, Vec::new()).unwrap();
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(refused(auth.set_user_roles(&user.user_id, &names)));
    auth.set_user_roles(&user.user_id, &names[..64]).unwrap();
}
