//! What every file system of ours does: the same checks for the real one and the simulated one.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fs::{
    DirEntry, FileKind, Fs, FsFile, LockKind, OpenHow, read_exact_at, read_up_to_at, write_all_at,
};
use super::fs_disk::DiskFs;
use super::fs_sim::SimFs;

/// Runs a check on both, each with an empty directory.
fn on_both(check: impl Fn(&dyn Fs, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    check(&DiskFs::new(), dir.path());
    let sim = SimFs::new(0);
    sim.create_dir(Path::new("/dir")).unwrap();
    check(&sim, Path::new("/dir"));
    assert_eq!(sim.open_handles(), 0);
}

fn create(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> Arc<dyn FsFile> {
    let file = fs.open(path, OpenHow::CreateNew).unwrap();
    write_all_at(&*file, &mut [IoSlice::new(bytes)], 0).unwrap();
    file
}

fn content(file: &dyn FsFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    read_exact_at(file, &mut bytes, 0).unwrap();
    bytes
}

fn content_of(fs: &dyn Fs, path: &Path) -> Vec<u8> {
    content(&*fs.open(path, OpenHow::Read).unwrap())
}

fn kind_of<T: std::fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn create_new_refuses_a_name_that_is_taken() {
    on_both(|fs, dir| {
        let path = dir.join("f");
        create(fs, &path, b"abc");
        let taken = io::ErrorKind::AlreadyExists;
        assert_eq!(kind_of(fs.open(&path, OpenHow::CreateNew)), taken);
        assert_eq!(kind_of(fs.create_dir(&path)), taken);
        assert_eq!(kind_of(fs.create_dir(dir)), taken);
        assert_eq!(content_of(fs, &path), b"abc");
    });
}

#[test]
fn what_is_not_there_is_not_found() {
    on_both(|fs, dir| {
        let path = dir.join("f");
        let missing = io::ErrorKind::NotFound;
        assert_eq!(kind_of(fs.open(&path, OpenHow::Read)), missing);
        assert_eq!(kind_of(fs.open(&path, OpenHow::ReadWrite)), missing);
        assert_eq!(kind_of(fs.open(&path.join("g"), OpenHow::CreateNew)), missing);
        assert_eq!(kind_of(fs.remove(&path)), missing);
        assert_eq!(kind_of(fs.rename(&path, &dir.join("g"))), missing);
        assert_eq!(kind_of(fs.list(&path)), missing);
        assert_eq!(kind_of(fs.sync_dir(&path)), missing);
        assert_eq!(fs.kind(&path).unwrap(), None);
    });
}

#[test]
fn a_directory_is_no_file() {
    on_both(|fs, dir| {
        let (sub, file) = (dir.join("sub"), dir.join("f"));
        fs.create_dir(&sub).unwrap();
        create(fs, &file, b"");
        assert_eq!(kind_of(fs.open(&sub, OpenHow::Read)), io::ErrorKind::IsADirectory);
        assert_eq!(kind_of(fs.open(&sub, OpenHow::ReadWrite)), io::ErrorKind::IsADirectory);
        assert!(fs.remove(&sub).is_err());
        assert_eq!(kind_of(fs.list(&file)), io::ErrorKind::NotADirectory);
        assert_eq!(kind_of(fs.sync_dir(&file)), io::ErrorKind::NotADirectory);
        assert_eq!(kind_of(fs.rename(&file, &sub)), io::ErrorKind::IsADirectory);
        assert_eq!(kind_of(fs.rename(&sub, &file)), io::ErrorKind::NotADirectory);
    });
}

#[test]
fn links_are_told_and_not_followed() {
    let check = |fs: &dyn Fs, link: PathBuf| {
        assert_eq!(fs.kind(&link).unwrap(), Some(FileKind::Symlink));
        let refused = fs.open(&link, OpenHow::ReadWrite).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::LOOP.raw_os_error()));
        let taken = kind_of(fs.open(&link, OpenHow::CreateNew));
        assert_eq!(taken, io::ErrorKind::AlreadyExists);
        fs.remove(&link).unwrap();
        assert_eq!(fs.kind(&link).unwrap(), None);
    };
    let dir = tempfile::tempdir().unwrap();
    let (target, link) = (dir.path().join("target"), dir.path().join("link"));
    create(&DiskFs::new(), &target, b"abc");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    check(&DiskFs::new(), link);
    assert_eq!(content_of(&DiskFs::new(), &target), b"abc");
    let sim = SimFs::new(0);
    sim.make_symlink(Path::new("/link")).unwrap();
    check(&sim, PathBuf::from("/link"));
}

