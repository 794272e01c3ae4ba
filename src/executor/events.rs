//! Claims to the backend, starts and ends from it, and what follows when the keeper is lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::{Executor, StartError};
use crate::attempt::{Attempt, Event};
use crate::backend::{Local, Signal, SuspendedBy};
use crate::failpoint;
use crate::queue::Closed;
use crate::queue::error::QueueError;
use crate::queue::ops::apply::Apply;
use crate::queue::ops::control::Nudge;
use crate::queue::ops::recover::Recover;
use crate::task::{Cause, ClaimId, Hold, Order, RunState};

/// How long an attempt that was killed from outside waits for others that are killed with it, before it counts as
/// failed.
const BURST: Duration = Duration::from_millis(300);
/// The most events in one operation of the queue, by and large.
const TOGETHER: usize = 1024;
/// Between tries while the queue cannot be written. The one timer that repeats, and only then.
pub(super) const STORAGE_RETRY: Duration = Duration::from_secs(1);

impl Executor {
    /// Finds or starts the keeper and settles what was claimed under an earlier one. To be called behind a closed
    /// gate.
    pub(super) async fn connect(
        &self,
        claimed: &mut mpsc::UnboundedReceiver<Vec<Attempt>>,
        rebooted: bool,
        at_start: bool,
    ) -> Result<mpsc::UnboundedReceiver<Signal>, StartError> {
        let inner = &self.inner;
        let (backend, found, signals) = Local::connect(inner.options.clone(), inner.handed_over.clone()).await?;
        let cause = match (rebooted, at_start) {
            (true, _) => Cause::Reboot,
            (false, true) => Cause::Killed,
            (false, false) => Cause::KeeperLost,
        };
        failpoint::reach("before-recover");
        let held = found.held;
        let recovered = inner
            .queue
            .write(Recover {
                held: held.clone(),
                had_process: found.had_process,
                cause,
                max_interruptions: inner.rules.max_interruptions,
                output_dir: inner.options.home.output_dir(),
            })
            .await?;
        failpoint::reach("after-recover");
        backend.settled();
        // Claims that no keeper has seen are void now, too: the gate is closed since before they were read.
        while claimed.try_recv().is_ok() {}
        inner.handed_over.send_replace(inner.queue.snapshot().run.next_claim - 1);
        if recovered.interrupted > 0 || recovered.released > 0 {
            tracing::warn!(
                interrupted = recovered.interrupted,
                released = recovered.released,
                cause = %cause,
                "attempts of an earlier keeper were lost"
            );
        }
        // A keeper that is lost now says so by its last signal; nothing of this is answered to anybody.
        let grace_ms = inner.rules.grace_ms;
        let orders = [(recovered.foreign, Order::Stop), (recovered.to_cancel, Order::Cancel)];
        for (claims, order) in orders.into_iter().filter(|(claims, _)| !claims.is_empty()) {
            drop(backend.end(Some(claims), order, grace_ms).await);
        }
        let _ = backend.set_caps(self.cap(), &inner.rules.function_caps).await;
        // An earlier daemon may have died between the keeper and the queue.
        let go_on: Vec<ClaimId> = held.iter().filter(|claim| !recovered.suspended.contains(claim)).copied().collect();
        let by_executor = inner.queue.snapshot().run.paused == Some(Hold::Pause);
        for (claims, by, on) in [
            (Some(recovered.suspended), SuspendedBy::Task, true),
            (Some(go_on), SuspendedBy::Task, false),
            (None, SuspendedBy::Executor, by_executor),
        ] {
            drop(backend.suspend(claims, by, on).await);
        }
        // Where no gate suspends any more nobody looks after what one has.
        if !inner.rules.gates.iter().any(|gate| gate.running == Hold::Pause) {
            drop(backend.suspend(None, SuspendedBy::Gate, false).await);
        }
        tracing::info!(keeper = backend.keeper_pid, adopted = found.adopted, "the keeper is connected");
        inner.backend.send_replace(Some(backend));
        Ok(signals)
    }

    /// Opens the gate after [`Self::connect`], and lets the keeper start once it has what comes before that which it
    /// holds already.
    pub(super) async fn open(&self, closed: Closed) -> Result<(), QueueError> {
        drop(closed);
        self.inner.queue.write(Nudge).await?;
        tokio::spawn(self.clone().resume_in_order());
        Ok(())
    }

    /// Lets the keeper start again.
    pub(super) async fn resume_in_order(self) {
        // The daemon is ending where there is no turn.
        let Ok(_turn) = self.turn().await else { return };
        if self.inner.queue.snapshot().run.state != RunState::Running {
            return;
        }
        self.settled().await;
        let backend = self.inner.backend.borrow().clone();
        if let Some(backend) = backend {
            // A keeper that is lost meanwhile has nothing to resume; the next one comes here again.
            let _ = backend.resume().await;
        }
    }

