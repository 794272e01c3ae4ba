//! Run state and scheduling: decides what runs next, never how.
//!
//! What restricts (stop, cancel, a lower cap, take-back) goes to the backend first, is committed second
//! and answered last; what permits is committed first. `events` carries starts and ends from the
//! backend to the queue, `cap` is how many may run now, `timer` waits for what is due, `retention` lets go what need not
//! be kept (both by an `alarm`), `commands` is what clients ask for, `follow` is for those who look on.

mod alarm;
mod cap;
mod commands;
mod events;
mod follow;
mod gates;
mod pause;
mod retention;
mod timer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as StdMutex};

use tokio::sync::{Mutex, broadcast, mpsc, watch};
use tokio::task::JoinHandle;

use crate::attempt::Attempt;
use crate::backend::{BackendError, Local, Options};
use crate::gate::Gate;
use crate::queue::error::QueueError;
use crate::queue::{Closed, Queue};
use crate::space::Floor;
use crate::task::ClaimId;

pub use alarm::Alarm;
pub use follow::Follower;
pub use gates::Standing;

/// A handle on the executor; cheap to clone.
#[derive(Clone)]
pub struct Executor {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Queue,
    options: Arc<Options>,
    rules: Rules,
    /// None while no keeper is connected; written by `events`.
    backend: watch::Sender<Option<Local>>,
    /// The highest claim that the backend has; written by it, and by `events` after a loss.
    handed_over: watch::Sender<ClaimId>,
    /// Held by start, stop and shutdown, so that one ends before the next begins.
    commands: Mutex<()>,
    /// The daemon is ending: no command begins any more, and none waits for a keeper.
    closing: watch::Sender<bool>,
    /// How many follow the output of each claim.
    followers: StdMutex<BTreeMap<ClaimId, usize>>,
    /// Claims whose followed output has grown.
    grew: broadcast::Sender<ClaimId>,
    /// The storage error that stands, if one does.
    storage_error: watch::Sender<Option<QueueError>>,
    /// A gate is closed, or may be: none was looked at yet.
    shut: watch::Sender<bool>,
    /// How each gate stands.
    gates: watch::Sender<Arc<Vec<Standing>>>,
}

/// The settings that the executor follows.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Between SIGTERM and SIGKILL, ms.
    pub grace_ms: i64,
    pub max_interruptions: u32,
    /// What must stay free on the home's disk.
    pub floor: Floor,
    /// Functions with a cap of their own.
    pub function_caps: BTreeMap<String, u32>,
    pub retention: Retention,
    pub gates: Vec<Gate>,
}

/// How long completed tasks are kept; none: for ever.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    /// The most that are kept.
    pub count: Option<i64>,
    /// How long, in ms.
    pub age_ms: Option<i64>,
}

/// Why the executor could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExecutorError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("the daemon is ending")]
    ShuttingDown,
    #[error(
        "the tasks run under a keeper of an older version, which cannot suspend them; it leaves with the last of them"
    )]
    OldKeeper,
}

impl Executor {
    /// An executor that connects the backend, recovers what was claimed, and begins to run; how that went is told by
    /// the second of what it gives. Until then the executor answers, and what needs the backend waits.
    pub fn start(
        queue: Queue,
        claimed: mpsc::UnboundedReceiver<Vec<Attempt>>,
        options: Options,
        rules: Rules,
        rebooted: bool,
    ) -> (Self, JoinHandle<Result<(), StartError>>) {
        let next_claim = queue.snapshot().run.next_claim;
        let inner = Inner {
            queue,
            options: Arc::new(options),
            backend: watch::Sender::new(None),
            handed_over: watch::Sender::new(next_claim - 1),
            commands: Mutex::new(()),
            closing: watch::Sender::new(false),
            followers: StdMutex::default(),
            grew: broadcast::Sender::new(256),
            storage_error: watch::Sender::new(None),
            shut: watch::Sender::new(!rules.gates.is_empty()),
            gates: watch::Sender::default(),
            rules,
        };
        let executor = Self { inner: Arc::new(inner) };
        let closed = executor.inner.queue.close_gate();
        let running = tokio::spawn(executor.clone().begin(claimed, closed, rebooted));
        (executor, running)
    }

    async fn begin(
        self,
        mut claimed: mpsc::UnboundedReceiver<Vec<Attempt>>,
        closed: Closed,
        rebooted: bool,
    ) -> Result<(), StartError> {
        let signals = self.connect(&mut claimed, rebooted, true).await?;
        tokio::spawn(self.clone().run_events(claimed, signals));
        if !self.inner.rules.gates.is_empty() {
            tokio::spawn(self.clone().run_gates(self.inner.queue.close_gate()));
        }
        self.open(closed).await?;
        tokio::spawn(self.clone().run_timer());
        tokio::spawn(self.clone().run_room());
        tokio::spawn(self.run_retention());
        Ok(())
    }

    /// The pid of the keeper, if one is connected.
    pub fn keeper_pid(&self) -> Option<u32> {
        self.inner.backend.borrow().as_ref().map(|backend| backend.keeper_pid)
    }

    /// What of the disk stands in the way now, if something does.
    pub fn storage_error(&self) -> Option<String> {
        let failed = self.inner.storage_error.borrow().as_ref().map(ToString::to_string);
        failed.or_else(|| {
            let shortage = self.inner.queue.snapshot().shortage?;
            Some(format!("{shortage}: nothing new starts until there is room"))
        })
    }

    /// The connected backend; waits while the keeper is being replaced.
    async fn backend(&self) -> Result<Local, ExecutorError> {
        let (mut backend, mut closing) = (self.inner.backend.subscribe(), self.inner.closing.subscribe());
        tokio::select! {
            biased;
            connected = backend.wait_for(Option::is_some) => {
                connected.ok().and_then(|backend| backend.clone()).ok_or(ExecutorError::ShuttingDown)
            }
            // What it has stays with it; the next daemon settles that.
            _ = closing.wait_for(|closing| *closing) => Err(ExecutorError::ShuttingDown),
        }
    }
}

/// Why the executor did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}
