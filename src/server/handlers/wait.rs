//! `wait`: until all that is selected has ended.

use std::time::Duration;

use serde_json::json;

use super::{Reply, status};
use crate::executor::ExecutorError;
use crate::protocol::{Counts, Refusal, Wait};
use crate::server::Shared;
use crate::task::RunState;

/// Between two looks at what is selected while commits come fast.
const BREATH: Duration = Duration::from_millis(10);

pub(super) async fn wait(service: &Shared, request: Wait) -> Result<Reply, Refusal> {
    let deadline = async {
        match request.timeout {
            Some(seconds) => tokio::time::sleep(Duration::from_secs_f64(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(deadline);
    let mut commits = service.queue.commits();
    loop {
        commits.borrow_and_update();
        let (counts, run_ms) = selected(service, &request).await?;
        if counts.total == 0 {
            return Err(Refusal::not_found("there is nothing to wait for: no task is selected"));
        }
        let data = status::data(service, counts, run_ms);
        if counts.queued + counts.running == 0 {
            return Reply::new(status::text(&data), &data);
        }
        let stopped = service.queue.snapshot().run.state == RunState::Stopped;
        if stopped && counts.queued > 0 {
            let message = format!(
                "the executor is stopped and {} tasks are queued, so they would never end; `start` first",
                counts.queued
            );
            return Err(Refusal::conflict(message).with(json!({"reason": "executor_stopped", "counts": counts})));
        }
        tokio::select! {
            _ = commits.changed() => {}
            () = &mut deadline => {
                let message = format!("still {} queued and {} running after the timeout; they go on", counts.queued, counts.running);
                return Err(Refusal::conflict(message).with(json!({"reason": "timeout", "counts": counts})));
            }
            () = service.ends() => return Err(ExecutorError::ShuttingDown.into()),
        }
        tokio::time::sleep(BREATH).await;
    }
}

async fn selected(service: &Shared, request: &Wait) -> Result<(Counts, i64), Refusal> {
    match (&request.task_ids, request.batch_id) {
        (Some(ids), _) => {
            let waited = service.queue.tally_of(ids).await?;
            Ok((waited.counts, waited.run_ms))
        }
        (None, Some(id)) => status::batch(service, id).await,
        (None, None) => {
            let tally = service.queue.snapshot().tally;
            Ok((tally.counts(), tally.run_ms()))
        }
    }
}
