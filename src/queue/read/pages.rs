//! Tasks in pages by id: `results`, `export`, the lists of `status`. First the ids along an index, then
//! their rows, in one short transaction.

use sqlx::SqliteConnection;
use tokio::sync::SemaphorePermit;

use super::super::Queue;
use super::super::error::QueueError;
use super::super::passing::passing;
use super::super::state::State;
use super::super::tx::{json, parsed};
use super::Selected;
use super::task::{Rows, fitting, rows};
use crate::filter::Condition;
use crate::protocol::Task;
use crate::task::{BatchId, Status, TaskId};

/// The most rows in one read transaction.
pub const PAGE_ROWS: i64 = 1000;
/// How many tasks are looked at in one read transaction for those that pass a filter.
pub(super) const WALKED: usize = 2000;
/// How many tasks a list of `status` shows.
pub(super) const LISTED: u8 = 10;

/// Which tasks.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub batch_id: Option<BatchId>,
    /// Ascending.
    pub task_ids: Option<Vec<TaskId>>,
    /// What they pass beside.
    pub condition: Option<Condition>,
}

impl Filter {
    /// With what a user asked for, at this time of the wall clock; along an index where all that passes has one in common.
    #[must_use]
    pub fn passing(mut self, filter: Option<&crate::filter::Filter>, now_ms: i64) -> Self {
        if let Some(filter) = filter {
            let common = filter.common();
            self.status = self.status.or(common.status);
            self.batch_id = self.batch_id.or(common.batch_id);
            self.task_ids = self.task_ids.or(common.task_ids);
            self.condition = Some(filter.condition(now_ms));
        }
        self
    }
}

/// One page.
#[derive(Debug)]
pub struct Page {
    /// By id; [`Queue::shown`] makes tasks of them.
    pub rows: Rows,
    /// The id after which the next page begins; none at the end.
    pub next: Option<TaskId>,
}

/// Where a page lies: `after < id <= upto`, so many rows at most.
#[derive(Debug, Clone, Copy)]
struct Reach {
    after: TaskId,
    upto: TaskId,
    rows: i64,
}

impl Queue {
    /// The highest id that has been given out.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn last_id(&self) -> Result<TaskId, QueueError> {
        Ok(sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM task").fetch_one(&self.readers).await?)
    }

