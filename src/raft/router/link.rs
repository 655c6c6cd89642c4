//! One direction between two nodes: what befalls each request, decided by a seed.

use std::ops::Range;
use std::time::Duration;

use crate::env::rng::SeededRng;
use crate::types::NodeId;

/// What befalls requests in one direction, and the answers to them. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkFaults {
    /// How probable it is that a request is lost, from 0 to 1. Its sender hears nothing.
    pub drop_request: f64,
    /// How probable it is that the answer is lost: the request has taken effect.
    pub drop_response: f64,
    /// How long a request takes, and again its answer; where the range is empty, as long as it
    /// begins. Requests whose delays differ overtake each other.
    pub delay: Range<Duration>,
    /// How probable it is that a request arrives twice, each after a delay of its own. The second
    /// answer goes nowhere.
    pub duplicate: f64,
}

impl LinkFaults {
    pub(super) fn check(&self) {
        for probability in [self.drop_request, self.drop_response, self.duplicate] {
            let possible = (0.0..=1.0).contains(&probability);
            assert!(possible, "a probability is between 0 and 1, found {probability}");
        }
    }
}

/// What has befallen the requests of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Requests that were sent.
    pub sent: u64,
    /// Requests that arrived, with repeats.
    pub arrived: u64,
    /// Requests that were lost, to a fault or a cut, with repeats.
    pub requests_lost: u64,
    /// Requests that were sent twice.
    pub duplicated: u64,
    /// Answers that were lost, to a fault or a cut.
    pub responses_lost: u64,
    /// Answers that came back.
    pub answered: u64,
}

/// One direction between two nodes.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) faults: LinkFaults,
    pub(super) counters: LinkCounters,
    rng: SeededRng,
}

/// What befalls one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) request_lost: bool,
    pub(super) response_lost: bool,
    pub(super) duplicate: bool,
    pub(super) request_delay: Duration,
    pub(super) response_delay: Duration,
    pub(super) duplicate_delay: Duration,
}

impl Link {
    pub(super) fn new(seed: u64, from: NodeId, to: NodeId) -> Self {
        // Each direction between each two nodes has numbers of its own.
        let one = SeededRng::new(seed ^ from.0.rotate_left(32)).draw();
        let rng = SeededRng::new(one ^ to.0);
        Self { faults: LinkFaults::default(), counters: LinkCounters::default(), rng }
    }

    /// What befalls the next request. Draws as many numbers whatever the faults, so that the same
    /// request of a link meets the same luck.
    pub(super) fn plan(&mut self) -> Plan {
        let plan = Plan {
            request_lost: self.happens(self.faults.drop_request),
            response_lost: self.happens(self.faults.drop_response),
            duplicate: self.happens(self.faults.duplicate),
            request_delay: self.delay(),
            response_delay: self.delay(),
            duplicate_delay: self.delay(),
        };
        self.counters.sent += 1;
        self.counters.duplicated += u64::from(plan.duplicate);
        plan
    }

    fn happens(&self, probability: f64) -> bool {
        // As many of the high bits as a float holds exactly.
        let share = (self.rng.draw() >> 11) as f64 / (1_u64 << 53) as f64;
        share < probability
    }

    fn delay(&self) -> Duration {
        let drawn = self.rng.draw();
        let Range { start, end } = self.faults.delay;
        let span = u64::try_from(end.saturating_sub(start).as_nanos()).unwrap_or(u64::MAX);
        match drawn.checked_rem(span) {
            Some(late) => start.saturating_add(Duration::from_nanos(late)),
            None => start,
        }
    }
}
