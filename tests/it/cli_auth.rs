//! `htkvctl list-users`, `user`, `key`, `role`, `audit`, `master-key`, `rotate-master-key`.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use hightower_kv::auth::{Action, Principal};
use hightower_kv::{
    AesGcmEncryptor, Argon2SecretHasher, AuthService, KvEngine, ReadOnlyEngine, SingleNodeEngine,
};
use serde_json::Value as Json;

use crate::cli::{Ctl, Ran, unread};

pub(crate) const KEY: [u8; 32] = [0xab; 32];
pub(crate) const PASSWORD: &str = "canary-password";

/// The service of the library, on a copy of a store.
pub(crate) struct Library {
    auth: AuthService<Arc<ReadOnlyEngine>, Argon2SecretHasher, AesGcmEncryptor>,
    _copy: Ctl,
}

impl Deref for Library {
    type Target = AuthService<Arc<ReadOnlyEngine>, Argon2SecretHasher, AesGcmEncryptor>;

    fn deref(&self) -> &Self::Target {
        &self.auth
    }
}

/// A file that nobody else can read.
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The hexadecimal digits of bytes.
pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"))
}

/// A tool with a master key and a password in the environment.
pub(crate) fn armed(ctl: &Ctl, args: &[&str]) -> Command {
    let mut command = bare(ctl, args);
    command.env("HTKV_MASTER_KEY", hex(KEY)).env("HTKV_PASSWORD", PASSWORD);
    command
}

/// A tool with neither.
pub(crate) fn bare(ctl: &Ctl, args: &[&str]) -> Command {
    let mut command = ctl.command(args);
    for name in ["HTKV_MASTER_KEY", "HTKV_PASSWORD", "HTKV_OLD_MASTER_KEY", "HTKV_PEPPER"] {
        command.env_remove(name).env_remove(format!("{name}_FILE"));
    }
    command.stdin(std::process::Stdio::null()).env("USER", "operator");
    command
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    command.output().unwrap().into()
}

/// What a run prints that succeeds.
pub(crate) fn ok(ctl: &Ctl, args: &[&str]) -> String {
    let ran = ran(&mut armed(ctl, args));
    assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
    ran.out
}

fn json(ctl: &Ctl, args: &[&str]) -> Json {
    serde_json::from_str(&ok(ctl, args)).unwrap()
}

/// The service of the library on what the tool left behind.
pub(crate) fn library(ctl: &Ctl, keys: &[(u32, [u8; 32])]) -> Library {
    let copy = ctl.copied();
    let engine = Arc::new(ReadOnlyEngine::open(copy.directory()).unwrap());
    let current = keys.last().unwrap().0;
    let encryptor = AesGcmEncryptor::with_keyring(current, keys.iter().copied()).unwrap();
    let auth = AuthService::new(engine, Argon2SecretHasher::default(), encryptor);
    Library { auth, _copy: copy }
}

fn refused(ctl: &Ctl, args: &[&str], text: &str) {
    let ran = ran(&mut armed(ctl, args));
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{args:?}: {ran:?}");
    assert!(ran.err.contains(text), "{args:?}: {ran:?}");
}

#[test]
fn a_user_is_added_listed_shown_disabled_enabled_and_deleted() {
    let ctl = Ctl::new();
    let id = ok(&ctl, &["user", "add", "  Captain "]);
    let id = id.strip_suffix('\n').unwrap();
    assert_eq!(id.len(), 22, "{id}");
    let listed = ran(&mut bare(&ctl, &["list-users"]));
    assert_eq!((listed.code, listed.err.as_str()), (0, ""), "without any key: {listed:?}");
    let fields: Vec<&str> = listed.out.trim_end().split('\t').collect();
    assert_eq!(fields[..4], [id, "captain", "enabled", "-"], "{listed:?}");
    assert!(fields[4].starts_with("20") && fields[4].ends_with('Z'), "{listed:?}");
    assert_eq!(ok(&ctl, &["user", "disable", "CAPTAIN"]), "");
    assert!(ran(&mut bare(&ctl, &["user", "show", "captain"])).out.contains("state     disabled"));
    assert_eq!(json(&ctl, &["list-users", "--json"])["state"], "disabled");
    assert_eq!(ok(&ctl, &["user", "enable", "captain"]), "");
    assert!(library(&ctl, &[(1, KEY)]).verify_password("captain", PASSWORD).unwrap());
    assert_eq!(json(&ctl, &["--json", "user", "delete", "captain"])["user_id"], id);
    assert_eq!(ok(&ctl, &["list-users"]), "");
}

