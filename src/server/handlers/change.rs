//! `cancel`, `retry`, `update`, `clear`.

use super::passing::{Passing, left_alone};
use super::{Reply, status, tasks, unique, unless_ending};
use crate::filter::Filter;
use crate::function;
use crate::protocol::{
    Cancel, Cancelled, Clear, Cleared, NotDone, Refusal, Requeued, Retry, Update, Updated, milliseconds,
};
use crate::queue::ops::cancel::CancelOutcome;
use crate::queue::ops::retry::{Change, Which};
use crate::queue::ops::select::Selection;
use crate::queue::ops::{LISTED, NO_SUCH_TASK, clear as queue_clear, retry as queue_retry, update as queue_update};
use crate::queue::state::State;
use crate::server::Shared;
use crate::task::{BatchId, Status, TaskId};
use crate::time;

/// How many chosen tasks one transaction changes.
const AT_ONCE: usize = 1000;

/// What `cancel` changes.
const OPEN: &[Status] = &[Status::Queued, Status::Running];
/// What `retry` changes.
const AGAIN: &[Status] = &[Status::Failed, Status::Cancelled];
/// What `clear` removes.
const ENDED: &[Status] = &[Status::Completed, Status::Failed, Status::Cancelled];

pub(super) async fn cancel(service: &Shared, request: Cancel) -> Result<Reply, Refusal> {
    let Cancel { task_id, task_ids, batch_id, filter, dry_run } = request;
    let mut data = Cancelled { cancelled_count: 0, cancelled: Vec::new(), not_cancelled: Vec::new(), dry_run };
    let chosen = chosen(task_id, task_ids);
    let mut took = |outcome: CancelOutcome| {
        data.cancelled_count += outcome.count;
        data.cancelled.extend(outcome.cancelled);
        data.not_cancelled.extend(outcome.not_cancelled);
        data.cancelled.truncate(LISTED);
        data.not_cancelled.truncate(LISTED);
    };
    if dry_run || filter.is_some() {
        let is_by_id = filter.is_none();
        let passing = Passing::of(service, filter, Filter::of_status(OPEN), batch_id, &chosen).await?;
        if dry_run {
            return would_cancel(service, &passing, if is_by_id { &chosen } else { &[] }, data).await;
        }
        let mut steps = passing.steps(service).await?;
        while let Some(ids) = unless_ending(service, steps.next()).await? {
            let selection = Selection::Passing { ids, condition: passing.condition.clone() };
            took(service.executor.cancel(selection).await?);
        }
    } else {
        for piece in pieces(service, &chosen, batch_id).await? {
            took(service.executor.cancel(piece).await?);
        }
    }
    if let ([id], [not]) = (chosen.as_slice(), data.not_cancelled.as_slice()) {
        known(*id, not)?;
    }
    let rest = not_done(&data.not_cancelled, "not cancelled");
    let next = if data.cancelled_count > 0 { " `retry` brings cancelled ones back." } else { "" };
    Reply::new(format!("{} cancelled{rest}.{next}", tasks(data.cancelled_count)), &data)
}

async fn would_cancel(
    service: &Shared,
    passing: &Passing,
    chosen: &[TaskId],
    mut data: Cancelled,
) -> Result<Reply, Refusal> {
    let dry = passing.dry(service).await?;
    data.not_cancelled = left_alone(service, chosen, OPEN, "is already").await?;
    if let ([id], [not]) = (chosen, data.not_cancelled.as_slice()) {
        known(*id, not)?;
    }
    let said = dry.said("cancel", "", &not_done(&data.not_cancelled, "not"));
    (data.cancelled_count, data.cancelled) = (dry.count, dry.ids);
    Reply::new(said, &data)
}

