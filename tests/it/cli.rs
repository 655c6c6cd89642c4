//! `htkvctl`: what each command prints, with which code it exits, and what it leaves alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hightower_kv::storage::error::StorageError;
use hightower_kv::{Compression, Error, KvEngine, ReadOnlyEngine, SingleNodeEngine, StoreConfig};
use serde_json::Value as Json;
use tempfile::TempDir;

/// A directory for one store, and the tool for it.
pub(crate) struct Ctl {
    scratch: TempDir,
}

/// What a run of the tool came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("it exits by itself"),
            out: String::from_utf8(output.stdout).expect("everything but --raw is UTF-8"),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ctl {
    pub(crate) fn new() -> Self {
        Self { scratch: tempfile::tempdir().unwrap() }
    }

    /// Where the store is, or will be.
    pub(crate) fn directory(&self) -> PathBuf {
        self.scratch.path().join("store")
    }

    /// A path beside the store.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_htkvctl"));
        command.arg("--data-dir").arg(self.directory()).args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.command(args).stdin(Stdio::null()).output().unwrap().into()
    }

    /// What a run prints that succeeds and has nothing to complain about.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}: {ran:?}");
        ran.out
    }

    pub(crate) fn run_with(&self, args: &[&str], stdin: &[u8]) -> Ran {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        child.wait_with_output().unwrap().into()
    }

    fn json(&self, args: &[&str]) -> Json {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// The same store in another place. What this process opens there, it locks there: a process
    /// that another thread begins meanwhile holds the lock for as long as it takes to begin.
    pub(crate) fn copied(&self) -> Self {
        let copy = Self::new();
        for (path, bytes) in self.bytes() {
            let to = copy.directory().join(path.strip_prefix(self.directory()).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, bytes).unwrap();
        }
        copy
    }

    /// All bytes of the store.
    pub(crate) fn bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        add_files(&self.directory(), &mut files);
        files
    }
}

pub(crate) fn add_files(directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_files(&path, files);
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

const INSPECTING: [&[&str]; 8] = [
    &["get", "a"],
    &["scan"],
    &["scan", "--reverse", "--limit", "1"],
    &["export"],
    &["segments"],
    &["stats"],
    &["log"],
    &["verify"],
];

#[test]
fn a_value_that_was_set_is_got_and_removed() {
    let ctl = Ctl::new();
    assert_eq!(ctl.ok(&["set", "user", "Alice"]), "");
    assert_eq!(ctl.ok(&["get", "user"]), "Alice\n");
    assert_eq!(ctl.ok(&["set", "user", "Bob"]), "");
    assert_eq!(ctl.ok(&["get", "user"]), "Bob\n");
    assert_eq!(ctl.ok(&["rm", "user"]), "");
    for args in [["get", "user"], ["rm", "user"]] {
        let ran = ctl.run(&args);
        assert_eq!((ran.code, ran.err.as_str(), ran.out.as_str()), (1, "Key not found\n", ""));
    }
}

#[test]
fn writing_is_told_with_its_version_in_json() {
    let ctl = Ctl::new();
    let first = ctl.json(&["--json", "set", "k", "v"]);
    let again = ctl.json(&["--json", "set", "k", "v"]);
    assert_eq!(first["outcome"], "applied");
    assert_eq!(again["outcome"], "unchanged");
    assert_eq!(first["version"], again["version"]);
    let got = ctl.json(&["get", "k", "--json"]);
    assert_eq!((&got["key"], &got["value"]), (&"k".into(), &"v".into()));
    assert_eq!(got["version"], first["version"]);
}

#[test]
fn a_value_from_standard_input_is_kept_byte_for_byte() {
    let ctl = Ctl::new();
    let value: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let ran = ctl.run_with(&["set", "blob", "-"], &value);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "", ""));
    let output = ctl.command(&["get", "blob", "--raw"]).output().unwrap();
    assert!(output.stdout == value);
    assert!(ctl.ok(&["get", "blob"]).starts_with(r"\x00\x01\x02"));
}

