//! What a check of the whole directory says of the past.

use super::*;
use crate::storage::inspect::{VerifyReport, verify};

fn closed() -> SimFs {
    let fs = SimFs::new(1);
    let store = open(&fs);
    super::super::append(store.log(), 0..10, 40);
    let entries = [changed(3, vec![set("a", "1", None)])];
    let archive = store.archive();
    archive.begin_era(store.tables()).unwrap();
    append(archive, 0..=5, &entries).unwrap();
    publish_snapshot(&store, 5).unwrap();
    archive.begin_era(store.tables()).unwrap();
    append(archive, 6..=9, &[changed(7, vec![set("b", "1", None)])]).unwrap();
    store.log().purge(id(5)).unwrap();
    store.close().unwrap();
    fs.kill()
}

fn verified(fs: &SimFs) -> VerifyReport {
    verify(&env(fs), Path::new(ROOT)).unwrap()
}

#[test]
fn a_past_without_damage_has_none_and_no_leftover() {
    let fs = closed();
    let report = verified(&fs);
    assert_eq!((report.damages, report.leftovers), (vec![], vec![]));
    let files = fs.files().len() as u64;
    // All but LOCK and RESERVE, where there is one.
    assert!(report.files >= files - 2, "{} of {files}", report.files);
}

#[test]
fn a_flipped_bit_anywhere_in_the_past_is_named_with_its_file() {
    let clean = closed();
    for name in paths(&clean) {
        let file = path("archive").join(&name);
        let bytes = clean.read_file(&file).unwrap();
        for at in (0..bytes.len()).step_by(11) {
            let fs = clean.kill();
            fs.flip_bit(&file, at as u64 * 8 + 3).unwrap();
            let report = verified(&fs);
            let named: Vec<&Path> = report.damages.iter().map(|d| d.file.as_path()).collect();
            assert!(named.contains(&file.as_path()), "{name} byte {at}: {named:?}");
            // What is shared with the store is damaged in both.
            let is_same = |other: &&Path| other.file_name() == file.file_name();
            assert!(named.iter().all(is_same), "{name} byte {at}: {named:?}");
        }
    }
}

#[test]
fn what_is_missing_in_the_past_and_what_is_left_over_is_said() {
    let fs = closed();
    let first = change_files(&fs)[0].clone();
    fs.write_file(&first.with_file_name("notes"), b"x").unwrap();
    fs.write_file(&path("archive/other"), b"x").unwrap();
    let report = verified(&fs);
    assert_eq!((report.damages.len(), report.leftovers.len()), (0, 2));
    let manifest = paths(&fs).into_iter().find(|name| name.contains("MANIFEST")).unwrap();
    fs.remove_file(&path("archive").join(&manifest)).unwrap();
    let report = verified(&fs);
    assert_eq!(report.damages.len(), 1);
    assert_eq!(report.damages[0].file, path("archive").join(manifest).parent().unwrap());
}
