//! One or two of each message, as they stand in `golden.txt`.

use std::time::Duration;

use bytes::Bytes;

use super::super::envelope::{Addressee, Envelope};
use super::super::request::{
    AppendEntries, AppendHead, AskVote, ForwardedWrite, Request, SnapshotChunk, SnapshotFinish,
    SnapshotOffer, SnapshotRequest, TransferLeader, Turn,
};
use super::super::response::{
    AppendAnswer, ChunkAnswer, FinishAnswer, Greeting, OfferAnswer, Refusal, Response,
    TransferAnswer, VoteAnswer, WriteFailure,
};
use crate::state::{Applied, CheckResult, Outcome};
use crate::storage::identity::Identity;
use crate::storage::log_entry::{Entry, EntryKind};
use crate::types::{LogId, LogIndex, NodeId, RandomId, Term, Timestamp, Version, Vote};

pub(super) fn identity(node: u64, incarnation: u8) -> Identity {
    Identity {
        cluster: RandomId([0x11; 16]),
        node: NodeId(node),
        incarnation: RandomId([incarnation; 16]),
    }
}

pub(super) fn envelope() -> Envelope {
    let to = Addressee { node: NodeId(2), incarnation: Some(RandomId([0x33; 16])) };
    Envelope { from: identity(1, 0x22), to }
}

pub(super) fn id(term: u64, leader: u64, index: u64) -> LogId {
    LogId { term: Term(term), leader: NodeId(leader), index: LogIndex(index) }
}

pub(super) fn vote(term: u64, node: u64, committed: bool) -> Vote {
    Vote { term: Term(term), node: NodeId(node), committed }
}

fn entry(index: u64, kind: EntryKind, payload: &'static [u8]) -> Entry {
    let clock = if kind == EntryKind::Blank { 0 } else { 1234 };
    let payload = Bytes::from_static(payload);
    Entry { id: id(4, 1, index), clock: Timestamp(clock), kind, payload }
}

pub(super) fn append() -> AppendEntries {
    AppendEntries {
        head: AppendHead {
            turn: Turn { stream: 7, number: 3 },
            vote: vote(4, 1, true),
            previous: Some(id(3, 1, 9)),
            committed: Some(id(3, 1, 8)),
        },
        entries: vec![entry(10, EntryKind::Blank, b""), entry(11, EntryKind::Normal, b"\x01abc")],
    }
}

pub(super) fn requests() -> Vec<(&'static str, Request)> {
    let transfer = RandomId([0x44; 16]);
    let last = Some(id(3, 1, 9));
    let ask = AskVote { vote: vote(5, 1, false), last, leadership_transfer: true };
    let manifest = Bytes::from_static(b"manifest");
    let offer = SnapshotOffer { vote: vote(5, 1, true), transfer, manifest };
    let bytes = Bytes::from_static(b"xyz");
    let chunk = SnapshotChunk { transfer, part: 1, offset: 4096, bytes };
    let finish = SnapshotFinish { vote: vote(5, 1, true), transfer };
    let write = ForwardedWrite {
        number: 7,
        deadline: Duration::from_millis(1500),
        commands: vec![Bytes::from_static(b"\x01cmd"), Bytes::from_static(b"\x02other")],
    };
    let hand_over = TransferLeader { from: vote(5, 1, true), to: NodeId(2), last };
    vec![
        ("request-hello", Request::Hello),
        ("request-append", Request::AppendEntries(append())),
        ("request-vote", Request::Vote(ask)),
        (
            "request-pre-vote",
            Request::PreVote(AskVote { last: None, leadership_transfer: false, ..ask }),
        ),
        ("request-transfer", Request::TransferLeader(hand_over)),
        ("request-offer", Request::Snapshot(SnapshotRequest::Offer(offer))),
        ("request-chunk", Request::Snapshot(SnapshotRequest::Chunk(chunk))),
        ("request-finish", Request::Snapshot(SnapshotRequest::Finish(finish))),
        ("request-write", Request::Write(write)),
        ("request-read-index", Request::ReadIndex { lease: true }),
        ("request-digest", Request::Digest { index: LogIndex(1000) }),
    ]
}

pub(super) fn responses() -> Vec<(&'static str, Response)> {
    let last = Some(id(3, 1, 9));
    let granted = VoteAnswer { vote: vote(5, 1, false), granted: true, last };
    let guard = Outcome::GuardFailed { guard: 2, found: Some(Version(6)) };
    let applied = |outcome| {
        let (version, timestamp) = (Version(12), Timestamp(99));
        Ok(Applied { outcome, version, timestamp, stale_bytes: 3 })
    };
    let checked = Outcome::Checked(CheckResult::Different);
    let failure = WriteFailure::TooLarge { what: "key".to_owned(), limit: 10, got: 11 };
    let short = TransferAnswer::LogNotFlushed { expected: last, actual: None };
    vec![
        ("response-refused", Response::Refused(Refusal::WrongNode { found: NodeId(9) })),
        ("response-hello", Response::Hello(Greeting { pristine: false, last })),
        ("response-append", Response::AppendEntries(AppendAnswer::HigherVote(vote(6, 3, true)))),
        ("response-vote", Response::Vote(granted)),
        (
            "response-pre-vote",
            Response::PreVote(VoteAnswer { granted: false, last: None, ..granted }),
        ),
        ("response-transfer", Response::TransferLeader(short)),
        ("response-offer", Response::SnapshotOffer(OfferAnswer::Has(vec![0, 5]))),
        ("response-chunk", Response::SnapshotChunk(ChunkAnswer::Stored)),
        ("response-finish", Response::SnapshotFinish(FinishAnswer::Damaged)),
        ("response-write", Response::Write(vec![applied(guard), applied(checked)])),
        (
            "response-write-failed",
            Response::Write(vec![Err(failure), Err(WriteFailure::SessionExpired)]),
        ),
        ("response-read-index", Response::ReadIndex(last)),
        ("response-digest", Response::Digest(Some([0x66; 16]))),
    ]
}
