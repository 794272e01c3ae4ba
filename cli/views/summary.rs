//! The end of a `run`: the tasks, those that need a look first, the totals, and what to type next.

use std::io;

use batch_executor::protocol::{StatusData, Task};
use batch_executor::task::BatchId;

use super::{field, status, tasks, text};
use crate::screen::Screen;

/// The most tasks that are listed.
pub const MAX_ROWS: usize = 40;

/// The columns before a command.
const PURPOSE: usize = 19;

/// What the run came to, in one sentence.
pub fn headline(batch: BatchId, status: &StatusData, ended: bool) -> String {
    let counts = status::counts(&status.counts);
    if ended {
        return format!("batch {batch} has ended; {counts}");
    }
    let why = match status.reason.as_deref() {
        Some("deadline") => "the run's deadline passed",
        Some(reason) => reason,
        None => "the executor was stopped",
    };
    format!("batch {batch} has not ended ({why}); {counts}; the rest stays queued")
}

/// Writes the summary.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut Screen, headline: &str, rows: &[Task], status: &StatusData, batch: BatchId) -> io::Result<()> {
    if !rows.is_empty() {
        out.table(&tasks::table(rows, &[]))?;
        writeln!(out)?;
    }
    let unlisted = usize::try_from(status.counts.total).unwrap_or(0).saturating_sub(rows.len());
    if unlisted > 0 {
        writeln!(out, "… and {unlisted} more: batch-executor results --batch-id {batch}")?;
    }
    field(out, 0, "", headline)?;
    if let Some(average) = status.average_task_time {
        let total = text::seconds(status.total_execution_time);
        writeln!(out, "time: {total} of work, {} a task on average", text::seconds(average))?;
    }
    for (purpose, command) in next_commands(rows, status, batch) {
        match super::width() {
            Some(narrow) if narrow < PURPOSE + command.len() => writeln!(out, "  {purpose}:\n    {command}")?,
            _ => writeln!(out, "  {purpose:<17}{command}")?,
        }
    }
    Ok(())
}

fn next_commands(rows: &[Task], status: &StatusData, batch: BatchId) -> Vec<(&'static str, String)> {
    let mut next = Vec::new();
    let counts = &status.counts;
    if counts.failed > 0 {
        if let Some(failed) = rows.first() {
            next.push(("why it failed", format!("batch-executor show {}", failed.task_id)));
        }
        next.push(("try those again", format!("batch-executor retry --filter-status failed --batch-id {batch}")));
    }
    if counts.queued > 0 || counts.failed > 0 {
        next.push(("go on", "batch-executor start".to_owned()));
    }
    next.push(("all results", format!("batch-executor results --batch-id {batch}")));
    next.push(("keep them", format!("batch-executor export --batch-id {batch} --output-file results.csv")));
    next
}