#[test]
fn a_name_is_taken_once_and_an_unknown_one_is_said_to_be_so() {
    let ctl = Ctl::new();
    ok(&ctl, &["user", "add", "captain"]);
    refused(&ctl, &["user", "add", "CAPTAIN"], "the name is taken");
    for args in [
        &["user", "passwd", "nobody"][..],
        &["user", "disable", "nobody"],
        &["user", "enable", "nobody"],
        &["user", "unlock", "nobody"],
        &["user", "metadata", "nobody", "--none"],
        &["user", "delete", "nobody"],
        &["user", "show", "nobody"],
        &["user", "roles", "nobody", "--none"],
        &["key", "issue", "nobody"],
        &["key", "list", "nobody"],
    ] {
        refused(&ctl, args, "there is no user 'nobody'");
    }
    refused(&ctl, &["key", "revoke", "nothing"], "there is no key 'nothing'");
    refused(&ctl, &["role", "delete", "nothing"], "there is no role 'nothing'");
    refused(&ctl, &["user", "add", "a\u{202e}b"], "bidirectional");
    refused(&ctl, &["user", "show", "\u{1b}[31m"], "control");
}

#[test]
fn a_password_is_replaced_and_what_it_must_be_like_is_said() {
    let ctl = Ctl::new();
    ok(&ctl, &["user", "add", "captain"]);
    let other =
        ran(armed(&ctl, &["user", "passwd", "captain"]).env("HTKV_PASSWORD", "another one"));
    assert_eq!(other.code, 0, "{other:?}");
    assert!(library(&ctl, &[(1, KEY)]).verify_password("captain", "another one").unwrap());
    let short = ran(armed(&ctl, &["user", "passwd", "captain"]).env("HTKV_PASSWORD", "short"));
    assert!(short.code == 1 && short.err.contains("too short"), "{short:?}");
}

#[test]
fn a_login_is_shown_and_a_lock_is_ended() {
    let ctl = Ctl::new();
    ok(&ctl, &["user", "add", "captain"]);
    assert!(ok(&ctl, &["user", "show", "captain"]).contains("login     never\n"));
    let engine = SingleNodeEngine::open(ctl.directory()).unwrap();
    let (engine, auth) = engine.into_argon2_hasher_aes_gcm_auth_service(KEY);
    assert!(auth.verify_password("captain", PASSWORD).unwrap());
    (0..10).for_each(|_| assert!(!auth.verify_password("captain", "wrong").unwrap()));
    assert!(!auth.verify_password("captain", PASSWORD).unwrap(), "locked out");
    drop(auth);
    Arc::into_inner(engine).unwrap().close().unwrap();
    let ctl = ctl.copied();
    assert!(ok(&ctl, &["user", "show", "captain"]).contains("login     20"));
    assert!(!library(&ctl, &[(1, KEY)]).verify_password("captain", PASSWORD).unwrap());
    ok(&ctl, &["user", "unlock", "captain"]);
    assert!(library(&ctl, &[(1, KEY)]).verify_password("captain", PASSWORD).unwrap());
}

