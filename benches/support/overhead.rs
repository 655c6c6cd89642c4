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
    let prefixes = rows.len() / 1000;
    let named = |name: &dyn Fn(usize) -> Vec<u8>| -> Rows {
        let keys = (0..).map(|at| [name(at), format!("{at:06}").into_bytes()].concat());
        keys.zip(&rows).map(|(key, (_, value))| (key, value.clone())).collect()
    };
    let lone: Vec<_> = rows.iter().map(|_| random.bytes(PREFIX_BYTES)).collect();
    let mut grouped = named(&|at| format!("user:{:05}", at % prefixes).into_bytes());
    let mut alone = named(&|at| lone.get(at).cloned().unwrap_or_default());
    random.shuffle(&mut grouped);
    random.shuffle(&mut alone);
    [("with_prefixes", grouped), ("without_prefixes", alone)]
}
