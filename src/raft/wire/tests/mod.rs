//! The documented bytes, both ways, and bytes that are not.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::envelope::{Addressee, Envelope};
use super::error::WireError;
use super::request::{
    AppendEntries, AppendHead, AskVote, ForwardedWrite, Request, SnapshotChunk, SnapshotFinish,
    SnapshotOffer, SnapshotPart, SnapshotRequest, TransferLeader, Turn,
};
use super::response::{
    AppendAnswer, ChunkAnswer, FinishAnswer, Greeting, OfferAnswer, Refusal, Response,
    TransferAnswer, VoteAnswer, WriteFailure,
};
use crate::command::membership::{Membership, Peer};
use crate::env::rng::SeededRng;
use crate::state::{Applied, Outcome};
use crate::storage::identity::Identity;
use crate::storage::log_entry::{Entry, EntryKind, EntryRef};
use crate::types::{LogId, LogIndex, NodeId, RandomId, Term, Timestamp, Version, Vote};

/// Written from the tables of the parent module by another program.
const GOLDEN: &str = include_str!("golden.txt");

fn identity(node: u64, incarnation: u8) -> Identity {
    Identity {
        cluster: RandomId([0x11; 16]),
        node: NodeId(node),
        incarnation: RandomId([incarnation; 16]),
    }
}

fn envelope() -> Envelope {
    let to = Addressee { node: NodeId(2), incarnation: Some(RandomId([0x33; 16])) };
    Envelope { from: identity(1, 0x22), to }
}

fn id(term: u64, leader: u64, index: u64) -> LogId {
    LogId { term: Term(term), leader: NodeId(leader), index: LogIndex(index) }
}

fn vote(term: u64, node: u64, committed: bool) -> Vote {
    Vote { term: Term(term), node: NodeId(node), committed }
}

fn entry(index: u64, kind: EntryKind, payload: &'static [u8]) -> Entry {
    let clock = if kind == EntryKind::Blank { 0 } else { 1234 };
    let payload = Bytes::from_static(payload);
    Entry { id: id(4, 1, index), clock: Timestamp(clock), kind, payload }
}

fn append() -> AppendEntries {
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

fn requests() -> Vec<(&'static str, Request)> {
    let transfer = RandomId([0x44; 16]);
    let last = Some(id(3, 1, 9));
    let ask = AskVote { vote: vote(5, 1, false), last, leadership_transfer: true };
    let membership =
        Membership::new(vec![[NodeId(1)].into()], [(NodeId(1), Peer::at("a:1"))].into());
    let offer = SnapshotOffer {
        vote: vote(5, 1, true),
        transfer,
        last,
        membership_id: Some(id(1, 1, 0)),
        membership: membership.ok(),
        parts: vec![SnapshotPart { hash: [0x55; 32], bytes: 77 }],
    };
    let bytes = Bytes::from_static(b"xyz");
    let chunk = SnapshotChunk { transfer, part: 1, offset: 4096, bytes };
    let finish = SnapshotFinish { vote: vote(5, 1, true), transfer };
    let command = Bytes::from_static(b"\x01cmd");
    let write = ForwardedWrite { deadline: Duration::from_millis(1500), command };
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
        ("request-read-index", Request::ReadIndex),
        ("request-digest", Request::Digest { index: LogIndex(1000) }),
    ]
}

fn responses() -> Vec<(&'static str, Response)> {
    let last = Some(id(3, 1, 9));
    let granted = VoteAnswer { vote: vote(5, 1, false), granted: true, last };
    let applied = Applied {
        outcome: Outcome::GuardFailed { guard: 2, found: Some(Version(6)) },
        version: Version(12),
        timestamp: Timestamp(99),
        stale_bytes: 3,
    };
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
        ("response-finish", Response::SnapshotFinish(FinishAnswer::Damaged { part: 1 })),
        ("response-write", Response::Write(Ok(Some(applied)))),
        ("response-write-failed", Response::Write(Err(failure))),
        ("response-read-index", Response::ReadIndex(last)),
        ("response-digest", Response::Digest(Some([0x66; 16]))),
    ]
}

fn hello() -> Bytes {
    Request::Hello.encode(&envelope())
}

