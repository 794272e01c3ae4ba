//! Claims to the backend, starts and ends from it, and what follows when the keeper is lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Executor, StartError};
use crate::attempt::{Attempt, Event};
use crate::backend::{Local, Signal};
use crate::queue::error::QueueError;
use crate::queue::ops::apply::Apply;
use crate::queue::ops::control::Nudge;
use crate::queue::ops::recover::Recover;
use crate::task::{Cause, Order, RunState};

/// Between tries while the queue cannot be written. The one timer that repeats, and only then.
const STORAGE_RETRY: Duration = Duration::from_secs(1);

impl Executor {
    /// Finds or starts the keeper and settles what was claimed under an earlier one.
    pub(super) async fn connect(
        &self,
        rebooted: bool,
        at_start: bool,
    ) -> Result<mpsc::UnboundedReceiver<Signal>, StartError> {
        let inner = &self.inner;
        inner.queue.set_gate(false);
        let (backend, found, signals) = Local::connect(inner.options.clone()).await?;
        let cause = match (rebooted, at_start) {
            (true, _) => Cause::Reboot,
            (false, true) => Cause::Killed,
            (false, false) => Cause::KeeperLost,
        };
        let recovered = inner
            .queue
            .write(Recover {
                held: found.held,
                had_process: found.had_process.into_iter().collect(),
                cause,
                max_interruptions: inner.rules.max_interruptions,
            })
            .await?;
        if recovered.interrupted > 0 || recovered.released > 0 {
            tracing::warn!(
                interrupted = recovered.interrupted,
                released = recovered.released,
                cause = %cause,
                "attempts of an earlier keeper were lost"
            );
        }
        let run = inner.queue.snapshot().run.clone();
        // A keeper that is lost now says so by its last signal; nothing of this is answered to anybody.
        let grace_ms = inner.rules.grace_ms;
        let orders = [(recovered.foreign, Order::Stop), (recovered.to_cancel, Order::Cancel)];
        for (claims, order) in orders.into_iter().filter(|(claims, _)| !claims.is_empty()) {
            drop(backend.end(Some(claims), order, grace_ms).await);
        }
        let _ = backend.set_caps(run.max_concurrent, &inner.rules.function_caps).await;
        if run.state == RunState::Running {
            let _ = backend.resume().await;
        }
        tracing::info!(keeper = backend.keeper_pid, adopted = found.adopted, "the keeper is connected");
        inner.backend.send_replace(Some(backend));
        inner.queue.set_gate(true);
        inner.queue.write(Nudge).await?;
        Ok(signals)
    }

    /// Runs until the queue is closed.
    pub(super) async fn run_events(
        self,
        mut claimed: mpsc::UnboundedReceiver<Vec<Attempt>>,
        mut signals: mpsc::UnboundedReceiver<Signal>,
    ) {
        loop {
            tokio::select! {
                // Claims first: an order to end must find them with the keeper.
                biased;
                attempts = claimed.recv() => match attempts {
                    Some(attempts) => self.launch(attempts),
                    None => return,
                },
                signal = signals.recv() => match signal {
                    Some(Signal::Events { upto, events }) => self.apply(upto, events).await,
                    Some(Signal::Grew { claim }) => drop(self.inner.grew.send(claim)),
                    Some(Signal::Lost) | None => match self.reconnect().await {
                        Some(again) => signals = again,
                        None => return,
                    },
                },
            }
        }
    }

    fn launch(&self, attempts: Vec<Attempt>) {
        let Some(last) = attempts.iter().map(|attempt| attempt.claim).max() else { return };
        if let Some(backend) = self.inner.backend.borrow().as_ref() {
            backend.launch(attempts);
        }
        self.inner.launched.send_if_modified(|launched| {
            let more = last > *launched;
            *launched = last.max(*launched);
            more
        });
    }

    /// Events into the queue; tried again while the disk takes nothing, for an end is never dropped.
    async fn apply(&self, upto: u64, events: Vec<Event>) {
        let events = Arc::new(events);
        loop {
            match self.inner.queue.write(Apply { events: events.clone() }).await {
                Ok(()) => break,
                Err(QueueError::Unavailable(error)) => {
                    tracing::error!(err = %error, "ends cannot be written; trying again");
                    self.inner.storage_error.send_replace(Some(error.to_string()));
                    tokio::time::sleep(STORAGE_RETRY).await;
                }
                Err(error) => {
                    tracing::error!(err = %error, "ends cannot be written");
                    return;
                }
            }
        }
        self.inner.storage_error.send_if_modified(|error| error.take().is_some());
        if let Some(backend) = self.inner.backend.borrow().as_ref() {
            backend.taken(upto);
        }
        self.hold_when_stopping().await;
    }

    /// `max_failures` stops from within the queue; the keeper is told after.
    async fn hold_when_stopping(&self) {
        if self.inner.queue.snapshot().run.state != RunState::Stopping || self.inner.queue.snapshot().ahead == 0 {
            return;
        }
        let executor = self.clone();
        tokio::spawn(async move {
            if let Err(error) = executor.release_waiting().await {
                tracing::error!(err = %error, "what waits in the keeper could not be taken back");
            }
        });
    }

    async fn reconnect(&self) -> Option<mpsc::UnboundedReceiver<Signal>> {
        tracing::error!("the keeper is gone; another is started");
        self.inner.backend.send_replace(None);
        loop {
            match self.connect(false, false).await {
                Ok(signals) => return Some(signals),
                Err(StartError::Queue(QueueError::Closed | QueueError::Damaged(_))) => return None,
                Err(error) => {
                    tracing::error!(err = %error, "no keeper could be started; trying again");
                    tokio::time::sleep(STORAGE_RETRY).await;
                }
            }
        }
    }
}
