//! Waits for the next retry, delay, deadline or raise of the cap: one alarm.

use super::alarm::Alarm;
use super::events::STORAGE_RETRY;
use super::{Executor, ExecutorError};
use crate::queue::error::QueueError;
use crate::queue::ops::control::Promote;
use crate::queue::writer::Snapshot;
use crate::task::RunState;

impl Executor {
    /// Runs until the queue is closed.
    pub(super) async fn run_timer(self) {
        let mut alarm = match Alarm::new() {
            Ok(alarm) => alarm,
            Err(error) => {
                tracing::error!(err = %error, "there is no timer: retries, delays and deadlines do not happen");
                return;
            }
        };
        let mut commits = self.inner.queue.commits();
        // The deadline that was acted upon; the state follows when what runs was told.
        let mut passed = None;
        loop {
            let due = next_due(&commits.borrow_and_update(), passed);
            alarm.set(self.inner.queue.clock(), due);
            tokio::select! {
                changed = commits.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = alarm.rings() => self.fire(&mut passed).await,
            }
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
