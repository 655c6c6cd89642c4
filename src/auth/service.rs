//! [`AuthService`]: what it holds, and how it reads and changes records.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::audit::{self, AuditRow, Head};
use super::envelope::{Envelope, EnvelopeEncryptor, derive, random};
use super::failures::FailuresHere;
use super::hasher::SecretHasher;
use super::hashing_pool::HashingPool;
use super::record_codec::{Reader, Writer};
use super::records::UserRecord;
use super::{base62, keyspace, token};
use crate::command::{Command, Guard};
use crate::engine::{KvEngine, ReadContext};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::types::{Timestamp, Version};

/// How often a change is decided anew because another node was faster.
const ATTEMPTS_MAX: usize = 100;
/// Rows that a list or the audit trail is read in.
pub(super) const ROWS_AT_ONCE: usize = 1024;
const REALM_VERSION: u8 = 1;
/// Longest password in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;

/// What a password must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PasswordPolicy {
    /// Least number of characters. Default 8.
    pub characters_min: usize,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { characters_min: 8 }
    }
}

impl PasswordPolicy {
    /// With this many characters at least.
    #[must_use]
    pub const fn with_characters_min(characters_min: usize) -> Self {
        Self { characters_min }
    }

    pub(super) fn check(self, name: &str, password: &str) -> Result<()> {
        check_password_bytes(password)?;
        let refused = |what: &str| Err(Error::Validation(what.to_owned()));
        if password.chars().count() < self.characters_min {
            return refused("the password is too short");
        }
        if password.to_lowercase() == name {
            return refused("the password is the name");
        }
        Ok(())
    }
}

/// # Errors
/// `TooLarge`.
pub(super) fn check_password_bytes(password: &str) -> Result<()> {
    let (limit, got) = (PASSWORD_BYTES_MAX as u64, password.len() as u64);
    if got > limit {
        return Err(Error::TooLarge { what: "bytes of a password".to_owned(), limit, got });
    }
    Ok(())
}

/// Users, passwords, API keys and roles on an engine. Used through `&self` from any thread.
///
/// A call that changes something returns when the change is as durable as any write of the engine,
/// and has left one row in the audit trail with it. After a crash a change is whole or not there.
/// Reads are linearizable: what was revoked, disabled or changed anywhere is so at once.
pub struct AuthService<E, H, C> {
    pub(super) engine: E,
    pub(super) hasher: H,
    pub(super) encryptor: C,
    pub(super) env: Env,
    pub(super) policy: PasswordPolicy,
    pub(super) pool: HashingPool,
    pub(super) failures: FailuresHere,
    /// When this node last wrote that a key was used.
    pub(super) used: Mutex<HashMap<String, Timestamp>>,
    actor: String,
    realm: Mutex<Option<Realm>>,
    /// Changes of this node take turns, since each appends to one trail.
    changing: Mutex<()>,
}

/// What the secrets of a store are bound to.
#[derive(Clone)]
pub(super) struct Realm {
    pub(super) id: [u8; 16],
    pub(super) token_key: Zeroizing<[u8; 32]>,
    audit_key: Zeroizing<[u8; 32]>,
}

/// A record with the version that a change of it is guarded by.
pub(super) struct Found<T> {
    pub(super) record: T,
    pub(super) version: Version,
}

/// What a change does when its guards hold.
pub(super) struct Change {
    pub(super) guards: Vec<Guard>,
    pub(super) commands: Vec<Command>,
    pub(super) action: &'static str,
    pub(super) subject: String,
}

