//! One task with its attempts.

use std::io;

use batch_executor::protocol::{Attempt, Task};
use batch_executor::task::Outcome;
use serde_json::{Map, Value};

use super::{field, text};
use crate::screen::Screen;

/// The most of a result or a parameter that is shown, in lines.
const MOST_LINES: usize = 40;
/// The width of the labels.
const LABEL: usize = 12;

/// Writes a `show` answer for a person.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut Screen, task: &Task) -> io::Result<()> {
    for (name, value) in fields(task) {
        field(out, LABEL, name, &value)?;
    }
    write_params(out, &task.params)?;
    let attempts = task.attempts.as_deref().unwrap_or_default();
    if !attempts.is_empty() {
        writeln!(out, "\nattempts")?;
    }
    for attempt in attempts {
        field(out, 5, &format!("  {}", attempt.attempt), &what_happened(attempt))?;
        if let Some(why) = why(attempt) {
            field(out, 5, "", &why)?;
        }
    }
    write_result(out, task)
}

fn fields(task: &Task) -> Vec<(&'static str, String)> {
    let optional = [
        ("task", Some(format!("{} (batch {})", task.task_id, task.batch_id))),
        ("name", Some(task.name.clone())),
        ("function", Some(task.function.clone())),
        ("status", Some(task.status.to_string())),
        ("reason", task.reason.clone()),
        ("error", task.error.clone()),
        ("priority", Some(task.priority.to_string())),
        ("created", Some(text::when(&task.created_at))),
        ("started", task.started_at.as_deref().map(text::when)),
        ("finished", task.finished_at.as_deref().map(text::when)),
        ("waited", task.wait_time.map(text::seconds)),
        ("took", task.execution_time.map(text::seconds)),
        ("timeout", task.timeout.map(text::seconds)),
        ("limits", task.limits.as_ref().map(limits)),
        ("retries", Some(format!("{} of {}", task.retry_count, task.max_retries))),
        ("interrupted", (task.interruptions > 0).then(|| text::times(task.interruptions))),
    ];
    optional.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Each with what it is of: the limits of resources are each process's.
fn limits(limits: &Map<String, Value>) -> String {
    let shown = |(name, value): (&String, &Value)| match (name.as_str(), value.as_u64()) {
        ("memory", Some(bytes)) => format!("memory {} a process (RLIMIT_DATA)", text::bytes(bytes)),
        ("cpu", Some(seconds)) => format!("cpu {seconds} s a process"),
        ("open_files", Some(count)) => format!("open files {count} a process"),
        _ => format!("{name} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
    };
    limits.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// A line each; text of several lines (code) as it is.
fn write_params(out: &mut Screen, params: &Value) -> io::Result<()> {
    let params = params.as_object().filter(|params| !params.is_empty());
    if params.is_some() {
        writeln!(out, "\nparams")?;
    }
    for (name, value) in params.into_iter().flatten() {
        let label = format!("  {name} ");
        let columns = LABEL.max(label.chars().count());
        match value {
            Value::String(several) if several.trim_end().contains('\n') => {
                writeln!(out, "{}", label.trim_end())?;
                write_lines(out, "    ", several, None)?;
            }
            Value::String(line) => field(out, columns, &label, line.trim_end())?,
            other => field(out, columns, &label, &other.to_string())?,
        }
    }
    Ok(())
}

fn what_happened(attempt: &Attempt) -> String {
    let outcome = attempt.outcome.map_or("running", |outcome| outcome.as_str()).replace('_', " ");
    let exit = match (attempt.exit_code, attempt.signal) {
        (_, Some(signal)) => Some(format!("signal {signal}")),
        (Some(code), None) => Some(format!("exit code {code}")),
        (None, None) => None,
    };
    let memory = attempt.max_rss.and_then(|bytes| u64::try_from(bytes).ok()).map(text::bytes);
    let said = [
        Some(outcome),
        exit,
        attempt.started_at.as_deref().map(|at| format!("begun {}", text::when(at))),
        text::between(attempt.started_at.as_deref(), attempt.finished_at.as_deref()).map(|took| format!("took {took}")),
        attempt.cpu_time.map(|cpu| format!("CPU {}", text::seconds(cpu))),
        memory.map(|memory| format!("memory {memory}")),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Why it ended, unless it just completed.
fn why(attempt: &Attempt) -> Option<String> {
    let error = attempt.error.as_deref().map(text::reason);
    match (attempt.cause.filter(|_| attempt.outcome != Some(Outcome::Completed)), error) {
        (Some(cause), Some(error)) => Some(format!("{cause}: {error}")),
        (Some(cause), None) => Some(cause.to_string()),
        (None, error) => error,
    }
}

fn write_result(out: &mut Screen, task: &Task) -> io::Result<()> {
    let Some(result) = &task.result else { return Ok(()) };
    let streams = ["stdout", "stderr"].map(|name| (name, result.get(name).and_then(Value::as_str)));
    if result.get("exit_code").is_none() || streams.iter().all(|(_, written)| written.is_none()) {
        writeln!(out, "\nresult")?;
        return write_lines(out, "  ", &serde_json::to_string_pretty(result).unwrap_or_default(), None);
    }
    for (name, written) in streams {
        let written = written.unwrap_or_default();
        if !written.is_empty() {
            writeln!(out, "\n{name}")?;
            let rest = format!("batch-executor logs {} --{name}", task.task_id);
            write_lines(out, "  ", written, Some(&rest))?;
        }
    }
    Ok(())
}

/// The first lines, and how to see the rest.
fn write_lines(out: &mut Screen, indent: &str, lines: &str, rest: Option<&str>) -> io::Result<()> {
    for line in lines.lines().take(MOST_LINES) {
        writeln!(out, "{indent}{}", line)?;
    }
    match lines.lines().count().saturating_sub(MOST_LINES) {
        0 => Ok(()),
        more => {
            let rest = rest.map(|rest| format!(": {rest}")).unwrap_or_default();
            writeln!(out, "{indent}… {more} more lines{rest}")
        }
    }
}
