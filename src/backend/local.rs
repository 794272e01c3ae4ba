//! The local backend: a connection to the keeper, found or started.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use super::find::{Keeper, start};
use super::launch::launch_of;
use super::verdict::judged;
use super::{BackendError, Found, Gone, Options, Signal, Suspended, remains};
use crate::attempt::Attempt;
use crate::cgroup::Delegated;
use crate::config::Declared;
use crate::function::{self, Work};
use crate::keeper::protocol::{
    EndAnswer, FromKeeper, Inbox, Launch, SuspendedBy, ToKeeper, WITH_AHEAD, WITH_SECRETS, WITH_SUSPEND, WITH_WORKERS,
    encode,
};
use crate::task::{ClaimId, Limits, Order, Prepared};

/// The most attempts in one message.
const WAVE: usize = 64;
/// What one read of the keeper's messages takes at most.
const READ_AT_ONCE: usize = 64 * 1024;
/// The most messages in one write.
const MESSAGES: usize = 64;
/// The most events that are handed on together.
const GATHERED: usize = 1024;

/// An answer of the keeper to a numbered request.
enum Answer {
    Done,
    Claims(Vec<ClaimId>),
    Ending(Vec<(ClaimId, EndAnswer)>),
    Suspended(Suspended),
}

/// Who waits for an answer, by request; none when there will be no more answers.
type Answers = Mutex<Option<BTreeMap<u64, oneshot::Sender<Answer>>>>;
/// A message on its way, and the highest claim in it (0: none).
type Outgoing = (Vec<u8>, ClaimId);

/// A connected keeper; cheap to clone.
#[derive(Clone)]
pub struct Local {
    options: Arc<Options>,
    to_keeper: mpsc::UnboundedSender<Outgoing>,
    answers: Arc<Answers>,
    next_request: Arc<AtomicU64>,
    /// The environments that this keeper was sent.
    sent: Arc<Mutex<BTreeSet<i64>>>,
    pub keeper_pid: u32,
    keeper_protocol: u32,
}

impl Local {
    /// Finds the living keeper, or proves the old one's death and starts another. `handed_over` is raised to each
    /// claim once it is written to the keeper, which reads everything before it starts the next attempt.
    ///
    /// # Errors
    /// When no keeper can be had.
    pub async fn connect(
        options: Arc<Options>,
        handed_over: watch::Sender<ClaimId>,
    ) -> Result<(Self, Found, mpsc::UnboundedReceiver<Signal>), BackendError> {
        let (keeper, adopted) = match Keeper::find(&options).await? {
            Some(keeper) => (keeper, true),
            None => {
                start(&options).await?;
                let keeper =
                    Keeper::greet(&options).await?.ok_or(BackendError::Io(io::ErrorKind::UnexpectedEof.into()))?;
                (keeper, false)
            }
        };
        let Keeper { reading, writing, inbox, welcome } = keeper;
        let found = Found {
            adopted,
            held: welcome.waiting.iter().chain(&welcome.running).chain(&welcome.ended).copied().collect(),
            had_process: remains::lost(&options.home)?,
        };
        let (to_keeper, outgoing) = mpsc::unbounded_channel();
        // Unbounded, or an answer could wait behind events that nobody takes yet; the keeper starts nothing while
        // many of its ends are untaken, which bounds them.
        let (signals, received) = mpsc::unbounded_channel();
        let local = Self {
            options,
            to_keeper,
            answers: Arc::new(Mutex::new(Some(BTreeMap::new()))),
            next_request: Arc::new(AtomicU64::new(1)),
            sent: Arc::default(),
            keeper_pid: welcome.pid,
            keeper_protocol: welcome.protocol,
        };
        if local.can_suspend() {
            let tasks = local.options.cgroups.as_ref().map(|delegated| delegated.tasks.clone());
            local.send(&ToKeeper::Groups { tasks });
        }
        tokio::spawn(write(writing, outgoing, handed_over));
        tokio::spawn(read(local.options.clone(), local.answers.clone(), reading, inbox, signals));
        Ok((local, found, received))
    }

    /// The queue has settled what [`Found`] said.
    pub fn settled(&self) {
        remains::forget(&self.options.home);
    }

    /// Hands attempts over, in order with everything else that is asked.
    pub fn launch(&self, attempts: Vec<Attempt>) {
        let context = function::Context {
            home: &self.options.home,
            declared: Declared {
                functions: &self.options.functions,
                secrets: &self.options.secrets,
                python: &self.options.python,
                nodejs: &self.options.nodejs,
            },
            base_path: self.options.base_environment.get("PATH").map_or("", String::as_str),
        };
        let mut wave = Vec::with_capacity(WAVE.min(attempts.len()));
        for attempt in attempts {
            self.send_environment(&attempt);
            let work = self.runnable(function::prepare(&attempt, &context));
            wave.push(launch_of(&attempt, work, self.options.grace_ms, &self.options.home));
            if wave.len() == WAVE {
                self.send_wave(std::mem::take(&mut wave));
            }
        }
        if !wave.is_empty() {
            self.send_wave(wave);
        }
    }

