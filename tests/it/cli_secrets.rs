//! How `htkvctl` takes secrets, and that it shows none.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use hightower_kv::{
    AesGcmEncryptor, Argon2SecretHasher, AuthService, BcryptSecretHasher, KvEngine, ReadOnlyEngine,
    SingleNodeEngine,
};

use crate::cli::{Ctl, Ran};
use crate::cli_auth::{KEY, PASSWORD, armed, bare, hex, library, ok, ran, write};

/// A run with this on standard input.
fn fed(command: &mut Command, stdin: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may end before it has read everything.
    drop(child.stdin.take().unwrap().write_all(stdin));
    child.wait_with_output().unwrap().into()
}

/// A tool with a master key and no password.
fn keyed(ctl: &Ctl, args: &[&str]) -> Command {
    let mut command = bare(ctl, args);
    command.env("HTKV_MASTER_KEY", hex(KEY));
    command
}

fn is_password(ctl: &Ctl, name: &str, password: &str) -> bool {
    library(ctl, &[(1, KEY)]).verify_password(name, password).unwrap()
}

#[test]
fn a_password_is_taken_from_each_place_without_the_end_of_its_line() {
    let ctl = Ctl::new();
    for (name, line) in
        [("plain", "canary one "), ("newline", "canary one \n"), ("crlf", "canary one \r\n")]
    {
        let added = fed(&mut keyed(&ctl, &["user", "add", name]), line.as_bytes());
        assert_eq!((added.code, added.err.as_str()), (0, ""), "{name}: {added:?}");
        let file = ctl.file(name);
        write(&file, line.as_bytes());
        let path = file.to_str().unwrap();
        let of_file = format!("{name}-file");
        let added = ran(&mut keyed(&ctl, &["user", "add", &of_file, "--password-file", path]));
        assert_eq!((added.code, added.err.as_str()), (0, ""), "{name}: {added:?}");
        let of_variable = format!("{name}-variable");
        let mut command = keyed(&ctl, &["user", "add", &of_variable]);
        assert_eq!(ran(command.env("HTKV_PASSWORD_FILE", path)).code, 0, "{name}");
        let of_value = format!("{name}-value");
        let mut command = keyed(&ctl, &["user", "add", &of_value]);
        assert_eq!(ran(command.env("HTKV_PASSWORD", line)).code, 0, "{name}");
        for user in [name, &of_file, &of_variable, &of_value] {
            assert!(is_password(&ctl, user, "canary one "), "{user}");
        }
    }
    let mut two = keyed(&ctl, &["user", "add", "two"]);
    let refused = ran(two.env("HTKV_PASSWORD", "canary one\ncanary two"));
    assert!(refused.code == 1 && refused.err.contains("found more than one line"), "{refused:?}");
    let mut dash = keyed(&ctl, &["user", "add", "dash", "--password-file", "-"]);
    assert_eq!(fed(&mut dash, b"canary one\n").code, 0);
    assert!(is_password(&ctl, "dash", "canary one"));
}

#[test]
fn the_master_key_is_the_first_line_of_standard_input_and_the_password_the_next() {
    let ctl = Ctl::new();
    let args = ["user", "add", "captain", "--master-key-file", "-"];
    let lines = format!("{}\n{PASSWORD}\n", hex(KEY));
    let added = fed(&mut bare(&ctl, &args), lines.as_bytes());
    assert_eq!(added.code, 0, "{added:?}");
    assert!(is_password(&ctl, "captain", PASSWORD));
    let file = ctl.file("key");
    write(&file, format!("{}\r\n", hex(KEY)).as_bytes());
    let mut command = bare(&ctl, &["audit"]);
    assert_eq!(ran(command.env("HTKV_MASTER_KEY_FILE", &file)).code, 0);
    assert_eq!(
        ran(&mut bare(&ctl, &["audit", "--master-key-file", file.to_str().unwrap()])).code,
        0
    );
    let both = ran(armed(&ctl, &["audit"]).env("HTKV_MASTER_KEY_FILE", &file));
    assert!(both.code == 64 && both.err.contains("found both"), "{both:?}");
}

