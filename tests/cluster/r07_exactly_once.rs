//! R7: writes that are passed on through links which lose their answers. A write of which nobody
//! knows is not tried again by the engine, so none is applied twice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hightower_kv::raft::router::LinkFaults;
use hightower_kv::{Condition, Error, KvEngine, Version};

use crate::ledger::says_not_applied;
use crate::support::{agreed, cluster_with, config, followers, persist};

const KEY: &[u8] = b"count";

/// What became of all increments.
#[derive(Default)]
struct Told {
    counted: AtomicU64,
    unknown: AtomicU64,
}

impl Told {
    /// Tries one increment. The condition lets it count at most once.
    fn increment(&self, engine: &impl KvEngine) {
        let (count, version) = persist("the count is read", || read(engine));
        let condition = Condition::VersionEquals(version);
        let next = (count + 1).to_string().into_bytes();
        match engine.compare_and_set(KEY.to_vec(), condition, next) {
            Ok(outcome) => {
                self.counted.fetch_add(u64::from(outcome.is_applied()), Ordering::AcqRel);
            }
            Err(Error::OutcomeUnknown { .. }) => {
                self.unknown.fetch_add(1, Ordering::AcqRel);
            }
            Err(error) => assert!(says_not_applied(&error), "{error:?}"),
        }
    }
}

fn read(engine: &impl KvEngine) -> hightower_kv::Result<(u64, Version)> {
    let found = engine.get_versioned(KEY)?.unwrap();
    Ok((String::from_utf8(found.value.to_vec()).unwrap().parse().unwrap(), found.version))
}

#[test]
fn increments_through_lossy_links_count_once_each() {
    let mut config = config();
    // A lost answer is waited for until then.
    config.deadline = Duration::from_millis(500);
    let cluster = cluster_with(3, 701, config);
    let leader = cluster.leader().unwrap();
    persist("the count begins", || cluster.node(leader).put(KEY.to_vec(), b"0".to_vec()));
    let followers = followers(&cluster, leader);
    for &follower in &followers {
        let faults = LinkFaults { drop_response: 0.3, drop_request: 0.1, ..Default::default() };
        cluster.router().set_faults(follower, leader, faults);
    }
    let told = Told::default();
    std::thread::scope(|scope| {
        for &follower in &followers {
            let (engine, told) = (cluster.node(follower), &told);
            scope.spawn(move || (0..12).for_each(|_| told.increment(&*engine)));
        }
    });
    cluster.router().heal_all();
    let found = agreed(&cluster).get(KEY).unwrap().unwrap();
    let found: u64 = String::from_utf8(found.to_vec()).unwrap().parse().unwrap();
    let counted = told.counted.load(Ordering::Acquire);
    let most = counted + told.unknown.load(Ordering::Acquire);
    assert!((counted..=most).contains(&found), "{found}, told {counted} to {most}");
    assert!(counted > 0 && most > counted, "{counted} to {most}: the links lost nothing");
}
