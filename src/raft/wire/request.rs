//! What one node asks of another.

use std::time::Duration;

use bytes::Bytes;

use super::envelope::{self, Envelope, Message};
use super::error::WireError;
use super::fields::{Reader, Sink, Wire};
use crate::storage::log_entry::{Entry, EntryKind, EntryRef};
use crate::types::{LogId, LogIndex, NodeId, RandomId, Timestamp, Vote};

/// What one node asks of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Who are you? Answered to strangers too.
    Hello,
    /// Entries to append, or none: a heartbeat.
    AppendEntries(AppendEntries),
    /// A candidate asks for a vote.
    Vote(AskVote),
    /// The same, without anybody's term being raised by it.
    PreVote(AskVote),
    /// The leader asks this node to become one.
    TransferLeader(TransferLeader),
    /// A part of a snapshot's way.
    Snapshot(SnapshotRequest),
    /// Writes that a follower was given, for the leader.
    Write(ForwardedWrite),
    /// What must be applied before a linearizable read may be answered, for the leader.
    ReadIndex {
        /// Whether the leader may go by its lease instead of asking a majority.
        lease: bool,
    },
    /// The digest of the state at an index.
    Digest {
        /// The index.
        index: LogIndex,
    },
}

/// Where a request stands among those of its stream. The receiver takes the requests of a stream
/// in this order, whatever order the network brings them in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Names the stream; no two of a sender's have the same name. Zero for a request that is part
    /// of none.
    pub stream: u64,
    /// Counts the requests of the stream from 0.
    pub number: u64,
}

/// What stands before the entries of an [`AppendEntries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendHead {
    /// Its place among others on their way.
    pub turn: Turn,
    /// The leader's vote.
    pub vote: Vote,
    /// The entry that the first one follows; `None` at the beginning of the log.
    pub previous: Option<LogId>,
    /// The last entry that the leader knows to be committed.
    pub committed: Option<LogId>,
}

/// Entries to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendEntries {
    /// What stands before them.
    pub head: AppendHead,
    /// The entries. Their payloads share the request's buffer.
    ///
    /// Invariant, checked when they are read: each index is one more than that before it, and the
    /// first is one more than `head.previous` where that is there.
    pub entries: Vec<Entry>,
}

/// A candidate asks for a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskVote {
    /// The vote asked for.
    pub vote: Vote,
    /// The candidate's last entry.
    pub last: Option<LogId>,
    /// Whether the leader itself asked for this election.
    pub leadership_transfer: bool,
}

/// The leader hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferLeader {
    /// The vote of the leader that hands over.
    pub from: Vote,
    /// Who shall lead.
    pub to: NodeId,
    /// The entry that the new leader must have.
    pub last: Option<LogId>,
}

/// A part of a snapshot's way: offer, then what is missing in chunks, then finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotRequest {
    /// What a snapshot consists of.
    Offer(SnapshotOffer),
    /// Bytes of one part of it.
    Chunk(SnapshotChunk),
    /// All that was missing has been sent: check it and install it.
    Finish(SnapshotFinish),
}

/// What a snapshot consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotOffer {
    /// The leader's vote.
    pub vote: Vote,
    /// Names the transfer. A follower gives up the transfer that it had before.
    pub transfer: RandomId,
    /// Its manifest, which names the tables, with checksums of its own.
    pub manifest: Bytes,
}

/// Bytes of one table of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotChunk {
    /// The transfer.
    pub transfer: RandomId,
    /// Which table, counting from 0 in the order of the manifest.
    pub part: u32,
    /// Where in the table they stand.
    pub offset: u64,
    /// The bytes. The checksum of the message covers them.
    pub bytes: Bytes,
}

/// All that was missing has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotFinish {
    /// The leader's vote.
    pub vote: Vote,
    /// The transfer.
    pub transfer: RandomId,
}

/// Most commands of a [`ForwardedWrite`]: an empty one takes much more memory than bytes.
pub const WRITE_COMMANDS_MAX: usize = 1024;

/// Writes that a follower was given, for the leader, in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedWrite {
    /// No two of a sender's have the same, so that one that arrives twice is carried out once.
    pub number: u64,
    /// How long the caller still waits. In whole microseconds.
    pub deadline: Duration,
    /// The payloads of the commands, at most [`WRITE_COMMANDS_MAX`]. They share the request's
    /// buffer.
    pub commands: Vec<Bytes>,
}

/// Fewest bytes of an entry: its id, clock, kind and length.
pub(super) const ENTRY_BYTES_MIN: usize = 24 + 8 + 1 + 4;

impl Wire for Turn {
    const BYTES_MIN: usize = 16;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.stream.put(to);
        self.number.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { stream: Wire::take(from)?, number: Wire::take(from)? })
    }
}

