//! A state that many read while nobody writes.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::tail::Tail;
use super::view::{Resident, StateView};
use crate::command::keyspace::is_reserved;
use crate::storage::index::Places;
use crate::storage::record::Record;

/// Fewer rows in memory are found as fast in order.
const PLACED_ROWS_MIN: usize = 64;

/// More take the get that places them longer than ten milliseconds.
const PLACED_ROWS_MAX: usize = 1 << 17;

/// For each get that a state has had, so many rows are worth being placed: that costs 15 to 70 ns a
/// row, by how many there are, and each later get is 70 to 300 ns faster. A state that is taken
/// back right afterwards has cost its readers a quarter more.
const ROWS_A_GET: usize = 2;

/// A thread tells of its gets only now and then: whoever counts writes to memory that readers
/// share, and they would wait for each other.
const GETS_AT_ONCE: u32 = 64;

thread_local! {
    /// Gets of this thread that were not yet told.
    static GETS: Cell<u32> = const { Cell::new(0) };
}

/// A state, and after many gets where its newest rows stand, so that they are found without a
/// search in order.
#[derive(Debug)]
pub(crate) struct Published {
    view: StateView,
    /// How many gets there have been, roughly.
    gets: AtomicU32,
    /// `None`: they are not worth it, or cannot be had.
    places: OnceLock<Option<Places<Record>>>,
}

impl Published {
    pub(crate) fn new(view: StateView) -> Self {
        let places = match view.tail.rows().len() {
            _ if view.tail.is_filtered() => OnceLock::from(None),
            PLACED_ROWS_MIN..=PLACED_ROWS_MAX => OnceLock::new(),
            _ => OnceLock::from(None),
        };
        Self { view, gets: AtomicU32::new(0), places }
    }

    pub(crate) const fn view(&self) -> &StateView {
        &self.view
    }

    /// As [`StateView::get_resident`].
    pub(crate) fn get_resident(&self, key: &[u8]) -> Resident {
        if is_reserved(key) {
            return Resident::Known(None);
        }
        let newest = match self.places.get() {
            Some(Some(places)) => Tail::get_at(places, key),
            Some(None) => self.view.tail.get(key),
            None => {
                self.count();
                self.view.tail.get(key)
            }
        };
        self.view.resident(key, newest)
    }

    /// Takes note of a get. The one with which there have been enough places the rows.
    fn count(&self) {
        let gets = GETS.get() + 1;
        GETS.set(gets % GETS_AT_ONCE);
        if gets < GETS_AT_ONCE {
            return;
        }
        let before = self.gets.fetch_add(GETS_AT_ONCE, Ordering::Relaxed);
        let due = u32::try_from(self.view.tail.rows().len() / ROWS_A_GET).unwrap_or(u32::MAX);
        // One thread does, and nobody waits for it.
        if before < due && before.saturating_add(GETS_AT_ONCE) >= due {
            self.places.get_or_init(|| self.view.tail.places());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::command::keyspace::reserved_key;
    use crate::state::Value;
    use crate::storage::cuts::{Cut, Hidden};
    use crate::storage::stretch::Stretch;
    use crate::types::{Timestamp, Version};

    const ROWS: u64 = 500;

    fn key(number: u64) -> Bytes {
        Bytes::from(format!("key-{number:05}"))
    }

    /// Every third key is in the tail, of which every ninth is gone, and every second one in the
    /// layer below.
    fn view() -> StateView {
        let mut view = StateView { tail: Tail::above(), ..StateView::default() };
        for number in 0..ROWS {
            let record = |text: &str, removed: bool| {
                let value = (!removed).then(|| Bytes::from(format!("{text} {number}")));
                Record { value, version: Version(number), timestamp: Timestamp(0) }
            };
            if number % 2 == 0 {
                view.frozen.insert(key(number), record("below", false));
            }
            if number % 3 == 0 {
                view.tail.insert(key(number), record("newest", number % 9 == 0));
            }
        }
        view.tail.insert(
            reserved_key(b"x"),
            Record { value: Some("hidden".into()), version: Version(1), timestamp: Timestamp(0) },
        );
        view
    }

    fn known(found: Resident) -> Option<Value> {
        match found {
            Resident::Known(value) => value,
            Resident::InTables(_) => panic!("there are no tables"),
        }
    }

    fn check(published: &Published, view: &StateView) {
        for number in 0..ROWS + 50 {
            let expected = known(view.get_resident(&key(number)));
            assert_eq!(known(published.get_resident(&key(number))), expected, "{number}");
        }
        assert_eq!(known(published.get_resident(&reserved_key(b"x"))), None);
        assert_eq!(known(published.get_resident(b"")), None);
    }

    fn is_placed(published: &Published) -> Option<bool> {
        published.places.get().map(Option::is_some)
    }

    #[test]
    fn after_many_gets_rows_are_placed_and_every_get_says_what_it_did_before() {
        let view = view();
        let published = Published::new(view.clone());
        assert_eq!(is_placed(&published), None);
        // As many as rows, and those of which a thread has not told.
        for _ in 0..=ROWS / 3 + u64::from(GETS_AT_ONCE) {
            assert_eq!(known(published.get_resident(&key(1))), None);
        }
        assert_eq!(is_placed(&published), Some(true));
        check(&published, &view);
    }

    #[test]
    fn few_gets_and_few_rows_place_nothing() {
        let view = view();
        let published = Published::new(view.clone());
        for _ in 0..view.tail.rows().len() / ROWS_A_GET - GETS_AT_ONCE as usize {
            published.get_resident(&key(1));
        }
        assert_eq!(is_placed(&published), None);
        let few = Published::new(StateView::default());
        assert_eq!(is_placed(&few), Some(false));
        assert_eq!(known(few.get_resident(&key(1))), None);
    }

    #[test]
    fn what_is_cut_off_is_not_found_below_however_many_gets_there_were() {
        let mut view = view();
        let hides = |from, to| Cut {
            stretch: Stretch { from: key(from), to: Some(key(to)) },
            tombstone: Record { value: None, version: Version(1), timestamp: Timestamp(0) },
            hidden: Hidden::default(),
        };
        view.tail.cut(hides(100, 200));
        let published = Published::new(view.clone());
        for _ in 0..2 * ROWS {
            assert_eq!(known(published.get_resident(&key(104))), None);
        }
        assert_eq!(is_placed(&published), Some(false), "its rows do not say all");
        check(&published, &view);
    }

    #[test]
    fn where_rows_cannot_be_placed_they_are_found_in_order() {
        let view = view();
        let published = Published::new(view.clone());
        published.places.get_or_init(|| view.tail.rows().places(|_| 7));
        assert_eq!(is_placed(&published), Some(false), "all have one hash");
        check(&published, &view);
    }
}