pub(super) async fn retry(service: &Shared, request: Retry) -> Result<Reply, Refusal> {
    let dry_run = request.dry_run;
    let mut data = Requeued { requeued: 0, not_requeued: Vec::new(), dry_run, task_ids: None };
    let change = Change {
        timeout_ms: request.timeout.map(|timeout| timeout.map(milliseconds)),
        max_retries: request.max_retries,
    };
    let chosen = chosen(request.task_id, request.task_ids);
    if dry_run || request.filter.is_some() {
        let is_by_id = request.filter.is_none();
        let able = Filter::of_status(request.filter_status.as_ref().map_or(AGAIN, std::slice::from_ref));
        let passing = Passing::of(service, request.filter, able, request.batch_id, &chosen).await?;
        if dry_run {
            return would_retry(service, &passing, if is_by_id { &chosen } else { &[] }, data).await;
        }
        let mut steps = passing.steps(service).await?;
        while let Some(ids) = unless_ending(service, steps.next()).await? {
            let which = Which::Passing { ids, condition: passing.condition.clone() };
            data.requeued += service.queue.write(queue_retry::Retry { which, change }).await?.requeued;
        }
    } else if !chosen.is_empty() {
        for ids in chosen.chunks(AT_ONCE) {
            let outcome = service.queue.write(queue_retry::Retry { which: Which::Tasks(ids.to_vec()), change }).await?;
            data.requeued += outcome.requeued;
            data.not_requeued.extend(outcome.not_requeued);
            data.not_requeued.truncate(LISTED);
        }
        can_be_retried(&chosen, &data.not_requeued)?;
    } else {
        if let Some(id) = request.batch_id {
            status::batch(service, id).await?;
        }
        let upto = service.queue.last_id().await?;
        let mut from = Some(0);
        while let Some(after) = from {
            let which = match (request.batch_id, request.filter_status) {
                (Some(batch_id), status) => Which::Batch { batch_id, status, after, upto },
                (None, Some(status)) => Which::Ended { status, after, upto },
                (None, None) => break,
            };
            let outcome = service.queue.write(queue_retry::Retry { which, change }).await?;
            data.requeued += outcome.requeued;
            from = outcome.next;
        }
    }
    service.executor.settled().await;
    let stopped = service.queue.snapshot().run.state == crate::task::RunState::Stopped;
    let next = match data.requeued {
        1 if stopped => " `start` runs it.",
        2.. if stopped => " `start` runs them.",
        _ => "",
    };
    let rest = not_done(&data.not_requeued, "not");
    Reply::new(format!("{} back in the queue{rest}.{next}", tasks(data.requeued)), &data)
}

/// One id alone that cannot be retried is an error.
fn can_be_retried(chosen: &[TaskId], not_requeued: &[NotDone]) -> Result<(), Refusal> {
    let ([id], [not]) = (chosen, not_requeued) else { return Ok(()) };
    known(*id, not)?;
    Err(Refusal::conflict(format!("task {id} {}; only failed and cancelled tasks can be retried", not.reason)))
}

async fn would_retry(
    service: &Shared,
    passing: &Passing,
    chosen: &[TaskId],
    mut data: Requeued,
) -> Result<Reply, Refusal> {
    let dry = passing.dry(service).await?;
    data.not_requeued = left_alone(service, chosen, AGAIN, "is").await?;
    can_be_retried(chosen, &data.not_requeued)?;
    let said = dry.said("put", " back into the queue", &not_done(&data.not_requeued, "not"));
    (data.requeued, data.task_ids) = (dry.count, Some(dry.ids));
    Reply::new(said, &data)
}

pub(super) async fn update(service: &Shared, request: Update) -> Result<Reply, Refusal> {
    let task_ids = unique(request.task_ids);
    let mut warnings = Vec::new();
    if let Some(params) = &request.params {
        for (_, name) in service.queue.functions_of(&task_ids).await? {
            let found = function::check(&name, params, service.settings.declared()).map_err(Refusal::invalid)?;
            warnings.extend(found);
        }
        warnings.sort();
        warnings.dedup();
    }
    let params = request.params.map(|params| serde_json::Value::Object(params).to_string());
    let change = queue_update::Update {
        task_ids: Vec::new(),
        yielded: Vec::new(),
        name: request.name,
        params,
        priority: request.priority,
        max_retries: request.max_retries,
        timeout_ms: request.timeout.map(|timeout| timeout.map(milliseconds)),
        retry_delay_ms: request.retry_delay.map(milliseconds),
        delay_ms: request.delay.map(milliseconds),
    };
    let mut data = Updated { updated: Vec::new(), not_updated: Vec::new() };
    for ids in task_ids.chunks(AT_ONCE) {
        let piece = queue_update::Update { task_ids: ids.to_vec(), ..change.clone() };
        let outcome = service.executor.update(piece).await?;
        data.updated.extend(outcome.updated);
        data.not_updated.extend(outcome.not_updated);
    }
    data.updated.sort_unstable();
    let rest = not_done(&data.not_updated, "not updated");
    Ok(Reply::new(format!("{} updated{rest}.", tasks(data.updated.len())), &data)?.warn(warnings))
}