impl Wire for AppendHead {
    const BYTES_MIN: usize = Turn::BYTES_MIN + Vote::BYTES_MIN + 2;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.turn.put(to);
        self.vote.put(to);
        self.previous.put(to);
        self.committed.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            turn: Wire::take(from)?,
            vote: Wire::take(from)?,
            previous: Wire::take(from)?,
            committed: Wire::take(from)?,
        })
    }
}

fn put_entry<S: Sink + ?Sized>(entry: &EntryRef<'_>, to: &mut S) {
    let kind: u8 = match entry.kind {
        EntryKind::Blank => 0,
        EntryKind::Membership => 1,
        EntryKind::Normal => 2,
    };
    entry.id.put(to);
    entry.clock.put(to);
    kind.put(to);
    to.count(entry.payload.iter().map(|part| part.len()).sum());
    for part in entry.payload {
        to.raw(part);
    }
}

fn take_entry(from: &mut Reader) -> Result<Entry, WireError> {
    let id = LogId::take(from)?;
    let clock = Timestamp::take(from)?;
    let kind = match u8::take(from)? {
        0 => EntryKind::Blank,
        1 => EntryKind::Membership,
        2 => EntryKind::Normal,
        found => return Err(WireError::UnknownTag { what: "kind of entry", found }),
    };
    let payload = Bytes::take(from)?;
    if kind == EntryKind::Blank && !payload.is_empty() {
        return Err(WireError::NotBlank { bytes: payload.len() });
    }
    Ok(Entry { id, clock, kind, payload })
}

fn take_append(from: &mut Reader) -> Result<AppendEntries, WireError> {
    let head = AppendHead::take(from)?;
    let count = from.count(ENTRY_BYTES_MIN)?;
    let mut entries = Vec::with_capacity(count);
    let mut next = head.previous.map(|id| id.index.next());
    for _ in 0..count {
        let entry = take_entry(from)?;
        if next.is_some_and(|next| next != entry.id.index) {
            return Err(WireError::NotConsecutive);
        }
        next = Some(entry.id.index.next());
        entries.push(entry);
    }
    Ok(AppendEntries { head, entries })
}

impl Wire for AskVote {
    const BYTES_MIN: usize = Vote::BYTES_MIN + 2;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.vote.put(to);
        self.last.put(to);
        self.leadership_transfer.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            vote: Wire::take(from)?,
            last: Wire::take(from)?,
            leadership_transfer: Wire::take(from)?,
        })
    }
}

impl Wire for TransferLeader {
    const BYTES_MIN: usize = Vote::BYTES_MIN + 9;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.from.put(to);
        self.to.put(to);
        self.last.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { from: Wire::take(from)?, to: Wire::take(from)?, last: Wire::take(from)? })
    }
}

impl Wire for SnapshotOffer {
    const BYTES_MIN: usize = Vote::BYTES_MIN + RandomId::BYTES_MIN + 4;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.vote.put(to);
        self.transfer.put(to);
        self.manifest.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            vote: Wire::take(from)?,
            transfer: Wire::take(from)?,
            manifest: Wire::take(from)?,
        })
    }
}

impl Wire for SnapshotChunk {
    const BYTES_MIN: usize = RandomId::BYTES_MIN + 16;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.transfer.put(to);
        self.part.put(to);
        self.offset.put(to);
        self.bytes.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            transfer: Wire::take(from)?,
            part: Wire::take(from)?,
            offset: Wire::take(from)?,
            bytes: Wire::take(from)?,
        })
    }
}

impl Wire for SnapshotFinish {
    const BYTES_MIN: usize = Vote::BYTES_MIN + RandomId::BYTES_MIN;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.vote.put(to);
        self.transfer.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self { vote: Wire::take(from)?, transfer: Wire::take(from)? })
    }
}

impl Wire for ForwardedWrite {
    const BYTES_MIN: usize = 20;

    fn put<S: Sink + ?Sized>(&self, to: &mut S) {
        self.number.put(to);
        u64::try_from(self.deadline.as_micros()).unwrap_or(u64::MAX).put(to);
        self.commands.put(to);
    }

    fn take(from: &mut Reader) -> Result<Self, WireError> {
        let number = Wire::take(from)?;
        let deadline = Duration::from_micros(Wire::take(from)?);
        Ok(Self { number, deadline, commands: from.list(WRITE_COMMANDS_MAX)? })
    }
}

/// Tags of requests; the answer to each has the same one.
pub(super) mod tag {
    pub(in super::super) const HELLO: u8 = 1;
    pub(in super::super) const APPEND_ENTRIES: u8 = 2;
    pub(in super::super) const VOTE: u8 = 3;
    pub(in super::super) const PRE_VOTE: u8 = 4;
    pub(in super::super) const TRANSFER_LEADER: u8 = 5;
    pub(in super::super) const SNAPSHOT_OFFER: u8 = 6;
    pub(in super::super) const SNAPSHOT_CHUNK: u8 = 7;
    pub(in super::super) const SNAPSHOT_FINISH: u8 = 8;
    pub(in super::super) const WRITE: u8 = 9;
    pub(in super::super) const READ_INDEX: u8 = 10;
    pub(in super::super) const DIGEST: u8 = 11;
}

