//! The calls of [`Fs`], [`FsFile`] and [`FsDir`], each of them one operation of the simulated disk.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::SimFs;
use super::directory::NodeId;
use super::disk::{Node, clean_dir, empty_file};
use super::fault::{SimError, Verdict};
use super::state::{Call, State, check_end};
use super::trace::Operation;
use crate::env::fs::{DirEntry, FileKind, Fs, FsDir, FsFile, LockKind, OpenHow};

impl SimFs {
    /// Runs one operation: counted, traced, timed, perhaps failed, and then kept in the history.
    fn run<T>(
        &self,
        call: Call<'_>,
        work: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        let verdict = state.begin(&call);
        let result = match verdict {
            Verdict::Proceed => work(&mut state),
            Verdict::Fail(error) => Err(error.into()),
            Verdict::Panic => {
                let number = state.operations;
                drop(state);
                planned_panic(number);
            }
        };
        state.end(&call);
        result
    }

    fn run_on_path<T>(
        &self,
        operation: Operation,
        path: &Path,
        work: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let call = Call { operation, path, node: None, offset: 0, len: 0 };
        self.run(call, work)
    }
}

#[expect(clippy::panic, reason = "this is what the test asked for")]
fn planned_panic(operation: u64) -> ! {
    panic!("planned panic at operation {operation} of the simulated disk");
}

impl Fs for SimFs {
    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.state.lock().free_bytes())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.run_on_path(Operation::CreateDir, path, |state| {
            state.disk.create(path, clean_dir(Arc::default())).map(|_| ())
        })
    }

    fn open(&self, path: &Path, how: OpenHow) -> io::Result<Arc<dyn FsFile>> {
        let operation = match how {
            OpenHow::Read => Operation::OpenRead,
            OpenHow::ReadWrite => Operation::OpenReadWrite,
            OpenHow::CreateNew => Operation::CreateNew,
        };
        let (id, node) = self.run_on_path(operation, path, |state| {
            state.check_handles_left()?;
            let node = match how {
                OpenHow::CreateNew => state.disk.create(path, empty_file())?,
                OpenHow::Read | OpenHow::ReadWrite => state.disk.find(path)?,
            };
            state.disk.file(node)?;
            if how == OpenHow::ReadWrite && state.faults.read_only {
                return Err(SimError::ReadOnly.into());
            }
            Ok((state.open(node), node))
        })?;
        Ok(Arc::new(SimFile { fs: self.clone(), id, node, path: path.into(), how }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run_on_path(Operation::Rename, to, |state| {
            state.check_permitted(from)?;
            state.disk.rename(from, to)
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run_on_path(Operation::HardLink, to, |state| {
            state.check_permitted(from)?;
            state.disk.hard_link(from, to)
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.run_on_path(Operation::Remove, path, |state| state.disk.remove(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.run_on_path(Operation::RemoveDir, path, |state| state.disk.remove_dir(path))
    }

    fn open_dir(&self, path: &Path) -> io::Result<Box<dyn FsDir>> {
        let (id, node) = self.run_on_path(Operation::OpenDir, path, |state| {
            state.check_handles_left()?;
            let node = state.disk.find(path)?;
            state.disk.dir(node)?;
            Ok((state.open(node), node))
        })?;
        Ok(Box::new(SimDir { fs: self.clone(), id, node, path: path.into() }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.run_on_path(Operation::List, path, |state| {
            state.check_handles_left()?;
            let dir = state.disk.dir(state.disk.find(path)?)?;
            let entry = |(name, node): (&Arc<str>, &NodeId)| DirEntry {
                name: name.to_string(),
                kind: state.disk.nodes.get(node).map_or(FileKind::Other, Node::kind),
            };
            Ok(dir.cache.iter().map(entry).collect())
        })
    }

    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        self.run_on_path(Operation::Kind, path, |state| match state.disk.find(path) {
            Ok(node) => Ok(state.disk.nodes.get(&node).map(Node::kind)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }
}

/// One open directory of a simulated disk.
struct SimDir {
    fs: SimFs,
    id: u64,
    node: NodeId,
    path: Box<Path>,
}

impl fmt::Debug for SimDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDir").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for SimDir {
    fn drop(&mut self) {
        self.fs.state.lock().close(self.id);
    }
}

impl FsDir for SimDir {
    fn sync(&self) -> io::Result<()> {
        let (operation, node) = (Operation::SyncDir, Some(self.node));
        let call = Call { operation, path: &self.path, node, offset: 0, len: 0 };
        self.fs.run(call, |state| {
            let dir = state.disk.dir_mut(self.node)?;
            if state.faults.read_only && !dir.pending.is_empty() {
                dir.pending.clear();
                return Err(SimError::ReadOnly.into());
            }
            if dir.sync() {
                state.collect();
            }
            Ok(())
        })
    }
}

/// One open file of a simulated disk.
struct SimFile {
    fs: SimFs,
    id: u64,
    node: NodeId,
    path: Arc<Path>,
    how: OpenHow,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.fs.state.lock().close(self.id);
    }
}

impl SimFile {
    fn run<T>(
        &self,
        operation: Operation,
        offset: u64,
        len: u64,
        work: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let call = Call { operation, path: &self.path, node: Some(self.node), offset, len };
        self.fs.run(call, |state| {
            if operation.is_change() && self.how == OpenHow::Read {
                return Err(Errno::BADF.into());
            }
            work(state)
        })
    }
}

impl FsFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.run(Operation::Read, offset, buf.len() as u64, |state| {
            let content = &state.disk.file(self.node)?.cache;
            let there = usize::try_from(content.len().saturating_sub(offset)).unwrap_or(usize::MAX);
            let count = buf.len().min(there);
            let count = state.faults.shorten(Operation::Read, count, &state.rng);
            Ok(content.read(buf.get_mut(..count).unwrap_or_default(), offset))
        })
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let data = parts.iter().map(|part| &**part).collect::<Vec<_>>().concat();
        self.run(Operation::Write, offset, data.len() as u64, |state| {
            state.write(self.node, &data, offset)
        })
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.run(Operation::Allocate, offset, len, |state| state.allocate(self.node, offset, len))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.run(Operation::SetLen, 0, len, |state| {
            check_end(0, len)?;
            state.disk.file_mut(self.node)?.set_len(len);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.run(Operation::Len, 0, 0, |state| Ok(state.disk.file(self.node)?.cache.len()))
    }

    fn sync(&self) -> io::Result<()> {
        self.run(Operation::Sync, 0, 0, |state| {
            let read_only = state.faults.read_only;
            let file = state.disk.file_mut(self.node)?;
            if read_only && !file.is_clean() {
                file.forget_pending();
                return Err(SimError::ReadOnly.into());
            }
            file.sync();
            Ok(())
        })
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        self.run(Operation::TryLock, 0, 0, |state| state.try_lock(self.id, kind))
    }
}
