//! Requests that a network brings twice, and that must not be carried out twice.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;

use crate::types::NodeId;

/// Most senders that are remembered; more can only be strangers.
const SENDERS_MAX: usize = 1024;

/// Most requests of a sender that are remembered, the newest of them. It sends one after the other.
const REQUESTS_MAX: usize = 1024;

/// The numbers of requests that have come, by sender.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    senders: Mutex<BTreeMap<NodeId, VecDeque<u64>>>,
}

impl Repeats {
    /// Whether this request comes for the first time; from now on it has come.
    pub(super) fn is_first(&self, from: NodeId, number: u64) -> bool {
        let mut senders = self.senders.lock();
        if senders.len() >= SENDERS_MAX && !senders.contains_key(&from) {
            senders.clear();
        }
        let known = senders.entry(from).or_default();
        // A repeat is mostly one of the newest.
        if known.iter().rev().any(|&it| it == number) {
            return false;
        }
        if known.len() >= REQUESTS_MAX {
            known.pop_front();
        }
        known.push_back(number);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_for_the_first_time_once() {
        let repeats = Repeats::default();
        assert!(repeats.is_first(NodeId(1), 7));
        assert!(repeats.is_first(NodeId(1), 8));
        assert!(!repeats.is_first(NodeId(1), 7));
        assert!(repeats.is_first(NodeId(2), 7), "another sender has numbers of its own");
    }

    #[test]
    fn only_the_newest_are_remembered() {
        let repeats = Repeats::default();
        for number in 0..=REQUESTS_MAX as u64 {
            assert!(repeats.is_first(NodeId(1), number));
        }
        assert!(!repeats.is_first(NodeId(1), 1));
        assert!(repeats.is_first(NodeId(1), 0));
    }
}
