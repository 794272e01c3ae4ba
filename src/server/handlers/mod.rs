//! The actions, a file for each kind. A handler turns a request into operations of queue and executor
//! and their outcome into data and a short text that says what to do next.

mod add;
mod change;
mod control;
mod export;
mod hooks;
mod logs;
mod metrics;
mod passing;
mod pause;
mod results;
mod status;
mod wait;
mod watch;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

pub use metrics::text as metrics_text;

use super::Shared;
use crate::executor::ExecutorError;
use crate::function;
use crate::protocol::{Action, ErrorCode, Functions, Health, PROTOCOL, Refusal};
use crate::queue::error::QueueError;
use crate::version::VERSION;

/// What surrounds a request.
#[derive(Debug)]
pub struct Incoming {
    /// The peer's pid, where the kernel tells it.
    pub pid: Option<i32>,
    pub cwd: Option<String>,
    pub environment: BTreeMap<String, String>,
}

impl Incoming {
    /// The client's working directory: what it said, else the peer process's own.
    fn cwd(&self) -> Result<String, Refusal> {
        if let Some(cwd) = &self.cwd {
            return Ok(cwd.clone());
        }
        self.pid
            .and_then(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).ok())
            .and_then(|path| path.into_os_string().into_string().ok())
            .ok_or_else(|| {
                Refusal::invalid("`cwd` is missing, and the client's own cannot be seen: send an absolute path")
            })
    }
}

/// A request that was carried out.
#[derive(Debug)]
pub struct Reply {
    pub message: String,
    pub data: Value,
    pub warnings: Vec<String>,
}

impl Reply {
    fn new<D: Serialize>(message: impl Into<String>, data: &D) -> Result<Self, Refusal> {
        let data = serde_json::to_value(data)
            .map_err(|error| Refusal::new(ErrorCode::Internal, format!("the answer cannot be written: {error}")))?;
        Ok(Self { message: message.into(), data, warnings: Vec::new() })
    }

    fn warn(mut self, warnings: Vec<String>) -> Self {
        self.warnings.extend(warnings);
        self
    }
}

/// `details.reason` of what was refused because the queue is damaged; the daemon ends.
const DAMAGED: &str = "damaged";

impl From<QueueError> for Refusal {
    fn from(error: QueueError) -> Self {
        let code = match error {
            QueueError::Unavailable(_)
            | QueueError::NoRoom(_)
            | QueueError::Damaged(_)
            | QueueError::Gone(_)
            | QueueError::Value(_) => ErrorCode::Storage,
            QueueError::Closed => ErrorCode::ShuttingDown,
            QueueError::Statement(_) => ErrorCode::Internal,
        };
        let refusal = Self::new(code, error.to_string());
        match error {
            QueueError::Damaged(found) => refusal.with(json!({"reason": DAMAGED, "found": found})),
            _ => refusal,
        }
    }
}

impl From<ExecutorError> for Refusal {
    fn from(error: ExecutorError) -> Self {
        match error {
            ExecutorError::Queue(error) => error.into(),
            ExecutorError::OldKeeper => Self::conflict(error.to_string()),
            ExecutorError::ShuttingDown => Self::new(ErrorCode::ShuttingDown, "the daemon is ending; try again"),
        }
    }
}

/// Carries one request out.
///
/// # Errors
/// A refusal; nothing was changed then, or the message says so.
pub async fn handle(service: Shared, incoming: Incoming, action: Action) -> Result<Reply, Refusal> {
    act(&service, incoming, action).await.inspect_err(|refusal| {
        // The writer tells of what it meets by itself.
        if refusal.details["reason"] == DAMAGED {
            service.queue.met_damage(refusal.details["found"].as_str().unwrap_or_default());
        }
    })
}

