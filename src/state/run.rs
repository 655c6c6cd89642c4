//! Entries that are applied together, made ready for it beforehand: on another thread, if need be.

use std::hint::black_box;
use std::vec;

use bytes::Bytes;

use super::effects::Effects;
use super::outcome::Applied;
use crate::command::Command;
use crate::types::{LogIndex, Timestamp};

/// An entry that is not behind the last one applied. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {got} cannot be applied after entry {last}: entries are applied in log order")]
pub struct NotInOrder {
    /// The last entry applied.
    pub last: LogIndex,
    /// The one that was to be applied.
    pub got: LogIndex,
}

/// An entry with a command, as it was read from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Where it stands in the log.
    pub index: LogIndex,
    /// The proposer's clock. In a [`Run`]: the greatest of the run up to this entry.
    pub clock: Timestamp,
    /// What it says.
    pub command: Command,
    /// Bytes that it has in the log; told along with what it did.
    pub payload_bytes: usize,
}

/// What is told of an entry that was applied.
#[derive(Debug)]
pub struct Told<'a> {
    /// Where it stands in the log.
    pub index: LogIndex,
    /// Its stamp.
    pub timestamp: Timestamp,
    /// What it did.
    pub applied: &'a Applied,
    /// What it changed.
    pub effects: Effects,
    /// Bytes that it has in the log.
    pub payload_bytes: usize,
}

/// Entries that follow each other in the log, in the order in which they are cheapest to apply.
///
/// Where all of them set or remove single keys that is the order of the keys, and of one key that
/// of the log: such an entry looks at its own key only, so the order among keys makes no
/// difference, and a large state is visited from one end to the other. Otherwise it is the order of
/// the log.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// In the order of application.
    entries: Vec<Logged>,
    /// The first and the last index and the greatest clock; `None` of an empty run.
    pub(super) span: Option<(LogIndex, LogIndex, Timestamp)>,
    pub(super) order: Order,
}

/// How many keys are asked for at once: as many as a processor waits for at the same time, or a few
/// more.
const KEYS_AHEAD: usize = 16;

/// The entries of a run. The processor meets their keys for the first time here, or another one had
/// them last: some are asked for together before they are needed, and then it waits once for all of
/// them instead of once for each.
#[derive(Debug)]
pub(super) struct Entries {
    rest: vec::IntoIter<Logged>,
    /// Of how many of them the keys were asked for.
    asked: usize,
}

impl Iterator for Entries {
    type Item = Logged;

    fn next(&mut self) -> Option<Logged> {
        if self.asked == 0 {
            let ahead = self.rest.as_slice().iter().take(KEYS_AHEAD);
            self.asked = ahead.len();
            let first_bytes = ahead.filter_map(key_of).filter_map(|key| key.first());
            black_box(first_bytes.fold(0_u8, |all, byte| all | byte));
        }
        self.asked = self.asked.saturating_sub(1);
        self.rest.next()
    }
}

/// The key of an entry that is about one key.
fn key_of(logged: &Logged) -> Option<&Bytes> {
    match &logged.command {
        Command::Set { key, .. } | Command::Delete { key } => Some(key),
        _ => None,
    }
}

/// In which order the entries of a run are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// As they stand in the log.
    #[default]
    Log,
    /// By their keys.
    Keys,
}

impl Run {
    /// Makes a run of entries in log order. Costs a sort of their keys.
    ///
    /// # Errors
    ///
    /// The first entry that does not come after the one before it.
    pub fn new(mut log: Vec<Logged>) -> Result<Self, NotInOrder> {
        let mut span: Option<(LogIndex, LogIndex, Timestamp)> = None;
        for logged in &mut log {
            let (first, clock) = match span {
                Some((_, last, _)) if logged.index <= last => {
                    return Err(NotInOrder { last, got: logged.index });
                }
                Some((first, _, clock)) => (first, clock.max(logged.clock)),
                None => (logged.index, logged.clock),
            };
            // Stamps depend on the entries before, so this much of them is settled in log order.
            logged.clock = clock;
            span = Some((first, logged.index, clock));
        }
        let (entries, order) = match key_order(&log) {
            None => (log, Order::Log),
            Some(order) => {
                let mut log: Vec<Option<Logged>> = log.into_iter().map(Some).collect();
                let mut take = |at| log.get_mut(at).and_then(Option::take);
                (order.into_iter().filter_map(|(_, at)| take(at)).collect(), Order::Keys)
            }
        };
        Ok(Self { entries, span, order })
    }

    /// How many entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The first and the last entry; `None` of an empty run.
    #[must_use]
    pub fn span(&self) -> Option<(LogIndex, LogIndex)> {
        self.span.map(|(first, last, _)| (first, last))
    }

    /// The entries, in the order of application.
    pub(super) fn into_entries(self) -> Entries {
        Entries { rest: self.entries.into_iter(), asked: 0 }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The positions of entries in the order of their keys, those of one key in log order, each with
/// some bytes of its key. `None` when an entry is about more than one key.
fn key_order(log: &[Logged]) -> Option<Vec<(u64, usize)>> {
    let keys: Vec<&[u8]> =
        log.iter().map(|logged| key_of(logged).map(AsRef::as_ref)).collect::<Option<_>>()?;
    // Most comparisons are of the eight bytes behind what all keys share, without following a
    // pointer.
    let first = keys.first().copied().unwrap_or_default();
    let shared = keys.iter().fold(first.len(), |shared, key| {
        let same = first.iter().zip(*key).take(shared);
        same.take_while(|(a, b)| a == b).count()
    });
    let head = |key: &&[u8]| {
        let bytes = key.iter().skip(shared).chain(std::iter::repeat(&0)).take(8);
        bytes.fold(0, |head: u64, &byte| (head << 8) | u64::from(byte))
    };
    let mut order: Vec<(u64, usize)> = keys.iter().map(head).zip(0..).collect();
    order.sort_unstable_by(|&(head_a, a), &(head_b, b)| {
        head_a.cmp(&head_b).then_with(|| keys.get(a).cmp(&keys.get(b))).then(a.cmp(&b))
    });
    Some(order)
}
