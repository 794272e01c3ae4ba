//! The thread that hears of changes: it sleeps in `watch`, and asks how things stand after something changed.
//!
//! Two connections: on one it waits, on the other it asks. When the daemon goes it waits for the next one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use batch_executor::client::{Answer, Client, ClientError, Connection, Received, Until};
use batch_executor::home::Home;
use batch_executor::protocol::{ErrorCode, Event, Happened, ResultsData, StatusData, Task, WatchData};
use batch_executor::task::BatchId;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::{Value, json};

use super::app::Message;
use super::machine::Machine;
use super::model::News;
use crate::context::data;
use crate::failure::Failure;

/// Between two looks at how things stand, while they change.
const PACE: Duration = Duration::from_millis(250);
/// Between two looks in detail: what is next, batches.
const DETAIL: Duration = Duration::from_secs(1);
/// Events that are taken at once.
const EVENTS: u32 = 10_000;
/// The largest cap that there is: so many may run.
const MOST_RUNNING: u32 = 10_000;

/// Why it does not go on.
enum Stop {
    /// The daemon said that it ends.
    Ending,
    Lost,
    /// It refused, or answered what is not understood.
    Failed(Failure),
    /// The view has ended.
    Unheard,
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Lost(_) | ClientError::Unreachable { .. } => Self::Lost,
            other => Self::Failed(other.into()),
        }
    }
}

/// The thread's own.
pub struct Source {
    client: Client,
    home: Home,
    to: SyncSender<Message>,
    /// The batch that is shown alone, whenever it changes; `wake` is readable then.
    batches: Receiver<Option<BatchId>>,
    wake: OwnedFd,
    batch: Option<BatchId>,
    asked: Instant,
    /// When the latest status in detail was asked for; none: something changed since one that was not.
    detailed: Option<Instant>,
    /// Something did run then.
    runs: bool,
    /// The number of the next event, once some were heard.
    next: Option<i64>,
}

impl Source {
    /// Of this client's daemon. What `batches` tells is looked at once `wake` is readable.
    pub fn new(
        client: Client,
        to: SyncSender<Message>,
        batch: Option<BatchId>,
        batches: Receiver<Option<BatchId>>,
        wake: OwnedFd,
    ) -> Self {
        let home = client.home().clone();
        Self { client, home, to, batches, wake, batch, asked: Instant::now(), detailed: None, runs: false, next: None }
    }

    /// Tells until nobody hears.
    pub fn run(mut self) {
        loop {
            let said = match self.follow() {
                Stop::Unheard => return,
                Stop::Failed(failure) => {
                    let _ = self.to.send(Message::Failed(failure));
                    return;
                }
                Stop::Ending => "the daemon is ending",
                Stop::Lost => "the daemon is gone",
            };
            if self.tell(News::Away(format!("{said}; any command starts the next one"))).is_err() {
                return;
            }
            // As if it had been stopped in any case: who only looks does not start again what somebody may have stopped.
            if let Err(error) = self.client.come_back(true, Until::default()) {
                let said = format!("no daemon runs; any command starts one ({error})");
                if self.tell(News::Away(said)).is_err() {
                    return;
                }
                if let Err(error) = until_it_serves(&self.home) {
                    let home = self.home.root().display().to_string();
                    let _ = self.to.send(Message::Failed(Failure::file("watch", &home, &error)));
                    return;
                }
            }
        }
    }

    /// Follows one daemon.
    fn follow(&mut self) -> Stop {
        match self.follow_until_it_stops() {
            Ok(never) => match never {},
            // Another queue is there now, whose events have not come that far.
            Err(Stop::Failed(Failure::Refused(answer)))
                if self.next.is_some() && is(&answer, ErrorCode::InvalidRequest) =>
            {
                self.next = None;
                self.follow()
            }
            Err(stop) => stop,
        }
    }

    fn follow_until_it_stops(&mut self) -> Result<std::convert::Infallible, Stop> {
        let mut asker = Connection::connect(&self.home)?;
        let mut next = match self.next {
            // What happened while no daemon was heard is told, too.
            Some(next) => next,
            None => understood::<WatchData>(&self.client.call(&json!({"action": "watch", "limit": 1}))?)?.next,
        };
        self.next = Some(next);
        let all = running(&mut asker)?;
        self.look(&mut asker, Vec::new(), Some(all))?;
        loop {
            self.client.send(&json!({"action": "watch", "from": next, "limit": EVENTS, "follow": true}))?;
            let answer = self.answer(&mut asker)?;
            let told: WatchData = understood(&answer)?;
            next = told.next;
            let changed = !told.events.is_empty();
            let is_old = told.gap.is_some() || told.events.iter().any(|event| unsettles(&event.what));
            // While something runs without a change, too, twice a minute: what hangs makes the rate of the last minute fall.
            if is_old || changed || self.runs {
                std::thread::sleep(PACE.saturating_sub(self.asked.elapsed()));
                let all = if is_old { Some(running(&mut asker)?) } else { None };
                self.look(&mut asker, told.events, all)?;
            }
            // What could not be told is asked for again.
            self.next = Some(next);
        }
    }

