//! `htkvctl import` and `export`: everything comes back, also after a kill in the middle.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use hightower_kv::ReadOnlyEngine;

use crate::cli::{Ctl, Ran};

fn export(ctl: &Ctl) -> String {
    let ran = ctl.run(&["export"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out
}

fn told(ran: &Ran) -> &str {
    ran.err.split(", in ").next().unwrap()
}

#[test]
fn what_was_exported_is_imported_as_it_was_and_twice_changes_nothing() {
    let ctl = Ctl::new();
    let binary = "{\"key_hex\":\"00ff\",\"value_hex\":\"80\"}\n";
    let text = "{\"key\":\"a\\u0000b\",\"value\":\"line\\nline \\\\ \\\"x\\\" \u{e9}\"}\n";
    let empty = "{\"key\":\"empty\",\"value\":\"\"}\n";
    let lines = [text, empty, binary].concat();
    let ran = ctl.run_with(&["import", "-"], lines.as_bytes());
    assert_eq!((ran.code, told(&ran), ran.out.as_str()), (0, "imported 3 rows, 0 unchanged", ""));
    // In the order of the keys' bytes: 00ff, a.., empty.
    let exported = export(&ctl);
    assert_eq!(exported, [binary, text, empty].concat());
    let again = ctl.run_with(&["import", "-"], exported.as_bytes());
    assert_eq!(told(&again), "imported 0 rows, 3 unchanged");
    let other = Ctl::new();
    let file = other.file("rows.jsonl");
    fs::write(&file, &exported).unwrap();
    assert_eq!(other.run(&["import", file.to_str().unwrap()]).code, 0);
    assert_eq!(export(&other), exported);
    let hex = ctl.run(&["export", "--hex", "656d"]);
    assert_eq!(hex.out, "{\"key_hex\":\"656d707479\",\"value_hex\":\"\"}\n");
    assert!(hex.err.starts_with("exported 1 rows in "), "{hex:?}");
}

#[test]
fn the_last_line_for_a_key_counts() {
    let ctl = Ctl::new();
    ctl.ok(&["set", "k", "2"]);
    let lines = "{\"key\":\"k\",\"value\":\"1\"}\n{\"key\":\"k\",\"value\":\"2\"}\n";
    assert_eq!(ctl.run_with(&["import", "-"], lines.as_bytes()).code, 0);
    assert_eq!(ctl.ok(&["get", "k"]), "2\n");
}

#[test]
fn an_imported_row_stays_though_the_same_one_was_to_go() {
    let ctl = Ctl::new();
    ctl.ok(&["set", "k", "v", "--ttl", "1h"]);
    let line = "{\"key\":\"k\",\"value\":\"v\"}\n";
    let ran = ctl.run_with(&["import", "-"], line.as_bytes());
    assert_eq!(told(&ran), "imported 1 rows, 0 unchanged");
    let engine = ReadOnlyEngine::open(ctl.directory()).unwrap();
    assert_eq!(engine.view().get(b"k").unwrap().unwrap(), "v");
    assert_eq!(engine.view().expires_at(b"k").unwrap(), None);
}

#[test]
fn a_bad_line_is_named_and_what_stands_before_it_is_there() {
    let good = "{\"key\":\"good\",\"value\":\"1\"}\n\n";
    let long = format!("{{\"key\":\"{}\",\"value\":\"\"}}", "k".repeat(65_537));
    let cases = [
        ("{\"key\":\"x\"", "found EOF"),
        ("[1]", "expected {\"key\""),
        ("{\"key\":\"x\"}", "expected \"value\" or \"value_hex\", found neither"),
        ("{\"key\":1,\"value\":\"\"}", "invalid type: integer `1`"),
        ("{\"\\u001b]0;x\":1}", "unknown field `\\x1b]0;x`"),
        ("{\"key_hex\":\"0\",\"value\":\"\"}", "expected pairs of hexadecimal digits"),
        ("{\"key\":\"\",\"value\":\"\"}", "a key is empty"),
        (long.as_str(), "65537"),
    ];
    for (bad, expected) in cases {
        let ctl = Ctl::new();
        let file = ctl.file("rows.jsonl");
        fs::write(&file, format!("{good}{bad}\n{{\"key\":\"behind\",\"value\":\"1\"}}\n")).unwrap();
        let ran = ctl.run(&["import", file.to_str().unwrap()]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("rows.jsonl:3: "), "{ran:?}");
        assert!(ran.err.contains(expected), "{expected}: {ran:?}");
        assert_eq!(ctl.ok(&["scan"]), "good\t1\n");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_no_store_created() {
    let ctl = Ctl::new();
    let missing = ctl.file("missing");
    let ran = ctl.run(&["import", missing.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("cannot read ") && ran.err.contains("missing"), "{ran:?}");
    let directory = ctl.file("");
    assert!(ctl.run(&["import", directory.to_str().unwrap()]).err.contains("is a directory"));
    assert!(!ctl.directory().exists());
}

#[test]
fn where_no_line_is_a_row_no_store_is_created() {
    let ctl = Ctl::new();
    for (lines, code) in [("", 0), ("\n\n", 0), ("[1]\n{\"key\":\"behind\",\"value\":\"1\"}\n", 1)]
    {
        let ran = ctl.run_with(&["import", "-"], lines.as_bytes());
        assert_eq!((ran.code, told(&ran).is_empty()), (code, false), "{ran:?}");
        assert!(!ctl.directory().exists(), "{lines:?}");
    }
}

#[test]
fn an_import_that_was_killed_is_a_beginning_of_it_and_done_again_is_all_of_it() {
    let ctl = Ctl::new();
    let mut lines = String::new();
    for n in 0..20_000 {
        writeln!(lines, "{{\"key\":\"{n:06}\",\"value\":\"{}\"}}", "v".repeat(n % 300)).unwrap();
    }
    let half = lines.match_indices('\n').nth(12_345).unwrap().0;
    let mut command = ctl.command(&["import", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // It has read all but what fits into the pipe and its buffers, and waits for more: killed
    // there, it is in the middle, without any waiting for a moment.
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&lines.as_bytes()[..half]).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stdin);
    let there = {
        let engine = ReadOnlyEngine::open(ctl.directory()).unwrap();
        engine.view().len()
    };
    assert!(there > 0 && there < 12_346, "{there}");
    assert_eq!(there % 1000, 0, "batches are whole");
    assert!(lines.starts_with(&export(&ctl)));
    assert!(ctl.ok(&["verify"]).ends_with("no damage\n"));
    let ran = ctl.run_with(&["import", "-"], lines.as_bytes());
    let rest = 20_000 - there;
    assert_eq!(told(&ran), format!("imported {rest} rows, {there} unchanged"));
    assert!(export(&ctl) == lines);
}

#[test]
fn a_value_as_long_as_the_application_allows_comes_back() {
    let ctl = Ctl::new();
    let value = "v".repeat((64 << 20) + 1);
    let limit = value.len().to_string();
    let line = format!("{{\"key\":\"long\",\"value\":\"{value}\"}}\n");
    let refused = ctl.run_with(&["import", "-"], line.as_bytes());
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("expected at most 67108864"), "{}", refused.err);
    let ran = ctl.run_with(&["import", "--value-bytes-max", &limit, "-"], line.as_bytes());
    assert_eq!((ran.code, told(&ran)), (0, "imported 1 rows, 0 unchanged"));
    let ran = ctl.run_with(&["set", "--value-bytes-max", &limit, "other", "-"], value.as_bytes());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ctl.ok(&["get", "--raw", "other"]), value);
    let ran = ctl.run(&["set", "--value-bytes-max", "0", "other", "x"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("value_bytes_max is 0, expected 1 to"), "{}", ran.err);
}
