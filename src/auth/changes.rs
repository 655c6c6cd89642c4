//! How records are read and changed.

use super::audit::{self, Appended, Head};
use super::envelope::{EnvelopeEncryptor, random};
use super::hasher::SecretHasher;
use super::keyspace;
use super::lookup::{Found, find};
use super::records::UserRecord;
use super::service::AuthService;
use super::wraps;
use crate::command::{Command, Guard};
use crate::engine::{KvEngine, ReadContext, StateView};
use crate::error::{Error, Result};

/// How often a change is decided anew because another node was faster.
const ATTEMPTS_MAX: usize = 100;

/// What a change does when its guards hold.
pub(super) struct Change {
    pub(super) guards: Vec<Guard>,
    pub(super) commands: Vec<Command>,
    pub(super) action: &'static str,
    pub(super) subject: String,
    /// Data keys that the current master key has wrapped for it.
    pub(super) wraps: u64,
}

/// A change of a user's record, if it is as it was read.
pub(super) fn rewrite(found: &Found<UserRecord>, action: &'static str) -> Change {
    let (key, subject) = (keyspace::user(&found.record.user_id), found.record.user_id.clone());
    Change {
        guards: vec![Guard::version_equals(key.clone(), found.version)],
        commands: vec![Command::set(key, found.record.to_bytes())],
        action,
        subject,
        wraps: 0,
    }
}

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// One state, read linearizably.
    pub(super) fn view(&self) -> Result<StateView> {
        self.shared.engine.view(ReadContext::Linearizable)
    }

    /// Makes a change: `decide` looks at a state and says what to do, and is asked again when what
    /// it has seen was changed meanwhile. `None` of it: nothing is to be done.
    ///
    /// A command may be applied although its answer is lost, and be refused when it is handed in
    /// again on the way. The row of the trail tells: it has a random part, so no other change
    /// wrote it.
    ///
    /// # Errors
    /// Those of `decide` and of a write; `Validation` for an actor that cannot be; `Crypto`: the
    /// master key has wrapped too often; `Conflict` when others were faster a hundred times.
    pub(super) fn change<T>(
        &self,
        mut decide: impl FnMut(&StateView) -> Result<(Option<Change>, T)>,
    ) -> Result<T> {
        let key = self.realm()?.audit_key;
        // On a node that is cut off each look takes a whole deadline: all find that out at once,
        // and not one behind the other.
        drop(self.view()?);
        let _turn = self.shared.changing.lock();
        for _ in 0..ATTEMPTS_MAX {
            let view = self.view()?;
            let (change, result) = decide(&view)?;
            let Some(Change { mut guards, mut commands, action, subject, wraps }) = change else {
                return Ok(result);
            };
            let nonce = random(&*self.shared.env.rng)?;
            let row = [&*self.actor, action, subject.as_str()];
            let Appended { guard, at, row, head } =
                audit::append(key.as_ref(), Head::read(&view)?, row, nonce)?;
            guards.push(guard);
            commands.extend([Command::set(at.clone(), row.clone()), head]);
            commands.extend(self.count_wraps(&view, wraps)?);
            // The state is given back before the write, which may have to copy what it shares.
            drop(view);
            let outcome = self.shared.engine.submit(Command::reserved(guards, commands))?;
            let is_ours = |bytes: &[u8]| Ok(bytes == row.as_slice());
            if outcome.is_applied()
                || find(&self.view()?, &at, is_ours)?.is_some_and(|found| found.record)
            {
                return Ok(result);
            }
        }
        Err(Error::Conflict("other changes were faster".to_owned()))
    }

    /// The count of what the current master key has wrapped. It changes with the head of the trail
    /// alone, so no count is lost.
    fn count_wraps(&self, view: &StateView, more: u64) -> Result<Option<Command>> {
        if more == 0 {
            return Ok(None);
        }
        let id = self.shared.encryptor.current_key_id();
        let key = keyspace::wraps(id);
        let before = find(view, &key, wraps::from_bytes)?.map_or(0, |found| found.record);
        let after = wraps::after(id, before, more)?;
        Ok(Some(Command::set(key, wraps::to_bytes(after))))
    }
}
