//! The audit trail.

use hightower_kv::{Error, KvEngine, SingleNodeEngine};

use crate::support::{PASSWORD, simulated};

#[test]
fn a17_every_change_is_in_the_trail_which_verifies() {
    let (_, auth, _) = simulated();
    let auth = auth.acting_as("admin");
    let user = auth.create_user("captain", PASSWORD).unwrap();
    let (key, _) = auth.create_api_key(&user.user_id, None).unwrap();
    auth.revoke_api_key(&key.key_id).unwrap();
    auth.disable_user(&user.user_id).unwrap();
    let rows = auth.audit(1, u64::MAX).unwrap();
    let actions: Vec<&str> = rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["user.create", "apikey.create", "apikey.revoke", "user.disable"]);
    assert!(rows.iter().all(|row| row.actor == "admin"));
    assert!(rows.is_sorted_by(|a, b| a.version < b.version && a.timestamp <= b.timestamp));
    assert_eq!(auth.audit(2, 3).unwrap().len(), 2);
}

#[test]
fn a17_a_removed_or_changed_row_is_found() {
    use hightower_kv::Command;
    let key =
        |number: u64| [&[0xff; 8][..], format!("auth/audit/{number:020}").as_bytes()].concat();
    let change: [&dyn Fn(&SingleNodeEngine) -> Command; 3] =
        [&|_| Command::delete(key(2)), &|_| Command::delete(key(3)), &|engine| {
            let row = engine.read_with(|view| view.reserved().get(&key(2)).unwrap().unwrap());
            let mut bytes = row.value.to_vec();
            if let Some(byte) = bytes.get_mut(9) {
                *byte ^= 1;
            }
            Command::set(key(2), bytes)
        }];
    for (at, change) in change.iter().enumerate() {
        let (engine, auth, _) = simulated();
        let user = auth.create_user("captain", PASSWORD).unwrap();
        auth.disable_user(&user.user_id).unwrap();
        auth.enable_user(&user.user_id).unwrap();
        engine.submit(Command::reserved([], [change(&engine)])).unwrap();
        let found = auth.audit(1, 9);
        assert!(matches!(found, Err(Error::AuditBroken { .. })), "{at}: {found:?}");
    }
}