    /// Runs until the queue is closed.
    pub(super) async fn run_events(
        self,
        mut claimed: mpsc::UnboundedReceiver<Vec<Attempt>>,
        mut signals: mpsc::UnboundedReceiver<Signal>,
    ) {
        let mut held = Held::default();
        let mut next = None;
        loop {
            tokio::select! {
                // Claims first: an order to end must find them with the keeper.
                biased;
                attempts = claimed.recv() => match (attempts, self.inner.backend.borrow().as_ref()) {
                    (Some(attempts), Some(backend)) => {
                        failpoint::reach("before-launch");
                        backend.launch(attempts);
                    }
                    (Some(_), None) => {}
                    (None, _) => return,
                },
                () = held.is_over() => self.apply(held.take()).await,
                signal = next_of(&mut next, &mut signals) => match signal {
                    Some(Signal::Events { upto, events }) => {
                        held.add(upto, events);
                        // What came while the last ones were on their way shares a commit.
                        while held.events.len() < TOGETHER && next.is_none() {
                            match signals.try_recv() {
                                Ok(Signal::Events { upto, events }) => held.add(upto, events),
                                Ok(other) => next = Some(other),
                                Err(_) => break,
                            }
                        }
                        if !held.waits() {
                            self.apply(held.take()).await;
                        }
                    }
                    Some(Signal::Grew { claim }) => drop(self.inner.grew.send(claim)),
                    Some(Signal::Lost) | None => {
                        self.apply(held.take()).await;
                        match self.reconnect(&mut claimed).await {
                            Some(again) => signals = again,
                            None => return,
                        }
                    }
                },
            }
        }
    }

    /// Events into the queue, and then the backend may forget them. An end is never dropped: while the disk takes
    /// nothing, nothing new starts, and it is tried again.
    async fn apply(&self, (upto, events): (u64, Vec<Event>)) {
        if events.is_empty() {
            return;
        }
        failpoint::reach("before-apply");
        let cap = self.inner.queue.snapshot().run.cap();
        let events = Arc::new(events);
        loop {
            match self.try_apply(&events).await {
                Ok(()) => break,
                Err(error @ QueueError::Unavailable(_)) => {
                    tracing::error!(err = %error, "ends cannot be written; trying again");
                    self.inner.storage_error.send_replace(Some(error));
                    self.set_cap().await;
                    tokio::time::sleep(STORAGE_RETRY).await;
                }
                // The daemon is ending: the backend keeps them for the next one.
                Err(_) => return,
            }
        }
        let writable_again = self.inner.storage_error.send_if_modified(|error| error.take().is_some());
        if writable_again || self.inner.queue.snapshot().run.cap() != cap {
            self.set_cap().await;
        }
        failpoint::reach("before-taken");
        if let Some(backend) = self.inner.backend.borrow().as_ref() {
            backend.taken(upto);
        }
        let snapshot = self.inner.queue.snapshot();
        if snapshot.run.state == RunState::Stopping && snapshot.ahead > 0 {
            let executor = self.clone();
            // In a task of its own: it waits for starts that this one writes.
            tokio::spawn(async move {
                if let Err(error) = executor.hold_when_stopping().await {
                    tracing::error!(err = %error, "what waits in the keeper could not be taken back");
                }
            });
        }
    }

    /// An event that can never be written, by a defect of ours, is left out, alone.
    async fn try_apply(&self, events: &Arc<Vec<Event>>) -> Result<(), QueueError> {
        let error = match self.inner.queue.write(Apply { events: events.clone() }).await {
            Err(error @ (QueueError::Statement(_) | QueueError::Value(_))) => error,
            done => return done,
        };
        if events.len() == 1 {
            tracing::error!(err = %error, claim = events[0].claim(), "an event cannot be written");
            return Ok(());
        }
        for event in events.iter() {
            Box::pin(self.try_apply(&Arc::new(vec![event.clone()]))).await?;
        }
        Ok(())
    }

    async fn reconnect(
        &self,
        claimed: &mut mpsc::UnboundedReceiver<Vec<Attempt>>,
    ) -> Option<mpsc::UnboundedReceiver<Signal>> {
        tracing::error!("the keeper is gone; another is started");
        let closed = self.inner.queue.close_gate();
        self.inner.backend.send_replace(None);
        loop {
            match self.connect(claimed, false, false).await {
                Ok(signals) => {
                    if let Err(error) = self.open(closed).await {
                        tracing::error!(err = %error, "the queue cannot be written at the new keeper");
                    }
                    return Some(signals);
                }
                Err(StartError::Queue(error)) if error.is_over() => return None,
                Err(error) => {
                    tracing::error!(err = %error, "no keeper could be started; trying again");
                    tokio::time::sleep(STORAGE_RETRY).await;
                }
            }
        }
    }
}

/// The signal that was looked at already, else the next one.
async fn next_of(next: &mut Option<Signal>, signals: &mut mpsc::UnboundedReceiver<Signal>) -> Option<Signal> {
    match next.take() {
        Some(signal) => Some(signal),
        None => signals.recv().await,
    }
}

/// Events that are not written yet: those from the first kill from outside on, for a moment.
#[derive(Default)]
struct Held {
    upto: u64,
    events: Vec<Event>,
    until: Option<Instant>,
}

impl Held {
    fn add(&mut self, upto: u64, events: Vec<Event>) {
        self.upto = upto;
        if self.until.is_none() && events.iter().any(Event::is_outside_kill) {
            self.until = Some(Instant::now() + BURST);
        }
        self.events.extend(events);
    }

    fn waits(&self) -> bool {
        self.until.is_some()
    }

    /// Never, where nothing waits.
    async fn is_over(&self) {
        match self.until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    }

    fn take(&mut self) -> (u64, Vec<Event>) {
        let Self { upto, events, .. } = std::mem::take(self);
        (upto, events)
    }
}
