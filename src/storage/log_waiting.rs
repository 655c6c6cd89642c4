//! Who waits for a sync of the log.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::error::StorageError;
use super::log_entry::Completion;
use crate::types::LogPosition;

/// Completions in the order of their appends.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    queue: Mutex<VecDeque<(LogPosition, Completion)>>,
}

impl Waiting {
    /// Queues a completion that is told when the log is synced up to `position`. Called under the
    /// writer's lock, so that the queue has the order of the appends.
    pub(crate) fn push(&self, position: LogPosition, completion: Completion) {
        self.queue.lock().push_back((position, completion));
    }

    /// Tells everybody whose append is synced. Only a sync that has returned calls this (rule R5),
    /// and syncs do not overlap, so the order is kept.
    pub(crate) fn tell_upto(&self, upto: LogPosition) {
        loop {
            let ready = {
                let mut queue = self.queue.lock();
                if queue.front().is_none_or(|(position, _)| *position > upto) {
                    return;
                }
                queue.pop_front()
            };
            if let Some((_, completion)) = ready {
                completion.tell(Ok(()));
            }
        }
    }

    /// Tells everybody that it will not be synced.
    pub(crate) fn fail_all(&self, error: &StorageError) {
        let queue = std::mem::take(&mut *self.queue.lock());
        for (_, completion) in queue {
            completion.tell(Err(error.clone()));
        }
    }
}
