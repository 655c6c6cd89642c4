//! Operations that fail, stall or do half of what was asked.

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
fn files_take_whole_blocks_where_the_disk_gives_them() {
    let (fs, file) = with_file(b"");
    fs.set_space(Some(3000));
    fs.set_block_bytes(1024);
    file.write_at(&[IoSlice::new(b"x")], 0).unwrap();
    assert_eq!((fs.used_bytes(), fs.free_bytes(at("/")).unwrap()), (1024, 1024));
    create(&fs, "/g").write_at(&[IoSlice::new(b"x")], 0).unwrap();
    assert_eq!((fs.used_bytes(), fs.free_bytes(at("/")).unwrap()), (2048, 0));
    // The rest of its block is the file's already.
    assert_eq!(file.write_at(&[IoSlice::new(&[1; 2000])], 1).unwrap(), 1023);
    assert_eq!(fs.used_bytes(), 2048);
}

#[test]
fn reserved_room_cannot_run_out() {
    let (fs, file) = with_file(b"");
    fs.set_space(Some(1024));
    assert_eq!(file.allocate(0, 1025).unwrap_err().kind(), io::ErrorKind::StorageFull);
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
    fs.set_hiccups(Hiccups { interrupted_one_in: 3, short_read_one_in: 2, short_write_one_in: 2 });
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
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()));
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
    assert_eq!(fs.open(at("/g"), OpenHow::CreateNew).unwrap_err().kind(), refused);
    assert_eq!(fs.open(at("/f"), OpenHow::ReadWrite).unwrap_err().kind(), refused);
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

#[test]
fn where_files_have_one_name_only_a_second_one_is_unsupported() {
    let (fs, _file) = with_file(b"x");
    fs.fail_operation(fs.operations() + 1, SimError::Unsupported);
    let once = fs.hard_link(at("/f"), at("/g")).unwrap_err();
    assert_eq!(once.kind(), io::ErrorKind::Unsupported);
    fs.hard_link(at("/f"), at("/g")).unwrap();
    fs.forbid_hard_links();
    let always = fs.hard_link(at("/f"), at("/h")).unwrap_err();
    assert_eq!(always.kind(), io::ErrorKind::Unsupported);
    assert_eq!(names(&fs), ["f", "g"]);
}

#[test]
fn a_second_name_needs_leave_for_both_paths_and_is_a_change() {
    let (fs, _file) = with_file(b"x");
    for denied in ["/f", "/g"] {
        fs.deny(at(denied));
        let error = fs.hard_link(at("/f"), at("/g")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{denied}");
        fs.permit(at(denied));
    }
    fs.make_read_only();
    let error = fs.hard_link(at("/f"), at("/g")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(names(&fs), ["f"]);
}
