//! `pause` and `resume`.

use super::change::{chosen, known, not_done, pieces};
use super::{Reply, tasks};
use crate::protocol::{Pause, Paused, Refusal, Resume};
use crate::queue::ops::LISTED;
use crate::queue::ops::pause::PauseOutcome;
use crate::server::Shared;
use crate::task::{Hold, RunState, TaskId};

pub(super) async fn pause(service: &Shared, request: Pause) -> Result<Reply, Refusal> {
    if (request.task_id, &request.task_ids, request.batch_id) == (None, &None, None) {
        return executor(service, request.running).await;
    }
    let chosen = chosen(request.task_id, request.task_ids);
    let mut data = answer(service);
    for piece in pieces(service, &chosen, request.batch_id).await? {
        add(&mut data, service.executor.pause_tasks(piece, request.running).await?);
    }
    only_one(&chosen, &data)?;
    let rest = not_done(&data.not_changed, "not paused");
    let coming = request.batch_id.map_or("", |_| " What is added to the batch is paused, too.");
    let next = match (data.count, request.batch_id, chosen.as_slice()) {
        (0, ..) => String::new(),
        (_, Some(id), _) => format!(" `resume` with batch_id {id} lets them go on."),
        (_, None, [id]) => format!(" `resume` with task_id {id} lets it go on."),
        (_, None, _) => " `resume` with the same lets them go on.".to_owned(),
    };
    Reply::new(format!("{} paused{rest}.{coming}{next}", tasks(data.count)), &data)
}

pub(super) async fn resume(service: &Shared, request: Resume) -> Result<Reply, Refusal> {
    if (request.task_id, &request.task_ids, request.batch_id) == (None, &None, None) {
        let changed = service.executor.go_on().await?;
        let message = if changed { "the executor goes on." } else { "the executor was not paused; nothing to do." };
        let batches = service.queue.paused_batches().await?;
        let paused = (!batches.is_empty()).then(|| {
            let ids: Vec<String> = batches.iter().map(ToString::to_string).collect();
            format!("paused all the same: batch {}; `resume` with batch_id lets it go on", ids.join(", "))
        });
        return Ok(Reply::new(message, &answer(service))?.warn(paused.into_iter().collect()));
    }
    let chosen = chosen(request.task_id, request.task_ids);
    let mut data = answer(service);
    for piece in pieces(service, &chosen, request.batch_id).await? {
        add(&mut data, service.executor.resume_tasks(piece).await?);
    }
    only_one(&chosen, &data)?;
    let rest = not_done(&data.not_changed, "not");
    let next = match (data.paused, data.state) {
        (true, _) => " The executor itself is paused: `resume` without a task lets it go on.",
        (false, RunState::Stopped) => " `start` runs what is queued.",
        (false, RunState::Running | RunState::Stopping) => "",
    };
    Reply::new(format!("{} not paused any more{rest}.{next}", tasks(data.count)), &data)
}

async fn executor(service: &Shared, hold: Hold) -> Result<Reply, Refusal> {
    let changed = service.executor.pause(hold).await?;
    let data = answer(service);
    if data.state != RunState::Running {
        return Err(Refusal::conflict(format!(
            "the executor is {}, so nothing starts anyway; a task or a batch can be paused in any state",
            data.state
        )));
    }
    let what_runs = match hold {
        Hold::Leave => "what runs goes on to its end",
        Hold::Pause => "what runs is suspended",
        Hold::End => "what ran goes back to the queue, no retry used",
    };
    let already = if changed { "" } else { " already" };
    Reply::new(format!("paused{already}: nothing starts, {what_runs}. `resume` lets it go on."), &data)
}

/// With the executor as it stands, and no task.
fn answer(service: &Shared) -> Paused {
    let run = &service.queue.snapshot().run;
    Paused { state: run.state, paused: run.paused.is_some(), count: 0, tasks: Vec::new(), not_changed: Vec::new() }
}

fn add(data: &mut Paused, outcome: PauseOutcome) {
    data.count += outcome.count;
    data.tasks.extend(outcome.changed);
    data.tasks.truncate(LISTED);
    data.not_changed.extend(outcome.not_changed);
    data.not_changed.truncate(LISTED);
}

/// One id alone must be known.
fn only_one(chosen: &[TaskId], data: &Paused) -> Result<(), Refusal> {
    match (chosen, data.not_changed.as_slice()) {
        ([id], [not]) => known(*id, not),
        _ => Ok(()),
    }
}
