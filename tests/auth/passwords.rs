//! Passwords: checking, changing, locking out.

use std::time::Duration;

use hightower_kv::Error;

use crate::support::{PASSWORD, simulated, simulated_counting};

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

#[test]
fn a3_whatever_is_wrong_one_hash_of_the_same_strength_is_computed() {
    let (_, auth, calls) = simulated_counting();
    for name in ["captain", "locked", "disabled"] {
        auth.create_user(name, PASSWORD).unwrap();
    }
    assert_eq!(calls.hashes(), 3);
    let disabled = auth.find_user("disabled").unwrap().unwrap();
    auth.disable_user(&disabled.user_id).unwrap();
    for _ in 0..10 {
        assert!(!auth.verify_password("locked", "wrong-password").unwrap());
    }
    for (name, is_real) in [
        ("captain", true),
        ("nobody", false),
        ("locked", false),
        ("disabled", false),
        ("a\u{202e}b", false),
        ("", false),
    ] {
        let before = (calls.real(), calls.dummy(), calls.work());
        assert!(!auth.verify_password(name, "wrong-password").unwrap(), "{name}");
        let after = (calls.real(), calls.dummy(), calls.work());
        let expected =
            (before.0 + u64::from(is_real), before.1 + u64::from(!is_real), before.2 + 1);
        assert_eq!(after, expected, "{name}");
    }
}