    /// Up to `limit` (at most [`PAGE_ROWS`]) tasks with `after < id <= upto`; fewer where they are large.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn page(
        &self,
        filter: &Filter,
        after: TaskId,
        upto: TaskId,
        limit: i64,
        attempts: bool,
    ) -> Result<Page, QueueError> {
        let rows_at_most = usize::try_from(limit.clamp(1, PAGE_ROWS)).unwrap_or(1);
        let _turn = self.turn_of_scan(filter).await?;
        let mut reading = self.readers.begin().await?;
        let (ids, mut next) = ids_of(&mut reading, filter, after, upto, rows_at_most).await?;
        let fit = fitting(&mut reading, &ids).await?;
        if fit.len() < ids.len() {
            next = fit.last().copied();
        }
        let rows = rows(&mut reading, fit, attempts).await?;
        reading.commit().await?;
        Ok(Page { rows, next })
    }

    /// A step that looks tasks over for a filter has its turn; anything else has it at once.
    ///
    /// # Errors
    /// When the queue is closed.
    pub(super) async fn turn_of_scan(&self, filter: &Filter) -> Result<Option<SemaphorePermit<'_>>, QueueError> {
        if filter.condition.is_none() {
            return Ok(None);
        }
        self.scans.acquire().await.map(Some).map_err(|_| QueueError::Closed)
    }

    /// The first ten tasks of a status: queued ones as they will run, ended ones latest first.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn first_of(&self, status: Status, batch: Option<(BatchId, Selected)>) -> Result<Vec<Task>, QueueError> {
        let mut reading = self.readers.begin().await?;
        let ids =
            match (status, batch) {
                (Status::Queued, _) => self.next_ids(&mut reading, batch).await?,
                (Status::Running, _) => {
                    let reach = Reach { after: 0, upto: TaskId::MAX, rows: LISTED.into() };
                    running(&mut reading, batch.map(|(id, _)| id), reach).await?
                }
                (_, None) => {
                    sqlx::query_scalar(
                        "SELECT id FROM task INDEXED BY task_ended WHERE state >= 3 AND state = ?1
                     ORDER BY finished_at DESC, id DESC LIMIT ?2",
                    )
                    .bind(State::codes(status).0)
                    .bind(LISTED)
                    .fetch_all(&mut *reading)
                    .await?
                }
                (_, Some((batch_id, _))) => sqlx::query_scalar(
                    "SELECT id FROM task INDEXED BY task_batch_ended WHERE state >= 3 AND batch_id = ?1 AND state = ?2
                     ORDER BY finished_at DESC, id DESC LIMIT ?3",
                )
                .bind(batch_id)
                .bind(State::codes(status).0)
                .bind(LISTED)
                .fetch_all(&mut *reading)
                .await?,
            };
        let fit = fitting(&mut reading, &ids).await?;
        let rows = rows(&mut reading, fit, false).await?;
        reading.commit().await?;
        self.shown(&rows)
    }

    /// What runs next, then what waits.
    async fn next_ids(
        &self,
        reading: &mut SqliteConnection,
        batch: Option<(BatchId, Selected)>,
    ) -> Result<Vec<TaskId>, QueueError> {
        let batch_id = batch.map(|(id, _)| id);
        let queued = self.snapshot().tally.queued();
        // A small batch in a long queue is read and sorted; else the queue is followed as it will run.
        let small = batch.is_some_and(|(_, tally)| tally.counts.total < queued);
        let ready = if small {
            "SELECT id FROM task INDEXED BY task_batch WHERE batch_id = ?1 AND state = 0
             ORDER BY priority DESC, id LIMIT ?2"
        } else {
            "SELECT id FROM task INDEXED BY task_ready WHERE state = 0 AND (?1 IS NULL OR batch_id = ?1)
             ORDER BY priority DESC, id LIMIT ?2"
        };
        let mut ids: Vec<TaskId> =
            sqlx::query_scalar(ready).bind(batch_id).bind(LISTED).fetch_all(&mut *reading).await?;
        let room = i64::from(LISTED) - i64::try_from(ids.len()).unwrap_or(i64::MAX);
        if room > 0 {
            let waiting: Vec<TaskId> = sqlx::query_scalar(
                "SELECT id FROM (SELECT id FROM task INDEXED BY task_waiting
                     WHERE state = 1 AND ready_at IS NOT NULL AND (?1 IS NULL OR batch_id = ?1) ORDER BY ready_at, id LIMIT ?2)
                 UNION ALL SELECT id FROM (SELECT id FROM task INDEXED BY task_waiting
                     WHERE state = 1 AND ready_at IS NULL AND (?1 IS NULL OR batch_id = ?1) LIMIT ?2) LIMIT ?2",
            )
            .bind(batch_id)
            .bind(room)
            .fetch_all(reading)
            .await?;
            ids.extend(waiting);
        }
        Ok(ids)
    }
}

/// The ids of a page, and where the next one begins; where few pass a filter, none of those that were looked at.
pub(super) async fn ids_of(
    reading: &mut SqliteConnection,
    filter: &Filter,
    after: TaskId,
    upto: TaskId,
    most: usize,
) -> Result<(Vec<TaskId>, Option<TaskId>), QueueError> {
    let looked_at = if filter.condition.is_some() { WALKED } else { most };
    let reach = Reach { after, upto, rows: i64::try_from(looked_at).unwrap_or(i64::MAX) };
    let (mut ids, mut next) = match &filter.task_ids {
        Some(wanted) => chosen(reading, filter, wanted, reach).await?,
        None => {
            let ids = along(reading, filter, reach).await?;
            let last = ids.last().copied().filter(|_| ids.len() == looked_at);
            (ids, last)
        }
    };
    if let Some(condition) = &filter.condition {
        ids = passing(reading, &ids, Some(condition), None).await?;
        if ids.len() > most {
            ids.truncate(most);
            next = ids.last().copied();
        }
    }
    Ok((ids, next))
}

