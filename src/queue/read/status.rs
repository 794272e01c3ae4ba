//! Tallies of batches and of selected tasks.

use std::collections::BTreeMap;

use super::super::Queue;
use super::super::error::QueueError;
use super::super::memory::state_of;
use super::super::state::State;
use super::super::tx::json;
use crate::protocol::{BatchInfo, Counts};
use crate::task::{BatchId, Status, TaskId};
use crate::time::rfc3339;

/// How many batches are listed, and among how many.
const LATEST: i64 = 10;
const AMONG: i64 = 1000;

/// How selected tasks stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Selected {
    pub counts: Counts,
    /// Of completed and failed tasks.
    pub run_ms: i64,
}

impl Selected {
    /// Both together.
    pub(super) const fn with(self, other: Self) -> Self {
        let (a, b) = (self.counts, other.counts);
        let counts = Counts::of(
            a.queued + b.queued,
            a.running + b.running,
            a.completed + b.completed,
            a.failed + b.failed,
            a.cancelled + b.cancelled,
        );
        Self { counts, run_ms: self.run_ms + other.run_ms }
    }
}

/// A batch as it is stored.
#[derive(sqlx::FromRow)]
struct Row {
    id: BatchId,
    name: Option<String>,
    /// Wall clock, ms.
    created_at: i64,
    queued: i64,
    running: i64,
    completed: i64,
    failed: i64,
    cancelled: i64,
    run_ms: i64,
    paused: bool,
}

impl Row {
    const fn counts(&self) -> Counts {
        Counts::of(self.queued, self.running, self.completed, self.failed, self.cancelled)
    }
}

impl Queue {
    /// A batch's tally; none if there is no such batch.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn batch(&self, batch_id: BatchId) -> Result<Option<Selected>, QueueError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, name, created_at, queued, running, completed, failed, cancelled, run_ms, paused FROM batch
             WHERE id = ?1",
        )
        .bind(batch_id)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(|row| Selected { counts: row.counts(), run_ms: row.run_ms }))
    }

    /// A batch, or the latest ones, the latest first; without those that a single `add` made, and not from among more than the
    /// last thousand.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn batches(&self, one: Option<BatchId>) -> Result<Vec<BatchInfo>, QueueError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, name, created_at, queued, running, completed, failed, cancelled, run_ms, paused FROM batch
             WHERE id <= ?1 AND id > coalesce(?2, (SELECT max(id) FROM batch)) - ?3
                 AND (?2 IS NOT NULL OR name IS NOT NULL OR queued + running + completed + failed + cancelled > 1)
             ORDER BY id DESC LIMIT ?4",
        )
        .bind(one.unwrap_or(BatchId::MAX))
        .bind(one)
        .bind(if one.is_some() { 1 } else { AMONG })
        .bind(LATEST)
        .fetch_all(&self.readers)
        .await?;
        let infos = rows.into_iter().map(|row| BatchInfo {
            batch_id: row.id,
            counts: row.counts(),
            created_at: rfc3339(row.created_at),
            name: row.name,
            paused: row.paused,
        });
        Ok(infos.collect())
    }

    /// Whether what is added to a batch is paused.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn is_paused(&self, batch_id: BatchId) -> Result<bool, QueueError> {
        let paused = sqlx::query_scalar("SELECT paused FROM batch WHERE id = ?1").bind(batch_id);
        Ok(paused.fetch_optional(&self.readers).await?.unwrap_or(false))
    }

    /// The first of the paused batches.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn paused_batches(&self) -> Result<Vec<BatchId>, QueueError> {
        let ids =
            sqlx::query_scalar("SELECT id FROM batch INDEXED BY batch_paused WHERE paused = 1 ORDER BY id LIMIT ?1");
        Ok(ids.bind(LATEST).fetch_all(&self.readers).await?)
    }

    /// When the oldest of the tasks that are due was added, wall clock, ms.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn oldest_ready(&self) -> Result<Option<i64>, QueueError> {
        // Within a priority ids come in the order of the additions.
        Ok(sqlx::query_scalar(
            "SELECT min(created_at) FROM (
                 SELECT (SELECT created_at FROM task INDEXED BY task_ready
                     WHERE state = 0 AND priority = level.value ORDER BY id LIMIT 1) AS created_at
                 FROM json_each('[0,1,2,3]') AS level)",
        )
        .fetch_one(&self.readers)
        .await?)
    }

    /// The tally of the tasks with these ids, of a batch if one is given.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn tally_of(&self, ids: &[TaskId], batch_id: Option<BatchId>) -> Result<Selected, QueueError> {
        let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
            "SELECT state, count(*), coalesce(sum(run_ms), 0) FROM task
             WHERE id IN (SELECT value FROM json_each(?1)) AND (?2 IS NULL OR batch_id = ?2) GROUP BY state",
        )
        .bind(json(&ids)?)
        .bind(batch_id)
        .fetch_all(&self.readers)
        .await?;
        let mut selected = Selected::default();
        for (state, tasks, run_ms) in rows {
            let counts = &mut selected.counts;
            let state = state_of(state)?;
            counts.total += tasks;
            match state {
                State::Ready | State::Waiting => counts.queued += tasks,
                State::Running => counts.running += tasks,
                State::Completed => counts.completed += tasks,
                State::Failed => counts.failed += tasks,
                State::Cancelled => counts.cancelled += tasks,
            }
            if matches!(state, State::Completed | State::Failed) {
                selected.run_ms += run_ms;
            }
        }
        Ok(selected)
    }

    /// The states of the tasks with these ids that are in the queue.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn statuses_of(&self, ids: &[TaskId]) -> Result<BTreeMap<TaskId, Status>, QueueError> {
        let rows: Vec<(TaskId, i64)> =
            sqlx::query_as("SELECT id, state FROM task WHERE id IN (SELECT value FROM json_each(?1))")
                .bind(json(&ids)?)
                .fetch_all(&self.readers)
                .await?;
        rows.into_iter().map(|(id, state)| Ok((id, state_of(state)?.status()))).collect()
    }

    /// Whether one of the tasks with these ids has not ended.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn any_open(&self, ids: &[TaskId]) -> Result<bool, QueueError> {
        let open: Option<i64> = sqlx::query_scalar(
            "SELECT 1 FROM task WHERE id IN (SELECT value FROM json_each(?1)) AND state < 3 LIMIT 1",
        )
        .bind(json(&ids)?)
        .fetch_optional(&self.readers)
        .await?;
        Ok(open.is_some())
    }

    /// The functions of tasks, to check new params against.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn functions_of(&self, ids: &[TaskId]) -> Result<Vec<(TaskId, String)>, QueueError> {
        Ok(sqlx::query_as("SELECT id, function FROM task WHERE id IN (SELECT value FROM json_each(?1)) ORDER BY id")
            .bind(json(&ids)?)
            .fetch_all(&self.readers)
            .await?)
    }
}
