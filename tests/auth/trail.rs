//! The audit trail.

use std::time::Duration;

use hightower_kv::{Command, Error, KvEngine, SingleNodeEngine};

use crate::support::{FastAuth, PASSWORD, row_key, simulated_fast, value_of};

fn row(number: u64) -> Vec<u8> {
    row_key(&["auth/audit/", &format!("{number:020}")])
}

fn submit(engine: &SingleNodeEngine, commands: Vec<Command>) {
    engine.submit(Command::reserved([], commands)).unwrap();
}

/// A trail of twenty rows.
fn twenty() -> (std::sync::Arc<SingleNodeEngine>, FastAuth) {
    let (engine, auth, _) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    for at in 1..20 {
        if at % 2 == 0 {
            auth.enable_user(&user.user_id).unwrap();
        } else {
            auth.disable_user(&user.user_id).unwrap();
        }
    }
    assert_eq!(auth.audit(1, u64::MAX).unwrap().len(), 20);
    (engine, auth)
}

fn is_broken(auth: &FastAuth) -> bool {
    matches!(auth.audit(1, u64::MAX), Err(Error::AuditBroken { .. }))
}

#[test]
fn a17_every_change_is_in_the_trail_which_verifies() {
    let (_, auth, clock) = simulated_fast();
    let auth = auth.acting_as("admin");
    let user = auth.create_user("captain", PASSWORD).unwrap();
    clock.advance(Duration::from_secs(1));
    let (key, _) = auth.create_api_key(&user.user_id, None).unwrap();
    auth.revoke_api_key(&key.key_id).unwrap();
    auth.disable_user(&user.user_id).unwrap();
    auth.enable_user(&user.user_id).unwrap();
    auth.set_user_metadata(&user.user_id, Some(b"1")).unwrap();
    auth.change_password("captain", PASSWORD, "another-one").unwrap();
    auth.reset_password(&user.user_id, PASSWORD).unwrap();
    for _ in 0..10 {
        auth.verify_password("captain", "wrong-password").unwrap();
    }
    auth.unlock_user(&user.user_id).unwrap();
    auth.delete_user(&user.user_id).unwrap();
    let rows = auth.audit(1, u64::MAX).unwrap();
    let actions: Vec<&str> = rows.iter().map(|row| row.action.as_str()).collect();
    let expected = [
        "user.create",
        "apikey.create",
        "apikey.revoke",
        "user.disable",
        "user.enable",
        "user.set_metadata",
        "user.change_password",
        "user.reset_password",
        "user.failures",
        "user.lock",
        "user.unlock",
        "user.delete",
    ];
    assert_eq!(actions, expected);
    assert!(rows.iter().all(|row| row.actor == "admin"));
    let subjects = rows.iter().filter(|row| row.subject == user.user_id);
    assert_eq!(subjects.count(), rows.len() - 2);
    assert!(rows.is_sorted_by(|a, b| a.version < b.version && a.timestamp <= b.timestamp));
    assert_eq!(rows[1].timestamp.0 - rows[0].timestamp.0, 1_000_000);
    assert_eq!(auth.audit(2, 3).unwrap(), rows[1..3]);
    assert_eq!(auth.audit(99, 100).unwrap(), []);
}

#[test]
fn a17_every_removed_row_and_every_swap_of_two_is_found() {
    let (engine, auth) = twenty();
    let rows: Vec<Vec<u8>> = (1..=20).map(|at| value_of(&engine, &row(at)).unwrap()).collect();
    for one in 0..20 {
        submit(&engine, vec![Command::delete(row(one as u64 + 1))]);
        assert!(is_broken(&auth), "row {one} removed");
        for two in one + 1..20 {
            let (a, b) = (row(one as u64 + 1), row(two as u64 + 1));
            submit(
                &engine,
                vec![Command::set(a, rows[two].clone()), Command::set(b, rows[one].clone())],
            );
            assert!(is_broken(&auth), "rows {one} and {two} swapped");
        }
        for (at, bytes) in rows.iter().enumerate() {
            submit(&engine, vec![Command::set(row(at as u64 + 1), bytes.clone())]);
        }
    }
}

