//! `htkvctl history`, `get --at`, `scan --at`, `archive`: the past from the command line.

use std::fs;

use hightower_kv::{KvEngine, Retention, SingleNodeEngine, StoreConfig, Version};
use serde_json::Value as Json;

use crate::cli::Ctl;

/// A store in which `k` was `one`, then `two`, then removed, each in a piece of its own.
fn store() -> (Ctl, [Version; 3]) {
    let ctl = Ctl::new();
    let mut config = StoreConfig::default();
    config.data_dir = ctl.directory();
    config.worker_threads = 0;
    config.retention = Some(Retention::default());
    let engine = SingleNodeEngine::with_config(config).unwrap();
    engine.set_era_bytes(1);
    let mut versions = Vec::new();
    for value in ["one", "two"] {
        versions.push(engine.put(b"k".to_vec(), value.into()).unwrap().version);
        engine.put(format!("other/{value}").into_bytes(), b"1".to_vec()).unwrap();
        engine.run_compaction_now().unwrap();
    }
    versions.push(engine.delete(b"k".to_vec()).unwrap().version);
    engine.run_compaction_now().unwrap();
    engine.close().unwrap();
    (ctl, versions.try_into().unwrap())
}

fn json(ctl: &Ctl, args: &[&str]) -> Json {
    serde_json::from_str(&ctl.ok(args)).unwrap()
}

