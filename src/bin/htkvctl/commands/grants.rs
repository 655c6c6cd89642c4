//! Grants of roles and API keys, as they are asked for and shown.

use std::collections::BTreeMap;

use hightower_kv::auth::Grant;
use serde_json::json;

use crate::args::Args;
use crate::auth_args::Prefixes;
use crate::failure::Result;
use crate::text::Hex;

/// One grant for each prefix, by prefix.
pub(super) fn grants_of(args: &Args, prefixes: &Prefixes) -> Result<Vec<Grant>> {
    let mut grants: BTreeMap<Vec<u8>, Grant> = BTreeMap::new();
    let none = |prefix: &Vec<u8>| Grant { prefix: prefix.clone(), read: false, write: false };
    for prefix in &prefixes.read {
        let prefix = args.bytes(prefix)?;
        grants.entry(prefix.clone()).or_insert_with(|| none(&prefix)).read = true;
    }
    for prefix in &prefixes.write {
        let prefix = args.bytes(prefix)?;
        grants.entry(prefix.clone()).or_insert_with(|| none(&prefix)).write = true;
    }
    Ok(grants.into_values().collect())
}

pub(super) const fn permits(grant: &Grant) -> &'static str {
    match (grant.read, grant.write) {
        (true, true) => "read,write",
        (true, false) => "read",
        (false, true) => "write",
        (false, false) => "nothing",
    }
}

pub(super) fn grants_as_json(grants: &[Grant]) -> serde_json::Value {
    let grant = |grant: &Grant| {
        let prefix = Hex(&grant.prefix).to_string();
        json!({"prefix_hex": prefix, "read": grant.read, "write": grant.write})
    };
    grants.iter().map(grant).collect()
}