#[test]
fn text_is_got_as_it_is_and_a_row_is_one_line() {
    let ctl = Ctl::new();
    ctl.run_with(&["set", "text", "-"], b"first\n\tsecond \\ third");
    assert_eq!(ctl.ok(&["get", "text"]), "first\n\tsecond \\ third\n");
    assert_eq!(ctl.ok(&["scan"]), "text\tfirst\\x0a\\x09second \\x5c third\n");
}

#[test]
fn hexadecimal_is_taken_and_printed() {
    let ctl = Ctl::new();
    ctl.ok(&["--hex", "set", "ff00", "0a"]);
    assert_eq!(ctl.ok(&["scan"]), "\\xff\\x00\t\\x0a\n");
    assert_eq!(ctl.ok(&["scan", "--hex"]), "ff00\t0a\n");
    assert_eq!(ctl.ok(&["get", "--hex", "ff00"]), "0a\n");
    assert_eq!(ctl.ok(&["scan", "--hex", "ff"]), "ff00\t0a\n");
    let refused = ctl.run(&["--hex", "get", "xyz"]);
    assert_eq!(refused.code, 64, "{refused:?}");
    assert!(refused.err.contains("expected pairs of hexadecimal digits, found 'xyz'"));
}

#[test]
fn scan_goes_in_key_order_from_either_end_and_stops_at_the_limit() {
    let ctl = Ctl::new();
    for key in ["b:2", "a:1", "b:1", "c:1", "b:3"] {
        ctl.ok(&["set", key, "v"]);
    }
    assert_eq!(ctl.ok(&["scan"]), "a:1\tv\nb:1\tv\nb:2\tv\nb:3\tv\nc:1\tv\n");
    assert_eq!(ctl.ok(&["scan", "b:"]), "b:1\tv\nb:2\tv\nb:3\tv\n");
    assert_eq!(ctl.ok(&["scan", "b:", "--limit", "2"]), "b:1\tv\nb:2\tv\n");
    assert_eq!(ctl.ok(&["scan", "b:", "--limit", "2", "--reverse"]), "b:3\tv\nb:2\tv\n");
    assert_eq!(ctl.ok(&["scan", "x"]), "");
    assert_eq!(ctl.ok(&["scan", "c", "--json"]), "{\"key\":\"c:1\",\"value\":\"v\"}\n");
}

#[test]
fn keys_of_scopes_are_set_shown_and_removed_apart_from_plain_ones() {
    let ctl = Ctl::new();
    ctl.ok(&["set", "k", "plain"]);
    ctl.ok(&["set", "k", "named", "--scope", "n"]);
    assert_eq!(ctl.ok(&["get", "k"]), "plain\n");
    assert_eq!(ctl.ok(&["get", "k", "--scope", "n"]), "named\n");
    assert_eq!(ctl.ok(&["scan", "--scope", "n"]), "k\tnamed\n");
    assert_eq!(ctl.run(&["get", "k", "--scope", "other"]).code, 1);
    ctl.ok(&["rm", "k", "--scope", "n"]);
    assert_eq!(ctl.run(&["rm", "k", "--scope", "n"]).code, 1);
    assert_eq!(ctl.ok(&["scan"]), "k\tplain\n");
    assert_eq!(ctl.run(&["get", "k", "--scope", ""]).code, 64);
    // Ephemeral ones are there until the next command that writes.
    ctl.ok(&["set", "k", "ephemeral", "--scope", "ephemeral"]);
    assert_eq!(ctl.ok(&["get", "k", "--scope", "ephemeral"]), "ephemeral\n");
    ctl.ok(&["set", "l", "plain"]);
    assert_eq!(ctl.run(&["get", "k", "--scope", "ephemeral"]).code, 1);
}

