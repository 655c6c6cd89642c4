//! What clients were told, and whether a state agrees with it.

use std::collections::{BTreeMap, BTreeSet};

use hightower_kv::{ApplyOutcome, Error, Result, StateView, Version};

/// Every key is written once, so that what became of a write can be seen for ever.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    acknowledged: BTreeMap<Vec<u8>, (Vec<u8>, Version)>,
    /// Told that nobody knows.
    unknown: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Told that it was not applied.
    refused: BTreeSet<Vec<u8>>,
}

impl Ledger {
    /// Takes in what became of a write that asked for its key to be absent.
    pub(crate) fn note(&mut self, key: Vec<u8>, value: Vec<u8>, result: Result<ApplyOutcome>) {
        match result {
            Ok(outcome) => {
                let text = String::from_utf8_lossy(&key);
                assert!(outcome.is_applied(), "{text} was there already: applied twice");
                let before = self.acknowledged.insert(key.clone(), (value, outcome.version));
                assert!(before.is_none(), "{text} was acknowledged twice");
            }
            Err(Error::OutcomeUnknown { .. }) => drop(self.unknown.insert(key, value)),
            Err(error) => {
                assert!(says_not_applied(&error), "an answer that says nothing: {error:?}");
                self.refused.insert(key);
            }
        }
    }

    /// How many writes were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Every acknowledged write is in the state as it was acknowledged, and nothing else is but
    /// writes of which nobody knew.
    pub(crate) fn check(&self, state: &StateView) {
        for (key, (value, version)) in &self.acknowledged {
            let text = String::from_utf8_lossy(key);
            let Some(found) = state.get_versioned(key).unwrap() else {
                panic!("{text}, acknowledged at {version}, is lost");
            };
            assert_eq!(found.value.as_ref(), value.as_slice(), "{text}");
            assert_eq!(found.version, *version, "{text} was applied at another version");
        }
        let mut versions: Vec<Version> = Vec::new();
        for (key, value) in state.rows_with_prefix(b"w").unwrap() {
            let text = String::from_utf8_lossy(&key);
            assert!(!self.refused.contains(key.as_ref()), "{text} was refused and is there");
            let known = self.acknowledged.contains_key(key.as_ref());
            let unknown = self.unknown.get(key.as_ref()).is_some_and(|it| *it == value.as_ref());
            assert!(known || unknown, "{text} was never written");
            versions.push(state.get_versioned(&key).unwrap().unwrap().version);
        }
        let count = versions.len();
        versions.sort_unstable();
        versions.dedup();
        assert_eq!(versions.len(), count, "two writes have one version");
    }
}

/// Whether an error promises that nothing was written.
pub(crate) fn says_not_applied(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable(_)
            | Error::NotLeader { .. }
            | Error::Overloaded(_)
            | Error::Closed(_)
            | Error::Poisoned { .. }
            | Error::DiskFull(_)
    )
}
