//! Wires the parts; lifetime and signals.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::backend::{Options, base_environment};
use crate::cgroup::{Delegated, Wanted};
use crate::config::Settings;
use crate::executor::{Executor, Retention, Rules, StartError};
use crate::home::{self, Home, HomeError, Place};
use crate::hooks::Hooks;
use crate::presence;
use crate::protocol::milliseconds;
use crate::queue::error::{OpenError, QueueError};
use crate::queue::events::{LastEnd, Stored, Tell};
use crate::queue::{self, Queue};
use crate::server::{self, Ending, Service};
use crate::space::Floor;
use crate::version::VERSION;

mod ending;
mod manager;
mod metrics_file;
mod repair;
mod replace;
mod signals;
mod wake_lock;

use ending::end;
pub use repair::{RepairError, Repaired, repair};
pub use replace::Inherited;
use replace::{adopt, become_program, check};
use signals::Signals;

/// Why the daemon did not run, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(
        "another daemon holds this home `{home}`: pid {pid}; choose another home, or end that one: batch-executor daemon stop"
    )]
    Locked { home: PathBuf, pid: String },
    #[error(
        "the home `{home}` cannot be used: {error}; make it writable for you, or choose another with --home or BATCH_EXECUTOR_HOME"
    )]
    Unusable { home: PathBuf, error: io::Error },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Damaged(QueueError),
    #[error(transparent)]
    Repair(#[from] RepairError),
    #[error(
        "the home `{0}` was deleted or moved under the daemon, which ends: what it would write nobody would find; the next command begins anew, and what was moved goes on with --home"
    )]
    Gone(PathBuf),
    #[error("the daemon cannot run: {0}")]
    Io(#[from] std::io::Error),
}

impl DaemonError {
    /// The exit code (CONTRACT's table: `docs/guide.md`).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Home(HomeError::NotOurs { .. }) => 77,
            Self::Home(_) | Self::Unusable { .. } => 78,
            Self::Open(
                OpenError::Newer { .. }
                | OpenError::Foreign { .. }
                | OpenError::Pragma { .. }
                | OpenError::SharedMemory { .. },
            ) => 78,
            Self::Repair(RepairError::Open(_)) => 78,
            Self::Repair(RepairError::Intact(_)) => 0,
            Self::Repair(RepairError::Missing(_)) => 3,
            Self::Repair(_) => 74,
            Self::Locked { .. } => 75,
            Self::Open(_) | Self::Damaged(_) | Self::Gone(_) => 74,
            Self::Start(StartError::Queue(QueueError::Damaged(_) | QueueError::Unavailable(_))) => 74,
            Self::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => 77,
            Self::Start(StartError::Backend(error)) if error.is_not_allowed() => 77,
            Self::Start(_) | Self::Io(_) => 70,
        }
    }
}

/// How long a daemon that is dead may still hold its lock: a keeper that it was starting has a copy until exec.
const DEAD_HOLDER: Duration = Duration::from_secs(1);
/// What the settings say in days is worked with in seconds.
const SECONDS_A_DAY: f64 = 86_400.0;
/// How long the last answers may take when the queue is damaged.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long nobody is served because the keeper does not answer. One that is stopped or swapped out may take longer.
const KEEPER_PATIENCE: Duration = Duration::from_secs(2);
/// What the daemon needs to know.
pub struct Setup {
    pub home: Home,
    pub settings: Settings,
    /// This program: where the keeper is started from, and what takes over at `restart`.
    pub program: PathBuf,
    pub inherited: Option<Inherited>,
}

/// Whether this program could serve `home`: what `check` asks of the one that is to take over.
///
/// # Errors
/// [`DaemonError::Open`], when the queue is not for this program.
pub fn could_serve(home: &Home) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(Queue::check(&home.database()))?)
}

/// Runs the daemon until it is told to end. At `restart`, SIGUSR2 and SIGHUP the program now installed takes
/// this process over with the same arguments (and reads the configuration anew); the keeper keeps what runs.
///
/// # Errors
/// [`DaemonError`], with its exit code.
pub fn run(setup: Setup) -> Result<(), DaemonError> {
    setup.home.create()?;
    let home = setup.home.clone();
    let program = setup.program.clone();
    let (lock, listener) = match adopt(&home, setup.inherited)? {
        Some((lock, listener)) => (Some(lock), Some(listener)),
        None => (None, manager::socket(&home)?),
    };
    let lock = lock_home(&home, lock)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(serve(setup, listener))?;
    drop(runtime);
    match ended {
        Ended::Stopped => Ok(()),
        Ended::Replaced { listener } => {
            manager::reloading();
            let error = become_program(&program, &lock, &listener);
            if !manager::has_the_socket() {
                drop(std::fs::remove_file(home.socket()));
            }
            Err(error.into())
        }
    }
}

