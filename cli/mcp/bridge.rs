//! From a tool call to the daemon's answer. All state is the daemon's: a call that is dropped or whose connection breaks leaves
//! nothing here.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use batch_executor::client::{Client, ClientError, Received, Until};
use batch_executor::protocol::{AUTO_KEY, ErrorCode, Response};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::tools::{ANY, BUDGET};
use super::{reply, tools};
use crate::args::EnvironmentArgs;
use crate::context::{Context, working_directory};
use crate::exit;
use crate::failure::Failure;

/// How long a `wait` may take, in seconds: when nothing is said, and at most.
const WAIT: f64 = 45.0;
const LONGEST_WAIT: f64 = 300.0;
/// Between two reports of progress.
const REPORT_EVERY: f64 = 5.0;
/// The reply's least length in bytes.
const SHORTEST_REPLY: usize = 2048;
/// How many of the tasks that still run are named.
const NAMED: u64 = 5;
/// How many tasks `results` gives when nothing is said: they are to be read.
const PAGE: u64 = 50;

/// What is asked of the daemon.
pub struct Call {
    request: Map<String, Value>,
    action: String,
}

/// How far what is waited for is, in tasks.
pub struct Progress {
    pub ended: f64,
    pub total: f64,
}

impl Call {
    /// The call of a tool, and how many bytes its reply may have.
    ///
    /// # Errors
    /// One sentence for the agent.
    pub fn of(tool: &str, mut arguments: Map<String, Value>) -> Result<(Self, usize), String> {
        let mut request = if tool == ANY {
            match arguments.remove("tool_args") {
                None => arguments,
                Some(Value::Object(inner)) => inner,
                Some(other) => return Err(format!("`tool_args` is {other}, but must be an object with the `action`")),
            }
        } else {
            arguments.insert("action".to_owned(), tool.into());
            arguments
        };
        let action = request.get("action").and_then(Value::as_str).unwrap_or_default().to_owned();
        tools::only_known(&action, &request)?;
        let most = match request.remove(BUDGET) {
            None | Some(Value::Null) => reply::USUAL,
            Some(value) => value
                .as_u64()
                .and_then(|most| usize::try_from(most).ok())
                .filter(|most| *most >= SHORTEST_REPLY)
                .ok_or_else(|| format!("`{BUDGET}` is {value}, but must be a whole number from {SHORTEST_REPLY}"))?,
        };
        match action.as_str() {
            "results" if is_absent(&request, "limit") => drop(request.insert("limit".to_owned(), PAGE.into())),
            // As JSON text may be longer than what was written.
            "logs" if is_absent(&request, "limit") => drop(request.insert("limit".to_owned(), (most / 2).into())),
            _ => {}
        }
        Ok((Self { request, action }, most))
    }

    /// A call of the bridge's own.
    fn new(action: &str, mut request: Map<String, Value>) -> Self {
        request.insert("action".to_owned(), action.into());
        Self { request, action: action.to_owned() }
    }

    /// Of what it was given, the parameters of these names.
    fn selection(&self, names: &[&str]) -> Map<String, Value> {
        let given = names.iter().filter_map(|name| Some(((*name).to_owned(), self.request.get(*name)?.clone())));
        given.collect()
    }

    /// Adds where it comes from, and what makes it safe to send again.
    fn complete(&mut self, context: &Context) -> Result<(), Failure> {
        if is_absent(&self.request, "cwd") {
            self.request.insert("cwd".to_owned(), working_directory()?.into());
        }
        if matches!(self.action.as_str(), "add" | "add_batch") {
            if is_absent(&self.request, "environment") {
                let environment = context.environment(&EnvironmentArgs::default())?;
                self.request.insert("environment".to_owned(), json!(environment));
            }
            if is_absent(&self.request, "request_key") {
                self.request.insert("request_key".to_owned(), crate::request_key::random(AUTO_KEY).into());
            }
        }
        Ok(())
    }

    /// Whether what does not fit into the reply has a cursor.
    pub fn has_pages(&self) -> bool {
        is_absent(&self.request, "sort")
    }

    /// Whether it may be sent again when it is not known whether it was carried out.
    fn may_repeat(&self) -> bool {
        !matches!(self.action.as_str(), "clear" | "export" | "backup" | "retry" | "shutdown" | "restart")
    }
}

fn is_absent(request: &Map<String, Value>, name: &str) -> bool {
    request.get(name).is_none_or(Value::is_null)
}

/// Asks; dropped, it leaves the daemon alone.
///
/// # Errors
/// When no daemon answers.
pub async fn ask(
    context: Arc<Context>,
    mut call: Call,
    news: Option<UnboundedSender<Progress>>,
) -> Result<Response, Failure> {
    let internal = |error: &dyn std::fmt::Display| Failure::new(exit::INTERNAL, format!("cannot ask: {error}"));
    // Its other end is closed with this future.
    let (dropped, _alive) = pipe2(OFlag::O_CLOEXEC).map_err(|error| internal(&error))?;
    let asking = tokio::task::spawn_blocking(move || {
        call.complete(&context)?;
        let mut asking = Asking { client: context.client()?, dropped };
        if call.action == "wait" { asking.wait(call, news) } else { asking.ask(&call) }
    });
    asking.await.map_err(|error| internal(&error))?
}