    /// The answer to `watch`. Meanwhile another batch may be asked for, and a detailed look may become due.
    fn answer(&mut self, asker: &mut Connection) -> Result<Answer, Stop> {
        loop {
            let deadline = if self.detailed.is_none() { Some(self.asked + DETAIL) } else { None };
            match self.client.receive(Until { deadline, wakes: &[self.wake.as_fd()] })? {
                Received::Answer(answer) => return Ok(*answer),
                Received::Woken => {
                    let mut told = [0; 64];
                    match nix::unistd::read(&self.wake, &mut told) {
                        Ok(0) => return Err(Stop::Unheard),
                        Ok(_) | Err(Errno::EINTR | Errno::EAGAIN) => {}
                        Err(error) => return Err(Stop::Failed(io::Error::from(error).into())),
                    }
                    self.batch = self.batches.try_iter().last().unwrap_or(self.batch);
                    self.detailed = None;
                    self.look(asker, Vec::new(), None)?;
                }
                Received::TimedOut => self.look(asker, Vec::new(), None)?,
            }
        }
    }

    /// Asks how things stand, and tells it together with what has happened, so that both are drawn at once.
    fn look(&mut self, asker: &mut Connection, events: Vec<Event>, running: Option<Vec<Task>>) -> Result<(), Stop> {
        let is_due = self.detailed.is_none_or(|at| at.elapsed() >= DETAIL);
        let mut request = json!({"action": "status", "detailed": is_due});
        if let Some(batch) = self.batch {
            request["batch_id"] = json!(batch);
        }
        self.asked = Instant::now();
        self.detailed = is_due.then_some(self.asked);
        let status: StatusData = match ask(asker, &request) {
            // A batch that was cleared: all is shown, as before.
            Err(Stop::Failed(Failure::Refused(answer))) if self.batch.is_some() && is(&answer, ErrorCode::NotFound) => {
                self.batch = None;
                self.detailed = None;
                self.to.send(Message::NoBatch(answer.response.message)).map_err(|_| Stop::Unheard)?;
                return self.look(asker, events, running);
            }
            other => other?,
        };
        self.runs = status.counts.running > 0;
        let (status, machine) = (Box::new(status), Machine::look(self.home.root()));
        self.tell(News::Stands { events, running, status, machine })
    }

    fn tell(&self, news: News) -> Result<(), Stop> {
        self.to.send(Message::News(news)).map_err(|_| Stop::Unheard)
    }
}

/// Whether what runs, or why it does not go on, is to be asked for anew.
const fn unsettles(what: &Happened) -> bool {
    matches!(
        what,
        Happened::Paused { .. }
            | Happened::Resumed { .. }
            | Happened::Gate { .. }
            | Happened::Executor { .. }
            | Happened::DaemonStarted { .. }
    )
}

fn is(answer: &Answer, code: ErrorCode) -> bool {
    answer.response.error.as_ref().is_some_and(|refusal| refusal.code == code)
}

fn running(asker: &mut Connection) -> Result<Vec<Task>, Stop> {
    let request = json!({"action": "results", "filter_status": "running", "limit": MOST_RUNNING});
    Ok(ask::<ResultsData>(asker, &request)?.tasks)
}

fn ask<T: serde::de::DeserializeOwned>(asker: &mut Connection, request: &Value) -> Result<T, Stop> {
    understood(&asker.call(request)?)
}

fn understood<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Stop> {
    match &answer.response.error {
        Some(refusal) if refusal.code == ErrorCode::ShuttingDown => Err(Stop::Ending),
        Some(_) => {
            let answer = Answer { line: answer.line.clone(), response: answer.response.clone() };
            Err(Stop::Failed(Failure::Refused(Box::new(answer))))
        }
        None => data(answer).map_err(Stop::Failed),
    }
}

/// Returns once a daemon listens; the kernel tells when its socket is made.
fn until_it_serves(home: &Home) -> io::Result<()> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    inotify
        .add_watch(home.root(), AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR)?;
    loop {
        match Connection::connect(home) {
            Ok(_) => return Ok(()),
            Err(ClientError::Unreachable { .. }) => {}
            Err(error) => return Err(io::Error::other(error.to_string())),
        }
        match inotify.read_events() {
            // It listens right after its socket is there.
            Ok(_) => std::thread::sleep(Duration::from_millis(20)),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
