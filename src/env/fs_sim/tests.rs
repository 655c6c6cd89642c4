use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::env::clock::{Clock, ManualClock};
use crate::env::fs::{Fs, FsFile, LockKind, OpenHow, read_exact_at, write_all_at};
use crate::types::Timestamp;

const SEEDS: u64 = 300;

fn at(name: &str) -> &Path {
    Path::new(name)
}

fn create(fs: &SimFs, path: &str) -> Arc<dyn FsFile> {
    fs.open(at(path), OpenHow::CreateNew).unwrap()
}

fn write(file: &Arc<dyn FsFile>, bytes: &[u8], offset: u64) {
    write_all_at(&**file, &mut [IoSlice::new(bytes)], offset).unwrap();
}

/// A disk with `/f` of these bytes, all of it durable.
fn with_file(bytes: &[u8]) -> (SimFs, Arc<dyn FsFile>) {
    let fs = SimFs::new(1);
    let file = create(&fs, "/f");
    write(&file, bytes, 0);
    file.sync().unwrap();
    fs.sync_dir(at("/")).unwrap();
    (fs, file)
}

fn bytes_of(fs: &SimFs) -> Vec<u8> {
    fs.read_file(at("/f")).unwrap()
}

fn names(fs: &SimFs) -> Vec<String> {
    let entries = fs.list(at("/")).unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

/// The sets of names that random cuts of `fs` leave.
fn names_after_cuts(fs: &SimFs, names_lost: NameLoss) -> BTreeSet<String> {
    let cut = |seed| PowerCut::Random {
        seed,
        names: names_lost,
        sectors: LostSector::AsBefore,
    };
    (0..SEEDS)
        .map(|seed| names(&fs.power_cut(cut(seed))).join(" "))
        .collect()
}

fn set(outcomes: &[&str]) -> BTreeSet<String> {
    outcomes
        .iter()
        .map(|outcome| (*outcome).to_owned())
        .collect()
}

mod bytes {
    use super::*;

    #[test]
    fn synced_bytes_survive_every_cut() {
        let (fs, file) = with_file(&[7; 3000]);
        write(&file, &[8; 100], 3000);
        for seed in 0..SEEDS {
            let cut = PowerCut::Random {
                seed,
                names: NameLoss::Subset,
                sectors: LostSector::Garbage,
            };
            assert_eq!(bytes_of(&fs.power_cut(cut))[..3000], [7; 3000]);
        }
    }

    #[test]
    fn each_unsynced_sector_is_lost_or_kept_by_itself() {
        let (fs, file) = with_file(&[1; 1536]);
        write(&file, &[2; 1536], 0);
        let mut seen = BTreeSet::new();
        for seed in 0..SEEDS {
            let bytes = bytes_of(&fs.power_cut(PowerCut::random(seed)));
            let sectors: Vec<u8> = bytes.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect();
            assert!(
                bytes
                    .chunks(SECTOR_BYTES)
                    .all(|s| s.iter().all(|byte| *byte == s[0]))
            );
            seen.insert(sectors);
        }
        assert_eq!(seen.len(), 8);
    }

    #[test]
    fn a_sector_holds_a_prefix_of_its_writes() {
        let (fs, file) = with_file(&[0; 512]);
        for byte in 1..=3u8 {
            write(&file, &[byte], u64::from(byte));
        }
        let cuts =
            (0..SEEDS).map(|seed| bytes_of(&fs.power_cut(PowerCut::random(seed)))[1..4].to_vec());
        let expected = [[0, 0, 0], [1, 0, 0], [1, 2, 0], [1, 2, 3]];
        assert_eq!(
            cuts.collect::<BTreeSet<_>>(),
            expected.map(Vec::from).into()
        );
    }

    #[test]
    fn the_length_is_anywhere_between() {
        let (fs, file) = with_file(&[1; 10]);
        write(&file, &[2; 10], 10);
        let cuts = (0..SEEDS).map(|seed| bytes_of(&fs.power_cut(PowerCut::random(seed))).len());
        assert_eq!(cuts.collect::<BTreeSet<_>>(), (10..=20).collect());
    }

    #[test]
    fn gaps_are_zero_or_garbage() {
        let (fs, file) = with_file(b"");
        write(&file, &[5; 512], 512);
        let cut = |seed, sectors| {
            let names = NameLoss::Subset;
            let cut = PowerCut::Random {
                seed,
                names,
                sectors,
            };
            bytes_of(&fs.power_cut(cut))
                .get(512..)
                .unwrap_or_default()
                .to_vec()
        };
        let odd = |bytes: Vec<u8>| bytes.iter().any(|byte| *byte != 0 && *byte != 5);
        assert!((0..SEEDS).all(|seed| !odd(cut(seed, LostSector::AsBefore))));
        assert!((0..SEEDS).any(|seed| odd(cut(seed, LostSector::Garbage))));
    }

    #[test]
    fn nothing_and_everything_are_the_ends() {
        let (fs, file) = with_file(&[1; 600]);
        write(&file, &[2; 600], 300);
        create(&fs, "/g");
        assert_eq!(bytes_of(&fs.power_cut(PowerCut::Nothing)), [1; 600]);
        assert_eq!(names(&fs.power_cut(PowerCut::Nothing)), ["f"]);
        assert_eq!(fs.power_cut(PowerCut::Everything).files(), fs.files());
    }

    #[test]
    fn an_unsynced_truncation_may_bring_the_old_bytes_back() {
        let (fs, file) = with_file(&[1; 1000]);
        file.set_len(100).unwrap();
        write(&file, &[2; 50], 100);
        let cuts: Vec<_> = (0..SEEDS)
            .map(|seed| bytes_of(&fs.power_cut(PowerCut::random(seed))))
            .collect();
        assert!(
            cuts.iter()
                .any(|bytes| bytes.len() == 1000 && bytes[999] == 1)
        );
        assert!(cuts.iter().all(|bytes| bytes[..100] == [1; 100]));
        file.sync().unwrap();
        let mut expected = vec![1; 100];
        expected.extend([2; 50]);
        assert!((0..SEEDS).all(|seed| bytes_of(&fs.power_cut(PowerCut::random(seed))) == expected));
    }

    #[test]
    fn a_truncation_that_was_synced_after_growing_again_stays() {
        let (fs, file) = with_file(&[1; 2000]);
        file.set_len(100).unwrap();
        file.set_len(2000).unwrap();
        file.sync().unwrap();
        let after = bytes_of(&fs.power_cut(PowerCut::Nothing));
        assert_eq!(after.len(), 2000);
        assert!(after[100..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_reservation_is_pending_until_synced() {
        let (fs, file) = with_file(b"");
        file.allocate(0, 4096).unwrap();
        assert_eq!(bytes_of(&fs.power_cut(PowerCut::Nothing)), b"");
        assert_eq!(bytes_of(&fs.power_cut(PowerCut::Everything)), [0; 4096]);
        file.sync().unwrap();
        let after = fs.power_cut(PowerCut::Nothing);
        assert_eq!((bytes_of(&after).len(), after.used_bytes()), (4096, 4096));
    }

    #[test]
    fn a_failed_sync_loses_the_bytes_and_the_next_one_says_ok() {
        let (fs, file) = with_file(&[1; 512]);
        write(&file, &[2; 1024], 0);
        fs.fail_sync(fs.syncs() + 1);
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(5));
        file.sync().unwrap();
        assert_eq!(bytes_of(&fs), [2; 1024]);
        for cut in [PowerCut::Nothing, PowerCut::Everything, PowerCut::random(3)] {
            assert_eq!(bytes_of(&fs.power_cut(cut)), [1; 512]);
        }
        assert_eq!(bytes_of(&fs.kill()), [2; 1024]);
        // A page that is written again is written whole, the dropped bytes of it included.
        write(&file, &[3], 0);
        file.sync().unwrap();
        let after = bytes_of(&fs.power_cut(PowerCut::Nothing));
        assert_eq!(
            (after.len(), after[..3].to_vec(), after[1000]),
            (1024, vec![3, 2, 2], 0)
        );
    }
}

mod names {
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
        assert_eq!(
            names_after_cuts(&fs, NameLoss::Subset),
            set(&["", "a", "b", "a b"])
        );
        assert_eq!(
            names_after_cuts(&fs, NameLoss::Prefix),
            set(&["", "a", "a b"])
        );
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
        assert_eq!(
            cuts.collect::<BTreeSet<_>>(),
            [b"old".to_vec(), b"new".to_vec()].into()
        );
        assert_eq!(names_after_cuts(&fs, NameLoss::Subset), set(&["f", "f t"]));
    }

    #[test]
    fn a_chain_of_renames_leaves_one_name() {
        let (fs, _file) = with_file(b"x");
        fs.rename(at("/f"), at("/g")).unwrap();
        fs.rename(at("/g"), at("/h")).unwrap();
        assert_eq!(
            names_after_cuts(&fs, NameLoss::Subset),
            set(&["f", "g", "h"])
        );
    }

    #[test]
    fn a_removal_never_takes_the_file_that_came_after() {
        let (fs, _file) = with_file(b"old");
        fs.remove(at("/f")).unwrap();
        let file = create(&fs, "/f");
        write(&file, b"new", 0);
        file.sync().unwrap();
        let cuts: BTreeSet<_> = (0..SEEDS)
            .map(|seed| fs.power_cut(PowerCut::random(seed)).files())
            .collect();
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
}

mod faults {
    use super::*;

    #[test]
    fn a_full_disk_takes_what_fits_and_then_nothing() {
        let (fs, file) = with_file(b"");
        fs.set_space(Some(1024));
        let part = [IoSlice::new(&[1; 1500])];
        assert_eq!(file.write_at(&part, 10).unwrap(), 1014);
        let full = file.write_at(&[IoSlice::new(b"x")], 1024).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.write_at(&part, 0).unwrap(), 1024);
        assert_eq!(fs.used_bytes(), 1024);
    }

    #[test]
    fn room_comes_back_when_the_last_name_and_handle_are_gone() {
        let (fs, file) = with_file(&[1; 1024]);
        fs.set_space(Some(1024));
        let other = create(&fs, "/g");
        let part = [IoSlice::new(b"x")];
        fs.remove(at("/f")).unwrap();
        assert!(other.write_at(&part, 0).is_err());
        drop(file);
        other.write_at(&part, 0).unwrap();
        assert_eq!(fs.used_bytes(), 512);
    }

    #[test]
    fn reserved_room_cannot_run_out() {
        let (fs, file) = with_file(b"");
        fs.set_space(Some(1024));
        assert_eq!(
            file.allocate(0, 1025).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        assert_eq!(file.len().unwrap(), 0);
        file.allocate(0, 1024).unwrap();
        fs.set_space(Some(0));
        assert_eq!(file.write_at(&[IoSlice::new(&[1; 1024])], 0).unwrap(), 1024);
        file.set_len(512).unwrap();
        assert_eq!(fs.used_bytes(), 512);
    }

    #[test]
    fn hiccups_are_survived_by_the_helpers() {
        let fs = SimFs::new(9);
        fs.set_hiccups(Hiccups {
            interrupted_one_in: 3,
            short_read_one_in: 2,
            short_write_one_in: 2,
        });
        let file = create(&fs, "/f");
        let bytes: Vec<u8> = (0..5000u16).map(|n| n.to_le_bytes()[0]).collect();
        write(&file, &bytes, 0);
        let mut back = vec![0; bytes.len()];
        read_exact_at(&*file, &mut back, 0).unwrap();
        assert_eq!(back, bytes);
        assert!(fs.operations() > 6);
    }

    #[test]
    fn a_planned_operation_fails_and_does_nothing() {
        let (fs, file) = with_file(b"abc");
        let next = fs.operations() + 1;
        fs.fail_operation(next, SimError::Io);
        assert!(file.write_at(&[IoSlice::new(b"x")], 0).is_err());
        assert_eq!(bytes_of(&fs), b"abc");
        file.write_at(&[IoSlice::new(b"x")], 0).unwrap();
        assert_eq!(bytes_of(&fs), b"xbc");
    }

    #[test]
    fn all_syncs_can_fail_from_now_on() {
        let (fs, file) = with_file(b"abc");
        fs.fail_all_syncs();
        assert!(file.sync().is_err());
        assert!(fs.sync_dir(at("/")).is_err());
        fs.clear_plan();
        file.sync().unwrap();
        assert_eq!(fs.syncs(), 5);
    }

    #[test]
    fn a_planned_panic_leaves_the_disk_usable() {
        let (fs, file) = with_file(b"abc");
        fs.panic_at_operation(fs.operations() + 1);
        let write = || file.write_at(&[IoSlice::new(b"x")], 0);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(write)).is_err());
        assert_eq!(bytes_of(&fs), b"abc");
    }

    #[test]
    fn handles_run_out_and_come_back() {
        let (fs, file) = with_file(b"");
        fs.set_handles_max(Some(1));
        let error = fs.open(at("/f"), OpenHow::Read).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::MFILE.raw_os_error())
        );
        assert!(fs.open(at("/g"), OpenHow::CreateNew).is_err());
        assert!(fs.list(at("/")).is_err());
        drop(file);
        assert_eq!(names(&fs), ["f"]);
        fs.open(at("/f"), OpenHow::Read).unwrap();
    }

    #[test]
    fn read_only_refuses_changes_and_fails_pending_syncs() {
        let (fs, file) = with_file(b"abc");
        write(&file, b"x", 0);
        fs.make_read_only();
        let refused = io::ErrorKind::ReadOnlyFilesystem;
        assert_eq!(
            fs.open(at("/g"), OpenHow::CreateNew).unwrap_err().kind(),
            refused
        );
        assert_eq!(
            fs.open(at("/f"), OpenHow::ReadWrite).unwrap_err().kind(),
            refused
        );
        assert_eq!(file.set_len(0).unwrap_err().kind(), refused);
        assert_eq!(fs.remove(at("/f")).unwrap_err().kind(), refused);
        assert_eq!(file.sync().unwrap_err().kind(), refused);
        file.sync().unwrap();
        fs.open(at("/f"), OpenHow::Read).unwrap();
        fs.make_writable();
        write(&file, b"y", 0);
    }

    #[test]
    fn denied_paths_refuse_and_open_handles_go_on() {
        let (fs, file) = with_file(b"abc");
        fs.deny(at("/f"));
        let denied = io::ErrorKind::PermissionDenied;
        assert_eq!(fs.open(at("/f"), OpenHow::Read).unwrap_err().kind(), denied);
        assert_eq!(fs.rename(at("/f"), at("/g")).unwrap_err().kind(), denied);
        write(&file, b"x", 0);
        fs.permit(at("/f"));
        fs.open(at("/f"), OpenHow::Read).unwrap();
    }

    #[test]
    fn operations_take_time_and_stall() {
        let (fs, file) = with_file(b"");
        let clock = ManualClock::new(Timestamp(0));
        fs.set_clock(clock.clone(), Duration::from_millis(1));
        fs.stall_operation(fs.operations() + 2, Duration::from_secs(1));
        write(&file, b"x", 0);
        assert_eq!(clock.elapsed(), Duration::from_millis(1));
        file.sync().unwrap();
        assert_eq!(clock.elapsed(), Duration::from_millis(1002));
    }
}

