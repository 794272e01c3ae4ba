//! What has happened, from the queue's events; and the last lines of what failed.

use std::path::Path;

use chrono::DateTime;
use serde_json::{Map, Value, json};

use super::On;
use crate::output::{LogReader, Streams, log_file};
use crate::protocol::{Event, Gap, Happened as What};
use crate::queue::Queue;
use crate::queue::error::QueueError;
use crate::queue::events::{LastEnd, Stored};
use crate::queue::read::Stored as StoredLog;
use crate::queue::state::State;
use crate::queue::writer::Snapshot;
use crate::task::TaskId;
use crate::time;

/// The most events that are taken at once.
const SOME: usize = 1000;
/// How much of the end of an output is looked at, in bytes, and how many lines of it are told.
const TAIL: i64 = 2000;
const LINES: usize = 10;

/// An event that a hook may be on.
#[derive(Debug, Clone)]
pub(super) struct Happened {
    pub seq: i64,
    pub event: On,
    pub fields: Map<String, Value>,
}

/// Some events, in their order.
#[derive(Debug)]
pub(super) struct Read {
    pub happened: Vec<Happened>,
    /// The first event that was not looked at.
    pub next: i64,
    /// Events that are not kept any more.
    pub gap: Option<Gap>,
}

/// The number that the next event gets.
pub(super) fn end(snapshot: &Snapshot) -> i64 {
    snapshot.next_event
}

/// Looks at events from `from` on, for those of `on`.
pub(super) async fn read(queue: &Queue, from: i64, on: &[On]) -> Result<Read, QueueError> {
    let is_wanted = |stored: &Stored| kind(stored).is_some_and(|event| on.contains(&event));
    let told = queue.events_that(from, SOME, is_wanted).await?;
    let mut happened = Vec::with_capacity(told.events.len());
    for event in told.events {
        happened.extend(known(queue, event).await?);
    }
    Ok(Read { happened, next: told.next, gap: told.gap })
}

fn kind(stored: &Stored) -> Option<On> {
    match stored {
        Stored::BatchEnded { .. } => Some(On::BatchEnded),
        Stored::Ended(_, _, state) if *state == State::Failed.code() => Some(On::TaskFailed),
        Stored::Idle => Some(On::Idle),
        Stored::Gate { open: false, .. } => Some(On::GateClosed),
        Stored::DaemonStarted { after: LastEnd::Crash | LastEnd::Reboot, .. } => Some(On::Crashed),
        _ => None,
    }
}

/// An event with its fields; of a batch also how many seconds it took.
async fn known(queue: &Queue, event: Event) -> Result<Option<Happened>, QueueError> {
    let on = match &event.what {
        What::BatchEnded { .. } => On::BatchEnded,
        What::Ended { .. } => On::TaskFailed,
        What::Idle => On::Idle,
        What::Gate { .. } => On::GateClosed,
        What::DaemonStarted { .. } => On::Crashed,
        _ => return Ok(None),
    };
    let mut fields = match serde_json::to_value(&event.what) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    fields.remove("event");
    if let What::BatchEnded { batch_id, .. } = event.what
        && let Some(added) = queue.batch_added_at(batch_id).await?
        && let Ok(at) = DateTime::parse_from_rfc3339(&event.at)
    {
        fields.insert("took".to_owned(), json!(time::seconds((at.timestamp_millis() - added).max(0))));
    }
    fields.insert("at".to_owned(), json!(event.at));
    Ok(Some(Happened { seq: event.seq, event: on, fields }))
}

/// The last lines that an attempt wrote; none where nothing of it is kept.
pub(super) async fn last_lines(queue: &Queue, output_dir: &Path, task_id: TaskId, attempt: u32) -> Option<String> {
    let log = queue.attempt_log(task_id, Some(attempt)).await.ok()?.ok()?;
    let path = log_file(output_dir, task_id, attempt);
    let read = move || {
        let mut log = match log.stored {
            StoredLog::Frames(frames) => LogReader::from_bytes(frames),
            StoredLog::File => LogReader::open(&path).ok()?,
            StoredLog::Running(_) => return None,
        };
        Some(log.read_text(Streams::Both, -TAIL, usize::try_from(TAIL).unwrap_or(0), false).0)
    };
    let text = tokio::task::spawn_blocking(read).await.ok()??;
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    (!last.is_empty()).then(|| last.join("\n"))
}
