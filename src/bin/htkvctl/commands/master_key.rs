//! `master-key new` and `rotate-master-key`.

use std::io::{self, IoSlice, Write};
use std::path::Path;
use std::sync::Arc;

use hightower_kv::env::Env;
use hightower_kv::env::fs::{FsFile, OpenHow};
use hightower_kv::{AesGcmEncryptor, Argon2SecretHasher, Error};
use serde_json::json;
use zeroize::Zeroizing;

use crate::args::Args;
use crate::auth_args::Authority;
use crate::authority::{FIRST_KEY_ID, change_with, id_in_force, no_records, old_key, opens};
use crate::console::output;
use crate::failure::{Failure, Result};
use crate::secrets::MasterKey;
use crate::text::Hex;

pub(crate) fn new(file: &Path) -> Result<()> {
    let env = Env::system();
    let mut key = Zeroizing::new([0; MasterKey::BYTES]);
    let failed = |error| Failure::Other(format!("no random bytes: {error}"));
    env.rng.fill(key.as_mut()).map_err(failed)?;
    let line = Zeroizing::new(format!("{}\n", Hex(key.as_ref())));
    if file == "-" {
        let mut out = io::stdout().lock();
        out.write_all(line.as_bytes())?;
        return Ok(out.flush()?);
    }
    let failed =
        |what: &str, error| Failure::Other(format!("cannot {what} {}: {error}", file.display()));
    let made = env.fs.open(file, OpenHow::CreateNew).map_err(|error| failed("create", error))?;
    // It was made here, so nobody else's is removed, and the same command can be given again.
    fill(&env, &*made, file, line.as_bytes())
        .inspect_err(|_| drop(env.fs.remove(file)))
        .map_err(|error| failed("write", error))
}

/// Writes a new file, which nobody else can read, so that it is there after a power cut.
fn fill(env: &Env, file: &dyn FsFile, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = file.write_at(&[IoSlice::new(bytes)], 0)?;
    if written != bytes.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    file.sync()?;
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    env.fs.sync_dir(above.unwrap_or(Path::new(".")))
}

pub(crate) fn rotate(args: &Args, authority: &Authority, old_file: Option<&Path>) -> Result<()> {
    authority.check()?;
    let old = old_key(old_file)?;
    let new = authority.key.get()?;
    if old.is(&new) {
        return Err(Failure::Other("the old and the new master key are the same".to_owned()));
    }
    let engine = Arc::new(args.look()?);
    let in_force = id_in_force(&engine)?.ok_or_else(|| no_records(args))?;
    // The first step of a rotation brings the new key into force. So where that is done already, a
    // rotation that was interrupted goes on.
    let ids = if opens(&engine, in_force, &old)? {
        in_force.checked_add(1).map(|next| (in_force, next))
    } else if opens(&engine, in_force, &new)? {
        if in_force == FIRST_KEY_ID {
            return Err(Failure::Other(format!(
                "the key given as the new one is master key {in_force}, the only one that this \
                 store ever had, and the other one is none of its keys: were they given the wrong \
                 way round? Nothing was changed"
            )));
        }
        in_force.checked_sub(1).map(|before| (before, in_force))
    } else {
        return Err(Failure::Other(format!(
            "neither key is the master key {in_force} of this store; nothing was changed"
        )));
    };
    drop(engine);
    let (before, next) = ids.ok_or_else(|| Failure::Other("no id is left".to_owned()))?;
    let keys = [(before, old.expose()), (next, new.expose())];
    let encryptor = AesGcmEncryptor::with_keyring(next, keys)?;
    let hasher = Argon2SecretHasher::default();
    let rewrapped =
        change_with(args, authority, encryptor, hasher, |auth| Ok(auth.rotate_master_key()?))
            .map_err(unfinished)?;
    let mut out = output();
    if args.json {
        writeln!(out, "{}", json!({"rewrapped": rewrapped, "master_key_id": next}))?;
    } else {
        writeln!(out, "rewrapped  {rewrapped}")?;
        // Where the new key was in force before and nothing was left of the old one, that was not
        // needed, and may be any key.
        if rewrapped > 0 || in_force == before {
            writeln!(out, "in force   master key {next}; {before} is needed no more")?;
        } else {
            writeln!(
                out,
                "in force   master key {next}, as before; the old key was not looked at"
            )?;
        }
    }
    Ok(out.flush()?)
}

/// Says what to do where something is under a third key.
fn unfinished(failure: Failure) -> Failure {
    match failure {
        Failure::Store(Error::UnknownKey { id }) => Failure::Other(format!(
            "a value is still under the master key {id}, which is none of the two: the rotation \
             from it to the next one was not finished; finish it first, with its own two keys. \
             Nothing was changed"
        )),
        other => other,
    }
}
