//! What roles permit.

use hightower_kv::Error;
use hightower_kv::auth::{Action, Grant, Principal};

use crate::support::{PASSWORD, simulated};

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
