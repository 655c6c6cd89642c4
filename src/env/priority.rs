//! The priority of a thread.

/// How much a thread yields: beside a busy one it has a tenth of a processor, so that it goes on,
/// and whoever wakes up for a write need not wait for it.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Lets the calling thread yield to others for the rest of its life: it may not raise its priority
/// again. On other systems than Linux it would be that of the whole process, and stays as it is.
pub(crate) fn yield_to_others() {
    // Where that is refused the thread is only less polite.
    #[cfg(target_os = "linux")]
    rustix::process::setpriority_process(None, NICE).unwrap_or_default();
}
