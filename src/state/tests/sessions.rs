//! Requests are applied once, and sessions are bounded.

use super::*;
use crate::command::SessionId;

const ONE: SessionId = SessionId([1; 16]);

/// A state that is given one entry after the other.
#[derive(Clone, Default)]
struct Log {
    state: KvState,
    last: u64,
    clock: u64,
}

impl Log {
    fn with_session() -> Self {
        let mut log = Self::default();
        assert_eq!(log.outcome(Command::open_session(ONE)), Outcome::SessionOpened);
        log
    }

    fn apply(&mut self, command: Command) -> Applied {
        self.last += 1;
        self.state.apply(LogIndex(self.last), Timestamp(self.clock), command).unwrap()
    }

    fn outcome(&mut self, command: Command) -> Outcome {
        self.apply(command).outcome
    }

    fn request(&mut self, request: u64, command: Command) -> Applied {
        self.apply(Command::in_session(ONE, request, command))
    }

    fn set(&mut self, request: u64, value: &'static str) -> Applied {
        self.request(request, Command::set("k", value))
    }

    fn value(&self) -> Option<Value> {
        self.state.as_view().get(b"k").unwrap()
    }
}

#[test]
fn a_repeated_request_gets_the_first_answer_and_changes_nothing() {
    let mut log = Log::with_session();
    let first = log.set(1, "a");
    assert_eq!(first.outcome, Outcome::Applied);
    log.apply(Command::set("k", "b"));
    // Whatever it says now.
    let again = log.set(1, "c");
    assert_eq!(again, Applied { stale_bytes: 0, ..first });
    assert_eq!(log.value().unwrap(), "b");
    log.state.validate().unwrap();
}

#[test]
fn every_outcome_is_an_answer() {
    let mut log = Log::with_session();
    log.apply(Command::set("p/1", "x"));
    let commands = [
        Command::set("p/1", "x"),
        Command::delete("none"),
        Command::guarded([Guard::absent("p/1")], []),
        Command::guarded([Guard::present("none")], []),
        Command::delete_prefix("p/"),
        Command::set("k", "v"),
    ];
    let firsts: Vec<Applied> =
        (1..).zip(&commands).map(|(request, it)| log.request(request, it.clone())).collect();
    for (request, first) in (1..).zip(firsts) {
        let again = log.set(request, "other");
        assert_eq!(again, Applied { stale_bytes: 0, ..first });
        assert_eq!(first.outcome.to_numbers().and_then(Outcome::from_numbers), Some(first.outcome));
    }
}

#[test]
fn sixteen_requests_may_be_under_way_in_any_order() {
    let mut log = Log::with_session();
    log.set(17, "newest");
    assert_eq!(log.set(1, "x").outcome, Outcome::RequestTooOld);
    assert_eq!(log.value().unwrap(), "newest");
    for request in (2..17).rev() {
        assert_eq!(log.request(request, Command::delete("none")).version.0, log.last);
    }
    let repeated = log.set(2, "x");
    assert_eq!((repeated.outcome, repeated.version.0 < log.last), (Outcome::NotFound, true));
    log.set(18, "newer");
    assert_eq!(log.set(2, "x").outcome, Outcome::RequestTooOld);
    assert_eq!(log.state.as_view().sessions().get(ONE).unwrap().answers.len(), 16);
    assert_eq!(log.set(u64::MAX, "last").outcome, Outcome::Applied);
    assert_eq!(log.set(18, "x").outcome, Outcome::RequestTooOld);
    log.state.validate().unwrap();
}

#[test]
fn without_a_session_nothing_is_applied() {
    let mut log = Log::default();
    let refused = log.set(1, "a");
    assert_eq!(refused.outcome, Outcome::SessionExpired);
    assert!(!refused.outcome.is_applied() && !refused.outcome.changed());
    assert_eq!((refused.version, log.value()), (Version(1), None));
    assert!(log.state.as_view().sessions().is_empty());
}

#[test]
fn a_session_expires_an_hour_of_log_time_after_its_last_use() {
    let mut log = Log::with_session();
    log.clock = SESSION_IDLE_MICROS;
    assert_eq!(log.set(1, "a").outcome, Outcome::Applied);
    // A repeated request is a use as well.
    log.clock += SESSION_IDLE_MICROS;
    assert_eq!(log.set(1, "b").outcome, Outcome::Applied);
    log.clock += SESSION_IDLE_MICROS;
    assert_eq!(log.outcome(Command::open_session(ONE)), Outcome::Unchanged);
    let mut later = log.clone();
    later.clock += SESSION_IDLE_MICROS;
    assert_eq!(later.set(1, "c").outcome, Outcome::Applied);
    log.clock += SESSION_IDLE_MICROS + 1;
    assert_eq!(log.set(1, "c").outcome, Outcome::SessionExpired);
    assert_eq!(log.value().unwrap(), "a");
    assert!(log.state.as_view().sessions().is_empty());
}

