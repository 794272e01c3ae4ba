//! The gates: looked at while that can change anything, closed until they have been, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::alarm::WallAlarm;
use super::events::STORAGE_RETRY;
use super::{Executor, ExecutorError};
use crate::backend::SuspendedBy;
use crate::gate::{Gate, Reading, Rule, Sources, Verdict};
use crate::queue::Closed;
use crate::queue::events::{Stored, Tell};
use crate::queue::state::State;
use crate::queue::writer::Snapshot;
use crate::task::{Hold, RunState};
use crate::time;

/// How a gate stands.
#[derive(Debug, Clone)]
pub struct Standing {
    pub gate: Arc<Gate>,
    /// None: it was not looked at yet.
    pub verdict: Option<Verdict>,
    /// Since when it is open or closed, wall clock, ms.
    pub since: i64,
}

impl Standing {
    fn is_closed(&self) -> bool {
        self.verdict.as_ref().is_some_and(|verdict| !verdict.open)
    }
}

/// A gate with what is to be known of its last look.
struct Watched {
    standing: Standing,
    /// The reading before said yes.
    said_yes: bool,
    /// When it is to be looked at next; none: whenever another is.
    due: Option<Instant>,
    is_looked_at: bool,
    /// What it says is of now.
    is_fresh: bool,
}

impl Executor {
    /// How each gate stands, as far as it was looked at.
    pub fn gates(&self) -> watch::Receiver<Arc<Vec<Standing>>> {
        self.inner.gates.subscribe()
    }

    /// Why nothing starts, where a gate is closed.
    pub fn closed_gate(&self) -> Option<String> {
        let standings = self.inner.gates.borrow();
        let closed: Vec<String> = standings
            .iter()
            .filter(|standing| standing.is_closed())
            .filter_map(|standing| Some(format!("`{}` ({})", standing.gate.name, standing.verdict.as_ref()?.found)))
            .collect();
        let since = standings.iter().filter(|standing| standing.is_closed()).map(|standing| standing.since).min()?;
        let gates = if closed.len() == 1 { "gate" } else { "gates" };
        Some(format!("{gates} {} closed since {}", closed.join(", "), time::rfc3339(since)))
    }

    /// What becomes of what runs, where a gate is closed.
    pub fn closed_hold(&self) -> Option<Hold> {
        let standings = self.inner.gates.borrow();
        standings.iter().filter(|standing| standing.is_closed()).map(|standing| standing.gate.running).max()
    }

    /// Runs until the queue is closed; with `shut`, for nothing starts before the first look.
    pub(super) async fn run_gates(self, shut: Closed) {
        let options = &self.inner.options;
        let sources =
            Arc::new(Sources { home: options.home.root().to_owned(), environment: options.base_environment.clone() });
        let mut watched: Vec<Watched> = self.inner.rules.gates.iter().map(Watched::new).collect();
        let holds = self.inner.rules.gates.iter().any(|gate| gate.running != Hold::Leave);
        let mut commits = self.inner.queue.commits();
        let mut shut = Some(shut);
        // What the keeper was told to do with what runs; a keeper may come from an earlier daemon.
        let mut told = None;
        let mut looks = JoinSet::new();
        while commits.wait_for(|snapshot| matters(snapshot, holds)).await.is_ok() {
            let now = Instant::now();
            for (place, gate) in watched.iter_mut().enumerate().filter(|(_, gate)| gate.is_due(now)) {
                let (sources, declared) = (sources.clone(), gate.standing.gate.clone());
                // The clock answers at once.
                if matches!(declared.rule, Rule::Window(_)) {
                    self.judge(gate, &sources.read(&declared.rule).await).await;
                    continue;
                }
                gate.is_looked_at = true;
                looks.spawn(async move { (place, sources.read(&declared.rule).await) });
            }
            let verdict = self.publish(&watched);
            // Nothing is known before each has been looked at, but one that is closed is closed.
            let is_known = verdict.is_some() || watched.iter().all(|gate| gate.is_fresh);
            if told != Some(verdict) && is_known {
                match self.obey(verdict, told, &mut shut).await {
                    Ok(()) => told = Some(verdict),
                    Err(ExecutorError::ShuttingDown) => return,
                    Err(error) => {
                        tracing::error!(err = %error, "what the gates say could not be carried out; trying again");
                        tokio::time::sleep(STORAGE_RETRY).await;
                    }
                }
            }
            tokio::select! {
                Some(look) = looks.join_next() => {
                    if let Ok((place, reading)) = look {
                        self.judge(&mut watched[place], &reading).await;
                    }
                }
                () = next_look(&watched) => {}
            }
            // What was found is worth nothing by the time that something waits again, and nobody looks until then.
            let is_stale = watched.iter().any(|gate| gate.due.is_some_and(|due| due <= Instant::now()));
            let idle = !matters(&commits.borrow_and_update(), holds);
            if idle && is_stale && told == Some(None) {
                shut = Some(self.inner.queue.close_gate());
                self.inner.shut.send_replace(true);
                self.set_cap().await;
                told = Some(Some(Hold::Leave));
                watched.iter_mut().for_each(|gate| gate.is_fresh = false);
            }
        }
    }