/// The ids of a page without chosen ids, along an index; in one value, for a row is a way to SQLite's thread.
async fn along(reading: &mut SqliteConnection, filter: &Filter, reach: Reach) -> Result<Vec<TaskId>, QueueError> {
    let statement = match (filter.status, filter.batch_id) {
        (None, None) => {
            "SELECT json_group_array(id) FROM (SELECT id FROM task WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3)"
        }
        (Some(Status::Running), batch_id) => return running(reading, batch_id, reach).await,
        (Some(Status::Queued), _) => {
            "SELECT json_group_array(id) FROM (SELECT id FROM task INDEXED BY task_ready
             WHERE state = 0 AND priority = 0 AND id > ?1 AND id <= ?2 AND (?4 IS NULL OR batch_id = ?4)
             UNION ALL SELECT id FROM task INDEXED BY task_ready
             WHERE state = 0 AND priority = 1 AND id > ?1 AND id <= ?2 AND (?4 IS NULL OR batch_id = ?4)
             UNION ALL SELECT id FROM task INDEXED BY task_ready
             WHERE state = 0 AND priority = 2 AND id > ?1 AND id <= ?2 AND (?4 IS NULL OR batch_id = ?4)
             UNION ALL SELECT id FROM task INDEXED BY task_ready
             WHERE state = 0 AND priority = 3 AND id > ?1 AND id <= ?2 AND (?4 IS NULL OR batch_id = ?4)
             UNION ALL SELECT id FROM task INDEXED BY task_waiting_id
             WHERE state = 1 AND id > ?1 AND id <= ?2 AND (?4 IS NULL OR batch_id = ?4)
             ORDER BY id LIMIT ?3)"
        }
        (Some(_), None) => {
            "SELECT json_group_array(id) FROM (SELECT id FROM task INDEXED BY task_ended_id
             WHERE state >= 3 AND state = ?5 AND id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3)"
        }
        (_, Some(_)) => {
            "SELECT json_group_array(id) FROM (SELECT id FROM task INDEXED BY task_batch
             WHERE batch_id = ?4 AND id > ?1 AND id <= ?2 AND (?5 IS NULL OR state = ?5) ORDER BY id LIMIT ?3)"
        }
    };
    let ids: String = sqlx::query_scalar(statement)
        .bind(reach.after)
        .bind(reach.upto)
        .bind(reach.rows)
        .bind(filter.batch_id)
        .bind(filter.status.map(|status| State::codes(status).0))
        .fetch_one(reading)
        .await?;
    parsed(&ids)
}

async fn running(
    reading: &mut SqliteConnection,
    batch_id: Option<BatchId>,
    Reach { after, upto, rows }: Reach,
) -> Result<Vec<TaskId>, QueueError> {
    Ok(sqlx::query_scalar(
        "SELECT id FROM task INDEXED BY task_running
         WHERE state = 2 AND id > ?1 AND id <= ?2 AND (?4 IS NULL OR batch_id = ?4) ORDER BY id LIMIT ?3",
    )
    .bind(after)
    .bind(upto)
    .bind(rows)
    .bind(batch_id)
    .fetch_all(reading)
    .await?)
}

/// Those of the next wanted ids that pass the filter, and where to go on.
async fn chosen(
    reading: &mut SqliteConnection,
    filter: &Filter,
    wanted: &[TaskId],
    Reach { after, upto, rows }: Reach,
) -> Result<(Vec<TaskId>, Option<TaskId>), QueueError> {
    let from = wanted.partition_point(|id| *id <= after);
    let within = &wanted[from..wanted.partition_point(|id| *id <= upto).max(from)];
    let some = &within[..within.len().min(usize::try_from(rows).unwrap_or(usize::MAX))];
    let (low, high) = filter.status.map_or((0, 5), State::codes);
    let ids = sqlx::query_scalar(
        "SELECT id FROM task WHERE id IN (SELECT value FROM json_each(?1)) AND state BETWEEN ?2 AND ?3
         AND (?4 IS NULL OR batch_id = ?4) ORDER BY id",
    )
    .bind(json(&some)?)
    .bind(low)
    .bind(high)
    .bind(filter.batch_id)
    .fetch_all(reading)
    .await?;
    Ok((ids, some.last().copied().filter(|_| some.len() < within.len())))
}
