//! A running simulated disk: the tree, who has what open, the faults, the counters.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use super::content::{FILE_BYTES_MAX, SECTOR_BYTES, Sector, spans};
use super::directory::NodeId;
use super::disk::Disk;
use super::fault::{Faults, SimError, Verdict};
use super::trace::{Operation, Traced};
use crate::env::clock::ManualClock;
use crate::env::fs::LockKind;
use crate::env::rng::SeededRng;

/// An open file or directory.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) node: NodeId,
    pub(super) lock: Option<LockKind>,
}

/// One call, as the plan and the trace see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) operation: Operation,
    pub(super) path: &'a Path,
    pub(super) node: Option<NodeId>,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// The whole disk after one operation.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub(super) operation: u64,
    pub(super) disk: Disk,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) disk: Disk,
    pub(super) handles: BTreeMap<u64, Handle>,
    pub(super) next_handle: u64,
    pub(super) faults: Faults,
    pub(super) rng: SeededRng,
    pub(super) operations: u64,
    pub(super) syncs: u64,
    pub(super) trace: Option<Vec<Traced>>,
    pub(super) history: Option<Vec<Moment>>,
    pub(super) clock: Option<(ManualClock, Duration)>,
}

impl State {
    pub(super) fn new(disk: Disk, seed: u64) -> Self {
        Self {
            disk,
            handles: BTreeMap::new(),
            next_handle: 0,
            faults: Faults::default(),
            rng: SeededRng::new(seed),
            operations: 0,
            syncs: 0,
            trace: None,
            history: None,
            clock: None,
        }
    }

    /// Counts the call, lets its time pass and decides what becomes of it.
    pub(super) fn begin(&mut self, call: &Call<'_>) -> Verdict {
        self.operations += 1;
        let sync = call.operation.is_sync().then(|| {
            self.syncs += 1;
            self.syncs
        });
        if let Some(trace) = &mut self.trace {
            trace.push(Traced {
                operation: call.operation,
                path: call.path.to_owned(),
                offset: call.offset,
                len: call.len,
            });
        }
        if let Some((clock, cost)) = &self.clock {
            let stall = self.faults.stalls.get(&self.operations).copied();
            clock.advance(cost.saturating_add(stall.unwrap_or_default()));
        }
        let number = self.operations;
        let verdict = self.faults.decide(call.operation, call.path, number, sync, &self.rng);
        if matches!(verdict, Verdict::Fail(error) if error != SimError::Access) {
            self.drop_unsynced(call);
        }
        verdict
    }

    /// Keeps the disk as it is now, if the call can have changed it.
    pub(super) fn end(&mut self, call: &Call<'_>) {
        if !call.operation.is_sync() && !call.operation.is_change() {
            return;
        }
        if let Some(history) = &mut self.history {
            history.push(Moment { operation: self.operations, disk: self.disk.clone() });
        }
    }

    /// A sync that failed: what it should have covered never reaches the medium.
    fn drop_unsynced(&mut self, call: &Call<'_>) {
        match (call.operation, call.node) {
            (Operation::Sync, Some(node)) => {
                if let Ok(file) = self.disk.file_mut(node) {
                    file.forget_pending();
                }
            }
            (Operation::SyncDir, Some(node)) => {
                if let Ok(dir) = self.disk.dir_mut(node) {
                    dir.pending.clear();
                }
            }
            _ => {}
        }
    }

    pub(super) fn open(&mut self, node: NodeId) -> u64 {
        let id = self.next_handle;
        self.next_handle += 1;
        self.handles.insert(id, Handle { node, lock: None });
        id
    }

    pub(super) fn close(&mut self, id: u64) {
        let closed = self.handles.remove(&id);
        if closed.is_some_and(|handle| !self.disk.is_named(handle.node)) {
            self.collect();
        }
    }

    /// Drops files that nothing can reach any more.
    pub(super) fn collect(&mut self) {
        self.disk.collect(&self.opened());
    }

