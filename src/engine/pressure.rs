//! When compaction is due. Pure.

/// What has gathered since the last freeze, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    /// Log that no table covers.
    pub(crate) behind: u64,
    /// Memory of the tail.
    pub(crate) tail: u64,
    /// Useless bytes in the log.
    pub(crate) stale: u64,
}

/// From how much on compaction is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) behind: u64,
    pub(crate) tail: u64,
    /// `compaction_threshold`.
    pub(crate) stale: u64,
    /// What the threshold may be at most.
    pub(crate) stale_max: u64,
    /// What may become useless while it gathers, however large the threshold is.
    pub(crate) stale_gathered: u64,
}

/// Whether the tail is to be written. Pure.
pub(crate) const fn is_due(pressure: Pressure, marks: Marks) -> bool {
    pressure.behind >= marks.behind
        || pressure.tail >= marks.tail
        || pressure.stale > marks.stale
        || pressure.stale > marks.stale_gathered
}

/// Whether so much has gathered while the tail before is still being written that writers should
/// wait: half as much again as makes it due. However short deletes are, what they remove is on disk
/// until it was merged away. Pure.
pub(crate) const fn is_far_behind(pressure: Pressure, marks: Marks) -> bool {
    pressure.behind / 3 * 2 >= marks.behind
        || pressure.tail / 3 * 2 >= marks.tail
        || pressure.stale / 3 * 2 > marks.stale_gathered
}

/// Whether three times as much has gathered as makes it due: then nobody waits, or not long enough.
/// Pure.
pub(crate) const fn is_out_of_hand(pressure: Pressure, marks: Marks) -> bool {
    pressure.behind / 3 >= marks.behind || pressure.tail / 3 >= marks.tail
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks =
        Marks { behind: 100, tail: 1000, stale: 50, stale_max: 50, stale_gathered: 75 };

    #[test]
    fn any_mark_that_is_passed_makes_it_due() {
        let due = |behind, tail, stale| is_due(Pressure { behind, tail, stale }, MARKS);
        assert!(!due(99, 999, 50));
        assert!(due(100, 0, 0));
        assert!(due(0, 1000, 0));
        assert!(due(0, 0, 51));
        let due = |stale| {
            let pressure = Pressure { stale, ..Pressure::default() };
            is_due(pressure, Marks { stale: u64::MAX, ..MARKS })
        };
        assert!(!due(75));
        assert!(due(76));
        assert!(!is_due(Pressure::default(), Marks { stale: 0, ..MARKS }));
        assert!(is_due(Pressure { stale: 1, ..Pressure::default() }, Marks { stale: 0, ..MARKS }));
    }

    #[test]
    fn writers_wait_at_half_as_much_again_as_makes_it_due() {
        let far = |behind, tail, stale| {
            is_far_behind(Pressure { behind, tail, stale }, Marks { stale: 0, ..MARKS })
        };
        assert!(!far(149, 1499, 113));
        assert!(far(150, 0, 0));
        assert!(far(0, 1500, 0));
        assert!(far(0, 0, 114));
    }

    #[test]
    fn three_times_as_much_is_out_of_hand() {
        let out = |behind, tail| is_out_of_hand(Pressure { behind, tail, stale: 0 }, MARKS);
        assert!(!out(299, 2999));
        assert!(out(300, 0));
        assert!(out(0, 3000));
    }
}
