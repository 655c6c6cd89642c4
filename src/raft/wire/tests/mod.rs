//! The documented bytes, both ways, and bytes that are not.

mod any;
mod samples;

use std::fmt::Write;

use bytes::Bytes;

use self::samples::{append, envelope, id, identity, requests, responses, vote};
use super::error::WireError;
use super::request::{AppendEntries, ForwardedWrite, Request, SnapshotRequest, WRITE_COMMANDS_MAX};
use super::response::{
    AppendAnswer, ChunkAnswer, FinishAnswer, OfferAnswer, Refusal, Response, TransferAnswer,
    WriteFailure,
};
use crate::env::rng::SeededRng;
use crate::state::{Applied, CheckResult, Outcome};
use crate::storage::log_entry::EntryRef;
use crate::types::{LogIndex, NodeId, Timestamp, Version};

/// Written from the tables of the parent module by another program.
const GOLDEN: &str = include_str!("golden.txt");

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
fn more_commands_and_results_than_any_message_has_are_refused_before_there_is_room_for_them() {
    for (count, fits) in [(WRITE_COMMANDS_MAX, true), (WRITE_COMMANDS_MAX + 1, false)] {
        let commands = vec![Bytes::new(); count];
        let deadline = std::time::Duration::from_secs(1);
        let write = ForwardedWrite { number: 1, deadline, commands };
        let request = Request::Write(write).encode(&envelope());
        let results = Response::Write(vec![Err(WriteFailure::SessionExpired); count]);
        let response = results.encode(&identity(2, 0x33), &hello());
        for (name, sealed) in [("request", request), ("response", response)] {
            let refused = Err(WireError::TooMany { found: count, most: WRITE_COMMANDS_MAX });
            assert_eq!(decode(name, &sealed), if fits { Ok(()) } else { refused });
        }
    }
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
        Refusal::Repeated,
    ];
    let applied = |outcome| {
        let (version, timestamp) = (Version(1), Timestamp(2));
        Response::Write(vec![Ok(Applied { outcome, version, timestamp, stale_bytes: 0 })])
    };
    let failed = |failure| Response::Write(vec![Err(failure)]);
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
        Response::Write(Vec::new()),
        applied(Outcome::Applied),
        applied(Outcome::Unchanged),
        applied(Outcome::Removed { keys: 4 }),
        applied(Outcome::NotFound),
        applied(Outcome::GuardFailed { guard: 0, found: None }),
        applied(Outcome::SessionOpened),
        applied(Outcome::SessionClosed),
        applied(Outcome::SessionExpired),
        applied(Outcome::RequestTooOld),
        applied(Outcome::ReservedKey),
        applied(Outcome::Checked(CheckResult::Equal)),
        applied(Outcome::Checked(CheckResult::Unknown)),
        failed(WriteFailure::NotLeader { leader: None }),
        failed(WriteFailure::Overloaded(text())),
        failed(WriteFailure::Invalid(text())),
        failed(WriteFailure::NotApplied(text())),
        failed(WriteFailure::OutcomeUnknown(text())),
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
    let request = Request::ReadIndex { lease: false };
    let sealed = request.encode(&envelope);
    assert_eq!(Request::decode(&sealed), Ok((envelope, request)));
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
    // Behind the format and the tag: two identities at the front of a request, one and the
    // checksum of the request at that of a response.
    let (request, response) = (2 + 64, 2 + 44);
    let counts = [
        ("request-append", request + 16 + 17 + 25 + 25, 2),
        ("request-offer", request + 17 + 16, 8),
        ("request-chunk", request + 16 + 4 + 8, 3),
        ("request-write", request + 16, 2),
        ("request-write", request + 16 + 4, 4),
        ("response-offer", response + 1, 2),
        ("response-write", response, 2),
        ("response-write-failed", response + 4 + 2, 3),
    ];
    for (name, at, count) in counts {
        let (_, sealed) = all_encoded().into_iter().find(|(other, _)| *other == name).unwrap();
        let mut bytes = sealed.to_vec();
        assert_eq!(bytes[at..at + 4], [count, 0, 0, 0], "{name} at {at}");
        bytes[at..at + 4].fill(0xff);
        assert_eq!(decode(name, &resealed(bytes)), Err(WireError::UnexpectedEnd), "{name} at {at}");
    }
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
fn commands_and_manifests_are_not_copied() {
    let mut shared = 0;
    for (_, request) in requests() {
        let sealed = request.encode(&envelope());
        let payloads = match Request::decode(&sealed).unwrap().1 {
            Request::Write(write) => write.commands,
            Request::Snapshot(SnapshotRequest::Offer(offer)) => vec![offer.manifest],
            Request::Snapshot(SnapshotRequest::Chunk(chunk)) => vec![chunk.bytes],
            _ => continue,
        };
        for payload in payloads {
            assert!(sealed.as_ptr_range().contains(&payload.as_ptr()), "{request:?}");
            shared += 1;
        }
    }
    assert_eq!(shared, 4);
}

#[test]
fn the_answer_to_another_request_is_refused() {
    let sealed = Response::ReadIndex(None).encode(&identity(2, 0x33), &hello());
    let other = Request::ReadIndex { lease: true }.encode(&envelope());
    assert_eq!(Response::decode(&sealed, &other), Err(WireError::OtherRequest));
}
