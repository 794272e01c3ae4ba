//! Wires the parts; lifetime and signals.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use nix::fcntl::{Flock, FlockArg};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::backend::{Options, base_environment};
use crate::config::Settings;
use crate::executor::{Executor, Rules, StartError};
use crate::home::{Home, HomeError};
use crate::protocol::milliseconds;
use crate::queue::Queue;
use crate::queue::error::{OpenError, QueueError};
use crate::server::{self, Ending, Service};

/// Why the daemon did not run, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error("another daemon holds this home: pid {pid}")]
    Locked { pid: String },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Damaged(QueueError),
    #[error("the daemon cannot run: {0}")]
    Io(#[from] std::io::Error),
}

impl DaemonError {
    /// The exit code (CONTRACT's table: `docs/guide.md`).
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Home(_) => 78,
            Self::Open(OpenError::Newer { .. } | OpenError::Foreign { .. } | OpenError::Pragma { .. }) => 78,
            Self::Locked { .. } => 75,
            Self::Open(_) | Self::Damaged(_) => 74,
            Self::Start(_) | Self::Io(_) => 70,
        }
    }
}

/// Asks whether the configuration is good now.
pub type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the daemon needs to know.
pub struct Setup {
    pub home: Home,
    pub settings: Settings,
    /// This program: where the keeper is started from, and what takes over at `restart`.
    pub program: PathBuf,
    /// Whether a daemon that started now would find a good configuration; asked before one is replaced.
    pub check: Check,
}

/// Runs the daemon until it is told to end. At `restart`, SIGUSR2 and SIGHUP the program now installed takes
/// this process over with the same arguments (and reads the configuration anew); the keeper keeps what runs.
///
/// # Errors
/// [`DaemonError`], with its exit code.
pub fn run(setup: Setup) -> Result<(), DaemonError> {
    setup.home.create()?;
    let _lock = lock(&setup.home)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let program = setup.program.clone();
    let ending = runtime.block_on(serve(setup))?;
    drop(runtime);
    if ending != Ending::Replace {
        return Ok(());
    }
    // Comes back only when the program cannot be run. The lock's descriptor closes on exec; the new one takes it.
    Err(Command::new(program).args(std::env::args_os().skip(1)).exec().into())
}

/// Takes the daemon's lock and writes the pid into it.
fn lock(home: &Home) -> Result<Flock<File>, DaemonError> {
    let file = File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(home.lock())?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut locked) => {
            locked.set_len(0)?;
            locked.rewind()?;
            write!(*locked, "{}", std::process::id())?;
            Ok(locked)
        }
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid)?;
            Err(DaemonError::Locked { pid })
        }
        Err((_, error)) => Err(std::io::Error::from(error).into()),
    }
}

async fn serve(setup: Setup) -> Result<Ending, DaemonError> {
    let Setup { home, settings, program, check } = setup;
    let mut signals = Signals::install()?;
    let caps: BTreeMap<String, u32> = settings
        .functions
        .iter()
        .filter_map(|(name, function)| Some((name.clone(), function.max_concurrent?)))
        .collect();
    let opened = Queue::open(&home.database(), &home.output_dir(), &caps).await?;
    let options = Options {
        home: home.clone(),
        program,
        keep_bytes: settings.output_keep_bytes,
        log_cap_bytes: settings.log_cap_bytes,
        grace_ms: milliseconds(settings.grace),
        functions: settings.functions.clone(),
        base_environment: base_environment(),
    };
    let rules = Rules {
        grace_ms: milliseconds(settings.grace),
        max_interruptions: settings.max_interruptions,
        function_caps: caps,
    };
    let executor = Executor::start(opened.queue.clone(), opened.claimed, options, rules, opened.rebooted).await?;
    let service = Arc::new(Service {
        queue: opened.queue.clone(),
        executor: executor.clone(),
        settings,
        home: home.clone(),
        started: Instant::now(),
        ending: watch::Sender::new(None),
    });
    let listener = server::bind(&home)?;
    tracing::info!(pid = std::process::id(), home = %home.root().display(), "serving");
    let serving = tokio::spawn(server::serve(listener, service.clone()));
    let mut damage = opened.queue.damage();
    let mut ending = service.ending.subscribe();
    let ended = tokio::select! {
        ending = signals.next(&check) => Ok(ending),
        ending = ending.wait_for(Option::is_some) => Ok(ending.ok().and_then(|e| *e).unwrap_or(STOP)),
        damaged = damage.wait_for(Option::is_some) => {
            Err(damaged.ok().and_then(|d| d.clone()).unwrap_or(QueueError::Closed))
        }
    };
    let ending = ended.map_err(DaemonError::Damaged)?;
    service.ending.send_replace(Some(ending));
    tracing::info!(?ending, "ending");
    match ending {
        Ending::Stop { grace_ms } => end(&executor, grace_ms, &mut signals, &check).await,
        // Nothing is claimed that this process would not hand over any more.
        Ending::Replace => std::mem::forget(opened.queue.close_gate()),
    }
    // The socket goes last: a client that waits for the end sees it gone only when all is written.
    drop(std::fs::remove_file(home.socket()));
    if serving.await.is_err() {
        tracing::error!("the server ended by a defect");
    }
    opened.queue.close().await;
    Ok(ending)
}

/// Ends what runs; a second signal makes the grace 0.
async fn end(executor: &Executor, grace_ms: Option<i64>, signals: &mut Signals, check: &Check) {
    let ending = executor.shut_down(grace_ms);
    tokio::pin!(ending);
    loop {
        tokio::select! {
            ended = &mut ending => {
                if let Err(error) = ended {
                    tracing::error!(err = %error, "not everything that ran could be ended in order");
                }
                return;
            }
            _ = signals.next(check) => executor.hurry().await,
        }
    }
}

/// An end in order, with the setting's grace.
const STOP: Ending = Ending::Stop { grace_ms: None };

/// SIGTERM and SIGINT end the daemon; SIGUSR2 and SIGHUP replace it.
struct Signals {
    term: Signal,
    int: Signal,
    usr2: Signal,
    hup: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            usr2: signal(SignalKind::user_defined2())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self, check: &Check) -> Ending {
        loop {
            tokio::select! {
                _ = self.term.recv() => return STOP,
                _ = self.int.recv() => return STOP,
                _ = self.usr2.recv() => {}
                _ = self.hup.recv() => {}
            }
            match check() {
                Ok(()) => return Ending::Replace,
                Err(error) => tracing::error!(err = %error, "the daemon stays as it is: its configuration is bad now"),
            }
        }
    }
}
