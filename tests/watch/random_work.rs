//! Random work with compactions, kills and openings, and several watchers of it: slow ones, such
//! as are dropped and go on elsewhere, such as begin with the state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use hightower_kv::Retention;
use hightower_kv::env::Env;
use hightower_kv::env::clock::Clock;
use hightower_kv::env::rng::SeededRng;

use crate::follower::{Follower, Told};
use crate::session::{Session, small_config};
use crate::workload::{Step, Workload, any_compression};

const SEQUENCES: u64 = 400;
const STEPS: u64 = 220;
const PREFIXES: [&str; 7] = ["", "k", "k1", "group/", "m", "m1", "zz"];

/// Whether the store of a seed keeps its past: then nothing that is asked for is gone.
const fn keeps_everything(seed: u64) -> bool {
    seed.is_multiple_of(3)
}

fn run(seed: u64) -> Told {
    let rng = SeededRng::new(seed ^ 0x0077_6174_6368);
    let mut config = small_config(Duration::from_millis(700 * rng.up_to(1)));
    // Some stores have a log that goes back a while, others next to none.
    if rng.up_to(1) == 0 {
        config.max_segment_size = 64 << 10;
        config.compaction_threshold = 1 << 20;
    }
    if keeps_everything(seed) {
        config.retention = Some(Retention::default());
    }
    let mut session = Session::create(Env::simulated(seed), config);
    let mut workload = Workload::new(seed);
    let mut followers = Vec::new();
    for prefix in PREFIXES {
        let last = session.states.len() as u64 - 1;
        let mut follower = Follower::new(session.engine(), prefix, last);
        if rng.up_to(1) == 0 {
            follower.begin_anew(session.engine());
        }
        followers.push(follower);
    }
    for _ in 0..STEPS {
        let at = usize::try_from(rng.up_to(PREFIXES.len() as u64 - 1)).unwrap();
        match rng.up_to(29) {
            0 => kill(&mut session, seed),
            1 => followers[at].resume(session.engine(), &session.states),
            2 if rng.up_to(3) == 0 => followers[at].begin_anew(session.engine()),
            3..=6 => {
                for follower in &mut followers {
                    let count = rng.up_to(12);
                    follower.take(session.engine(), &session.states, count);
                }
            }
            7..=10 => followers[at].take(session.engine(), &session.states, u64::MAX),
            _ => work(&mut session, &mut workload),
        }
    }
    session.perform(&Step::Reopen(any_compression(&rng)));
    work(&mut session, &mut workload);
    let mut told = Told::default();
    for mut follower in followers {
        follower.take(session.engine(), &session.states, u64::MAX);
        told.rows += follower.told.rows;
        told.events += follower.told.events;
        told.compacted += follower.told.compacted;
        told.resumed += follower.told.resumed;
    }
    told
}

fn work(session: &mut Session, workload: &mut Workload) {
    let step = workload.next_step(session.model());
    session.perform(&step);
}

/// The process dies, and the store is opened again.
fn kill(session: &mut Session, seed: u64) {
    let image = session.sim.fs.image();
    // What it still does on its disk when it goes is not on the image.
    session.engine = None;
    let now = session.sim.clock.now();
    session.sim = Env::simulated_on(image.kill(), seed + 7);
    session.sim.clock.set_now(now);
    session.open();
}

#[test]
fn random_work_is_told_in_order_once_and_whole() {
    let only: Option<u64> = std::env::var("HTKV_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = only.map_or(0..SEQUENCES, |seed| seed..seed + 1);
    let mut told = Told::default();
    for seed in seeds {
        let run = catch_unwind(AssertUnwindSafe(|| run(seed)));
        let Ok(run) = run else { panic!("HTKV_SEED={seed} cargo test --test watch random") };
        assert!(!keeps_everything(seed) || run.compacted == 0, "seed {seed}: {run:?}");
        told.rows += run.rows;
        told.events += run.events;
        told.compacted += run.compacted;
        told.resumed += run.resumed;
    }
    println!("{told:?}");
    if only.is_none() {
        assert!(told.rows > 10_000 && told.events > 10_000, "{told:?}");
        assert!(told.compacted > 500 && told.resumed > 500, "{told:?}");
    }
}
