//! Waiting for tasks, over restarts of the daemon, with a bar where there is a terminal.

use std::time::{Duration, Instant};

use batch_executor::client::{Answer, Client, ClientError, Connection, Received, Until};
use batch_executor::protocol::{ErrorCode, StatusData};
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::views::bar::{Bar, LOOK_EVERY};

/// How much longer than its own limit the daemon's answer may take.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);

/// What the waiting came to.
#[derive(Debug)]
pub enum Waited {
    /// The daemon's answer, also when it is a refusal.
    Answer(Box<Answer>),
    /// The client's own time ran out.
    TimedOut,
}

/// Waits until the selected tasks have ended.
///
/// # Errors
/// An interruption (`look` says how to look at the tasks), or a daemon that does not come back.
pub fn wait(
    context: &Context,
    client: &mut Client,
    selection: &Map<String, Value>,
    deadline: Option<Instant>,
    interrupt: &Interrupt,
    look: &str,
) -> Result<Waited, Failure> {
    let mut progress = Progress::new(context, selection);
    loop {
        match wait_once(client, selection, deadline, interrupt, &mut progress) {
            Ok(Some(Waited::Answer(answer))) if is_shutting_down(&answer) => {
                context.tell("the daemon is ending; waiting for it to come back");
                let until = Until { deadline, wake: Some(interrupt.wake()) };
                if !client.come_back(true, until)? && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Ok(Waited::TimedOut);
                }
            }
            Ok(Some(waited)) => return Ok(waited),
            Ok(None) => {}
            Err(ClientError::Lost(_)) => {
                let until = Until { deadline, wake: Some(interrupt.wake()) };
                client.come_back(false, until)?;
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(signal) = interrupt.taken() {
            drop(progress);
            return Err(Failure::interrupted(signal, look));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline + ANSWER_MARGIN) {
            return Ok(Waited::TimedOut);
        }
    }
}

/// One `wait` request. None: a signal came, or the answer is long overdue.
fn wait_once(
    client: &mut Client,
    selection: &Map<String, Value>,
    deadline: Option<Instant>,
    interrupt: &Interrupt,
    progress: &mut Progress,
) -> Result<Option<Waited>, ClientError> {
    let mut parameters = selection.clone();
    if let Some(deadline) = deadline {
        let left = deadline.saturating_duration_since(Instant::now()).as_secs_f64();
        parameters.insert("timeout".to_owned(), json!(left.max(0.001)));
    }
    parameters.insert("action".to_owned(), json!("wait"));
    client.send(&Value::Object(parameters))?;
    let overdue = deadline.map(|deadline| deadline + ANSWER_MARGIN);
    loop {
        let tick = progress.bar.is_some().then(|| Instant::now() + LOOK_EVERY);
        let until = Until { deadline: [tick, overdue].into_iter().flatten().min(), wake: Some(interrupt.wake()) };
        match client.receive(until)? {
            Received::Answer(answer) if is_own_timeout(&answer) && deadline.is_some() => {
                return Ok(Some(Waited::TimedOut));
            }
            Received::Answer(answer) => return Ok(Some(Waited::Answer(answer))),
            Received::Woken => return Ok(None),
            Received::TimedOut if overdue.is_some_and(|overdue| Instant::now() >= overdue) => return Ok(None),
            Received::TimedOut => progress.look(client),
        }
    }
}

fn is_own_timeout(answer: &Answer) -> bool {
    reason(answer) == Some("timeout")
}

/// `details.reason` of a refusal.
pub fn reason(answer: &Answer) -> Option<&str> {
    answer.response.error.as_ref()?.details.get("reason")?.as_str()
}

fn is_shutting_down(answer: &Answer) -> bool {
    answer.response.error.as_ref().is_some_and(|refusal| refusal.code == ErrorCode::ShuttingDown)
}

/// The bar and the connection that feeds it; without a terminal neither is there.
struct Progress {
    bar: Option<Bar>,
    connection: Option<Connection>,
    status: Value,
}

impl Progress {
    fn new(context: &Context, selection: &Map<String, Value>) -> Self {
        let mut status = json!({"action": "status"});
        if let Some(batch) = selection.get("batch_id") {
            status["batch_id"] = batch.clone();
        }
        // How many match now is not how many were chosen, and to count them again and again has its price.
        let draws = context.draws_bars() && !selection.contains_key("filter");
        Self { bar: draws.then(Bar::new), connection: None, status }
    }

    /// Asks for the counts; when there is no answer the bar stays as it is.
    fn look(&mut self, client: &Client) {
        if self.connection.is_none() {
            self.connection = Connection::connect(client.home()).ok();
        }
        let Some(connection) = &mut self.connection else { return };
        match connection.call(&self.status) {
            Ok(answer) => {
                let status = answer.response.data.map(serde_json::from_value::<StatusData>);
                if let (Some(bar), Some(Ok(status))) = (&self.bar, status) {
                    bar.show(&status);
                }
            }
            Err(_) => self.connection = None,
        }
    }
}
