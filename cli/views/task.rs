//! One task with its attempts.

use std::io::{self, Write};

use batch_executor::protocol::{Attempt, Task};
use serde_json::Value;

use super::text;

/// The most of a result that is shown, in lines.
const RESULT_LINES: usize = 40;

/// Writes a `show` answer for a person.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut dyn Write, task: &Task) -> io::Result<()> {
    for (name, value) in fields(task) {
        writeln!(out, "{name:<12} {}", text::printable(&value))?;
    }
    let attempts = task.attempts.as_deref().unwrap_or_default();
    if !attempts.is_empty() {
        let headings = ["Attempt", "Started", "Finished", "Outcome", "Why", "Exit", "CPU", "Memory"];
        writeln!(out, "\n{}", super::plain_table(&headings, attempts.iter().map(attempt_row)))?;
    }
    write_result(out, task)
}

fn fields(task: &Task) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("task", task.task_id.to_string()),
        ("batch", task.batch_id.to_string()),
        ("name", task.name.clone()),
        ("function", task.function.clone()),
        ("params", text::shortened(&task.params.to_string())),
        ("priority", task.priority.to_string()),
        ("status", task.status.to_string()),
    ];
    let optional = [
        ("reason", task.reason.clone()),
        ("error", task.error.clone()),
        ("created", Some(task.created_at.clone())),
        ("started", task.started_at.clone()),
        ("finished", task.finished_at.clone()),
        ("waited", task.wait_time.map(text::seconds)),
        ("took", task.execution_time.map(text::seconds)),
        ("timeout", task.timeout.map(text::seconds)),
        ("retries", Some(format!("{} of {}", task.retry_count, task.max_retries))),
        ("interrupted", (task.interruptions > 0).then(|| format!("{} times", task.interruptions))),
    ];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    fields
}

fn attempt_row(attempt: &Attempt) -> Vec<String> {
    let why = match (&attempt.cause, &attempt.error) {
        (Some(cause), Some(error)) => format!("{cause}: {}", text::first_line(error)),
        (Some(cause), None) => cause.to_string(),
        (None, Some(error)) => text::first_line(error),
        (None, None) => "-".to_owned(),
    };
    let exit = match (attempt.exit_code, attempt.signal) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "-".to_owned(),
    };
    let memory = attempt.max_rss.and_then(|bytes| u64::try_from(bytes).ok());
    vec![
        attempt.attempt.to_string(),
        text::or_dash(attempt.started_at.clone()),
        text::or_dash(attempt.finished_at.clone()),
        attempt.outcome.map_or("running", |outcome| outcome.as_str()).to_owned(),
        why,
        exit,
        text::or_dash(attempt.cpu_time.map(text::seconds)),
        text::or_dash(memory.map(text::bytes)),
    ]
}

fn write_result(out: &mut dyn Write, task: &Task) -> io::Result<()> {
    let Some(result) = &task.result else { return Ok(()) };
    let streams = ["stdout", "stderr"].map(|name| (name, result.get(name).and_then(Value::as_str)));
    if result.get("exit_code").is_none() || streams.iter().all(|(_, written)| written.is_none()) {
        return writeln!(out, "\nresult\n{}", serde_json::to_string_pretty(result).unwrap_or_default());
    }
    for (name, written) in streams {
        let written = written.unwrap_or_default();
        if written.is_empty() {
            continue;
        }
        writeln!(out, "\n{name}")?;
        for line in written.lines().take(RESULT_LINES) {
            writeln!(out, "  {}", text::printable(line))?;
        }
        if written.lines().nth(RESULT_LINES).is_some() {
            writeln!(out, "  … all of it: batch-executor logs {} --{name}", task.task_id)?;
        }
    }
    Ok(())
}