    /// Takes a reading; that a gate has closed or opened is told as an event.
    async fn judge(&self, gate: &mut Watched, reading: &Reading) {
        let was_closed = gate.standing.is_closed();
        gate.judge(reading);
        let Some(verdict) = gate.standing.verdict.as_ref().filter(|_| gate.standing.is_closed() != was_closed) else {
            return;
        };
        let (gate, open, found) = (gate.standing.gate.name.clone(), verdict.open, verdict.found.clone());
        if let Err(error) = self.inner.queue.write(Tell(Stored::Gate { gate, open, found })).await {
            tracing::warn!(err = %error, "no event tells of a gate");
        }
    }

    /// Lets others see how the gates stand; gives what becomes of what runs, none when all are open.
    fn publish(&self, watched: &[Watched]) -> Option<Hold> {
        let standings = watched.iter().map(|gate| gate.standing.clone()).collect();
        self.inner.gates.send_replace(Arc::new(standings));
        let hold = self.closed_hold();
        self.inner.queue.say_why(self.closed_gate().map(|gate| (gate, hold == Some(Hold::Pause))));
        hold
    }

    async fn obey(
        &self,
        verdict: Option<Hold>,
        before: Option<Option<Hold>>,
        shut: &mut Option<Closed>,
    ) -> Result<(), ExecutorError> {
        let Some(hold) = verdict else {
            *shut = None;
            self.inner.shut.send_replace(false);
            // Only where it may be suspended: at first, and after it was.
            if !matches!(before, Some(None | Some(Hold::Leave | Hold::End))) {
                self.hold(Hold::Leave, SuspendedBy::Gate).await?;
            }
            self.set_cap().await;
            return self.nudge().await;
        };
        if shut.is_none() {
            *shut = Some(self.inner.queue.close_gate());
        }
        self.inner.shut.send_replace(true);
        self.set_cap().await;
        self.hold(hold, SuspendedBy::Gate).await
    }
}

impl Watched {
    fn new(gate: &Gate) -> Self {
        Self {
            standing: Standing { gate: Arc::new(gate.clone()), verdict: None, since: time::wall_ms() },
            said_yes: true,
            due: None,
            is_looked_at: false,
            is_fresh: false,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        !self.is_looked_at && self.due.is_none_or(|due| due <= now)
    }

    fn judge(&mut self, reading: &Reading) {
        self.is_looked_at = false;
        self.is_fresh = true;
        let Standing { gate, verdict: last, since } = &mut self.standing;
        let before = last.take();
        let was_open = before.as_ref().is_none_or(|verdict| verdict.open);
        let verdict = gate.rule.judge(reading, was_open, self.said_yes);
        self.said_yes = *reading == Reading::Yes;
        let name = &gate.name;
        let is_news = before.as_ref().is_none_or(|before| before.unknown != verdict.unknown);
        if verdict.unknown && is_news {
            tracing::warn!(gate = name, why = verdict.found, "the gate cannot be read here, so it is open");
        }
        if before.as_ref().is_none_or(|before| before.open != verdict.open) {
            *since = time::wall_ms();
            if before.is_some() || !verdict.open {
                let what = if verdict.open { "the gate is open" } else { "the gate is closed: nothing starts" };
                tracing::info!(gate = name, found = verdict.found, "{what}");
            }
        }
        *last = Some(verdict);
        // The wall clock costs nothing to read.
        let is_polled = !matches!(gate.rule, Rule::Window(_));
        self.due = is_polled.then(|| Instant::now() + gate.every);
    }
}

/// Whether what the gates say can change anything now.
fn matters(snapshot: &Snapshot, holds: bool) -> bool {
    let (run, tally) = (&snapshot.run, &snapshot.tally);
    let may_start = run.state == RunState::Running && run.paused.is_none() && tally.in_state(State::Ready) > 0;
    may_start || (holds && tally.in_state(State::Running) > 0)
}

/// Waits until one is due, or the wall clock comes to a window's edge, or is set.
async fn next_look(watched: &[Watched]) {
    let windows = watched.iter().filter_map(|gate| match &gate.standing.gate.rule {
        Rule::Window(window) => Some(window.next_change(&time::local_now()).timestamp_millis()),
        _ => None,
    });
    let edge = windows.min();
    let due = watched.iter().filter(|gate| !gate.is_looked_at).filter_map(|gate| gate.due).min();
    let clock = async {
        match edge.map(WallAlarm::at) {
            Some(Ok(mut alarm)) => alarm.rings().await,
            Some(Err(error)) => {
                tracing::error!(err = %error, "there is no timer for the window's edge");
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            None => std::future::pending().await,
        }
    };
    let timer = async {
        match due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = clock => {}
        () = timer => {}
    }
}