impl<E, H, C> fmt::Debug for AuthService<E, H, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthService").field("actor", &self.actor).finish_non_exhaustive()
    }
}

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// A service on `engine`, with the clock and the random source of the machine. Writes nothing.
    #[must_use]
    pub fn new(engine: E, hasher: H, encryptor: C) -> Self {
        Self::with_env(engine, hasher, encryptor, Env::system())
    }

    /// As [`Self::new`], with another clock and random source.
    #[must_use]
    pub fn with_env(engine: E, hasher: H, encryptor: C, env: Env) -> Self {
        Self {
            engine,
            hasher,
            encryptor,
            env,
            policy: PasswordPolicy::default(),
            pool: HashingPool::default(),
            failures: FailuresHere::default(),
            used: Mutex::new(HashMap::new()),
            actor: "system".to_owned(),
            realm: Mutex::new(None),
            changing: Mutex::new(()),
        }
    }

    /// With another policy for new passwords.
    #[must_use]
    pub fn with_password_policy(mut self, policy: PasswordPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// With another name than `system` for who makes changes, in the audit trail.
    #[must_use]
    pub fn acting_as(mut self, actor: &str) -> Self {
        actor.clone_into(&mut self.actor);
        self
    }

    /// The audit trail's rows with numbers from `from` to `to`, both included, oldest first, after
    /// checking all of it: cost O(all rows).
    ///
    /// # Errors
    /// `AuditBroken` with the first row that is missing or not what was written. Those of a read.
    pub fn audit(&self, from: u64, to: u64) -> Result<Vec<AuditRow>> {
        let key = self.realm()?.audit_key;
        let view = self.engine.view(ReadContext::Linearizable)?;
        let head = match view.reserved().get(&keyspace::audit_head())? {
            None => Head::default(),
            Some(row) => Head::from_bytes(&row.value)?,
        };
        let prefix = keyspace::audit_prefix();
        let mut rows: Vec<(Bytes, Vec<u8>, Version, Timestamp)> = Vec::new();
        loop {
            let after = rows.last().map(|row| row.0.clone());
            let more = view.reserved().rows(&prefix, after.as_deref(), ROWS_AT_ONCE)?;
            let is_last = more.len() < ROWS_AT_ONCE;
            let taken = more.into_iter();
            rows.extend(
                taken.map(|(at, row)| (at, row.value.to_vec(), row.version, row.timestamp)),
            );
            if is_last {
                break;
            }
        }
        let rows = audit::verify(key.as_ref(), &head, rows)?;
        Ok(rows.into_iter().filter(|row| (from..=to).contains(&row.number)).collect())
    }

    /// A reserved record, read linearizably.
    pub(super) fn find<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T>,
    ) -> Result<Option<Found<T>>> {
        let view = self.engine.view(ReadContext::Linearizable)?;
        let Some(row) = view.reserved().get(key)? else { return Ok(None) };
        Ok(Some(Found { record: read(&row.value)?, version: row.version }))
    }

    /// Every record below a prefix, in key order, of one state.
    pub(super) fn find_all<T>(
        &self,
        prefix: &[u8],
        read: impl Fn(&Bytes, &[u8]) -> Result<T>,
    ) -> Result<Vec<T>> {
        let view = self.engine.view(ReadContext::Linearizable)?;
        let (mut found, mut after): (Vec<T>, Option<Bytes>) = (Vec::new(), None);
        loop {
            let rows = view.reserved().rows(prefix, after.as_deref(), ROWS_AT_ONCE)?;
            for (key, row) in &rows {
                found.push(read(key, &row.value)?);
            }
            after = rows.last().map(|row| row.0.clone());
            if rows.len() < ROWS_AT_ONCE {
                return Ok(found);
            }
        }
    }

    /// Makes a change: `decide` reads and says what to do, and is asked again when what it has read
    /// was changed meanwhile. `None` of it: nothing is to be done.
    ///
    /// # Errors
    /// Those of `decide` and of a write; `Conflict` when others were faster a hundred times.
    pub(super) fn change<T>(
        &self,
        mut decide: impl FnMut() -> Result<(Option<Change>, T)>,
    ) -> Result<T> {
        let key = self.realm()?.audit_key;
        let _turn = self.changing.lock();
        for _ in 0..ATTEMPTS_MAX {
            let head = self.audit_head()?;
            let (change, result) = decide()?;
            let Some(Change { mut guards, mut commands, action, subject }) = change else {
                return Ok(result);
            };
            let row = [self.actor.as_str(), action, subject.as_str()];
            let (guard, sets) = audit::append(key.as_ref(), head, row)?;
            guards.push(guard);
            commands.extend(sets);
            if self.engine.submit(Command::reserved(guards, commands))?.is_applied() {
                return Ok(result);
            }
        }
        Err(Error::Conflict("other changes were faster".to_owned()))
    }

    fn audit_head(&self) -> Result<Option<(Head, Version, Timestamp)>> {
        let view = self.engine.view(ReadContext::Linearizable)?;
        let Some(row) = view.reserved().get(&keyspace::audit_head())? else { return Ok(None) };
        Ok(Some((Head::from_bytes(&row.value)?, row.version, row.timestamp)))
    }

    /// The realm, which the first call of all creates.
    pub(super) fn realm(&self) -> Result<Realm> {
        if let Some(realm) = &*self.realm.lock() {
            return Ok(realm.clone());
        }
        for _ in 0..ATTEMPTS_MAX {
            if let Some(found) = self.find(&keyspace::realm(), read_realm)? {
                let (id, envelope) = found.record;
                let root = self.encryptor.open(&realm_place(&id), &envelope)?;
                let token_key = derive(&root, &[b"api key v1"])?;
                let audit_key = derive(&root, &[b"audit v1"])?;
                let realm = Realm { id, token_key, audit_key };
                *self.realm.lock() = Some(realm.clone());
                return Ok(realm);
            }
            let (id, root) = (random::<16>(&*self.env.rng)?, self.secret()?);
            let envelope = self.encryptor.seal(&realm_place(&id), root.as_ref(), &*self.env.rng)?;
            let set = Command::set(keyspace::realm(), write_realm(&id, &envelope));
            self.engine.submit(Command::reserved([Guard::absent(keyspace::realm())], [set]))?;
        }
        Err(Error::Conflict("the realm could not be created".to_owned()))
    }

    pub(super) fn secret(&self) -> Result<Zeroizing<[u8; 32]>> {
        random(&*self.env.rng).map(Zeroizing::new)
    }

    /// A new id, and its text.
    pub(super) fn new_id(&self) -> Result<([u8; 16], String)> {
        let id = random(&*self.env.rng)?;
        let mut text = String::new();
        base62::encode(&id, token::ID_DIGITS, &mut text);
        Ok((id, text))
    }

    /// The time that conditions are held against: never before that of the last entry.
    pub(super) fn now(&self) -> Result<Timestamp> {
        let stamp = self.engine.view(ReadContext::Local)?.timestamp();
        Ok(stamp.max(self.env.clock.now()))
    }

    /// Where a value stands, for the authentication of its encryption.
    pub(super) fn place(&self, kind: &str, id: &str) -> Result<Vec<u8>> {
        let realm = self.realm()?.id;
        let place = Writer::new(REALM_VERSION).bytes(&realm).bytes(kind.as_bytes());
        Ok(place.bytes(id.as_bytes()).bytes(b"metadata").finish())
    }

    pub(super) fn seal(
        &self,
        kind: &str,
        id: &str,
        plain: Option<&[u8]>,
    ) -> Result<Option<Envelope>> {
        let Some(plain) = plain else { return Ok(None) };
        self.encryptor.seal(&self.place(kind, id)?, plain, &*self.env.rng).map(Some)
    }

    pub(super) fn open(
        &self,
        kind: &str,
        id: &str,
        envelope: Option<&Envelope>,
    ) -> Result<Option<Vec<u8>>> {
        let Some(envelope) = envelope else { return Ok(None) };
        let plain = self.encryptor.open(&self.place(kind, id)?, envelope)?;
        Ok(Some(plain.to_vec()))
    }
}

/// A change of a user's record, if it is as it was read.
pub(super) fn rewrite(found: &Found<UserRecord>, action: &'static str) -> Change {
    let (key, subject) = (keyspace::user(&found.record.user_id), found.record.user_id.clone());
    Change {
        guards: vec![Guard::version_equals(key.clone(), found.version)],
        commands: vec![Command::set(key, found.record.to_bytes())],
        action,
        subject,
    }
}

pub(super) fn realm_place(id: &[u8; 16]) -> Vec<u8> {
    Writer::new(REALM_VERSION).bytes(id).bytes(b"realm").finish()
}

pub(super) fn read_realm(bytes: &[u8]) -> Result<([u8; 16], Envelope)> {
    let mut from = Reader::new(bytes, REALM_VERSION)?;
    let (id, envelope) = (from.array()?, Envelope::from_bytes(from.bytes()?)?);
    from.finish()?;
    Ok((id, envelope))
}

pub(super) fn write_realm(id: &[u8; 16], envelope: &Envelope) -> Vec<u8> {
    let start = id.iter().fold(Writer::new(REALM_VERSION), |to, byte| to.byte(*byte));
    start.bytes(&envelope.to_bytes()).finish()
}