#[test]
fn a_password_is_hashed_with_the_pepper_of_the_application() {
    let ctl = Ctl::new();
    let accepts = |pepper: &[u8], name: &str, password: &str| {
        let copy = ctl.copied();
        let engine = Arc::new(ReadOnlyEngine::open(copy.directory()).unwrap());
        let hasher = Argon2SecretHasher::default().with_pepper(pepper);
        let auth = AuthService::new(engine, hasher, AesGcmEncryptor::new(KEY));
        auth.verify_password(name, password).unwrap()
    };
    let file = ctl.file("pepper");
    write(&file, b"canary pepper\n");
    let path = file.to_str().unwrap();
    ok(&ctl, &["user", "add", "file", "--pepper-file", path]);
    let added = ran(armed(&ctl, &["user", "add", "value"]).env("HTKV_PEPPER", "canary pepper"));
    assert_eq!((added.code, added.err.as_str()), (0, ""), "{added:?}");
    let mut command = armed(&ctl, &["user", "add", "variable"]);
    assert_eq!(ran(command.env("HTKV_PEPPER_FILE", path)).code, 0);
    // Of three on standard input the pepper is the second.
    let three = ["user", "add", "three", "--pepper-file", "-", "--master-key-file", "-"];
    let lines = format!("{}\ncanary pepper\n{PASSWORD}\n", hex(KEY));
    let added = fed(&mut bare(&ctl, &three), lines.as_bytes());
    assert_eq!(added.code, 0, "{added:?}");
    ok(&ctl, &["user", "add", "none"]);
    for name in ["file", "value", "variable", "three"] {
        assert!(accepts(b"canary pepper", name, PASSWORD), "{name}");
        assert!(!is_password(&ctl, name, PASSWORD), "{name}");
    }
    assert!(!accepts(b"canary pepper", "none", PASSWORD) && is_password(&ctl, "none", PASSWORD));
    let passwd = ["user", "passwd", "none", "--pepper-file", path];
    let changed = ran(armed(&ctl, &passwd).env("HTKV_PASSWORD", "canary other"));
    assert_eq!(changed.code, 0, "{changed:?}");
    assert!(accepts(b"canary pepper", "none", "canary other"));
    let empty = ran(armed(&ctl, &passwd[..3]).env("HTKV_PEPPER_FILE", "/dev/null"));
    assert!(empty.code == 1 && empty.err.contains("the pepper: expected one line"), "{empty:?}");
}

#[test]
fn a_password_that_is_hashed_by_something_else_is_left_to_the_application() {
    let ctl = Ctl::new();
    let engine = Arc::new(SingleNodeEngine::open(ctl.directory()).unwrap());
    let bcrypt = BcryptSecretHasher::with_cost(10).unwrap();
    let auth = AuthService::new(Arc::clone(&engine), bcrypt, AesGcmEncryptor::new(KEY));
    auth.create_user("captain", PASSWORD).unwrap();
    drop(auth);
    Arc::into_inner(engine).unwrap().close().unwrap();
    let refused = ran(&mut armed(&ctl, &["user", "passwd", "captain"]));
    assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{refused:?}");
    assert!(refused.err.contains("is hashed by '2b'"), "{refused:?}");
    let engine = Arc::new(ReadOnlyEngine::open(ctl.directory()).unwrap());
    let auth = AuthService::new(engine, bcrypt, AesGcmEncryptor::new(KEY));
    assert!(auth.verify_password("captain", PASSWORD).unwrap(), "it is as it was");
}

#[test]
fn metadata_is_what_follows_the_master_key_and_the_password_on_standard_input() {
    let ctl = Ctl::new();
    let key = hex(KEY);
    let both = ["--metadata-file", "-", "--master-key-file", "-"];
    let run = |args: &[&str], lines: String| {
        let ran = fed(&mut bare(&ctl, &[args, &both].concat()), lines.as_bytes());
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.out
    };
    let shown = || ok(&ctl, &["user", "show", "captain", "--metadata"]);
    run(&["user", "add", "captain"], format!("{key}\n{PASSWORD}\nops\nteam"));
    assert!(is_password(&ctl, "captain", PASSWORD));
    assert!(shown().contains("metadata  ops\\x0ateam\n"), "{}", shown());
    run(&["user", "metadata", "captain"], format!("{key}\nbridge"));
    assert!(shown().contains("metadata  bridge\n"), "{}", shown());
    let token = run(&["key", "issue", "captain"], format!("{key}\nof a key"));
    let library = library(&ctl, &[(1, KEY)]);
    let issued = library.authenticate_api_key(token.trim_end()).unwrap().unwrap();
    assert_eq!(library.decrypt_api_key_metadata(&issued).unwrap().unwrap(), b"of a key");
}

