//! A waker that waits for another thread: as an executor's may, whose lock that thread holds.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::task::{Wake, Waker};
use std::time::Duration;

/// How long something may take that must not hang. Reached only by a failure.
pub(crate) const HANGS_AFTER: Duration = Duration::from_mins(1);

/// What became of the waiting.
pub(crate) type Waited = Result<(), RecvTimeoutError>;

struct WaitsFor<F> {
    work: F,
    waited: Sender<Waited>,
}

impl<F: Fn() + Clone + Send + Sync + 'static> Wake for WaitsFor<F> {
    fn wake(self: Arc<Self>) {
        let (done, is_done) = channel();
        let work = self.work.clone();
        std::thread::spawn(move || {
            work();
            done.send(()).unwrap();
        });
        self.waited.send(is_done.recv_timeout(HANGS_AFTER)).unwrap();
    }
}

/// A waker that has another thread do `work`, and waits for that; and where it says whether it was
/// done.
pub(crate) fn waits_for(
    work: impl Fn() + Clone + Send + Sync + 'static,
) -> (Waker, Receiver<Waited>) {
    let (waited, has_waited) = channel();
    (Waker::from(Arc::new(WaitsFor { work, waited })), has_waited)
}
