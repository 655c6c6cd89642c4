use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::command::definition::{Condition, Guard, SessionId, StateCheck};
use crate::command::lease::{LeaseId, Until};
use crate::command::membership::{MembershipError, Peer};
use crate::types::{LogIndex, NodeId, RandomId, Version};

const LIMIT: usize = 1 << 20;

fn decoded(payload: &[u8]) -> Result<Command, DecodeError> {
    decode(&Bytes::copy_from_slice(payload), LIMIT)
}

fn assert_golden(command: &Command, golden: &[u8]) {
    assert_eq!(encode(command).to_payload(), golden, "{command:?}");
    assert_eq!(encoded_bytes(command), golden.len());
    assert_eq!(decoded(golden).as_ref(), Ok(command));
}

#[test]
fn set_golden() {
    assert_golden(&Command::set("k1", "abc"), &[2, 2, b'k', b'1', b'a', b'b', b'c']);
    let long = |len: usize, lead: &[u8]| {
        let key = vec![b'k'; len];
        let golden = [&[2], lead, &key, b"v"].concat();
        assert_golden(&Command::set(key, "v"), &golden);
    };
    long(0, &[0]);
    long(0x7f, &[0x7f]);
    long(0x80, &[0x80, 1]);
    long(0x3fff, &[0xff, 0x7f]);
    long(0x4000, &[0x80, 0x80, 1]);
    long(65_536, &[0x80, 0x80, 4]);
}

