//! The end of every group: what runs next is claimed, and a run that is over is stopped, in the
//! transaction of what caused it. So an `add` in between is never stranded.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

use serde::Deserialize;

use super::added;
use super::error::QueueError;
use super::memory::{Ahead, Contexts, priority_of};
use super::open_task::{self, OpenTask};
use super::rows::{self, Rows};
use super::state::State;
use super::suspects;
use super::tx::{Tx, json, parsed};
use crate::attempt::{Attempt, Environment};
use crate::task::{ClaimId, Limits, RunState, TaskId};

/// The most tasks claimed in one transaction; the next one claims on.
const CLAIM: i64 = 1024;
/// And while nothing runs: the first starts do not wait for the claims of all.
const FIRST_CLAIM: i64 = 128;
/// Parameters up to this length, in bytes, come with their tasks; longer ones are fetched one by one,
const SHORT: i64 = 1024;
/// and once they are so many together, in bytes, no more is claimed in the transaction.
const LONG_TOGETHER: usize = 4 * 1024 * 1024;
/// How many contexts are remembered; more only within a claim.
const CONTEXTS: usize = 64;

pub(super) async fn settle(tx: &mut Tx<'_>, open: bool) -> Result<(), QueueError> {
    suspects::forget(tx).await?;
    if tx.ends > 0 {
        let pace = tx.memory.pace;
        tx.memory.pace = i64::from(tx.ends).max(pace - pace / 8);
    }
    if open && tx.memory.run.state == RunState::Running && tx.memory.run.paused.is_none() {
        claim(tx).await?;
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

/// A task that may be claimed. The fields are in the order of the columns.
#[derive(Deserialize)]
struct Row<'r> {
    task: open_task::Row,
    name: String,
    timeout_ms: Option<i64>,
    /// None: they are long.
    #[serde(borrow)]
    params: Option<Cow<'r, str>>,
    limits: Option<String>,
    context_id: i64,
}

async fn claim(tx: &mut Tx<'_>) -> Result<(), QueueError> {
    let is_first = tx.memory.ahead.is_empty() && tx.memory.tally.in_state(State::Running) == 0;
    let most = if is_first { FIRST_CLAIM } else { CLAIM };
    let wanted = tx.memory.wanted();
    tx.claims_on = wanted > most;
    let wanted = wanted.min(most);
    tx.memory.overtaking = 0;
    if wanted <= 0 {
        return Ok(());
    }
    added::write(tx).await?;
    let ready = ready(tx, wanted).await?;
    let rows = chosen(tx, parsed(&ready)?).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let first = tx.memory.run.next_claim;
    tx.memory.run.next_claim += i64::try_from(rows.len()).unwrap_or(0);
    let mut claims = Rows::new(
        "UPDATE task SET claim = j.column2 FROM (VALUES (?, ?)) AS j
         WHERE task.id = j.column1 AND state = 0 AND claim IS NULL",
    );
    for (claim, row) in (first..).zip(&rows) {
        claims.push([row.task.id.into(), claim.into()]);
    }
    // Made while SQLite's thread is at work.
    let contexts = std::mem::take(&mut tx.remembered.contexts);
    let (written, attempts) =
        tokio::join!(biased; rows::write(tx, [claims], ""), async { attempts(rows, first, &contexts) });
    tx.remembered.contexts = contexts;
    written?;
    for (attempt, task) in attempts? {
        tx.remembered.claimed.insert(attempt.claim, task);
        tx.claimed.push(attempt);
    }
    if tx.memory.is_careful() {
        let claims: Vec<ClaimId> = (first..tx.memory.run.next_claim).collect();
        suspects::start(tx, &claims).await?;
    }
    Ok(())
}

/// The tasks that run next, as JSON.
async fn ready(tx: &mut Tx<'_>, most: i64) -> Result<String, QueueError> {
    let saturated: Vec<&String> =
        tx.memory.capped.iter().filter(|(_, c)| c.open >= c.cap).map(|(name, _)| name).collect();
    let saturated = json(&saturated)?;
    Ok(sqlx::query_scalar(
        "SELECT json_group_array(json_array(json_array(id, batch_id, priority, function, state, attempts, retry_count, max_retries,
             retry_delay_ms, permanent_exit_codes, interruptions, cancel_requested, forgiven, first_started_at, started_at,
             finished_at, run_ms, reason, paused), name, timeout_ms, params, limits, context_id))
         FROM (SELECT id, batch_id, priority, function, state, attempts, retry_count, max_retries, retry_delay_ms,
                 permanent_exit_codes, interruptions, cancel_requested, forgiven, first_started_at, started_at, finished_at,
                 run_ms, reason, paused, name, timeout_ms, CASE WHEN octet_length(params) <= ?3 THEN params END AS params,
                 limits, context_id
             FROM task INDEXED BY task_ready CROSS JOIN task_input ON task_input.task_id = task.id
             WHERE state = 0 AND claim IS NULL AND function NOT IN (SELECT value FROM json_each(?2))
             ORDER BY priority DESC, task.id LIMIT ?1)",
    )
    .bind(most)
    .bind(saturated)
    .bind(SHORT)
    .fetch_one(tx.reading())
    .await?)
}

