//! Installing into a whole store: its log, its lock, its reserve, its copies.

use super::*;
use crate::storage::backup::Links;
use crate::storage::inspect;
use crate::storage::tests;

fn whole(fs: &SimFs) -> Store {
    let store = open(fs);
    append(store.log(), 1..31, 100);
    store.log().sync().unwrap();
    publish_snapshot(&store, 20).unwrap();
    store
}

#[test]
fn a_store_is_installed_purged_and_opened_again() {
    let from = sender(1, 4);
    let held = from.tables.hold().unwrap();
    let fs = SimFs::new(2);
    let store = whole(&fs);
    let (mut incoming, needs) = store.begin_incoming(&held.manifest_bytes(), BYTES_MAX).unwrap();
    send(&mut incoming, &held, &needs, usize::MAX).unwrap();
    let (set, installed) = store.install(&incoming.finish().unwrap().into()).unwrap();
    check_set(&set, &from.state, "installed");
    // If we die here the log has entries that the tables have too.
    drop(store);
    let store = open(&fs);
    check_set(&store.tables().set(), &from.state, "opened before the purge");
    assert_eq!(store.log().hard_state().last, Some(id(30)));
    store.log().purge(installed.last).unwrap();
    store.close().unwrap();
    drop(store);
    let store = open(&fs);
    assert_eq!(store.log().hard_state().purged, Some(installed.last));
    assert_eq!(store.tables().manifest_head(), Some(installed));
    check_set(&store.tables().set(), &from.state, "opened after the purge");
    drop(store);
    // What the log purged must be in the tables: without the manifest nobody opens it.
    fs.remove_file(&manifest(&fs)).unwrap();
    assert!(matches!(try_open(&fs), Err(StorageError::MissingFile { .. })));
}

#[test]
fn what_is_being_received_is_no_damage_and_not_part_of_a_copy() {
    let from = sender(1, 3);
    let held = from.tables.hold().unwrap();
    let fs = SimFs::new(2);
    let store = whole(&fs);
    let (mut incoming, needs) = store.begin_incoming(&held.manifest_bytes(), BYTES_MAX).unwrap();
    send(&mut incoming, &held, &needs, 7).unwrap();
    let copy = Path::new("/copy");
    store.backup(copy, Links::Allowed, &mut |_| ()).unwrap();
    assert_eq!(fs.kind(&copy.join("incoming")).unwrap(), None);
    drop((incoming, store));
    let names = incoming_names(&fs);
    assert!(names.len() > 1, "{names:?}");
    let report = inspect::verify(&env(&fs), Path::new(ROOT)).unwrap();
    assert!(report.damages.is_empty(), "{:?}", report.damages);
    assert_eq!(report.leftovers.len(), names.len(), "{:?}", report.leftovers);
    drop(open(&fs));
    assert_eq!(incoming_names(&fs), names, "opening leaves it");
}

#[test]
fn an_installed_store_can_be_copied_and_checked() {
    let from = sender(1, 3);
    let fs = SimFs::new(2);
    let store = whole(&fs);
    transfer(store.tables(), &from.tables.hold().unwrap()).unwrap();
    let copy = Path::new("/copy");
    store.backup(copy, Links::Allowed, &mut |_| ()).unwrap();
    drop(store);
    for directory in [Path::new(ROOT), copy] {
        let report = inspect::verify(&env(&fs), directory).unwrap();
        assert!(report.damages.is_empty(), "{:?}", report.damages);
    }
}

#[test]
fn a_full_disk_gives_its_reserve_for_an_installation() {
    let from = sender(1, 3);
    let held = from.tables.hold().unwrap();
    let fs = SimFs::new(2);
    let store = open_with(&fs, &StoreOptions { reserve_bytes: 64 << 10, ..options() }).unwrap();
    fs.set_space(Some(fs.used_bytes()));
    let (set, _) = store.install(&held.into()).unwrap();
    check_set(&set, &from.state, "installed");
}

/// Two tables that differ in nothing that a manifest says of them but their hash.
#[test]
fn a_table_under_the_name_of_another_is_refused_whoever_wrote_it() {
    let mut from = sender(1, 0);
    for (version, value) in [(1, "one value"), (2, "other one")] {
        from.add(
            &(0..5)
                .map(|n: u64| (vec![b'a', u8::try_from(n).unwrap()], put(version, value)))
                .collect(),
        );
    }
    let fs = SimFs::new(2);
    let store = whole(&fs);
    transfer(store.tables(), &from.tables.hold().unwrap()).unwrap();
    drop(store);
    let [one, other] = <[PathBuf; 2]>::try_from(tests::tables(&fs)).unwrap();
    let bytes = [&one, &other].map(|file| fs.read_file(file).unwrap());
    assert_eq!(bytes[0].len(), bytes[1].len());
    fs.write_file(&one, &bytes[1]).unwrap();
    fs.write_file(&other, &bytes[0]).unwrap();
    assert!(matches!(try_open(&fs), Err(StorageError::Corrupt { .. })));
}
