//! [`Watcher`]: follows the changes under a prefix.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use super::event::{Changes, WatchEvent};
use super::options::{Begin, WatchOptions};
use super::registry::{Registry, Seat};
use super::shown::Shown;
use super::source::{Chunk, Source};
use super::state_rows::StateRows;
use crate::engine::answering::Answering;
use crate::env::clock::Clock;
use crate::error::{Error, Result};
use crate::types::{LogIndex, Version};

/// How much of the past is read at once: what a watcher may hold in memory that was not asked for
/// all of it yet.
const CHUNK_BYTES: usize = 1 << 20;

/// Follows the changes under a prefix: each one that was committed, in order, none twice, none
/// missing. Made by an engine's `watch` and `watch_with`; dropping it ends the watching.
///
/// It is a position in the log and reads from there when it is asked, so one that is slow, or never
/// asked, takes no memory that grows and holds nobody up. In return what it has not read can go:
/// see [`Error::Compacted`].
///
/// ```
/// # use hightower_kv::{KvEngine, SingleNodeEngine, WatchEngine, WatchEvent};
/// # let directory = tempfile::tempdir().unwrap();
/// # let engine = SingleNodeEngine::open(directory.path().join("data"))?;
/// let mut watcher = engine.watch(b"config/")?;
/// engine.put(b"config/color".to_vec(), b"red".to_vec())?;
/// let WatchEvent::Changed(entry) = watcher.next()? else { unreachable!() };
/// assert_eq!(entry.changes[0].key, "config/color");
/// assert_eq!(entry.changes[0].value.as_deref(), Some(&b"red"[..]));
/// # Ok::<(), hightower_kv::Error>(())
/// ```
///
/// # Errors
/// All that give an event say the same ones. After an error the watcher stands where it was, and
/// the next call tries again.
///
/// * `Compacted`: what is to be told next is gone. A watcher that begins with the state goes on.
/// * `Closed`, `Poisoned`, and on a cluster `Diverged`: there will be nothing more. Told once
///   everything was that can be read.
/// * `Corrupt`, `Io`: it cannot be read.
pub struct Watcher {
    source: Weak<dyn Source>,
    clock: Arc<dyn Clock>,
    seat: Seat,
    shown: Shown,
    stage: Stage,
    /// What stands before this was told, or is in `ready`.
    at: LogIndex,
    /// Up to here it has to read. What stands behind concerns it only once `seat` is marked, and
    /// then from the mark on: it was armed when this was the next entry to be applied.
    end: LogIndex,
    /// What was read and not told yet.
    ready: VecDeque<Changes>,
}

/// How far a watcher is.
enum Stage {
    /// It begins with a state, which was not asked for yet.
    Before,
    /// It tells the rows of a state.
    Rows(Box<StateRows>),
    /// It tells changes.
    Following,
}

/// What one step of work came to.
enum Step {
    Event(WatchEvent),
    /// Nothing was found yet, and there is more to read.
    More,
    /// Everything was told.
    Nothing,
}

impl Watcher {
    /// Takes a watcher in. `options` are valid, and the state is as fresh as they ask for.
    pub(crate) fn new(
        source: Weak<dyn Source>,
        held: &dyn Source,
        registry: &Arc<Registry>,
        clock: Arc<dyn Clock>,
        options: &WatchOptions,
    ) -> Result<Self> {
        held.check()?;
        let shown = options.shown();
        let mut seat = None;
        held.hold(&mut |next| seat = Some((registry.enter(shown.prefix()), next)));
        let Some((seat, end)) = seat else { return Err(Error::Closed("closed")) };
        let (at, stage) = match options.begin {
            Begin::Now => (end, Stage::Following),
            Begin::At(version) => (LogIndex::from(version), Stage::Following),
            Begin::State(_) => (end, Stage::Before),
        };
        let ready = VecDeque::new();
        Ok(Self { source, clock, seat, shown, stage, at, end, ready })
    }

    /// The next event; blocks until there is one.
    ///
    /// # Errors
    /// See [`Watcher`]. `Validation` in a callback of a submission: it would wait for what the
    /// thread that it blocks has to do.
    #[expect(clippy::should_implement_trait, reason = "an Iterator would have to end at an error")]
    pub fn next(&mut self) -> Result<WatchEvent> {
        loop {
            match self.step()? {
                Step::Event(event) => return Ok(event),
                Step::More => {}
                Step::Nothing => {
                    Answering::refuse()?;
                    self.seat.wait(None);
                }
            }
        }
    }

    /// The next event if there is one; never waits for a write. Reads as much of the past as it
    /// must to find one.
    ///
    /// # Errors
    /// See [`Watcher`].
    pub fn try_next(&mut self) -> Result<Option<WatchEvent>> {
        loop {
            match self.step()? {
                Step::Event(event) => return Ok(Some(event)),
                Step::More => {}
                Step::Nothing => return Ok(None),
            }
        }
    }

