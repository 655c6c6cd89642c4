//! Who reads between any two operations of a change finds everything, or is told what was given up.

use std::io;
use std::sync::OnceLock;

use super::*;
use crate::env::fs::{DirEntry, FileKind, FsDir, FsFile, OpenHow};
use crate::storage::sync_gate::SyncGate;

type After = Arc<OnceLock<Box<dyn Fn() + Send + Sync>>>;

/// A disk that calls somebody after each change of a name.
struct Watched {
    fs: SimFs,
    after: After,
}

struct WatchedDir {
    dir: Box<dyn FsDir>,
    after: After,
}

impl std::fmt::Debug for WatchedDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.dir.fmt(f)
    }
}

impl FsDir for WatchedDir {
    fn sync(&self) -> io::Result<()> {
        let done = self.dir.sync();
        if let Some(after) = self.after.get() {
            after();
        }
        done
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.fs.fmt(f)
    }
}

impl Watched {
    fn then<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if let Some(after) = self.after.get() {
            after();
        }
        done
    }
}

impl Fs for Watched {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.then(self.fs.create_dir(path))
    }

    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn FsFile>> {
        self.fs.open(path, how)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.then(self.fs.rename(from, to))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.then(self.fs.hard_link(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.then(self.fs.remove(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.then(self.fs.remove_dir(path))
    }

    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn FsDir>> {
        let dir = self.fs.open_dir(path)?;
        Ok(Box::new(WatchedDir { dir, after: Arc::clone(&self.after) }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.fs.list(path)
    }

    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        self.fs.kind(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.fs.free_bytes(path)
    }
}

/// Reads all that a reader could ask for while `change` goes on; returns how often.
fn while_it_goes_on(change: impl Fn(&Past)) -> usize {
    let fs = SimFs::new(1);
    let rng = SeededRng::new(3);
    let mut past = Past::new(&fs);
    past.begin_era();
    for _ in 0..3 {
        past.append(&rng, 8, 60);
    }
    past.next_era();
    past.append(&rng, 8, 60);
    past.publish();
    let after = Arc::new(OnceLock::new());
    let mut watched = context(&fs);
    watched.env.fs = Arc::new(Watched { fs: fs.clone(), after: Arc::clone(&after) });
    watched.gate = SyncGate::new(Arc::clone(&watched.env.fs));
    let found = look(&watched).unwrap();
    past.archive = Archive::for_writing(&watched, &found, Some(LogIndex(31))).unwrap();
    let (reading, expected) = (past.archive.clone(), past.expected(0..=31));
    let times = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&times);
    let read = move || {
        *counted.lock() += 1;
        match read_all(&reading, 0..=31) {
            Ok(entries) => assert_eq!(entries, expected),
            Err(error) => assert!(matches!(error, StorageError::Compacted { .. }), "{error}"),
        }
        match reading.base_for(LogIndex(20)) {
            Ok(base) => assert_eq!(base.from, LogIndex(0)),
            Err(error) => assert!(matches!(error, StorageError::Compacted { .. }), "{error}"),
        }
        let found = reading.index_at(stamp(20)).unwrap();
        assert!(found.is_none_or(|found| stamp(found.0) <= stamp(20)), "{found:?}");
        reading.base_for(LogIndex(30)).unwrap();
    };
    assert!(after.set(Box::new(read)).is_ok());
    change(&past);
    *times.lock()
}

#[test]
fn readers_find_everything_at_each_operation_of_a_change() {
    let compressed = while_it_goes_on(|past| assert!(compress(&past.archive).unwrap()));
    assert!(compressed >= 5, "{compressed}");
    let cleaned = while_it_goes_on(|past| {
        assert_eq!(past.archive.clean(|_, _| false).unwrap().eras, 1);
    });
    assert!(cleaned >= 6, "{cleaned}");
    let begun = while_it_goes_on(|past| past.archive.begin_era(&past.tables).unwrap());
    assert!(begun >= 5, "{begun}");
    let appended = while_it_goes_on(|past| append(&past.archive, 32..=32, &[]).unwrap());
    assert!(appended >= 2, "{appended}");
}
