//! Android's wake lock, where the setting `wake_lock` wants it: held while there is work, so that the phone does not fall asleep
//! under it.
//!
//! The lock is the whole app's, counts nothing and cannot be asked for, so a note in the home says that this daemon, or one
//! before it, took it: without the note it is never released. A note of an earlier boot says nothing, for no lock outlives one.

use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Command;

use crate::home::{self, Home};
use crate::platform::{WAKE_LOCK, WAKE_UNLOCK};
use crate::queue::state::State;
use crate::queue::writer::Snapshot;
use crate::server::Service;
use crate::task::{Hold, RunState};
use crate::time::Boot;

/// How soon something must be due for the phone to be kept awake for it: longer than the longest pause before a retry,
/// for a phone that sleeps may not wake in time.
const SOON_MS: i64 = 10 * 60 * 1000;
/// How long there must be no work before the lock is released: what comes one after the other shares it.
const LINGER: Duration = Duration::from_secs(5);
/// How long the command may take. It talks to Android, which takes a second, or for ever.
const COMMAND_PATIENCE: Duration = Duration::from_secs(20);

/// Follows the queue and holds the lock while there is work; never ends.
pub(super) async fn keep_awake(service: Arc<Service>) {
    let wanted = service.settings.wake_lock;
    let mut lock = match WakeLock::of(&service.home) {
        Ok(lock) if wanted || lock.is_held => lock,
        Ok(_) => return std::future::pending().await,
        Err(error) => {
            tracing::warn!(err = %error, "it is not known whether the wake lock is held; it stays as it is");
            return std::future::pending().await;
        }
    };
    let mut commits = service.queue.commits();
    let clock = service.queue.clock();
    let mut gates = service.executor.gates();
    let is_work = |snapshot: &Snapshot| {
        wanted && has_work(snapshot, clock.now(), snapshot.run.paused.max(service.executor.closed_hold()))
    };
    // What an earlier daemon took may be gone with the app: it is taken again, which changes nothing where it is held.
    let mut taken = false;
    loop {
        gates.mark_unchanged();
        let work = is_work(&commits.borrow_and_update());
        if work && !taken {
            lock.take().await;
            taken = true;
        } else if !work && lock.is_held {
            match tokio::time::timeout(LINGER, commits.wait_for(|snapshot| is_work(snapshot))).await {
                Ok(Ok(_)) => continue,
                // The queue is closed, so the daemon ends.
                Ok(Err(_)) => return std::future::pending().await,
                Err(_) => {}
            }
            lock.release().await;
            taken = false;
        } else if !work {
            taken = false;
        }
        let goes_on = tokio::select! {
            changed = commits.changed() => changed.is_ok(),
            changed = gates.changed() => changed.is_ok(),
        };
        if !goes_on {
            return std::future::pending().await;
        }
    }
}

/// Releases the lock if a daemon of this home took it: nothing runs any more.
pub(super) async fn release(home: &Home) {
    match WakeLock::of(home) {
        Ok(mut lock) if lock.is_held => lock.release().await,
        Ok(_) => {}
        Err(error) => tracing::warn!(err = %error, "it is not known whether the wake lock is held; it stays as it is"),
    }
}

/// Whether something runs, could run now, or could soon. `held`: nothing may start, and what becomes of what runs.
fn has_work(snapshot: &Snapshot, now: i64, held: Option<Hold>) -> bool {
    let may_start = snapshot.run.state == RunState::Running && snapshot.shortage.is_none() && held.is_none();
    let runs = snapshot.tally.in_state(State::Running) > 0 && held != Some(Hold::Pause);
    let is_due = || snapshot.tally.in_state(State::Ready) > 0;
    let is_due_soon = || snapshot.next_due.is_some_and(|due| due - now <= SOON_MS);
    runs || (may_start && (is_due() || is_due_soon()))
}

/// The lock as far as the note knows.
struct WakeLock<'h> {
    home: &'h Home,
    /// This daemon or an earlier one took it since the phone has started.
    is_held: bool,
}

impl<'h> WakeLock<'h> {
    fn of(home: &'h Home) -> io::Result<Self> {
        let is_held = match home::read_text(&home.wake_lock()) {
            Ok(boot) => Boot::stored(&boot).is(&Boot::this()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        Ok(Self { home, is_held })
    }

    async fn take(&mut self) {
        // Before the command: a daemon that is killed in between leaves a lock that is known.
        if let Err(error) = self.note() {
            tracing::warn!(err = %error, "the wake lock is not taken: it cannot be noted that it was");
            return;
        }
        match run(WAKE_LOCK).await {
            Ok(()) => tracing::info!("the wake lock is taken"),
            Err(failure) => {
                tracing::warn!(err = %failure, "the wake lock could not be taken: the phone may sleep, and tasks with it");
                // A command that did not answer may have taken it all the same.
                if failure.is_refusal() {
                    self.forget();
                }
            }
        }
    }

    async fn release(&mut self) {
        match run(WAKE_UNLOCK).await {
            Ok(()) => {
                tracing::info!("the wake lock is released");
                self.forget();
            }
            Err(failure) => tracing::warn!(err = %failure, "the wake lock could not be released; it is tried again"),
        }
    }

    fn note(&mut self) -> io::Result<()> {
        io::Write::write_all(&mut home::new_file(&self.home.wake_lock())?, Boot::this().as_str().as_bytes())?;
        self.is_held = true;
        Ok(())
    }

    fn forget(&mut self) {
        self.is_held = false;
        if let Err(error) = std::fs::remove_file(self.home.wake_lock()) {
            tracing::warn!(err = %error, "it stays noted that the wake lock is held");
        }
    }
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
enum CommandFailure {
    #[error("`{0}` cannot be run: {1}; pkg install termux-tools")]
    Start(&'static str, io::Error),
    #[error("`{0}` failed: {1}")]
    Refused(&'static str, std::process::ExitStatus),
    #[error("`{0}` did not end within {COMMAND_PATIENCE:?}")]
    Hung(&'static str),
}

impl CommandFailure {
    /// Whether it is known to have changed nothing.
    const fn is_refusal(&self) -> bool {
        !matches!(self, Self::Hung(_))
    }
}

/// Runs a command of Termux, and ends it with all that it started when it takes too long.
async fn run(program: &'static str) -> Result<(), CommandFailure> {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| CommandFailure::Start(program, error))?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    match tokio::time::timeout(COMMAND_PATIENCE, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(CommandFailure::Refused(program, status)),
        Ok(Err(error)) => Err(CommandFailure::Start(program, error)),
        Err(_) => {
            // It may just have ended.
            let _ = group.map(|group| killpg(group, Signal::SIGKILL));
            Err(CommandFailure::Hung(program))
        }
    }
}
