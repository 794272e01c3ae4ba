//! Waiting for tasks, over restarts of the daemon, with a bar where there is a terminal.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use batch_executor::client::{Answer, Client, ClientError, Connection, Received, Until};
use batch_executor::protocol::{ErrorCode, StatusData};
use nix::sys::signal::Signal;
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
                let until = Until { deadline, wakes: &[interrupt.wake()] };
                if !client.come_back(true, until)? && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Ok(Waited::TimedOut);
                }
            }
            Ok(Some(waited)) => return Ok(waited),
            Ok(None) => {}
            Err(ClientError::Lost(_)) => {
                let until = Until { deadline, wakes: &[interrupt.wake()] };
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
        let wakes: Vec<BorrowedFd<'_>> = [Some(interrupt.wake()), progress.news()].into_iter().flatten().collect();
        let until = Until { deadline: [progress.due(), overdue].into_iter().flatten().min(), wakes: &wakes };
        match client.receive(until)? {
            Received::Answer(answer) if is_own_timeout(&answer) && deadline.is_some() => {
                return Ok(Some(Waited::TimedOut));
            }
            Received::Answer(answer) => return Ok(Some(Waited::Answer(answer))),
            Received::Woken if progress.heard() => {}
            Received::Woken => return Ok(None),
            Received::TimedOut if overdue.is_some_and(|overdue| Instant::now() >= overdue) => return Ok(None),
            Received::TimedOut => progress.look(client),
        }
    }
}

/// One request that may take long, and may be sent again. None: the daemon went away and is back, so that it has to be.
///
/// # Errors
/// An interruption (`look` is how to go on), or a daemon that does not come back.
pub fn ask_patiently(
    client: &mut Client,
    request: &Value,
    interrupt: Option<&Interrupt>,
    look: &str,
) -> Result<Option<Answer>, Failure> {
    let interrupted = || {
        let signal = interrupt.and_then(Interrupt::taken).unwrap_or(Signal::SIGINT);
        Failure::interrupted(signal, look)
    };
    let wakes: Vec<BorrowedFd<'_>> = interrupt.map(Interrupt::wake).into_iter().collect();
    let until = Until { deadline: None, wakes: &wakes };
    let received = client.send(request).and_then(|()| client.receive(until));
    let stopped = match received {
        Ok(Received::Answer(answer)) if is_shutting_down(&answer) => true,
        Ok(Received::Answer(answer)) => return Ok(Some(*answer)),
        Ok(Received::TimedOut) => return Ok(None),
        Ok(Received::Woken) => return Err(interrupted()),
        Err(ClientError::Lost(_)) => false,
        Err(error) => return Err(error.into()),
    };
    if client.come_back(stopped, until)? { Ok(None) } else { Err(interrupted()) }
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
    /// When to look again; none: when something happens.
    due: Option<Instant>,
    looked: Instant,
}

impl Progress {
    fn new(context: &Context, selection: &Map<String, Value>) -> Self {
        let mut status = json!({"action": "status"});
        if let Some(batch) = selection.get("batch_id") {
            status["batch_id"] = batch.clone();
        }
        // How many match now is not how many were chosen, and to count them again and again has its price.
        let draws = context.draws_bars() && !selection.contains_key("filter");
        let bar = draws.then(Bar::new);
        let now = Instant::now();
        Self { due: bar.is_some().then(|| now + LOOK_EVERY), bar, connection: None, status, looked: now }
    }

    /// When to look again at the latest.
    const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Readable when something has happened since the last look.
    fn news(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().filter(|_| self.due.is_none()).map(Connection::readable)
    }

    /// Whether something has happened.
    fn heard(&mut self) -> bool {
        let Some(connection) = self.connection.as_mut().filter(|_| self.due.is_none()) else { return false };
        match connection.receive_until(Until { deadline: Some(Instant::now()), wakes: &[] }) {
            Ok(Received::Answer(_)) => {}
            Ok(_) => return false,
            Err(_) => self.connection = None,
        }
        self.due = Some(self.looked + LOOK_EVERY);
        true
    }

    /// Asks for the counts, and to be told of what happens from here on; when there is no answer the bar stays as it is.
    fn look(&mut self, client: &Client) {
        self.looked = Instant::now();
        self.due = Some(self.looked + LOOK_EVERY);
        if self.connection.is_none() {
            self.connection = Connection::connect(client.home()).ok();
        }
        let Some(connection) = &mut self.connection else { return };
        let Some(status) = counted(connection, &self.status) else {
            self.connection = None;
            return;
        };
        self.due = None;
        if let Some(bar) = &self.bar {
            bar.show(&status);
        }
    }
}

/// The counts; the next thing that happens after them is answered later.
fn counted(connection: &mut Connection, status: &Value) -> Option<StatusData> {
    let next = connection.call(&json!({"action": "watch"})).ok()?.response.data?["next"].take();
    let status = connection.call(status).ok()?.response.data?;
    connection.send(&json!({"action": "watch", "from": next, "limit": 1, "follow": true})).ok()?;
    serde_json::from_value(status).ok()
}