/// How serving ended.
enum Ended {
    Stopped,
    /// The listening socket is still open.
    Replaced {
        listener: OwnedFd,
    },
}

/// Takes the daemon's lock, or keeps the inherited one, and writes the pid into it.
fn lock_home(home: &Home, inherited: Option<OwnedFd>) -> Result<Flock<File>, DaemonError> {
    let file = match inherited {
        Some(fd) => File::from(fd),
        None => {
            home::open_file(&home.lock(), File::options().create(true).read(true).write(true)).map_err(|error| {
                match error.kind() {
                    // A file that somebody else put there; the error says which.
                    io::ErrorKind::PermissionDenied => DaemonError::Io(error),
                    _ => DaemonError::Unusable { home: home.root().to_owned(), error },
                }
            })?
        }
    };
    let give_up = Instant::now() + DEAD_HOLDER;
    let mut next = file;
    loop {
        match Flock::lock(next, FlockArg::LockExclusiveNonblock) {
            Ok(mut locked) => {
                locked.set_len(0)?;
                locked.rewind()?;
                write!(*locked, "{}", std::process::id())?;
                return Ok(locked);
            }
            Err((mut held, Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                held.rewind()?;
                held.read_to_string(&mut pid)?;
                let lives = pid.parse().is_ok_and(|pid| kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH));
                if lives || Instant::now() >= give_up {
                    return Err(DaemonError::Locked { home: home.root().to_owned(), pid });
                }
                std::thread::sleep(Duration::from_millis(2));
                next = held;
            }
            Err((_, error)) => return Err(io::Error::from(error).into()),
        }
    }
}

async fn serve(setup: Setup, inherited: Option<OwnedFd>) -> Result<Ended, DaemonError> {
    let Setup { home, settings, program, .. } = setup;
    let mut signals = Signals::install()?;
    let caps: BTreeMap<String, u32> = settings
        .functions
        .iter()
        .filter_map(|(name, function)| Some((name.clone(), function.max_concurrent?)))
        .collect();
    let grace = milliseconds(settings.grace);
    let floor = Floor::new(home.root().to_owned(), settings.min_free_bytes);
    let opened = {
        let rules = queue::Rules { caps: &caps, floor: floor.clone(), kept_events: settings.keep_events };
        Queue::open(&home.database(), &home.output_dir(), rules).await?
    };
    let after = if inherited.is_some() { LastEnd::Restart } else { opened.left.end };
    tokio::spawn(tell_of_start(opened.queue.clone(), after));
    let cgroups = Delegated::find(&settings.cgroups, home.root());
    match &cgroups {
        Ok(found) => {
            tracing::info!(folder = %found.tasks.display(), controllers = ?found.controllers, "each task gets a control group")
        }
        Err(why) if matches!(settings.cgroups, Wanted::At(_)) => {
            tracing::warn!(why, "tasks get no control groups, though the configuration names a folder");
        }
        Err(why) => tracing::debug!(why, "tasks get no control groups"),
    }
    let options = Options {
        home: home.clone(),
        program: program.clone(),
        keep_bytes: settings.output_keep_bytes,
        log_cap_bytes: settings.log_cap_bytes,
        floor_bytes: settings.min_free_bytes,
        cgroups: cgroups.clone().ok(),
        grace_ms: grace,
        functions: settings.functions.clone(),
        secrets: settings.secrets.clone(),
        python: settings.python.clone(),
        nodejs: settings.nodejs.clone(),
        base_environment: base_environment(),
    };
    let rules = Rules {
        grace_ms: grace,
        max_interruptions: settings.max_interruptions,
        function_caps: caps,
        floor,
        retention: Retention {
            count: settings.keep_completed_count.map(i64::from),
            age_ms: settings.keep_completed_days.map(|days| milliseconds(days * SECONDS_A_DAY)),
        },
        gates: settings.gates.clone(),
    };
    let (executor, mut running) =
        Executor::start(opened.queue.clone(), opened.claimed, options, rules, opened.left.rebooted);
    let begun = tokio::time::timeout(KEEPER_PATIENCE, &mut running).await;
    let running = match begun {
        Ok(begun) => begun.map_err(io::Error::other)?.map(|()| None)?,
        Err(_) => Some(running),
    };
    let (declared, secrets) = (settings.hooks.clone(), settings.secrets.clone());
    let hooks = Hooks::start(opened.queue.clone(), declared, secrets, &home, base_environment());
    let service = Arc::new(Service {
        queue: opened.queue.clone(),
        executor: executor.clone(),
        hooks: hooks.clone(),
        settings,
        cgroups,
        home: home.clone(),
        started: Instant::now(),
        ending: watch::Sender::new(None),
        not_replaced: watch::Sender::default(),
    });
    let listener = match inherited {
        Some(fd) => UnixListener::from_std(fd.into())?,
        None => server::bind(&home)?,
    };
    let bound = Place::of(&home.socket()).ok().filter(|_| !manager::has_the_socket());
    let held = listener.as_fd().try_clone_to_owned()?;
    tracing::info!(pid = std::process::id(), home = %home.root().display(), "serving");
    let serving = tokio::spawn(server::serve(listener, service.clone()));
    manager::ready();
    let ending = tokio::select! {
        ending = told(&service, &mut signals, &program) => ending,
        error = failed(running) => Err(error),
        () = manager::keep_informed(service.clone()) => Ok(STOP),
        () = metrics_file::keep(service.clone()) => Ok(STOP),
        () = wake_lock::keep_awake(service.clone()) => Ok(STOP),
    };
    let ending = match ending {
        Ok(ending) => ending,
        Err(error) => {
            // Who asked is told so, if it listens.
            service.ending.send_replace(Some(STOP));
            drop(tokio::time::timeout(LAST_WORDS, serving).await);
            return Err(error);
        }
    };
    service.ending.send_replace(Some(ending));
    tracing::info!(?ending, "ending");
    let ended = match ending {
        Ending::Stop { grace_ms } => {
            drop(held);
            let grace = u64::try_from(grace_ms.unwrap_or(grace)).unwrap_or(0);
            let grace = Duration::from_millis(grace);
            manager::stopping(grace);
            end(&executor, &hooks, grace, grace_ms, &mut signals).await;
            wake_lock::release(&home).await;
            Ended::Stopped
        }
        Ending::Replace => {
            // Nothing is claimed that this process would not hand over any more.
            std::mem::forget(opened.queue.close_gate());
            hooks.finish(Duration::ZERO).await;
            Ended::Replaced { listener: held }
        }
    };
    if serving.await.is_err() {
        tracing::error!("the server ended by a defect");
    }
    opened.queue.close().await;
    if opened.writer.await.is_err() {
        tracing::error!("the queue's writer ended by a defect");
    }
    // The socket goes last: a client that waits for the end sees it gone only when all is written. One of another
    // inode is another daemon's: this one's home was deleted under it.
    if matches!(ended, Ended::Stopped) && bound.is_some_and(|socket| socket.is_kept()) {
        drop(std::fs::remove_file(home.socket()));
    }
    Ok(ended)
}

