//! `wait`: until all that is selected has ended.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{Reply, status, unless_ending};
use crate::executor::ExecutorError;
use crate::protocol::{Refusal, Wait};
use crate::queue::read::{Filter, Selected};
use crate::server::Shared;
use crate::task::{BatchId, RunState, TaskId};
use crate::time::wall_ms;

/// The least time between two looks at the queue while commits come fast and something is open.
const BREATH: Duration = Duration::from_millis(10);
/// How many ids one look is at.
const AT_ONCE: usize = 100;
/// How many tasks a filter may choose: their ids are held as long as the call takes.
const MOST_PASSING: usize = 1_000_000;

pub(super) async fn wait(service: &Shared, request: Wait) -> Result<Reply, Refusal> {
    let timeout = request.timeout;
    let deadline = async move {
        match timeout {
            Some(seconds) => tokio::time::sleep(Duration::from_secs_f64(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(deadline);
    let mut waited = Waited::of(service, request).await?;
    let mut commits = service.queue.commits();
    let mut idle = service.queue.commits();
    loop {
        // The state before the counts: an executor that stopped after the last end must not look as if it had
        // stopped before it.
        let stopped = commits.borrow_and_update().run.state == RunState::Stopped;
        let looked = Instant::now();
        if stopped || !waited.has_open(service).await? {
            let Selected { counts, run_ms } = waited.tally(service).await?;
            if counts.total == 0 {
                return Err(Refusal::not_found(waited.nothing()));
            }
            if counts.is_over() {
                let data = status::data(service, counts, run_ms);
                let reply = Reply::new(status::text(service, &data, waited.batch()), &data)?;
                return Ok(reply.warn(waited.missing(counts.total).into_iter().collect()));
            }
            if stopped && counts.queued > 0 {
                let message = format!(
                    "the executor is stopped and {} queued, so they would never end; `start` first",
                    super::tasks(counts.queued)
                );
                return Err(Refusal::conflict(message).with(json!({"reason": "executor_stopped", "counts": counts})));
            }
        }
        tokio::select! {
            () = &mut deadline => {
                let counts = waited.tally(service).await?.counts;
                let why = status::reason(service).map(|why| format!(" ({why})")).unwrap_or_default();
                let message = format!(
                    "still {} queued and {} running after the timeout{why}; they go on",
                    counts.queued, counts.running
                );
                return Err(Refusal::conflict(message).with(json!({"reason": "timeout", "counts": counts})));
            }
            () = service.ends() => return Err(ExecutorError::ShuttingDown.into()),
            _ = async { tokio::join!(commits.changed(), tokio::time::sleep_until(looked + BREATH)) } => {}
            () = async { drop(idle.wait_for(|snapshot| snapshot.tally.counts().is_over()).await) } => {}
        }
    }
}

/// The tasks that pass now.
async fn passing(service: &Shared, filter: &Filter) -> Result<Vec<TaskId>, Refusal> {
    let mut steps = service.queue.steps(filter).await?;
    let mut all = Vec::new();
    while let Some(ids) = unless_ending(service, steps.next()).await? {
        all.extend(ids);
        if all.len() > MOST_PASSING {
            return Err(Refusal::invalid(format!(
                "more than {MOST_PASSING} tasks match `filter`: wait for a batch, or for all"
            )));
        }
    }
    if all.is_empty() {
        Err(Refusal::not_found("there is nothing to wait for: no task matches `filter`"))
    } else {
        Ok(all)
    }
}

/// What is waited for.
enum Waited {
    All,
    Batch(BatchId),
    /// Those before `from` had ended when they were looked at.
    Tasks {
        ids: Vec<TaskId>,
        from: usize,
    },
}

impl Waited {
    async fn of(service: &Shared, request: Wait) -> Result<Self, Refusal> {
        Ok(match (request.filter, request.task_ids, request.batch_id) {
            (Some(asked), task_ids, batch_id) => {
                if let Some(id) = batch_id {
                    status::batch(service, id).await?;
                }
                let filter = Filter { batch_id, task_ids: task_ids.map(super::unique), ..Filter::default() };
                Self::Tasks { ids: passing(service, &filter.passing(Some(&asked), wall_ms())).await?, from: 0 }
            }
            (None, Some(ids), _) => Self::Tasks { ids: super::unique(ids), from: 0 },
            (None, None, Some(id)) => Self::Batch(id),
            (None, None, None) => Self::All,
        })
    }

    /// Why there is nothing to wait for.
    fn nothing(&self) -> &'static str {
        match self {
            Self::Tasks { .. } => {
                "there is nothing to wait for: none of these tasks is in the queue, they were cleared or never added"
            }
            Self::All | Self::Batch(_) => "there is nothing to wait for: no task is selected",
        }
    }

    /// What is said of tasks that are not there.
    fn missing(&self, found: i64) -> Option<String> {
        match self {
            Self::Tasks { ids, .. } => super::missing(ids.len(), found),
            Self::All | Self::Batch(_) => None,
        }
    }

    const fn batch(&self) -> Option<BatchId> {
        match self {
            Self::Batch(id) => Some(*id),
            Self::All | Self::Tasks { .. } => None,
        }
    }

    /// Whether something selected has certainly not ended. Cheap however much is selected: of chosen tasks
    /// only those are looked at that had not ended before, a few at a time.
    async fn has_open(&mut self, service: &Shared) -> Result<bool, Refusal> {
        let Self::Tasks { ids, from } = self else {
            let counts = self.tally(service).await?.counts;
            return Ok(!counts.is_over());
        };
        while *from < ids.len() {
            let some = &ids[*from..ids.len().min(*from + AT_ONCE)];
            if service.queue.any_open(some).await? {
                return Ok(true);
            }
            *from += some.len();
        }
        // One that had ended may have been retried since: the tally decides, and then it begins anew.
        *from = 0;
        Ok(false)
    }

    async fn tally(&self, service: &Shared) -> Result<Selected, Refusal> {
        Ok(match self {
            Self::All => status::all(service),
            Self::Batch(id) => status::batch(service, *id).await?,
            Self::Tasks { ids, .. } => service.queue.tally_of(ids, None).await?,
        })
    }
}
