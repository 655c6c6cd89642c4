//! `role`: what users may do with which keys.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;

use hightower_kv::auth::{Grant, RoleRecord};
use serde_json::json;

use crate::args::Args;
use crate::auth_args::{Authority, RoleCommand};
use crate::authority::{Missing, change, look};
use crate::console::output;
use crate::failure::{Failure, Result};
use crate::text::{Escaped, Hex};

pub(crate) fn role(args: &Args, authority: &Authority, command: &RoleCommand) -> Result<()> {
    match command {
        RoleCommand::Put { role, read, write } => put(args, authority, role, read, write),
        RoleCommand::List => list(args),
        RoleCommand::Delete { role } => delete(args, authority, role),
    }
}

fn put(
    args: &Args,
    authority: &Authority,
    role: &str,
    read: &[OsString],
    write: &[OsString],
) -> Result<()> {
    let mut grants: BTreeMap<Vec<u8>, Grant> = BTreeMap::new();
    let none = |prefix: &Vec<u8>| Grant { prefix: prefix.clone(), read: false, write: false };
    for prefix in read {
        let prefix = args.bytes(prefix)?;
        grants.entry(prefix.clone()).or_insert_with(|| none(&prefix)).read = true;
    }
    for prefix in write {
        let prefix = args.bytes(prefix)?;
        grants.entry(prefix.clone()).or_insert_with(|| none(&prefix)).write = true;
    }
    let key = authority.key.get()?;
    let record = change(args, authority, &key, Missing::Create, |auth| {
        Ok(auth.put_role(role, grants.into_values().collect())?)
    })?;
    tell(args, &record.name)
}

fn delete(args: &Args, authority: &Authority, role: &str) -> Result<()> {
    let key = authority.key.get()?;
    let is_gone =
        change(args, authority, &key, Missing::Refuse, |auth| Ok(auth.delete_role(role)?))?;
    if is_gone {
        return tell(args, role);
    }
    let role = Escaped(role.as_bytes());
    Err(Failure::Other(format!("there is no role '{role}'; `role list` shows which there are")))
}

fn tell(args: &Args, role: &str) -> Result<()> {
    if args.json {
        let mut out = output();
        writeln!(out, "{}", json!({"outcome": "applied", "role": role}))?;
        out.flush()?;
    }
    Ok(())
}

fn list(args: &Args) -> Result<()> {
    let mut out = output();
    for role in look(args)?.list_roles()? {
        if args.json {
            writeln!(out, "{}", as_json(&role))?;
            continue;
        }
        let name = Escaped(role.name.as_bytes());
        for grant in &role.grants {
            writeln!(out, "{name}\t{}\t{}", permits(grant), args.show(&grant.prefix))?;
        }
        if role.grants.is_empty() {
            writeln!(out, "{name}\tnothing\t")?;
        }
    }
    Ok(out.flush()?)
}

const fn permits(grant: &Grant) -> &'static str {
    match (grant.read, grant.write) {
        (true, true) => "read,write",
        (true, false) => "read",
        (false, true) => "write",
        (false, false) => "nothing",
    }
}

fn as_json(role: &RoleRecord) -> serde_json::Value {
    let grants: Vec<_> = role
        .grants
        .iter()
        .map(|grant| {
            let prefix = Hex(&grant.prefix).to_string();
            json!({"prefix_hex": prefix, "read": grant.read, "write": grant.write})
        })
        .collect();
    json!({"role": role.name, "grants": grants})
}
