//! A node in memory, and the strings to pull.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::command::{Command, is_reserved};
use crate::engine::watch::event::WatchEvent;
use crate::engine::watch::options::WatchOptions;
use crate::engine::watch::registry::Registry;
use crate::engine::watch::source::{Chunk, Source};
use crate::engine::watch::watcher::Watcher;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::state::{KvState, StateView};
use crate::storage::history::{EntryChanges, KeyChange};
use crate::types::{LogIndex, Timestamp, Version};

/// What was applied.
#[derive(Debug, Default)]
struct Applied {
    kv: KvState,
    entries: Vec<EntryChanges>,
    /// The first entry whose changes can be read.
    oldest: u64,
    /// Why there will be nothing new.
    ended: Option<Error>,
}

/// What the node does while a watcher works, and at which point of the watcher's work.
pub(super) type Happens = (usize, fn(&Fake));

/// A node in memory.
#[derive(Debug)]
pub(super) struct Fake {
    applied: RwLock<Applied>,
    pub(super) registry: Arc<Registry>,
    /// Most entries of a chunk.
    chunk: usize,
    /// How often the source was come to or left.
    points: AtomicUsize,
    scheduled: Mutex<VecDeque<Happens>>,
    /// The ranges that were read.
    pub(super) read: Mutex<Vec<Range<u64>>>,
}

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        Self::with_chunk(3)
    }

    pub(super) fn with_chunk(chunk: usize) -> Arc<Self> {
        Arc::new(Self {
            applied: RwLock::default(),
            registry: Arc::default(),
            chunk,
            points: AtomicUsize::new(0),
            scheduled: Mutex::default(),
            read: Mutex::default(),
        })
    }

    #[expect(clippy::needless_pass_by_value, reason = "as engines take them")]
    pub(super) fn watch(self: &Arc<Self>, options: WatchOptions) -> Watcher {
        let source: Arc<dyn Source> = Arc::clone(self) as _;
        let clock = Env::simulated(1).env.clock;
        Watcher::new(Arc::downgrade(&source), &**self, &self.registry, clock, &options).unwrap()
    }

    pub(super) fn watch_prefix(self: &Arc<Self>, prefix: &str) -> Watcher {
        self.watch(WatchOptions::new(prefix))
    }

    /// Applies an entry that sets and removes keys, and wakes who waits.
    pub(super) fn write(&self, rows: &[(&str, Option<&str>)]) -> u64 {
        let index = self.apply(rows);
        self.registry.wake();
        index
    }

    /// Applies an entry that sets a key.
    pub(super) fn set(&self, key: &str, value: &str) -> u64 {
        self.write(&[(key, Some(value))])
    }

    /// The first half of [`Self::write`].
    pub(super) fn apply(&self, rows: &[(&str, Option<&str>)]) -> u64 {
        let mut applied = self.applied.write();
        let index = LogIndex(applied.entries.len() as u64);
        let mut changes: Vec<KeyChange> = Vec::new();
        for &(key, value) in rows {
            let before = applied.kv.as_view().get(key.as_bytes()).unwrap();
            let before = before.map(|value| u32::try_from(value.len()).unwrap());
            let key = Bytes::copy_from_slice(key.as_bytes());
            changes.push(KeyChange {
                key,
                value: value.map(|it| Bytes::from(it.to_owned())),
                before,
            });
        }
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        let commands = changes.iter().filter(|change| !is_reserved(&change.key)).map(|change| {
            match &change.value {
                Some(value) => Command::set(change.key.clone(), value.clone()),
                None => Command::delete(change.key.clone()),
            }
        });
        applied.kv.apply(index, Timestamp(index.0), Command::batch(commands)).unwrap();
        let keys: Vec<&[u8]> = changes.iter().map(|change| &*change.key).collect();
        if !self.registry.is_empty() {
            self.registry.changed(index, &keys);
        }
        let timestamp = Timestamp(index.0);
        applied.entries.push(EntryChanges { index, timestamp, changes });
        index.0
    }

    /// How many entries were applied.
    pub(super) fn len(&self) -> usize {
        self.applied.read().entries.len()
    }

    /// The changes before `oldest` are gone.
    pub(super) fn purge(&self, oldest: u64) {
        self.applied.write().oldest = oldest;
    }

    /// Puts a state in place of this one that has `more` entries more, of which nobody knows what
    /// they changed.
    pub(super) fn install(&self, more: u64) {
        let mut applied = self.applied.write();
        let first = LogIndex(applied.entries.len() as u64);
        for index in first.0..first.0 + more {
            let index = LogIndex(index);
            applied.kv.apply_blank(index, Timestamp(0)).unwrap();
            let timestamp = Timestamp(index.0);
            applied.entries.push(EntryChanges { index, timestamp, changes: Vec::new() });
        }
        applied.oldest = first.0 + more;
        self.registry.changed_unknown(first);
        drop(applied);
        self.registry.wake();
    }

    /// Ends the node.
    pub(super) fn end(&self, error: Error) {
        self.applied.write().ended = Some(error);
        self.registry.stop();
    }

    /// Has things done when the source has been come to or left so many times from now on.
    pub(super) fn schedule(&self, steps: impl IntoIterator<Item = Happens>) {
        self.points.store(0, Ordering::Relaxed);
        *self.scheduled.lock() = steps.into_iter().collect();
    }

    /// Does the next thing of the schedule now; `false` when there is none.
    pub(super) fn do_next(&self) -> bool {
        let next = self.scheduled.lock().pop_front();
        next.map(|(_, step)| step(self)).is_some()
    }

    fn point(&self) {
        let point = self.points.fetch_add(1, Ordering::Relaxed);
        let is_due =
            |scheduled: &VecDeque<Happens>| scheduled.front().is_some_and(|&(at, _)| at <= point);
        while is_due(&self.scheduled.lock()) {
            self.do_next();
        }
    }

    fn checked(&self) -> Result<()> {
        self.applied.read().ended.clone().map_or(Ok(()), Err)
    }
}