    /// The next event; `None` when there was none in time.
    ///
    /// # Errors
    /// Those of [`Self::next`].
    pub fn next_timeout(&mut self, time: Duration) -> Result<Option<WatchEvent>> {
        let end = self.clock.elapsed().saturating_add(time);
        loop {
            let step = self.step()?;
            let left = end.saturating_sub(self.clock.elapsed());
            match step {
                Step::Event(event) => return Ok(Some(event)),
                Step::More if !left.is_zero() => {}
                Step::More => return Ok(None),
                Step::Nothing => {
                    Answering::refuse()?;
                    if !self.seat.wait(Some(left)) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The next event, as a future for any executor. Dropping it loses nothing.
    ///
    /// A poll of a watcher that is behind reads up to a mebibyte of the past, from files that are
    /// mostly in memory, and then lets others run.
    pub const fn next_async(&mut self) -> NextEvent<'_> {
        NextEvent { watcher: self }
    }

    /// The next event, or `Pending` after the task was seen to be woken.
    ///
    /// # Errors
    /// See [`Watcher`].
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchEvent>> {
        loop {
            match self.step() {
                Ok(Step::Event(event)) => return Poll::Ready(Ok(event)),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(Step::More) => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(Step::Nothing) if self.seat.register(context.waker()) => return Poll::Pending,
                // Something came in between.
                Ok(Step::Nothing) => {}
            }
        }
    }

    /// Where to go on, after a restart or on another node of the cluster: a watcher that begins
    /// with this version tells what this one has not told yet, and nothing else.
    ///
    /// `None` while the rows of a state are being told: whoever stops by then has to begin anew.
    /// Once everything is told it moves on with what is applied, whether or not that concerns the
    /// watcher, so that what is purged meanwhile is not asked for.
    ///
    /// After a power cut of a store with `fsync_interval > 0` it may be the position of something
    /// that is not there any more, as with everything that was read there: begin with the state.
    #[must_use]
    pub fn position(&self) -> Option<Version> {
        if !matches!(self.stage, Stage::Following) {
            return None;
        }
        if let Some(changes) = self.ready.front() {
            return Some(changes.version);
        }
        let mut at = self.at;
        if at < self.end {
            return Some(Version::from(at));
        }
        // Without a mark nothing up to the next entry to be applied is for this watcher.
        match self.source.upgrade() {
            Some(source) => {
                source.hold(&mut |next| at = self.at.max(self.seat.marked().unwrap_or(next)));
            }
            None => at = self.at.max(self.seat.end().unwrap_or(at)),
        }
        Some(Version::from(at))
    }

    /// Does a bounded piece of work.
    fn step(&mut self) -> Result<Step> {
        if let Some(changes) = self.ready.pop_front() {
            return Ok(Step::Event(WatchEvent::Changed(changes)));
        }
        let source = self.source.upgrade().ok_or(Error::Closed("closed"))?;
        if !matches!(self.stage, Stage::Following) {
            return self.step_state(&*source).map(Step::Event);
        }
        if self.at >= self.end {
            self.rearm(&*source);
        }
        if self.at < self.end {
            self.read(&*source)?;
            let first = self.ready.pop_front().map(WatchEvent::Changed);
            return Ok(first.map_or(Step::More, Step::Event));
        }
        // Everything was told. Looked at in this order: whoever ends the store makes `check` fail
        // first, then stops the seats, so nobody waits who was not told.
        let stopped = self.seat.is_stopped();
        source.check()?;
        if stopped { Err(Error::Closed("closed")) } else { Ok(Step::Nothing) }
    }

    /// The next row of the state, or that there is none any more.
    fn step_state(&mut self, source: &dyn Source) -> Result<WatchEvent> {
        if matches!(self.stage, Stage::Before) {
            self.stage = Stage::Rows(Box::new(StateRows::new(source.view()?)));
        }
        let Stage::Rows(rows) = &mut self.stage else {
            unreachable!("it tells the rows of a state");
        };
        if let Some(row) = rows.next(&self.shown)? {
            return Ok(row);
        }
        let version = rows.view().version().unwrap_or_default();
        // Armed before the view was taken: what follows the view has marked the seat, or what came
        // before it has, and then the reading begins behind the view all the same.
        self.at = rows.view().last_applied().map_or(LogIndex(0), LogIndex::next).max(self.at);
        self.end = self.at;
        self.stage = Stage::Following;
        Ok(WatchEvent::Current { version })
    }

    /// Looks whether anything concerns the watcher since it was armed, and if so arms it again at
    /// what is applied by now and says what to read up to there. Everything before was read.
    fn rearm(&mut self, source: &dyn Source) {
        if self.seat.marked().is_none() {
            return;
        }
        source.hold(&mut |next| {
            // What stands before the mark does not concern the watcher.
            let mark = self.seat.arm();
            self.at = mark.map_or(next, |mark| self.at.max(mark));
            self.end = next.max(self.at);
        });
    }

    /// Reads the next chunk of what it has to read.
    fn read(&mut self, source: &dyn Source) -> Result<()> {
        let Chunk { entries, next } = source.changes(self.at..self.end, CHUNK_BYTES)?;
        self.ready = entries.iter().filter_map(|entry| Changes::of(entry, &self.shown)).collect();
        debug_assert!(next > self.at, "a chunk has one entry at least");
        self.at = next;
        Ok(())
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Watcher");
        debug.field("shown", &self.shown).field("at", &self.at).finish_non_exhaustive()
    }
}

/// The next event of a watcher, as a future. Dropping it loses nothing.
#[must_use = "it does nothing unless it is polled"]
#[derive(Debug)]
pub struct NextEvent<'a> {
    watcher: &'a mut Watcher,
}

impl Future for NextEvent<'_> {
    type Output = Result<WatchEvent>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().watcher.poll_next(context)
    }
}

impl Drop for NextEvent<'_> {
    /// Nobody is to be woken for it any more, and nothing keeps the task.
    fn drop(&mut self) {
        self.watcher.seat.forget_waker();
    }
}
