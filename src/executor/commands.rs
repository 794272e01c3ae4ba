//! What clients ask of the executor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{MutexGuard, watch};

use super::events::STORAGE_RETRY;
use super::{Executor, ExecutorError};
use crate::backend::{EndAnswer, Gone, Local, SuspendedBy};
use crate::queue::error::QueueError;
use crate::queue::ops::LISTED;
use crate::queue::ops::cancel::{Cancel, CancelOutcome};
use crate::queue::ops::control::{Nudge, Start, StartOutcome, Stop};
use crate::queue::ops::recover::Release;
use crate::queue::ops::select::Selection;
use crate::queue::ops::update::{Update, UpdateOutcome};
use crate::queue::state::State;
use crate::queue::writer::Snapshot;
use crate::task::{ClaimId, Order, RunState, TaskId};

/// How long a daemon that ends waits for a keeper that does not answer: stopped, or swapped out.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// What the keeper was told to end, and what it gave back.
struct Asked {
    ordered: BTreeMap<TaskId, ClaimId>,
    yielded: Vec<ClaimId>,
}

impl Executor {
    /// Runs, or changes what runs. What restricts goes to the keeper first.
    ///
    /// # Errors
    /// When the queue cannot be written.
    pub async fn run(&self, start: Start) -> Result<StartOutcome, ExecutorError> {
        let _turn = self.turn().await?;
        let caps = &self.inner.rules.function_caps;
        let before = self.cap();
        if let Some(cap) = start.max_concurrent.filter(|cap| *cap < before) {
            self.with_backend(|backend| async move { backend.set_caps(cap, caps).await }).await?;
        }
        // With a limit on failures nothing waits ahead: the attempt after the last that may fail must not start.
        let limited = start.max_failures.flatten().is_some();
        let yielded =
            if limited { self.with_backend(|backend| async move { backend.hold().await }).await? } else { Vec::new() };
        let written = self.inner.queue.write(start).await;
        if limited {
            self.give_back(yielded);
        }
        let outcome = written.inspect_err(|_| drop(tokio::spawn(self.clone().resume_in_order())))?;
        let run = self.inner.queue.snapshot().run.clone();
        let (cap, runs) = (self.cap(), run.state == RunState::Running);
        self.with_backend(|backend| async move {
            backend.set_caps(cap, caps).await?;
            if runs { backend.resume().await } else { Ok(()) }
        })
        .await?;
        Ok(outcome)
    }

    /// Stops: nothing more starts; without `graceful` what runs is ended and goes back to the queue.
    ///
    /// # Errors
    /// When the queue cannot be written.
    pub async fn stop(&self, graceful: bool) -> Result<(), ExecutorError> {
        let order = (!graceful).then_some(Order::Stop);
        self.wind_down("stopped by request", order).await
    }

    /// Stops at `deadline`, if it stands still.
    pub(super) async fn stop_at(&self, deadline: i64) -> Result<(), ExecutorError> {
        if self.inner.queue.snapshot().run.deadline != Some(deadline) {
            return Ok(());
        }
        self.wind_down("deadline", Some(Order::Deadline)).await
    }

    async fn wind_down(&self, reason: &'static str, order: Option<Order>) -> Result<(), ExecutorError> {
        let _turn = self.turn().await?;
        if self.inner.queue.snapshot().run.state == RunState::Stopped {
            return Ok(());
        }
        let _closed = self.inner.queue.close_gate();
        // It was not stopped where that fails, so it runs: the keeper must not stay held.
        self.halt(reason, order).await.inspect_err(|_| drop(tokio::spawn(self.clone().resume_in_order())))
    }

    async fn halt(&self, reason: &'static str, order: Option<Order>) -> Result<(), ExecutorError> {
        let yielded = self.with_backend(|backend| async move { backend.hold().await }).await?;
        if let Some(order) = order {
            let grace_ms = self.inner.rules.grace_ms;
            self.with_backend(|backend| async move { backend.end(None, order, grace_ms).await }).await?;
        }
        let stop = Stop { reason, yielded: yielded.clone() };
        self.inner.queue.write(stop).await.inspect_err(|_| self.give_back(yielded))?;
        // What is to end must go on.
        self.with_backend(|backend| async move { backend.suspend(None, SuspendedBy::Task, false).await }).await?;
        self.keep_to_pause().await?;
        self.release_waiting().await
    }

