//! What one node knows of failed logins and has not told the others yet.
//!
//! A node tells failures five at a time, so that most cost no write. It begins no sixth check that
//! could fail before the five are told, and one user's failures that are being told hold up the
//! next check of that user. So other nodes never lack more than five of its failures, and n nodes
//! let at most `5 (n + 1)` wrong passwords be checked before all of them refuse: when the tenth
//! failure is told, five were known to all, and each of the n has five of its own.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::failures::{FAILURES_MAX, WINDOW_MICROS, Written};
use crate::types::{Timestamp, Version};

/// Failures that are told in one command.
pub(super) const TOLD_TOGETHER: u64 = 5;
/// Users that are remembered before those are forgotten of whom nothing is needed.
const USERS_KEPT: usize = 10_000;
/// How often the log is asked for its time at most.
const ASKED_EVERY: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug, Default)]
struct Here {
    /// Passwords that are being checked.
    checking: u64,
    /// Failures that are on their way to the others.
    telling: u64,
    /// Failures that no command tells yet, and when the last of them was.
    untold: u64,
    failed_at: Duration,
    /// Which row this node has seen, and when first.
    seen: Option<(Version, Duration)>,
}

/// What may be done about a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Check the password.
    Check,
    /// Too many failures.
    Refuse,
    /// What is under way decides: look again when it has ended.
    Wait,
    /// Tell these first: that failed before.
    Tell(u64),
}

impl Here {
    /// With `count` failures known to all.
    fn verdict(&self, count: u64) -> Verdict {
        let own = self.untold.saturating_add(self.checking);
        if self.telling > 0 {
            Verdict::Wait
        } else if count.saturating_add(own) >= FAILURES_MAX {
            // A check under way may yet be a right password, and make room.
            if self.checking > 0 { Verdict::Wait } else { self.tell_or_refuse() }
        } else if own < TOLD_TOGETHER {
            Verdict::Check
        } else if self.checking > 0 {
            Verdict::Wait
        } else {
            self.tell_or_refuse()
        }
    }

    fn tell_or_refuse(&self) -> Verdict {
        if self.untold > 0 { Verdict::Tell(self.untold) } else { Verdict::Refuse }
    }

    /// One check ended with a failure. Returns whether it is time to tell.
    fn fail(&mut self, count: u64) -> bool {
        self.checking = self.checking.saturating_sub(1);
        self.untold = self.untold.saturating_add(1);
        self.untold >= TOLD_TOGETHER || count.saturating_add(self.untold) >= FAILURES_MAX
    }

    fn take_untold(&mut self) -> u64 {
        let told = std::mem::take(&mut self.untold);
        self.telling = self.telling.saturating_add(told);
        told
    }

    const fn is_idle(&self) -> bool {
        self.checking == 0 && self.telling == 0 && self.untold == 0
    }

    /// Failures of long ago do not count.
    fn forget_old(&mut self, elapsed: Duration) {
        let age = elapsed.saturating_sub(self.failed_at).as_micros();
        if self.telling == 0 && age > u128::from(WINDOW_MICROS) {
            self.untold = 0;
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    users: HashMap<String, Here>,
    /// Counts tellings that ended: what was read before one may lack it.
    epoch: u64,
    asked_at: Option<Duration>,
}

/// Failures of this node, by user.
#[derive(Debug, Default)]
pub(super) struct FailuresHere {
    table: Mutex<Table>,
    ended: Condvar,
}

/// What is to be done about a login.
#[derive(Debug)]
pub(super) enum Begun<'a> {
    /// Check the password, and say how it ended.
    Check(Turn<'a>),
    /// Refuse: too many failures.
    Refuse,
    /// Read again: more is known by now.
    Stale,
    /// Tell these failures, and read again.
    Tell(Telling<'a>),
}

/// One check under way; dropped without an answer it counts for nothing.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    here: &'a FailuresHere,
    user: String,
    count: u64,
    is_over: bool,
}

/// Failures on their way to the other nodes; dropped before they are told, they are kept.
#[derive(Debug)]
pub(super) struct Telling<'a> {
    here: &'a FailuresHere,
    user: String,
    pub(super) failures: u64,
    is_told: bool,
}

impl FailuresHere {
    /// To be taken before the state is read that [`Self::begin`] is decided on.
    pub(super) fn epoch(&self) -> u64 {
        self.table.lock().epoch
    }