#[test]
fn a_clock_that_is_behind_makes_no_session_older() {
    let mut log = Log { clock: 10 * SESSION_IDLE_MICROS, ..Log::default() };
    log.outcome(Command::open_session(ONE));
    log.clock = 0;
    assert_eq!(log.set(1, "a").outcome, Outcome::Applied);
    log.clock = 11 * SESSION_IDLE_MICROS;
    assert_eq!(log.set(2, "b").outcome, Outcome::Applied);
    log.state.validate().unwrap();
}

#[test]
fn only_commands_of_sessions_expire_sessions() {
    let mut log = Log::with_session();
    log.clock = 3 * SESSION_IDLE_MICROS;
    log.apply(Command::set("k", "v"));
    assert_eq!(log.state.as_view().sessions().len(), 1);
    assert_eq!(log.outcome(Command::close_session(SessionId([2; 16]))), Outcome::NotFound);
    assert!(log.state.as_view().sessions().is_empty());
}

#[test]
fn copies_that_arrive_after_the_end_of_a_session_do_nothing() {
    let mut log = Log::with_session();
    log.set(1, "a");
    log.apply(Command::delete("k"));
    assert_eq!(log.outcome(Command::close_session(ONE)), Outcome::SessionClosed);
    assert_eq!(log.outcome(Command::open_session(ONE)), Outcome::SessionExpired);
    assert_eq!(log.set(1, "a").outcome, Outcome::SessionExpired);
    assert_eq!(log.outcome(Command::close_session(ONE)), Outcome::NotFound);
    assert_eq!(log.value(), None);
    log.state.validate().unwrap();
}

#[test]
fn opening_a_session_that_is_open_keeps_its_answers() {
    let mut log = Log::with_session();
    let first = log.set(1, "a");
    assert_eq!(log.outcome(Command::open_session(ONE)), Outcome::Unchanged);
    assert_eq!(log.set(1, "b").version, first.version);
}

#[test]
fn one_session_too_many_takes_the_place_of_a_closed_one_or_of_the_one_unused_for_longest() {
    let id = |n: usize| {
        let mut id = [0; 16];
        // The order of ids is not that of use.
        id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        SessionId(id)
    };
    let mut log = Log::default();
    for n in 0..SESSIONS_MAX {
        assert_eq!(log.outcome(Command::open_session(id(n))), Outcome::SessionOpened);
    }
    log.apply(Command::in_session(id(0), 1, Command::set("k", "v")));
    log.apply(Command::close_session(id(5)));
    let mut opened = (SESSIONS_MAX..).map(id);
    let expected_to_go = [5, 1, 2, 3, 4, 6];
    for gone in expected_to_go.map(id) {
        let open_one = |log: &KvState, id| log.as_view().sessions().get(id).is_some();
        assert!(open_one(&log.state, gone));
        log.apply(Command::open_session(opened.next().unwrap()));
        assert!(!open_one(&log.state, gone), "{gone}");
        assert_eq!(log.state.as_view().sessions().len(), SESSIONS_MAX);
    }
    assert!(log.state.as_view().sessions().get(id(0)).is_some());
    log.state.validate().unwrap();
}

#[test]
fn a_view_keeps_the_sessions_that_it_has() {
    let mut log = Log::with_session();
    log.set(1, "a");
    let (view, digest) = (log.state.view(), log.state.digest().unwrap());
    log.set(2, "b");
    log.apply(Command::close_session(ONE));
    assert_eq!(view.sessions().get(ONE).unwrap().answers.len(), 1);
    assert_eq!(StateDigest::of(&view).unwrap(), digest);
}

#[test]
fn sessions_enter_the_full_digest() {
    let mut digests = Vec::new();
    let mut log = Log::with_session();
    let blank = {
        let mut state = KvState::new();
        state.apply_blank(LogIndex(1), Timestamp(0)).unwrap();
        state
    };
    digests.extend([blank.digest().unwrap(), log.state.digest().unwrap()]);
    for request in [1, 2] {
        let mut other = log.clone();
        other.set(request, "a");
        digests.push(other.state.digest().unwrap());
    }
    log.apply(Command::set("k", "a"));
    digests.push(log.state.digest().unwrap());
    for (at, digest) in digests.iter().enumerate() {
        assert!(!digests[..at].contains(digest), "{at}");
    }
}

#[test]
fn whether_a_request_can_be_applied_is_looked_at_beforehand() {
    let log = Log::with_session();
    let command = Command::in_session(ONE, 1, Command::delete_prefix(""));
    log.state.check(&command).unwrap();
    log.state.check(&Command::open_session(ONE)).unwrap();
}