#[test]
fn what_is_no_password_is_refused_with_what_was_found_and_never_shown() {
    let ctl = Ctl::new();
    let long = [b"canary".repeat(200), b"\n".to_vec()].concat();
    let file = ctl.file("password");
    for (bytes, found) in [
        (&b""[..], "found nothing"),
        (b"\n", "found an empty line"),
        (b"\r\n", "found an empty line"),
        (b"canary\xff\n", "found bytes that are not UTF-8"),
        (&long, "found a longer one"),
    ] {
        let refused = fed(&mut keyed(&ctl, &["user", "add", "captain"]), bytes);
        assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{refused:?}");
        assert!(refused.err.contains(found) && !refused.err.contains("canary"), "{refused:?}");
        write(&file, bytes);
        let args = ["user", "add", "captain", "--password-file", file.to_str().unwrap()];
        let refused = ran(&mut keyed(&ctl, &args));
        assert!(refused.code == 1 && refused.err.contains(found), "{refused:?}");
        assert!(!refused.err.contains("canary"), "{refused:?}");
    }
    write(&file, b"canary one\ncanary two\n");
    let args = ["user", "add", "captain", "--password-file", file.to_str().unwrap()];
    let two = ran(&mut keyed(&ctl, &args));
    assert!(two.err.contains("more than one line") && !two.err.contains("canary"), "{two:?}");
    let gone = ran(&mut keyed(&ctl, &["user", "add", "x", "--password-file", "/nonexistent"]));
    assert!(gone.code == 1 && gone.err.contains("cannot read /nonexistent"), "{gone:?}");
    assert!(!ctl.directory().exists(), "secrets are read before anything is opened");
    // The longest that there may be.
    let longest = "x".repeat(1024);
    let added = fed(&mut keyed(&ctl, &["user", "add", "captain"]), longest.as_bytes());
    assert_eq!(added.code, 0, "{added:?}");
    assert!(is_password(&ctl, "captain", &longest));
}

