//! The sessions of clients: which requests were applied, and what they were answered.
//!
//! The table is part of the replicated state, so everything here goes by the log: a session is as
//! old as the stamps of entries say, and of two the one whose last entry is earlier was used less
//! recently. The bounds are constants, because replicas with different ones would differ.
//!
//! **Time.** Log time never goes back and moves with the clock of whoever proposes. A clock that
//! jumps ahead by an hour makes an hour pass for every session, and those not used since expire
//! early; a clock that is behind lets none expire until it has caught up. Either way a request is
//! applied once or told that its session has expired: clocks decide how long a session lives and
//! never what is applied.
//!
//! **A session that is closed** is known as such for as long as one that is open and unused would
//! be. A copy of its opening or of a request that arrives late, which a network may keep for some
//! seconds, finds it closed and does nothing. With an id that expired that is so only if nobody
//! opens it again: an id is for one session, and whoever does not learn whether it was opened
//! within the hour draws another.
//!
//! **Bounds.** A session takes at most about 1.2 KB of memory and 802 bytes in a manifest, all of
//! them about 12 MB and 8 MB.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::check::{Part, PartHash, Sum};
use super::outcome::{Applied, Outcome};
use crate::command::SessionId;
use crate::command::definition::REQUESTS_KEPT;
use crate::storage::index::Index;
use crate::types::{LogIndex, Timestamp, Version};

/// Most sessions that are known, closed ones included. One more takes the place of the one that was
/// closed the longest ago, or if none is closed, of the one that was not used for the longest time.
pub const SESSIONS_MAX: usize = 10_000;

/// A session that is not used for so much log time, in microseconds, expires: one hour.
pub const SESSION_IDLE_MICROS: u64 = 3_600_000_000;

/// What a request of a session was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionAnswer {
    /// The number of the request; at least 1.
    pub request: u64,
    /// What happened: one of the outcomes of a change.
    pub outcome: Outcome,
    /// As in [`Applied`].
    pub version: Version,
    /// As in [`Applied`].
    pub timestamp: Timestamp,
}

impl SessionAnswer {
    /// The answer, to give again: nothing is removed this time.
    fn to_applied(self) -> Applied {
        let Self { outcome, version, timestamp, .. } = self;
        Applied { outcome, version, timestamp, stale_bytes: 0 }
    }

    fn hash(&self, id: SessionId) -> Sum {
        let Self { request, outcome, version, timestamp } = *self;
        let mut hash = PartHash::new(Part::Answer).bytes(&id.0).number(request);
        for number in outcome.to_numbers().unwrap_or_default() {
            hash = hash.number(number);
        }
        hash.number(version.0).number(timestamp.0).finish()
    }
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The last entry that used it, the one that opened or closed it included.
    pub used: LogIndex,
    /// The stamp of that entry.
    pub used_at: Timestamp,
    /// Whether it takes no more requests.
    pub is_closed: bool,
    /// The newest requests, in ascending order of their numbers, none further than
    /// [`REQUESTS_KEPT`] from the last; none of a closed session.
    pub answers: VecDeque<SessionAnswer>,
}

impl Session {
    /// Every request up to this number is too old.
    fn forgotten(&self) -> u64 {
        self.answers.back().map_or(0, |newest| newest.request.saturating_sub(REQUESTS_KEPT))
    }

    /// The hash of it without its answers.
    fn head_hash(&self, id: SessionId) -> Sum {
        let hash = PartHash::new(Part::Session).bytes(&id.0);
        let hash = hash.number(self.used.0).number(self.used_at.0);
        hash.number(u64::from(self.is_closed)).finish()
    }

    /// What it adds to the digest.
    fn sum(&self, id: SessionId) -> Sum {
        let mut sum = self.head_hash(id);
        self.answers.iter().for_each(|answer| sum.add(answer.hash(id)));
        sum
    }

    /// Its place in the order in which sessions make room: those that are closed first, then by
    /// last use. Most significant byte first, so that keys are ordered as the numbers.
    fn rank(&self) -> Bytes {
        let class = [u8::from(!self.is_closed)];
        let used = self.used.0.swap_bytes().to_le_bytes();
        Bytes::from([&class[..], &used].concat())
    }

    fn is_flawless(&self) -> bool {
        let mut before = self.forgotten();
        let ascending = self.answers.iter().all(|answer| {
            let is_next = answer.request > before;
            before = answer.request;
            is_next && answer.outcome.to_numbers().is_some()
        });
        ascending && (!self.is_closed || self.answers.is_empty())
    }
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) index: LogIndex,
    pub(crate) timestamp: Timestamp,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is to be applied and its answer to be [kept](Sessions::keep).
    New,
    /// It was applied before.
    Answered(Applied),
    /// It is not applied.
    Refused(Outcome),
}

/// All sessions; a clone is O(1) and shares all memory.
///
/// Invariants: each session is in both trees, `sum` is the sum of the hashes of all, and no two
/// were used last by the same entry.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    by_id: Index<Arc<Session>>,
    by_rank: Index<SessionId>,
    sum: Sum,
}

impl Sessions {
    /// A table of these sessions. `None` when they are not what a table has given: not in
    /// ascending order of their ids, too many, two with the same last use, or with answers that
    /// cannot be.
    #[must_use]
    pub fn from_parts(parts: Vec<(SessionId, Session)>) -> Option<Self> {
        let mut sessions = Self::default();
        let mut before = None;
        for (id, session) in parts {
            if before >= Some(id) || !session.is_flawless() || sessions.len() == SESSIONS_MAX {
                return None;
            }
            before = Some(id);
            sessions.insert(id, session);
        }
        let mut uses: Vec<_> = sessions.iter().map(|(_, it)| (it.used, it.used_at)).collect();
        uses.sort_unstable();
        let in_order = |pair: &[_]| match pair {
            [(one, stamp), (other, later)] => one < other && stamp <= later,
            _ => true,
        };
        uses.windows(2).all(in_order).then_some(sessions)
    }

