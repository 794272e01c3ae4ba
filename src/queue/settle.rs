//! The end of every group: what runs next is claimed, and a run that is over is stopped, in the
//! transaction of what caused it. So an `add` in between is never stranded.

use std::cmp::Reverse;
use std::sync::Arc;

use rusqlite::params;

use super::error::QueueError;
use super::memory::Ahead;
use super::open_task::OpenTask;
use super::state::State;
use super::suspects;
use super::tx::{Tx, json, parsed};
use crate::attempt::{Attempt, Environment};
use crate::task::{ClaimId, Limits, RunState};

/// The most tasks claimed in one transaction; the next one claims on.
const CLAIM: i64 = 1024;
/// And while nothing runs: the first starts do not wait for the claims of all.
const FIRST_CLAIM: i64 = 128;
/// Once parameters are so many together, in bytes, no more is claimed in the transaction.
const TOGETHER: usize = 4 * 1024 * 1024;
/// How many contexts are remembered; more only within a claim.
const CONTEXTS: usize = 64;

pub(super) fn settle(tx: &mut Tx<'_>, open: bool) -> Result<(), QueueError> {
    suspects::forget(tx)?;
    if tx.ends > 0 {
        let pace = tx.memory.pace;
        tx.memory.pace = i64::from(tx.ends).max(pace - pace / 8);
    }
    if open && tx.memory.run.state == RunState::Running && tx.memory.run.paused.is_none() {
        claim(tx)?;
    }
    let nothing_runs = tx.memory.tally.in_state(State::Running) == 0;
    let run = &tx.memory.run;
    let over = match run.state {
        RunState::Running => nothing_runs && !run.keep && tx.memory.tally.queued() == 0,
        RunState::Stopping => nothing_runs && tx.memory.ahead.is_empty(),
        RunState::Stopped => false,
    };
    if over {
        let run = &mut tx.memory.run;
        if run.state == RunState::Running {
            run.reason = Some("done".to_owned());
        }
        run.state = RunState::Stopped;
        run.deadline = None;
        run.paused = None;
    }
    Ok(())
}

fn claim(tx: &mut Tx<'_>) -> Result<(), QueueError> {
    let is_first = tx.memory.ahead.is_empty() && tx.memory.tally.in_state(State::Running) == 0;
    let most = if is_first { FIRST_CLAIM } else { CLAIM };
    let wanted = tx.memory.wanted();
    tx.claims_on = wanted > most;
    let wanted = wanted.min(most);
    tx.memory.overtaking = 0;
    if wanted <= 0 {
        return Ok(());
    }
    let first = tx.memory.run.next_claim;
    let found = next_tasks(tx, wanted, first)?;
    if found.is_empty() {
        return Ok(());
    }
    tx.memory.run.next_claim += i64::try_from(found.len()).unwrap_or(0);
    let mut write = tx.begun()?.prepare("UPDATE task SET claim = ?2 WHERE id = ?1 AND state = 0 AND claim IS NULL")?;
    for (attempt, task) in found {
        write.execute([attempt.task_id, attempt.claim])?;
        tx.memory.ahead.insert(Ahead { priority: Reverse(attempt.priority), task_id: attempt.task_id });
        tx.remembered.claimed.insert(attempt.claim, task);
        tx.claimed.push(attempt);
    }
    if tx.memory.is_careful() {
        let claims: Vec<ClaimId> = (first..tx.memory.run.next_claim).collect();
        suspects::start(tx, &claims)?;
    }
    Ok(())
}

/// The attempts that are next, with claims from `first` on, and their tasks.
fn next_tasks(tx: &mut Tx<'_>, most: i64, first: ClaimId) -> Result<Vec<(Attempt, OpenTask)>, QueueError> {
    if tx.remembered.contexts.len() > CONTEXTS {
        tx.remembered.contexts.clear();
    }
    let saturated: Vec<&String> =
        tx.memory.capped.iter().filter(|(_, c)| c.open >= c.cap).map(|(name, _)| name).collect();
    let mut ready = tx.db.prepare(
        "SELECT id, batch_id, priority, function, state, attempts, retry_count, max_retries, retry_delay_ms,
             permanent_exit_codes, interruptions, cancel_requested, forgiven, first_started_at, started_at,
             finished_at, run_ms, reason, paused, name, timeout_ms, limits, context_id, params
         FROM task INDEXED BY task_ready CROSS JOIN task_input ON task_input.task_id = task.id
         WHERE state = 0 AND claim IS NULL AND function NOT IN (SELECT value FROM json_each(?2))
         ORDER BY priority DESC, task.id LIMIT ?1",
    )?;
    let mut rows = ready.query(params![most, json(&saturated)?])?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if bytes >= TOGETHER {
            break;
        }
        let claim = first + i64::try_from(found.len()).unwrap_or(0);
        let task = OpenTask::claimed_by(row, claim)?;
        if tx.memory.capped.get(&task.function).is_some_and(|c| c.open >= c.cap) {
            continue;
        }
        tx.memory.opened(&task.function);
        let params = row.get_ref(23)?.as_str()?;
        bytes += params.len();
        let (cwd, environment) = context(tx, row.get(22)?)?;
        let attempt = Attempt {
            claim,
            task_id: task.id,
            batch_id: task.batch_id,
            number: task.attempts + 1,
            name: row.get(19)?,
            function: task.function.clone(),
            params: parsed(params)?,
            priority: task.priority,
            timeout_ms: row.get(20)?,
            retry_count: task.standing.retry_count,
            limits: limits_of(row.get_ref(21)?.as_str_or_null()?)?,
            cwd,
            environment,
        };
        found.push((attempt, task));
    }
    Ok(found)
}

fn limits_of(text: Option<&str>) -> Result<Limits, QueueError> {
    let Some(text) = text else { return Ok(Limits::default()) };
    Limits::read(&parsed(text)?).map(|(limits, _)| limits).map_err(QueueError::Value)
}

/// The working directory and the environment of an attempt.
fn context(tx: &mut Tx<'_>, id: i64) -> Result<(String, Arc<Environment>), QueueError> {
    if let Some(known) = tx.remembered.contexts.get(&id) {
        return Ok(known.clone());
    }
    let (cwd, variables): (String, String) =
        tx.db.one("SELECT cwd, environment FROM context WHERE id = ?1", [id], |row| row.try_into())?;
    let context = (cwd, Arc::new(Environment { id, variables: parsed(&variables)? }));
    tx.remembered.contexts.insert(id, context.clone());
    Ok(context)
}