#[test]
fn a_key_is_set_for_a_time_and_the_log_says_so() {
    let ctl = Ctl::new();
    ctl.ok(&["set", "k", "v", "--ttl", "90s"]);
    ctl.ok(&["set", "l", "v", "--ttl", "1ms"]);
    let log = ctl.ok(&["log"]);
    assert!(
        log.contains("SetExpiring { key: \"k\", value: \"v\", until: After(90000000) }"),
        "{log}"
    );
    // The next command that writes removes what is due.
    ctl.ok(&["set", "m", "v"]);
    assert_eq!(ctl.ok(&["scan"]), "k\tv\nm\tv\n");
    assert!(ctl.ok(&["log"]).contains("Expire { limit: 1 }"));
    for wrong in ["90", "1w", "-1s", "0s"] {
        let ran = ctl.run(&["set", "k", "v", "--ttl", wrong]);
        assert_ne!(ran.code, 0, "{wrong}: {ran:?}");
    }
}

#[test]
fn inspecting_leaves_every_byte_as_it_is() {
    let ctl = Ctl::new();
    for n in 0..20 {
        ctl.ok(&["set", "a", &n.to_string()]);
    }
    let before = ctl.bytes();
    for args in INSPECTING {
        let ran = ctl.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ctl.run(&[args, &["--json"]].concat());
    }
    assert!(ctl.bytes() == before);
}

#[test]
fn inspecting_says_that_there_is_no_store_and_creates_none() {
    let ctl = Ctl::new();
    for args in INSPECTING.into_iter().chain([
        ["rm", "a"].as_slice(),
        &["compact"],
        &["repair", "--truncate-tail"],
    ]) {
        let ran = ctl.run(args);
        assert_eq!(ran.code, 1, "{args:?}: {ran:?}");
        assert!(ran.err.starts_with("htkvctl: there is no store in "), "{args:?}: {ran:?}");
        assert!(!ctl.directory().exists(), "{args:?}");
    }
    fs::create_dir(ctl.directory()).unwrap();
    for args in INSPECTING.into_iter().chain([["rm", "a"].as_slice(), &["compact"]]) {
        let ran = ctl.run(args);
        assert!(ran.err.starts_with("htkvctl: there is no store in "), "{args:?}: {ran:?}");
        assert_eq!(ctl.bytes().len(), 0, "{args:?}");
    }
}

#[test]
fn beside_a_writer_everything_is_locked() {
    let ctl = Ctl::new();
    let engine = SingleNodeEngine::open(ctl.directory()).unwrap();
    engine.put(b"a".to_vec(), b"1".to_vec()).unwrap();
    for args in INSPECTING.into_iter().chain([["set", "a", "2"].as_slice(), &["rm", "a"]]) {
        let ran = ctl.run(args);
        assert_eq!(ran.code, 1, "{args:?}: {ran:?}");
        assert!(ran.err.contains("is in use"), "{args:?}: {ran:?}");
    }
    drop(engine);
    assert_eq!(ctl.ok(&["get", "a"]), "1\n");
}

#[test]
fn usage_errors_exit_with_64_and_the_help() {
    let ctl = Ctl::new();
    let wrong: [&[&str]; 6] = [
        &["nonsense"],
        &["get"],
        &["set", "only-a-key"],
        &["scan", "--limit", "many"],
        &["repair"],
        &["get", "a", "--raw", "--json"],
    ];
    for args in wrong {
        let ran = ctl.run(args);
        assert_eq!(ran.code, 64, "{args:?}: {ran:?}");
        assert!(ran.err.contains("Usage: htkvctl"), "{args:?}: {ran:?}");
        assert_eq!(ran.out, "");
    }
    assert!(!ctl.directory().exists());
    let output = Command::new(env!("CARGO_BIN_EXE_htkvctl")).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(ctl.ok(&["--help"]).contains("Exit codes"));
    assert!(ctl.ok(&["--version"]).starts_with("htkvctl "));
}

