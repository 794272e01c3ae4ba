//! The live bar of `run` and `wait`, on standard error.

use std::time::Duration;

use batch_executor::protocol::StatusData;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text;

/// Between two looks at the daemon while a bar is drawn.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A bar with the counts of what is waited for.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// An empty bar.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let template = if colours {
            "{bar:30.green} {pos}/{len}  {msg}  {elapsed}"
        } else {
            "{bar:30} {pos}/{len}  {msg}  {elapsed}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Shows what the daemon says now.
    pub fn show(&self, status: &StatusData) {
        let counts = &status.counts;
        let ended = counts.completed + counts.failed + counts.cancelled;
        self.0.set_length(u64::try_from(counts.total).unwrap_or(0));
        self.0.set_position(u64::try_from(ended).unwrap_or(0));
        let eta = status.eta.map(|eta| format!(", ETA {}", text::seconds(eta))).unwrap_or_default();
        let cancelled = if counts.cancelled > 0 { format!(", {} cancelled", counts.cancelled) } else { String::new() };
        let (running, done, failed) = (counts.running, counts.completed, counts.failed);
        self.0.set_message(format!("{running} running, {done} done, {failed} failed{cancelled}{eta}"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