pub(super) async fn clear(service: &Shared, request: Clear) -> Result<Reply, Refusal> {
    let Clear { filter_status, batch_id, older_than, filter, dry_run } = request;
    let older = older_than.map_or(0, milliseconds);
    let mut data = Cleared { cleared: 0, remaining: 0, dry_run, task_ids: None };
    if dry_run || filter.is_some() {
        let able = Filter::of_status(filter_status.as_ref().map_or(ENDED, std::slice::from_ref));
        let passing = Passing::of(service, filter, able.and(Filter::ended_for(older)), batch_id, &[]).await?;
        if dry_run {
            let dry = passing.dry(service).await?;
            let remaining = service.queue.snapshot().tally.counts().total - i64::try_from(dry.count).unwrap_or(0);
            let data = Cleared { cleared: dry.count, remaining, task_ids: Some(dry.ids.clone()), ..data };
            return Reply::new(dry.said("clear", "", ""), &data);
        }
        let mut steps = passing.steps(service).await?;
        while let Some(ids) = unless_ending(service, steps.next()).await? {
            let piece = queue_clear::ClearPassing { ids, condition: passing.condition.clone() };
            data.cleared += service.queue.write(piece).await?;
        }
    } else {
        data.cleared = clear_all(service, filter_status, batch_id, older).await?;
    }
    data.remaining = service.queue.snapshot().tally.counts().total;
    Reply::new(format!("{} cleared, {} remaining.", tasks(data.cleared), data.remaining), &data)
}

async fn clear_all(
    service: &Shared,
    status: Option<Status>,
    batch_id: Option<BatchId>,
    older: i64,
) -> Result<u64, Refusal> {
    let states = match status.and_then(State::of_ended) {
        Some(state) => vec![state.code()],
        None => [State::Completed, State::Failed, State::Cancelled].map(State::code).to_vec(),
    };
    if let Some(id) = batch_id {
        status::batch(service, id).await?;
    }
    let upto = service.queue.last_id().await?;
    let piece = queue_clear::Clear { states, batch_id, ended_by: time::wall_ms() - older, upto };
    let mut cleared = 0;
    loop {
        let removed = service.queue.write(piece.clone()).await?;
        if removed == 0 {
            return Ok(cleared);
        }
        cleared += removed;
    }
}

/// What is changed by one operation after the other: chosen tasks, or a batch.
pub(super) async fn pieces(
    service: &Shared,
    chosen: &[TaskId],
    batch_id: Option<BatchId>,
) -> Result<Vec<Selection>, Refusal> {
    let mut pieces: Vec<Selection> = chosen.chunks(AT_ONCE).map(|ids| Selection::Tasks(ids.to_vec())).collect();
    if let Some(batch_id) = batch_id {
        status::batch(service, batch_id).await?;
        pieces.push(Selection::Batch { batch_id, after: 0 });
    }
    Ok(pieces)
}

/// The tasks that a request names.
pub(super) fn chosen(one: Option<i64>, several: Option<Vec<i64>>) -> Vec<i64> {
    unique(one.into_iter().chain(several.unwrap_or_default()).collect())
}

/// One unknown id alone is `not_found`.
pub(super) fn known(id: i64, not: &NotDone) -> Result<(), Refusal> {
    if not.reason == NO_SUCH_TASK { Err(Refusal::not_found(format!("no task {id}"))) } else { Ok(()) }
}

pub(super) fn not_done(not: &[NotDone], what: &str) -> String {
    match not {
        [] => String::new(),
        [one] => format!("; {} {what}: {}", one.task_id, one.reason),
        more => format!("; {} {what}, see data", tasks(more.len())),
    }
}