#[test]
fn an_empty_key_is_refused_and_nothing_written() {
    let ctl = Ctl::new();
    ctl.ok(&["set", "a", "1"]);
    let ran = ctl.run(&["set", "", "x"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("a key is empty"), "{ran:?}");
    assert_eq!(ctl.ok(&["scan"]), "a\t1\n");
}

#[test]
fn compaction_makes_the_directory_smaller_and_says_by_how_much() {
    let ctl = Ctl::new();
    let value = "x".repeat(1000);
    for _ in 0..5 {
        ctl.ok(&["set", "a", &value]);
        ctl.ok(&["set", "b", &value]);
        ctl.ok(&["rm", "b"]);
    }
    let report = ctl.json(&["compact", "--json"]);
    let (before, after) = (&report["bytes_before"], &report["bytes_after"]);
    assert!(before.as_u64() > after.as_u64(), "{report}");
    assert_eq!(report["rows"], 1);
    assert_eq!(ctl.ok(&["get", "a"]), format!("{value}\n"));
    let text = ctl.ok(&["compact"]);
    assert!(text.contains("bytes before") && text.contains("took"), "{text}");
    assert!(ctl.ok(&["verify"]).ends_with("no damage\n"));
}

#[test]
fn segments_and_stats_count_what_is_there() {
    let ctl = Ctl::new();
    ctl.ok(&["set", "a", "1"]);
    ctl.ok(&["set", "a", "22"]);
    let text = ctl.ok(&["segments"]);
    // A membership, a blank entry for each of two openings, and two writes.
    assert!(text.starts_with("segment-1 entries:5 bytes:"), "{text}");
    assert!(text.contains("\nlive bytes:3 stale bytes:"), "{text}");
    let stats = ctl.json(&["stats", "--json"]);
    assert_eq!((&stats["keys"], &stats["live_bytes"]), (&1.into(), &3.into()));
    assert_eq!((&stats["term"], &stats["voters"]), (&2.into(), &vec![1].into()));
    assert!(stats["snapshot_version"].as_u64() > Some(2), "closing wrote tables: {stats}");
    let text = ctl.ok(&["stats"]);
    assert!(
        text.contains("keys            1\n") && text.contains("snapshot        at version"),
        "{text}"
    );
}

#[test]
fn the_log_is_readable_from_any_index() {
    let ctl = Ctl::new();
    ctl.ok(&["set", "a", "1"]);
    ctl.ok(&["rm", "a"]);
    let text = ctl.ok(&["log"]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line[3]).collect();
    assert_eq!(kinds, ["membership", "blank", "command", "blank", "command"]);
    assert_eq!(lines[2][4], r#"Set { key: "a", value: "1" }"#);
    assert!(lines[2][2].starts_with("20") && lines[2][2].ends_with('Z'), "{text}");
    let from = ctl.ok(&["log", "--from", "4"]);
    assert_eq!(from.lines().collect::<Vec<_>>(), text.lines().skip(4).collect::<Vec<_>>());
    assert_eq!(ctl.ok(&["log", "--from", "1000"]), "");
    let json: Json =
        serde_json::from_str(ctl.ok(&["log", "--json"]).lines().last().unwrap()).unwrap();
    assert_eq!((&json["index"], &json["kind"]), (&4.into(), &"command".into()));
}

/// The last segment and where its frames end.
pub(crate) fn last_segment(ctl: &Ctl) -> (PathBuf, usize) {
    let files = ctl.bytes();
    let (path, bytes) =
        files.iter().rfind(|(path, _)| path.extension().is_some_and(|end| end == "seg")).unwrap();
    (path.clone(), bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn damage_is_named_exits_with_2_and_is_left_as_it_is() {
    let ctl = Ctl::new();
    ctl.ok(&["set", "a", "some value that is there"]);
    ctl.ok(&["set", "b", "another value that is there"]);
    let (segment, end) = last_segment(&ctl);
    flip(&segment, end / 2);
    flip(&ctl.directory().join("IDENTITY"), 20);
    let before = ctl.bytes();
    let ran = ctl.run(&["verify"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let named: Vec<&str> = ran.out.lines().filter(|line| line.starts_with("damaged: ")).collect();
    assert_eq!(named.len(), 2, "{ran:?}");
    assert!(named[0].contains("IDENTITY at offset 0"), "{ran:?}");
    assert!(named[1].contains("0000000001.seg at offset "), "{ran:?}");
    let json: Json = serde_json::from_str(&ctl.run(&["verify", "--json"]).out).unwrap();
    assert_eq!(json["damages"].as_array().unwrap().len(), 2, "{json}");
    let unread = unread(&mut ctl.command(&["verify"]));
    assert!(unread.code == 2 && unread.err.contains("2 damages"), "{unread:?}");
    for args in [["get", "a"].as_slice(), &["stats"], &["set", "a", "x"], &["rm", "a"]] {
        let ran = ctl.run(args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        assert!(ran.err.contains("is corrupt"), "{args:?}: {ran:?}");
    }
    assert!(ctl.bytes() == before);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let ctl = Ctl::new();
    let engine = SingleNodeEngine::open(ctl.directory()).unwrap();
    for n in 0..2000 {
        let commands = [hightower_kv::Command::set(format!("{n:06}"), vec![b'x'; 200])];
        engine.submit_batch(commands.to_vec()).unwrap();
    }
    engine.close().unwrap();
    let ran = unread(&mut ctl.command(&["scan"]));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

/// Runs a command whose reader has gone away.
pub(crate) fn unread(command: &mut Command) -> Ran {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.wait_with_output().unwrap().into()
}

#[test]
fn the_directory_is_the_same_for_the_library() {
    let ctl = Ctl::new();
    ctl.ok(&["set", "a", "1"]);
    let engine = ReadOnlyEngine::open(ctl.directory()).unwrap();
    assert_eq!(engine.view().get(b"a").unwrap().unwrap(), "1");
    let beside = SingleNodeEngine::open(ctl.directory()).unwrap_err();
    assert!(matches!(beside, Error::Locked(StorageError::Locked { .. })), "{beside}");
}

#[test]
fn what_is_refused_creates_no_store() {
    let ctl = Ctl::new();
    let long = "k".repeat((64 << 10) + 1);
    for (args, told) in [
        (&["set", "", "v"][..], "a key is empty"),
        (&["set", &long, "v"], "bytes of a key: 65537"),
        (&["set", "--scope", "s", "", "v"], "a key is empty"),
        (&["set", "k", "v", "--ttl", "0s"], "a time to live is 0 microseconds"),
    ] {
        let ran = ctl.run(args);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains(told), "{ran:?}");
        assert!(!ctl.directory().exists(), "{told}");
    }
    ctl.ok(&["set", "--scope", "s", "k", "v", "--ttl", "1h"]);
    assert_eq!(ctl.ok(&["get", "--scope", "s", "k"]), "v\n");
}

#[test]
fn tables_stay_compressed_as_the_application_has_them() {
    let ctl = Ctl::new();
    let mut config = StoreConfig::default();
    config.data_dir = ctl.directory();
    config.worker_threads = 0;
    config.compression = Compression::Lz4;
    let engine = SingleNodeEngine::with_config(config).unwrap();
    for key in 0..2000_u32 {
        engine.put(key.to_le_bytes().to_vec(), vec![b'v'; 1000]).unwrap();
    }
    engine.close().unwrap();
    let bytes = |ctl: &Ctl| {
        let tables = ctl.bytes().into_iter();
        let tables = tables.filter(|(path, _)| path.extension().is_some_and(|it| it == "tbl"));
        tables.map(|(_, bytes)| bytes.len()).sum::<usize>()
    };
    let before = bytes(&ctl);
    assert!(before < 400_000, "{before}");
    ctl.ok(&["rm", "--hex", "01000000"]);
    ctl.ok(&["compact"]);
    // What time it is stands in each row, and makes some bytes of difference.
    assert!(bytes(&ctl) < 400_000, "{} after {before}", bytes(&ctl));
}

#[test]
fn verify_tells_of_a_table_that_opening_refuses() {
    let ctl = Ctl::new();
    ctl.ok(&["set", "k", "v"]);
    let table = ctl.directory().join("tables").join("4294967295.tbl");
    fs::write(&table, b"").unwrap();
    fs::write(ctl.directory().join("notes.tmp"), b"").unwrap();
    let ran = ctl.run(&["verify"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.out.contains("no table ever gets this number"), "{ran:?}");
    assert!(ran.out.contains("not a file of the store; left alone"), "{ran:?}");
    assert!(ctl.run(&["set", "k", "w"]).err.contains("no table ever gets this number"));
    fs::remove_file(&table).unwrap();
    assert_eq!(ctl.run(&["verify"]).code, 0);
}
