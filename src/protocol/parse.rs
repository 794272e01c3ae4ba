//! A request line to a [`Request`]: the three shapes, every field checked, unknown ones warned of.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::{ErrorCode, Refusal};
use super::fields::{Fields, shortened, wrong};
use super::hooks::HooksRequest;
use super::request::{
    Action, Add, AddBatch, Backup, Cancel, Clear, Empty, Export, ExportFormat, LogStream, Logs, Pause, Request,
    Results, ResultsFormat, Resume, Retry, Show, Shutdown, Start, StatusRequest, Stop, Update, Wait,
};
use super::spec::{LONGEST_NAME, PRIORITIES};
use super::watch::Watch;
use crate::filter::Sort;
use crate::task::{BatchId, Hold, MAX_CONCURRENT_LIMIT, MAX_RETRIES_LIMIT, Status, TaskId};
use crate::words::did_you_mean;

/// The longest `request_key`, in bytes.
pub const MAX_REQUEST_KEY_BYTES: usize = 200;
/// How the keys begin that a client's program, or the daemon, made up for one call: they make sending that call again safe,
/// and say nothing of whether the client's user means the same work twice.
pub const AUTO_KEY: &str = "auto:";
/// The most that `logs` reads at once, in bytes.
const MOST_LOG_BYTES: u32 = 16 * 1024 * 1024;
/// The longest `search` of `logs`, in bytes.
const LONGEST_SEARCH: usize = 1000;
/// The most lines of `context` around a match.
const MOST_CONTEXT: u32 = 100;
/// The largest `limit` of `results`.
const MOST_RESULTS: u32 = 100_000;
/// The most events in an answer of `watch`.
const MOST_EVENTS: u32 = 10_000;
/// Keys of a tool call that are the agent's own business.
const ENVELOPE: &[&str] = &["thoughts", "headline", "tool_name", "tool_args"];

/// A request line that was understood.
#[derive(Debug)]
pub struct Parsed {
    pub request: Request,
    /// Unknown fields with the nearest known name, and the like.
    pub warnings: Vec<String>,
}

/// A refused line, with as much of its envelope as could be read.
#[derive(Debug)]
pub struct Unparsed {
    pub id: Option<Value>,
    pub action: Option<String>,
    pub refusal: Refusal,
}

/// Parses one request line in any of the three shapes.
///
/// # Errors
/// `invalid_json`, `unknown_action` or `invalid_request`, naming the field, the value and what is allowed.
pub fn parse_line(line: &[u8]) -> Result<Parsed, Box<Unparsed>> {
    let refused = |refusal| Box::new(Unparsed { id: None, action: None, refusal });
    let value: Value = serde_json::from_slice(line).map_err(|error| {
        let message = format!("the line is not JSON: {error}");
        refused(Refusal::new(ErrorCode::InvalidJson, message))
    })?;
    let Value::Object(map) = value else {
        let message = format!("the line is not one JSON object: {}", shortened(&value));
        return Err(refused(Refusal::new(ErrorCode::InvalidJson, message)));
    };
    let map = unwrap(map).map_err(|message| refused(Refusal::invalid(message)))?;
    let id = map.get("id").filter(|id| !id.is_null()).cloned();
    let action = map.get("action").and_then(Value::as_str).map(str::to_owned);
    parse_map(map).map_err(|refusal| Box::new(Unparsed { id, action, refusal }))
}

/// The request within a tool call.
fn unwrap(mut map: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let Some(arguments) = map.remove("tool_args") else {
        if map.contains_key("tool_name") {
            map.retain(|name, _| !ENVELOPE.contains(&name.as_str()));
        }
        return Ok(map);
    };
    let Value::Object(mut arguments) = arguments else {
        return Err(wrong("tool_args", &arguments, "an object with the `action`"));
    };
    for name in ["id", "cwd", "environment"] {
        if let Some(value) = map.remove(name) {
            arguments.entry(name).or_insert(value);
        }
    }
    Ok(arguments)
}