    /// Decides about one more check, with `count` failures known to all in a state that was read
    /// after `epoch`. May wait for a check or a telling of the same user.
    pub(super) fn begin(&self, user: &str, count: u64, epoch: u64, elapsed: Duration) -> Begun<'_> {
        let mut table = self.table.lock();
        if table.epoch != epoch {
            return Begun::Stale;
        }
        table.make_room(elapsed);
        let here = table.users.entry(user.to_owned()).or_default();
        here.forget_old(elapsed);
        match here.verdict(count) {
            Verdict::Check => {
                here.checking += 1;
                Begun::Check(Turn { here: self, user: user.to_owned(), count, is_over: false })
            }
            Verdict::Refuse => {
                table.tidy(user);
                Begun::Refuse
            }
            Verdict::Tell(failures) => {
                here.take_untold();
                Begun::Tell(self.telling(user.to_owned(), failures))
            }
            Verdict::Wait => {
                self.ended.wait(&mut table);
                Begun::Stale
            }
        }
    }

    /// Forgets what was not told of a user.
    pub(super) fn forget(&self, user: &str) {
        self.update(user, |here| here.untold = 0);
    }

    /// The time of the log as far as this node knows it: that of the last entry, or later, when
    /// the log stands still since this node first saw the row.
    pub(super) fn log_time(
        &self,
        user: &str,
        (row, version): (&Written, Version),
        stamp: Timestamp,
        elapsed: Duration,
    ) -> Timestamp {
        let mut table = self.table.lock();
        table.make_room(elapsed);
        let here = table.users.entry(user.to_owned()).or_default();
        let since = match here.seen {
            Some((seen, since)) if seen == version => since,
            _ => here.seen.insert((version, elapsed)).1,
        };
        let age = u64::try_from(elapsed.saturating_sub(since).as_micros()).unwrap_or(u64::MAX);
        stamp.max(Timestamp(row.at.0.saturating_add(age)))
    }

    /// Whether the log may be asked for its time now.
    pub(super) fn may_ask(&self, elapsed: Duration) -> bool {
        let mut table = self.table.lock();
        let may = table.asked_at.is_none_or(|at| elapsed.saturating_sub(at) >= ASKED_EVERY);
        if may {
            table.asked_at = Some(elapsed);
        }
        may
    }

    const fn telling(&self, user: String, failures: u64) -> Telling<'_> {
        Telling { here: self, user, failures, is_told: false }
    }

    fn update<T>(&self, user: &str, change: impl FnOnce(&mut Here) -> T) -> T {
        let mut table = self.table.lock();
        let result = change(table.users.entry(user.to_owned()).or_default());
        table.tidy(user);
        self.ended.notify_all();
        result
    }
}

impl Table {
    fn tidy(&mut self, user: &str) {
        if self.users.get(user).is_some_and(|here| here.is_idle() && here.seen.is_none()) {
            self.users.remove(user);
        }
    }

    /// Forgets when rows were first seen: their locks count from when they are seen again.
    fn make_room(&mut self, elapsed: Duration) {
        if self.users.len() < USERS_KEPT {
            return;
        }
        self.users.retain(|_, here| {
            here.forget_old(elapsed);
            !here.is_idle()
        });
    }
}

impl<'a> Turn<'a> {
    /// The password was right: what was not told is forgotten.
    pub(super) fn succeed(mut self) {
        self.is_over = true;
        self.here.update(&self.user, |here| {
            here.checking = here.checking.saturating_sub(1);
            here.untold = 0;
        });
    }

    /// The password was wrong. Returns what to tell now, if anything.
    pub(super) fn fail(mut self, elapsed: Duration) -> Option<Telling<'a>> {
        self.is_over = true;
        let failures = self.here.update(&self.user, |here| {
            here.failed_at = elapsed;
            here.fail(self.count).then(|| here.take_untold())
        });
        failures.map(|failures| self.here.telling(self.user.clone(), failures))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let give_up = |here: &mut Here| here.checking = here.checking.saturating_sub(1);
            self.here.update(&self.user, give_up);
        }
    }
}

