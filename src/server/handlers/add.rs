//! `add` and `add_batch`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Incoming, Reply, tasks};
use crate::cgroup::Delegated;
use crate::function;
use crate::protocol::{AUTO_KEY, Add, AddBatch, Added, BatchAdded, ErrorCode, ItemError, Refusal, parse_spec};
use crate::queue::ops::LISTED;
use crate::queue::ops::close::CloseBatch;
use crate::queue::ops::insert::{Batch, Insert, InsertRefused, Inserted, NewContext, NewTask, RequestKey, Twin};
use crate::server::Shared;
use crate::task::{RunState, TaskSpec};

/// Warnings of one kind, counted.
type Warnings = BTreeMap<String, usize>;

pub(super) async fn add(service: &Shared, incoming: &Incoming, request: Add) -> Result<Reply, Refusal> {
    let mut warnings = Warnings::new();
    let key = request.request_key.map(|key| request_key(service, key, false, &("add", &request.task))).transpose()?;
    let spec = checked(service, request.task, &Map::new(), None, &mut warnings).map_err(Refusal::invalid)?;
    let (name, retries, delayed) = (spec.name.clone(), spec.max_retries, spec.delay_ms > 0);
    let insert = Insert {
        tasks: vec![NewTask::of(spec)?],
        errors: Vec::new(),
        batch: Batch::New { name: None },
        more: false,
        context: NewContext::of(incoming.cwd()?, &incoming.environment)?,
        key,
    };
    let inserted = inserted(insert_now(service, insert).await?)?;
    let place = match inserted.position {
        Some(position) => format!(", position {position}"),
        None if delayed => ", delayed".to_owned(),
        None => String::new(),
    };
    let again = if inserted.repeated { "was added before (same request key) as" } else { "added as" };
    let next = next(service, &inserted).await?;
    let message =
        format!("task `{name}` {again} {}{place}; if it fails it is {}.{next}", inserted.first, tried_again(retries));
    let data = Added { task_id: inserted.first, batch_id: inserted.batch_id, position: inserted.position };
    Ok(Reply::new(message, &data)?.warn(counted(warnings)))
}

pub(super) async fn add_batch(service: &Shared, incoming: &Incoming, request: AddBatch) -> Result<Reply, Refusal> {
    let AddBatch { tasks: given, name, batch_id, defaults, atomic, request_key: key, more, resume } = request;
    let content = ("add_batch", &given, &name, batch_id, &defaults, atomic);
    let is_whole = batch_id.is_none() && !more;
    let key = match key {
        Some(key) if !key.starts_with(AUTO_KEY) => Some(request_key(service, key, resume, &content)?),
        // The same from another folder is other work.
        Some(key) => Some(request_key(service, key, false, &(content, incoming.cwd()?))?),
        None if is_whole => {
            let key = format!("{AUTO_KEY}{:032x}", fastrand::u128(..));
            Some(request_key(service, key, false, &(content, incoming.cwd()?))?)
        }
        None => None,
    };
    let mut warnings = Warnings::new();
    let count = given.len();
    let (mut new, mut errors) = (Vec::with_capacity(count), Vec::new());
    for (index, value) in given.into_iter().enumerate() {
        let spec = match value {
            Value::Object(map) => checked(service, map, &defaults, Some(index + 1), &mut warnings),
            _ => Err("the task must be an object".to_owned()),
        };
        match spec {
            Ok(spec) => new.push(NewTask::of(spec)?),
            Err(error) => errors.push(ItemError { index, error }),
        }
    }
    if new.is_empty() || (atomic && !errors.is_empty()) {
        if let Some(id) = batch_id.filter(|_| !more) {
            service.queue.write(CloseBatch(id)).await?;
        }
        let first = errors.first().map(|bad| format!("; task {}: {}", bad.index, bad.error)).unwrap_or_default();
        let message = format!("nothing was added: {} bad among {}{first}", errors.len(), tasks(count));
        return Err(Refusal::invalid(message).with(json!({ "errors": errors })));
    }
    let retries =
        new.first().map(NewTask::max_retries).filter(|first| new.iter().all(|task| task.max_retries() == *first));
    let insert = Insert {
        tasks: new,
        errors,
        batch: batch_id.map_or(Batch::New { name }, Batch::Existing),
        more,
        context: NewContext::of(incoming.cwd()?, &incoming.environment)?,
        key,
    };
    let inserted = inserted(insert_now(service, insert).await?)?;
    let next = next(service, &inserted).await?;
    let added = u64::try_from(inserted.last - inserted.first + 1).unwrap_or(0);
    let data = BatchAdded {
        batch_id: inserted.batch_id,
        added,
        first_task_id: Some(inserted.first),
        last_task_id: Some(inserted.last),
        task_ids: (added <= LISTED as u64).then(|| (inserted.first..=inserted.last).collect()),
        errors: inserted.errors,
        queued: inserted.queued,
        repeated: inserted.repeated,
    };
    let again = match (data.repeated, added) {
        (false, _) => "added",
        (true, 1) => "was added before (same request key)",
        (true, _) => "were added before (same request key)",
    };
    let ids = match added {
        1 => format!("id {}", inserted.first),
        _ => format!("ids {} to {}", inserted.first, inserted.last),
    };
    let bad = match data.errors.len() {
        0 => String::new(),
        count => format!("; {} refused, see `errors`", tasks(count)),
    };
    let retries = retries.map(|times| format!("; one that fails is {}", tried_again(times))).unwrap_or_default();
    let message = format!("{} {again} as batch {} ({ids}){bad}{retries}.{next}", tasks(added), data.batch_id);
    let paused = match batch_id {
        Some(id) if service.queue.is_paused(id).await? => {
            vec![format!("batch {id} is paused, so these tasks are, too: `resume` with batch_id {id} lets them go on")]
        }
        _ => Vec::new(),
    };
    let twin = inserted.twin.filter(|_| !inserted.repeated).map(|twin| again_without_key(twin, &data));
    Ok(Reply::new(message, &data)?.warn(counted(warnings)).warn(twin.into_iter().chain(paused).collect()))
}

