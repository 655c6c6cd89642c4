//! The authentication service that a command works on, and what it needs to be let in.

use std::sync::Arc;

use hightower_kv::auth::audit::check_actor;
use hightower_kv::{
    AesGcmEncryptor, Argon2SecretHasher, AuthService, Error, KvEngine, ReadOnlyEngine,
    SingleNodeEngine,
};

use crate::args::Args;
use crate::auth_args::{Authority, KeySource};
use crate::failure::{Failure, Result};
use crate::secrets::{MasterKey, Unnamed, Wanted};

/// A service on an engine.
pub(crate) type Auth<E> = AuthService<Arc<E>, Argon2SecretHasher, AesGcmEncryptor>;

/// The master key of a store that has none yet.
pub(crate) const FIRST_KEY_ID: u32 = 1;

/// Whether a directory that is missing is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

const MASTER_KEY: Wanted = Wanted {
    what: "the master key",
    option: "--master-key-file",
    variable: "HTKV_MASTER_KEY",
    variable_file: "HTKV_MASTER_KEY_FILE",
    bytes_max: 256,
};

const OLD_MASTER_KEY: Wanted = Wanted {
    what: "the old master key",
    option: "--old-key-file",
    variable: "HTKV_OLD_MASTER_KEY",
    variable_file: "HTKV_OLD_MASTER_KEY_FILE",
    bytes_max: 256,
};

impl KeySource {
    pub(crate) fn get(&self) -> Result<MasterKey> {
        let text = MASTER_KEY.get(self.master_key_file.as_deref(), Unnamed::Refuse)?;
        MasterKey::parse(&text, MASTER_KEY.what)
    }
}

/// The key that a rotation is from.
pub(crate) fn old_key(file: Option<&std::path::Path>) -> Result<MasterKey> {
    let text = OLD_MASTER_KEY.get(file, Unnamed::Refuse)?;
    MasterKey::parse(&text, OLD_MASTER_KEY.what)
}

impl Authority {
    /// Refuses an actor that could look like something else in the audit trail, before anything is
    /// asked for or opened.
    ///
    /// # Errors
    /// `Usage`.
    pub(crate) fn check(&self) -> Result<()> {
        let Some(actor) = &self.actor else { return Ok(()) };
        check_actor(actor).map_err(|error| Failure::Usage(format!("--actor: {error}")))
    }

    /// Who the audit trail names.
    fn actor(&self) -> String {
        self.actor.clone().unwrap_or_else(actor_of_machine)
    }
}

/// The machine's user, by number where the environment has no name that may stand in the trail.
fn actor_of_machine() -> String {
    let actor = |name: String| format!("htkvctl:{name}");
    let name = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
    let named = ["USER", "LOGNAME"].into_iter().find_map(name).map(actor);
    let named = named.filter(|actor| check_actor(actor).is_ok());
    named.or_else(|| user_number().map(actor)).unwrap_or_else(|| actor("unknown".to_owned()))
}

/// The number of the machine's user, where nothing tells the name.
#[cfg(unix)]
#[expect(clippy::disallowed_methods, reason = "the process, no part of any store")]
fn user_number() -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").ok().map(|it| format!("uid {}", it.uid()))
}

#[cfg(not(unix))]
fn user_number() -> Option<String> {
    None
}

fn keyring(id: u32, key: &MasterKey) -> Result<AesGcmEncryptor> {
    Ok(AesGcmEncryptor::with_keyring(id, [(id, key.expose())])?)
}

/// A service that hashes no password.
fn service<E: KvEngine>(engine: &Arc<E>, encryptor: AesGcmEncryptor) -> Auth<E> {
    AuthService::new(Arc::clone(engine), Argon2SecretHasher::default(), encryptor)
}

/// A service that opens nothing that is encrypted: its one key is nobody's.
fn without_key<E: KvEngine>(engine: &Arc<E>) -> Result<Auth<E>> {
    let encryptor = AesGcmEncryptor::with_keyring(u32::MAX, [(u32::MAX, [0; MasterKey::BYTES])])?;
    Ok(service(engine, encryptor))
}