impl Source for Fake {
    fn check(&self) -> Result<()> {
        self.point();
        let checked = self.checked();
        self.point();
        checked
    }

    fn hold(&self, during: &mut dyn FnMut(LogIndex)) {
        self.point();
        let applied = self.applied.read();
        during(LogIndex(applied.entries.len() as u64));
        drop(applied);
        self.point();
    }

    fn view(&self) -> Result<StateView> {
        self.point();
        self.checked()?;
        let view = self.applied.read().kv.view();
        self.point();
        Ok(view)
    }

    fn changes(&self, range: Range<LogIndex>, _bytes_max: usize) -> Result<Chunk> {
        self.point();
        let applied = self.applied.read();
        if range.start.0 < applied.oldest {
            return Err(Error::Compacted { oldest: Version(applied.oldest) });
        }
        assert!(range.start < range.end && range.end.0 <= applied.entries.len() as u64);
        let end = range.end.0.min(range.start.0 + self.chunk as u64);
        self.read.lock().push(range.start.0..end);
        let bounds = usize::try_from(range.start.0).unwrap()..usize::try_from(end).unwrap();
        let entries = applied.entries[bounds].to_vec();
        drop(applied);
        self.point();
        Ok(Chunk { entries, next: LogIndex(end) })
    }
}

/// Counts how often a task was woken.
#[derive(Debug, Default)]
pub(super) struct Woken(AtomicUsize);

impl Woken {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Versions and keys of what a watcher has to tell now.
pub(super) fn drain(watcher: &mut Watcher) -> Vec<(u64, String)> {
    let mut told = Vec::new();
    while let Some(event) = watcher.try_next().unwrap() {
        told.push(summary(event));
    }
    told
}

/// The version of an event and, in short, what it says: `+a` was set, `-a` removed.
pub(super) fn summary(event: WatchEvent) -> (u64, String) {
    let text = |key: &Bytes| String::from_utf8(key.to_vec()).unwrap();
    match event {
        WatchEvent::Row { key, version, .. } => (version.0, format!("row {}", text(&key))),
        WatchEvent::Current { version } => (version.0, "current".to_owned()),
        WatchEvent::Changed(entry) => {
            let sign = |set: bool| if set { '+' } else { '-' };
            let changes = entry.changes.iter();
            let changes =
                changes.map(|it| format!("{}{}", sign(it.value.is_some()), text(&it.key)));
            (entry.version.0, changes.collect::<Vec<_>>().join(" "))
        }
    }
}
