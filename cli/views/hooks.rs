//! The hooks and how they stand.

use std::io;

use batch_executor::protocol::{HookDelivery, HookInfo};
use batch_executor::time::{rfc3339, wall_ms};

use super::{field, text};
use crate::screen::Screen;

/// The width of the names of what is told of a hook, indented.
const LABEL: usize = 10;

/// Writes each hook with a line for each thing that is to be known.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut Screen, hooks: &[HookInfo]) -> io::Result<()> {
    for hook in hooks {
        field(out, 0, "", &format!("{}: {}", hook.hook, hook.on.join(", ")))?;
        field(out, LABEL, "  to", &hook.to)?;
        field(out, LABEL, "  last", &hook.last.as_ref().map_or_else(|| "none yet".to_owned(), last))?;
        if hook.pending > 0 || hook.dropped > 0 {
            field(out, LABEL, "  waiting", &format!("{}, {} dropped", hook.pending, hook.dropped))?;
        }
    }
    Ok(())
}

fn last(last: &HookDelivery) -> String {
    let what = if last.test { format!("a test of {}", last.event) } else { last.event.clone() };
    let many = if last.count > 1 { format!(" ({})", last.count) } else { String::new() };
    let said = last.said.as_deref().map(|said| format!(": {}", text::first_line(said))).unwrap_or_default();
    let tries = if last.attempts > 1 { format!(" after {} attempts", last.attempts) } else { String::new() };
    let now = rfc3339(wall_ms());
    let when = match (&last.next_attempt_at, &last.ended_at) {
        (Some(next), _) => text::between(Some(&now), Some(next)).map(|wait| format!("again in {wait}")),
        (None, Some(ended)) => Some(format!("{} {}", last.state, text::when(ended))),
        (None, None) => None,
    };
    let when = when.unwrap_or_else(|| last.state.clone());
    format!("{what}{many}, {when}{tries}{said}")
}