/// The first event of this daemon, with its first commit.
async fn tell_of_start(queue: Queue, after: LastEnd) {
    let version = VERSION.to_owned();
    if let Err(error) = queue.write(Tell(Stored::DaemonStarted { version, after })).await {
        tracing::warn!(err = %error, "no event tells of this start");
    }
}

/// Resolves when the executor, whose keeper does not answer yet, cannot begin to run.
async fn failed(running: Option<JoinHandle<Result<(), StartError>>>) -> DaemonError {
    let Some(running) = running else { return std::future::pending().await };
    tracing::warn!("the keeper does not answer; what can be done without it is done");
    match running.await {
        Ok(Ok(())) => std::future::pending().await,
        Ok(Err(error)) => error.into(),
        Err(defect) => io::Error::other(defect).into(),
    }
}

/// Resolves when the daemon is told to end, and how; the queue's damage ends it too.
async fn told(service: &Service, signals: &mut Signals, program: &Path) -> Result<Ending, DaemonError> {
    let mut damage = service.queue.damage();
    let gone = presence::ends(&service.home);
    tokio::pin!(gone);
    let mut ending = service.ending.subscribe();
    loop {
        let told = tokio::select! {
            told = signals.next() => told,
            () = &mut gone => return Err(DaemonError::Gone(service.home.root().to_owned())),
            ending = ending.wait_for(Option::is_some) => return Ok(ending.ok().and_then(|e| *e).unwrap_or(STOP)),
            damaged = damage.wait_for(Option::is_some) => {
                return Err(match damaged.ok().and_then(|d| d.clone()).unwrap_or(QueueError::Closed) {
                    QueueError::Gone(_) => DaemonError::Gone(service.home.root().to_owned()),
                    damaged => DaemonError::Damaged(damaged),
                });
            }
        };
        if told != Ending::Replace {
            return Ok(told);
        }
        match check(program).await {
            Ok(()) => return Ok(told),
            Err(error) => {
                tracing::error!(err = %error, "the daemon stays as it is: what is now installed cannot take over");
                service.not_replaced.send_replace(error);
                // Who asked for it is waiting for a yes or no.
                service.ending.send_replace(None);
            }
        }
    }
}

/// An end in order, with the setting's grace.
const STOP: Ending = Ending::Stop { grace_ms: None };
