//! How much of the past is kept. Decides, and does nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::StoreConfig;
use crate::retention::{Keep, Retention, RetentionRegistry};
use crate::storage::history::EraInfo;
use crate::storage::manifest::ManifestHead;
use crate::types::{Timestamp, Version};

/// Bytes of changes with which an era ends, where the state is not large: what opening a state of
/// the past has to read.
const ERA_BYTES: u64 = 64 << 20;
/// An era also ends with this part of what the limits of a retention allow, so that giving up one
/// era gives up little more than it has to.
const ERA_SHARE: u32 = 4;

/// Whether the past is written down, and how much of it is kept.
#[derive(Debug)]
pub(crate) struct Keeping {
    pub(crate) retention: Option<Retention>,
    pub(crate) registry: RetentionRegistry,
    /// Bytes of changes with which an era ends.
    era_bytes: AtomicU64,
}

impl Keeping {
    pub(crate) fn new(config: &StoreConfig) -> Self {
        Self {
            retention: config.retention,
            registry: config.retention_registry.clone().unwrap_or_default(),
            era_bytes: AtomicU64::new(ERA_BYTES),
        }
    }

    /// Whether anybody asks for the past.
    pub(crate) fn is_asked(&self) -> bool {
        self.retention.is_some() || self.registry.handles() > 0
    }

    /// Lets eras end with fewer bytes of changes, whatever is live.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn set_era_bytes(&self, bytes: u64) {
        self.era_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether an era has gathered enough, so that the next one is to begin with the state of
    /// `head`.
    pub(crate) fn is_over(&self, era: &EraInfo, head: &ManifestHead) -> bool {
        let era_bytes = self.era_bytes.load(Ordering::Relaxed);
        let quarter = if era_bytes == ERA_BYTES { head.live_bytes / 4 } else { 0 };
        let age = Duration::from_micros(head.timestamp.0.saturating_sub(era.base_stamp.0));
        let Retention { age_max, bytes_max, files_max } = self.retention.unwrap_or_default();
        era.content_bytes >= era_bytes.max(quarter)
            || bytes_max.is_some_and(|most| era.file_bytes() > most / u64::from(ERA_SHARE))
            || files_max
                .is_some_and(|most| era.files.len() as u64 > most as u64 / u64::from(ERA_SHARE))
            || age_max.is_some_and(|most| age > most / ERA_SHARE)
    }
}

/// How many of the oldest eras go: as long as one is beyond a limit and no handle wants it. The
/// newest never goes.
///
/// A state that is the base of the next era is not a reason to keep one.
pub(crate) fn surplus(
    eras: &[EraInfo],
    retention: Option<Retention>,
    keeps: &[Keep],
    now: Timestamp,
) -> usize {
    let is_surplus = |(at, pair): &(usize, &[EraInfo])| {
        let [_, next] = pair else { return false };
        let rest = eras.get(*at..).unwrap_or_default();
        !keeps.iter().any(|keep| wants(*keep, next)) && is_beyond(rest, next, retention, now)
    };
    eras.windows(2).enumerate().take_while(is_surplus).count()
}

/// Whether something before `next` is wanted.
fn wants(keep: Keep, next: &EraInfo) -> bool {
    match keep {
        Keep::Everything => true,
        Keep::FromTime(time) => next.base_stamp > time,
        // The changes of that entry are wanted, too: whoever watches has them still to come.
        Keep::FromVersion(version) => next.base_last().map(Version::from) >= Some(version),
        Keep::Nothing => false,
    }
}

