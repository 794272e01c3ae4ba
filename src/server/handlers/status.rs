//! `status`, and the data that `wait` answers with.

use std::collections::BTreeMap;

use super::{Reply, tasks, unless_ending};
use crate::executor::Standing;
use crate::protocol::{Counts, GateInfo, PROTOCOL, Refusal, StatusData, StatusRequest};
use crate::queue::read::{Filter, Selected};
use crate::queue::state::State;
use crate::queue::writer::Snapshot;
use crate::server::Shared;
use crate::task::{BatchId, Hold, RunState, Status};
use crate::time::{rfc3339, seconds, wall_ms};
use crate::version::VERSION;

/// Seconds of ends from which on their rate says more than the average time of a task.
const STEADY: u32 = 10;
/// After so many seconds, and so many times the average time of a task, without an end nobody knows how long it will take.
const PATIENCE: f64 = 10.0;
const SEVERAL: f64 = 3.0;

pub(super) async fn status(service: &Shared, request: &StatusRequest) -> Result<Reply, Refusal> {
    let mut selected = match request.batch_id {
        None => all(service),
        Some(id) => batch(service, id).await?,
    };
    let now = wall_ms();
    let filter = Filter { batch_id: request.batch_id, ..Filter::default() }.passing(request.filter.as_ref(), now);
    if request.filter.is_some() {
        selected = unless_ending(service, service.queue.tally_passing(&filter)).await?;
    }
    let mut data = data(service, selected.counts, selected.run_ms);
    data.batches = match request.batch_id {
        Some(id) => Some(service.queue.batches(Some(id)).await?),
        None if request.detailed => Some(service.queue.batches(None).await?),
        None => None,
    };
    if request.detailed {
        let is_of_all = request.batch_id.is_none() && request.filter.is_none();
        data.priorities = is_of_all.then(|| service.queue.snapshot().tally.queued_by_priority());
        let mut lists = BTreeMap::new();
        for status in Status::ALL {
            let batch = request.batch_id.map(|id| (id, selected));
            let first = match &request.filter {
                None => service.queue.first_of(*status, batch).await?,
                Some(_) => unless_ending(service, service.queue.first_passing(&filter, *status, now)).await?,
            };
            lists.insert(*status, first);
        }
        data.tasks = Some(lists);
    }
    Reply::new(text(service, &data, request.batch_id), &data)
}

/// How all tasks stand.
pub(super) fn all(service: &Shared) -> Selected {
    let tally = service.queue.snapshot().tally;
    Selected { counts: tally.counts(), run_ms: tally.run_ms() }
}

/// How a batch's tasks stand.
pub(super) async fn batch(service: &Shared, id: BatchId) -> Result<Selected, Refusal> {
    service.queue.batch(id).await?.ok_or_else(|| Refusal::not_found(format!("no batch {id}")))
}

/// The status with the counts of what was selected.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
pub(super) fn data(service: &Shared, counts: Counts, run_ms: i64) -> StatusData {
    let snapshot = service.queue.snapshot();
    let run = &snapshot.run;
    let ended = counts.completed + counts.failed + counts.cancelled;
    let timed = counts.completed + counts.failed;
    let total_execution_time = seconds(run_ms);
    let average = (timed > 0).then(|| total_execution_time / timed as f64);
    let (throughput, over) = snapshot.recent.rate();
    let left = (counts.queued + counts.running) as f64;
    // What only waits for its time, or hangs, says nothing of how long that takes.
    let is_busy =
        run.paused.is_none() && snapshot.tally.in_state(State::Running) + snapshot.tally.in_state(State::Ready) > 0;
    let usual = average.unwrap_or(0.0).mul_add(SEVERAL, PATIENCE);
    let goes_on = is_busy && snapshot.recent.since_last().is_some_and(|seconds| seconds as f64 <= usual);
    let eta = (run.state == RunState::Running && left > 0.0 && goes_on)
        .then(|| {
            let by_rate = || (throughput > 0.0).then(|| left / throughput);
            let by_average = || average.map(|average| left * average / f64::from(run.max_concurrent));
            // After a few seconds a rate says little yet, right after a crash above all.
            if over >= STEADY { by_rate().or_else(by_average) } else { by_average().or_else(by_rate) }
        })
        .flatten();
    StatusData {
        state: run.state,
        reason: reason(service),
        max_concurrent: run.max_concurrent,
        lowered_to: run.lowered_to,
        keep: run.keep,
        paused: run.paused.is_some(),
        deadline: run.deadline.map(|at| rfc3339(service.queue.clock().wall_of(at))),
        counts,
        priorities: None,
        causes: snapshot.causes.counted().collect(),
        progress: if counts.total == 0 { 0.0 } else { ended as f64 * 100.0 / counts.total as f64 },
        average_task_time: average,
        total_execution_time,
        throughput,
        eta,
        version: VERSION.to_owned(),
        protocol: PROTOCOL,
        pid: std::process::id(),
        uptime: service.started.elapsed().as_secs_f64(),
        home: service.home.root().display().to_string(),
        gates: gates(service),
        batches: None,
        tasks: None,
    }
}

