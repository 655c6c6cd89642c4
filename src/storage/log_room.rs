//! Room on the device: what a log leaves to the tables that it is written to, and what it asks for
//! when there is none.
//!
//! What is free is asked of the file system; what is to be left is in `log_writer` and
//! `merge_choice`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::compaction_plan::Shortage;
use super::error::StorageError;
use super::log::{Log, ROLL_BYTES_MIN};
use super::log_writer::{Debt, Purpose};
use super::merge_choice::{KeptRoom, table_bytes_in};

impl Log {
    /// Has new data leave room for what is still to be written to tables: so many bytes as this
    /// says at each moment.
    pub(crate) fn begin_debt(&self, unwritten: Arc<AtomicU64>) {
        self.writer.lock().debt = Some(Debt { unwritten, kept: KeptRoom::default() });
    }

    /// Refuses what would have tables take so many bytes of which the log has next to nothing, if
    /// there is no room for them.
    ///
    /// # Errors
    /// `DiskFull`.
    pub(crate) fn check_room_for_tombstones(&self, bytes: u64) -> Result<(), StorageError> {
        let writer = self.writer.lock();
        let (has_room, is_pressed) = (
            writer.has_room_for_tombstones(&self.context, bytes),
            writer.is_pressed(&self.context, bytes),
        );
        drop(writer);
        if is_pressed {
            self.relief.want();
        }
        if has_room {
            return Ok(());
        }
        let full = StorageError::DiskFull { path: self.context.tables.clone() };
        self.note_if_full(&full, Purpose::Relieve);
        Err(full)
    }

    /// How many bytes may be written without taking the room of what tables still have to get;
    /// the greatest number where the file system does not say.
    pub(crate) fn room_beside_debt(&self) -> u64 {
        let Some(unwritten) = self.writer.lock().unwritten() else { return u64::MAX };
        let free = self.context.env.fs.free_bytes(&self.context.root).unwrap_or(u64::MAX);
        free.saturating_sub(unwritten)
    }

    /// How long tables are to be of what is still to be written: see [`table_bytes_in`].
    pub(crate) fn table_bytes_of_debt(&self, table_bytes_max: u64) -> u64 {
        let writer = self.writer.lock();
        let Some(unwritten) = writer.unwritten() else { return table_bytes_max };
        table_bytes_in(writer.free_beside_kept(&self.context), unwritten, table_bytes_max)
    }

    /// Says how much room is to be kept beside that.
    pub(crate) fn keep_room(&self, kept: KeptRoom) {
        if let Some(debt) = &mut self.writer.lock().debt {
            debt.kept = kept;
        }
    }

    /// Whether new data was refused for want of room and none has found any since, or deletes soon
    /// will be. What little a compaction has just made is no reason to make no more.
    pub(crate) fn lacks_room(&self) -> bool {
        let found_full = self.writer.lock().found_full();
        found_full || self.is_pressed()
    }

    /// Whether half of what is kept for deletes is used up.
    fn is_pressed(&self) -> bool {
        self.writer.lock().is_pressed(&self.context, 0)
    }

    /// Who it is that finds no room.
    pub(crate) fn shortage(&self) -> Shortage {
        if self.relief.is_needed.load(Ordering::Relaxed) {
            Shortage::Refused
        } else if self.is_pressed() {
            Shortage::Deletes
        } else {
            Shortage::Data
        }
    }

    /// Whether something found no room, or hardly any, since [`Self::end_relief`] was called, and
    /// there is log that can be given up once tables have it, or there are tombstones to be merged
    /// with what they hide. Of what was deleted before, tables may have all: so whatever there is,
    /// where a delete was refused.
    pub(crate) fn wants_relief(&self) -> bool {
        if self.relief.is_needed.load(Ordering::Relaxed) {
            return true;
        }
        if !self.was_full() {
            return false;
        }
        let writer = self.writer.lock();
        writer.log_bytes().max(writer.unwritten().unwrap_or(0)) > ROLL_BYTES_MIN
    }

    /// Whether something found no room, or hardly any, since [`Self::end_relief`] was called.
    pub(crate) fn was_full(&self) -> bool {
        self.relief.is_wanted.load(Ordering::Relaxed)
    }

    /// Says that all was done that makes room.
    pub(crate) fn end_relief(&self) {
        self.relief.is_wanted.store(false, Ordering::Relaxed);
        self.relief.is_needed.store(false, Ordering::Relaxed);
    }

    /// Notes why something failed, if it was for want of room.
    pub(super) fn note_if_full(&self, error: &StorageError, purpose: Purpose) {
        if error.is_disk_full() {
            match purpose {
                Purpose::Relieve => self.relief.is_needed.store(true, Ordering::Relaxed),
                Purpose::Grow | Purpose::Mark => self.relief.want(),
            }
        }
    }
}
