//! From what applying an entry told to the watchers that it concerns.

use super::registry::Registry;
use crate::command::Command;
use crate::state::{Detail, Effect, Effects, named_row};
use crate::types::LogIndex;

/// Marks who watches a key that entry `index` has changed. Called under the write lock of the
/// replica, where there are watchers.
pub(crate) fn mark(registry: &Registry, index: LogIndex, command: &Command, effects: &Effects) {
    let named = |at| named_row(command, at).map(|(key, _)| key.as_ref());
    match effects {
        Effects::One(Effect::Nothing) => {}
        Effects::One(_) => {
            if let Some(key) = named(0) {
                registry.changed(index, &[key]);
            }
        }
        Effects::Several(details) => {
            let key = |detail| match detail {
                &Detail::Own { at, .. } => named(at),
                Detail::Explicit { key, .. } => Some(key.as_ref()),
                Detail::Many(_) => None,
            };
            let keys: Vec<&[u8]> = details.iter().filter_map(key).collect();
            registry.changed(index, &keys);
            for detail in &**details {
                if let Detail::Many(removal) = detail {
                    registry.changed_within(index, removal.stretch());
                }
            }
        }
    }
}
