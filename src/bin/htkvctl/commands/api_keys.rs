//! `key`: API keys.

use std::io::{self, Write};
use std::path::Path;

use hightower_kv::Timestamp;
use hightower_kv::env::Env;
use serde_json::json;

use super::users::{named, read_metadata};
use crate::args::Args;
use crate::auth_args::{Authority, KeyCommand, Micros};
use crate::authority::{Missing, change, look};
use crate::console::output;
use crate::failure::{Failure, Result};
use crate::text::{Escaped, Utc};

pub(crate) fn key(args: &Args, authority: &Authority, command: &KeyCommand) -> Result<()> {
    match command {
        KeyCommand::Issue { name, expires_in, metadata_file } => {
            issue(args, authority, name, *expires_in, metadata_file.as_deref())
        }
        KeyCommand::Revoke { key_id } => revoke(args, authority, key_id),
        KeyCommand::List { name } => list(args, name),
    }
}

fn issue(
    args: &Args,
    authority: &Authority,
    name: &str,
    expires_in: Option<Micros>,
    metadata_file: Option<&Path>,
) -> Result<()> {
    let key = authority.key.get()?;
    let metadata = read_metadata(metadata_file)?;
    let metadata = metadata.as_deref().map(Vec::as_slice);
    let now = Env::system().clock.now();
    let expires_at = expires_in.map(|Micros(micros)| Timestamp(now.0.saturating_add(micros)));
    let (record, token) = change(args, authority, &key, Missing::Refuse, |auth| {
        let user = named(auth, name)?;
        Ok(auth.create_api_key_with_metadata(&user.user_id, expires_at, metadata)?)
    })?;
    let mut out = output();
    if args.json {
        let line = json!({
            "key_id": record.key_id,
            "owner_id": record.owner_id,
            "expires_at_micros": record.expires_at.map(|end| end.0),
            "token": token.expose(),
        });
        writeln!(out, "{line}")?;
        return Ok(out.flush()?);
    }
    // The token and nothing else, so that it can be piped to where it is kept.
    writeln!(out, "{}", token.expose())?;
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
    let owner = named(&auth, name)?;
    let now = Env::system().clock.now();
    let mut out = output();
    for key in auth.list_api_keys(&owner.user_id)? {
        let used = auth.api_key_last_used(&key.key_id)?;
        let is_over = key.expires_at.is_some_and(|end| end <= now);
        let state = if is_over { "expired" } else { "valid" };
        if args.json {
            let line = json!({
                "key_id": key.key_id,
                "owner_id": key.owner_id,
                "state": state,
                "created_at_micros": key.created_at.0,
                "expires_at_micros": key.expires_at.map(|end| end.0),
                "last_used_micros": used.map(|at| at.0),
                "has_metadata": key.metadata.is_some(),
            });
            writeln!(out, "{line}")?;
        } else {
            let created = Utc(key.created_at);
            let ends =
                key.expires_at.map_or_else(|| "never".to_owned(), |end| Utc(end).to_string());
            let used = used.map_or_else(|| "never".to_owned(), |at| Utc(at).to_string());
            let id = &key.key_id;
            writeln!(out, "{id}\t{state}\tcreated {created}\tends {ends}\tused {used}")?;
        }
    }
    Ok(out.flush()?)
}