#[test]
fn metadata_is_taken_from_a_file_and_shown_on_demand() {
    let ctl = Ctl::new();
    let file = ctl.file("metadata");
    write(&file, b"{\"role\":\"ops\"}\n");
    ok(&ctl, &["user", "add", "captain", "--metadata-file", file.to_str().unwrap()]);
    let shown = ok(&ctl, &["user", "show", "captain"]);
    assert!(shown.contains("metadata  encrypted") && !shown.contains("ops"), "{shown}");
    let shown = ok(&ctl, &["user", "show", "captain", "--metadata"]);
    assert!(shown.contains("metadata  {\"role\":\"ops\"}\\x0a\n"), "{shown}");
    let shown = json(&ctl, &["user", "show", "captain", "--metadata", "--json"]);
    assert_eq!(shown["metadata"], "{\"role\":\"ops\"}\n");
    write(&file, b"other");
    ok(&ctl, &["user", "metadata", "captain", "--metadata-file", file.to_str().unwrap()]);
    assert!(ok(&ctl, &["user", "show", "captain", "--metadata"]).contains("metadata  other\n"));
    ok(&ctl, &["user", "metadata", "captain", "--none"]);
    assert!(ok(&ctl, &["user", "show", "captain", "--metadata"]).contains("metadata  none\n"));
    let without = ran(&mut bare(&ctl, &["user", "show", "captain", "--metadata"]));
    assert_eq!(without.code, 64, "{without:?}");
    write(&file, &vec![b'x'; (64 << 10) + 1]);
    let long = ["user", "add", "other", "--metadata-file", file.to_str().unwrap()];
    refused(&ctl, &long, "bytes of metadata: 65537, the limit is 65536");
    write(&file, &vec![b'x'; (1 << 20) + 1]);
    refused(&ctl, &long, "expected at most 1048576 bytes");
}

#[test]
fn a_token_is_alone_on_standard_output_is_accepted_and_is_revoked() {
    let ctl = Ctl::new();
    ok(&ctl, &["user", "add", "captain"]);
    let issued = ran(&mut armed(&ctl, &["key", "issue", "captain"]));
    let token = issued.out.strip_suffix('\n').unwrap();
    let id = token.split('_').nth(1).unwrap();
    assert!(token.starts_with("htk_") && !token.contains(char::is_whitespace), "{issued:?}");
    assert!(issued.err.contains(id) && !issued.err.contains(token), "{issued:?}");
    let accepted = library(&ctl, &[(1, KEY)]).authenticate_api_key(token).unwrap().unwrap();
    assert_eq!(accepted.key_id, id);
    let listed = ran(&mut bare(&ctl, &["key", "list", "captain"]));
    assert!(listed.out.starts_with(&format!("{id}\tvalid\tcreated 20")), "{listed:?}");
    assert!(listed.out.ends_with("\tends never\tused never\tlabel \tunrestricted\n"), "{listed:?}");
    // A token where an id is expected is not repeated.
    let confused = ran(&mut armed(&ctl, &["key", "revoke", token]));
    assert!(confused.code == 64 && !confused.err.contains(token), "{confused:?}");
    ok(&ctl, &["user", "disable", "captain"]);
    assert!(ok(&ctl, &["key", "list", "captain"]).starts_with(&format!("{id}\tdisabled\t")));
    ok(&ctl, &["user", "enable", "captain"]);
    assert_eq!(ok(&ctl, &["key", "revoke", id]), "");
    assert!(library(&ctl, &[(1, KEY)]).authenticate_api_key(token).unwrap().is_none());
    assert_eq!(ok(&ctl, &["key", "list", "captain"]), "");
}

#[test]
fn a_token_that_nobody_reads_is_told_with_the_key_to_revoke() {
    let ctl = Ctl::new();
    ok(&ctl, &["user", "add", "captain"]);
    for args in [&["key", "issue", "captain"][..], &["--json", "key", "issue", "captain"]] {
        let unread = unread(&mut armed(&ctl, args));
        let listed = ok(&ctl, &["key", "list", "captain"]);
        let id = listed.split('\t').next().unwrap();
        assert!(unread.code == 1 && unread.err.contains("revoke that key"), "{unread:?}");
        assert!(unread.err.contains(id) && !unread.err.contains("htk_"), "{unread:?}");
        ok(&ctl, &["key", "revoke", id]);
    }
}

