//! How long something may take.

use std::time::Duration;

use tokio::time::timeout;

use crate::error::{Error, Result};

/// What `future` gives within `time`.
///
/// # Errors
/// `Unavailable` with `what` could not be had.
pub(crate) async fn within<F: Future>(time: Duration, what: &str, future: F) -> Result<F::Output> {
    timeout(time, future).await.map_err(|_| Error::Unavailable(format!("{what} within {time:?}")))
}
