//! A data directory that was put back to an older moment beside the past of a newer one.

use std::path::Path;

use hightower_kv::env::Env;
use hightower_kv::env::fs_sim::{PowerCut, SimFs};
use hightower_kv::{Error, KvEngine, ReadOnlyEngine, Retention, SingleNodeEngine, Version};

use crate::checks::kept;

/// What `k` was set to by which entry.
type Written = Vec<(Version, String)>;

fn try_open(fs: &SimFs) -> Result<SingleNodeEngine, Error> {
    let config = kept(Some(Retention::default()));
    let engine = SingleNodeEngine::with_env(&config, Env::simulated_on(fs.clone(), 1).env)?;
    engine.set_era_bytes(1);
    Ok(engine)
}

/// Writes some values, each in an era of its own.
fn write(engine: &SingleNodeEngine, what: &str, count: u64) -> Written {
    let put = |n| {
        let value = format!("{what} {n}");
        let version = engine.put(b"k".to_vec(), value.clone().into_bytes()).unwrap().version;
        engine.run_compaction_now().unwrap();
        (version, value)
    };
    (0..count).map(put).collect()
}

/// A closed store that was put back to when it had `common`, without its archive, which reaches
/// further.
fn put_back() -> (SimFs, Written) {
    let fs = SimFs::new(1);
    let engine = try_open(&fs).unwrap();
    let common = write(&engine, "common", 4);
    engine.close().unwrap();
    let older = fs.kill();
    let engine = try_open(&fs).unwrap();
    write(&engine, "gone", 5);
    engine.close().unwrap();
    let is_past = |file: &Path| file.starts_with("/data/archive");
    for (file, _) in fs.files().into_iter().filter(|(file, _)| !is_past(file)) {
        fs.remove_file(&file).unwrap();
    }
    for (file, bytes) in older.files().into_iter().filter(|(file, _)| !is_past(file)) {
        fs.write_file(&file, &bytes).unwrap();
    }
    (fs, common)
}

/// Holds each version of `k` against what was written.
fn check(engine: &SingleNodeEngine, written: &Written, what: &str) {
    for pair in written.windows(2) {
        let ((version, value), (next, _)) = (&pair[0], &pair[1]);
        for version in version.0..next.0 {
            let then = engine.snapshot_at(Version(version));
            let then = then.unwrap_or_else(|error| panic!("{what}: version {version}: {error}"));
            assert_eq!(then.get(b"k").unwrap().as_deref(), Some(value.as_bytes()), "{what}");
        }
    }
    let found = engine.history(b"k").unwrap();
    let found: Vec<_> = found.versions.into_iter().map(|it| (it.version, it.value)).collect();
    let expected = written.iter().map(|(version, value)| (*version, value.as_bytes()));
    for (version, value) in expected {
        let at =
            found.iter().find(|(found, _)| *found == version).and_then(|(_, it)| it.as_deref());
        assert_eq!(at, Some(value), "{what}: version {version}");
    }
    let is_gone = |value: &[u8]| value.starts_with(b"gone");
    assert!(!found.iter().any(|(_, value)| value.as_deref().is_some_and(is_gone)), "{what}");
}

#[test]
fn the_past_of_a_newer_moment_is_never_mixed_with_what_is_written_then() {
    let (fs, common) = put_back();
    // More entries than that past has, over some openings.
    let mut written = common;
    for opening in 0..6 {
        let engine = try_open(&fs).unwrap();
        written.extend(write(&engine, &format!("opening {opening}"), 3));
        check(&engine, &written, &format!("opening {opening}"));
        engine.close().unwrap();
    }
    let engine = try_open(&fs).unwrap();
    assert!(engine.eras_set_aside().len() > 3);
    check(&engine, &written, "at the end");
}

#[test]
fn a_reader_of_a_store_that_was_put_back_shows_what_it_has_in_common() {
    let (fs, common) = put_back();
    let files = fs.files();
    let env = Env::simulated_on(fs.clone(), 1).env;
    let reader = ReadOnlyEngine::open_in(env, Path::new("/data")).unwrap();
    assert!(reader.eras_ahead().len() > 3);
    for (version, value) in common {
        let then = reader.snapshot_at(version).unwrap();
        assert_eq!(then.get(b"k").unwrap().as_deref(), Some(value.as_bytes()));
    }
    assert_eq!(fs.files(), files);
}

#[test]
fn a_cut_anywhere_in_that_opening_mixes_nothing_either() {
    let (clean, common) = put_back();
    clean.start_history();
    drop(try_open(&clean).unwrap());
    let images = clean.take_history();
    let mut tried = 0;
    for image in &images {
        for n in 0..2 {
            let cut = PowerCut::random(image.operation() * 2 + n);
            let what = format!("operation {} {cut:?}", image.operation());
            let fs = image.power_cut(cut);
            let engine = try_open(&fs).unwrap_or_else(|error| panic!("{what}: {error}"));
            let mut written = common.clone();
            written.extend(write(&engine, "new", 8));
            check(&engine, &written, &what);
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried}");
}
