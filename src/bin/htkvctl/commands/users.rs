//! `list-users` and `user`.

use std::io::Write;
use std::path::Path;

use hightower_kv::auth::{PasswordPolicy, check_new_user};
use hightower_kv::{Argon2SecretHasher, KvEngine, SingleNodeEngine, UserRecord};
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::Args;
use crate::auth_args::{Authority, PasswordSource, UserCommand};
use crate::authority::{Auth, Missing, change, change_hashing, explained, look, look_with_key};
use crate::console::output;
use crate::failure::{Failure, Result};
use crate::secrets::{MasterKey, Secret, Unnamed, Wanted, bytes_of};
use crate::text::{Escaped, Hex, Utc};

/// What is read of metadata at most. The library has a limit of its own.
const METADATA_BYTES_MAX: usize = 1 << 20;
/// Users that are in memory at once; with metadata each may take more than 64 KiB.
const USERS_AT_ONCE: usize = 64;

const NEW_PASSWORD: Wanted = Wanted {
    what: "the new password",
    option: "--password-file",
    variable: "HTKV_PASSWORD",
    variable_file: "HTKV_PASSWORD_FILE",
    // The longest that the library takes.
    bytes_max: 1024,
};

const PEPPER: Wanted = Wanted {
    what: "the pepper",
    option: "--pepper-file",
    variable: "HTKV_PEPPER",
    variable_file: "HTKV_PEPPER_FILE",
    bytes_max: 1024,
};

/// What the hash of a password begins with that this tool makes.
const ALGORITHM: &str = "argon2id";

impl PasswordSource {
    /// The password, and what hashes it.
    fn get(&self) -> Result<(Argon2SecretHasher, Secret)> {
        let mut hasher = Argon2SecretHasher::default();
        if let Some(pepper) = PEPPER.named(self.pepper_file.as_deref())? {
            hasher = hasher.with_pepper(pepper.as_bytes());
        }
        let password = NEW_PASSWORD.get(self.password_file.as_deref(), Unnamed::AskTwice)?;
        Ok((hasher, password))
    }
}

pub(crate) fn user(args: &Args, authority: &Authority, command: &UserCommand) -> Result<()> {
    authority.check()?;
    match command {
        UserCommand::Add { name, password, metadata_file } => {
            add(args, authority, name, password, metadata_file.as_deref())
        }
        UserCommand::Passwd { name, password } => {
            let key = authority.key.get()?;
            let (hasher, password) = password.get()?;
            let change = change_hashing(args, authority, &key, Missing::Refuse, hasher, |auth| {
                let user = named(auth, name)?;
                check_algorithm(&user)?;
                auth.reset_password(&user.user_id, &password)?;
                Ok(user.user_id)
            });
            done(args, "passwd", &change?)
        }
        UserCommand::Disable { name } => {
            simple(args, authority, "disable", name, |auth, id| Ok(auth.disable_user(id)?))
        }
        UserCommand::Enable { name } => {
            simple(args, authority, "enable", name, |auth, id| Ok(auth.enable_user(id)?))
        }
        UserCommand::Unlock { name } => {
            simple(args, authority, "unlock", name, |auth, id| Ok(auth.unlock_user(id)?))
        }
        UserCommand::Metadata { name, metadata_file, .. } => {
            // First the key, which may be the first line of standard input: this reads all of it.
            let key = authority.key.get()?;
            let metadata = read_metadata(metadata_file.as_deref())?;
            let metadata = metadata.as_deref().map(Vec::as_slice);
            simple_with(args, authority, &key, "metadata", name, |auth, id| {
                auth.set_user_metadata(id, metadata)?;
                Ok(())
            })
        }
        UserCommand::Delete { name } => {
            simple(args, authority, "delete", name, |auth, id| Ok(auth.delete_user(id)?))
        }
        UserCommand::Show { name, metadata } => show(args, authority, name, *metadata),
        UserCommand::Roles { name, roles, .. } => {
            let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
            simple(args, authority, "roles", name, |auth, id| Ok(auth.set_user_roles(id, &roles)?))
        }
    }
}

/// The bytes to store with a user or a key.
pub(super) fn read_metadata(file: Option<&Path>) -> Result<Option<Zeroizing<Vec<u8>>>> {
    file.map(|file| bytes_of(file, "the metadata", METADATA_BYTES_MAX)).transpose()
}

/// The user of a name.
pub(super) fn named<E: KvEngine>(auth: &Auth<E>, name: &str) -> Result<UserRecord> {
    auth.find_user(name)?.ok_or_else(|| {
        let name = Escaped(name.as_bytes());
        Failure::Other(format!("there is no user '{name}'; `list-users` shows who there is"))
    })
}

/// Refuses to replace a hash that this tool cannot make: who made it does not accept another kind.
fn check_algorithm(user: &UserRecord) -> Result<()> {
    let found = user.password_algorithm();
    if found == ALGORITHM {
        return Ok(());
    }
    let (name, found) = (Escaped(user.username.as_bytes()), Escaped(found.as_bytes()));
    Err(Failure::Other(format!(
        "the password of '{name}' is hashed by '{found}', and this tool makes hashes of \
         {ALGORITHM}: the application would not accept one; it replaces passwords by \
         `reset_password`"
    )))
}

