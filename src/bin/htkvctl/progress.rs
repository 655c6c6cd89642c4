//! What a person sees who waits: a bar on standard error, where that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often something turns that has no end in sight.
const TICK: Duration = Duration::from_millis(100);

/// A bar of bytes, or of how many there are where nobody knows yet. Hidden but on a terminal.
pub(crate) fn bytes(what: &'static str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => {
            let template = "{msg} {bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            (ProgressBar::new(total), template)
        }
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} {bytes_per_sec}"),
    };
    styled(bar, template, what)
}

/// A bar of rows.
pub(crate) fn rows(total: u64) -> ProgressBar {
    styled(ProgressBar::new(total), "{bar:40} {pos}/{len} rows {per_sec}", "")
}

/// Something that turns, for work that cannot tell how far it is.
pub(crate) fn waiting(what: &'static str) -> ProgressBar {
    let bar = styled(ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}", what);
    bar.enable_steady_tick(TICK);
    bar
}

fn styled(bar: ProgressBar, template: &str, what: &'static str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style).with_message(what),
        Err(_) => ProgressBar::hidden(),
    }
}