#[test]
fn a_closed_standard_input_is_no_password() {
    let ctl = Ctl::new();
    let mut shell = Command::new("sh");
    let tool = env!("CARGO_BIN_EXE_htkvctl");
    shell.arg("-c").arg(r#""$0" --data-dir "$1" user add captain <&-"#);
    shell.arg(tool).arg(ctl.directory()).env("HTKV_MASTER_KEY", hex(KEY));
    shell.env_remove("HTKV_PASSWORD").env_remove("HTKV_PASSWORD_FILE");
    let refused: Ran = shell.output().unwrap().into();
    assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{refused:?}");
    assert!(refused.err.contains("found nothing"), "{refused:?}");
    assert!(!ctl.directory().exists());
}

#[test]
fn a_file_that_others_can_read_is_warned_of() {
    let ctl = Ctl::new();
    let file = ctl.file("password");
    write(&file, PASSWORD.as_bytes());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let args = ["user", "add", "captain", "--password-file", file.to_str().unwrap()];
    let warned = ran(&mut keyed(&ctl, &args));
    assert_eq!(warned.code, 0, "{warned:?}");
    assert!(warned.err.contains("can be read by others (mode 0640): chmod 600"), "{warned:?}");
}

/// A run that waits for its master key shows who looks at its command line nothing. Its environment
/// can be read by the same user and by root, which is why files and standard input are there.
#[cfg(target_os = "linux")]
#[test]
fn no_secret_is_in_the_command_line_of_the_process() {
    let ctl = Ctl::new();
    let file = ctl.file("key");
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let args = ["user", "add", "captain", "--master-key-file", file.to_str().unwrap()];
    let mut command = bare(&ctl, &args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Returns when the tool has opened the other end: it runs, and waits for its key.
    let mut key = fs::OpenOptions::new().write(true).open(&file).unwrap();
    let read = |name: &str| fs::read(format!("/proc/{}/{name}", child.id())).unwrap();
    let seen = [read("cmdline"), read("environ")].concat();
    let has = |secret: &str| seen.windows(secret.len()).any(|part| part == secret.as_bytes());
    assert!(has("captain") && !has(PASSWORD) && !has(&hex(KEY)));
    key.write_all(hex(KEY).as_bytes()).unwrap();
    drop(key);
    child.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
    let added: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(added.code, 0, "{added:?}");
    assert!(is_password(&ctl, "captain", PASSWORD));
    // There is no option and no place for a secret on the command line.
    for args in [
        &["user", "add", "other", PASSWORD][..],
        &["user", "add", "other", "--password", PASSWORD],
        &["user", "passwd", "captain", PASSWORD],
        &["audit", "--master-key", PASSWORD],
    ] {
        assert_eq!(ran(&mut armed(&ctl, args)).code, 64, "{args:?}");
    }
}

/// What commands for keys and values print of a store with users, keys and roles.
#[test]
fn reserved_rows_are_counted_and_never_printed() {
    let ctl = Ctl::new();
    ctl.ok(&["set", "plain", "row"]);
    let metadata = ctl.file("metadata");
    write(&metadata, b"canary-metadata");
    let path = metadata.to_str().unwrap();
    ok(&ctl, &["user", "add", "captain", "--metadata-file", path]);
    let token = ok(&ctl, &["key", "issue", "captain", "--metadata-file", path]);
    ok(&ctl, &["role", "put", "canary-role", "--read", "canary-prefix"]);
    let engine = SingleNodeEngine::open(ctl.directory()).unwrap();
    engine.put(b"plain2".to_vec(), b"row2".to_vec()).unwrap();
    let hash = {
        let key = hightower_kv::command::reserved_key(b"auth/user/");
        let view = engine.view(hightower_kv::ReadContext::Local).unwrap();
        let rows = view.reserved().rows(&key, None, 1).unwrap();
        let text = String::from_utf8_lossy(&rows[0].1.value).into_owned();
        text[text.find("$argon2id").unwrap()..].chars().take(90).collect::<String>()
    };
    drop(engine);
    let ctl = ctl.copied();
    let everything: [&[&str]; 8] = [
        &["scan"],
        &["scan", "--reverse"],
        &["export"],
        &["export", "--hex"],
        &["log"],
        &["stats"],
        &["segments"],
        &["verify"],
    ];
    let secret = token.trim_end().rsplit('_').next().unwrap();
    for args in everything {
        for args in [args.to_vec(), [args, &["--json"]].concat()] {
            let ran = ctl.run(&args);
            assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
            for hidden in ["argon2id", "canary-prefix", "canary-metadata", secret, &hash, PASSWORD]
            {
                let shown = ran.out.contains(hidden) || ran.err.contains(hidden);
                assert!(!shown, "{args:?} shows {hidden}: {ran:?}");
                assert!(!ran.out.contains(&hex(hidden)), "{args:?} shows {hidden}: {ran:?}");
            }
            if args[0] == "scan" || args[0] == "export" {
                assert_eq!(ran.out.lines().count(), 2, "{args:?}: {ran:?}");
            }
        }
    }
    assert!(ctl.run(&["export"]).err.contains("reserved rows are not exported: of scopes, times"));
    let stats: serde_json::Value = serde_json::from_str(&ctl.ok(&["stats", "--json"])).unwrap();
    assert_eq!(stats["keys"], 2);
    assert!(stats["reserved_keys"].as_u64() > Some(5), "{stats}");
    let log = ctl.ok(&["log"]);
    assert!(log.contains("Set { key: \"plain2\", value: \"row2\" }"), "{log}");
    for args in [
        &["get", "ffffffffffffffff617574682f"][..],
        &["rm", "ffffffffffffffff617574682f"],
        &["set", "ffffffffffffffff617574682f", "00"],
        &["scan", "ffffffffffffffff"],
        &["export", "ffffffffffffffff617574682f75736572"],
    ] {
        let refused = ctl.run(&[&["--hex"], args].concat());
        assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{args:?}: {refused:?}");
        assert!(refused.err.contains("reserved keyspace"), "{args:?}: {refused:?}");
    }
    assert!(ctl.run(&["compact"]).code == 0);
    assert_eq!(ctl.run(&["scan"]).out.lines().count(), 2);
}

#[test]
fn the_log_names_reserved_keys_without_their_values() {
    let ctl = Ctl::new();
    let engine = SingleNodeEngine::open(ctl.directory()).unwrap();
    let (engine, auth) = engine.into_argon2_hasher_aes_gcm_auth_service(KEY);
    auth.create_user("captain", PASSWORD).unwrap();
    // The engine is not closed: what is in the log is not in tables yet.
    drop((auth, engine));
    let ctl = ctl.copied();
    let log = ctl.ok(&["log"]);
    let created = log.lines().find(|line| line.contains("user_by_name/captain")).unwrap();
    assert!(
        created.contains("set auth/user/") && created.contains("values are not shown"),
        "{log}"
    );
    assert!(!log.contains("argon2id") && !log.contains("\\xff"), "{log}");
}