    /// How many there are, closed ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The session with this id.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id.0).map(AsRef::as_ref)
    }

    /// All of them in ascending order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        let id_of = |key: &[u8]| SessionId(key.try_into().unwrap_or_default());
        self.by_id.iter().map(move |(key, session)| (id_of(key), session.as_ref()))
    }

    /// The sum of the hashes of all.
    pub(super) const fn sum(&self) -> Sum {
        self.sum
    }

    /// Forgets those that were not used for too long.
    pub(super) fn expire(&mut self, now: Timestamp) {
        for class in [0, 1] {
            let from = Bound::Included(&[class][..]);
            loop {
                let oldest = self.by_rank.range((from, Bound::Unbounded)).next();
                let Some((id, session)) = oldest.and_then(|(_, &id)| Some((id, self.get(id)?)))
                else {
                    break;
                };
                if now.0.saturating_sub(session.used_at.0) <= SESSION_IDLE_MICROS {
                    break;
                }
                self.remove(id);
            }
        }
    }

    /// Opens a session, unless it is or was open.
    pub(super) fn open(&mut self, id: SessionId, at: Place) -> Outcome {
        self.expire(at.timestamp);
        match self.get(id).map(|session| session.is_closed) {
            Some(true) => return Outcome::SessionExpired,
            Some(false) => {
                self.change(id, at, |_, _| ());
                return Outcome::Unchanged;
            }
            None => {}
        }
        if self.len() >= SESSIONS_MAX
            && let Some((_, &first)) = self.by_rank.iter().next()
        {
            self.remove(first);
        }
        let Place { index: used, timestamp: used_at } = at;
        let session = Session { used, used_at, is_closed: false, answers: VecDeque::new() };
        self.insert(id, session);
        Outcome::SessionOpened
    }

    /// Closes a session.
    pub(super) fn close(&mut self, id: SessionId, at: Place) -> Outcome {
        self.expire(at.timestamp);
        if self.get(id).is_none_or(|session| session.is_closed) {
            return Outcome::NotFound;
        }
        self.change(id, at, |session, sum| {
            session.is_closed = true;
            session.answers.drain(..).for_each(|answer| sum.take_away(answer.hash(id)));
        });
        Outcome::SessionClosed
    }

    /// Whether a request is to be applied.
    pub(super) fn admit(&mut self, id: SessionId, request: u64, at: Place) -> Admission {
        self.expire(at.timestamp);
        let Some(session) = self.get(id).filter(|session| !session.is_closed) else {
            return Admission::Refused(Outcome::SessionExpired);
        };
        let admission = if request <= session.forgotten() {
            Admission::Refused(Outcome::RequestTooOld)
        } else {
            match session.answers.iter().find(|answer| answer.request == request) {
                Some(answer) => Admission::Answered(answer.to_applied()),
                None => return Admission::New,
            }
        };
        self.change(id, at, |_, _| ());
        admission
    }

    /// Keeps the answer to a request that was admitted by the same entry.
    pub(super) fn keep(&mut self, id: SessionId, request: u64, applied: Applied, at: Place) {
        let Applied { outcome, version, timestamp, .. } = applied;
        let answer = SessionAnswer { request, outcome, version, timestamp };
        self.change(id, at, |session, sum| {
            let place = session.answers.partition_point(|other| other.request < request);
            session.answers.insert(place, answer);
            sum.add(answer.hash(id));
            let forgotten = session.forgotten();
            while let Some(&oldest) = session.answers.front()
                && oldest.request <= forgotten
            {
                session.answers.pop_front();
                sum.take_away(oldest.hash(id));
            }
        });
    }

    /// Changes a session, which is used with that. `change` sees to what answers add to the sum.
    fn change(&mut self, id: SessionId, at: Place, change: impl FnOnce(&mut Session, &mut Sum)) {
        let Some(mut session) = self.by_id.remove(&id.0) else { return };
        self.by_rank.remove(&session.rank());
        self.sum.take_away(session.head_hash(id));
        let own = Arc::make_mut(&mut session);
        change(own, &mut self.sum);
        (own.used, own.used_at) = (at.index, at.timestamp);
        self.sum.add(session.head_hash(id));
        self.put(id, session);
    }

    fn insert(&mut self, id: SessionId, session: Session) {
        self.sum.add(session.sum(id));
        self.put(id, Arc::new(session));
    }

    fn put(&mut self, id: SessionId, session: Arc<Session>) {
        self.by_rank.insert(session.rank(), id);
        self.by_id.insert(Bytes::copy_from_slice(&id.0), session);
    }

    fn remove(&mut self, id: SessionId) {
        if let Some(session) = self.by_id.remove(&id.0) {
            self.by_rank.remove(&session.rank());
            self.sum.take_away(session.sum(id));
        }
    }

    /// Checks the invariants. O(n), for tests and for debugging.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn validate(&self) {
        let mut sum = Sum::default();
        for (id, session) in self.iter() {
            assert!(session.is_flawless(), "{id}: {session:?}");
            assert_eq!(self.by_rank.get(&session.rank()), Some(&id), "rank");
            sum.add(session.sum(id));
        }
        assert_eq!(self.by_rank.len(), self.len(), "two ranks or two last uses");
        assert_eq!(self.sum, sum, "sum of the sessions");
        assert!(self.len() <= SESSIONS_MAX, "sessions");
    }
}