fn parse_map(mut map: Map<String, Value>) -> Result<Parsed, Refusal> {
    let tasks = map.get_mut("tasks").map(Value::take);
    let fields = Fields::new(&map);
    let invalid = Refusal::invalid;
    let id = fields
        .optional("id", "a text or a number", |v| (v.is_string() || v.is_number()).then(|| v.clone()))
        .map_err(invalid)?;
    let cwd = fields
        .optional("cwd", "an absolute path", |v| {
            v.as_str().filter(|p| p.starts_with('/') && !p.contains('\0')).map(str::to_owned)
        })
        .map_err(invalid)?;
    let environment = environment(&fields).map_err(invalid)?;
    let name = fields
        .required("action", fields.optional("action", "text", Value::as_str))
        .map_err(|message| invalid(format!("{message}; it is one of {}", Action::NAMES.join(", "))))?;
    let action = action(name, &fields, &map, tasks).map_err(invalid)?.ok_or_else(|| {
        let near = did_you_mean(name, Action::NAMES.iter().copied());
        let end = if near.is_empty() { "; the" } else { " The" };
        let message = format!("unknown action `{name}`{near}{end} actions are {}", Action::NAMES.join(", "));
        Refusal::new(ErrorCode::UnknownAction, message)
    })?;
    // The fields of `add` are the task's, and are checked and warned of with it.
    let warnings = if matches!(action, Action::Add(_)) { Vec::new() } else { fields.unknown() };
    Ok(Parsed { request: Request { id, cwd, environment, action }, warnings })
}

fn environment(fields: &Fields<'_>) -> Result<Option<BTreeMap<String, String>>, String> {
    let Some(map) = fields.object("environment")? else { return Ok(None) };
    let mut variables = BTreeMap::new();
    for (name, value) in map {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!(
                "`environment` has the name {name:?}, but a name is not empty and has no `=` and no NUL"
            ));
        }
        match value {
            // The value is not repeated: it may be a secret.
            Value::String(text) if !text.contains('\0') => variables.insert(name, text),
            _ => return Err(format!("`environment.{name}` must be text without NUL")),
        };
    }
    Ok(Some(variables))
}

const ENDED: &[(&str, Status)] =
    &[("completed", Status::Completed), ("failed", Status::Failed), ("cancelled", Status::Cancelled)];

fn statuses() -> Vec<(&'static str, Status)> {
    Status::ALL.iter().map(|status| (status.as_str(), *status)).collect()
}

fn action(
    name: &str,
    fields: &Fields<'_>,
    map: &Map<String, Value>,
    tasks: Option<Value>,
) -> Result<Option<Action>, String> {
    Ok(Some(match name {
        "add" => Action::Add(Box::new(add(fields, map)?)),
        "add_batch" => Action::AddBatch(Box::new(add_batch(fields, tasks)?)),
        "start" => Action::Start(Start {
            max_concurrent: fields.small("max_concurrent", 1, MAX_CONCURRENT_LIMIT)?,
            timeout: fields.nullable("timeout", fields.positive_seconds("timeout"))?,
            keep: fields.bool("keep")?,
            max_failures: fields.nullable("max_failures", fields.small("max_failures", 1, u32::MAX))?,
        }),
        "stop" => Action::Stop(Stop {
            graceful: fields.bool("graceful")?.unwrap_or(true),
            wait: fields.bool("wait")?.unwrap_or(false),
        }),
        "status" => Action::Status(StatusRequest {
            detailed: fields.bool("detailed")?.unwrap_or(false),
            batch_id: fields.id("batch_id")?,
            filter: fields.filter()?,
        }),
        "results" => Action::Results(results(fields)?),
        "show" => Action::Show(Show { task_id: fields.required("task_id", fields.id("task_id"))? }),
        "logs" => Action::Logs(logs(fields)?),
        "update" => Action::Update(Box::new(update(fields)?)),
        "export" => Action::Export(Export {
            format: fields
                .word(
                    "format",
                    &[("json", ExportFormat::Json), ("csv", ExportFormat::Csv), ("jsonl", ExportFormat::Jsonl)],
                )?
                .unwrap_or_default(),
            output_file: fields.text("output_file", LONGEST_NAME)?,
            filter_status: fields.word("filter_status", &statuses())?,
            batch_id: fields.id("batch_id")?,
            filter: fields.filter()?,
            attempts: fields.bool("attempts")?.unwrap_or(false),
            overwrite: fields.bool("overwrite")?.unwrap_or(false),
        }),
        "backup" => Action::Backup(Backup {
            output_file: fields.required("output_file", fields.text("output_file", LONGEST_NAME))?,
            overwrite: fields.bool("overwrite")?.unwrap_or(false),
        }),
        "clear" => Action::Clear(Clear {
            filter_status: fields.word("filter_status", ENDED)?,
            batch_id: fields.id("batch_id")?,
            older_than: fields.seconds("older_than")?,
            filter: fields.filter()?,
            dry_run: fields.bool("dry_run")?.unwrap_or(false),
        }),
        "pause" => {
            let (task_id, task_ids, batch_id) = one_at_most("pause", fields)?;
            let holds: Vec<(&str, Hold)> = Hold::ALL.iter().map(|hold| (hold.as_str(), *hold)).collect();
            let running = fields.word("running", &holds)?.unwrap_or_default();
            Action::Pause(Pause { task_id, task_ids, batch_id, running })
        }
        "resume" => {
            let (task_id, task_ids, batch_id) = one_at_most("resume", fields)?;
            Action::Resume(Resume { task_id, task_ids, batch_id })
        }
        "cancel" => Action::Cancel(cancel(fields)?),
        "retry" => Action::Retry(retry(fields)?),
        "wait" => Action::Wait(Wait {
            batch_id: fields.id("batch_id")?,
            task_ids: fields.ids("task_ids")?,
            filter: fields.filter()?,
            timeout: fields.seconds("timeout")?,
        }),
        "functions" => Action::Functions(Empty {}),
        "watch" => Action::Watch(Watch {
            from: fields.integer("from", 1, i64::MAX)?,
            limit: fields.small("limit", 1, MOST_EVENTS)?,
            follow: fields.bool("follow")?.unwrap_or(false),
            batch_id: fields.id("batch_id")?,
        }),
        "shutdown" => Action::Shutdown(Shutdown { grace: fields.seconds("grace")? }),
        "restart" => Action::Restart(Empty {}),
        "health" => Action::Health(Empty {}),
        "metrics" => Action::Metrics(Empty {}),
        "hooks" => Action::Hooks(HooksRequest { test: fields.text("test", LONGEST_NAME)? }),
        _ => return Ok(None),
    }))
}

