//! How records are read and changed.

use super::audit::{self, Head};
use super::envelope::EnvelopeEncryptor;
use super::hasher::SecretHasher;
use super::keyspace;
use super::lookup::Found;
use super::records::UserRecord;
use super::service::AuthService;
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

impl<E: KvEngine, H: SecretHasher, C: EnvelopeEncryptor> AuthService<E, H, C> {
    /// One state, read linearizably.
    pub(super) fn view(&self) -> Result<StateView> {
        self.shared.engine.view(ReadContext::Linearizable)
    }

    /// Makes a change: `decide` looks at a state and says what to do, and is asked again when what
    /// it has seen was changed meanwhile. `None` of it: nothing is to be done.
    ///
    /// # Errors
    /// Those of `decide` and of a write; `Conflict` when others were faster a hundred times.
    pub(super) fn change<T>(
        &self,
        mut decide: impl FnMut(&StateView) -> Result<(Option<Change>, T)>,
    ) -> Result<T> {
        let key = self.realm()?.audit_key;
        let _turn = self.shared.changing.lock();
        for _ in 0..ATTEMPTS_MAX {
            let view = self.view()?;
            let (change, result) = decide(&view)?;
            let Some(Change { mut guards, mut commands, action, subject }) = change else {
                return Ok(result);
            };
            let row = [&*self.actor, action, subject.as_str()];
            let (guard, sets) = audit::append(key.as_ref(), Head::read(&view)?, row)?;
            guards.push(guard);
            commands.extend(sets);
            // The state is given back before the write, which may have to copy what it shares.
            drop(view);
            if self.shared.engine.submit(Command::reserved(guards, commands))?.is_applied() {
                return Ok(result);
            }
        }
        Err(Error::Conflict("other changes were faster".to_owned()))
    }
}
