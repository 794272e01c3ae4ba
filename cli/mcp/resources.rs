//! What a client may read into its context: a batch's report, a task's log.

use std::fmt::Write;

use batch_executor::protocol::{BatchInfo, LogsData, Response, ResultsData, StatusData, Task};
use rmcp::ErrorData;
use rmcp::model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::Server;

/// How many of a batch's failed tasks its report names.
const FAILED: u64 = 50;
/// How much of a log's beginning and end is read, in bytes.
const HEAD: i64 = 8 * 1024;
const TAIL: i64 = 24 * 1024;
const MARKDOWN: &str = "text/markdown";
const PLAIN: &str = "text/plain";

/// How resources are addressed.
pub fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new("batch://{batch_id}/report", "batch-report")
            .with_title("Report of a batch")
            .with_description("How a batch stands, what failed and why")
            .with_mime_type(MARKDOWN),
        ResourceTemplate::new("task://{task_id}/log", "task-log")
            .with_title("Log of a task")
            .with_description(
                "What the latest attempt of a task wrote, also while it runs; of a long log its beginning and its end",
            )
            .with_mime_type(PLAIN),
    ]
}

impl Server {
    /// The reports of the latest batches.
    pub(super) async fn resources(&self) -> Result<Vec<Resource>, ErrorData> {
        let status: StatusData = self.data("status", json!({"detailed": true})).await?;
        Ok(status.batches.unwrap_or_default().iter().map(listed).collect())
    }

    /// The resource of a URI.
    pub(super) async fn resource(&self, uri: &str) -> Result<ReadResourceResult, ErrorData> {
        let unknown = || {
            let message = format!("no resource `{uri}`; there are batch://BATCH_ID/report and task://TASK_ID/log");
            ErrorData::resource_not_found(message, None)
        };
        let (kind, rest) = uri.split_once("://").ok_or_else(unknown)?;
        let (id, part) = rest.split_once('/').ok_or_else(unknown)?;
        let id: i64 = id.parse().map_err(|_| unknown())?;
        let (text, mime) = match (kind, part) {
            ("batch", "report") => (self.report(id).await?, MARKDOWN),
            ("task", "log") => (self.log(id).await?, PLAIN),
            _ => return Err(unknown()),
        };
        Ok(ReadResourceResult::new(vec![ResourceContents::text(text, uri).with_mime_type(mime)]))
    }

    async fn report(&self, batch_id: i64) -> Result<String, ErrorData> {
        let status: StatusData = self.data("status", json!({"batch_id": batch_id})).await?;
        let failed = json!({"batch_id": batch_id, "filter_status": "failed", "limit": FAILED});
        let failed: ResultsData = self.data("results", failed).await?;
        Ok(report(&status, &failed))
    }

    async fn log(&self, task_id: i64) -> Result<String, ErrorData> {
        let tail: LogsData = self.data("logs", json!({"task_id": task_id, "offset": -TAIL, "limit": TAIL})).await?;
        let left_out = tail.size - TAIL - HEAD;
        if left_out <= 0 {
            let whole: LogsData = self.data("logs", json!({"task_id": task_id, "limit": TAIL + HEAD})).await?;
            return Ok(whole.text);
        }
        let head: LogsData = self.data("logs", json!({"task_id": task_id, "limit": HEAD})).await?;
        Ok(format!(
            "{}\n… {left_out} bytes left out: `logs` has them, from offset {HEAD} on …\n{}",
            head.text, tail.text
        ))
    }

    /// The data of an action that must do what it is asked.
    pub(super) async fn data<T: DeserializeOwned>(&self, action: &str, parameters: Value) -> Result<T, ErrorData> {
        let parameters = match parameters {
            Value::Object(parameters) => parameters,
            _ => Map::new(),
        };
        let Response { ok, message, data, .. } = self.ask(action, parameters).await?;
        if !ok {
            return Err(ErrorData::resource_not_found(message, None));
        }
        serde_json::from_value(data.unwrap_or_default())
            .map_err(|error| ErrorData::internal_error(format!("the daemon's answer to `{action}`: {error}"), None))
    }
}

fn listed(batch: &BatchInfo) -> Resource {
    let named = batch.name.as_ref().map(|name| format!(" “{name}”")).unwrap_or_default();
    Resource::new(format!("batch://{}/report", batch.batch_id), format!("batch-{}", batch.batch_id))
        .with_title(format!("Report of batch {}{named}", batch.batch_id))
        .with_description(format!("Added {}: {}", batch.created_at, counted(batch)))
        .with_mime_type(MARKDOWN)
}

fn counted(batch: &BatchInfo) -> String {
    let c = &batch.counts;
    format!(
        "{} tasks: {} queued, {} running, {} completed, {} failed, {} cancelled",
        c.total, c.queued, c.running, c.completed, c.failed, c.cancelled
    )
}

/// A batch in Markdown.
fn report(status: &StatusData, failed: &ResultsData) -> String {
    let mut text = String::new();
    for batch in status.batches.iter().flatten() {
        let named = batch.name.as_ref().map(|name| format!(" “{name}”")).unwrap_or_default();
        let _fits =
            writeln!(text, "# Batch {}{named}\n\nAdded {}. {}.", batch.batch_id, batch.created_at, counted(batch));
        if !batch.counts.is_over() {
            let why = status.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            let eta = status.eta.map(|eta| format!(", about {eta:.0} s to go")).unwrap_or_default();
            let _fits = writeln!(text, "The executor is {}{why}{eta}.", status.state);
        }
        if let Some(average) = status.average_task_time {
            let _fits =
                writeln!(text, "A task took {average:.3} s on average, {:.1} s in all.", status.total_execution_time);
        }
    }
    if !failed.tasks.is_empty() {
        text.push_str("\n## Failed\n\n");
        text.extend(failed.tasks.iter().map(failure));
        if failed.next_cursor.is_some() {
            text.push_str("\nThere are more: `results` with this batch_id and filter_status=failed.\n");
        }
    }
    text
}

fn failure(task: &Task) -> String {
    let why = task.error.as_deref().unwrap_or("no reason is known");
    format!("- task {} “{}”: {}\n", task.task_id, task.name, why.lines().next().unwrap_or_default())
}