/// As a set within a batch or a session still stands.
const OLDER_SET: [u8; 26] =
    [1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'k', b'1', 3, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', b'c'];

#[test]
fn the_older_form_of_a_set_is_read() {
    assert_eq!(decoded(&OLDER_SET), Ok(Command::set("k1", "abc")));
    // A key that no limit lets through has no other.
    let long = Command::set(vec![b'k'; 1 << 21], "v");
    let payload = encode(&long).to_payload();
    assert_eq!((payload[0], payload.len()), (1, encoded_bytes(&long)));
    assert_eq!(decode(&payload.into(), usize::MAX), Ok(long));
}

#[test]
fn a_set_whose_length_is_not_in_its_shortest_form_is_refused() {
    for content in [&[][..], &[0x80], &[0x80, 0], &[0x80, 0x80, 0], &[0xff, 0xff, 0xff, 1], &[3, 1]]
    {
        let payload = [&[2], content].concat();
        assert_eq!(decoded(&payload), Err(DecodeError::UnexpectedEnd), "{content:?}");
    }
}

#[test]
fn delete_golden() {
    let golden = [1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b'k'];
    assert_golden(&Command::delete("k"), &golden);
}

#[test]
fn delete_prefix_golden() {
    let golden = [1, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'/'];
    assert_golden(&Command::delete_prefix("a/"), &golden);
}

#[test]
fn batch_golden() {
    let command = Command::guarded(
        [
            Guard::absent("a"),
            Guard::present("b"),
            Guard::version_equals("c", Version(0x0102)),
            Guard::value_equals("d", "x"),
        ],
        [Command::set("k", "v"), Command::delete("l"), Command::delete_prefix("")],
    );
    let golden = [
        1, 3, 0, 0, 0, // format, batch
        4, 0, 0, 0, 0, 0, 0, 0, // four guards
        1, 0, 0, 0, 0, 0, 0, 0, b'a', 0, 0, 0, 0, // absent
        1, 0, 0, 0, 0, 0, 0, 0, b'b', 1, 0, 0, 0, // present
        1, 0, 0, 0, 0, 0, 0, 0, b'c', 2, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, // version equals
        1, 0, 0, 0, 0, 0, 0, 0, b'd', 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
        b'x', // value equals
        3, 0, 0, 0, 0, 0, 0, 0, // three commands
        0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b'k', 1, 0, 0, 0, 0, 0, 0, 0, b'v', // set
        1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b'l', // delete
        2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // delete everything
    ];
    assert_golden(&command, &golden);
}

const SESSION: SessionId = SessionId([0xa1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xb6]);

/// Format, tag and session.
fn session_golden(tag: u8, rest: &[u8]) -> Vec<u8> {
    [&[1, tag, 0, 0, 0], &SESSION.0[..], rest].concat()
}

#[test]
fn sessions_golden() {
    assert_golden(&Command::open_session(SESSION), &session_golden(4, &[]));
    assert_golden(&Command::close_session(SESSION), &session_golden(6, &[]));
}

#[test]
fn in_session_golden() {
    let request = [3, 2, 1, 0, 0, 0, 0, 0];
    let within = |change: Command| {
        // A request, then the change as it stands alone, but for the format; a set in its older
        // form.
        let alone = match change {
            Command::Set { .. } => OLDER_SET.to_vec(),
            _ => encode(&change).to_payload(),
        };
        let golden = session_golden(5, &[&request[..], &alone[1..]].concat());
        (Command::in_session(SESSION, 0x0001_0203, change), golden)
    };
    for change in [
        Command::set("k1", "abc"),
        Command::delete("k"),
        Command::delete_prefix("a/"),
        Command::guarded([Guard::present("b")], [Command::set("k", "v"), Command::delete("l")]),
    ] {
        let (command, golden) = within(change);
        assert_golden(&command, &golden);
    }
    let (command, golden) = within(Command::set("k1", "abc"));
    let set = [0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'k', b'1', 3, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(golden, session_golden(5, &[&request[..], &set, b"abc"].concat()));
    // The value is not copied here either.
    assert_eq!(encode(&command).body, b"abc");
}

#[test]
fn check_golden() {
    let index = LogIndex(0x0102);
    let none = [1, 7, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0];
    assert_golden(&Command::Check { index, digest: None }, &none);
    let some = [&[1, 7, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 1][..], &[9; 16]].concat();
    assert_golden(&Command::Check { index, digest: Some(StateCheck([9; 16])) }, &some);
    let mut other = none;
    other[13] = 2;
    assert_eq!(decoded(&other), Err(DecodeError::UnknownTag { what: "value", found: 2 }));
}

#[test]
fn times_and_leases_golden() {
    let lease = LeaseId(SESSION.0);
    let expiring = [
        1, 9, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, // after 258 microseconds
        1, 0, 0, 0, 0, 0, 0, 0, b'k', 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b',
    ];
    let command = Command::set_expiring("k", "ab", Until::After(0x0102));
    assert_golden(&command, &expiring);
    assert_eq!(encode(&command).body, b"ab");
    let leased = [&[1, 9, 0, 0, 0, 1, 0, 0, 0][..], &SESSION.0, &expiring[17..]].concat();
    assert_golden(&Command::set_expiring("k", "ab", Until::Lease(lease)), &leased);
    let attach = [&[1, 14, 0, 0, 0, 1, 0, 0, 0][..], &SESSION.0, &expiring[17..26]].concat();
    let until = Until::Lease(lease);
    assert_golden(&Command::Attach { key: "k".into(), until }, &attach);
    let ttl = [2, 1, 0, 0, 0, 0, 0, 0];
    let granted = session_golden(10, &ttl);
    assert_golden(&Command::GrantLease { lease, ttl: 0x0102 }, &granted);
    assert_golden(&Command::KeepAlive { lease }, &session_golden(11, &[]));
    assert_golden(&Command::RevokeLease { lease }, &session_golden(12, &[]));
    let expire = [&[1, 13, 0, 0, 0][..], &ttl].concat();
    assert_golden(&Command::Expire { limit: 0x0102 }, &expire);
    let mut other = leased;
    other[5] = 2;
    assert_eq!(decoded(&other), Err(DecodeError::UnknownTag { what: "time", found: 2 }));
}

#[test]
fn a_session_holds_a_change_and_nothing_else() {
    for tag in [4, 5, 6, 7, 9, 10, 13, 14, 15] {
        let golden =
            session_golden(5, &[&[1, 0, 0, 0, 0, 0, 0, 0, tag, 0, 0, 0], &SESSION.0[..]].concat());
        let found = u32::from(tag);
        assert_eq!(decoded(&golden), Err(DecodeError::UnknownTag { what: "command", found }));
    }
    let mut batch = encode(&Command::batch([Command::delete("a")])).head;
    for tag in 4..=15 {
        batch[21] = tag;
        let found = u32::from(tag);
        let what = "command in a batch";
        assert_eq!(decoded(&batch), Err(DecodeError::UnknownTag { what, found }));
    }
}

#[test]
#[should_panic(expected = "not validated")]
fn a_session_within_a_session_is_never_written() {
    let inner = Command::in_session(SESSION, 1, Command::delete("a"));
    let _ = encode(&Command::in_session(SESSION, 1, inner));
}

#[test]
#[should_panic(expected = "not validated")]
fn a_session_within_a_batch_is_never_written() {
    let _ = encode(&Command::batch([Command::open_session(SESSION)]));
}

#[test]
fn membership_golden() {
    let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
    let nodes = [(NodeId(1), Peer::at("a:1")), (NodeId(2), Peer::default())];
    let membership = Membership::new(vec![set(&[1]), set(&[1, 2])], nodes.into()).unwrap();
    let golden = [
        1, // format
        2, 0, 0, 0, 0, 0, 0, 0, // two sets of voters
        1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, // node 1
        2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0,
        0, // nodes 1 and 2
        2, 0, 0, 0, 0, 0, 0, 0, // two nodes
        1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, b'a', b':', b'1', // node 1
        2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // node 2
    ];
    assert_eq!(encode_membership(&membership), golden);
    assert_eq!(decode_membership(&golden), Ok(membership));
}

#[test]
fn membership_with_incarnations_golden() {
    let bound = Peer { address: "a:1".to_owned(), incarnation: Some(RandomId([9; 16])) };
    let nodes = [(NodeId(1), bound), (NodeId(2), Peer::default())];
    let membership = Membership::new(vec![[NodeId(1)].into()], nodes.into()).unwrap();
    let golden = [
        &[2_u8][..],                                                               // format
        &[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], // {1}
        &[2, 0, 0, 0, 0, 0, 0, 0],                                                 // two nodes
        &[1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, b'a', b':', b'1'],
        &[9; 16],
        &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0; 16],
    ]
    .concat();
    assert_eq!(encode_membership(&membership), golden);
    assert_eq!(decode_membership(&golden), Ok(membership));
}

#[test]
fn a_membership_without_incarnations_has_one_encoding_only() {
    let mut payload = encode_membership(&Membership::single(NodeId(1)));
    payload[0] = BOUND_MEMBERSHIP_FORMAT;
    payload.extend_from_slice(&[0; 16]);
    assert_eq!(decode_membership(&payload), Err(DecodeError::NotCanonical));
}

#[test]
fn the_value_of_a_set_is_shared_and_not_copied() {
    let value = Bytes::from(vec![7_u8; 100]);
    let command = Command::set("k", value.clone());
    let encoded = encode(&command);
    assert_eq!(encoded.body.as_ptr(), value.as_ptr());
}

#[test]
fn a_decoded_command_shares_the_payload() {
    let payload = Bytes::from(encode(&Command::set("key", "value")).to_payload());
    let Ok(Command::Set { value, .. }) = decode(&payload, LIMIT) else { panic!("not a set") };
    assert!(payload.as_ptr_range().contains(&value.as_ptr()));
}

/// The same enum, owned and derived: what plain `bincode` makes of it is the documented layout.
#[derive(bincode::Encode)]
enum Mirror {
    Set { key: Vec<u8>, value: Vec<u8> },
    Delete { key: Vec<u8> },
    DeletePrefix { prefix: Vec<u8> },
    Batch { guards: Vec<(Vec<u8>, MirrorCondition)>, commands: Vec<Mirror> },
    OpenSession { session: [u8; 16] },
    InSession { session: [u8; 16], request: u64, command: Box<Mirror> },
    CloseSession { session: [u8; 16] },
    Check { index: u64, digest: Option<[u8; 16]> },
    Reserved { batch: Box<Mirror> },
    SetExpiring { until: MirrorUntil, key: Vec<u8>, value: Vec<u8> },
    GrantLease { lease: [u8; 16], ttl: u64 },
    KeepAlive { lease: [u8; 16] },
    RevokeLease { lease: [u8; 16] },
    Expire { limit: u64 },
    Attach { until: MirrorUntil, key: Vec<u8> },
}

#[derive(bincode::Encode)]
enum MirrorUntil {
    After(u64),
    Lease([u8; 16]),
}

#[derive(bincode::Encode)]
enum MirrorCondition {
    Absent,
    Present,
    VersionEquals(u64),
    ValueEquals(Vec<u8>),
}

fn mirror(command: &Command) -> Mirror {
    let condition = |condition: &Condition| match condition {
        Condition::Absent => MirrorCondition::Absent,
        Condition::Present => MirrorCondition::Present,
        Condition::VersionEquals(version) => MirrorCondition::VersionEquals(version.0),
        Condition::ValueEquals(value) => MirrorCondition::ValueEquals(value.to_vec()),
    };
    match command {
        Command::Set { key, value } => Mirror::Set { key: key.to_vec(), value: value.to_vec() },
        Command::Delete { key } => Mirror::Delete { key: key.to_vec() },
        Command::DeletePrefix { prefix } => Mirror::DeletePrefix { prefix: prefix.to_vec() },
        Command::Batch { guards, commands } => Mirror::Batch {
            guards: guards.iter().map(|g| (g.key.to_vec(), condition(&g.condition))).collect(),
            commands: commands.iter().map(mirror).collect(),
        },
        Command::OpenSession { session } => Mirror::OpenSession { session: session.0 },
        Command::InSession { session, request, command } => Mirror::InSession {
            session: session.0,
            request: *request,
            command: Box::new(mirror(command)),
        },
        Command::CloseSession { session } => Mirror::CloseSession { session: session.0 },
        Command::Check { index, digest } => {
            Mirror::Check { index: index.0, digest: digest.map(|digest| digest.0) }
        }
        Command::Reserved(batch) => {
            let (guards, commands) = (batch.guards.clone(), batch.commands.clone());
            Mirror::Reserved { batch: Box::new(mirror(&Command::Batch { guards, commands })) }
        }
        Command::SetExpiring { key, value, until } => Mirror::SetExpiring {
            until: mirror_until(*until),
            key: key.to_vec(),
            value: value.to_vec(),
        },
        Command::GrantLease { lease, ttl } => Mirror::GrantLease { lease: lease.0, ttl: *ttl },
        Command::KeepAlive { lease } => Mirror::KeepAlive { lease: lease.0 },
        Command::RevokeLease { lease } => Mirror::RevokeLease { lease: lease.0 },
        Command::Expire { limit } => Mirror::Expire { limit: *limit },
        Command::Attach { key, until } => {
            Mirror::Attach { until: mirror_until(*until), key: key.to_vec() }
        }
    }
}

const fn mirror_until(until: Until) -> MirrorUntil {
    match until {
        Until::After(micros) => MirrorUntil::After(micros),
        Until::Lease(lease) => MirrorUntil::Lease(lease.0),
    }
}

#[test]
fn unknown_formats_and_tags_are_named() {
    assert_eq!(decoded(&[3, 0, 0, 0, 0]), Err(DecodeError::UnknownFormat { found: 3, max: 2 }));
    assert_eq!(decoded(&[0]), Err(DecodeError::UnknownFormat { found: 0, max: 2 }));
    assert_eq!(decoded(&[]), Err(DecodeError::UnexpectedEnd));
    let tag = |what, found| Err(DecodeError::UnknownTag { what, found });
    assert_eq!(decoded(&[1, 15, 0, 0, 0]), tag("command", 15));
    let mut guard = encode(&Command::guarded([Guard::absent("a")], [])).head;
    guard[22] = 9;
    assert_eq!(decoded(&guard), tag("condition", 9));
    let mut single = encode(&Command::batch([Command::delete("a")])).head;
    single[21] = 9;
    assert_eq!(decoded(&single), tag("command in a batch", 9));
}

#[test]
fn a_batch_within_a_batch_is_refused() {
    let mut payload = encode(&Command::batch([Command::delete("a")])).head;
    payload[21] = 3;
    payload.truncate(25);
    assert_eq!(decoded(&payload), Err(DecodeError::NestedBatch));
}

#[test]
#[should_panic(expected = "a batch within a batch")]
fn a_batch_within_a_batch_is_never_written() {
    let inner = Command::batch([Command::delete("a")]);
    let _ = encode(&Command::batch([inner]));
}

#[test]
fn every_cut_and_every_extra_byte_is_refused() {
    let batch = Command::guarded(
        [Guard::value_equals("d", "x")],
        [Command::set("k", "v"), Command::delete("l")],
    );
    let (index, digest) = (LogIndex(7), Some(StateCheck([1; 16])));
    for command in [
        Command::in_session(SESSION, 1, batch.clone()),
        batch,
        Command::open_session(SESSION),
        Command::close_session(SESSION),
        Command::Check { index, digest },
        Command::set_expiring("k", "v", Until::After(5)),
        Command::Attach { key: "k".into(), until: Until::Lease(LeaseId([1; 16])) },
        Command::GrantLease { lease: LeaseId([1; 16]), ttl: 5 },
        Command::KeepAlive { lease: LeaseId([1; 16]) },
        Command::RevokeLease { lease: LeaseId([1; 16]) },
        Command::Expire { limit: 5 },
    ] {
        let mut payload = encode(&command).to_payload();
        for cut in 0..payload.len() {
            assert_eq!(decoded(&payload[..cut]), Err(DecodeError::UnexpectedEnd), "{cut}");
        }
        payload.push(0);
        assert_eq!(decoded(&payload), Err(DecodeError::TrailingBytes { extra: 1 }));
    }
}

#[test]
fn lengths_and_counts_beyond_the_payload_are_refused_before_allocating() {
    for length in [3, 1 << 20, 1 << 60, u64::MAX] {
        let mut delete = vec![1, 1, 0, 0, 0];
        delete.extend_from_slice(&u64::to_le_bytes(length));
        delete.extend_from_slice(b"ab");
        assert_eq!(decoded(&delete), Err(DecodeError::UnexpectedEnd), "{length}");
        let mut batch = vec![1, 3, 0, 0, 0];
        batch.extend_from_slice(&u64::to_le_bytes(length));
        assert_eq!(decoded(&batch), Err(DecodeError::UnexpectedEnd), "{length}");
    }
}

#[test]
fn a_payload_is_allowed_at_the_limit_and_refused_one_past_it() {
    let payload = Bytes::from(encode(&Command::delete("key")).head);
    assert!(decode(&payload, payload.len()).is_ok());
    let got = payload.len();
    let limit = got - 1;
    assert_eq!(decode(&payload, limit), Err(DecodeError::TooLarge { limit, got }));
}

#[test]
fn memberships_that_were_never_written_are_refused() {
    let valid = encode_membership(&Membership::single(NodeId(5)));
    let with = |at: usize, byte: u8| {
        let mut changed = valid.clone();
        changed[at] = byte;
        decode_membership(&changed)
    };
    assert_eq!(with(0, 3), Err(DecodeError::UnknownFormat { found: 3, max: 1 }));
    let voter = NodeId(6);
    let error = MembershipError::VoterWithoutAddress { voter };
    assert_eq!(with(17, 6), Err(DecodeError::Membership(error)));
    let none = [vec![1], vec![0; 16]].concat();
    let error = MembershipError::NoVoters;
    assert_eq!(decode_membership(&none), Err(DecodeError::Membership(error)));
}

#[test]
fn node_ids_out_of_order_are_refused() {
    let numbers = [1_u64, 2, 6, 6, 1, 6, 0];
    let payload: Vec<u8> =
        [1].into_iter().chain(numbers.into_iter().flat_map(u64::to_le_bytes)).collect();
    assert_eq!(decode_membership(&payload), Err(DecodeError::NotAscending));
}

#[test]
fn an_address_that_is_not_text_is_refused() {
    let numbers = [1_u64, 1, 6, 1, 6, 1];
    let mut payload: Vec<u8> =
        [1].into_iter().chain(numbers.into_iter().flat_map(u64::to_le_bytes)).collect();
    payload.push(0xff);
    assert_eq!(decode_membership(&payload), Err(DecodeError::NotUtf8));
}

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn single() -> impl Strategy<Value = Command> {
    prop_oneof![
        (bytes(), bytes()).prop_map(|(key, value)| Command::Set { key, value }),
        bytes().prop_map(|key| Command::Delete { key }),
        bytes().prop_map(|prefix| Command::DeletePrefix { prefix }),
    ]
}

fn guard() -> impl Strategy<Value = Guard> {
    let condition = prop_oneof![
        Just(Condition::Absent),
        Just(Condition::Present),
        any::<u64>().prop_map(|version| Condition::VersionEquals(Version(version))),
        bytes().prop_map(Condition::ValueEquals),
    ];
    (bytes(), condition).prop_map(|(key, condition)| Guard { key, condition })
}

fn change() -> impl Strategy<Value = Command> {
    let guards = proptest::collection::vec(guard(), 0..4);
    let commands = proptest::collection::vec(single(), 0..4);
    prop_oneof![
        single(),
        (guards, commands).prop_map(|(guards, commands)| Command::Batch { guards, commands }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let session = || any::<[u8; 16]>().prop_map(SessionId);
    let check = (any::<u64>(), proptest::option::of(any::<[u8; 16]>()));
    let lease = || any::<[u8; 16]>().prop_map(LeaseId);
    let until = || prop_oneof![any::<u64>().prop_map(Until::After), lease().prop_map(Until::Lease)];
    let reserved = (proptest::collection::vec(guard(), 0..4), single());
    prop_oneof![
        1 => reserved.prop_map(|(guards, single)| Command::reserved(guards, [single])),
        1 => (bytes(), bytes(), until())
            .prop_map(|(key, value, until)| Command::set_expiring(key, value, until)),
        1 => (bytes(), until()).prop_map(|(key, until)| Command::Attach { key, until }),
        1 => (lease(), any::<u64>()).prop_map(|(lease, ttl)| Command::GrantLease { lease, ttl }),
        1 => lease().prop_map(|lease| Command::KeepAlive { lease }),
        1 => lease().prop_map(|lease| Command::RevokeLease { lease }),
        1 => any::<u64>().prop_map(|limit| Command::Expire { limit }),
        4 => change(),
        2 => (session(), any::<u64>(), change())
            .prop_map(|(session, request, change)| Command::in_session(session, request, change)),
        1 => session().prop_map(Command::open_session),
        1 => session().prop_map(Command::close_session),
        1 => check.prop_map(|(index, digest)| {
            Command::Check { index: LogIndex(index), digest: digest.map(StateCheck) }
        }),
    ]
}

proptest! {
    #[test]
    fn round_trip_and_equal_to_plain_bincode(command in command()) {
        let payload = encode(&command).to_payload();
        prop_assert_eq!(payload.len(), encoded_bytes(&command));
        if !matches!(command, Command::Set { .. }) {
            let plain = bincode::encode_to_vec(mirror(&command), bincode::config::legacy());
            prop_assert_eq!(&payload[1..], &plain.unwrap());
        }
        prop_assert_eq!(decoded(&payload), Ok(command));
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        tag in 0_u8..16,
        rest in proptest::collection::vec(prop_oneof![Just(0_u8), 0_u8..4, any::<u8>()], 0..200),
    ) {
        let payload = Bytes::from([vec![1, tag, 0, 0, 0], rest.clone()].concat());
        if let Ok(command) = decode(&payload, LIMIT)
            && tag != 0
        {
            prop_assert_eq!(encode(&command).to_payload(), payload.to_vec());
        }
        let payload = Bytes::from([vec![2], rest].concat());
        if let Ok(command) = decode(&payload, LIMIT) {
            prop_assert_eq!(encode(&command).to_payload(), payload.to_vec());
        }
        let _ = decode_membership(&payload);
    }

    #[test]
    fn a_changed_byte_never_panics(
        command in command(),
        at in any::<usize>(),
        byte in any::<u8>(),
    ) {
        let mut payload = encode(&command).to_payload();
        let at = at % payload.len();
        payload[at] = byte;
        if let Ok(other) = decoded(&payload)
            && !payload.starts_with(&OLDER_SET[..5])
        {
            prop_assert_eq!(encode(&other).to_payload(), payload);
        }
    }
}

#[test]
fn reserved_golden() {
    let key = crate::command::keyspace::reserved_key(b"k");
    let command = Command::reserved([Guard::absent(key.clone())], [Command::delete(key)]);
    let golden = [
        1, 8, 0, 0, 0, 3, 0, 0, 0, // format, reserved, batch
        1, 0, 0, 0, 0, 0, 0, 0, // one guard
        9, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, b'k', 0, 0, 0, 0, 1, 0, 0,
        0, 0, 0, 0, 0, // one command
        1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, b'k',
    ];
    assert_golden(&command, &golden);
    let session = Command::in_session(SessionId([7; 16]), 3, command);
    assert_golden(&session, &encode(&session).to_payload());
}

#[test]
fn only_a_batch_may_stand_behind_the_tag_of_a_reserved_one() {
    let payload = [1, 8, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, b'k'];
    assert_eq!(decoded(&payload), Err(DecodeError::NotABatch));
    assert!(decoded(&[1, 8, 0, 0, 0, 8, 0, 0, 0]).is_err());
}
