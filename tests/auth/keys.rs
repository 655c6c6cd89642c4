//! API keys: until when they are accepted.

use std::time::Duration;

use hightower_kv::{Error, Timestamp};

use crate::support::{PASSWORD, simulated};

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