#[test]
fn a17_every_changed_byte_of_every_row_is_found() {
    let (engine, auth) = twenty();
    let mut tried = 0;
    for at in 1..=20 {
        let bytes = value_of(&engine, &row(at)).unwrap();
        for byte in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[byte] ^= 1 << (byte % 8);
            submit(&engine, vec![Command::set(row(at), changed)]);
            assert!(is_broken(&auth), "byte {byte} of row {at}");
            tried += 1;
        }
    }
    println!("A17: {tried} changed bytes of a trail of 20 rows: all found");
}

#[test]
fn a17_a_trail_whose_end_was_cut_off_is_found() {
    for kept in 0..20 {
        let (engine, auth, _) = simulated_fast();
        let mut heads = vec![None];
        let user = auth.create_user("captain", PASSWORD).unwrap();
        for _ in 0..10 {
            heads.push(value_of(&engine, &row_key(&["auth/audit_head"])));
            auth.disable_user(&user.user_id).unwrap();
            heads.push(value_of(&engine, &row_key(&["auth/audit_head"])));
            auth.enable_user(&user.user_id).unwrap();
        }
        for at in kept + 1..=21 {
            submit(&engine, vec![Command::delete(row(at))]);
        }
        assert!(is_broken(&auth), "{kept} kept");
        // Nor does it help to put the head of that time back.
        let Some(head) = &heads[usize::try_from(kept).unwrap()] else { continue };
        submit(&engine, vec![Command::set(row_key(&["auth/audit_head"]), head.clone())]);
        assert!(is_broken(&auth), "{kept} kept with their head");
    }
}

#[test]
fn a17_a_trail_that_was_removed_as_a_whole_is_found() {
    let (engine, auth, _) = simulated_fast();
    assert_eq!(auth.audit(1, u64::MAX).unwrap(), []);
    assert_eq!(value_of(&engine, &row_key(&["auth/realm"])), None, "reading writes nothing");
    auth.create_user("captain", PASSWORD).unwrap();
    let trail = [row(1), row_key(&["auth/audit_head"])];
    submit(&engine, trail.map(Command::delete).to_vec());
    assert!(is_broken(&auth));
    submit(&engine, vec![Command::delete(row_key(&["auth/realm"]))]);
    assert!(is_broken(&auth), "nor does it help to remove the realm");
}

#[test]
fn a17_an_actor_cannot_forge_a_row() {
    let (_, auth, _) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    for actor in ["", "a\nsystem user.delete", "a\u{202e}b", "a\tb", "a\u{1b}[1A", &"x".repeat(257)]
    {
        let refused = auth.acting_as(actor).disable_user(&user.user_id);
        let is_refused = matches!(refused, Err(Error::Validation(_) | Error::TooLarge { .. }));
        assert!(is_refused, "{actor:?}");
    }
    auth.acting_as(&"x".repeat(256)).disable_user(&user.user_id).unwrap();
    assert_eq!(auth.audit(1, u64::MAX).unwrap().len(), 2);
}

#[test]
fn a17_a_long_trail_is_read_row_by_row_and_whoever_reads_may_stop() {
    let (_, auth, _) = simulated_fast();
    let user = auth.create_user("captain", PASSWORD).unwrap();
    for _ in 0..1100 {
        auth.disable_user(&user.user_id).unwrap();
        auth.enable_user(&user.user_id).unwrap();
    }
    let mut next = 1024;
    auth.audit_each(1024, 2100, |row| {
        assert_eq!(row.number, next);
        next += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(next, 2101);
    let stopped = auth.audit_each(1, 9, |_| Err(Error::NotFound("enough".to_owned())));
    assert!(matches!(stopped, Err(Error::NotFound(_))));
}
