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
        // On a phone the bar is short; a message that is too long is cut off, not wrapped.
        let columns = if super::width().is_some_and(|width| width < 60) { 8 } else { 20 };
        let colour = if colours { ".green" } else { "" };
        let template = format!("{{bar:{columns}{colour}}} {{pos}}/{{len}}  {{wide_msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
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
        let mut said = vec![format!("{} running", counts.running), format!("{} done", counts.completed)];
        said.extend((counts.failed > 0).then(|| format!("{} failed", counts.failed)));
        said.extend((counts.cancelled > 0).then(|| format!("{} cancelled", counts.cancelled)));
        said.extend(status.eta.map(|eta| format!("ETA {}", text::seconds(eta))));
        self.0.set_message(said.join(", "));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
