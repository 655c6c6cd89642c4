use openraft::raft::TransferLeaderError;

use super::*;
use crate::raft::transport::RequestHandler;
use crate::raft::wire::request::Request;

#[test]
fn votes_and_transfers_are_asked_and_answered() {
    run(async {
        let mut pair = Pair::usual();
        let option = || RPCOption::new(TTL);
        let ask = VoteRequest::new(raft_vote_of(leader_vote()), None);
        let vote = pair.connection.vote(ask.clone(), option()).await.unwrap();
        assert_eq!(vote, VoteResponse::new(ask.vote, Some(raft_id(3)), true));
        let vote = pair.connection.pre_vote(ask.clone(), option()).await.unwrap();
        assert_eq!(vote, VoteResponse::new(ask.vote, None, false));
        let request = TransferLeaderRequest::new(ask.vote, 2, Some(raft_id(4)));
        let answer = pair.connection.transfer_leader(request, option()).await.unwrap();
        let expected = Some(raft_id(4));
        assert_eq!(answer, Err(TransferLeaderError::LogNotFlushed { expected, actual: None }));
    });
}

#[test]
fn writes_read_indexes_and_digests_are_asked_and_answered() {
    run(async {
        let pair = Pair::usual();
        let commands = [&b"\x01cmd"[..], b"", b"\x02other"].map(Bytes::from_static);
        let results = pair.connection.write(commands.to_vec(), TTL).await.unwrap();
        let versions: Vec<_> =
            results.iter().map(|result| result.as_ref().map(|applied| applied.version.0)).collect();
        let invalid = WriteFailure::Invalid("nothing to do".to_owned());
        assert_eq!(versions, [Ok(4), Err(&invalid), Ok(6)]);
        assert_eq!(pair.connection.read_index(false, TTL).await, Ok(Some(id(8))));
        assert_eq!(pair.connection.read_index(true, TTL).await, Ok(Some(id(7))));
        assert_eq!(pair.connection.digest(LogIndex(1000), TTL).await, Ok(Some([3; 16])));
        assert_eq!(pair.connection.digest(LogIndex(7), TTL).await, Ok(None));
    });
}

#[test]
fn hello_is_answered_by_whoever_is_there() {
    run(async {
        let other = Some(RandomId([99; 16]));
        let pair = Pair::expecting(Habits::default(), NetworkLimits::default(), other);
        let (from, greeting) = pair.connection.hello(TTL).await.unwrap();
        assert_eq!(from, identity(FOLLOWER));
        assert_eq!(greeting, Greeting { pristine: true, last: None });
    });
}

#[test]
fn a_wiped_follower_is_unreachable_for_openraft_and_never_asked() {
    run(async {
        let other = Some(RandomId([99; 16]));
        let mut pair = Pair::expecting(Habits::default(), NetworkLimits::default(), other);
        let refused = pair.connection.read_index(false, TTL).await;
        assert_eq!(refused, Err(CallError::Refused(Refusal::WrongIncarnation)));
        let answer = pair.connection.append_entries(entries(0, 0, 1), RPCOption::new(TTL)).await;
        assert!(matches!(answer, Err(RPCError::Unreachable(_))));
        assert_eq!(pair.follower.state.lock().appends, 0);
    });
}

/// Answers whatever it is asked, as a directory that should not.
struct Impostor;

impl RequestHandler for Impostor {
    fn handle(&self, request: Bytes) -> Boxed<'static, Bytes> {
        let from = Identity { incarnation: RandomId([99; 16]), ..identity(FOLLOWER) };
        now(Response::ReadIndex(Some(id(1))).encode(&from, &request))
    }
}

#[test]
fn an_answer_of_another_directory_does_not_count() {
    run(async {
        let pair = Pair::usual();
        pair.router.register(FOLLOWER, Arc::new(Impostor));
        let answer = pair.connection.read_index(false, TTL).await;
        assert!(matches!(answer, Err(CallError::Stranger { .. })), "{answer:?}");
        assert!(answer.unwrap_err().is_identity());
    });
}