fn add(
    args: &Args,
    authority: &Authority,
    name: &str,
    password: &PasswordSource,
    metadata_file: Option<&Path>,
) -> Result<()> {
    let key = authority.key.get()?;
    let (hasher, password) = password.get()?;
    let metadata = read_metadata(metadata_file)?;
    let metadata = metadata.as_deref().map(Vec::as_slice);
    // No store is created for a user who cannot be.
    check_new_user(PasswordPolicy::default(), name, &password, metadata)?;
    let user = change_hashing(args, authority, &key, Missing::Create, hasher, |auth| {
        Ok(auth.create_user_with_metadata(name, &password, metadata)?)
    })?;
    let mut out = output();
    if args.json {
        let line = json!({"outcome": "applied", "user_id": user.user_id, "name": user.username});
        writeln!(out, "{line}")?;
    } else {
        writeln!(out, "{}", user.user_id)?;
    }
    Ok(out.flush()?)
}

/// A change of the user of a name that takes nothing else.
fn simple(
    args: &Args,
    authority: &Authority,
    what: &str,
    name: &str,
    act: impl FnOnce(&Auth<SingleNodeEngine>, &str) -> Result<()>,
) -> Result<()> {
    simple_with(args, authority, &authority.key.get()?, what, name, act)
}

fn simple_with(
    args: &Args,
    authority: &Authority,
    key: &MasterKey,
    what: &str,
    name: &str,
    act: impl FnOnce(&Auth<SingleNodeEngine>, &str) -> Result<()>,
) -> Result<()> {
    let id = change(args, authority, key, Missing::Refuse, |auth| {
        let user = named(auth, name)?;
        act(auth, &user.user_id)?;
        Ok(user.user_id)
    })?;
    done(args, what, &id)
}

/// Nothing, or with `--json` what was done to whom.
fn done(args: &Args, what: &str, user_id: &str) -> Result<()> {
    if !args.json {
        return Ok(());
    }
    let mut out = output();
    writeln!(out, "{}", json!({"outcome": "applied", "change": what, "user_id": user_id}))?;
    Ok(out.flush()?)
}

const fn state(user: &UserRecord) -> &'static str {
    if user.disabled { "disabled" } else { "enabled" }
}

fn as_json(user: &UserRecord) -> serde_json::Value {
    json!({
        "user_id": user.user_id,
        "name": user.username,
        "state": state(user),
        "roles": user.roles,
        "created_at_micros": user.created_at.0,
        "has_metadata": user.metadata.is_some(),
    })
}

/// Roles as a list of one word each.
fn roles_of(user: &UserRecord) -> String {
    if user.roles.is_empty() {
        return "-".to_owned();
    }
    let roles: Vec<String> =
        user.roles.iter().map(|role| Escaped(role.as_bytes()).to_string()).collect();
    roles.join(",")
}

pub(crate) fn list(args: &Args) -> Result<()> {
    let (auth, mut out) = (look(args)?, output());
    let mut after: Option<String> = None;
    loop {
        let users = auth.list_users_after(after.as_deref(), USERS_AT_ONCE)?;
        let Some(last) = users.last() else { return Ok(out.flush()?) };
        after = Some(last.username.clone());
        for user in &users {
            if args.json {
                writeln!(out, "{}", as_json(user))?;
                continue;
            }
            let name = Escaped(user.username.as_bytes());
            let (state, roles, created) = (state(user), roles_of(user), Utc(user.created_at));
            writeln!(out, "{}\t{name}\t{state}\t{roles}\t{created}", user.user_id)?;
        }
    }
}

fn show(args: &Args, authority: &Authority, name: &str, with_metadata: bool) -> Result<()> {
    let auth =
        if with_metadata { look_with_key(args, &authority.key.get()?)? } else { look(args)? };
    let user = named(&auth, name)?;
    let keys = auth.count_api_keys(&user.user_id)?;
    let login = auth.last_login(&user.user_id)?;
    let metadata = if with_metadata {
        let id = user.metadata.as_ref().map_or(0, |envelope| envelope.key_id);
        let opened = auth.decrypt_user_metadata(&user);
        opened.map_err(|error| explained(error.into(), id))?
    } else {
        None
    };
    let mut out = output();
    if args.json {
        let mut line = as_json(&user);
        if let Some(fields) = line.as_object_mut() {
            fields.insert("api_keys".to_owned(), keys.into());
            fields.insert("last_login_micros".to_owned(), login.map(|at| at.0).into());
            match metadata.as_deref().map(str::from_utf8) {
                Some(Ok(text)) if !args.hex => fields.insert("metadata".to_owned(), text.into()),
                Some(_) => {
                    let hex = Hex(metadata.as_deref().unwrap_or_default()).to_string();
                    fields.insert("metadata_hex".to_owned(), hex.into())
                }
                None => None,
            };
        }
        writeln!(out, "{line}")?;
        return Ok(out.flush()?);
    }
    writeln!(out, "id        {}", user.user_id)?;
    writeln!(out, "name      {}", Escaped(user.username.as_bytes()))?;
    writeln!(out, "state     {}", state(&user))?;
    writeln!(out, "roles     {}", roles_of(&user))?;
    writeln!(out, "created   {}", Utc(user.created_at))?;
    let login = login.map_or_else(|| "never".to_owned(), |at| Utc(at).to_string());
    writeln!(out, "login     {login}")?;
    writeln!(out, "api keys  {keys}")?;
    match (&metadata, &user.metadata) {
        (Some(metadata), _) => writeln!(out, "metadata  {}", args.show(metadata))?,
        (None, Some(_)) => writeln!(out, "metadata  encrypted (--metadata shows it)")?,
        (None, None) => writeln!(out, "metadata  none")?,
    }
    Ok(out.flush()?)
}
