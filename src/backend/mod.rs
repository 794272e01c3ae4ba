//! Where attempts run: the local backend, through the keeper.
//!
//! A backend launches waves of attempts, finds them again after a crash, ends one when told and
//! gives an ordered stream of starts and ends that may come late and twice; the queue accepts each
//! once, by claim. Nothing here knows SQL.

mod find;
mod launch;
mod local;
mod remains;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

pub use crate::attempt::{Ended, Event};
use crate::cgroup::Delegated;
use crate::config::{Nodejs, Python, UserFunction};
use crate::home::Home;
pub use crate::keeper::protocol::{EndAnswer, SuspendedBy};
use crate::secret::Source;
use crate::task::ClaimId;

pub use local::Local;

/// What came of suspending attempts.
#[derive(Debug, Default)]
pub struct Suspended {
    /// Those that run.
    pub held: Vec<ClaimId>,
    /// Those that are being ended, and go on.
    pub ending: Vec<ClaimId>,
}

/// What the local backend needs to know.
#[derive(Debug)]
pub struct Options {
    pub home: Home,
    /// This program, to start the keeper from.
    pub program: PathBuf,
    /// What a result keeps of each stream, in bytes.
    pub keep_bytes: u64,
    /// The cap of an attempt's log file, in bytes.
    pub log_cap_bytes: u64,
    /// What must stay free on the home's disk, in bytes.
    pub floor_bytes: u64,
    /// Where attempts get control groups.
    pub cgroups: Option<Delegated>,
    /// Between SIGTERM and SIGKILL when an attempt runs out of its time, ms.
    pub grace_ms: i64,
    pub functions: BTreeMap<String, UserFunction>,
    /// Where the values of secrets come from.
    pub secrets: BTreeMap<String, Source>,
    /// How tasks in Python are started.
    pub python: Python,
    /// How tasks in Node.js are started.
    pub nodejs: Nodejs,
    /// What every task's environment begins with.
    pub base_environment: BTreeMap<String, String>,
}

/// What a service manager put into the environment for the daemon alone (systemd.exec(5)).
const NOT_FOR_TASKS: &[&str] = &[
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "MAINPID",
    "MANAGERPID",
    "SYSTEMD_EXEC_PID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
];

/// The daemon's own environment as tasks get it.
pub fn base_environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !NOT_FOR_TASKS.contains(&name.as_str()) && !name.starts_with("BATCH_EXECUTOR_"))
        .collect()
}

/// What a new connection found.
#[derive(Debug, Default)]
pub struct Found {
    /// A living keeper answered.
    pub adopted: bool,
    /// What it has: waiting, running, ended and not taken.
    pub held: BTreeSet<ClaimId>,
    /// What keepers that are dead had given a process; until [`Local::settled`].
    pub had_process: BTreeSet<ClaimId>,
}

/// What comes from the backend, in order.
#[derive(Debug)]
pub enum Signal {
    Events {
        upto: u64,
        events: Vec<Event>,
    },
    /// A followed attempt has written more.
    Grew {
        claim: ClaimId,
    },
    /// The last: the keeper is gone.
    Lost,
}

/// The keeper is gone; what was asked may or may not have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the keeper is gone")]
pub struct Gone;

/// Why there is no backend.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    #[error("the keeper `{program}` cannot be started: {error}")]
    Start { program: PathBuf, error: io::Error },
    #[error("the keeper ended before it served ({status}): {said}")]
    NotServing { said: String, status: ExitStatus },
    #[error("a keeper of the newer version {version} runs the tasks of this home; install that version")]
    NewerKeeper { version: String },
    #[error("the user with uid {uid} serves `keeper.sock` in this home; remove it")]
    Foreign { uid: u32 },
    #[error("the keeper cannot be talked to: {0}")]
    Io(#[from] io::Error),
}

impl BackendError {
    /// Whether something in the home is not this user's alone.
    pub fn is_not_allowed(&self) -> bool {
        match self {
            Self::Foreign { .. } => true,
            Self::Io(error) => error.kind() == io::ErrorKind::PermissionDenied,
            Self::NotServing { status, .. } => status.code() == Some(77),
            Self::Start { .. } | Self::NewerKeeper { .. } => false,
        }
    }
}
