//! Several callers at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hightower_kv::{Command, Condition, KvEngine, ReadContext};

use crate::engines::{Harness, contract};

contract!(
    increments_of_four_threads_all_count,
    writers_and_readers_do_not_disturb_each_other,
    a_trait_object_does_all_of_it,
);

fn increments_of_four_threads_all_count<H: Harness>(harness: &H) {
    const EACH: u64 = 25;
    let engine = harness.engine();
    engine.put(b"count".to_vec(), b"0".to_vec()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..EACH).for_each(|_| increment(&*engine)));
        }
    });
    assert_eq!(engine.get(b"count").unwrap().as_deref(), Some(&b"100"[..]));
}

fn increment(engine: &impl KvEngine) {
    loop {
        let found = engine.get_versioned(b"count").unwrap().unwrap();
        let count: u64 = String::from_utf8(found.value.to_vec()).unwrap().parse().unwrap();
        let condition = Condition::VersionEquals(found.version);
        let next = (count + 1).to_string().into_bytes();
        if engine.compare_and_set(b"count".to_vec(), condition, next).unwrap().is_applied() {
            return;
        }
    }
}

fn writers_and_readers_do_not_disturb_each_other<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                // The two keys are always written together.
                let view = engine.view(ReadContext::Local).unwrap();
                let (one, two) = (view.get(b"one").unwrap(), view.get(b"two").unwrap());
                assert_eq!(one.as_deref(), two.as_deref());
            }
        });
        for at in 0..100_u32 {
            let value = at.to_string().into_bytes();
            let both = vec![Command::set("one", value.clone()), Command::set("two", value)];
            engine.submit_batch(both).unwrap();
        }
        done.store(true, Ordering::Release);
        reader.join().unwrap();
    });
}

fn a_trait_object_does_all_of_it<H: Harness>(harness: &H) {
    let engine: Arc<dyn KvEngine> = harness.engine();
    engine.put(b"key".to_vec(), b"value".to_vec()).unwrap();
    assert_eq!(engine.get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
    assert_eq!(engine.get_prefix(b"k").unwrap().len(), 1);
}