#[test]
fn history_prints_each_version_and_what_is_not_there_is_told() {
    let (ctl, versions) = store();
    let text = ctl.ok(&["history", "k"]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let shown: Vec<&[&str]> = lines.iter().map(|line| &line[2..]).collect();
    assert_eq!(shown, [&["set", "one"][..], &["set", "two"], &["removed"]]);
    let numbers: Vec<String> = versions.iter().map(Version::to_string).collect();
    assert_eq!(lines.iter().map(|line| line[0]).collect::<Vec<_>>(), numbers);
    let found = json(&ctl, &["--json", "history", "k"]);
    assert_eq!(found["complete_from"], 0);
    assert_eq!(found["versions"][1]["value"], "two");
    assert_eq!(found["versions"][2]["removed"], true);
    assert_eq!(found["versions"][2]["version"], versions[2].0);
    let ran = ctl.run(&["history", "never"]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (1, "", "Key not found\n"));
}

#[test]
fn get_and_scan_show_any_version_and_any_time() {
    let (ctl, versions) = store();
    let at = versions[0].to_string();
    assert_eq!(ctl.ok(&["get", "k", "--at", &at]), "one\n");
    let history = json(&ctl, &["--json", "history", "k"]);
    let micros = format!("@{}", history["versions"][1]["timestamp_micros"]);
    assert_eq!(ctl.ok(&["get", "k", "--at", &micros]), "two\n");
    let text = ctl.ok(&["history", "k"]);
    let time = text.lines().nth(1).unwrap().split('\t').nth(1).unwrap();
    assert_eq!(ctl.ok(&["get", "k", "--at", time]), "two\n");
    assert_eq!(ctl.ok(&["scan", "--at", time]), "k\ttwo\nother/one\t1\n");
    assert_eq!(ctl.run(&["get", "k"]).code, 1);
    let bad = ctl.run(&["get", "k", "--at", "yesterday"]);
    assert_eq!(bad.code, 64);
    assert!(bad.err.contains("expected a version (digits), a time like"), "{}", bad.err);
    let early = ctl.run(&["get", "k", "--at", "99999"]);
    assert_eq!(early.code, 1);
    assert!(early.err.contains("version 99999 is not there yet"), "{}", early.err);
}

#[test]
fn archive_lists_and_gives_up() {
    let (ctl, versions) = store();
    let lines = ctl.ok(&["--json", "archive", "list"]);
    let eras: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(eras.len() >= 3, "{lines}");
    assert_eq!(eras[0]["base_version"], Json::Null);
    assert!(ctl.ok(&["archive", "list"]).contains(&format!("pieces:{}", eras.len())));
    let none = ctl.run(&["archive", "clean"]);
    assert_eq!(none.code, 64);
    assert!(none.err.contains("expected --max-age, --max-bytes, --max-files or --all"));
    let done = json(&ctl, &["--json", "archive", "clean", "--max-bytes", "0"]);
    assert_eq!(done["pieces"], eras.len() - 1);
    let gone = ctl.run(&["get", "k", "--at", &versions[0].to_string()]);
    assert_eq!(gone.code, 1);
    assert!(gone.err.contains("is not kept any more"), "{}", gone.err);
    let done = json(&ctl, &["--json", "archive", "clean", "--all"]);
    assert_eq!((&done["pieces"], &done["oldest_version"]), (&1.into(), &Json::Null));
    assert_eq!(ctl.ok(&["get", "other/one"]), "1\n");
    // No past is begun where there is none any more, though its folder is left.
    assert_eq!(ctl.ok(&["archive", "list"]).lines().last(), Some("pieces:0 bytes:0"));
    ctl.ok(&["set", "k", "three"]);
    assert_eq!(ctl.ok(&["archive", "list"]).lines().last(), Some("pieces:0 bytes:0"));
}

#[test]
fn a_damaged_archive_is_told_with_the_file_and_the_exit_code_of_damage() {
    let (ctl, versions) = store();
    let mut damaged = 0;
    for (path, mut bytes) in ctl.bytes() {
        let name = path.to_string_lossy().into_owned();
        if path.extension().is_some_and(|ending| ending == "chg" || ending == "chz") {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
            damaged += 1;
            assert!(name.contains("archive"));
        }
    }
    assert!(damaged > 0);
    // The state now needs none of it.
    assert_eq!(ctl.ok(&["get", "other/two"]), "1\n");
    let ran = ctl.run(&["get", "k", "--at", &versions[0].to_string()]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("archive") && ran.err.contains("is corrupt at offset"), "{}", ran.err);
}

/// The store of [`store`], put back to when it ended with its first value, beside that past.
fn put_back() -> Ctl {
    let (ctl, _) = store();
    let older = Ctl::new();
    let mut config = StoreConfig::default();
    config.data_dir = older.directory();
    config.worker_threads = 0;
    let engine = SingleNodeEngine::with_config(config).unwrap();
    engine.put(b"k".to_vec(), b"one".to_vec()).unwrap();
    engine.close().unwrap();
    // Of the past only names are looked at.
    let archive = ctl.directory().join("archive");
    fs::rename(archive, older.directory().join("archive")).unwrap();
    older
}

#[test]
fn a_past_of_another_moment_is_told_set_aside_and_left_alone() {
    let ctl = put_back();
    let listed = ctl.run(&["archive", "list"]);
    assert_eq!(listed.code, 0, "{}", listed.err);
    assert!(listed.err.contains(" more reach to entry "), "{}", listed.err);
    assert!(listed.err.contains("the store ends with 2"), "{}", listed.err);
    let verified = ctl.run(&["verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.err);
    let cleaned = ctl.run(&["archive", "clean", "--all"]);
    assert_eq!(cleaned.code, 0, "{}", cleaned.err);
    assert!(cleaned.err.contains("set aside, and left alone"), "{}", cleaned.err);
    assert!(cleaned.err.contains(".era.ahead-00000000000000000002"), "{}", cleaned.err);
    let is_aside = |name: &str| name.contains(".ahead-");
    let names = || {
        let listed = fs::read_dir(ctl.directory().join("archive")).unwrap();
        listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert!(names().iter().any(|name| is_aside(name)), "{:?}", names());
    assert_eq!(ctl.run(&["archive", "list"]).err, "");
    assert_eq!(ctl.run(&["verify"]).code, 0);
    assert_eq!(ctl.ok(&["get", "k"]), "one\n");
}