/// Whether the first of these eras is beyond a limit.
fn is_beyond(
    eras: &[EraInfo],
    next: &EraInfo,
    retention: Option<Retention>,
    now: Timestamp,
) -> bool {
    // Without limits of its own the store keeps what handles ask for.
    let Some(Retention { age_max, bytes_max, files_max }) = retention else { return true };
    let micros = |age: Duration| u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
    let bytes: u64 = eras.iter().map(EraInfo::file_bytes).sum();
    let files: usize = eras.iter().map(|era| era.files.len()).sum();
    age_max.is_some_and(|most| next.base_stamp.0 <= now.0.saturating_sub(micros(most)))
        || bytes_max.is_some_and(|most| bytes > most)
        || files_max.is_some_and(|most| files > most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::history::ChangeFileInfo;
    use crate::types::LogIndex;

    /// Eras one behind the other, each with some files of so many bytes.
    fn any_eras() -> impl Strategy<Value = Vec<EraInfo>> {
        let era = (1..20_u64, proptest::collection::vec(1..100_u64, 0..4));
        proptest::collection::vec(era, 1..12).prop_map(|eras| {
            let mut first = 0;
            let mut made = Vec::new();
            for (entries, files) in eras {
                let stamp = Timestamp(first * 10);
                let file = |&bytes: &u64| ChangeFileInfo {
                    first: LogIndex(first),
                    last: LogIndex(first),
                    stamps: (stamp, stamp),
                    bytes,
                    content_bytes: bytes,
                    compressed: false,
                };
                made.push(EraInfo {
                    first: LogIndex(first),
                    last: Some(LogIndex(first + entries - 1)),
                    base_stamp: stamp,
                    last_stamp: Timestamp((first + entries) * 10),
                    base_bytes: 7,
                    files: files.iter().map(file).collect(),
                    content_bytes: files.iter().sum(),
                });
                first += entries;
            }
            made
        })
    }

    fn any_retention() -> impl Strategy<Value = Option<Retention>> {
        let age = proptest::option::of((0..3_000_u64).prop_map(Duration::from_micros));
        let limits = (age, proptest::option::of(0..900_u64), proptest::option::of(0..30_usize));
        let limits = limits.prop_map(|(age_max, bytes_max, files_max)| Retention {
            age_max,
            bytes_max,
            files_max,
        });
        proptest::option::of(limits)
    }

    fn any_keep() -> impl Strategy<Value = Keep> {
        prop_oneof![
            1 => Just(Keep::Everything),
            2 => Just(Keep::Nothing),
            4 => (0..2_500_u64).prop_map(|time| Keep::FromTime(Timestamp(time))),
            4 => (0..250_u64).prop_map(|version| Keep::FromVersion(Version(version))),
        ]
    }

    proptest! {
        #[test]
        fn what_a_handle_wants_and_the_newest_era_stay(
            eras in any_eras(),
            retention in any_retention(),
            keeps in proptest::collection::vec(any_keep(), 0..3),
            now in 0..3_000_u64,
        ) {
            let gone = surplus(&eras, retention, &keeps, Timestamp(now));
            prop_assert!(gone < eras.len());
            let kept = &eras[gone];
            for keep in keeps {
                let can_be_read = |first: &EraInfo| match keep {
                    Keep::Nothing => true,
                    Keep::Everything => first.first == eras[0].first,
                    Keep::FromTime(time) => first.base_stamp <= time,
                    Keep::FromVersion(version) => first.first <= version.into(),
                };
                prop_assert!(can_be_read(kept) || !can_be_read(&eras[0]) && gone == 0);
            }
        }

        #[test]
        fn what_is_beyond_a_limit_and_not_wanted_goes_and_nothing_else(
            eras in any_eras(),
            retention in any_retention(),
            now in 0..3_000_u64,
        ) {
            let now = Timestamp(now);
            let gone = surplus(&eras, retention, &[], now);
            let Some(Retention { age_max, bytes_max, files_max }) = retention else {
                prop_assert_eq!(gone, eras.len() - 1);
                return Ok(());
            };
            let beyond = |at: usize| {
                let bytes: u64 = eras[at..].iter().map(EraInfo::file_bytes).sum();
                let files: usize = eras[at..].iter().map(|era| era.files.len()).sum();
                let too_old = |age: Duration| {
                    let age = u64::try_from(age.as_micros()).unwrap();
                    eras[at + 1].base_stamp.0 + age <= now.0
                };
                bytes_max.is_some_and(|most| bytes > most)
                    || files_max.is_some_and(|most| files > most)
                    || age_max.is_some_and(too_old)
            };
            prop_assert!((0..gone).all(beyond));
            prop_assert!(gone + 1 == eras.len() || !beyond(gone));
        }
    }
}