    fn opened(&self) -> Vec<NodeId> {
        self.handles.values().map(|handle| handle.node).collect()
    }

    pub(super) fn check_handles_left(&self) -> io::Result<()> {
        match self.faults.handles_max {
            Some(most) if self.handles.len() >= most => Err(SimError::TooManyFiles.into()),
            _ => Ok(()),
        }
    }

    /// For a call that names a second path.
    pub(super) fn check_permitted(&self, path: &Path) -> io::Result<()> {
        let is_denied = self.faults.denied.iter().any(|denied| path.starts_with(denied));
        if is_denied { Err(SimError::Access.into()) } else { Ok(()) }
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.disk.used_bytes(&self.opened(), self.block_bytes())
    }

    pub(super) fn free_bytes(&self) -> u64 {
        let Some(space) = self.faults.space_bytes else { return u64::MAX };
        let free = space.saturating_sub(self.used_bytes());
        free - free % self.block_bytes()
    }

    fn block_bytes(&self) -> u64 {
        self.faults.block_bytes.unwrap_or(SECTOR_BYTES as u64)
    }

    /// How many of `len` bytes at `offset` there is room for.
    fn room_for(&self, node: NodeId, offset: u64, len: usize) -> io::Result<usize> {
        if self.faults.space_bytes.is_none() {
            return Ok(len);
        }
        let file = self.disk.file(node)?;
        // What is left of its blocks is the file's already.
        let own = file.cache.used_bytes();
        let left = self.free_bytes() + own.next_multiple_of(self.block_bytes()) - own;
        let mut left = left / SECTOR_BYTES as u64;
        for span in spans(offset, len) {
            if *file.cache.sector(span.sector) == Sector::Hole {
                if left == 0 {
                    return Ok(span.part.start);
                }
                left -= 1;
            }
        }
        Ok(len)
    }

    pub(super) fn write(&mut self, node: NodeId, data: &[u8], offset: u64) -> io::Result<usize> {
        check_end(offset, data.len() as u64)?;
        let wanted = self.faults.shorten(Operation::Write, data.len(), &self.rng);
        let count = self.room_for(node, offset, wanted)?;
        if count == 0 && wanted > 0 {
            return Err(SimError::NoSpace.into());
        }
        let data = data.get(..count).unwrap_or(data);
        self.disk.file_mut(node)?.write(data, offset);
        Ok(count)
    }

    pub(super) fn allocate(&mut self, node: NodeId, offset: u64, len: u64) -> io::Result<()> {
        let end = check_end(offset, len)?;
        let wanted = usize::try_from(len).map_err(|_| Errno::FBIG)?;
        if self.room_for(node, offset, wanted)? < wanted {
            return Err(SimError::NoSpace.into());
        }
        if len > 0 {
            self.disk.file_mut(node)?.allocate(offset, end);
        }
        Ok(())
    }

    /// As `flock`: asking again for another kind gives up the lock held, even if the answer is no.
    pub(super) fn try_lock(&mut self, id: u64, kind: LockKind) -> io::Result<bool> {
        let asking = self.handles.get_mut(&id).ok_or(Errno::BADF)?;
        if asking.lock == Some(kind) {
            return Ok(true);
        }
        asking.lock = None;
        let node = asking.node;
        let others = self.handles.values().filter(|other| other.node == node);
        let free = match kind {
            LockKind::Shared => others.clone().all(|other| other.lock != Some(LockKind::Exclusive)),
            LockKind::Exclusive => others.clone().all(|other| other.lock.is_none()),
        };
        if free && let Some(asking) = self.handles.get_mut(&id) {
            asking.lock = Some(kind);
        }
        Ok(free)
    }
}

/// The end of `offset..offset + len`, if a file may be that long.
pub(super) fn check_end(offset: u64, len: u64) -> io::Result<u64> {
    let end = offset.checked_add(len).filter(|end| *end <= FILE_BYTES_MAX);
    Ok(end.ok_or(Errno::FBIG)?)
}
