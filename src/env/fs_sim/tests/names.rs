//! What a power cut or a failed sync leaves of the names.

use super::*;

#[test]
fn a_new_name_may_vanish_until_its_directory_is_synced() {
    let fs = SimFs::new(0);
    create(&fs, "/a").sync().unwrap();
    assert_eq!(names_after_cuts(&fs, NameLoss::Subset), set(&["", "a"]));
    fs.sync_dir(at("/")).unwrap();
    assert_eq!(names_after_cuts(&fs, NameLoss::Subset), set(&["a"]));
}

#[test]
fn subsets_and_prefixes_of_changes() {
    let fs = SimFs::new(0);
    create(&fs, "/a");
    create(&fs, "/b");
    assert_eq!(names_after_cuts(&fs, NameLoss::Subset), set(&["", "a", "b", "a b"]));
    assert_eq!(names_after_cuts(&fs, NameLoss::Prefix), set(&["", "a", "a b"]));
}

#[test]
fn prefixes_run_over_all_directories() {
    let fs = SimFs::new(0);
    fs.create_dir(at("/d")).unwrap();
    fs.sync_dir(at("/")).unwrap();
    create(&fs, "/d/a");
    create(&fs, "/b");
    for seed in 0..SEEDS {
        let after = fs.power_cut(PowerCut::Random {
            seed,
            names: NameLoss::Prefix,
            sectors: LostSector::AsBefore,
        });
        assert!(after.files().len() != 1 || after.read_file(at("/d/a")).is_ok());
    }
}

#[test]
fn an_unsynced_rename_leaves_the_old_name_or_the_new_one() {
    let (fs, _file) = with_file(b"x");
    fs.rename(at("/f"), at("/g")).unwrap();
    assert_eq!(names_after_cuts(&fs, NameLoss::Subset), set(&["f", "g"]));
    fs.sync_dir(at("/")).unwrap();
    assert_eq!(names_after_cuts(&fs, NameLoss::Subset), set(&["g"]));
}

#[test]
fn a_replaced_file_is_there_or_its_replacement_is() {
    let (fs, _file) = with_file(b"old");
    let temporary = create(&fs, "/t");
    write(&temporary, b"new", 0);
    temporary.sync().unwrap();
    fs.rename(at("/t"), at("/f")).unwrap();
    let cuts = (0..SEEDS).map(|seed| bytes_of(&fs.power_cut(PowerCut::random(seed))));
    assert_eq!(cuts.collect::<BTreeSet<_>>(), [b"old".to_vec(), b"new".to_vec()].into());
    assert_eq!(names_after_cuts(&fs, NameLoss::Subset), set(&["f", "f t"]));
}

#[test]
fn a_chain_of_renames_leaves_one_name() {
    let (fs, _file) = with_file(b"x");
    fs.rename(at("/f"), at("/g")).unwrap();
    fs.rename(at("/g"), at("/h")).unwrap();
    assert_eq!(names_after_cuts(&fs, NameLoss::Subset), set(&["f", "g", "h"]));
}

#[test]
fn a_removal_never_takes_the_file_that_came_after() {
    let (fs, _file) = with_file(b"old");
    fs.remove(at("/f")).unwrap();
    let file = create(&fs, "/f");
    write(&file, b"new", 0);
    file.sync().unwrap();
    let cuts: BTreeSet<_> =
        (0..SEEDS).map(|seed| fs.power_cut(PowerCut::random(seed)).files()).collect();
    let one = |bytes: &[u8]| vec![("/f".into(), bytes.to_vec())];
    assert_eq!(cuts, [vec![], one(b"old"), one(b"new")].into());
}

#[test]
fn a_removed_file_comes_back_whole_when_the_removal_is_lost() {
    let (fs, file) = with_file(b"abc");
    fs.remove(at("/f")).unwrap();
    drop(file);
    assert_eq!(bytes_of(&fs.power_cut(PowerCut::Nothing)), b"abc");
    fs.sync_dir(at("/")).unwrap();
    assert_eq!(fs.power_cut(PowerCut::Nothing).files(), []);
}

