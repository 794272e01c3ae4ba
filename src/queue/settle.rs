//! The end of every group: what runs next is claimed, and a run that is over is stopped, in the
//! transaction of what caused it. So an `add` in between is never stranded.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::added;
use super::error::QueueError;
use super::memory::{Ahead, priority_of};
use super::open_task;
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

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    task: open_task::Row,
    name: String,
    timeout_ms: Option<i64>,
    /// None: they are long.
    params: Option<String>,
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
    let saturated: Vec<&String> =
        tx.memory.capped.iter().filter(|(_, c)| c.open >= c.cap).map(|(name, _)| name).collect();
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT task.id, batch_id, name, function, priority, state, attempts, retry_count, max_retries, retry_delay_ms,
             permanent_exit_codes, interruptions, cancel_requested, forgiven, first_started_at, started_at, finished_at,
             run_ms, reason, paused, timeout_ms,
             CASE WHEN octet_length(params) <= ?3 THEN params END AS params, limits, context_id
         FROM task INDEXED BY task_ready CROSS JOIN task_input ON task_input.task_id = task.id
         WHERE state = 0 AND claim IS NULL AND function NOT IN (SELECT value FROM json_each(?2))
         ORDER BY priority DESC, task.id LIMIT ?1",
    )
    .bind(wanted)
    .bind(json(&saturated)?)
    .bind(SHORT)
    .fetch_all(tx.reading())
    .await?;
    let mut contexts: BTreeMap<i64, (String, Arc<Environment>)> = BTreeMap::new();
    let mut claims: Vec<(TaskId, ClaimId)> = Vec::with_capacity(rows.len());
    let mut long = 0;
    for Row { task, name, timeout_ms, params, limits, context_id } in rows {
        if tx.memory.capped.get(&task.function).is_some_and(|c| c.open >= c.cap) {
            continue;
        }
        let params = match params {
            Some(short) => short,
            None if long >= LONG_TOGETHER => break,
            None => params_of(tx, task.id).await.inspect(|params| long += params.len())?,
        };
        let (cwd, environment) = match contexts.entry(context_id) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => new.insert(context(tx, context_id).await?).clone(),
        };
        let claim = tx.memory.run.next_claim;
        tx.memory.run.next_claim += 1;
        let priority = priority_of(task.priority)?;
        tx.memory.ahead.insert(Ahead { priority: Reverse(priority), task_id: task.id });
        tx.memory.opened(&task.function);
        claims.push((task.id, claim));
        tx.claimed.push(Attempt {
            claim,
            task_id: task.id,
            batch_id: task.batch_id,
            number: task.attempts + 1,
            name,
            function: task.function.clone(),
            params: parsed(&params)?,
            priority,
            timeout_ms,
            retry_count: task.retry_count,
            limits: limits_of(limits.as_deref())?,
            cwd,
            environment,
        });
        tx.known.insert(claim, task.claimed_by(claim)?);
    }
    if claims.is_empty() {
        return Ok(());
    }
    let mut rows = Rows::new(
        "UPDATE task SET claim = j.column2 FROM (VALUES (?, ?)) AS j
         WHERE task.id = j.column1 AND state = 0 AND claim IS NULL",
    );
    for (task, claim) in &claims {
        rows.push([(*task).into(), (*claim).into()]);
    }
    rows::write(tx, [rows], "").await?;
    if tx.memory.is_careful() {
        let claims: Vec<ClaimId> = claims.iter().map(|(_, claim)| *claim).collect();
        suspects::start(tx, &claims).await?;
    }
    Ok(())
}

fn limits_of(text: Option<&str>) -> Result<Limits, QueueError> {
    let Some(text) = text else { return Ok(Limits::default()) };
    Limits::read(&parsed(text)?).map(|(limits, _)| limits).map_err(QueueError::Value)
}

async fn params_of(tx: &mut Tx<'_>, id: TaskId) -> Result<String, QueueError> {
    Ok(sqlx::query_scalar("SELECT params FROM task_input WHERE task_id = ?1").bind(id).fetch_one(tx.reading()).await?)
}

async fn context(tx: &mut Tx<'_>, id: i64) -> Result<(String, Arc<Environment>), QueueError> {
    let (cwd, environment): (String, String) =
        sqlx::query_as("SELECT cwd, environment FROM context WHERE id = ?1").bind(id).fetch_one(tx.reading()).await?;
    let variables = parsed(&environment)?;
    Ok((cwd, Arc::new(Environment { id, variables })))
}