/// What is said where the client may not know that its first call was carried out.
fn again_without_key(Twin { batch_id, age_ms }: Twin, data: &BatchAdded) -> String {
    format!(
        "batch {batch_id} with the same {} was added {} s ago; if this call only repeats that one, `cancel` with batch_id {}. \
         Send a `request_key`, and a repeated call adds nothing",
        tasks(data.added),
        age_ms / 1000,
        data.batch_id
    )
}

fn checked(
    service: &Shared,
    task: Map<String, Value>,
    defaults: &Map<String, Value>,
    place: Option<usize>,
    warnings: &mut Warnings,
) -> Result<TaskSpec, String> {
    let spec = parse_spec(task, defaults, place, warnings)?;
    if let Some(lack) = Delegated::lacks(service.cgroups.as_ref().ok(), &spec.limits) {
        return Err(lack);
    }
    for warning in function::check(&spec.function, &spec.params, service.settings.declared())? {
        *warnings.entry(warning).or_default() += 1;
    }
    Ok(spec)
}

/// Each kind of warning once, with how often it came.
fn counted(warnings: Warnings) -> Vec<String> {
    warnings
        .into_iter()
        .map(|(warning, times)| if times > 1 { format!("{warning} ({times} times)") } else { warning })
        .collect()
}

#[expect(clippy::cast_possible_truncation, reason = "at most 3650 days in ms")]
fn request_key(service: &Shared, key: String, resume: bool, content: &impl Serialize) -> Result<RequestKey, Refusal> {
    let kept_ms = (service.settings.request_key_days * 86_400_000.0) as i64;
    // Objects are sorted by key, so the text is canonical.
    let text = serde_json::to_vec(content).map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))?;
    Ok(RequestKey { key, hash: Sha256::digest(text).into(), resume, kept_ms })
}

/// Inserts; when this returns, what outranks the tasks claimed ahead has its place among them.
async fn insert_now(service: &Shared, insert: Insert) -> Result<Result<Inserted, InsertRefused>, Refusal> {
    let outcome = service.queue.write(insert).await?;
    service.executor.settled().await;
    Ok(outcome)
}

fn inserted(outcome: Result<Inserted, InsertRefused>) -> Result<Inserted, Refusal> {
    outcome.map_err(|refused| match refused {
        InsertRefused::NoSuchBatch(id) => Refusal::not_found(format!("no batch {id}")),
        InsertRefused::KeyConflict => {
            Refusal::conflict("this `request_key` was used with other content; nothing was added: use another key")
        }
    })
}

fn tried_again(retries: u32) -> String {
    match retries {
        0 => "not tried again".to_owned(),
        1 => "tried again once".to_owned(),
        times => format!("tried again up to {times} times"),
    }
}

/// What comes next; of what was added before, how it stands now.
async fn next(service: &Shared, inserted: &Inserted) -> Result<String, Refusal> {
    let run = match service.queue.snapshot().run.state {
        RunState::Running => "",
        RunState::Stopped | RunState::Stopping => " Nothing runs until `start`.",
    };
    if !inserted.repeated {
        return Ok(run.to_owned());
    }
    Ok(match service.queue.batch(inserted.batch_id).await?.map(|batch| batch.counts) {
        None => " It was cleared since.".to_owned(),
        Some(c) => format!(
            " Of the batch {} queued, {} running, {} completed, {} failed, {} cancelled.{}",
            match c.queued {
                1 => "1 is".to_owned(),
                several => format!("{several} are"),
            },
            c.running,
            c.completed,
            c.failed,
            c.cancelled,
            if c.queued > 0 { run } else { "" }
        ),
    })
}
