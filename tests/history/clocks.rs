//! Clocks that jump.

use std::time::Duration;

use hightower_kv::env::clock::Clock;
use hightower_kv::env::{Env, Simulated};
use hightower_kv::{Error, KvEngine, Retention, SingleNodeEngine, Timestamp};

use crate::checks::kept;

const HOUR: u64 = 3_600_000_000;
const YEAR: u64 = 365 * 24 * HOUR;

fn open(sim: &Simulated, retention: Option<Retention>) -> SingleNodeEngine {
    SingleNodeEngine::with_env(&kept(retention), sim.env.clone()).unwrap()
}

fn put(engine: &SingleNodeEngine, value: &str) -> Timestamp {
    engine.put(b"k".to_vec(), value.as_bytes().to_vec()).unwrap().timestamp
}

#[test]
fn times_stay_in_order_when_the_clock_goes_back_an_hour_and_forward_a_year() {
    let sim = Env::simulated(1);
    let engine = open(&sim, Some(Retention::default()));
    let start = sim.clock.now();
    let first = put(&engine, "first");
    sim.clock.set_now(Timestamp(start.0 - HOUR));
    let second = put(&engine, "second");
    engine.run_compaction_now().unwrap();
    sim.clock.set_now(Timestamp(start.0 + YEAR));
    let third = put(&engine, "third");
    sim.clock.set_now(Timestamp(start.0 + 1));
    let fourth = put(&engine, "fourth");
    engine.run_compaction_now().unwrap();
    assert_eq!((first, second, third, fourth), (start, start, Timestamp(start.0 + YEAR), third));
    let value_at = |time: Timestamp| engine.snapshot_at(time).unwrap().get(b"k").unwrap();
    // Of several with the same stamp the last counts.
    assert_eq!(value_at(start).as_deref(), Some(&b"second"[..]));
    assert_eq!(value_at(Timestamp(third.0 - 1)).as_deref(), Some(&b"second"[..]));
    assert_eq!(value_at(third).as_deref(), Some(&b"fourth"[..]));
    assert_eq!(value_at(Timestamp(start.0 - 1)), None);
    // No entry that comes can have a stamp before the last one, whatever the clock says.
    let later = Timestamp(third.0 + 1);
    let refused = engine.snapshot_at(later).unwrap_err();
    assert!(matches!(refused, Error::InFuture { asked, now } if asked == later && now == third));
    assert!(refused.is_retryable());
}

#[test]
fn a_clock_that_is_a_year_ahead_makes_the_past_old() {
    let sim = Env::simulated(2);
    let age_max = Some(Duration::from_hours(1));
    let engine = open(&sim, Some(Retention { age_max, ..Retention::default() }));
    for value in 0..20 {
        put(&engine, &value.to_string());
        sim.clock.advance(Duration::from_mins(20));
        engine.run_compaction_now().unwrap();
    }
    // Older than an hour and the piece that reaches back that far: gone.
    let begin = engine.eras().first().unwrap().base_stamp;
    let now = sim.clock.now();
    assert!(begin.0 + 2 * HOUR > now.0 && begin.0 <= now.0 - HOUR, "{begin} {now}");
    engine.snapshot_at(Timestamp(now.0 - HOUR)).unwrap();
    sim.clock.advance(Duration::from_micros(YEAR));
    put(&engine, "later");
    engine.run_compaction_now().unwrap();
    // An hour ago it still was as it had been for a year.
    engine.snapshot_at(now).unwrap();
    sim.clock.advance(Duration::from_hours(2));
    put(&engine, "last");
    engine.run_compaction_now().unwrap();
    put(&engine, "more");
    engine.run_compaction_now().unwrap();
    let refused = engine.snapshot_at(now).unwrap_err();
    assert!(matches!(refused, Error::Compacted { .. }), "{refused}");
}
