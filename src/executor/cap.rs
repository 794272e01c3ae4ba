//! How many may run now: the cap that was set, lowered while tasks are killed from outside, none without room on the
//! disk, while the executor is paused, and while a gate is closed.

use super::Executor;
use super::events::STORAGE_RETRY;
use crate::queue::ops::control::{Nudge, Raise};

impl Executor {
    /// What the keeper is to start at most.
    pub(super) fn cap(&self) -> u32 {
        let snapshot = self.inner.queue.snapshot();
        let writable = self.inner.storage_error.borrow().is_none() && snapshot.shortage.is_none();
        let may_start = snapshot.run.paused.is_none() && !*self.inner.shut.borrow();
        if writable && may_start { snapshot.run.cap() } else { 0 }
    }

    /// Tells the keeper.
    pub(super) async fn set_cap(&self) {
        let backend = self.inner.backend.borrow().clone();
        if let Some(backend) = backend {
            // A keeper that is gone has no cap; the next one gets it when it is connected.
            let _ = backend.set_caps(self.cap(), &self.inner.rules.function_caps).await;
        }
    }

    /// Raises a cap that was lowered by a step.
    pub(super) async fn raise(&self) {
        match self.inner.queue.write(Raise).await {
            Ok(()) => self.set_cap().await,
            Err(error) => {
                tracing::error!(err = %error, "the cap could not be raised");
                // Else the timer, due at once, would spin while the disk takes nothing.
                tokio::time::sleep(STORAGE_RETRY).await;
            }
        }
    }

    /// Runs until the queue is closed: starts nothing while the disk is at its floor, and goes on when there is room.
    pub(super) async fn run_room(self) {
        let mut commits = self.inner.queue.commits();
        while let Ok(snapshot) = commits.wait_for(|snapshot| snapshot.shortage.is_some()).await.map(|seen| seen.clone())
        {
            if let Some(shortage) = snapshot.shortage {
                tracing::error!(%shortage, "nothing new starts until there is room");
            }
            self.set_cap().await;
            while self.inner.rules.floor.shortage().is_some() {
                tokio::time::sleep(STORAGE_RETRY).await;
                if commits.has_changed().is_err() {
                    return;
                }
            }
            // Looks again itself, so that the next turn sees how it stands.
            if self.inner.queue.write(Nudge).await.is_err() {
                tokio::time::sleep(STORAGE_RETRY).await;
            }
            self.set_cap().await;
        }
    }
}