#[test]
fn a_key_ends_when_it_was_said_to() {
    let ctl = Ctl::new();
    ok(&ctl, &["user", "add", "captain"]);
    let issued = json(&ctl, &["--json", "key", "issue", "captain", "--expires-in", "90d"]);
    let listed = json(&ctl, &["--json", "key", "list", "captain"]);
    assert_eq!(issued["expires_at_micros"], listed["expires_at_micros"]);
    let lasts = listed["expires_at_micros"].as_u64().unwrap()
        - listed["created_at_micros"].as_u64().unwrap();
    assert!(lasts.abs_diff(90 * 86_400 * 1_000_000) < 600 * 1_000_000, "{lasts}");
    assert!(issued["token"].as_str().unwrap().starts_with("htk_"));
    let wrong = ran(&mut armed(&ctl, &["key", "issue", "captain", "--expires-in", "soon"]));
    assert!(wrong.code == 64 && wrong.err.contains("such as 90d"), "{wrong:?}");
}

#[test]
fn a_key_has_a_label_and_may_do_what_it_and_its_owner_may() {
    let ctl = Ctl::new();
    ok(&ctl, &["user", "add", "captain"]);
    ok(&ctl, &["role", "put", "crew", "--read", "ship/", "--write", "ship/", "--read", "port/"]);
    ok(&ctl, &["user", "roles", "captain", "crew"]);
    let issue = ["key", "issue", "captain", "--label", "log\twriter", "--read", "ship/log/"];
    let rest = ["--read", "", "--write", "ship/log/", "--json"];
    let issued = json(&ctl, &[&issue[..], &rest].concat());
    let id = issued["key_id"].as_str().unwrap();
    assert_eq!(issued["label"], "log\twriter");
    let listed = ran(&mut bare(&ctl, &["key", "list", "captain"]));
    let ends = "\tends never\tused never\tlabel log\\x09writer\tread \tread,write ship/log/\n";
    assert!(listed.out.starts_with(id) && listed.out.ends_with(ends), "{listed:?}");
    let shown = json(&ctl, &["key", "list", "captain", "--json"]);
    let grants = r#"[{"prefix_hex":"","read":true,"write":false},
        {"prefix_hex":"736869702f6c6f672f","read":true,"write":true}]"#;
    assert_eq!(shown["grants"], serde_json::from_str::<Json>(grants).unwrap());
    assert_eq!((&shown["grants"], &shown["label"]), (&issued["grants"], &issued["label"]));
    let auth = library(&ctl, &[(1, KEY)]);
    let may = |action, key: &[u8]| auth.authorize(Principal::ApiKey(id), action, key).unwrap();
    assert!(may(Action::Write, b"ship/log/1") && may(Action::Read, b"port/1"));
    assert!(!may(Action::Write, b"ship/2"), "its owner may");
    assert!(!may(Action::Read, b"sea"), "it may");
}

