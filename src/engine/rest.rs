//! What a manifest holds of the replicated state beside the rows and the membership.
//!
//! `docs/format.md` has the layout. The bytes passed the manifest's checksum; they are read all the
//! same as if anybody had written them, because a snapshot comes from another node.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use bytes::Bytes;

use crate::command::SessionId;
use crate::command::codec::DecodeError;
use crate::command::definition::REQUESTS_KEPT;
use crate::state::{Outcome, SESSIONS_MAX, Session, SessionAnswer, Sessions, Sum};
use crate::types::{LogId, LogIndex, NodeId, Term, Timestamp, Version};

/// The format that is written.
const FORMAT: u8 = 1;

/// Bits of the second byte: what is there.
const HAS_MEMBERSHIP: u8 = 1;
const HAS_SUM: u8 = 2;
const HAS_RESERVED: u8 = 4;
const HAS_DUE_FLOOR: u8 = 8;

/// The rest of the replicated state, as of the replica's last entry. Cheap to take: encoding it can
/// wait until nobody waits for the replica.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rest {
    /// The entry that the membership came in; `None` where nobody knows any more.
    pub(crate) membership_id: Option<LogId>,
    /// The sum over all rows, where the digest is tracked.
    pub(crate) sum: Option<Sum>,
    /// How many rows are of the reserved keyspace; never 0. `None`: nobody has counted.
    pub(crate) reserved_keys: Option<NonZeroU64>,
    /// Nothing is due before it, and whoever looks for what is begins there; zero where nobody
    /// knows. Replay has to begin where whoever let an entry into the log did: below there may be
    /// a block that cannot be read, and nobody needs.
    pub(crate) due_floor: Timestamp,
    pub(crate) sessions: Sessions,
}

impl Rest {
    /// Its bytes; none when there is nothing to say.
    pub(crate) fn encode(&self) -> Bytes {
        let Self { membership_id, sum, reserved_keys, due_floor, sessions } = self;
        let (mut has, mut fields) = (0, Vec::new());
        if let Some(LogId { term, leader, index }) = membership_id {
            has |= HAS_MEMBERSHIP;
            put(&mut fields, &[term.0, leader.0, index.0]);
        }
        if let Some(sum) = sum {
            has |= HAS_SUM;
            fields.extend_from_slice(&sum.0.to_le_bytes());
        }
        if let Some(keys) = reserved_keys {
            has |= HAS_RESERVED;
            put(&mut fields, &[keys.get()]);
        }
        if *due_floor > Timestamp(0) {
            has |= HAS_DUE_FLOOR;
            put(&mut fields, &[due_floor.0]);
        }
        if has == 0 && sessions.is_empty() {
            return Bytes::new();
        }
        put(&mut fields, &[sessions.len() as u64]);
        for (id, session) in sessions.iter() {
            put_session(&mut fields, id, session);
        }
        [&[FORMAT, has], &*fields].concat().into()
    }

    /// What [`encode`](Self::encode) has written, and nothing else.
    ///
    /// # Errors
    /// Why the bytes are not that.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Some((&found, fields)) = bytes.split_first() else { return Ok(Self::default()) };
        if found != FORMAT {
            return Err(DecodeError::UnknownFormat { found, max: FORMAT });
        }
        let mut fields = Fields(fields);
        let has = fields.byte()?;
        if has & !(HAS_MEMBERSHIP | HAS_SUM | HAS_RESERVED | HAS_DUE_FLOOR) != 0 {
            return Err(malformed("parts of the state that are not known"));
        }
        let mut rest = Self::default();
        if has & HAS_MEMBERSHIP != 0 {
            rest.membership_id = Some(fields.membership_id()?);
        }
        if has & HAS_SUM != 0 {
            rest.sum = Some(Sum(u128::from_le_bytes(fields.take()?)));
        }
        if has & HAS_RESERVED != 0 {
            let keys = NonZeroU64::new(fields.number()?);
            rest.reserved_keys = Some(keys.ok_or_else(|| malformed("no reserved keys at length"))?);
        }
        if has & HAS_DUE_FLOOR != 0 {
            rest.due_floor = Timestamp(fields.number()?);
            if rest.due_floor == Timestamp(0) {
                return Err(malformed("no due floor at length"));
            }
        }
        rest.sessions = fields.sessions()?;
        match fields.0.len() {
            0 if has == 0 && rest.sessions.is_empty() => {
                Err(malformed("nothing is said at length"))
            }
            0 => Ok(rest),
            extra => Err(DecodeError::TrailingBytes { extra }),
        }
    }
}

