//! `role`: what users may do with which keys.

use std::io::Write;

use hightower_kv::auth::{RoleRecord, check_role};
use serde_json::json;

use super::grants::{grants_as_json, grants_of, permits};
use crate::args::Args;
use crate::auth_args::{Authority, Prefixes, RoleCommand};
use crate::authority::{Missing, change, look};
use crate::console::output;
use crate::failure::{Failure, Result};
use crate::text::Escaped;

pub(crate) fn role(args: &Args, authority: &Authority, command: &RoleCommand) -> Result<()> {
    authority.check()?;
    match command {
        RoleCommand::Put { role, prefixes } => put(args, authority, role, prefixes),
        RoleCommand::List => list(args),
        RoleCommand::Delete { role } => delete(args, authority, role),
    }
}

fn put(args: &Args, authority: &Authority, role: &str, prefixes: &Prefixes) -> Result<()> {
    let grants = grants_of(args, prefixes)?;
    // No store is created for a role that cannot be.
    check_role(role, &grants)?;
    let key = authority.key.get()?;
    let record =
        change(args, authority, &key, Missing::Create, |auth| Ok(auth.put_role(role, grants)?))?;
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

fn as_json(role: &RoleRecord) -> serde_json::Value {
    json!({"role": role.name, "grants": grants_as_json(&role.grants)})
}