    /// `max_failures` stops from within the queue; the keeper is told after.
    pub(super) async fn hold_when_stopping(&self) -> Result<(), ExecutorError> {
        let _turn = self.turn().await?;
        if self.inner.queue.snapshot().run.state == RunState::Stopping {
            let _closed = self.inner.queue.close_gate();
            self.release_waiting().await?;
        }
        Ok(())
    }

    /// Waits for the command before to end.
    pub(super) async fn turn(&self) -> Result<MutexGuard<'_, ()>, ExecutorError> {
        let turn = self.inner.commands.lock().await;
        if *self.inner.closing.borrow() { Err(ExecutorError::ShuttingDown) } else { Ok(turn) }
    }

    /// Gives back what waits in the keeper, claims that were on their way to it included.
    async fn release_waiting(&self) -> Result<(), ExecutorError> {
        while self.inner.queue.snapshot().ahead > 0 {
            let last = self.inner.queue.snapshot().run.next_claim - 1;
            self.handed_over(last).await?;
            let mut commits = self.inner.queue.commits();
            commits.borrow_and_update();
            let claims = self.with_backend(|backend| async move { backend.hold().await }).await?;
            if claims.is_empty() {
                // What is ahead has started; its start is on its way into the queue.
                if self.inner.queue.snapshot().ahead > 0 {
                    self.next_commit(&mut commits).await?;
                }
            } else {
                let release = Release { claims: claims.clone() };
                self.inner.queue.write(release).await.inspect_err(|_| self.give_back(claims))?;
            }
        }
        Ok(())
    }

    /// Gives claims back that the keeper yielded for a change that could not be written: nobody else knows of them.
    pub(super) fn give_back(&self, claims: Vec<ClaimId>) {
        if claims.is_empty() {
            return;
        }
        let executor = self.clone();
        tokio::spawn(async move {
            let release = || Release { claims: claims.clone() };
            while let Err(QueueError::Unavailable(_)) = executor.inner.queue.write(release()).await {
                tokio::time::sleep(STORAGE_RETRY).await;
            }
        });
    }

    /// Cancels tasks; those that run are told to end.
    ///
    /// # Errors
    /// When the queue cannot be written.
    pub async fn cancel(&self, selection: Selection) -> Result<CancelOutcome, ExecutorError> {
        let mut total = CancelOutcome::default();
        let mut work = Cancel { selection, yielded: Vec::new(), ordered: BTreeMap::new() };
        loop {
            let mut commits = self.inner.queue.commits();
            commits.borrow_and_update();
            let outcome = self.inner.queue.write(work.clone()).await?;
            total.count += outcome.count;
            total.cancelled.extend(outcome.cancelled);
            total.not_cancelled.extend(outcome.not_cancelled);
            self.cancel_claimed(outcome.claimed, outcome.ahead, &work.selection, &mut total).await?;
            match (&mut work.selection, outcome.next) {
                (Selection::Batch { after, .. }, Some(next)) => *after = next,
                _ => break,
            }
        }
        total.cancelled.sort_unstable();
        total.cancelled.truncate(LISTED);
        total.not_cancelled.truncate(LISTED);
        Ok(total)
    }

    /// Cancels tasks that are with the keeper: asked there first, committed second. Those `ahead` if they still pass then.
    async fn cancel_claimed(
        &self,
        mut claimed: Vec<(TaskId, ClaimId)>,
        mut ahead: Vec<(TaskId, ClaimId)>,
        selection: &Selection,
        total: &mut CancelOutcome,
    ) -> Result<(), ExecutorError> {
        while !claimed.is_empty() || !ahead.is_empty() {
            let mut commits = self.inner.queue.commits();
            commits.borrow_and_update();
            let Asked { ordered, yielded } = self.ask_keeper(&claimed, &ahead).await?;
            let settled = !(ordered.is_empty() && yielded.is_empty());
            let ids = claimed.iter().chain(&ahead).map(|(task, _)| *task).collect();
            let outcome = self
                .inner
                .queue
                .write(Cancel { selection: selection.among(ids), yielded: yielded.clone(), ordered })
                .await
                .inspect_err(|_| self.give_back(yielded))?;
            total.count += outcome.count;
            total.cancelled.extend(outcome.cancelled);
            total.not_cancelled.extend(outcome.not_cancelled);
            (claimed, ahead) = (outcome.claimed, outcome.ahead);
            let is_done = claimed.is_empty() && ahead.is_empty();
            if !settled && !is_done {
                // Their ends are on their way into the queue.
                self.next_commit(&mut commits).await?;
            }
        }
        Ok(())
    }

    /// Has the keeper end what is claimed, and give back what is ahead and has not started.
    async fn ask_keeper(
        &self,
        claimed: &[(TaskId, ClaimId)],
        ahead: &[(TaskId, ClaimId)],
    ) -> Result<Asked, ExecutorError> {
        let [claims, back] = [claimed, ahead].map(|some| some.iter().map(|(_, claim)| *claim).collect::<Vec<_>>());
        self.handed_over(claims.iter().chain(&back).copied().max().unwrap_or(0)).await?;
        let mut asked = Asked { ordered: BTreeMap::new(), yielded: Vec::new() };
        if !back.is_empty() {
            asked.yielded = self
                .with_backend(|backend| {
                    let back = back.clone();
                    async move { backend.take_back(back).await }
                })
                .await?;
        }
        if claims.is_empty() {
            return Ok(asked);
        }
        let grace_ms = self.inner.rules.grace_ms;
        let answers = self
            .with_backend(|backend| {
                let claims = claims.clone();
                async move { backend.end(Some(claims), Order::Cancel, grace_ms).await }
            })
            .await
            .inspect_err(|_| self.give_back(asked.yielded.clone()))?;
        let of = |wanted| answers.iter().filter(move |(_, a)| *a == wanted).map(|(claim, _)| *claim);
        let task_of: BTreeMap<ClaimId, TaskId> = claimed.iter().map(|(task, claim)| (*claim, *task)).collect();
        asked.ordered = of(EndAnswer::Ordered).filter_map(|claim| Some((*task_of.get(&claim)?, claim))).collect();
        asked.yielded.extend(of(EndAnswer::Yielded));
        Ok(asked)
    }

    /// Changes queued tasks; those that are claimed ahead are taken back first.
    ///
    /// # Errors
    /// When the queue cannot be written.
    pub async fn update(&self, mut update: Update) -> Result<UpdateOutcome, ExecutorError> {
        let mut total = UpdateOutcome::default();
        loop {
            let mut commits = self.inner.queue.commits();
            commits.borrow_and_update();
            let written = self.inner.queue.write(update.clone()).await;
            let outcome = written.inspect_err(|_| self.give_back(std::mem::take(&mut update.yielded)))?;
            total.updated.extend(outcome.updated);
            total.not_updated.extend(outcome.not_updated);
            if outcome.claimed.is_empty() {
                self.settled().await;
                total.updated.sort_unstable();
                total.not_updated.sort_unstable_by_key(|not| not.task_id);
                return Ok(total);
            }
            let claims: Vec<ClaimId> = outcome.claimed.iter().map(|(_, claim)| *claim).collect();
            self.handed_over(claims.iter().copied().max().unwrap_or(0)).await?;
            let yielded = self
                .with_backend(|backend| {
                    let claims = claims.clone();
                    async move { backend.take_back(claims).await }
                })
                .await?;
            if yielded.is_empty() {
                self.next_commit(&mut commits).await?;
            }
            update.task_ids = outcome.claimed.into_iter().map(|(task, _)| task).collect();
            update.yielded = yielded;
        }
    }

    /// Ends everything for the daemon's own end: what runs goes back to the queue, the state is kept.
    ///
    /// # Errors
    /// When the queue cannot be written.
    pub async fn shut_down(&self, grace_ms: Option<i64>) -> Result<(), ExecutorError> {
        let grace_ms = grace_ms.unwrap_or(self.inner.rules.grace_ms);
        self.inner.closing.send_replace(true);
        let _closed = self.inner.queue.close_gate();
        let hold = async {
            let turn = self.inner.commands.lock().await;
            let claims = self.with_backend(|backend| async move { backend.hold().await }).await?;
            Ok::<_, ExecutorError>((turn, claims))
        };
        let (_turn, claims) = match tokio::time::timeout(LAST_ANSWER, hold).await {
            Ok(held) => held?,
            Err(_) => {
                self.abandon();
                return Err(ExecutorError::ShuttingDown);
            }
        };
        self.with_backend(|backend| async move { backend.end(None, Order::Stop, grace_ms).await }).await?;
        // Without disk the claims and the ends stay with the keeper; the next daemon settles them.
        self.inner.queue.write(Release { claims }).await?;
        self.release_waiting().await?;
        let mut commits = self.inner.queue.commits();
        let mut storage = self.inner.storage_error.subscribe();
        tokio::select! {
            ended = commits.wait_for(|snapshot| snapshot.tally.in_state(State::Running) == 0) => {
                ended.map(drop).map_err(|_| ExecutorError::ShuttingDown)
            }
            // The ends stay with the keeper until a daemon can write them.
            _ = storage.wait_for(Option::is_some) => Err(ExecutorError::ShuttingDown),
        }
    }

    /// Gives a keeper up that does not answer: who waits for it is told so, and what it runs is the next daemon's.
    fn abandon(&self) {
        tracing::error!("the keeper does not answer; what it runs goes on without this daemon");
        if let Some(backend) = self.inner.backend.send_replace(None) {
            backend.abandon();
        }
    }

    /// A second order to end: the grace is over now.
    pub async fn hurry(&self) {
        // A keeper that is gone has nothing left to end.
        drop(self.with_backend(|backend| async move { backend.end(None, Order::Stop, 0).await }).await);
    }

    /// Lets the end of a group claim, after a change that permits.
    ///
    /// # Errors
    /// When the queue cannot be written.
    pub async fn nudge(&self) -> Result<(), ExecutorError> {
        Ok(self.inner.queue.write(Nudge).await?)
    }

    /// Waits until the backend has every task that was claimed so far: what is added or changed now has its
    /// place among them. Does not wait for a backend that is not there.
    pub async fn settled(&self) {
        let claim = self.inner.queue.snapshot().run.next_claim - 1;
        let mut backend = self.inner.backend.subscribe();
        tokio::select! {
            _ = self.handed_over(claim) => {}
            _ = backend.wait_for(Option::is_none) => {}
        }
    }

    /// Waits for what is on its way into the queue; not while nothing can be written.
    pub(super) async fn next_commit(&self, commits: &mut watch::Receiver<Arc<Snapshot>>) -> Result<(), ExecutorError> {
        let mut storage_error = self.inner.storage_error.subscribe();
        tokio::select! {
            changed = commits.changed() => changed.map_err(|_| ExecutorError::ShuttingDown),
            stands = storage_error.wait_for(Option::is_some) => {
                Err(stands.ok().and_then(|error| error.clone()).map_or(ExecutorError::ShuttingDown, Into::into))
            }
        }
    }

    /// Waits until the backend has every claim up to `claim`.
    pub(super) async fn handed_over(&self, claim: ClaimId) -> Result<(), ExecutorError> {
        let mut handed_over = self.inner.handed_over.subscribe();
        handed_over.wait_for(|last| *last >= claim).await.map_err(|_| ExecutorError::ShuttingDown)?;
        Ok(())
    }

    /// Asks the backend; again at the next one when this one is lost meanwhile. All that is asked is idempotent.
    pub(super) async fn with_backend<T, F>(&self, ask: impl Fn(Local) -> F) -> Result<T, ExecutorError>
    where
        F: Future<Output = Result<T, Gone>>,
    {
        loop {
            let backend = self.backend().await?;
            match ask(backend.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(Gone) => {
                    let mut changed = self.inner.backend.subscribe();
                    let lost = backend.keeper_pid;
                    changed
                        .wait_for(|now| now.as_ref().is_none_or(|now| now.keeper_pid != lost))
                        .await
                        .map_err(|_| ExecutorError::ShuttingDown)?;
                }
            }
        }
    }
}