struct Asking {
    client: Client,
    /// Becomes readable when nobody waits for the answer any more.
    dropped: OwnedFd,
}

impl Asking {
    fn ask(&mut self, call: &Call) -> Result<Response, Failure> {
        loop {
            let wakes = [self.dropped.as_fd()];
            let until = Until { deadline: None, wakes: &wakes };
            let received = self.client.send(&call.request).and_then(|()| self.client.receive(until));
            let stopped = match received {
                Ok(Received::Answer(answer)) => match &answer.response.error {
                    Some(error) if error.code == ErrorCode::ShuttingDown && call.may_repeat() => true,
                    _ => return Ok(answer.response),
                },
                Ok(Received::TimedOut | Received::Woken) => return Err(given_up()),
                Err(ClientError::Lost(_)) if call.may_repeat() => false,
                Err(ClientError::Lost(error)) => {
                    let message = format!(
                        "the daemon went away before it answered ({error}): `{}` may have been carried out or not; look before you call it again",
                        call.action
                    );
                    return Err(Failure::new(exit::UNREACHABLE, message));
                }
                Err(other) => return Err(other.into()),
            };
            if !self.client.come_back(stopped, until)? {
                return Err(given_up());
            }
        }
    }

    /// In pieces where progress is to be reported.
    fn wait(&mut self, mut call: Call, news: Option<UnboundedSender<Progress>>) -> Result<Response, Failure> {
        let seconds = match call.request.get("timeout") {
            None | Some(Value::Null) => WAIT,
            Some(value) => match value.as_f64().filter(|seconds| *seconds >= 0.0) {
                Some(seconds) => seconds.min(LONGEST_WAIT),
                // The daemon says what is wrong with it.
                None => return self.ask(&call),
            },
        };
        let deadline = Instant::now() + Duration::from_secs_f64(seconds);
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).as_secs_f64();
            // What matches is chosen when it is asked: asked in pieces, it would not be the same tasks.
            let piece =
                if news.is_some() && is_absent(&call.request, "filter") { left.min(REPORT_EVERY) } else { left };
            call.request.insert("timeout".to_owned(), json!(piece));
            let response = self.ask(&call)?;
            let counts = response
                .error
                .as_ref()
                .filter(|error| error.details["reason"] == "timeout")
                .map(|error| &error.details["counts"]);
            let Some(counts) = counts else { return Ok(response) };
            if left <= piece {
                return self.still_open(&call, &response);
            }
            if let Some(news) = &news {
                let count = |name: &str| counts[name].as_f64().unwrap_or(0.0);
                let ended = count("completed") + count("failed") + count("cancelled");
                // Nobody listens any more: then it is woken, too.
                drop(news.send(Progress { ended, total: count("total") }));
            }
        }
    }

    /// What is said when the time for a wait is over: no error, for the tasks go on, but how they stand.
    fn still_open(&mut self, wait: &Call, timed_out: &Response) -> Result<Response, Failure> {
        let mut response = self.ask(&Call::new("status", wait.selection(&["batch_id"])))?;
        if let (Some(Value::Object(data)), Some(error)) = (&mut response.data, &timed_out.error) {
            let counts = error.details["counts"].clone();
            let count = |name: &str| counts[name].as_f64().unwrap_or(0.0);
            let (total, queued, running) = (count("total"), count("queued"), count("running"));
            response.message = format!(
                "Not over yet: {queued} queued, {running} running, {} of {total} tasks have ended; they go on. Call `wait` again, or do something \
                 else and come back: the ids stay valid.",
                total - queued - running
            );
            if let Some(running) = self.running(wait)? {
                response.message.push_str("\nStill running: ");
                response.message.push_str(&running);
            }
            data.insert("progress".to_owned(), json!((total - queued - running) * 100.0 / total));
            data.insert("counts".to_owned(), counts);
            data.insert("timed_out".to_owned(), true.into());
            data.remove("batches");
        }
        response.action = Some("wait".to_owned());
        Ok(response)
    }

    /// The first of the tasks that are waited for and run, each with its time.
    fn running(&mut self, wait: &Call) -> Result<Option<String>, Failure> {
        let mut request = wait.selection(&["batch_id", "task_ids", "filter"]);
        request.insert("filter_status".to_owned(), "running".into());
        request.insert("limit".to_owned(), NAMED.into());
        let response = self.ask(&Call::new("results", request))?;
        let lines: Vec<String> = response
            .message
            .lines()
            .skip(1)
            .filter(|line| !line.starts_with("More with"))
            .map(|line| line.replacen(" running ", " ", 1))
            .collect();
        Ok((!lines.is_empty()).then(|| lines.join("; ")))
    }
}

fn given_up() -> Failure {
    Failure::new(exit::INTERRUPTED, "the call was cancelled; the tasks go on")
}