#[test]
fn a_node_that_has_stopped_is_unreachable_for_openraft() {
    run(async {
        let habits = Habits { refusal: Some(Refusal::Stopped), ..Habits::default() };
        let mut pair = Pair::new(habits, NetworkLimits::default());
        let ask = VoteRequest::new(raft_vote_of(leader_vote()), None);
        let answer = pair.connection.vote(ask, RPCOption::new(TTL)).await;
        assert!(matches!(answer, Err(RPCError::Unreachable(_))));
    });
}

#[test]
fn a_request_that_surely_did_not_arrive_is_told_from_one_that_may_have() {
    run(async {
        let pair = Pair::usual();
        let write = || pair.connection.write(vec![Bytes::from_static(b"\x01cmd")], TTL);
        pair.router.cut(FOLLOWER, LEADER);
        assert_eq!(write().await, Err(CallError::Timeout(TTL)));
        pair.router.unregister(FOLLOWER);
        assert!(matches!(write().await, Err(CallError::NotSent(_))));
    });
}

/// A network that brings nothing, and remembers where it was to bring it.
#[derive(Default)]
struct Addresses(Mutex<Vec<String>>);

impl Transport for Addresses {
    fn call(
        &self,
        _target: NodeId,
        address: &str,
        _request: Bytes,
        _deadline: Duration,
    ) -> Boxed<'static, Result<Bytes, TransportError>> {
        self.0.lock().push(address.to_owned());
        Box::pin(std::future::ready(Err(TransportError::Timeout)))
    }
}

#[test]
fn a_connection_follows_its_directory_to_another_address_and_no_other() {
    run(async {
        let (transport, env) = (Arc::new(Addresses::default()), Env::simulated(1).env);
        let limits = NetworkLimits::default();
        let sent = Arc::clone(&transport) as Arc<dyn Transport>;
        let factory = NetworkFactory::new(identity(LEADER), sent, limits, env).unwrap();
        let peer = |address: &str, directory: u8| Peer {
            address: address.to_owned(),
            incarnation: Some(RandomId([directory; 16])),
        };
        let connection = factory.connect(FOLLOWER, &peer("first", 2));
        for members in [peer("second", 2), peer("another", 3)] {
            drop(connection.read_index(false, TTL).await);
            let nodes = BTreeMap::from([(LEADER, peer("own", 1)), (FOLLOWER, members)]);
            factory.set_members(&Membership::new(vec![[LEADER].into()], nodes).unwrap());
            drop(connection.read_index(false, TTL).await);
        }
        assert_eq!(*transport.0.lock(), ["first", "second", "second", "first"]);
    });
}

#[test]
fn bytes_that_are_no_request_are_answered_with_a_refusal() {
    run(async {
        let pair = Pair::usual();
        let server = Server::new(Arc::clone(&pair.follower) as _);
        for bytes in [&b""[..], b"nonsense", &[1; 200]] {
            let request = Bytes::copy_from_slice(bytes);
            let answer = Response::decode(&server.answer(request.clone()).await, &request);
            let refused = matches!(answer, Ok((_, Response::Refused(Refusal::Unreadable { .. }))));
            assert!(refused, "{answer:?}");
        }
        // An entry whose payload is no command.
        let mut append = entries(0, 0, 1);
        append.entries.clear();
        let sealed = convert::encode_append(&pair.connection.envelope(), Turn::default(), &append);
        let Ok((envelope, Request::AppendEntries(mut message))) = Request::decode(&sealed.unwrap())
        else {
            panic!()
        };
        message.entries.push(crate::storage::log_entry::Entry {
            id: id(0),
            clock: Timestamp(1),
            kind: crate::storage::log_entry::EntryKind::Normal,
            payload: Bytes::from_static(b"nonsense"),
        });
        let request = Request::AppendEntries(message).encode(&envelope);
        let answer = Response::decode(&server.answer(request.clone()).await, &request);
        assert!(matches!(answer, Ok((_, Response::Refused(Refusal::Unreadable { .. })))));
        assert_eq!(pair.follower.state.lock().appends, 0);
    });
}