mod at_rest {
    use super::*;

    #[test]
    fn a_flipped_bit_is_flipped_on_medium_and_in_cache() {
        let (fs, _file) = with_file(&[0; 600]);
        fs.flip_bit(at("/f"), 599 * 8 + 7).unwrap();
        assert_eq!(bytes_of(&fs)[599], 0x80);
        assert_eq!(fs.power_cut(PowerCut::Nothing).files(), fs.files());
        assert!(fs.flip_bit(at("/f"), 600 * 8).is_err());
    }

    #[test]
    fn a_zeroed_sector_reads_as_zero() {
        let (fs, _file) = with_file(&[1; 1100]);
        fs.zero_sector(at("/f"), 1).unwrap();
        let bytes = bytes_of(&fs);
        assert_eq!(
            (bytes[511], bytes[512], bytes[1023], bytes[1024]),
            (1, 0, 0, 1)
        );
        assert!(fs.zero_sector(at("/f"), 3).is_err());
    }

    #[test]
    fn a_misdirected_sector_hits_another_and_leaves_its_own() {
        let (fs, file) = with_file(&[1; 1024]);
        write(&file, &[2; 512], 0);
        file.sync().unwrap();
        fs.misdirect_sector(at("/f"), 0, 1).unwrap();
        let mut expected = vec![1; 512];
        expected.extend([2; 512]);
        assert_eq!(bytes_of(&fs), expected);
    }