/// Those of them that are claimed, with all that their attempts need.
async fn chosen<'r>(tx: &mut Tx<'_>, ready: Vec<Row<'r>>) -> Result<Vec<Row<'r>>, QueueError> {
    if tx.remembered.contexts.len() > CONTEXTS {
        tx.remembered.contexts.clear();
    }
    let mut rows = Vec::with_capacity(ready.len());
    let mut long = 0;
    for mut row in ready {
        if tx.memory.capped.get(&row.task.function).is_some_and(|c| c.open >= c.cap) {
            continue;
        }
        if row.params.is_none() {
            if long >= LONG_TOGETHER {
                break;
            }
            let params = params_of(tx, row.task.id).await?;
            long += params.len();
            row.params = Some(params.into());
        }
        remember_context(tx, row.context_id).await?;
        let priority = priority_of(row.task.priority)?;
        tx.memory.ahead.insert(Ahead { priority: Reverse(priority), task_id: row.task.id });
        tx.memory.opened(&row.task.function);
        rows.push(row);
    }
    Ok(rows)
}

/// The attempts that begin with these claims, from `first` on.
fn attempts(rows: Vec<Row<'_>>, first: ClaimId, contexts: &Contexts) -> Result<Vec<(Attempt, OpenTask)>, QueueError> {
    let attempts = (first..).zip(rows).map(|(claim, row)| {
        let Row { task, name, timeout_ms, params, limits, context_id } = row;
        let missing = || QueueError::Value(format!("context {context_id}"));
        let (cwd, environment) = contexts.get(&context_id).cloned().ok_or_else(missing)?;
        let attempt = Attempt {
            claim,
            task_id: task.id,
            batch_id: task.batch_id,
            number: task.attempts + 1,
            name,
            function: task.function.clone(),
            params: parsed(&params.unwrap_or_default())?,
            priority: priority_of(task.priority)?,
            timeout_ms,
            retry_count: task.retry_count,
            limits: limits_of(limits.as_deref())?,
            cwd,
            environment,
        };
        Ok((attempt, task.claimed_by(claim)?))
    });
    attempts.collect()
}

fn limits_of(text: Option<&str>) -> Result<Limits, QueueError> {
    let Some(text) = text else { return Ok(Limits::default()) };
    Limits::read(&parsed(text)?).map(|(limits, _)| limits).map_err(QueueError::Value)
}

async fn params_of(tx: &mut Tx<'_>, id: TaskId) -> Result<String, QueueError> {
    Ok(sqlx::query_scalar("SELECT params FROM task_input WHERE task_id = ?1").bind(id).fetch_one(tx.reading()).await?)
}

/// Has the context of an attempt among those that are remembered.
async fn remember_context(tx: &mut Tx<'_>, id: i64) -> Result<(), QueueError> {
    if tx.remembered.contexts.contains_key(&id) {
        return Ok(());
    }
    let (cwd, environment): (String, String) =
        sqlx::query_as("SELECT cwd, environment FROM context WHERE id = ?1").bind(id).fetch_one(tx.reading()).await?;
    let variables = parsed(&environment)?;
    tx.remembered.contexts.insert(id, (cwd, Arc::new(Environment { id, variables })));
    Ok(())
}