/// For reading what needs no master key. Nothing is written.
pub(crate) fn look(args: &Args) -> Result<Auth<ReadOnlyEngine>> {
    without_key(&Arc::new(args.look()?))
}

/// For reading what is under the master key. Nothing is written.
///
/// # Errors
/// `Other` where the store has no records of authentication, or another key.
pub(crate) fn look_with_key(args: &Args, key: &MasterKey) -> Result<Auth<ReadOnlyEngine>> {
    let engine = Arc::new(args.look()?);
    let id = id_in_force(&engine)?.ok_or_else(|| no_records(args))?;
    Ok(service(&engine, keyring(id, key)?))
}

/// The id of the master key that a store is under; `None` before the first record.
pub(crate) fn id_in_force(engine: &Arc<ReadOnlyEngine>) -> Result<Option<u32>> {
    // The first thing that is looked at is what the master key wraps, and it says which one.
    match without_key(engine)?.audit(1, 0) {
        Err(Error::UnknownKey { id }) => Ok(Some(id)),
        // What is not there would have to be made.
        Ok(_) | Err(Error::Closed(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a key is the one that a store is under, with this id.
pub(crate) fn opens(engine: &Arc<ReadOnlyEngine>, id: u32, key: &MasterKey) -> Result<bool> {
    match service(engine, keyring(id, key)?).audit(1, 0) {
        Ok(_) | Err(Error::AuditBroken { .. }) => Ok(true),
        Err(Error::Crypto(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn no_records(args: &Args) -> Failure {
    let directory = args.data_dir.display();
    Failure::Other(format!("{directory} has no users and no audit trail: `user add` makes them"))
}

/// Makes a change under the master key that hashes no password, and closes the store.
pub(crate) fn change<T>(
    args: &Args,
    authority: &Authority,
    key: &MasterKey,
    missing: Missing,
    act: impl FnOnce(&Auth<SingleNodeEngine>) -> Result<T>,
) -> Result<T> {
    change_hashing(args, authority, key, missing, Argon2SecretHasher::default(), act)
}

/// As [`change`], with what hashes passwords.
pub(crate) fn change_hashing<T>(
    args: &Args,
    authority: &Authority,
    key: &MasterKey,
    missing: Missing,
    hasher: Argon2SecretHasher,
    act: impl FnOnce(&Auth<SingleNodeEngine>) -> Result<T>,
) -> Result<T> {
    let id = match args.look() {
        Ok(engine) => id_in_force(&Arc::new(engine))?,
        Err(Failure::Store(Error::NoStore(_))) if missing == Missing::Create => None,
        Err(failure) => return Err(failure),
    };
    let id = match (id, missing) {
        (Some(id), _) => id,
        (None, Missing::Create) => FIRST_KEY_ID,
        (None, Missing::Refuse) => return Err(no_records(args)),
    };
    change_with(args, authority, keyring(id, key)?, hasher, act)
        .map_err(|failure| explained(failure, id))
}

/// Makes a change with a keyring, and closes the store.
pub(crate) fn change_with<T>(
    args: &Args,
    authority: &Authority,
    encryptor: AesGcmEncryptor,
    hasher: Argon2SecretHasher,
    act: impl FnOnce(&Auth<SingleNodeEngine>) -> Result<T>,
) -> Result<T> {
    let engine = Arc::new(SingleNodeEngine::with_config(args.config())?);
    let auth = AuthService::new(Arc::clone(&engine), hasher, encryptor);
    let auth = auth.acting_as(&authority.actor());
    let done = act(&auth);
    drop(auth);
    let closed = Arc::into_inner(engine).map_or(Ok(()), SingleNodeEngine::close);
    let done = done?;
    closed?;
    Ok(done)
}

/// Says which master key was expected, where something does not open.
pub(crate) fn explained(failure: Failure, id: u32) -> Failure {
    match failure {
        Failure::Store(error @ Error::Crypto(_)) => {
            Failure::Other(format!("{error}. Expected the master key {id} of this store"))
        }
        Failure::Store(Error::UnknownKey { id: needed }) => Failure::Other(format!(
            "a value is still under the master key {needed}, and the store is under {id}: finish \
             with `rotate-master-key`"
        )),
        other => other,
    }
}