fn all_encoded() -> Vec<(&'static str, Bytes)> {
    let requests = requests().into_iter().map(|(name, it)| (name, it.encode(&envelope())));
    let from = identity(2, 0x33);
    let responses = responses().into_iter().map(|(name, it)| (name, it.encode(&from, &hello())));
    requests.chain(responses).collect()
}

/// Decodes as either, and says what went wrong; on success the encoding must be the only one.
fn decode(name: &str, sealed: &Bytes) -> Result<(), WireError> {
    let again = if name.starts_with("request") {
        let (envelope, request) = Request::decode(sealed)?;
        request.encode(&envelope)
    } else {
        let (from, response) = Response::decode(sealed, &hello())?;
        response.encode(&from, &hello())
    };
    assert_eq!(again, sealed, "{name} has two encodings");
    Ok(())
}

/// The same bytes with a checksum that is right.
fn resealed(mut bytes: Vec<u8>) -> Bytes {
    let end = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
    bytes.into()
}

#[test]
fn each_message_has_the_documented_bytes() {
    let mut found = String::new();
    for (name, sealed) in all_encoded() {
        writeln!(found, "{name} {sealed:x}").unwrap();
    }
    assert_eq!(found, GOLDEN);
}

#[test]
fn each_message_reads_back() {
    for (_, request) in requests() {
        assert_eq!(Request::decode(&request.encode(&envelope())), Ok((envelope(), request)));
    }
    for (_, response) in responses() {
        let from = identity(2, 0x33);
        let sealed = response.encode(&from, &hello());
        assert_eq!(Response::decode(&sealed, &hello()), Ok((from, response)));
    }
}

#[test]
fn every_variant_of_an_answer_reads_back() {
    let vote = vote(1, 2, false);
    let text = || "why".to_owned();
    let refusals = [
        Refusal::WrongCluster,
        Refusal::WrongIncarnation,
        Refusal::UnknownIncarnation,
        Refusal::SameNode,
        Refusal::NotLeader { leader: Some(NodeId(3)) },
        Refusal::Overloaded,
        Refusal::Stopped,
        Refusal::Unreadable { reason: text() },
        Refusal::Failed { reason: text() },
        Refusal::OutOfTurn,
    ];
    let applied = |outcome| {
        let (version, timestamp) = (Version(1), Timestamp(2));
        Response::Write(Ok(Some(Applied { outcome, version, timestamp, stale_bytes: 0 })))
    };
    let more = [
        Response::AppendEntries(AppendAnswer::Success),
        Response::AppendEntries(AppendAnswer::Partial(None)),
        Response::AppendEntries(AppendAnswer::Conflict),
        Response::TransferLeader(TransferAnswer::Accepted),
        Response::TransferLeader(TransferAnswer::VoteChanged { expected: vote, actual: vote }),
        Response::SnapshotOffer(OfferAnswer::HigherVote(vote)),
        Response::SnapshotChunk(ChunkAnswer::UnknownTransfer),
        Response::SnapshotFinish(FinishAnswer::Done(vote)),
        Response::SnapshotFinish(FinishAnswer::UnknownTransfer),
        Response::Write(Ok(None)),
        applied(Outcome::Applied),
        applied(Outcome::Unchanged),
        applied(Outcome::Removed { keys: 4 }),
        applied(Outcome::NotFound),
        Response::Write(Err(WriteFailure::NotLeader { leader: None })),
        Response::Write(Err(WriteFailure::Overloaded(text()))),
        Response::Write(Err(WriteFailure::Invalid(text()))),
        Response::Write(Err(WriteFailure::NotApplied(text()))),
        Response::Write(Err(WriteFailure::OutcomeUnknown(text()))),
    ];
    for response in refusals.map(Response::Refused).into_iter().chain(more) {
        let sealed = response.encode(&identity(2, 0x33), &hello());
        assert_eq!(Response::decode(&sealed, &hello()), Ok((identity(2, 0x33), response)));
    }
}

#[test]
fn an_unknown_incarnation_reads_back() {
    let mut envelope = envelope();
    envelope.to.incarnation = None;
    let sealed = Request::ReadIndex.encode(&envelope);
    assert_eq!(Request::decode(&sealed), Ok((envelope, Request::ReadIndex)));
}

