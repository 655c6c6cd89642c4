use futures_util::StreamExt;
use openraft::raft::StreamAppendError;

use super::*;
use crate::raft::router::LinkFaults;

type Item = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// Sends all of it in one stream.
async fn stream_all(pair: &Pair, requests: Vec<AppendEntriesRequest<TypeConfig>>) -> Vec<Item> {
    let mut connection = pair.connection.clone();
    let input = futures_util::stream::iter(requests);
    let option = RPCOption::new(TTL);
    connection.stream_append(input, option).await.unwrap().collect().await
}

/// Requests of one entry each, the first with `prev_log_id` none.
fn singles(count: u64) -> Vec<AppendEntriesRequest<TypeConfig>> {
    (0..count).map(|index| entries(index, index, 10)).collect()
}

/// The last entries that the follower acknowledged; panics at anything else.
fn acknowledged(items: &[Item]) -> Vec<u64> {
    items.iter().map(|item| item.as_ref().unwrap().as_ref().unwrap().unwrap().index).collect()
}

#[test]
fn several_requests_are_under_way_and_answers_keep_their_order() {
    run(async {
        let work = Duration::from_millis(10);
        let pair = Pair::new(Habits { work, ..Habits::default() }, NetworkLimits::default());
        let started = tokio::time::Instant::now();
        let items = stream_all(&pair, singles(16)).await;
        assert_eq!(acknowledged(&items), (0..16).collect::<Vec<_>>());
        assert!(started.elapsed() < work * 3, "{:?}", started.elapsed());
        assert_eq!(pair.follower.state.lock().log.len(), 16);
    });
}

#[test]
fn requests_under_way_are_bounded_by_count_and_by_bytes() {
    run(async {
        let habits = Habits { work: Duration::from_millis(10), ..Habits::default() };
        let by_count = NetworkLimits { in_flight_max: 3, ..NetworkLimits::default() };
        let by_bytes = NetworkLimits {
            request_bytes_max: 100,
            in_flight_bytes_max: 250,
            ..NetworkLimits::default()
        };
        for (limits, busiest) in [(by_count, 3), (by_bytes, 3)] {
            let pair = Pair::new(habits.clone(), limits);
            assert_eq!(stream_all(&pair, singles(20)).await.len(), 20);
            let found = pair.follower.state.lock().busiest;
            assert!((2..=busiest).contains(&found), "{found} of {limits:?}");
        }
    });
}

