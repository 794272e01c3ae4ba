//! `pause` and `resume`: of the executor, and of tasks. What restricts goes to the keeper first.

use std::collections::BTreeMap;

use super::{Executor, ExecutorError};
use crate::backend::{Suspended, SuspendedBy};
use crate::failpoint;
use crate::protocol::NotDone;
use crate::queue::ops::LISTED;
use crate::queue::ops::pause::{Pause, PauseOutcome, PauseRun};
use crate::queue::ops::select::Selection;
use crate::task::{ClaimId, Hold, Order, RunState, TaskId};

impl Executor {
    /// Starts nothing more until [`Self::go_on`]; with what runs it does as `hold` says. False where the executor does not run, or
    /// is paused so already.
    ///
    /// # Errors
    /// When the queue cannot be written.
    pub async fn pause(&self, hold: Hold) -> Result<bool, ExecutorError> {
        let _turn = self.turn().await?;
        if self.inner.queue.snapshot().run.state != RunState::Running {
            return Ok(false);
        }
        let caps = &self.inner.rules.function_caps;
        self.with_backend(|backend| async move { backend.set_caps(0, caps).await }).await?;
        self.hold(hold, SuspendedBy::Executor).await?;
        failpoint::reach("before-pause");
        let paused = self.inner.queue.write(PauseRun { hold: Some(hold) }).await;
        // Also where it was written: the cap may have been set meanwhile.
        self.keep_to_pause().await?;
        Ok(paused?)
    }

    /// The reverse. False where it was not paused.
    ///
    /// # Errors
    /// When the queue cannot be written.
    pub async fn go_on(&self) -> Result<bool, ExecutorError> {
        let _turn = self.turn().await?;
        let changed = self.inner.queue.write(PauseRun { hold: None }).await?;
        self.keep_to_pause().await?;
        Ok(changed)
    }

    /// Does with what runs as `hold` says. An earlier pause that suspended more is over.
    pub(super) async fn hold(&self, hold: Hold, by: SuspendedBy) -> Result<(), ExecutorError> {
        let on = hold == Hold::Pause;
        self.with_backend(|backend| async move { backend.suspend(None, by, on).await }).await?;
        if hold == Hold::End {
            let grace_ms = self.inner.rules.grace_ms;
            self.with_backend(|backend| async move { backend.end(None, Order::Stop, grace_ms).await }).await?;
        }
        Ok(())
    }

    /// Has the keeper as the queue says whether the executor is paused. To be called when that has changed, or may have.
    pub(super) async fn keep_to_pause(&self) -> Result<(), ExecutorError> {
        let on = self.inner.queue.snapshot().run.paused == Some(Hold::Pause);
        self.with_backend(|backend| async move { backend.suspend(None, SuspendedBy::Executor, on).await }).await?;
        self.set_cap().await;
        Ok(())
    }

    /// Pauses tasks: those that are queued are not started, with those that run it does as `hold` says.
    ///
    /// # Errors
    /// When the queue cannot be written.
    pub async fn pause_tasks(&self, selection: Selection, hold: Hold) -> Result<PauseOutcome, ExecutorError> {
        let _turn = self.turn().await?;
        let mut total = PauseOutcome::default();
        let mut from = Some(selection);
        while let Some(selection) = from {
            let next = self.pause_some(selection.clone(), hold, &mut total).await?;
            from = rest(selection, next);
        }
        Ok(bounded(total))
    }

    /// Lets paused tasks go on.
    ///
    /// # Errors
    /// When the queue cannot be written.
    pub async fn resume_tasks(&self, selection: Selection) -> Result<PauseOutcome, ExecutorError> {
        let _turn = self.turn().await?;
        let mut total = PauseOutcome::default();
        let mut from = Some(selection);
        while let Some(selection) = from {
            let work = Pause { selection: selection.clone(), hold: None, yielded: Vec::new(), held: BTreeMap::new() };
            let outcome = self.inner.queue.write(work).await?;
            let claims: Vec<ClaimId> = outcome.running.iter().map(|(_, claim)| *claim).collect();
            if !claims.is_empty() {
                self.suspend_tasks(&claims, false).await?;
            }
            from = rest(selection, outcome.next);
            add(&mut total, outcome);
        }
        self.settled().await;
        Ok(bounded(total))
    }

