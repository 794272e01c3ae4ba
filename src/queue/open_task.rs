//! Tasks with an open claim: what an attempt's start and end do to them.
//!
//! What was claimed is remembered until its end is taken, so that starts and ends need not be read for. Any other operation may
//! change such a task behind that memory, so all is forgotten before one (`TOUCHES_CLAIMED`), and after a rollback.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::decide::{self, Standing};
use super::error::QueueError;
use super::events::Stored;
use super::memory::{Ahead, priority_of, state_of};
use super::ops::apply::{AttemptRow, Writes};
use super::state::State;
use super::tx::{Tx, json, parsed_codes};
use crate::attempt::{Ended, Verdict};
use crate::task::{BatchId, ClaimId, Priority, RunState, TaskId};

/// The claimed tasks that the writer remembers: at most as many as may run and wait ahead.
pub(super) type Claimed = HashMap<ClaimId, OpenTask>;

/// A task with an open claim.
#[derive(Debug, Clone)]
pub(super) struct OpenTask {
    pub id: TaskId,
    pub claim: Option<ClaimId>,
    pub batch_id: BatchId,
    pub priority: Priority,
    pub function: String,
    pub state: State,
    pub attempts: u32,
    pub standing: Standing,
    pub ready_at: Option<i64>,
    pub first_started_at: Option<i64>,
    pub started_at: Option<i64>,
    pub finished_at: Option<i64>,
    pub run_ms: Option<i64>,
    pub reason: Option<String>,
    /// Queue time; once it has completed.
    pub kept_since: Option<i64>,
    /// As it is stored; see `ops::pause`.
    pub paused: Option<i64>,
    pub changed: bool,
}

impl OpenTask {
    /// The task of a row with its open claim. The columns are those of [`open_tasks`], in their order; more may follow.
    pub(super) fn claimed_by(row: &rusqlite::Row<'_>, claim: ClaimId) -> Result<Self, QueueError> {
        let function: String = row.get(3)?;
        Ok(Self {
            id: row.get(0)?,
            claim: Some(claim),
            batch_id: row.get(1)?,
            priority: priority_of(row.get(2)?)?,
            state: state_of(row.get(4)?)?,
            attempts: row.get(5)?,
            standing: Standing {
                retry_count: row.get(6)?,
                max_retries: row.get(7)?,
                retry_delay_ms: row.get(8)?,
                permanent_exit_codes: parsed_codes(row.get_ref(9)?.as_str_or_null()?)?,
                interruptions: row.get(10)?,
                cancel_requested: row.get(11)?,
                is_simulate: function == "simulate",
                forgiven: row.get(12)?,
            },
            function,
            ready_at: None,
            first_started_at: row.get(13)?,
            started_at: row.get(14)?,
            finished_at: row.get(15)?,
            run_ms: row.get(16)?,
            reason: row.get(17)?,
            kept_since: None,
            paused: row.get(18)?,
            changed: false,
        })
    }

    /// Its attempt has a slot.
    pub(super) fn start(&mut self, tx: &mut Tx<'_>, started_at: i64) {
        if self.state != State::Ready {
            return;
        }
        tx.moved(self.batch_id, self.priority, State::Ready, State::Running, 0);
        tx.memory.ahead.remove(&Ahead { priority: Reverse(self.priority), task_id: self.id });
        self.state = State::Running;
        self.attempts += 1;
        self.first_started_at = self.first_started_at.or(Some(started_at));
        self.started_at = Some(started_at);
        self.finished_at = None;
        self.run_ms = None;
        self.reason = None;
        self.changed = true;
        tx.tell(Stored::Started(self.id, self.attempts));
    }

    /// Its attempt has ended.
    pub(super) fn end(
        &mut self,
        tx: &mut Tx<'_>,
        ended: &Ended,
        in_burst: bool,
        writes: &mut Writes,
    ) -> Result<(), QueueError> {
        self.start(tx, ended.started_at);
        let decision = decide::after_end(&self.standing, ended, in_burst, fastrand::f64().mul_add(2.0, -1.0));
        self.started_at = Some(ended.started_at);
        self.finished_at = Some(ended.finished_at);
        self.run_ms = Some(ended.run_ms);
        let result = match &ended.verdict {
            Verdict::Success { result } | Verdict::Failure { result, .. } => result.as_ref(),
        };
        writes.attempts.push(AttemptRow {
            task_id: self.id,
            number: self.attempts,
            started_at: Some(ended.started_at),
            finished_at: Some(ended.finished_at),
            outcome: decision.outcome,
            cause: decision.cause,
            error: decision.error.clone(),
            exit_code: ended.exit_code,
            signal: ended.signal,
            cpu_us: ended.cpu_us,
            max_rss: ended.max_rss,
            result: result.map(json).transpose()?,
            process: ended.exit_code.is_some() || ended.signal.is_some(),
            spilled: ended.output.spilled,
            dropped: ended.output.dropped,
        });
        if !ended.output.frames.is_empty() {
            writes.outputs.push((self.id, self.attempts, ended.output.frames.clone()));
        }
        let (task_id, batch_id, attempt) = (self.id, self.batch_id, self.attempts);
        let (outcome, error) = (decision.outcome, &decision.error);
        if decision.state == State::Failed || ended.outside_kill.is_some() {
            tracing::info!(task_id, batch_id, attempt, %outcome, error, "an attempt ended");
        } else {
            tracing::debug!(task_id, batch_id, attempt, %outcome, error, "an attempt ended");
        }
        tx.ends += 1;
        tx.memory.finished.took(ended.run_ms);
        self.settle(tx, decision);
        Ok(())
    }

