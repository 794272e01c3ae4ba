//! The executor's state and the counts.

use std::io::{self, Write};

use batch_executor::protocol::{Counts, StatusData};
use batch_executor::task::RunState;

use super::{tasks, text};

/// Writes a `status` answer for a person.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut dyn Write, status: &StatusData) -> io::Result<()> {
    let reason = status.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    writeln!(out, "executor   {}{reason}, at most {} at once", status.state, status.max_concurrent)?;
    if let Some(deadline) = &status.deadline {
        writeln!(out, "deadline   {deadline}")?;
    }
    writeln!(out, "tasks      {}", counts(&status.counts))?;
    let eta = status.eta.map(|eta| format!(", about {} to go", text::seconds(eta))).unwrap_or_default();
    writeln!(out, "progress   {:.0} %, {:.1} tasks/s{eta}", status.progress, status.throughput)?;
    if let Some(average) = status.average_task_time {
        let total = text::seconds(status.total_execution_time);
        writeln!(out, "time       {} a task on average, {total} in all", text::seconds(average))?;
    }
    for (state, listed) in status.tasks.iter().flatten() {
        if !listed.is_empty() {
            writeln!(out, "\n{state}\n{}", tasks::table(listed))?;
        }
    }
    match next_command(status) {
        Some(next) => writeln!(out, "next       {next}"),
        None => Ok(()),
    }
}

/// The counts in one line; states without tasks are left out.
pub fn counts(counts: &Counts) -> String {
    let states = [
        (counts.queued, "queued"),
        (counts.running, "running"),
        (counts.completed, "completed"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
    ];
    let said: Vec<String> =
        states.iter().filter(|(count, _)| *count > 0).map(|(count, state)| format!("{count} {state}")).collect();
    match said.as_slice() {
        [] => "none".to_owned(),
        said => format!("{}: {}", counts.total, said.join(", ")),
    }
}

fn next_command(status: &StatusData) -> Option<&'static str> {
    let counts = &status.counts;
    match status.state {
        RunState::Stopped if counts.queued > 0 => Some("batch-executor start"),
        RunState::Running if counts.queued + counts.running > 0 => Some("batch-executor wait"),
        _ if counts.failed > 0 => Some("batch-executor results --filter-status failed"),
        _ if counts.total == 0 => Some("batch-executor add -- CMD ARG…, or run FILE"),
        _ => None,
    }
}
