//! Keys that share prefixes and keys that do not.

use crate::data::{Random, Rows, Shape};

/// The shape of the rows `write_overhead`.
pub(crate) const OVERHEAD: Shape = Shape { rows: 10_000, key: 16, value: 64 };
/// Bytes that the keys of a thousand rows share.
const PREFIX_BYTES: usize = 10;

/// What the rows `write_overhead` compare: keys of which a thousand each share a prefix, and keys
/// that share none, both in random order. Prefixes are the order of the keys and no index of their
/// own, so the puts should take the same time.
pub(crate) fn overhead_rows() -> [(&'static str, Rows); 2] {
    let mut random = Random(0x0FF5);
    let rows = OVERHEAD.rows();
    let groups = rows.len() / 1000;
    let with_keys = |beginning: &dyn Fn(usize) -> Vec<u8>| -> Rows {
        let keys = (0..).map(|at| [beginning(at), format!("{at:06}").into_bytes()].concat());
        keys.zip(&rows).map(|(key, (_, value))| (key, value.clone())).collect()
    };
    let beginnings: Vec<_> = rows.iter().map(|_| random.bytes(PREFIX_BYTES)).collect();
    let mut prefixed = with_keys(&|at| format!("user:{:05}", at % groups).into_bytes());
    let mut alone = with_keys(&|at| beginnings.get(at).cloned().unwrap_or_default());
    random.shuffle(&mut prefixed);
    random.shuffle(&mut alone);
    [("with_prefixes", prefixed), ("without_prefixes", alone)]
}