    /// A keeper of an older version that could not be replaced would show what is to be hidden, limit nothing, and not
    /// understand a worker, nor what is started ahead.
    fn runnable(&self, mut work: Work) -> Work {
        let Work::Process(process) = &mut work else { return work };
        if process.prepared == Some(Prepared::Ahead) && self.keeper_protocol < WITH_AHEAD {
            process.prepared = None;
        }
        if let Some(error) = Delegated::lacks(self.options.cgroups.as_ref(), &process.limits) {
            return Work::Unrunnable { error };
        }
        if process.limits.needs_a_group() {
            match process.prepared {
                // What was there before has no group of its own.
                Some(Prepared::Forks { .. } | Prepared::Ahead) => process.prepared = None,
                Some(Prepared::Worker) => {
                    let error = "a warm function takes one task after the other, so `limits.cpus` and `limits.processes` cannot be one task's";
                    return Work::Unrunnable { error: error.to_owned() };
                }
                None => {}
            }
        }
        let guarded = !process.secrets.is_empty() || process.limits != Limits::default();
        let lacks = if guarded && self.keeper_protocol < WITH_SECRETS {
            "secrets and limits"
        } else if process.prepared == Some(Prepared::Worker) && self.keeper_protocol < WITH_WORKERS {
            "warm functions"
        } else {
            return work;
        };
        let error =
            format!("a keeper of an older version runs the tasks, without {lacks}; it leaves with the last of them");
        Work::Unrunnable { error }
    }

    fn send_wave(&self, wave: Vec<Launch>) {
        let last = wave.iter().map(|launch| launch.claim).max().unwrap_or(0);
        self.send_with(&ToKeeper::Launch { wave }, last);
    }

    fn send_environment(&self, attempt: &Attempt) {
        let id = attempt.environment.id;
        if self.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            let mut variables = self.options.base_environment.clone();
            variables.extend(attempt.environment.variables.iter().map(|(n, v)| (n.clone(), v.clone())));
            self.send(&ToKeeper::Environment { id, variables });
        }
    }

    /// Sets how many attempts may have a slot, and how many of each function. Returns when it holds.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn set_caps(&self, cap: u32, functions: &BTreeMap<String, u32>) -> Result<(), Gone> {
        self.ask(|request| ToKeeper::Caps { request, cap, functions: functions.clone() }).await.map(drop)
    }

    /// Starts nothing more; gives back what had not started.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn hold(&self) -> Result<Vec<ClaimId>, Gone> {
        self.ask(|request| ToKeeper::Hold { request }).await.map(claims)
    }

    /// Starts again.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn resume(&self) -> Result<(), Gone> {
        self.ask(|request| ToKeeper::Resume { request }).await.map(drop)
    }

    /// Gives back those of the claims that have not started.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn take_back(&self, wanted: Vec<ClaimId>) -> Result<Vec<ClaimId>, Gone> {
        self.ask(|request| ToKeeper::TakeBack { request, claims: wanted }).await.map(claims)
    }

    /// Ends attempts; none: all that run. Every event from before an answer is on its way before the answer.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn end(
        &self,
        claims: Option<Vec<ClaimId>>,
        order: Order,
        grace_ms: i64,
    ) -> Result<Vec<(ClaimId, EndAnswer)>, Gone> {
        match self.ask(|request| ToKeeper::End { request, claims, order, grace_ms }).await? {
            Answer::Ending(answers) => Ok(answers),
            Answer::Done | Answer::Claims(_) | Answer::Suspended(_) => Ok(Vec::new()),
        }
    }

    /// Whether this keeper can suspend: one of an older version that could not be replaced cannot.
    pub const fn can_suspend(&self) -> bool {
        self.keeper_protocol >= WITH_SUSPEND
    }

    /// Suspends attempts for a reason, or lets them go on as far as it is the last one; none: all that run.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn suspend(&self, claims: Option<Vec<ClaimId>>, by: SuspendedBy, on: bool) -> Result<Suspended, Gone> {
        if !self.can_suspend() {
            return Ok(Suspended::default());
        }
        match self.ask(|request| ToKeeper::Suspend { request, claims, by, on }).await? {
            Answer::Suspended(suspended) => Ok(suspended),
            Answer::Done | Answer::Claims(_) | Answer::Ending(_) => Ok(Suspended::default()),
        }
    }

    /// From now on the attempt's output is in its file at once, and its growth is told.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub async fn follow(&self, claim: ClaimId) -> Result<(), Gone> {
        self.ask(|request| ToKeeper::Follow { request, claim }).await.map(drop)
    }

    /// The reverse of [`Self::follow`]; the file stays.
    pub fn unfollow(&self, claim: ClaimId) {
        self.send(&ToKeeper::Unfollow { claim });
    }

    /// Every event up to this one is on the disk.
    pub fn taken(&self, upto: u64) {
        self.send(&ToKeeper::Taken { upto });
    }

    /// Waits for no answer any more: whoever does hears that the keeper is gone.
    pub fn abandon(&self) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn send(&self, message: &ToKeeper) {
        self.send_with(message, 0);
    }

    fn send_with(&self, message: &ToKeeper, claim: ClaimId) {
        match encode(message) {
            // A keeper that is gone is told of by `Signal::Lost`.
            Ok(bytes) => drop(self.to_keeper.send((bytes, claim))),
            Err(error) => tracing::error!(err = %error, "a message to the keeper cannot be encoded"),
        }
    }

    async fn ask(&self, message: impl FnOnce(u64) -> ToKeeper) -> Result<Answer, Gone> {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).as_mut().ok_or(Gone)?.insert(request, reply);
        self.send(&message(request));
        answer.await.map_err(|_| Gone)
    }
}