fn put(to: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        to.extend_from_slice(&number.to_le_bytes());
    }
}

fn put_session(to: &mut Vec<u8>, id: SessionId, session: &Session) {
    let Session { used, used_at, is_closed, answers } = session;
    to.extend_from_slice(&id.0);
    put(to, &[used.0, used_at.0]);
    // At most REQUESTS_KEPT.
    let count = u8::try_from(answers.len()).unwrap_or(u8::MAX);
    to.extend_from_slice(&[u8::from(*is_closed), count]);
    for answer in answers {
        let SessionAnswer { request, outcome, version, timestamp } = *answer;
        put(to, &[request]);
        put(to, &outcome.to_numbers().unwrap_or_default());
        put(to, &[version.0, timestamp.0]);
    }
}

fn malformed(what: &str) -> DecodeError {
    DecodeError::Malformed(format!("the rest of the state: {what}"))
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, left) = self.0.split_first_chunk().ok_or(DecodeError::UnexpectedEnd)?;
        self.0 = left;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.take().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_le_bytes)
    }

    fn membership_id(&mut self) -> Result<LogId, DecodeError> {
        let (term, leader) = (Term(self.number()?), NodeId(self.number()?));
        let index = LogIndex(self.number()?);
        Ok(LogId { term, leader, index })
    }

    fn sessions(&mut self) -> Result<Sessions, DecodeError> {
        let count = self.number()?;
        if count > SESSIONS_MAX as u64 {
            return Err(malformed("too many sessions"));
        }
        // Nothing is reserved for what the count says: it may lie.
        let mut parts = Vec::new();
        for _ in 0..count {
            parts.push((SessionId(self.take()?), self.session()?));
        }
        Sessions::from_parts(parts).ok_or_else(|| malformed("sessions that cannot be"))
    }

    fn session(&mut self) -> Result<Session, DecodeError> {
        let (used, used_at) = (LogIndex(self.number()?), Timestamp(self.number()?));
        let is_closed = match self.byte()? {
            0 => false,
            1 => true,
            _ => return Err(malformed("a session is neither open nor closed")),
        };
        let count = self.byte()?;
        if u64::from(count) > REQUESTS_KEPT {
            return Err(malformed("too many answers"));
        }
        let answers = (0..count).map(|_| self.answer()).collect::<Result<VecDeque<_>, _>>()?;
        Ok(Session { used, used_at, is_closed, answers })
    }

    fn answer(&mut self) -> Result<SessionAnswer, DecodeError> {
        let request = self.number()?;
        let outcome = [self.number()?, self.number()?, self.number()?];
        let outcome = Outcome::from_numbers(outcome).ok_or_else(|| malformed("an outcome"))?;
        let (version, timestamp) = (Version(self.number()?), Timestamp(self.number()?));
        Ok(SessionAnswer { request, outcome, version, timestamp })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::{Command, Guard};
    use crate::state::KvState;

    const ONE: SessionId = SessionId([1; 16]);
    const TWO: SessionId = SessionId([2; 16]);

    /// That of a state with a session of three answers, a closed one, and a row.
    fn sample() -> Rest {
        let mut kv = KvState::new();
        kv.track_digest().unwrap();
        let guarded = Command::guarded([Guard::absent("k")], []);
        let log = [
            Command::open_session(TWO),
            Command::open_session(ONE),
            Command::in_session(ONE, 1, Command::set("k", "v")),
            Command::in_session(ONE, 3, guarded),
            Command::in_session(ONE, 2, Command::delete_prefix("none")),
            Command::close_session(TWO),
        ];
        for (index, command) in (1..).zip(log) {
            kv.apply(LogIndex(index), Timestamp(index * 10), command).unwrap();
        }
        let id = LogId { term: Term(7), leader: NodeId(8), index: LogIndex(5) };
        let sessions = kv.as_view().sessions().clone();
        let reserved_keys = NonZeroU64::new(9);
        let due_floor = Timestamp(40);
        Rest { membership_id: Some(id), sum: kv.sum(), reserved_keys, due_floor, sessions }
    }

    #[test]
    fn golden() {
        let number = |number: u64| number.to_le_bytes();
        let answer = |numbers: [u64; 6]| numbers.map(u64::to_le_bytes).concat();
        let rest = sample();
        let golden = [
            &[1, 15][..],
            &[7, 8, 5].map(u64::to_le_bytes).concat(),
            &rest.sum.unwrap().0.to_le_bytes(),
            &number(9),
            &number(40),
            &number(2),
            // Used by entry 5, whose stamp is 50; open, with three answers.
            &[1; 16],
            &number(5),
            &number(50),
            &[0, 3],
            &answer([1, 0, 0, 0, 3, 30]),
            &answer([2, 3, 0, 0, 5, 50]),
            &answer([3, 5, 0, 3, 4, 40]),
            // Closed.
            &[2; 16],
            &number(6),
            &number(60),
            &[1, 0],
        ]
        .concat();
        assert_eq!(rest.encode(), golden);
        assert_eq!(Rest::decode(&golden).unwrap().encode(), golden);
    }

    #[test]
    fn nothing_to_say_is_no_bytes() {
        assert_eq!(Rest::default().encode(), Bytes::new());
        let nothing = Rest::decode(&[]).unwrap();
        assert!(nothing.membership_id.is_none() && nothing.sum.is_none());
        assert!(nothing.sessions.is_empty());
    }

    #[test]
    fn every_cut_and_every_extra_byte_is_refused() {
        let bytes = sample().encode();
        for cut in 1..bytes.len() {
            assert_eq!(Rest::decode(&bytes[..cut]).unwrap_err(), DecodeError::UnexpectedEnd);
        }
        let more = [&*bytes, &[0]].concat();
        let extra = Rest::decode(&more).unwrap_err();
        assert_eq!(extra, DecodeError::TrailingBytes { extra: 1 });
    }

    #[test]
    fn what_was_never_written_is_refused() {
        let refused = |bytes: &[u8], what: &str| {
            let error = Rest::decode(bytes).unwrap_err().to_string();
            assert!(error.contains(what), "{what}: {error}");
        };
        refused(&[2], "format 2");
        refused(&[1, 16], "not known");
        refused(&[&[1, 4][..], &[0; 16]].concat(), "no reserved keys");
        refused(&[&[1, 8][..], &[0; 16]].concat(), "no due floor");
        refused(&[&[1, 0][..], &[0; 8]].concat(), "nothing is said at length");
        let too_many = (SESSIONS_MAX as u64 + 1).to_le_bytes();
        refused(&[&[1, 0][..], &too_many].concat(), "too many sessions");
        let good = sample().encode();
        let with = |at: usize, byte: u8, what| {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            refused(&bytes, what);
        };
        let session = 2 + 24 + 16 + 8 + 8 + 8;
        let answer = session + 16 + 16 + 2;
        // The second id, the second use, the state, the count, the first request, its outcome.
        let second = answer + 3 * 48;
        with(second, 0, "cannot be");
        with(second + 16, 5, "cannot be");
        with(session + 32, 2, "neither");
        with(session + 32, 1, "cannot be");
        with(session + 33, 17, "too many answers");
        with(answer, 0, "cannot be");
        with(answer + 48, 1, "cannot be");
        with(answer + 2 * 48, 20, "cannot be");
        with(answer + 8, 9, "outcome");
        with(answer + 16, 1, "outcome");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_written_again(
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut bytes = sample().encode().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(4 * bytes.len()).max(1));
            if let Ok(rest) = Rest::decode(&bytes) {
                rest.sessions.validate();
                prop_assert_eq!(rest.encode(), bytes);
            }
        }
    }
}
