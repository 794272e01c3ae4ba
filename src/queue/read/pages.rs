//! Tasks in pages by id: `results`, `export`, the lists of `status`.

use super::super::Queue;
use super::super::error::QueueError;
use super::super::state::State;
use super::super::tx::json;
use super::task::{TaskRow, task_rows};
use crate::protocol::Task;
use crate::task::{BatchId, Status, TaskId};

/// The most rows in one read transaction.
pub const PAGE_ROWS: i64 = 1000;
/// How many tasks a list of `status` shows.
const LISTED: i64 = 10;

/// Which tasks.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub batch_id: Option<BatchId>,
    pub task_ids: Option<Vec<TaskId>>,
}

/// One page.
#[derive(Debug, Default)]
pub struct Page {
    /// By id.
    pub tasks: Vec<Task>,
    /// The id after which the next page begins; none at the end.
    pub next: Option<TaskId>,
}

impl Queue {
    /// The highest id that has been given out.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn last_id(&self) -> Result<TaskId, QueueError> {
        Ok(sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM task").fetch_one(&self.readers).await?)
    }

    /// Up to `limit` (at most [`PAGE_ROWS`]) tasks with `after < id <= upto`.
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
        let limit = limit.clamp(1, PAGE_ROWS);
        let (low, high) = filter.status.map_or((0, 5), State::codes);
        let ids = filter.task_ids.as_ref().map(json).transpose()?;
        let statement = match (filter.status, &filter.task_ids, filter.batch_id) {
            (_, Some(_), _) => task_rows!(
                "",
                "WHERE task.id IN (SELECT value FROM json_each(?7)) AND state BETWEEN ?1 AND ?2 AND task.id > ?3
                 AND task.id <= ?4 AND (?6 IS NULL OR batch_id = ?6) ORDER BY task.id LIMIT ?5"
            ),
            (_, None, Some(_)) => task_rows!(
                "INDEXED BY task_batch",
                "WHERE batch_id = ?6 AND state BETWEEN ?1 AND ?2 AND task.id > ?3 AND task.id <= ?4
                 ORDER BY task.id LIMIT ?5"
            ),
            (Some(Status::Running), None, None) => task_rows!(
                "INDEXED BY task_running",
                "WHERE state = 2 AND task.id > ?3 AND task.id <= ?4 ORDER BY task.id LIMIT ?5"
            ),
            (Some(Status::Failed | Status::Cancelled), None, None) => task_rows!(
                "INDEXED BY task_retryable",
                "WHERE state IN (4, 5) AND state = ?1 AND task.id > ?3 AND task.id <= ?4 ORDER BY task.id LIMIT ?5"
            ),
            (_, None, None) => task_rows!(
                "",
                "WHERE state BETWEEN ?1 AND ?2 AND task.id > ?3 AND task.id <= ?4 ORDER BY task.id LIMIT ?5"
            ),
        };
        let rows: Vec<TaskRow> = sqlx::query_as(statement)
            .bind(low)
            .bind(high)
            .bind(after)
            .bind(upto)
            .bind(limit)
            .bind(filter.batch_id)
            .bind(ids)
            .fetch_all(&self.readers)
            .await?;
        let full = i64::try_from(rows.len()).is_ok_and(|n| n == limit);
        let next = rows.last().map(|row| row.id).filter(|_| full);
        let mut tasks = rows.into_iter().map(|row| self.shown(row)).collect::<Result<Vec<_>, _>>()?;
        if attempts {
            self.fill_attempts(&mut tasks).await?;
        }
        Ok(Page { tasks, next })
    }

    /// The first ten tasks of a status: queued ones as they will run, ended ones latest first.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn first_of(&self, status: Status, batch_id: Option<BatchId>) -> Result<Vec<Task>, QueueError> {
        let statement = match status {
            Status::Queued => task_rows!(
                "INDEXED BY task_ready",
                "WHERE state = 0 AND (?1 IS NULL OR batch_id = ?1) ORDER BY priority DESC, task.id LIMIT ?2"
            ),
            Status::Running => task_rows!(
                "INDEXED BY task_running",
                "WHERE state = 2 AND (?1 IS NULL OR batch_id = ?1) ORDER BY task.id LIMIT ?2"
            ),
            Status::Completed | Status::Failed | Status::Cancelled => task_rows!(
                "INDEXED BY task_ended",
                "WHERE state >= 3 AND state = ?3 AND (?1 IS NULL OR batch_id = ?1)
                 ORDER BY task.finished_at DESC, task.id DESC LIMIT ?2"
            ),
        };
        let mut rows: Vec<TaskRow> = sqlx::query_as(statement)
            .bind(batch_id)
            .bind(LISTED)
            .bind(State::codes(status).0)
            .fetch_all(&self.readers)
            .await?;
        let room = LISTED - i64::try_from(rows.len()).unwrap_or(LISTED);
        if status == Status::Queued && room > 0 {
            let waiting: Vec<TaskRow> = sqlx::query_as(task_rows!(
                "INDEXED BY task_waiting",
                "WHERE state = 1 AND (?1 IS NULL OR batch_id = ?1) ORDER BY ready_at, task.id LIMIT ?2"
            ))
            .bind(batch_id)
            .bind(room)
            .fetch_all(&self.readers)
            .await?;
            rows.extend(waiting);
        }
        rows.into_iter().map(|row| self.shown(row)).collect()
    }
}
