//! Every candidate must say what a sorted map says, or its times mean nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use hightower_kv::storage::record::Record;
use hightower_kv::types::{Timestamp, Version};

use crate::candidate::Tail;
use crate::data::Random;
use crate::{btree, hash, radix, shared_tree, skip};

const STEPS: u64 = 20_000;

/// Short keys of few bytes, so that keys begin with others and are overwritten.
fn key(random: &mut Random) -> Bytes {
    let len = random.below(6);
    let byte = |random: &mut Random| [0, 1, b'a', 0xff][random.below(4)];
    (0..len).map(|_| byte(random)).collect()
}

fn agrees_with_a_sorted_map<T: Tail>() {
    let (tail, mut model, mut random) = (T::default(), BTreeMap::new(), Random(7));
    for version in 1..STEPS {
        let key = key(&mut random);
        let (version, timestamp) = (Version(version), Timestamp(version));
        let record = Record { value: None, version, timestamp };
        tail.insert(&key, record.clone());
        model.insert(key, record);
    }
    for _ in 0..STEPS {
        let key = key(&mut random);
        assert_eq!(tail.get(&key), model.get(&key).cloned(), "{key:?}");
    }
    for _ in 0..100 {
        let from = key(&mut random);
        let mut found = Vec::new();
        tail.scan(&from, 50, &mut |key, record| found.push((key.to_vec(), record.version)));
        let wanted = model.range(from.clone()..).take(50);
        let wanted: Vec<_> = wanted.map(|(key, record)| (key.to_vec(), record.version)).collect();
        assert_eq!(found, wanted, "from {from:?}");
    }
}

#[test]
fn a_btree_agrees() {
    agrees_with_a_sorted_map::<btree::Behind>();
}

#[test]
fn a_hash_map_agrees() {
    agrees_with_a_sorted_map::<hash::Behind>();
}

#[test]
fn a_radix_tree_agrees() {
    agrees_with_a_sorted_map::<radix::Behind>();
}

#[test]
fn a_versioned_radix_tree_agrees() {
    agrees_with_a_sorted_map::<radix::VersionedBehind>();
}

#[test]
fn a_skip_list_agrees() {
    agrees_with_a_sorted_map::<skip::List>();
}

#[test]
fn the_shared_tree_agrees() {
    agrees_with_a_sorted_map::<shared_tree::Behind>();
}
