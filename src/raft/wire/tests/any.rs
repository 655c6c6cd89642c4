//! Messages with any content read back.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::request::{
    AppendEntries, AppendHead, ForwardedWrite, Request, SnapshotChunk, SnapshotOffer,
    SnapshotRequest, Turn,
};
use super::super::response::{OfferAnswer, Response, WriteFailure};
use super::hello;
use super::samples::{envelope, id, identity, vote};
use crate::state::{Applied, Outcome};
use crate::storage::log_entry::{Entry, EntryKind};
use crate::types::{LogId, RandomId, Timestamp, Version};

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

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(0..=u8::MAX, 0..300).prop_map(Bytes::from)
}

fn any_result() -> impl Strategy<Value = Result<Applied, WriteFailure>> {
    let outcome = (any::<u64>(), any::<u32>(), prop::option::of(any::<u64>())).prop_map(
        |(keys, guard, found)| match keys % 3 {
            0 => Outcome::Removed { keys },
            1 => Outcome::GuardFailed { guard: guard as usize, found: found.map(Version) },
            _ => Outcome::SessionOpened,
        },
    );
    let applied = (outcome, any::<[u64; 3]>()).prop_map(|(outcome, numbers)| {
        let [version, timestamp, stale_bytes] = numbers;
        let (version, timestamp) = (Version(version), Timestamp(timestamp));
        Ok(Applied { outcome, version, timestamp, stale_bytes })
    });
    let failure = (".*", any::<[u64; 2]>()).prop_map(|(what, [limit, got])| {
        Err(match limit % 3 {
            0 => WriteFailure::TooLarge { what, limit, got },
            1 => WriteFailure::OutcomeUnknown(what),
            _ => WriteFailure::SessionExpired,
        })
    });
    prop_oneof![applied, failure]
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
        commands in prop::collection::vec(any_bytes(), 0..9), bytes in any_bytes(),
    ) {
        let transfer = RandomId(transfer);
        let chunk = SnapshotChunk { transfer, part, offset, bytes };
        let deadline = Duration::from_micros(micros);
        let write = ForwardedWrite { number: 7, deadline, commands };
        for request in [Request::Snapshot(SnapshotRequest::Chunk(chunk)), Request::Write(write)] {
            let sealed = request.encode(&envelope());
            prop_assert_eq!(Request::decode(&sealed), Ok((envelope(), request)));
        }
    }

    #[test]
    fn any_offer_and_its_answer_read_back(
        manifest in any_bytes(), sizes in prop::collection::vec(any::<u64>(), 0..20),
    ) {
        let vote = vote(1, 1, true);
        let offer = SnapshotOffer { vote, transfer: RandomId([1; 16]), manifest };
        let request = Request::Snapshot(SnapshotRequest::Offer(offer));
        let sealed = request.encode(&envelope());
        prop_assert_eq!(Request::decode(&sealed), Ok((envelope(), request)));
        let response = Response::SnapshotOffer(OfferAnswer::Has(sizes));
        let answer = response.encode(&identity(2, 3), &sealed);
        prop_assert_eq!(Response::decode(&answer, &sealed), Ok((identity(2, 3), response)));
    }

    #[test]
    fn any_results_of_writes_read_back(results in prop::collection::vec(any_result(), 0..20)) {
        let response = Response::Write(results);
        let answer = response.encode(&identity(2, 3), &hello());
        prop_assert_eq!(Response::decode(&answer, &hello()), Ok((identity(2, 3), response)));
    }
}