async fn act(service: &Shared, incoming: Incoming, action: Action) -> Result<Reply, Refusal> {
    match action {
        Action::Add(request) => add::add(service, &incoming, *request).await,
        Action::AddBatch(request) => add::add_batch(service, &incoming, *request).await,
        Action::Start(request) => control::start(service, &request).await,
        Action::Stop(request) => control::stop(service, &request).await,
        Action::Pause(request) => pause::pause(service, request).await,
        Action::Resume(request) => pause::resume(service, request).await,
        Action::Status(request) => status::status(service, &request).await,
        Action::Results(request) => results::results(service, request).await,
        Action::Show(request) => results::show(service, &request).await,
        Action::Logs(request) => logs::logs(service, &request).await,
        Action::Update(request) => change::update(service, *request).await,
        Action::Export(request) => export::export(service, &incoming, request).await,
        Action::Backup(request) => export::backup(service, &incoming, request).await,
        Action::Clear(request) => change::clear(service, request).await,
        Action::Cancel(request) => change::cancel(service, request).await,
        Action::Retry(request) => change::retry(service, request).await,
        Action::Wait(request) => wait::wait(service, request).await,
        Action::Functions(_) => functions(service),
        Action::Watch(request) => watch::watch(service, &request).await,
        Action::Shutdown(request) => control::shutdown(service, &request),
        Action::Restart(_) => control::restart(service).await,
        Action::Health(_) => health(service).await,
        Action::Metrics(_) => metrics::metrics(service).await,
        Action::Hooks(request) => hooks::hooks(service, &request).await,
    }
}

fn functions(service: &Shared) -> Result<Reply, Refusal> {
    let functions = function::known(&service.settings.functions);
    let names: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
    let message = format!("{} functions: {}. Add a task with `add`.", names.len(), names.join(", "));
    Reply::new(message, &Functions { functions })
}

async fn health(service: &Shared) -> Result<Reply, Refusal> {
    let found = service.queue.health().await?;
    let limit = |resource| nix::sys::resource::getrlimit(resource).map_or(0, |(soft, _)| soft);
    let health = Health {
        version: VERSION.to_owned(),
        protocol: PROTOCOL,
        pid: std::process::id(),
        keeper_pid: service.executor.keeper_pid(),
        sqlite: found.sqlite,
        schema: found.schema,
        database: found.check,
        database_bytes: database_bytes(service),
        tally_difference: found.tally_difference,
        open_files_limit: limit(nix::sys::resource::Resource::RLIMIT_NOFILE),
        processes_limit: limit(nix::sys::resource::Resource::RLIMIT_NPROC),
        storage_error: service.executor.storage_error(),
        lowered_to: service.queue.snapshot().run.lowered_to,
        cgroups: match &service.cgroups {
            Ok(found) => {
                let limits = found.controllers.iter().map(|name| format!(", {name}")).collect::<String>();
                format!("each task has its own: ended and suspended as one{limits}")
            }
            Err(why) => format!("none: {why}"),
        },
    };
    let message = if health.database == "ok" && health.tally_difference.is_none() && health.storage_error.is_none() {
        "the queue is healthy".to_owned()
    } else {
        "the queue is not healthy; see data".to_owned()
    };
    Reply::new(message, &health)
}

/// The size of the queue's file and its log.
fn database_bytes(service: &Shared) -> i64 {
    let database = service.home.database();
    let bytes = ["", "-wal"].iter().map(|end| {
        let mut path = database.clone().into_os_string();
        path.push(end);
        std::fs::metadata(path).map_or(0, |file| file.len())
    });
    i64::try_from(bytes.sum::<u64>()).unwrap_or(i64::MAX)
}

/// What is read of many tasks, given up when the daemon ends.
async fn unless_ending<T, E: Into<Refusal>>(
    service: &Shared,
    reading: impl Future<Output = Result<T, E>>,
) -> Result<T, Refusal> {
    tokio::select! {
        read = reading => read.map_err(Into::into),
        () = service.ends() => Err(ExecutorError::ShuttingDown.into()),
    }
}

/// "1 task", "2 tasks".
fn tasks(count: impl TryInto<i64>) -> String {
    match count.try_into().unwrap_or(i64::MAX) {
        1 => "1 task".to_owned(),
        count => format!("{count} tasks"),
    }
}

/// What is said of chosen tasks that are not in the queue.
fn missing(chosen: usize, found: i64) -> Option<String> {
    let missing = i64::try_from(chosen).unwrap_or(i64::MAX) - found;
    (missing > 0).then(|| {
        format!("{} of the {chosen} that were chosen: not in the queue, cleared or never added", tasks(missing))
    })
}

/// Ids by size, each once.
fn unique(mut ids: Vec<i64>) -> Vec<i64> {
    ids.sort_unstable();
    ids.dedup();
    ids
}
