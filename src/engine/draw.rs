//! Ids that name no other thing.

use std::sync::Arc;

use crate::env::Env;
use crate::error::{Error, Result};
use crate::types::RandomId;

/// Draws an id for `what`.
///
/// # Errors
/// `Io` when the operating system gives no random bytes.
pub(crate) fn draw_id(env: &Env, what: &'static str) -> Result<RandomId> {
    let mut id = [0; 16];
    env.rng.fill(&mut id).map_err(|source| Error::Io {
        operation: "draw random bytes for",
        path: what.into(),
        source: Arc::new(source),
    })?;
    Ok(RandomId(id))
}
