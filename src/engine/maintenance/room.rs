//! Holds long writes up until there is room for them, and those that have removed much until it is
//! gone: see [`admission`](crate::engine::admission).

use std::sync::atomic::Ordering;

use super::{Maintenance, micros};
use crate::command::Command;
use crate::command::limits::encoded_bytes;
use crate::engine::admission::{
    Admitted, Asked, Change, Holdings, UnderWay, fits, is_long, is_much_left,
};
use crate::engine::answering::Answering;
use crate::engine::back_off::BackOff;
use crate::engine::compaction::{Effort, KeepLog, is_merge_under_way};
use crate::engine::machine::Machine;
use crate::state::Resident;
use crate::storage::compaction_plan::{RUNS_MAX, WRITTEN_FOR_FREED_MAX, stale_bytes_max};
use crate::storage::frame::entry_frame_len;

/// What a row counts as at least: in a table a shorter one takes more than twice its bytes.
const ROW_BYTES_MIN: u64 = 20;

impl Maintenance {
    /// Called before each write: where rows or entries are long, waits until the directory stays
    /// within its bound with this one; compacts everything on this thread where nothing else makes
    /// room. What is given back counts until the write is done. One that does not fit even then
    /// comes all the same, as it does where a compaction fails: it would only have been kinder to
    /// wait.
    pub(crate) fn admit(&self, command: &Command) -> Option<Admitted<'_>> {
        let machine = &self.committer.machine;
        let entry = encoded_bytes(command);
        let longest_row = machine.load.longest_row.load(Ordering::Relaxed);
        let may_remove = longest_row.saturating_mul(command.parts().len() as u64);
        if !is_long(may_remove.max(entry as u64), self.segment_bytes) {
            return None;
        }
        let longest = longest_row.max(entry as u64);
        // Nobody may wait in a callback; and of a log that is kept nothing makes less.
        let is_kept = self.schedule.keep_log == KeepLog::Keep;
        if is_kept || Answering::is_here() || self.is_room_making_vain() {
            return None;
        }
        // What is refused anyway needs no room.
        self.committer.check(command).ok()?;
        let frame = entry_frame_len(entry) as u64;
        let segment = self.segment_bytes.max(longest);
        let look = |others: Option<UnderWay>| {
            let Change { added, removed } = change_of(machine, command);
            // For more than that nothing makes room before, and it is waited for afterwards.
            let change = Change { added, removed: removed.min(segment) };
            let holdings = holdings(machine, longest, frame, others.map_or(0, |it| it.frame));
            let removable = others.map(|UnderWay { change, .. }| Change {
                removed: change.removed.saturating_add(change.added),
                ..change
            });
            (UnderWay { frame, change }, fits(&holdings, change, removable, segment))
        };
        match self.admissions.ask(self.schedule.wait_max, look) {
            Asked::Admitted(admitted) => Some(admitted),
            Asked::NoRoom(making_room) => {
                self.make_room(|| look(None).1);
                Some(making_room.admit(look(None).0))
            }
            Asked::OverTime => None,
        }
    }

    /// Called before each write: what is live, where it may remove several rows.
    #[inline]
    pub(crate) fn before_removal(&self, command: &Command) -> Option<u64> {
        command.may_remove_several().then(|| self.live_bytes())
    }

    /// Called after a write that may have removed several rows, with what was live before: that may
    /// be more than any room that could be made for it, and of those that it does not name nobody
    /// knew. It is on disk until it was merged away. So where it was more than a short write
    /// removes, waits for the compaction that it has made due, until what is left of it is no more
    /// than others may go on beside.
    #[cold]
    pub(crate) fn after_removal(&self, live_before: u64) {
        let removed = live_before.saturating_sub(self.live_bytes());
        // Nobody may wait in a callback; and of a log that is kept nothing makes less.
        if !is_long(removed, self.segment_bytes)
            || self.schedule.keep_log == KeepLog::Keep
            || Answering::is_here()
        {
            return;
        }
        let Machine { store, load, throttle, .. } = &self.committer.machine;
        let tables = store.tables();
        throttle.wait(self.schedule.wait_max, || {
            let holdings = Holdings {
                live: self.live_bytes(),
                log: store.log().file_bytes_with(0, 0),
                tables: tables.file_bytes(&tables.set()),
                unwritten: load.unwritten(),
                merge: tables.bytes_beside_merge(),
                ..Holdings::default()
            };
            let tolerated = stale_bytes_max(holdings.live, self.marks.stale_max);
            is_much_left(&holdings, tolerated, self.segment_bytes)
        });
    }

    /// Waits for the compaction that runs, and compacts everything unless that `was_enough`.
    fn make_room(&self, was_enough: impl Fn() -> bool) {
        let Some(mut compaction) = self.compaction.try_lock_for(self.schedule.wait_max) else {
            return;
        };
        if !was_enough() {
            // What failed was logged and counted.
            match self.compact(&mut compaction, Effort::All) {
                Ok(_) => compaction.room = BackOff::NONE,
                Err(_) => compaction.room.failed(self.committer.machine.env.clock.elapsed()),
            }
            self.room_from.store(micros(compaction.room.until()), Ordering::Relaxed);
            let in_vain = if was_enough() { 0 } else { self.bytes_worth_trying() };
            self.room_above.store(in_vain, Ordering::Relaxed);
        }
    }

    /// From how many bytes on a compaction of everything is tried again that has not sufficed: it
    /// must not write more than [`WRITTEN_FOR_FREED_MAX`] bytes for each that it may free.
    fn bytes_worth_trying(&self) -> u64 {
        let live = self.live_bytes();
        let more = self.segment_bytes.max(live / WRITTEN_FOR_FREED_MAX);
        self.bytes_held().saturating_add(more)
    }

    /// Whether the last compaction of everything has failed a moment ago, or has not sufficed and
    /// would not now.
    fn is_room_making_vain(&self) -> bool {
        let above = self.room_above.load(Ordering::Relaxed);
        self.is_before(&self.room_from) || (above > 0 && self.bytes_held() < above)
    }

    fn live_bytes(&self) -> u64 {
        self.committer.machine.replica.read().kv.as_view().live_bytes()
    }

    /// What files have, and what is to be written.
    fn bytes_held(&self) -> u64 {
        let Machine { store, load, .. } = &self.committer.machine;
        let files = store.log().stats().bytes.saturating_add(store.tables().set().bytes());
        files.saturating_add(load.unwritten())
    }
}