#[test]
fn a_lost_directory_takes_its_synced_files_along() {
    let fs = SimFs::new(0);
    fs.create_dir(at("/d")).unwrap();
    create(&fs, "/d/a").sync().unwrap();
    fs.sync_dir(at("/d")).unwrap();
    assert_eq!(names_after_cuts(&fs, NameLoss::Subset), set(&["", "d"]));
    assert_eq!(fs.power_cut(PowerCut::Nothing).files(), []);
}

#[test]
fn a_failed_directory_sync_loses_the_names_and_the_next_one_says_ok() {
    let fs = SimFs::new(0);
    create(&fs, "/a");
    fs.fail_sync(1);
    assert!(fs.sync_dir(at("/")).is_err());
    fs.sync_dir(at("/")).unwrap();
    assert_eq!(names(&fs), ["a"]);
    assert_eq!(names(&fs.power_cut(PowerCut::Everything)), [""; 0]);
    assert_eq!(names(&fs.kill()), ["a"]);
}

#[test]
fn a_rename_across_directories_is_refused() {
    let (fs, _file) = with_file(b"x");
    fs.create_dir(at("/d")).unwrap();
    let error = fs.rename(at("/f"), at("/d/f")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::CrossesDevices);
    assert_eq!(bytes_of(&fs), b"x");
}

#[test]
fn a_removal_never_takes_the_file_that_was_there_before() {
    let (fs, _file) = with_file(b"old");
    create(&fs, "/t");
    fs.sync_dir(at("/")).unwrap();
    fs.rename(at("/t"), at("/f")).unwrap();
    fs.remove(at("/f")).unwrap();
    assert_eq!(names_after_cuts(&fs, NameLoss::Subset), set(&["f t", "f", ""]));
}

#[test]
fn a_second_name_may_vanish_until_its_directory_is_synced() {
    let (fs, _file) = with_file(b"x");
    fs.hard_link(at("/f"), at("/g")).unwrap();
    assert_eq!(names_after_cuts(&fs, NameLoss::Subset), set(&["f", "f g"]));
    fs.sync_dir(at("/")).unwrap();
    fs.remove(at("/f")).unwrap();
    assert_eq!(names_after_cuts(&fs, NameLoss::Subset), set(&["g", "f g"]));
}

#[test]
fn a_second_name_in_another_directory_is_pending_there() {
    let (fs, _file) = with_file(b"x");
    fs.create_dir(at("/d")).unwrap();
    fs.sync_dir(at("/")).unwrap();
    fs.hard_link(at("/f"), at("/d/g")).unwrap();
    fs.sync_dir(at("/")).unwrap();
    assert!(fs.power_cut(PowerCut::Nothing).read_file(at("/d/g")).is_err());
    fs.sync_dir(at("/d")).unwrap();
    fs.remove(at("/f")).unwrap();
    fs.sync_dir(at("/")).unwrap();
    assert_eq!(fs.power_cut(PowerCut::Nothing).read_file(at("/d/g")).unwrap(), b"x");
}

#[test]
fn a_renamed_file_keeps_its_second_name_also_where_that_was_lost() {
    let (fs, _file) = with_file(b"x");
    fs.hard_link(at("/f"), at("/g")).unwrap();
    fs.rename(at("/g"), at("/h")).unwrap();
    assert_eq!(names_after_cuts(&fs, NameLoss::Subset), set(&["f", "f g", "f h"]));
}

#[test]
fn unsynced_bytes_are_the_files_whatever_the_name() {
    let (fs, file) = with_file(b"old");
    fs.hard_link(at("/f"), at("/g")).unwrap();
    fs.sync_dir(at("/")).unwrap();
    write(&file, b"new", 0);
    fs.open(at("/g"), OpenHow::ReadWrite).unwrap().sync().unwrap();
    assert_eq!(bytes_of(&fs.power_cut(PowerCut::Nothing)), b"new");
    assert_eq!(fs.used_bytes(), SECTOR_BYTES as u64, "the bytes are there once");
}

#[test]
fn a_removed_directory_comes_back_when_the_removal_is_lost() {
    let fs = SimFs::new(0);
    fs.create_dir(at("/d")).unwrap();
    fs.sync_dir(at("/")).unwrap();
    fs.remove_dir(at("/d")).unwrap();
    assert_eq!(names_after_cuts(&fs, NameLoss::Subset), set(&["", "d"]));
}