#[test]
fn a_network_that_delays_reorders_and_repeats_is_not_noticed() {
    run(async {
        let pair = Pair::usual();
        let delay = Duration::ZERO..Duration::from_millis(50);
        let faults = LinkFaults { delay, duplicate: 0.3, ..LinkFaults::default() };
        pair.router.set_faults(LEADER, FOLLOWER, faults);
        let items = stream_all(&pair, singles(100)).await;
        assert_eq!(acknowledged(&items), (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn a_lost_request_ends_the_stream_with_a_timeout() {
    run(async {
        let pair = Pair::usual();
        pair.router.cut(LEADER, FOLLOWER);
        let items = stream_all(&pair, singles(5)).await;
        assert!(matches!(&items[..], [Err(RPCError::Timeout(timeout))] if timeout.target == 2));
    });
}

#[test]
fn a_conflict_ends_the_stream_and_names_what_is_missing() {
    run(async {
        let pair = Pair::usual();
        let items = stream_all(&pair, vec![entries(5, 5, 1), entries(6, 6, 1)]).await;
        let [Ok(Err(StreamAppendError::Conflict(missing)))] = &items[..] else {
            panic!("{items:?}")
        };
        assert_eq!(*missing, raft_id(4));
    });
}

#[test]
fn a_conflict_behind_what_was_acknowledged_is_not_told_to_openraft() {
    run(async {
        let habits = Habits { conflict_from: Some(2), ..Habits::default() };
        let pair = Pair::new(habits, NetworkLimits::default());
        let items = stream_all(&pair, singles(5)).await;
        assert_eq!(acknowledged(&items), [0, 1]);
    });
}

/// Hands requests out one after the other, each after a pause.
fn paced(
    requests: Vec<AppendEntriesRequest<TypeConfig>>,
    pause: Duration,
) -> impl futures_util::Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin {
    let paced = futures_util::stream::iter(requests).then(move |request| async move {
        tokio::time::sleep(pause).await;
        request
    });
    Box::pin(paced)
}

#[test]
fn an_answer_does_not_speak_for_a_later_request_that_ends_with_the_same_entry() {
    run(async {
        let (work, pause) = (Duration::from_millis(50), Duration::from_millis(20));
        let limits = NetworkLimits { in_flight_max: 2, ..NetworkLimits::default() };
        let mut pair = Pair::new(Habits { work, ..Habits::default() }, limits);
        // Only a commit mark. It is handed out as long as the first one is under way, and another
        // one as long as it is.
        let mut mark = entries(1, 1, 0);
        mark.entries.clear();
        let requests = vec![entries(0, 0, 1), mark.clone(), mark, entries(1, 1, 1)];
        let started = tokio::time::Instant::now();
        let mut answers = Vec::new();
        let input = paced(requests, pause);
        let mut items = pair.connection.stream_append(input, RPCOption::new(TTL)).await.unwrap();
        while let Some(item) = items.next().await {
            let last = item.unwrap().unwrap().unwrap().index;
            answers.push((last, started.elapsed().as_millis()));
        }
        // The second mark was handed out after 90, and answered after 140.
        let [(0, marked), (1, _)] = answers[..] else { panic!("{answers:?}") };
        assert!((135..155).contains(&marked), "{answers:?}");
    });
}

#[test]
fn a_higher_vote_ends_the_stream() {
    run(async {
        let vote = Vote { term: Term(7), node: FOLLOWER, committed: false };
        let habits = Habits { vote: Some(vote), ..Habits::default() };
        let pair = Pair::new(habits, NetworkLimits::default());
        let items = stream_all(&pair, singles(5)).await;
        let [Ok(Err(StreamAppendError::HigherVote(found)))] = &items[..] else {
            panic!("{items:?}")
        };
        assert_eq!(*found, raft_vote_of(vote));
    });
}

#[test]
fn what_is_too_large_for_one_request_goes_in_several() {
    run(async {
        let limits = NetworkLimits { request_bytes_max: 2500, ..NetworkLimits::default() };
        let pair = Pair::new(Habits::default(), limits);
        let items = stream_all(&pair, vec![entries(0, 4, 1000), entries(5, 5, 9000)]).await;
        assert_eq!(acknowledged(&items), [1, 3, 4, 5]);
        assert_eq!(pair.follower.state.lock().log.len(), 6);
    });
}

#[test]
fn a_single_append_that_is_too_large_is_answered_in_part() {
    run(async {
        let limits = NetworkLimits { request_bytes_max: 2500, ..NetworkLimits::default() };
        let mut pair = Pair::new(Habits::default(), limits);
        let mut append = async |request| {
            pair.connection.append_entries(request, RPCOption::new(TTL)).await.unwrap()
        };
        let part = AppendEntriesResponse::PartialSuccess(Some(raft_id(1)));
        assert_eq!(append(entries(0, 4, 1000)).await, part);
        assert_eq!(append(entries(2, 3, 1000)).await, AppendEntriesResponse::Success);
        assert_eq!(append(entries(9, 9, 1)).await, AppendEntriesResponse::Conflict);
    });
}

#[test]
fn a_heartbeat_that_is_not_answered_ends_before_openraft_gives_it_up() {
    run(async {
        let mut pair = Pair::usual();
        pair.router.isolate(FOLLOWER);
        let started = tokio::time::Instant::now();
        let mut heartbeat = entries(0, 0, 0);
        heartbeat.entries.clear();
        let answer = pair.connection.append_entries(heartbeat, RPCOption::new(TTL)).await;
        assert!(matches!(answer, Err(RPCError::Timeout(_))));
        assert!(started.elapsed() < TTL);
    });
}
