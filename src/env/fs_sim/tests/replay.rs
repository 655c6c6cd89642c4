//! One seed, one life; histories, kills and threads.

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
        let cuts: Vec<_> =
            images.iter().map(|image| image.power_cut(PowerCut::random(5)).files()).collect();
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
    let shown: Vec<_> = images.iter().map(|image| image.files()[0].1.clone()).collect();
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

#[test]
fn many_cuts_of_a_history() {
    let fs = SimFs::new(0);
    fs.start_history();
    workload(&fs, 600);
    let images = fs.take_history();
    let mut bytes = 0;
    for image in &images {
        for seed in 0..16 {
            bytes += image.power_cut(PowerCut::random(seed)).used_bytes();
        }
    }
    assert!(bytes > 0);
}