/// What a command changes of keys that it names. What it removes without naming, by a prefix or
/// because it is due, is not looked for.
fn change_of(machine: &Machine, command: &Command) -> Change {
    let changes = command.parts().iter().map(|part| match part {
        Command::Set { key, value } | Command::SetExpiring { key, value, .. } => {
            Change { added: (key.len() + value.len()) as u64, removed: row_bytes(machine, key) }
        }
        Command::Delete { key } => Change { added: 0, removed: row_bytes(machine, key) },
        _ => Change::default(),
    });
    changes.fold(Change::default(), Change::and)
}

/// Bytes of a key and its value; 0 where there is none, and where it cannot be read: then the
/// command is refused anyway.
fn row_bytes(machine: &Machine, key: &[u8]) -> u64 {
    let value_bytes = match machine.get_resident(key) {
        Resident::Known(value) => value.map(|value| value.len()),
        Resident::InTables(tables) => {
            let record = tables.get(key).ok().flatten();
            record.and_then(|record| record.value).map(|value| value.len())
        }
    };
    value_bytes.map_or(0, |bytes| (key.len() + bytes) as u64)
}

/// What is there, with a frame of this length in the log and others that are under way. Read in
/// this order: what a compaction moves meanwhile from the tail to tables is counted twice then, or
/// still in the log.
fn holdings(machine: &Machine, longest: u64, frame: u64, others: u64) -> Holdings {
    let unwritten = machine.load.unwritten();
    let log = machine.store.log().file_bytes_with(frame, others);
    let tables = machine.store.tables();
    let (set, head) = tables.set_and_head();
    // What is merged already may have been removed since, and some runs of many have rows that
    // others hide. Nor does a merge know what is removed while the tail is being written. Where all
    // is in one run without tombstones, which nothing merges, the next merge knows of this write.
    let live_then = head.map_or(0, |head| head.live_bytes);
    let merged = match set.runs() {
        [] if unwritten == 0 => 0,
        [only] if unwritten == 0 && only.tombstones() == 0 => 0,
        runs if runs.len() > RUNS_MAX || is_merge_under_way(&set) => set.data_bytes(),
        _ => live_then,
    };
    let live = {
        let replica = machine.replica.read();
        let view = replica.kv.as_view();
        view.live_bytes().max(view.keys_of_all().saturating_mul(ROW_BYTES_MIN))
    };
    Holdings {
        unwritten,
        log,
        tables: tables.file_bytes(&set),
        merge: tables.bytes_beside_merge().saturating_add(longest),
        merged: merged.saturating_add(unwritten),
        live,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::StoreConfig;
    use crate::engine::submission::Reply;
    use crate::engine::{KvEngine, SingleNodeEngine, SnapshotEngine};
    use crate::env::{Env, Simulated};

    const SEGMENT: usize = 64 << 10;
    /// What was live before.
    const BEFORE: u64 = 5 << 20;

    fn config() -> StoreConfig {
        StoreConfig {
            data_dir: "/data".into(),
            worker_threads: 0,
            compaction_interval: Duration::ZERO,
            disk_reserve: 0,
            max_segment_size: SEGMENT as u64,
            ..StoreConfig::default()
        }
    }

    fn put(key: &'static str, len: usize) -> Command {
        Command::set(key, vec![1; len])
    }

    #[test]
    fn only_long_writes_are_looked_at() {
        let engine = SingleNodeEngine::with_env(&config(), Env::simulated(1).env).unwrap();
        let admit = |command: &Command| engine.inner.admit(command).is_some();
        assert!(!admit(&put("k", 1_000)) && !admit(&Command::delete("k")));
        assert!(admit(&put("k", SEGMENT / 2)));
        // A batch of a hundred may remove a hundred of them.
        let deletes = Command::batch((0..100_u8).map(|n| Command::delete(vec![n])));
        assert!(!admit(&deletes));
        engine.submit(put("k", 1_000)).unwrap();
        assert!(admit(&deletes) && !admit(&Command::delete("k")));
        engine.submit(put("k", SEGMENT / 2)).unwrap();
        assert!(admit(&Command::delete("k")));
        // What is refused anyway is not let in.
        assert!(!admit(&put("", SEGMENT / 2)));
    }

    #[test]
    fn a_long_row_is_known_after_an_opening() {
        let Simulated { env, fs, .. } = Env::simulated(1);
        let engine = SingleNodeEngine::with_env(&config(), env).unwrap();
        engine.submit(put("k", SEGMENT / 2)).unwrap();
        let of_the_log = fs.kill();
        engine.run_compaction_now().unwrap();
        for fs in [of_the_log, fs.kill()] {
            let env = Env::simulated_on(fs, 2).env;
            let engine = SingleNodeEngine::with_env(&config(), env).unwrap();
            assert!(engine.inner.admit(&Command::delete("k")).is_some());
        }
    }

    #[test]
    fn of_a_log_that_is_kept_nothing_makes_room() {
        let config = StoreConfig { emit_snapshot_after_compaction: false, ..config() };
        let engine = SingleNodeEngine::with_env(&config, Env::simulated(1).env).unwrap();
        assert!(engine.inner.admit(&put("k", SEGMENT / 2)).is_none());
    }

    #[test]
    fn what_removes_more_than_room_can_be_made_for_does_not_keep_others_from_making_some() {
        let engine = SingleNodeEngine::with_env(&config(), Env::simulated(1).env).unwrap();
        let keys: Vec<String> = (0..8).map(|n| n.to_string()).collect();
        for key in &keys {
            engine.submit(Command::set(key.clone(), vec![1; SEGMENT / 2])).unwrap();
        }
        engine.run_compaction_now().unwrap();
        let removal = Command::batch(keys.into_iter().map(Command::delete));
        assert!(engine.inner.admit(&removal).is_some());
        assert!(!engine.inner.is_room_making_vain());
    }

    #[test]
    fn who_has_removed_much_waits_while_a_compaction_may_make_room() {
        let removed = |is_purged, wait_max| {
            let config = StoreConfig {
                emit_snapshot_after_compaction: is_purged,
                submit_timeout: wait_max,
                // None comes by itself.
                compaction_threshold: u64::MAX,
                max_segment_size: 1 << 20,
                ..config()
            };
            let engine = SingleNodeEngine::with_env(&config, Env::simulated(1).env).unwrap();
            for key in ["1", "2", "3", "4", "5"] {
                let command = Command::set(key, vec![1; 1 << 20]);
                engine.inner.committer.submit(command).unwrap();
            }
            engine.inner.committer.submit(Command::delete_prefix("")).unwrap();
            assert!(engine.inner.bytes_held() > 5 << 20);
            engine
        };
        let hour = Duration::from_hours(1);
        // With nobody who compacts there is nothing to wait for, nor where the log is kept, nor for
        // whoever has removed little.
        removed(true, hour).inner.after_removal(BEFORE);
        let kept = removed(false, hour);
        let _running = kept.inner.committer.machine.throttle.begin();
        kept.inner.after_removal(BEFORE);
        let engine = removed(true, hour);
        let _running = engine.inner.committer.machine.throttle.begin();
        engine.inner.after_removal(1 << 17);
        // Nobody waits longer than a write.
        let engine = removed(true, Duration::from_millis(1));
        let _running = engine.inner.committer.machine.throttle.begin();
        engine.inner.after_removal(BEFORE);
        // Nobody commits while a callback waits.
        let engine = removed(true, hour);
        let running = engine.inner.committer.machine.throttle.begin();
        let (told, was_told) = std::sync::mpsc::channel();
        let inner = std::sync::Arc::clone(&engine.inner);
        let callback = Box::new(move |_| {
            inner.after_removal(BEFORE);
            told.send(()).unwrap();
        });
        engine.inner.committer.submit_with(Command::delete("k"), Reply::Callback(callback));
        was_told.recv().unwrap();
        drop(running);
        // It is over with the compaction, or once that has made enough room.
        let engine = removed(true, hour);
        let machine = &engine.inner.committer.machine;
        let running = machine.throttle.begin();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| engine.inner.after_removal(BEFORE));
            engine.run_compaction_now().unwrap();
            waiting.join().unwrap();
        });
        drop(running);
    }

    #[test]
    fn what_did_not_suffice_is_tried_again_once_a_segment_has_gathered() {
        let engine = SingleNodeEngine::with_env(&config(), Env::simulated(1).env).unwrap();
        let (inner, tables) = (&engine.inner, || engine.snapshot_state().tables().number());
        engine.submit(put("k", 1_000)).unwrap();
        let before = tables();
        inner.make_room(|| true);
        assert!(tables() == before && !inner.is_room_making_vain());
        inner.make_room(|| false);
        assert!(tables() > before && inner.is_room_making_vain());
        assert!(inner.admit(&put("k", SEGMENT / 2)).is_none());
        for key in ["1", "2", "3"] {
            engine.submit(put(key, SEGMENT / 2)).unwrap();
        }
        assert!(!inner.is_room_making_vain());
    }

    #[test]
    fn after_a_compaction_that_failed_no_write_begins_another_for_a_while() {
        let Simulated { env, fs, clock } = Env::simulated(1);
        let engine = SingleNodeEngine::with_env(&config(), env).unwrap();
        engine.submit(put("k", 1_000)).unwrap();
        fs.set_space(Some(0));
        engine.inner.make_room(|| false);
        fs.set_space(None);
        engine.inner.room_above.store(0, Ordering::Relaxed);
        assert!(engine.inner.is_room_making_vain());
        clock.advance(Duration::from_mins(2));
        assert!(!engine.inner.is_room_making_vain());
    }
}