    /// When the open attempt started; none if no start was written.
    pub(super) fn started_at_of_open(&self) -> Option<i64> {
        self.started_at.filter(|_| self.state == State::Running)
    }

    /// Takes a start back that was written ahead of it and did not happen.
    pub(super) fn unstart(&mut self, tx: &mut Tx<'_>) {
        tx.moved(self.batch_id, self.priority, State::Running, State::Ready, 0);
        tx.tell(Stored::NotStarted(self.id, self.attempts));
        self.state = State::Ready;
        self.attempts -= 1;
        self.started_at = None;
        self.first_started_at = self.first_started_at.filter(|_| self.attempts > 0);
        self.changed = true;
    }

    /// Gives a claim that has not started back; no attempt was made.
    pub(super) fn release(&mut self, tx: &mut Tx<'_>) {
        tx.memory.ahead.remove(&Ahead { priority: Reverse(self.priority), task_id: self.id });
        tx.memory.closed(&self.function);
        if self.paused.is_some() {
            tx.moved(self.batch_id, self.priority, self.state, State::Waiting, 0);
            self.state = State::Waiting;
        } else {
            tx.memory.became_ready(self.priority, self.id);
        }
        self.claim = None;
        self.changed = true;
    }

    /// Takes the state that was decided; the claim is closed.
    pub(super) fn settle(&mut self, tx: &mut Tx<'_>, mut decision: decide::Decision) {
        let is_put_aside = self.paused.is_some() && !decision.state.status().is_ended();
        if is_put_aside {
            self.paused = Some(if decision.delay_ms > 0 { tx.now + decision.delay_ms } else { 0 });
            decision.state = State::Waiting;
        }
        let run_ms = self.run_ms.unwrap_or(0);
        tx.moved(self.batch_id, self.priority, self.state, decision.state, run_ms);
        tx.tell(Stored::Ended(self.id, self.attempts, decision.state.code()));
        tx.memory.ahead.remove(&Ahead { priority: Reverse(self.priority), task_id: self.id });
        tx.memory.closed(&self.function);
        self.state = decision.state;
        self.claim = None;
        self.changed = true;
        self.reason = decision.reason;
        self.standing.retry_count = decision.retry_count;
        self.standing.interruptions = decision.interruptions;
        self.standing.forgiven = decision.forgiven;
        self.standing.cancel_requested = false;
        self.ready_at = None;
        match decision.state {
            State::Waiting if is_put_aside => {}
            State::Waiting => {
                let due = tx.now + decision.delay_ms;
                self.ready_at = Some(due);
                tx.memory.waits_until(due);
            }
            State::Ready => tx.memory.became_ready(self.priority, self.id),
            State::Failed => {
                let run = &mut tx.memory.run;
                run.failures = run.failures.saturating_add(1);
                if run.state == RunState::Running && run.max_failures.is_some_and(|most| run.failures >= most) {
                    run.state = RunState::Stopping;
                    run.reason = Some("max_failures".to_owned());
                }
            }
            State::Completed => self.kept_since = Some(tx.now),
            State::Running | State::Cancelled => {}
        }
        if decision.state.status().is_ended() && self.finished_at.is_none() {
            self.finished_at = Some(tx.wall_ms);
        }
    }
}

/// The tasks whose open claim is one of `claims`; they are not remembered any more.
pub(super) fn open_tasks(tx: &mut Tx<'_>, claims: &[ClaimId]) -> Result<BTreeMap<ClaimId, OpenTask>, QueueError> {
    let mut open = BTreeMap::new();
    let mut unknown: Vec<ClaimId> = Vec::new();
    for claim in claims {
        match tx.remembered.claimed.remove(claim) {
            Some(task) => drop(open.insert(*claim, task)),
            None if open.contains_key(claim) => {}
            None => unknown.push(*claim),
        }
    }
    if unknown.is_empty() {
        return Ok(open);
    }
    let mut stored = tx.db.prepare(
        "SELECT id, batch_id, priority, function, state, attempts, retry_count, max_retries, retry_delay_ms,
             permanent_exit_codes, interruptions, cancel_requested, forgiven, first_started_at, started_at,
             finished_at, run_ms, reason, paused
         FROM task WHERE claim = ?1",
    )?;
    for claim in unknown {
        let mut rows = stored.query([claim])?;
        while let Some(row) = rows.next()? {
            open.insert(claim, OpenTask::claimed_by(row, claim)?);
        }
    }
    Ok(open)
}
