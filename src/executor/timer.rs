//! Waits for the next retry, delay, deadline or raise of the cap: one timer on `CLOCK_BOOTTIME`, set to queue time.

use std::io;
use std::os::fd::AsFd;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

use super::events::STORAGE_RETRY;
use super::{Executor, ExecutorError};
use crate::queue::error::QueueError;
use crate::queue::ops::control::Promote;
use crate::queue::writer::Snapshot;
use crate::task::RunState;

impl Executor {
    /// Runs until the queue is closed.
    #[expect(deprecated, reason = "the deprecation is about descriptors that may close early; an OwnedFd does not")]
    pub(super) async fn run_timer(self) {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let made = TimerFd::new(ClockId::CLOCK_BOOTTIME, flags).map_err(io::Error::from).and_then(|timer| {
            // The same timer by a descriptor that tokio can watch.
            let watched = AsyncFd::new(timer.as_fd().try_clone_to_owned()?)?;
            Ok((timer, watched))
        });
        let (timer, watched) = match made {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(err = %error, "there is no timer: retries, delays and deadlines do not happen");
                return;
            }
        };
        let mut commits = self.inner.queue.commits();
        let mut set_to = None;
        // The deadline that was acted upon; the state follows when what runs was told.
        let mut passed = None;
        loop {
            let due = next_due(&commits.borrow_and_update(), passed);
            if due != set_to {
                self.set(&timer, due);
                set_to = due;
            }
            tokio::select! {
                changed = commits.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                ready = watched.readable() => {
                    if let Ok(mut ready) = ready {
                        let mut expirations = [0; 8];
                        // Reading re-arms the readiness; what it says is not needed.
                        let _ = nix::unistd::read(watched.get_ref(), &mut expirations);
                        ready.clear_ready();
                    }
                    set_to = None;
                    self.fire(&mut passed).await;
                }
            }
        }
    }

    fn set(&self, timer: &TimerFd, due: Option<i64>) {
        let set = match due {
            Some(due) => {
                // A time of zero would disarm it.
                let at = self.inner.queue.clock().boottime_of(due).max(1);
                let at = TimeSpec::new(at / 1000, at % 1000 * 1_000_000);
                timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
            }
            None => timer.unset(),
        };
        if let Err(error) = set {
            tracing::error!(err = %error, "the timer cannot be set");
        }
    }

    async fn fire(&self, passed: &mut Option<i64>) {
        let now = self.inner.queue.clock().now();
        let snapshot = self.inner.queue.snapshot();
        if snapshot.next_due.is_some_and(|due| due <= now)
            && let Err(error) = self.inner.queue.write(Promote).await
        {
            tracing::error!(err = %error, "what is due could not be made ready");
            // Else the timer, due at once, would spin while the disk takes nothing.
            tokio::time::sleep(STORAGE_RETRY).await;
        }
        if snapshot.run.raise_at.is_some_and(|at| at <= now) {
            self.raise().await;
        }
        if let Some(deadline) = deadline(&snapshot, *passed).filter(|deadline| *deadline <= now) {
            *passed = Some(deadline);
            let executor = self.clone();
            // In a task of its own: it waits for the keeper, and other things become due meanwhile.
            tokio::spawn(async move {
                while let Err(error) = executor.stop_at(deadline).await {
                    tracing::error!(err = %error, "the run could not be stopped at its deadline");
                    if !matches!(error, ExecutorError::Queue(QueueError::Unavailable(_))) {
                        break;
                    }
                    tokio::time::sleep(STORAGE_RETRY).await;
                }
            });
        }
    }
}

fn next_due(snapshot: &Snapshot, passed: Option<i64>) -> Option<i64> {
    [snapshot.next_due, snapshot.run.raise_at, deadline(snapshot, passed)].into_iter().flatten().min()
}

fn deadline(snapshot: &Snapshot, passed: Option<i64>) -> Option<i64> {
    snapshot.run.deadline.filter(|deadline| snapshot.run.state == RunState::Running && Some(*deadline) != passed)
}