/// How the declared gates stand; none where none is declared.
fn gates(service: &Shared) -> Option<Vec<GateInfo>> {
    let gates = service.executor.gates();
    // While it is stopped nobody looks, and what was seen is of no use.
    let is_stopped = service.queue.snapshot().run.state == RunState::Stopped;
    let infos: Vec<GateInfo> = gates
        .borrow()
        .iter()
        .map(|standing| {
            GateInfo::from(&Standing { verdict: standing.verdict.clone().filter(|_| !is_stopped), ..standing.clone() })
        })
        .collect();
    (!infos.is_empty()).then_some(infos)
}

impl From<&Standing> for GateInfo {
    fn from(Standing { gate, verdict, since }: &Standing) -> Self {
        Self {
            gate: gate.name.clone(),
            rule: gate.rule.to_string(),
            open: verdict.as_ref().map(|verdict| verdict.open),
            found: verdict.as_ref().map(|verdict| verdict.found.clone()),
            since: verdict.as_ref().map(|_| rfc3339(*since)),
            running: gate.running,
        }
    }
}

/// Why it is as it is: what stands in the way comes first.
pub(super) fn reason(service: &Shared) -> Option<String> {
    let snapshot = service.queue.snapshot();
    let run = &snapshot.run;
    if let Some(error) = service.executor.storage_error() {
        return Some(format!("storage: {error}"));
    }
    if service.executor.keeper_pid().is_none() {
        return Some("waiting for the keeper".to_owned());
    }
    if let Some(hold) = run.paused {
        let what_ran = if hold == Hold::Leave { ", what runs goes on" } else { "" };
        return Some(format!("paused by request{what_ran}"));
    }
    let (gate, hold) = (service.executor.closed_gate(), service.executor.closed_hold());
    let running = snapshot.tally.in_state(State::Running);
    match run.state {
        RunState::Running if gate.is_some() => return gate,
        RunState::Stopping if hold == Some(Hold::Pause) && running > 0 => {
            return gate.map(|gate| format!("{gate}, and what runs is suspended until it opens"));
        }
        RunState::Running if is_put_aside(&snapshot) => return Some("all that is left is paused".to_owned()),
        RunState::Running | RunState::Stopping | RunState::Stopped => {}
    }
    let lowered = run.lowered_to.filter(|_| run.state == RunState::Running);
    lowered.map_or_else(
        || run.reason.clone(),
        |cap| {
            Some(format!(
                "at most {cap} of {} at once for a while: several tasks were killed from outside together, see `doctor`",
                run.max_concurrent
            ))
        },
    )
}

/// Whether tasks are queued and nothing but a `resume` lets any of them run. A suspended one is not seen here.
fn is_put_aside(snapshot: &Snapshot) -> bool {
    let tally = &snapshot.tally;
    let waits = tally.in_state(State::Ready) + tally.in_state(State::Running) > 0 || snapshot.next_due.is_some();
    tally.queued() > 0 && !waits
}

/// When the next of the tasks that are put off is due, if nothing else is to be done.
fn waiting(service: &Shared) -> String {
    let snapshot = service.queue.snapshot();
    let due = snapshot.next_due.filter(|_| snapshot.tally.in_state(State::Ready) == 0);
    let left = due.map(|due| (due - service.queue.clock().now()).max(0) / 1000);
    left.map(|seconds| format!(" Nothing can run before the next delay or retry is due, in {seconds} s."))
        .unwrap_or_default()
}

/// The status in a line or two, of a batch if one is given.
pub(super) fn text(service: &Shared, data: &StatusData, batch_id: Option<BatchId>) -> String {
    let c = &data.counts;
    let what = batch_id.map(|id| format!("batch {id}: ")).unwrap_or_default();
    let of = batch_id.map(|id| format!("batch_id {id} and ")).unwrap_or_default();
    let why = data.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let next = match data.state {
        RunState::Stopped if c.queued > 0 => " `start` runs what is queued.".to_owned(),
        RunState::Stopped if c.failed > 0 => {
            format!(" `results` with {of}filter_status failed says why, `retry` with the same tries them again.")
        }
        RunState::Running if data.paused => " `resume` lets it go on.".to_owned(),
        RunState::Running if is_put_aside(&service.queue.snapshot()) => {
            " `resume` with its batch_id or task_ids lets it go on.".to_owned()
        }
        RunState::Running if c.queued > 0 && c.running == 0 => waiting(service),
        _ => String::new(),
    };
    let eta = data.eta.map(|eta| format!(", about {eta:.0} s left")).unwrap_or_default();
    format!(
        "{}{why}: {what}{}: {} queued, {} running, {} completed, {} failed, {} cancelled; {:.0} % done{eta}.{next}",
        data.state,
        tasks(c.total),
        c.queued,
        c.running,
        c.completed,
        c.failed,
        c.cancelled,
        data.progress
    )
}