#[test]
fn every_prefix_is_refused() {
    for (name, sealed) in all_encoded() {
        for end in 0..sealed.len() {
            assert!(decode(name, &sealed.slice(..end)).is_err(), "{name} up to {end}");
            // Also when the checksum is that of the shorter message.
            if end > 4 {
                let cut = resealed(sealed[..end].to_vec());
                assert!(decode(name, &cut).is_err(), "{name} up to {end}, checksum right");
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_by_the_checksum() {
    for (name, sealed) in all_encoded() {
        for bit in 0..sealed.len() * 8 {
            let mut bytes = sealed.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let expected = Err(WireError::Checksum { bytes: bytes.len() });
            assert_eq!(decode(name, &bytes.into()), expected, "{name} bit {bit}");
        }
    }
}

#[test]
fn bytes_left_over_are_refused() {
    for (name, sealed) in all_encoded() {
        let mut bytes = sealed.to_vec();
        bytes.push(0);
        let found = decode(name, &resealed(bytes));
        assert_eq!(found, Err(WireError::TrailingBytes { extra: 1 }), "{name}");
    }
}

#[test]
fn a_newer_format_is_named() {
    let mut bytes = hello().to_vec();
    bytes[0] = 2;
    assert_eq!(Request::decode(&resealed(bytes)), Err(WireError::UnknownFormat { found: 2 }));
}

#[test]
fn hostile_lengths_are_refused() {
    // Wherever a length or a count stands, and everywhere else, the largest there is.
    for (name, sealed) in all_encoded() {
        for at in 2..sealed.len() - 8 {
            let mut bytes = sealed.to_vec();
            bytes[at..at + 4].fill(0xff);
            decode(name, &resealed(bytes)).ok();
        }
    }
    let mut bytes = Request::AppendEntries(append()).encode(&envelope()).to_vec();
    let count = 2 + 64 + 16 + 17 + 25 + 25;
    assert_eq!(bytes[count..count + 4], [2, 0, 0, 0]);
    bytes[count..count + 4].fill(0xff);
    assert_eq!(Request::decode(&resealed(bytes)), Err(WireError::UnexpectedEnd));
}

#[test]
fn random_bytes_with_a_right_checksum_never_panic() {
    let rng = SeededRng::new(20);
    let samples = all_encoded();
    let pick = |most: usize| usize::try_from(rng.up_to(most as u64 - 1)).unwrap();
    for round in 0..100_000 {
        let (name, sealed) = &samples[pick(samples.len())];
        let mut bytes = if round % 4 == 0 { vec![0; 5 + pick(200)] } else { sealed.to_vec() };
        if round % 4 == 0 {
            rng.fill_bytes(&mut bytes);
            bytes[0] = 1;
        }
        for _ in 0..=pick(4) {
            let at = pick(bytes.len());
            bytes[at] = rng.draw().to_le_bytes()[0];
        }
        decode(name, &resealed(bytes)).ok();
    }
}

#[test]
fn entries_that_do_not_follow_each_other_are_refused() {
    let refused = |change: fn(&mut AppendEntries)| {
        let mut append = append();
        change(&mut append);
        Request::decode(&Request::AppendEntries(append).encode(&envelope())).map(drop)
    };
    assert_eq!(refused(|_| ()), Ok(()));
    let gap = refused(|append| append.entries[1].id.index = LogIndex(12));
    assert_eq!(gap, Err(WireError::NotConsecutive));
    let first = refused(|append| append.head.previous = Some(id(3, 1, 7)));
    assert_eq!(first, Err(WireError::NotConsecutive));
    assert_eq!(refused(|append| append.head.previous = None), Ok(()));
    let blank = refused(|append| append.entries[0].payload = Bytes::from_static(b"x"));
    assert_eq!(blank, Err(WireError::NotBlank { bytes: 1 }));
}

#[test]
fn payloads_are_not_copied_and_two_parts_are_one() {
    let whole = append();
    let sealed = Request::AppendEntries(whole.clone()).encode(&envelope());
    let parts: Vec<EntryRef<'_>> = whole
        .entries
        .iter()
        .map(|entry| {
            let payload = entry.payload.split_at(entry.payload.len() / 2);
            let payload = [payload.0, payload.1];
            EntryRef { id: entry.id, clock: entry.clock, kind: entry.kind, payload }
        })
        .collect();
    assert_eq!(Request::encode_append(&envelope(), &whole.head, &parts), sealed);
    let Ok((_, Request::AppendEntries(read))) = Request::decode(&sealed) else { panic!() };
    assert!(sealed.as_ptr_range().contains(&read.entries[1].payload.as_ptr()));
}

#[test]
fn the_answer_to_another_request_is_refused() {
    let sealed = Response::ReadIndex(None).encode(&identity(2, 0x33), &hello());
    let other = Request::ReadIndex.encode(&envelope());
    assert_eq!(Response::decode(&sealed, &other), Err(WireError::OtherRequest));
}

prop_compose! {
    fn any_id()(term: u64, leader: u64, index in 0..u64::MAX) -> LogId { id(term, leader, index) }
}

fn any_append() -> impl Strategy<Value = AppendEntries> {
    let payloads =
        prop::collection::vec((any::<u64>(), prop::collection::vec(0..=u8::MAX, 0..99)), 0..9);
    let head = (any::<[u64; 4]>(), any::<bool>(), prop::option::of(any_id()));
    (head, prop::option::of(0..1_u64 << 40), payloads).prop_map(|(head, previous, payloads)| {
        let ([stream, number, term, node], committed, commit) = head;
        let first = previous.map_or(0, |previous| previous + 1);
        let entry = |(index, (clock, payload)): (u64, (u64, Vec<u8>))| Entry {
            id: id(term, node, index),
            clock: Timestamp(clock),
            kind: if clock % 2 == 0 { EntryKind::Normal } else { EntryKind::Membership },
            payload: payload.into(),
        };
        AppendEntries {
            head: AppendHead {
                turn: Turn { stream, number },
                vote: vote(term, node, committed),
                previous: previous.map(|index| id(term, node, index)),
                committed: commit,
            },
            entries: (first..).zip(payloads).map(entry).collect(),
        }
    })
}

proptest! {
    #[test]
    fn any_entries_read_back(append in any_append()) {
        let request = Request::AppendEntries(append);
        prop_assert_eq!(Request::decode(&request.encode(&envelope())), Ok((envelope(), request)));
    }

    #[test]
    fn any_chunk_and_write_read_back(
        transfer: [u8; 16], part: u32, offset: u64, micros: u64,
        bytes in prop::collection::vec(0..=u8::MAX, 0..300),
    ) {
        let bytes = Bytes::from(bytes);
        let transfer = RandomId(transfer);
        let chunk = SnapshotChunk { transfer, part, offset, bytes: bytes.clone() };
        let deadline = Duration::from_micros(micros);
        let write = ForwardedWrite { deadline, command: bytes };
        for request in [Request::Snapshot(SnapshotRequest::Chunk(chunk)), Request::Write(write)] {
            let sealed = request.encode(&envelope());
            prop_assert_eq!(Request::decode(&sealed), Ok((envelope(), request)));
        }
    }

    #[test]
    fn any_offer_and_its_answer_read_back(
        last in prop::option::of(any_id()), sizes in prop::collection::vec(any::<u64>(), 0..20),
    ) {
        let parts = sizes.iter().map(|&bytes| SnapshotPart { hash: [7; 32], bytes }).collect();
        let offer = SnapshotOffer {
            vote: vote(1, 1, true), transfer: RandomId([1; 16]), last, membership_id: last,
            membership: None, parts,
        };
        let request = Request::Snapshot(SnapshotRequest::Offer(offer));
        let sealed = request.encode(&envelope());
        prop_assert_eq!(Request::decode(&sealed), Ok((envelope(), request)));
        let response = Response::SnapshotOffer(OfferAnswer::Has(sizes));
        let answer = response.encode(&identity(2, 3), &sealed);
        prop_assert_eq!(Response::decode(&answer, &sealed), Ok((identity(2, 3), response)));
    }
}
