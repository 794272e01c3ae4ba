//! What hooks have told, and what waits to be told.

use super::super::Queue;
use super::super::error::QueueError;
use crate::task::BatchId;

/// A delivery that waits.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Waiting {
    pub id: i64,
    pub event: String,
    /// JSON array.
    pub first: String,
    pub count: i64,
    pub attempts: u32,
    /// Queue time.
    pub due: i64,
}

/// How a hook stands.
#[derive(Debug, Clone)]
pub struct HookStanding {
    pub pending: i64,
    pub dropped: i64,
    /// Of those that were tried.
    pub latest: Option<Latest>,
}

/// The latest delivery of a hook.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Latest {
    pub id: i64,
    pub event: String,
    pub count: i64,
    pub test: bool,
    /// As `ops::hooks::state` has it.
    pub state: i64,
    pub attempts: u32,
    pub said: Option<String>,
    /// Wall clock, ms.
    pub created_at: i64,
    pub ended_at: Option<i64>,
    /// Queue time.
    pub due: i64,
}

impl Queue {
    /// Whether hooks were met that nobody may have configured any more.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn has_hooks(&self) -> Result<bool, QueueError> {
        Ok(sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM hook)").fetch_one(&self.readers).await?)
    }

    /// When a batch was added, wall clock, ms.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn batch_added_at(&self, id: BatchId) -> Result<Option<i64>, QueueError> {
        let added = sqlx::query_scalar("SELECT created_at FROM batch WHERE id = ?1").bind(id);
        Ok(added.fetch_optional(&self.readers).await?)
    }

    /// What a hook is to deliver next.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn next_delivery(&self, hook: &str) -> Result<Option<Waiting>, QueueError> {
        Ok(sqlx::query_as(
            "SELECT id, event, first, count, attempts, due FROM hook_delivery INDEXED BY hook_delivery_pending
             WHERE state = 0 AND hook = ?1 ORDER BY due, id LIMIT 1",
        )
        .bind(hook)
        .fetch_optional(&self.readers)
        .await?)
    }

    /// How a hook stands.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn hook_standing(&self, hook: &str) -> Result<HookStanding, QueueError> {
        let mut reading = self.readers.begin().await?;
        let (pending, dropped): (i64, Option<i64>) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM hook_delivery WHERE state = 0 AND hook = ?1),
                    (SELECT dropped FROM hook WHERE name = ?1)",
        )
        .bind(hook)
        .fetch_one(&mut *reading)
        .await?;
        let latest = sqlx::query_as(
            "SELECT id, event, count, test, state, attempts, said, created_at, ended_at, due FROM hook_delivery
             WHERE hook = ?1 AND (state <> 0 OR attempts > 0) ORDER BY id DESC LIMIT 1",
        )
        .bind(hook)
        .fetch_optional(&mut *reading)
        .await?;
        Ok(HookStanding { pending, dropped: dropped.unwrap_or(0), latest })
    }
}