#[test]
fn what_a_key_cannot_be_issued_with_is_refused() {
    let ctl = Ctl::new();
    ok(&ctl, &["user", "add", "captain"]);
    let issue = ["key", "issue", "captain"];
    let with = |more: &[&'static str]| [&issue[..], more].concat();
    refused(&ctl, &with(&["--hex", "--read", "ffffffffffffffff61"]), "reserved");
    let long = "x".repeat(257);
    refused(&ctl, &[&issue[..], &["--label", &long]].concat(), "bytes of a label: 257");
    let long = "x".repeat(1025);
    refused(&ctl, &[&issue[..], &["--write", &long]].concat(), "bytes of a grant's prefix: 1025");
    let wrong = ran(&mut armed(&ctl, &with(&["--hex", "--read", "0"])));
    assert_eq!((wrong.code, wrong.out.as_str()), (64, ""), "{wrong:?}");
    assert_eq!(ok(&ctl, &["key", "list", "captain"]), "");
}

#[test]
fn an_actor_that_could_forge_a_row_is_refused_before_anything_is_opened() {
    let ctl = Ctl::new();
    let long = "x".repeat(257);
    for actor in ["", "ops\u{7}", "ops\n2", "ops\tuser.delete", "\u{202e}spo", &long] {
        for args in [
            &["user", "add", "captain"][..],
            &["user", "roles", "captain", "--none"],
            &["key", "issue", "captain"],
            &["role", "put", "crew"],
            &["rotate-master-key"],
        ] {
            // Nor is a secret asked for, of which there is none.
            let ran = ran(&mut bare(&ctl, &[args, &["--actor", actor]].concat()));
            assert_eq!((ran.code, ran.out.as_str()), (64, ""), "{args:?}: {ran:?}");
            assert!(ran.err.contains("--actor: "), "{args:?}: {ran:?}");
            assert!(actor.is_empty() || !ran.err.contains(actor), "{args:?}: {ran:?}");
        }
    }
    assert!(!ctl.directory().exists());
    // What the environment says is not used where it could.
    let added = ran(armed(&ctl, &["user", "add", "captain"]).env("USER", "a\nb"));
    assert_eq!(added.code, 0, "{added:?}");
    assert!(ok(&ctl, &["audit"]).contains("\thtkvctl:uid "));
    let other = ran(armed(&ctl, &["role", "put", "crew"]).env("USER", "").env("LOGNAME", "deck"));
    assert_eq!(other.code, 0, "{other:?}");
    assert!(ok(&ctl, &["audit"]).contains("\thtkvctl:deck\t"), "an empty one hides no other");
}

#[test]
fn no_store_is_created_for_a_user_or_a_role_that_cannot_be() {
    let ctl = Ctl::new();
    let metadata = ctl.file("metadata");
    write(&metadata, &vec![b'x'; 65_537]);
    let metadata = metadata.to_str().unwrap();
    let long = "p".repeat(1025);
    for (args, expected) in [
        (&["user", "add", ""][..], "a name is empty"),
        (&["user", "add", PASSWORD], "the password is the name"),
        (&["user", "add", "captain", "--metadata-file", metadata], "bytes of metadata"),
        (&["role", "put", "", "--read", "a"], "a name is empty"),
        (&["role", "put", "crew", "--read", &long], "1024"),
    ] {
        refused(&ctl, args, expected);
        assert!(!ctl.directory().exists(), "{args:?}");
    }
}

#[test]
fn roles_are_put_listed_given_and_removed() {
    let ctl = Ctl::new();
    ok(&ctl, &["user", "add", "captain"]);
    ok(&ctl, &["role", "put", "Ops", "--read", "", "--write", "ship/", "--read", "ship/"]);
    assert_eq!(ok(&ctl, &["role", "list"]), "ops\tread\t\nops\tread,write\tship/\n");
    refused(&ctl, &["user", "roles", "captain", "unknown"], "no such role");
    ok(&ctl, &["user", "roles", "captain", "ops"]);
    assert_eq!(json(&ctl, &["list-users", "--json"])["roles"], Json::from(vec!["ops"]));
    refused(&ctl, &["--hex", "role", "put", "x", "--read", "ffffffffffffffff61"], "reserved");
    ok(&ctl, &["user", "roles", "captain", "--none"]);
    ok(&ctl, &["role", "delete", "ops"]);
    assert_eq!(ok(&ctl, &["role", "list"]), "");
}

#[test]
fn the_trail_names_who_did_what_and_a_broken_one_exits_with_2() {
    let ctl = Ctl::new();
    ok(&ctl, &["user", "add", "captain"]);
    ok(&ctl, &["user", "disable", "captain", "--actor", "ops team"]);
    let before = ctl.bytes();
    let trail = ran(&mut armed(&ctl, &["audit"]));
    assert!(trail.err.contains("is whole, 2 rows"), "{trail:?}");
    let rows: Vec<Vec<&str>> = trail.out.lines().map(|row| row.split('\t').collect()).collect();
    assert_eq!(rows[0][3..5], ["htkvctl:operator", "user.create"], "{trail:?}");
    assert_eq!(rows[1][3..5], ["ops team", "user.disable"], "{trail:?}");
    assert_eq!(ok(&ctl, &["audit", "--from", "2", "--to", "2"]).lines().count(), 1);
    assert_eq!(json(&ctl, &["audit", "--json", "--to", "1"])["number"], 1);
    assert!(ctl.bytes() == before, "looking changes nothing");
    let engine = SingleNodeEngine::open(ctl.directory()).unwrap();
    let row = hightower_kv::command::reserved_key(b"auth/audit/00000000000000000001");
    engine
        .submit(hightower_kv::Command::reserved([], [hightower_kv::Command::delete(row)]))
        .unwrap();
    engine.close().unwrap();
    let ctl = ctl.copied();
    let broken = ran(&mut armed(&ctl, &["audit"]));
    assert_eq!((broken.code, broken.out.as_str()), (2, ""), "{broken:?}");
    assert!(broken.err.contains("row 1 of the audit trail"), "{broken:?}");
}

#[test]
fn a_master_key_is_made_in_a_file_of_its_own_and_never_over_another() {
    let ctl = Ctl::new();
    let (file, name) = (ctl.file("key"), ctl.file("key").to_str().unwrap().to_owned());
    assert_eq!(ok(&ctl, &["master-key", "new", &name]), "");
    let first = fs::read_to_string(&file).unwrap();
    assert!(first.len() == 65 && first.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    refused(&ctl, &["master-key", "new", &name], "cannot create");
    assert_eq!(fs::read_to_string(&file).unwrap(), first);
    let printed = ok(&ctl, &["master-key", "new", "-"]);
    assert!(printed.len() == 65 && printed != first);
    assert!(!ctl.directory().exists());
}

#[test]
fn a_missing_or_a_wrong_master_key_changes_nothing() {
    let ctl = Ctl::new();
    let missing = ran(bare(&ctl, &["user", "add", "captain"]).env("HTKV_PASSWORD", PASSWORD));
    assert_eq!(missing.code, 64, "{missing:?}");
    assert!(
        missing.err.contains("expected --master-key-file FILE, HTKV_MASTER_KEY"),
        "{missing:?}"
    );
    assert!(!ctl.directory().exists());
    ok(&ctl, &["user", "add", "captain"]);
    let before = ctl.bytes().len();
    for args in [&["user", "disable", "captain"][..], &["audit"], &["key", "issue", "captain"]] {
        let wrong = ran(armed(&ctl, args).env("HTKV_MASTER_KEY", hex([1; 32])));
        assert_eq!((wrong.code, wrong.out.as_str()), (1, ""), "{wrong:?}");
        assert!(wrong.err.contains("Expected the master key"), "{wrong:?}");
        assert!(!wrong.err.contains(&hex([1; 32])), "{wrong:?}");
    }
    assert_eq!(json(&ctl, &["list-users", "--json"])["state"], "enabled");
    assert_eq!(ctl.bytes().len(), before);
    let malformed = ran(armed(&ctl, &["audit"]).env("HTKV_MASTER_KEY", "canary-key"));
    assert!(malformed.err.contains("expected 64 hexadecimal digits"), "{malformed:?}");
    assert!(!malformed.err.contains("canary"), "{malformed:?}");
    let zeros = ran(armed(&Ctl::new(), &["user", "add", "x"]).env("HTKV_MASTER_KEY", hex([0; 32])));
    assert!(zeros.code == 0 && zeros.err.contains("all zeros"), "{zeros:?}");
}

#[test]
fn the_master_key_is_rotated_and_an_interrupted_rotation_goes_on() {
    let ctl = Ctl::new();
    let metadata = ctl.file("metadata");
    write(&metadata, b"ops");
    ok(&ctl, &["user", "add", "captain", "--metadata-file", metadata.to_str().unwrap()]);
    let rotate = |old: [u8; 32], new: [u8; 32]| {
        let mut command = bare(&ctl, &["rotate-master-key"]);
        ran(command.env("HTKV_OLD_MASTER_KEY", hex(old)).env("HTKV_MASTER_KEY", hex(new)))
    };
    let before = ctl.bytes();
    let swapped = rotate([2; 32], KEY);
    assert!(swapped.code == 1 && swapped.err.contains("the wrong way round"), "{swapped:?}");
    assert!(ctl.bytes() == before);
    let done = rotate(KEY, [2; 32]);
    assert!(done.code == 0 && done.out.starts_with("rewrapped  2\n"), "{done:?}");
    assert!(done.out.contains("in force   master key 2;"), "{done:?}");
    // Again: nothing is left to do, and that is no error.
    let again = rotate(KEY, [2; 32]);
    assert!(again.code == 0 && again.out.starts_with("rewrapped  0\n"), "{again:?}");
    assert!(again.out.contains("as before; the old key was not looked at"), "{again:?}");
    let shown =
        ran(bare(&ctl, &["user", "show", "captain", "--metadata"])
            .env("HTKV_MASTER_KEY", hex([2; 32])));
    assert!(shown.out.contains("metadata  ops"), "{shown:?}");
    assert_eq!(rotate([2; 32], [3; 32]).code, 0);
    assert!(library(&ctl, &[(3, [3; 32])]).verify_password("captain", PASSWORD).unwrap());
    let neither = rotate([9; 32], [8; 32]);
    assert!(neither.code == 1 && neither.err.contains("neither key"), "{neither:?}");
    let same = rotate([3; 32], [3; 32]);
    assert!(same.code == 1 && same.err.contains("are the same"), "{same:?}");
}

#[test]
fn a_rotation_waits_for_the_end_of_the_one_before() {
    let ctl = Ctl::new();
    ok(&ctl, &["user", "add", "captain"]);
    let ring = |keys: &[(u32, [u8; 32])]| {
        AesGcmEncryptor::with_keyring(keys.last().unwrap().0, keys.iter().copied()).unwrap()
    };
    let engine = Arc::new(SingleNodeEngine::open(ctl.directory()).unwrap());
    let hasher = Argon2SecretHasher::default;
    let service = |ring| AuthService::new(Arc::clone(&engine), hasher(), ring);
    // What was interrupted leaves something under the first key.
    let old = service(ring(&[(1, KEY)]));
    let user = old.find_user("captain").unwrap().unwrap();
    old.disable_user(&user.user_id).unwrap();
    service(ring(&[(1, KEY), (2, [2; 32])])).rotate_master_key().unwrap();
    old.set_user_metadata(&user.user_id, Some(b"ops")).unwrap();
    drop(old);
    Arc::into_inner(engine).unwrap().close().unwrap();
    let rotate = |old: [u8; 32], new: [u8; 32]| {
        let mut command = bare(&ctl, &["rotate-master-key"]);
        ran(command.env("HTKV_OLD_MASTER_KEY", hex(old)).env("HTKV_MASTER_KEY", hex(new)))
    };
    for _ in 0..2 {
        let refused = rotate([2; 32], [3; 32]);
        assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{refused:?}");
        assert!(refused.err.contains("still under the master key 1"), "{refused:?}");
    }
    let finished = rotate(KEY, [2; 32]);
    assert!(finished.out.starts_with("rewrapped  1\n"), "{finished:?}");
    let next = rotate([2; 32], [3; 32]);
    assert!(next.out.contains("in force   master key 3;"), "{next:?}");
    let mut show = bare(&ctl, &["user", "show", "captain", "--metadata"]);
    let shown = ran(show.env("HTKV_MASTER_KEY", hex([3; 32])));
    assert!(shown.out.contains("metadata  ops"), "{shown:?}");
}

#[test]
fn without_records_of_its_own_a_store_is_left_as_it_is() {
    let ctl = Ctl::new();
    for args in [&["list-users"][..], &["user", "disable", "x"], &["audit"], &["role", "list"]] {
        let none = ran(&mut armed(&ctl, args));
        assert!(none.code == 1 && none.err.contains("there is no store"), "{args:?}: {none:?}");
    }
    assert!(!ctl.directory().exists());
    ctl.ok(&["set", "a", "1"]);
    let before = ctl.bytes();
    assert_eq!(ok(&ctl, &["list-users"]), "");
    for args in [
        &["user", "disable", "x"][..],
        &["key", "revoke", "x"],
        &["audit"],
        &["user", "show", "x", "--metadata"],
    ] {
        refused(&ctl, args, "has no users and no audit trail");
    }
    assert!(ctl.bytes() == before);
}

#[test]
fn a_store_that_is_open_elsewhere_is_locked() {
    let ctl = Ctl::new();
    ok(&ctl, &["user", "add", "captain"]);
    let engine = SingleNodeEngine::open(ctl.directory()).unwrap();
    for args in [
        &["list-users"][..],
        &["user", "add", "other"],
        &["user", "disable", "captain"],
        &["key", "list", "captain"],
        &["audit"],
    ] {
        refused(&ctl, args, "is in use");
    }
    drop(engine);
}