#[test]
fn rename_replaces_and_the_old_file_stays_readable() {
    on_both(|fs, dir| {
        let (from, to) = (dir.join("from"), dir.join("to"));
        create(fs, &from, b"new");
        let old = create(fs, &to, b"old");
        fs.rename(&from, &to).unwrap();
        fs.sync_dir(dir).unwrap();
        assert_eq!(content_of(fs, &to), b"new");
        assert_eq!(fs.kind(&from).unwrap(), None);
        assert_eq!(content(&*old), b"old");
    });
}

#[test]
fn a_second_name_is_the_same_file_until_one_of_them_is_removed() {
    on_both(|fs, dir| {
        let (one, other) = (dir.join("one"), dir.join("other"));
        let file = create(fs, &one, b"abc");
        fs.hard_link(&one, &other).unwrap();
        assert_eq!(fs.kind(&other).unwrap(), Some(FileKind::File));
        write_all_at(&*file, &mut [IoSlice::new(b"x")], 1).unwrap();
        assert_eq!(content_of(fs, &other), b"axc");
        fs.remove(&one).unwrap();
        fs.sync_dir(dir).unwrap();
        assert_eq!(content_of(fs, &other), b"axc");
        assert_eq!(fs.kind(&one).unwrap(), None);
    });
}

#[test]
fn a_second_name_stays_when_the_first_is_renamed_or_replaced() {
    on_both(|fs, dir| {
        let (one, other, third) = (dir.join("one"), dir.join("other"), dir.join("third"));
        create(fs, &one, b"abc");
        create(fs, &third, b"new");
        fs.hard_link(&one, &other).unwrap();
        fs.rename(&one, &dir.join("moved")).unwrap();
        fs.rename(&third, &dir.join("moved")).unwrap();
        fs.sync_dir(dir).unwrap();
        assert_eq!(content_of(fs, &other), b"abc");
        assert_eq!(content_of(fs, &dir.join("moved")), b"new");
        assert_eq!(fs.list(dir).unwrap().len(), 2);
    });
}

#[test]
fn a_second_name_replaces_nothing_and_needs_a_file() {
    on_both(|fs, dir| {
        let (one, other, sub) = (dir.join("one"), dir.join("other"), dir.join("sub"));
        create(fs, &one, b"abc");
        create(fs, &other, b"def");
        fs.create_dir(&sub).unwrap();
        let taken = io::ErrorKind::AlreadyExists;
        assert_eq!(kind_of(fs.hard_link(&one, &other)), taken);
        assert_eq!(kind_of(fs.hard_link(&one, &one)), taken);
        assert_eq!(kind_of(fs.hard_link(&one, &sub)), taken);
        assert_eq!(kind_of(fs.hard_link(&dir.join("none"), &sub.join("f"))), missing());
        assert_eq!(kind_of(fs.hard_link(&one, &dir.join("none").join("f"))), missing());
        let unsupported = io::ErrorKind::Unsupported;
        assert_eq!(kind_of(fs.hard_link(&sub, &dir.join("sub2"))), unsupported);
        assert_eq!(content_of(fs, &other), b"def");
    });
}

#[test]
fn a_directory_is_removed_once_it_is_empty() {
    on_both(|fs, dir| {
        let (sub, file) = (dir.join("sub"), dir.join("sub").join("f"));
        fs.create_dir(&sub).unwrap();
        create(fs, &file, b"");
        assert_eq!(kind_of(fs.remove_dir(&sub)), io::ErrorKind::DirectoryNotEmpty);
        assert_eq!(kind_of(fs.remove_dir(&file)), io::ErrorKind::NotADirectory);
        fs.remove(&file).unwrap();
        fs.remove_dir(&sub).unwrap();
        assert_eq!(kind_of(fs.remove_dir(&sub)), missing());
        assert_eq!(fs.list(dir).unwrap(), []);
    });
}

fn missing() -> io::ErrorKind {
    io::ErrorKind::NotFound
}

#[test]
fn a_removed_file_stays_readable_for_who_has_it_open() {
    on_both(|fs, dir| {
        let path = dir.join("f");
        let open = create(fs, &path, b"abc");
        fs.remove(&path).unwrap();
        fs.sync_dir(dir).unwrap();
        assert_eq!(fs.kind(&path).unwrap(), None);
        assert_eq!(content(&*open), b"abc");
        open.sync().unwrap();
    });
}

#[test]
fn list_is_sorted_and_tells_kinds() {
    on_both(|fs, dir| {
        fs.create_dir(&dir.join("b")).unwrap();
        for name in ["c", "a", "Z"] {
            create(fs, &dir.join(name), b"");
        }
        let entry = |name: &str, kind| DirEntry { name: name.to_owned(), kind };
        let expected = [
            entry("Z", FileKind::File),
            entry("a", FileKind::File),
            entry("b", FileKind::Directory),
            entry("c", FileKind::File),
        ];
        assert_eq!(fs.list(dir).unwrap(), expected);
    });
}