    #[test]
    fn a_lost_synced_write_shows_what_was_before() {
        let (fs, file) = with_file(&[1; 512]);
        write(&file, &[2; 1000], 0);
        file.sync().unwrap();
        fs.lose_synced_write(at("/f"), 0).unwrap();
        let mut expected = vec![1; 512];
        expected.extend([2; 488]);
        assert_eq!(bytes_of(&fs), expected);
    }

    #[test]
    fn changes_out_of_band_are_durable_at_once() {
        let fs = SimFs::new(0);
        fs.write_file(at("/a"), b"one").unwrap();
        fs.write_file(at("/a"), b"two").unwrap();
        fs.copy_file(at("/a"), at("/b")).unwrap();
        fs.rename_file(at("/a"), at("/c")).unwrap();
        fs.write_file(at("/d"), b"x").unwrap();
        fs.remove_file(at("/d")).unwrap();
        let expected = [
            ("/b".into(), b"two".to_vec()),
            ("/c".into(), b"two".to_vec()),
        ];
        assert_eq!(fs.power_cut(PowerCut::Nothing).files(), expected);
        assert_eq!(fs.operations(), 0);
    }
}

mod replay {
    use super::*;

    /// A small life of a store: files written, synced, renamed, removed.
    fn workload(fs: &SimFs, steps: u64) {
        for step in 0..steps {
            let path = format!("/{}", step / 16 % 8);
            if step % 16 == 0 {
                let _ = fs.remove(at(&path));
                create(fs, &path);
            }
            let file = fs.open(at(&path), OpenHow::ReadWrite).unwrap();
            let bytes = step.to_le_bytes().repeat(100);
            let end = file.len().unwrap();
            let _ = file.write_at(&[IoSlice::new(&bytes)], end);
            if step % 3 == 0 {
                let _ = file.sync();
            }
            if step % 16 == 15 {
                let _ = fs.sync_dir(at("/"));
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_trace_and_the_same_cuts() {
        let run = || {
            let fs = SimFs::new(77);
            fs.set_hiccups(Hiccups {
                interrupted_one_in: 5,
                short_read_one_in: 5,
                short_write_one_in: 5,
            });
            fs.start_trace();
            fs.start_history();
            workload(&fs, 200);
            let images = fs.take_history();
            let cuts: Vec<_> = images
                .iter()
                .map(|image| image.power_cut(PowerCut::random(5)).files())
                .collect();
            (fs.take_trace(), cuts)
        };
        let (trace, cuts) = run();
        assert!(trace.len() > 500 && cuts.len() > 200);
        assert!((trace, cuts) == run());
    }

    #[test]
    fn history_has_an_image_after_every_change() {
        let fs = SimFs::new(0);
        fs.start_history();
        let file = create(&fs, "/f");
        file.len().unwrap();
        write(&file, b"a", 0);
        file.sync().unwrap();
        write(&file, b"b", 0);
        let images = fs.take_history();
        let numbers: Vec<_> = images.iter().map(DiskImage::operation).collect();
        assert_eq!(numbers, [1, 3, 4, 5]);
        let shown: Vec<_> = images
            .iter()
            .map(|image| image.files()[0].1.clone())
            .collect();
        assert_eq!(shown, [&b""[..], b"a", b"a", b"b"]);
        assert!(fs.take_history().is_empty());
    }

    #[test]
    fn a_killed_process_leaves_the_page_cache_but_no_locks() {
        let (fs, file) = with_file(b"abc");
        assert!(file.try_lock(LockKind::Exclusive).unwrap());
        write(&file, b"x", 0);
        let after = fs.kill();
        assert_eq!(bytes_of(&after), b"xbc");
        assert_eq!((after.operations(), after.open_handles()), (0, 0));
        let again = after.open(at("/f"), OpenHow::ReadWrite).unwrap();
        assert!(again.try_lock(LockKind::Exclusive).unwrap());
        // The dead process cannot write any more.
        write(&file, b"zzz", 0);
        assert_eq!(bytes_of(&after), b"xbc");
        assert_eq!(bytes_of(&after.power_cut(PowerCut::Nothing)), b"abc");
    }

    #[test]
    fn threads_share_a_disk() {
        let fs = SimFs::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let fs = &fs;
                scope.spawn(move || {
                    let file = create(fs, &format!("/{thread}"));
                    (0..100).for_each(|n| write(&file, &[thread], n));
                });
            }
        });
        assert_eq!((fs.operations(), fs.files().len()), (404, 4));
    }

    /// Prints what a cut costs. A bound on time would fail on a busy machine, so there is none.
    #[test]
    fn many_cuts_of_a_history() {
        let fs = SimFs::new(0);
        fs.start_history();
        workload(&fs, 600);
        let images = fs.take_history();
        let begun = Instant::now();
        let mut bytes = 0;
        let mut cuts = 0u32;
        for image in &images {
            for seed in 0..16 {
                bytes += image.power_cut(PowerCut::random(seed)).used_bytes();
                cuts += 1;
            }
        }
        let each = begun.elapsed() / cuts;
        println!(
            "{cuts} cuts of {} bytes on average, {each:?} each",
            bytes / u64::from(cuts)
        );
        assert!(bytes > 0);
    }
}
