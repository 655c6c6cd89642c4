//! Passwords: checking, changing, locking out.

use std::time::Duration;

use hightower_kv::Error;

use crate::support::{PASSWORD, simulated};

#[test]
fn a5_ten_failures_lock_a_user_out_for_a_while() {
    let (_, auth, clock) = simulated();
    auth.create_user("captain", PASSWORD).unwrap();
    for _ in 0..10 {
        assert!(!auth.verify_password("captain", "wrong-password").unwrap());
    }
    assert!(!auth.verify_password("captain", PASSWORD).unwrap(), "locked");
    clock.advance(Duration::from_secs(15 * 60 + 1));
    assert!(auth.verify_password("captain", PASSWORD).unwrap(), "no longer");
}

#[test]
fn passwords_are_changed_with_the_old_one_or_by_an_administrator() {
    let (_, auth, _) = simulated();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    assert!(!auth.change_password("captain", "wrong-password", "another-one").unwrap());
    assert!(auth.change_password("captain", PASSWORD, "another-one").unwrap());
    assert!(!auth.verify_password("captain", PASSWORD).unwrap());
    auth.reset_password(&user.user_id, "a-third-one").unwrap();
    assert!(auth.verify_password("captain", "a-third-one").unwrap());
    for (name, password) in [("a", "short"), ("password", "Password"), ("a\u{202e}", PASSWORD)] {
        assert!(matches!(auth.create_user(name, password), Err(Error::Validation(_))), "{name}");
    }
    let long = "x".repeat(1025);
    assert!(matches!(auth.create_user("b", &long), Err(Error::TooLarge { .. })));
}
