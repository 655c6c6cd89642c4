//! `key`: API keys.

use std::io::{self, Write};
use std::path::Path;

use hightower_kv::auth::{ApiKeyOptions, ApiKeyRecord};
use hightower_kv::{Timestamp, UserRecord};
use serde_json::json;

use super::grants::{grants_as_json, grants_of, permits};
use super::users::{named, read_metadata};
use crate::args::Args;
use crate::auth_args::{Authority, KeyCommand, Micros, Prefixes};
use crate::authority::{Missing, change, look};
use crate::console::output;
use crate::failure::{Failure, Result};
use crate::text::{Escaped, Utc};

/// Keys that are in memory at once; each may have grants and metadata of hundreds of KiB.
const KEYS_AT_ONCE: usize = 64;

pub(crate) fn key(args: &Args, authority: &Authority, command: &KeyCommand) -> Result<()> {
    authority.check()?;
    match command {
        KeyCommand::Issue { name, label, prefixes, expires_in, metadata_file } => {
            let options = options(args, label, prefixes)?;
            issue(args, authority, name, options, *expires_in, metadata_file.as_deref())
        }
        KeyCommand::Revoke { key_id } => revoke(args, authority, key_id),
        KeyCommand::List { name } => list(args, name),
    }
}

fn options(args: &Args, label: &str, prefixes: &Prefixes) -> Result<ApiKeyOptions> {
    let mut options = ApiKeyOptions::new().label(label);
    let grants = grants_of(args, prefixes)?;
    // None at all would be a key for nothing: what was left out is not restricted.
    if !grants.is_empty() {
        options = options.grants(grants);
    }
    Ok(options)
}

fn issue(
    args: &Args,
    authority: &Authority,
    name: &str,
    mut options: ApiKeyOptions,
    expires_in: Option<Micros>,
    metadata_file: Option<&Path>,
) -> Result<()> {
    let key = authority.key.get()?;
    if let Some(metadata) = read_metadata(metadata_file)? {
        options = options.metadata(&metadata);
    }
    let (record, token) = change(args, authority, &key, Missing::Refuse, |auth| {
        let user = named(auth, name)?;
        if let Some(Micros(micros)) = expires_in {
            options = options.expires_at(Timestamp(auth.now()?.0.saturating_add(micros)));
        }
        Ok(auth.create_api_key_with(&user.user_id, &options)?)
    })?;
    let given = give(args, &record, token.expose());
    // Nobody has the token now, and nothing shows it again.
    given.map_err(|failure| {
        let (id, why) = (
            &record.key_id,
            match failure {
                Failure::ReaderLeft => "who was to read it has gone".to_owned(),
                other => other.to_string(),
            },
        );
        Failure::Other(format!("the token of key {id} was not given out: {why}; revoke that key"))
    })
}

fn give(args: &Args, record: &ApiKeyRecord, token: &str) -> Result<()> {
    let mut out = output();
    if args.json {
        let line = json!({
            "key_id": record.key_id,
            "owner_id": record.owner_id,
            "label": record.label,
            "grants": record.grants.as_deref().map(grants_as_json),
            "expires_at_micros": record.expires_at.map(|end| end.0),
            "token": token,
        });
        writeln!(out, "{line}")?;
        return Ok(out.flush()?);
    }
    // The token and nothing else, so that it can be piped to where it is kept.
    writeln!(out, "{token}")?;
    out.flush()?;
    let line = format!("issued key {}; its token is not shown again", record.key_id);
    drop(writeln!(io::stderr().lock(), "{line}"));
    Ok(())
}

fn revoke(args: &Args, authority: &Authority, key_id: &str) -> Result<()> {
    if key_id.starts_with("htk_") {
        // Not repeated: it is the secret.
        return Err(Failure::Usage(
            "key revoke: expected the id of a key, found what looks like a token".to_owned(),
        ));
    }
    let key = authority.key.get()?;
    let revoked =
        change(args, authority, &key, Missing::Refuse, |auth| Ok(auth.revoke_api_key(key_id)?))?;
    if !revoked {
        let key_id = Escaped(key_id.as_bytes());
        return Err(Failure::Other(format!(
            "there is no key '{key_id}'; `key list USER` shows those of a user"
        )));
    }
    if args.json {
        let mut out = output();
        writeln!(out, "{}", json!({"outcome": "applied", "key_id": key_id}))?;
        out.flush()?;
    }
    Ok(())
}

fn list(args: &Args, name: &str) -> Result<()> {
    let auth = look(args)?;
    let (owner, now, mut out) = (named(&auth, name)?, auth.now()?, output());
    let mut after: Option<String> = None;
    loop {
        let keys = auth.list_api_keys_after(&owner.user_id, after.as_deref(), KEYS_AT_ONCE)?;
        let Some(last) = keys.last() else { return Ok(out.flush()?) };
        after = Some(last.key_id.clone());
        for key in &keys {
            let used = auth.api_key_last_used(&key.key_id)?;
            print(args, &mut out, key, state(key, &owner, now), used)?;
        }
    }
}

/// Whether a key is accepted, and otherwise why not.
fn state(key: &ApiKeyRecord, owner: &UserRecord, now: Timestamp) -> &'static str {
    match key.expires_at {
        Some(end) if end <= now => "expired",
        _ if owner.disabled => "disabled",
        _ => "valid",
    }
}

fn print(
    args: &Args,
    out: &mut impl Write,
    key: &ApiKeyRecord,
    state: &str,
    used: Option<Timestamp>,
) -> Result<()> {
    if args.json {
        return Ok(writeln!(out, "{}", as_json(key, state, used))?);
    }
    let or_never =
        |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| Utc(at).to_string());
    let (created, ends, used) = (Utc(key.created_at), or_never(key.expires_at), or_never(used));
    let (id, label) = (&key.key_id, Escaped(key.label.as_bytes()));
    write!(out, "{id}\t{state}\tcreated {created}\tends {ends}\tused {used}\tlabel {label}")?;
    match key.grants.as_deref() {
        None => write!(out, "\tunrestricted")?,
        Some([]) => write!(out, "\tnothing")?,
        Some(grants) => grants.iter().try_for_each(|grant| {
            write!(out, "\t{} {}", permits(grant), args.show(&grant.prefix))
        })?,
    }
    Ok(writeln!(out)?)
}

fn as_json(key: &ApiKeyRecord, state: &str, used: Option<Timestamp>) -> serde_json::Value {
    json!({
        "key_id": key.key_id,
        "owner_id": key.owner_id,
        "label": key.label,
        "grants": key.grants.as_deref().map(grants_as_json),
        "state": state,
        "created_at_micros": key.created_at.0,
        "expires_at_micros": key.expires_at.map(|end| end.0),
        "last_used_micros": used.map(|at| at.0),
        "has_metadata": key.metadata.is_some(),
    })
}
