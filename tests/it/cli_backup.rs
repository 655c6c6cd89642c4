//! `htkvctl backup`, `restore`, `verify` and `segments` where there are tables.

use std::fs;
use std::time::Duration;

use hightower_kv::{KvEngine, SingleNodeEngine, StoreConfig};
use serde_json::Value as Json;

use crate::cli::Ctl;

/// A closed store with rows in tables, and some behind them in the log.
fn filled() -> Ctl {
    let ctl = Ctl::new();
    let mut config = StoreConfig::default();
    config.data_dir = ctl.directory();
    // One table of all rows, however long they take.
    config.compaction_interval = Duration::ZERO;
    let engine = SingleNodeEngine::with_config(config).unwrap();
    for number in 0..200 {
        engine.put(format!("{number:03}").into_bytes(), vec![b'x'; 100]).unwrap();
    }
    engine.close().unwrap();
    ctl.ok(&["set", "last", "one"]);
    ctl.ok(&["rm", "000"]);
    ctl
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap()
}

fn at(ctl: &Ctl, name: &str) -> String {
    ctl.file(name).to_str().unwrap().to_owned()
}

/// What a command prints about another store than that of `ctl`.
fn ok_at(ctl: &Ctl, directory: &str, args: &[&str]) -> String {
    ctl.ok(&[args, &["--data-dir", directory]].concat())
}

#[test]
fn a_backup_is_made_and_given_back_and_the_store_left_as_it_is() {
    let ctl = filled();
    let (rows, before) = (ctl.ok(&["scan"]), ctl.bytes());
    let (shared, copied, again) = (at(&ctl, "shared"), at(&ctl, "copied"), at(&ctl, "again"));
    let text = ctl.ok(&["backup", &shared]);
    assert!(text.starts_with("version  ") && text.contains("took"), "{text}");
    let report = json(&ctl.ok(&["backup", "--copy", &copied, "--json"]));
    assert_eq!((&report["linked_files"], &report["linked_bytes"]), (&0.into(), &0.into()));
    assert!(report["files"].as_u64() >= Some(5) && report["bytes"].as_u64() > Some(10_000));
    let text = ctl.ok(&["restore", &shared, "--data-dir", &again]);
    assert!(text.contains("files    ") && !text.contains("shared"), "{text}");
    for directory in [&shared, &copied, &again] {
        assert_eq!(ok_at(&ctl, directory, &["scan"]), rows, "{directory}");
        assert!(ok_at(&ctl, directory, &["verify"]).ends_with("no damage\n"), "{directory}");
    }
    assert!(ctl.bytes() == before);
}

#[test]
fn a_backup_overwrites_nothing_and_needs_a_store() {
    let ctl = filled();
    let taken = at(&ctl, "taken");
    fs::create_dir(&taken).unwrap();
    fs::write(ctl.file("taken").join("theirs"), "theirs").unwrap();
    let inside = at(&ctl, "store/inside");
    for (target, reason) in
        [(&taken, "is not empty"), (&at(&ctl, "none/x"), "does not exist"), (&inside, "within")]
    {
        let ran = ctl.run(&["backup", target]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
        assert!(ran.err.contains(reason), "{ran:?}");
    }
    let ran = ctl.run(&["restore", &at(&ctl, "none")]);
    assert!(ran.code == 1 && ran.err.contains("there is no store in "), "{ran:?}");
    let fresh = at(&ctl, "fresh");
    ctl.ok(&["backup", &fresh]);
    let ran = ctl.run(&["restore", &fresh]);
    assert!(ran.code == 1 && ran.err.contains("is not empty"), "{ran:?}");
    let other = Ctl::new();
    let ran = other.run(&["backup", &at(&other, "backup")]);
    assert!(ran.code == 1 && ran.err.contains("there is no store in "), "{ran:?}");
    assert!(!other.file("backup").exists() && !other.directory().exists());
    assert_eq!(ctl.run(&["backup"]).code, 64);
    assert_eq!(ctl.run(&["restore"]).code, 64);
}

#[test]
fn beside_a_writer_there_is_no_backup_from_outside() {
    let ctl = filled();
    let engine = SingleNodeEngine::open(ctl.directory()).unwrap();
    let ran = ctl.run(&["backup", &at(&ctl, "backup")]);
    assert!(ran.code == 1 && ran.err.contains("is in use"), "{ran:?}");
    assert!(!ctl.file("backup").exists());
    drop(engine);
}

#[test]
fn an_unfinished_copy_is_told_from_a_store_by_every_command() {
    let ctl = filled();
    fs::write(ctl.directory().join("UNFINISHED"), "").unwrap();
    let before = ctl.bytes();
    for args in [["get", "a"].as_slice(), &["verify"], &["set", "a", "x"], &["stats"]] {
        let ran = ctl.run(args);
        assert_eq!(ran.code, 1, "{args:?}: {ran:?}");
        assert!(ran.err.contains("that was not finished"), "{args:?}: {ran:?}");
    }
    assert!(ctl.bytes() == before);
}

#[test]
fn a_damaged_table_is_named_by_verify_and_leaves_no_backup() {
    let ctl = filled();
    let table = ctl.bytes().into_keys().find(|path| path.extension().is_some_and(|e| e == "tbl"));
    let table = table.unwrap();
    let mut bytes = fs::read(&table).unwrap();
    bytes[1000] ^= 4;
    fs::write(&table, bytes).unwrap();
    let name = table.to_str().unwrap();
    let ran = ctl.run(&["verify"]);
    assert!(ran.code == 2 && ran.out.contains(&format!("damaged: {name} at offset ")), "{ran:?}");
    for args in [["backup", &at(&ctl, "one")].as_slice(), &["backup", "--copy", &at(&ctl, "two")]] {
        let ran = ctl.run(args);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains(name), "{ran:?}");
    }
    assert!(!ctl.file("one").exists() && !ctl.file("two").exists());
}

#[test]
fn segments_lists_tables_with_rows_bytes_and_run() {
    let ctl = filled();
    let text = ctl.ok(&["segments"]);
    let tables: Vec<&str> = text.lines().filter(|line| line.starts_with("table-")).collect();
    assert!(!tables.is_empty(), "{text}");
    let oldest = tables.iter().find(|line| line.contains("rows:200")).unwrap();
    assert!(oldest.starts_with("table-1 rows:200 bytes:"), "{oldest}");
    assert!(oldest.ends_with(&format!(" run:{}", tables.len())), "{text}");
    assert!(!text.contains('['), "a map is for terminals: {text}");
    let report = json(&ctl.ok(&["segments", "--json"]));
    assert_eq!(report["tables"].as_array().unwrap().len(), tables.len());
    assert!(report["stale_table_bytes"].as_u64() >= Some(100), "{report}");
    ctl.ok(&["compact"]);
    let report = json(&ctl.ok(&["segments", "--json"]));
    assert_eq!(
        (&report["tables"][0]["run"], &report["tables"][0]["removals"]),
        (&1.into(), &0.into())
    );
    assert_eq!(
        (&report["tables"][0]["rows"], &report["stale_table_bytes"]),
        (&200.into(), &0.into())
    );
}
