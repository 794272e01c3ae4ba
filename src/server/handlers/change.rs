//! `cancel`, `retry`, `update`, `clear`.

use super::{Reply, tasks};
use crate::function;
use crate::protocol::{
    Cancel, Cancelled, Clear, Cleared, NotDone, Refusal, Requeued, Retry, Update, Updated, milliseconds,
};
use crate::queue::ops::cancel::Selection;
use crate::queue::ops::{clear as queue_clear, retry as queue_retry, update as queue_update};
use crate::queue::state::State;
use crate::server::Shared;
use crate::time;

pub(super) async fn cancel(service: &Shared, request: Cancel) -> Result<Reply, Refusal> {
    let selection = match (request.task_id, request.task_ids, request.batch_id) {
        (_, _, Some(batch_id)) => {
            service.queue.batch(batch_id).await?.ok_or_else(|| Refusal::not_found(format!("no batch {batch_id}")))?;
            Selection::Batch { batch_id, after: 0 }
        }
        (Some(id), _, _) => Selection::Tasks(vec![id]),
        (None, ids, None) => Selection::Tasks(unique(ids.unwrap_or_default())),
    };
    let outcome = service.executor.cancel(selection).await?;
    alone_unknown(request.task_id, &outcome.not_cancelled)?;
    let data = Cancelled {
        cancelled_count: outcome.count,
        cancelled: outcome.cancelled,
        not_cancelled: outcome.not_cancelled,
    };
    let rest = not_done(&data.not_cancelled, "not cancelled");
    Reply::new(format!("{} cancelled{rest}. `retry` brings cancelled ones back.", tasks(data.cancelled_count)), &data)
}

pub(super) async fn retry(service: &Shared, request: Retry) -> Result<Reply, Refusal> {
    let mut data = Requeued { requeued: 0, not_requeued: Vec::new() };
    let ids = request.task_id.map(|id| vec![id]).or(request.task_ids);
    if let Some(ids) = ids {
        let outcome = service.queue.write(queue_retry::Retry::Tasks(unique(ids))).await?;
        alone_unknown(request.task_id, &outcome.not_requeued)?;
        if let (Some(id), Some(not)) = (request.task_id, outcome.not_requeued.first()) {
            return Err(Refusal::conflict(format!(
                "task {id} {}; only failed and cancelled tasks can be retried",
                not.reason
            )));
        }
        data = Requeued { requeued: outcome.requeued, not_requeued: outcome.not_requeued };
    } else {
        if let Some(id) = request.batch_id {
            service.queue.batch(id).await?.ok_or_else(|| Refusal::not_found(format!("no batch {id}")))?;
        }
        let upto = service.queue.last_id().await?;
        let mut after = Some(0);
        while let Some(from) = after {
            let piece = queue_retry::Retry::Filter {
                status: request.filter_status,
                batch_id: request.batch_id,
                after: from,
                upto,
            };
            let outcome = service.queue.write(piece).await?;
            data.requeued += outcome.requeued;
            after = outcome.next;
        }
    }
    service.executor.settled().await;
    let stopped = service.queue.snapshot().run.state == crate::task::RunState::Stopped;
    let next = if stopped && data.requeued > 0 { " `start` runs them." } else { "" };
    let rest = not_done(&data.not_requeued, "not");
    Reply::new(format!("{} back in the queue{rest}.{next}", tasks(data.requeued)), &data)
}

pub(super) async fn update(service: &Shared, request: Update) -> Result<Reply, Refusal> {
    let task_ids = unique(request.task_ids);
    let mut warnings = Vec::new();
    if let Some(params) = &request.params {
        for (_, name) in service.queue.functions_of(&task_ids).await? {
            let found = function::check(&name, params, &service.settings.functions).map_err(Refusal::invalid)?;
            warnings.extend(found);
        }
        warnings.sort();
        warnings.dedup();
    }
    let params = request.params.map(|params| serde_json::Value::Object(params).to_string());
    let outcome = service
        .executor
        .update(queue_update::Update {
            task_ids,
            yielded: Vec::new(),
            name: request.name,
            params,
            priority: request.priority,
            max_retries: request.max_retries,
            timeout_ms: request.timeout.map(|timeout| timeout.map(milliseconds)),
            retry_delay_ms: request.retry_delay.map(milliseconds),
            delay_ms: request.delay.map(milliseconds),
        })
        .await?;
    let data = Updated { updated: outcome.updated, not_updated: outcome.not_updated };
    let rest = not_done(&data.not_updated, "not updated");
    Ok(Reply::new(format!("{} updated{rest}.", tasks(data.updated.len())), &data)?.warn(warnings))
}

pub(super) async fn clear(service: &Shared, request: &Clear) -> Result<Reply, Refusal> {
    let states = match request.filter_status.and_then(State::of_ended) {
        Some(state) => vec![state.code()],
        None => [State::Completed, State::Failed, State::Cancelled].map(State::code).to_vec(),
    };
    let older = request.older_than.map_or(0, milliseconds);
    let piece = queue_clear::Clear {
        states,
        batch_id: request.batch_id,
        ended_by: time::wall_ms() - older,
        upto: service.queue.last_id().await?,
    };
    let mut cleared = 0;
    loop {
        let removed = service.queue.write(piece.clone()).await?;
        if removed == 0 {
            break;
        }
        cleared += removed;
    }
    let data = Cleared { cleared, remaining: service.queue.snapshot().tally.counts().total };
    Reply::new(format!("{} cleared, {} remaining.", tasks(data.cleared), data.remaining), &data)
}

fn unique(mut ids: Vec<i64>) -> Vec<i64> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// One unknown id alone is `not_found`.
fn alone_unknown(alone: Option<i64>, not: &[NotDone]) -> Result<(), Refusal> {
    match (alone, not.first()) {
        (Some(id), Some(first)) if first.reason == "no such task" => Err(Refusal::not_found(format!("no task {id}"))),
        _ => Ok(()),
    }
}

fn not_done(not: &[NotDone], what: &str) -> String {
    match not {
        [] => String::new(),
        [one] => format!("; {} {what}: {}", one.task_id, one.reason),
        more => format!("; {} {what}, see data", tasks(more.len())),
    }
}