impl Telling<'_> {
    /// All nodes know them.
    pub(super) fn told(mut self) {
        self.is_told = true;
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        let mut table = self.here.table.lock();
        // At once with the rest: what was read before lacks what was told.
        table.epoch = table.epoch.wrapping_add(1);
        let here = table.users.entry(self.user.clone()).or_default();
        here.telling = here.telling.saturating_sub(self.failures);
        if !self.is_told {
            here.untold = here.untold.saturating_add(self.failures);
        }
        table.tidy(&self.user);
        self.here.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::failures::Failures;
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000_000);

    /// A node as the model sees it: what it holds, and what was known to all when each of its
    /// checks began.
    type Node = (u64, u64, Vec<u64>);

    fn here(node: &Node) -> Here {
        let (untold, telling) = (node.0, node.1);
        Here { checking: node.2.len() as u64, telling, untold, ..Here::default() }
    }

    /// The most wrong passwords that `nodes` nodes check before the lock, over every order of
    /// beginning, failing and telling.
    fn most_checked(nodes: usize) -> u64 {
        let start: (u64, Vec<Node>) = (0, vec![(0, 0, Vec::new()); nodes]);
        let (mut seen, mut todo) = (BTreeSet::from([start.clone()]), vec![start]);
        let mut most = 0;
        while let Some((told, state)) = todo.pop() {
            let unknown = |node: &Node| node.0 + node.1 + node.2.len() as u64;
            most = most.max(told + state.iter().map(unknown).sum::<u64>());
            let failures = (told > 0).then(|| Failures::after(None, told, NOW).unwrap());
            let row = failures.map(|failures| Written { failures, at: NOW });
            let count = row.map_or(0, |row| row.count(NOW));
            for at in 0..nodes {
                let mut next: Vec<(u64, Node)> = Vec::new();
                let node = &state[at];
                if here(node).verdict(count) == Verdict::Check {
                    let checking = [&node.2[..], &[count]].concat();
                    next.push((told, (node.0, node.1, checking)));
                }
                for check in 0..node.2.len() {
                    let (mut after, mut checking) = (here(node), node.2.clone());
                    if after.fail(checking.remove(check)) {
                        after.take_untold();
                    }
                    next.push((told, (after.untold, after.telling, checking)));
                }
                if node.1 > 0 {
                    let after = Failures::after(row.as_ref(), node.1, NOW).unwrap();
                    if !after.is_lock() {
                        next.push((told + node.1, (node.0, 0, node.2.clone())));
                    }
                }
                for (told, node) in next {
                    let mut state = state.clone();
                    state[at] = node;
                    state.sort();
                    if seen.insert((told, state.clone())) {
                        todo.push((told, state));
                    }
                }
            }
        }
        most
    }

    #[test]
    fn n_nodes_check_at_most_five_times_n_and_one_wrong_passwords() {
        for (nodes, most) in [(1, 10), (2, 15), (3, 20)] {
            assert_eq!(most_checked(nodes), most, "{nodes} nodes");
        }
    }

    fn check(here: &FailuresHere, count: u64) -> Option<Turn<'_>> {
        match here.begin("u", count, here.epoch(), Duration::ZERO) {
            Begun::Check(turn) => Some(turn),
            _ => None,
        }
    }

    #[test]
    fn one_command_tells_five() {
        let here = FailuresHere::default();
        for count in [0, 5] {
            for _ in 0..4 {
                assert!(check(&here, count).unwrap().fail(Duration::ZERO).is_none());
            }
            let telling = check(&here, count).unwrap().fail(Duration::ZERO).unwrap();
            assert_eq!(telling.failures, 5);
            telling.told();
        }
        assert!(here.table.lock().users.is_empty());
    }

    #[test]
    fn what_was_read_before_a_telling_ended_is_stale() {
        let here = FailuresHere::default();
        let epoch = here.epoch();
        drop(here.telling("other".to_owned(), 5));
        assert!(matches!(here.begin("u", 0, epoch, Duration::ZERO), Begun::Stale));
    }

    #[test]
    fn failures_that_could_not_be_told_are_told_before_another_check() {
        let here = FailuresHere::default();
        for _ in 0..4 {
            drop(check(&here, 0).unwrap().fail(Duration::ZERO));
        }
        drop(check(&here, 0).unwrap().fail(Duration::ZERO).unwrap());
        let begun = here.begin("u", 0, here.epoch(), Duration::ZERO);
        assert!(matches!(begun, Begun::Tell(telling) if telling.failures == 5));
    }

    #[test]
    fn a_check_that_gives_no_answer_or_a_right_password_does_not_count() {
        let here = FailuresHere::default();
        for _ in 0..20 {
            drop(check(&here, 0).unwrap());
            check(&here, 0).unwrap().succeed();
        }
        assert!(here.table.lock().users.is_empty());
    }

    #[test]
    fn untold_failures_are_forgotten_with_the_window() {
        let here = FailuresHere::default();
        for _ in 0..4 {
            drop(check(&here, 0).unwrap().fail(Duration::ZERO));
        }
        let late = Duration::from_micros(WINDOW_MICROS + 1);
        assert!(matches!(here.begin("u", 9, here.epoch(), late), Begun::Check(_)));
    }

    #[test]
    fn a_log_that_stands_still_does_not_stop_the_time_of_a_row() {
        let here = FailuresHere::default();
        let row = Written { failures: Failures::after(None, 10, NOW).unwrap(), at: NOW };
        let at =
            |seconds| here.log_time("u", (&row, Version(1)), NOW, Duration::from_secs(seconds));
        assert_eq!(at(100), NOW);
        assert_eq!(at(160), Timestamp(NOW.0 + 60_000_000));
    }
}
