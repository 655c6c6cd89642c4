//! [`AuthService`]: what it holds.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::coalesced::Coalesced;
use super::envelope::EnvelopeEncryptor;
use super::failures_here::FailuresHere;
use super::hasher::SecretHasher;
use super::hashing_pool::HashingPool;
use super::key_cache::KeyCache;
use super::password_policy::PasswordPolicy;
use super::realm::Realm;
use crate::engine::{KvEngine, ReadContext};
use crate::env::Env;
use crate::error::Result;
use crate::types::Timestamp;

/// Who makes changes when nobody is named.
const ACTOR: &str = "system";

/// Users, passwords, API keys and roles on an engine. Used through `&self` from any thread; a clone
/// is another handle to the same service.
///
/// A call that changes something returns when the change is as durable as any write of the engine,
/// and has left one row in the audit trail with it. After a crash a change is whole or not there.
/// Reads are linearizable: what was revoked, disabled or changed anywhere is so at once.
pub struct AuthService<E, H, C> {
    pub(super) shared: Arc<Shared<E, H, C>>,
    pub(super) policy: PasswordPolicy,
    pub(super) actor: Arc<str>,
}

/// What all handles of one service share.
pub(super) struct Shared<E, H, C> {
    pub(super) engine: E,
    pub(super) hasher: H,
    pub(super) encryptor: C,
    pub(super) env: Env,
    pub(super) pool: HashingPool,
    pub(super) failures: FailuresHere,
    pub(super) logins: Coalesced,
    pub(super) keys: KeyCache,
    pub(super) realm: Mutex<Option<Realm>>,
    /// Changes of this node take turns, since each appends to one trail.
    pub(super) changing: Mutex<()>,
}

impl<E, H, C> Clone for AuthService<E, H, C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            policy: self.policy,
            actor: Arc::clone(&self.actor),
        }
    }
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
        let shared = Shared {
            engine,
            hasher,
            encryptor,
            env,
            pool: HashingPool::default(),
            failures: FailuresHere::default(),
            logins: Coalesced::default(),
            keys: KeyCache::default(),
            realm: Mutex::new(None),
            changing: Mutex::new(()),
        };
        let (policy, actor) = (PasswordPolicy::default(), Arc::from(ACTOR));
        Self { shared: Arc::new(shared), policy, actor }
    }

    /// A handle with another policy for new passwords.
    #[must_use]
    pub fn with_password_policy(mut self, policy: PasswordPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// A handle whose changes are by `actor` in the audit trail, instead of by `system`. Cheap: one
    /// for each request, say.
    ///
    /// Every change of a handle fails with `Validation` or `TooLarge` whose actor is empty, longer
    /// than 256 bytes, or has a control, bidirectional or invisible character, with which it could
    /// look like another row where the trail is printed.
    #[must_use]
    pub fn acting_as(&self, actor: &str) -> Self {
        Self { actor: Arc::from(actor), ..self.clone() }
    }

    /// The time that the ends of keys are held against: that of this node's clock, or that of the
    /// last entry which the node has, whichever is later.
    ///
    /// # Errors
    /// Those of a read.
    pub fn now(&self) -> Result<Timestamp> {
        let stamp = self.shared.engine.view(ReadContext::Local)?.timestamp();
        Ok(stamp.max(self.shared.env.clock.now()))
    }
}