    /// Pauses the tasks of a piece; gives where a batch goes on.
    async fn pause_some(
        &self,
        selection: Selection,
        hold: Hold,
        total: &mut PauseOutcome,
    ) -> Result<Option<TaskId>, ExecutorError> {
        let mut work = Pause { selection, hold: Some(hold), yielded: Vec::new(), held: BTreeMap::new() };
        let mut next = None;
        let mut to_end = Vec::new();
        loop {
            let written = self.inner.queue.write(work.clone()).await;
            if written.is_err() {
                self.give_back(std::mem::take(&mut work.yielded));
                let held: Vec<ClaimId> = work.held.values().copied().collect();
                self.suspend_tasks(&held, false).await?;
            }
            let mut outcome = written?;
            let (claimed, running) = (std::mem::take(&mut outcome.claimed), std::mem::take(&mut outcome.running));
            let place = outcome.place;
            next = next.or(outcome.next);
            add(total, outcome);
            if hold == Hold::End {
                to_end.extend(work.held.values().copied());
            }
            if claimed.is_empty() && running.is_empty() {
                break;
            }
            let claims: Vec<ClaimId> = claimed.iter().map(|(_, claim)| *claim).collect();
            self.handed_over(claims.iter().copied().max().unwrap_or(0)).await?;
            work.yielded = self
                .with_backend(|backend| {
                    let claims = claims.clone();
                    async move { backend.take_back(claims).await }
                })
                .await?;
            let claims: Vec<ClaimId> = running.iter().map(|(_, claim)| *claim).collect();
            let Suspended { held, ending } = match hold {
                Hold::Pause => self.suspend_tasks(&claims, true).await?,
                Hold::Leave | Hold::End => Suspended { held: claims, ending: Vec::new() },
            };
            let (ending, running): (Vec<_>, Vec<_>) =
                running.into_iter().partition(|(_, claim)| ending.contains(claim));
            let not = ending.into_iter().map(|(task_id, _)| NotDone { task_id, reason: "is being ended".to_owned() });
            total.not_changed.extend(not);
            work.held = running.iter().filter(|(_, claim)| held.contains(claim)).copied().collect();
            let left: Vec<TaskId> = claimed.into_iter().chain(running).map(|(task, _)| task).collect();
            if left.is_empty() {
                break;
            }
            work.selection = Selection::Tasks(left);
            if work.yielded.is_empty() && work.held.is_empty() {
                // Their starts, or their ends, are on their way into the queue.
                self.operation_after(place).await?;
            }
        }
        if !to_end.is_empty() {
            let grace_ms = self.inner.rules.grace_ms;
            self.with_backend(|backend| {
                let claims = to_end.clone();
                async move { backend.end(Some(claims), Order::Stop, grace_ms).await }
            })
            .await?;
        }
        Ok(next)
    }

    /// Waits until an operation after this one is in the queue.
    async fn operation_after(&self, place: u64) -> Result<(), ExecutorError> {
        let mut commits = self.inner.queue.commits();
        while commits.borrow_and_update().operations <= place {
            self.next_commit(&mut commits).await?;
        }
        Ok(())
    }

    async fn suspend_tasks(&self, claims: &[ClaimId], on: bool) -> Result<Suspended, ExecutorError> {
        if !self.backend().await?.can_suspend() {
            return Err(ExecutorError::OldKeeper);
        }
        self.with_backend(|backend| {
            let claims = claims.to_vec();
            async move { backend.suspend(Some(claims), SuspendedBy::Task, on).await }
        })
        .await
    }
}

/// What of a selection is left.
fn rest(selection: Selection, next: Option<TaskId>) -> Option<Selection> {
    match (selection, next) {
        (Selection::Batch { batch_id, .. }, Some(after)) => Some(Selection::Batch { batch_id, after }),
        _ => None,
    }
}

fn add(total: &mut PauseOutcome, more: PauseOutcome) {
    total.count += more.count;
    total.changed.extend(more.changed);
    total.not_changed.extend(more.not_changed);
}

fn bounded(mut total: PauseOutcome) -> PauseOutcome {
    total.changed.sort_unstable();
    total.changed.truncate(LISTED);
    total.not_changed.truncate(LISTED);
    total
}