fn add(fields: &Fields<'_>, map: &Map<String, Value>) -> Result<Add, String> {
    let request_key = fields.text("request_key", MAX_REQUEST_KEY_BYTES)?;
    let mut task = map.clone();
    for name in ["action", "id", "cwd", "environment", "request_key"] {
        task.remove(name);
    }
    Ok(Add { task, request_key })
}

fn add_batch(fields: &Fields<'_>, tasks: Option<Value>) -> Result<AddBatch, String> {
    let tasks = fields.taken("tasks", tasks, "a list of tasks, not empty", |value| match value {
        Value::Array(list) if !list.is_empty() => Ok(list),
        other => Err(other),
    });
    Ok(AddBatch {
        tasks: fields.required("tasks", tasks)?,
        name: fields.text("name", LONGEST_NAME)?,
        batch_id: fields.id("batch_id")?,
        defaults: fields.object("defaults")?.unwrap_or_default(),
        atomic: fields.bool("atomic")?.unwrap_or(false),
        request_key: fields.text("request_key", MAX_REQUEST_KEY_BYTES)?,
        more: fields.bool("more")?.unwrap_or(false),
        resume: fields.bool("resume")?.unwrap_or(false),
    })
}

fn results(fields: &Fields<'_>) -> Result<Results, String> {
    let formats = [
        ("text", ResultsFormat::Text),
        ("json", ResultsFormat::Json),
        ("summary", ResultsFormat::Summary),
        ("csv", ResultsFormat::Csv),
    ];
    let results = Results {
        format: fields.word("format", &formats)?.unwrap_or_default(),
        filter_status: fields.word("filter_status", &statuses())?,
        batch_id: fields.id("batch_id")?,
        task_ids: fields.ids("task_ids")?,
        limit: fields.small("limit", 1, MOST_RESULTS)?,
        cursor: fields.integer("cursor", 0, i64::MAX)?,
        filter: fields.filter()?,
        sort: fields.sort()?.filter(|sort| *sort != Sort::BY_ID),
    };
    if results.sort.is_some() && results.cursor.is_some() {
        return Err("`cursor` does not go with `sort`: what is sorted is one page of `limit` tasks".to_owned());
    }
    Ok(results)
}