impl Request {
    fn put<S: Sink>(&self, to: &mut S) {
        match self {
            Self::Hello => {}
            Self::ReadIndex { lease } => lease.put(to),
            Self::AppendEntries(AppendEntries { head, entries }) => {
                head.put(to);
                to.count(entries.len());
                for entry in entries {
                    let Entry { id, clock, kind, payload } = entry;
                    let payload = [&**payload, &[]];
                    put_entry(&EntryRef { id: *id, clock: *clock, kind: *kind, payload }, to);
                }
            }
            Self::Vote(ask) | Self::PreVote(ask) => ask.put(to),
            Self::TransferLeader(transfer) => transfer.put(to),
            Self::Snapshot(SnapshotRequest::Offer(offer)) => offer.put(to),
            Self::Snapshot(SnapshotRequest::Chunk(chunk)) => chunk.put(to),
            Self::Snapshot(SnapshotRequest::Finish(finish)) => finish.put(to),
            Self::Write(write) => write.put(to),
            Self::Digest { index } => index.put(to),
        }
    }

    const fn tag(&self) -> u8 {
        match self {
            Self::Hello => tag::HELLO,
            Self::AppendEntries(_) => tag::APPEND_ENTRIES,
            Self::Vote(_) => tag::VOTE,
            Self::PreVote(_) => tag::PRE_VOTE,
            Self::TransferLeader(_) => tag::TRANSFER_LEADER,
            Self::Snapshot(SnapshotRequest::Offer(_)) => tag::SNAPSHOT_OFFER,
            Self::Snapshot(SnapshotRequest::Chunk(_)) => tag::SNAPSHOT_CHUNK,
            Self::Snapshot(SnapshotRequest::Finish(_)) => tag::SNAPSHOT_FINISH,
            Self::Write(_) => tag::WRITE,
            Self::ReadIndex { .. } => tag::READ_INDEX,
            Self::Digest { .. } => tag::DIGEST,
        }
    }

    /// The message, in one buffer of exactly its length.
    #[must_use]
    pub fn encode(&self, envelope: &Envelope) -> Bytes {
        struct Whole<'a>(&'a Envelope, &'a Request);
        impl Message for Whole<'_> {
            fn write<S: Sink>(&self, to: &mut S) {
                self.1.tag().put(to);
                self.0.put(to);
                self.1.put(to);
            }
        }
        envelope::seal(&Whole(envelope, self))
    }

    /// The message of an [`AppendEntries`], with each payload copied once, from where it is.
    #[must_use]
    pub fn encode_append(
        envelope: &Envelope,
        head: &AppendHead,
        entries: &[EntryRef<'_>],
    ) -> Bytes {
        struct Whole<'a>(&'a Envelope, &'a AppendHead, &'a [EntryRef<'a>]);
        impl Message for Whole<'_> {
            fn write<S: Sink>(&self, to: &mut S) {
                tag::APPEND_ENTRIES.put(to);
                self.0.put(to);
                self.1.put(to);
                to.count(self.2.len());
                for entry in self.2 {
                    put_entry(entry, to);
                }
            }
        }
        envelope::seal(&Whole(envelope, head, entries))
    }

    /// What [`Self::encode`] wrote. Payloads share the buffer of `sealed`.
    ///
    /// # Errors
    /// Why the bytes are not a request.
    pub fn decode(sealed: &Bytes) -> Result<(Envelope, Self), WireError> {
        let mut from = envelope::open(sealed)?;
        let tag = u8::take(&mut from)?;
        let envelope = Envelope::take(&mut from)?;
        let request = Self::take(tag, &mut from)?;
        from.finish()?;
        Ok((envelope, request))
    }

    fn take(tag: u8, from: &mut Reader) -> Result<Self, WireError> {
        Ok(match tag {
            tag::HELLO => Self::Hello,
            tag::APPEND_ENTRIES => Self::AppendEntries(take_append(from)?),
            tag::VOTE => Self::Vote(Wire::take(from)?),
            tag::PRE_VOTE => Self::PreVote(Wire::take(from)?),
            tag::TRANSFER_LEADER => Self::TransferLeader(Wire::take(from)?),
            tag::SNAPSHOT_OFFER => Self::Snapshot(SnapshotRequest::Offer(Wire::take(from)?)),
            tag::SNAPSHOT_CHUNK => Self::Snapshot(SnapshotRequest::Chunk(Wire::take(from)?)),
            tag::SNAPSHOT_FINISH => Self::Snapshot(SnapshotRequest::Finish(Wire::take(from)?)),
            tag::WRITE => Self::Write(Wire::take(from)?),
            tag::READ_INDEX => Self::ReadIndex { lease: Wire::take(from)? },
            tag::DIGEST => Self::Digest { index: Wire::take(from)? },
            found => return Err(WireError::UnknownTag { what: "request", found }),
        })
    }
}