#[test]
fn reads_end_where_the_file_ends() {
    on_both(|fs, dir| {
        let file = create(fs, &dir.join("f"), b"abcde");
        let mut buf = [9; 8];
        assert_eq!(read_up_to_at(&*file, &mut buf, 3).unwrap(), 2);
        assert_eq!(buf, [b'd', b'e', 9, 9, 9, 9, 9, 9]);
        assert_eq!(file.read_at(&mut buf, 5).unwrap(), 0);
        assert_eq!(file.read_at(&mut buf, 5000).unwrap(), 0);
        let short = read_exact_at(&*file, &mut buf, 0);
        assert_eq!(kind_of(short), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn parts_are_written_one_after_the_other() {
    on_both(|fs, dir| {
        let file = create(fs, &dir.join("f"), b"");
        let large = vec![7; 1500];
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(&large)];
        assert_eq!(file.write_at(&parts, 3).unwrap(), 1502);
        let mut expected = b"\0\0\0ab".to_vec();
        expected.extend_from_slice(&large);
        assert_eq!(content(&*file), expected);
        assert_eq!(file.write_at(&[IoSlice::new(b"xyz")], 4).unwrap(), 3);
        assert_eq!(content(&*file)[..8], *b"\0\0\0axyz\x07");
        assert_eq!(file.write_at(&[], 9000).unwrap(), 0);
        assert_eq!(file.len().unwrap(), 1505);
    });
}

#[test]
fn allocate_grows_with_zeros_and_keeps_what_is_there() {
    on_both(|fs, dir| {
        let file = create(fs, &dir.join("f"), b"abc");
        file.allocate(0, 5000).unwrap();
        let bytes = content(&*file);
        assert_eq!((bytes.len(), &bytes[..3]), (5000, &b"abc"[..]));
        assert!(bytes[3..].iter().all(|byte| *byte == 0));
        file.allocate(1, 10).unwrap();
        assert_eq!(file.len().unwrap(), 5000);
        file.allocate(6000, 0).unwrap();
        assert_eq!(file.len().unwrap(), 5000);
        file.allocate(6000, 1).unwrap();
        assert_eq!(file.len().unwrap(), 6001);
    });
}

#[test]
fn a_file_that_was_cut_grows_with_zeros() {
    on_both(|fs, dir| {
        let file = create(fs, &dir.join("f"), &[5; 2000]);
        file.set_len(700).unwrap();
        file.set_len(1600).unwrap();
        let bytes = content(&*file);
        assert!(bytes[..700].iter().all(|byte| *byte == 5));
        assert!(bytes[700..].iter().all(|byte| *byte == 0));
        assert_eq!(bytes.len(), 1600);
        file.set_len(0).unwrap();
        assert!(file.is_empty().unwrap());
    });
}

#[test]
fn a_file_opened_for_reading_takes_no_changes() {
    on_both(|fs, dir| {
        let path = dir.join("f");
        create(fs, &path, b"abc");
        let file = fs.open(&path, OpenHow::Read).unwrap();
        assert!(file.write_at(&[IoSlice::new(b"x")], 0).is_err());
        assert!(file.set_len(1).is_err());
        assert!(file.allocate(0, 10).is_err());
        assert_eq!(content(&*file), b"abc");
    });
}

#[test]
fn locks_are_per_handle_and_end_with_it() {
    on_both(|fs, dir| {
        let path = dir.join("LOCK");
        let first = create(fs, &path, b"");
        let second = fs.open(&path, OpenHow::ReadWrite).unwrap();
        assert!(first.try_lock(LockKind::Exclusive).unwrap());
        assert!(first.try_lock(LockKind::Exclusive).unwrap());
        assert!(!second.try_lock(LockKind::Exclusive).unwrap());
        assert!(!second.try_lock(LockKind::Shared).unwrap());
        drop(first);
        assert!(second.try_lock(LockKind::Shared).unwrap());
        let third = fs.open(&path, OpenHow::ReadWrite).unwrap();
        assert!(third.try_lock(LockKind::Shared).unwrap());
        assert!(!third.try_lock(LockKind::Exclusive).unwrap());
    });
}

#[test]
fn paths_that_climb_or_start_nowhere_are_refused_by_the_simulation() {
    let sim = SimFs::new(0);
    for path in ["relative", "/a/../b", ""] {
        assert!(sim.open(Path::new(path), OpenHow::CreateNew).is_err(), "{path}");
    }
}