fn logs(fields: &Fields<'_>) -> Result<Logs, String> {
    let streams = [("both", LogStream::Both), ("stdout", LogStream::Stdout), ("stderr", LogStream::Stderr)];
    Ok(Logs {
        task_id: fields.required("task_id", fields.id("task_id"))?,
        attempt: fields.small("attempt", 1, u32::MAX)?,
        stream: fields.word("stream", &streams)?.unwrap_or_default(),
        offset: fields.integer("offset", i64::MIN, i64::MAX)?.unwrap_or(0),
        limit: fields.small("limit", 1, MOST_LOG_BYTES)?,
        follow: fields.bool("follow")?.unwrap_or(false),
        search: fields.text("search", LONGEST_SEARCH)?,
        context: fields.small("context", 0, MOST_CONTEXT)?,
    })
}

fn update(fields: &Fields<'_>) -> Result<Update, String> {
    let (one, many) = (fields.id("task_id")?, fields.ids("task_ids")?);
    let update = Update {
        task_ids: match (one, many) {
            (Some(one), None) => vec![one],
            (None, Some(many)) => many,
            _ => return Err("`update` needs either `task_id` or `task_ids`".to_owned()),
        },
        name: fields.text("name", LONGEST_NAME)?,
        params: fields.kept_object("params")?,
        priority: fields.word("priority", PRIORITIES)?,
        max_retries: fields.small("max_retries", 0, MAX_RETRIES_LIMIT)?,
        timeout: fields.nullable("timeout", fields.positive_seconds("timeout"))?,
        retry_delay: fields.seconds("retry_delay")?,
        delay: fields.seconds("delay")?,
    };
    let nothing = update.name.is_none()
        && update.params.is_none()
        && update.priority.is_none()
        && update.max_retries.is_none()
        && update.timeout.is_none()
        && update.retry_delay.is_none()
        && update.delay.is_none();
    if nothing {
        return Err("`update` needs at least one of name, params, priority, max_retries, timeout, retry_delay, delay"
            .to_owned());
    }
    Ok(update)
}

fn cancel(fields: &Fields<'_>) -> Result<Cancel, String> {
    let cancel = Cancel {
        task_id: fields.id("task_id")?,
        task_ids: fields.ids("task_ids")?,
        batch_id: fields.id("batch_id")?,
        filter: fields.filter()?,
        dry_run: fields.bool("dry_run")?.unwrap_or(false),
    };
    let given = [cancel.task_id.is_some(), cancel.task_ids.is_some(), cancel.batch_id.is_some()];
    match given.into_iter().filter(|given| *given).count() {
        1 => Ok(cancel),
        0 if cancel.filter.is_some() => Ok(cancel),
        _ => Err(
            "`cancel` needs exactly one of `task_id`, `task_ids`, `batch_id`, or a `filter`, alone or with one of them"
                .to_owned(),
        ),
    }
}

/// `task_id`, `task_ids`, `batch_id`: one of them, or none.
type OneAtMost = (Option<TaskId>, Option<Vec<TaskId>>, Option<BatchId>);

fn one_at_most(action: &str, fields: &Fields<'_>) -> Result<OneAtMost, String> {
    let chosen = (fields.id("task_id")?, fields.ids("task_ids")?, fields.id("batch_id")?);
    match (&chosen.0, &chosen.1, &chosen.2) {
        (None, None, None) | (Some(_), None, None) | (None, Some(_), None) | (None, None, Some(_)) => Ok(chosen),
        _ => Err(format!("`{action}` takes one of `task_id`, `task_ids`, `batch_id`, or none of them: the executor")),
    }
}

fn retry(fields: &Fields<'_>) -> Result<Retry, String> {
    let retry = Retry {
        task_id: fields.id("task_id")?,
        task_ids: fields.ids("task_ids")?,
        filter_status: fields.word("filter_status", &ENDED[1..])?,
        batch_id: fields.id("batch_id")?,
        timeout: fields.nullable("timeout", fields.positive_seconds("timeout"))?,
        max_retries: fields.small("max_retries", 0, MAX_RETRIES_LIMIT)?,
        filter: fields.filter()?,
        dry_run: fields.bool("dry_run")?.unwrap_or(false),
    };
    let filtered = retry.filter_status.is_some() || retry.batch_id.is_some();
    let given = [retry.task_id.is_some(), retry.task_ids.is_some(), filtered];
    match given.into_iter().filter(|given| *given).count() {
        1 => Ok(retry),
        0 if retry.filter.is_some() => Ok(retry),
        _ => Err("`retry` needs exactly one of `task_id`, `task_ids`, and `filter_status` or `batch_id`, or a `filter`, alone or \
                  with one of them"
            .to_owned()),
    }
}
