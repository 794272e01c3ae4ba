//! The protocol's tasks extension (io.modelcontextprotocol/tasks): a batch is a task there, and its id the handle. So a handle
//! means something for as long as the batch is in the queue, whatever dies or restarts in between.

use batch_executor::protocol::StatusData;
use batch_executor::time::{rfc3339, wall_ms};
use rmcp::ErrorData;
use rmcp::model::{CreateTaskResult, DetailedTask, GetTaskResult, Task, TaskPayload, TaskStatus};
use serde_json::{Map, Value, json};

use super::{Server, reply};

/// How often a client should look, in ms.
const LOOK_EVERY: u64 = 5000;
const HANDLE: &str = "batch-";

/// The batch of a handle.
///
/// # Errors
/// For what is none of ours.
fn batch_of(handle: &str) -> Result<i64, ErrorData> {
    let id = handle.strip_prefix(HANDLE).and_then(|id| id.parse().ok());
    id.ok_or_else(|| {
        ErrorData::invalid_params(format!("no task `{handle}`; a task is `{HANDLE}` and the id of a batch"), None)
    })
}

impl Server {
    /// The handle of what a `wait` waits for, if that is a whole batch with something to wait for.
    pub(super) async fn handle(&self, waited: &Map<String, Value>) -> Option<CreateTaskResult> {
        if waited.get("filter").is_some_and(|filter| !filter.is_null()) {
            return None;
        }
        let batch_id = waited.get("batch_id")?.as_i64()?;
        let (task, status) = self.standing(batch_id).await.ok()?;
        (!status.counts.is_over()).then(|| CreateTaskResult::new(task))
    }

    /// `tasks/get`.
    pub(super) async fn task(&self, handle: &str) -> Result<GetTaskResult, ErrorData> {
        let batch_id = batch_of(handle)?;
        let (task, status) = self.standing(batch_id).await?;
        let counts = status.counts;
        let payload = if !counts.is_over() {
            TaskPayload::Working
        } else if counts.total > 0 && counts.cancelled == counts.total {
            TaskPayload::Cancelled
        } else {
            let mut over = Map::new();
            over.insert("batch_id".to_owned(), batch_id.into());
            let response = self.ask("wait", over).await?;
            match serde_json::to_value(reply::of(response, reply::USUAL, true)) {
                Ok(Value::Object(result)) => TaskPayload::Completed { result },
                _ => return Err(ErrorData::internal_error("the result cannot be written", None)),
            }
        };
        Ok(GetTaskResult::new(DetailedTask::new(task, payload)))
    }

    /// `tasks/cancel`: what has not ended is cancelled.
    pub(super) async fn cancel(&self, handle: &str) -> Result<(), ErrorData> {
        let batch_id = batch_of(handle)?;
        let _cancelled: Value = self.data("cancel", json!({"batch_id": batch_id})).await?;
        Ok(())
    }

    async fn standing(&self, batch_id: i64) -> Result<(Task, StatusData), ErrorData> {
        let status: StatusData = self.data("status", json!({"batch_id": batch_id})).await?;
        let created = status.batches.iter().flatten().next().map(|batch| batch.created_at.clone());
        let counts = status.counts;
        let ended = counts.total - counts.queued - counts.running;
        let task = Task::new(
            format!("{HANDLE}{batch_id}"),
            TaskStatus::Working,
            created.unwrap_or_default(),
            rfc3339(wall_ms()),
        )
        .with_status_message(format!("{ended} of {} tasks have ended; the executor is {}", counts.total, status.state))
        .with_poll_interval_ms(LOOK_EVERY);
        Ok((task, status))
    }
}