fn claims(answer: Answer) -> Vec<ClaimId> {
    match answer {
        Answer::Claims(claims) => claims,
        Answer::Done | Answer::Ending(_) | Answer::Suspended(_) => Vec::new(),
    }
}

async fn write(
    mut writing: OwnedWriteHalf,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    handed_over: watch::Sender<ClaimId>,
) {
    let mut messages = Vec::new();
    while outgoing.recv_many(&mut messages, MESSAGES).await > 0 {
        let last = messages.iter().map(|(_, claim)| *claim).max().unwrap_or(0);
        let bytes = messages.drain(..).map(|(bytes, _)| bytes).reduce(|mut all, more| {
            all.extend(more);
            all
        });
        if writing.write_all(&bytes.unwrap_or_default()).await.is_err() {
            break;
        }
        handed_over.send_if_modified(|claim| {
            let more = last > *claim;
            *claim = last.max(*claim);
            more
        });
    }
}

/// Reads until the keeper is gone; everything in its order.
async fn read(
    options: Arc<Options>,
    answers: Arc<Answers>,
    mut reading: OwnedReadHalf,
    mut inbox: Inbox,
    signals: mpsc::UnboundedSender<Signal>,
) {
    let mut events = Vec::new();
    let mut upto = 0;
    loop {
        let answer = match inbox.take::<FromKeeper>() {
            Ok(Some(FromKeeper::Event { seq, event })) => {
                upto = seq;
                events.push(judged(&options, event));
                if events.len() < GATHERED {
                    continue;
                }
                None
            }
            Ok(Some(FromKeeper::Done { request })) => Some((request, Answer::Done)),
            Ok(Some(FromKeeper::Yielded { request, claims })) => Some((request, Answer::Claims(claims))),
            Ok(Some(FromKeeper::Suspended { request, held, ending })) => {
                Some((request, Answer::Suspended(Suspended { held, ending })))
            }
            Ok(Some(FromKeeper::Ending { request, answers })) => Some((request, Answer::Ending(answers))),
            Ok(Some(FromKeeper::Grew { claim })) => {
                // Nobody may be listening any more.
                drop(signals.send(Signal::Grew { claim }));
                continue;
            }
            Ok(Some(FromKeeper::Welcome(_) | FromKeeper::Refused { .. })) => continue,
            Ok(None) => None,
            Err(error) => {
                tracing::error!(err = %error, "the keeper sent what is no message");
                break;
            }
        };
        if !events.is_empty() {
            let gathered = Signal::Events { upto, events: std::mem::take(&mut events) };
            if signals.send(gathered).is_err() {
                break;
            }
        }
        match answer {
            Some((request, answer)) => {
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(waiting) = answers.as_mut().and_then(|answers| answers.remove(&request)) {
                    // Who asked may have gone.
                    drop(waiting.send(answer));
                }
            }
            None => {
                let space = inbox.space();
                space.reserve(READ_AT_ONCE);
                match reading.read_buf(space).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        }
    }
    *answers.lock().unwrap_or_else(PoisonError::into_inner) = None;
    drop(signals.send(Signal::Lost));
}
