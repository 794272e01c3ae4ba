//! Where the output of an attempt is.

use super::super::Queue;
use super::super::error::QueueError;
use crate::task::{ClaimId, TaskId};

/// An attempt as far as its output goes.
#[derive(Debug)]
pub struct AttemptLog {
    pub number: u32,
    pub stored: Stored,
    /// Bytes that were not kept.
    pub dropped: i64,
}

/// Where its output is.
#[derive(Debug)]
pub enum Stored {
    /// It has ended; the framed log itself.
    Frames(Vec<u8>),
    /// It has ended; the log is a file.
    File,
    /// It runs, under this claim.
    Running(ClaimId),
}

/// Why there is no output to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLog {
    NoSuchTask,
    /// The task has no attempt yet.
    NotStarted,
    /// The task has had this many.
    NoSuchAttempt(u32),
}

impl Queue {
    /// The output of an attempt, the latest by default.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn attempt_log(
        &self,
        task_id: TaskId,
        attempt: Option<u32>,
    ) -> Result<Result<AttemptLog, NoLog>, QueueError> {
        let row: Option<(u32, i64, Option<ClaimId>)> =
            sqlx::query_as("SELECT attempts, state, claim FROM task WHERE id = ?1")
                .bind(task_id)
                .fetch_optional(&self.readers)
                .await?;
        let Some((attempts, state, claim)) = row else { return Ok(Err(NoLog::NoSuchTask)) };
        if attempts == 0 {
            return Ok(Err(NoLog::NotStarted));
        }
        let number = attempt.unwrap_or(attempts);
        if number == 0 || number > attempts {
            return Ok(Err(NoLog::NoSuchAttempt(attempts)));
        }
        let ended: Option<(bool, i64)> =
            sqlx::query_as("SELECT spilled, dropped FROM attempt WHERE task_id = ?1 AND number = ?2")
                .bind(task_id)
                .bind(number)
                .fetch_optional(&self.readers)
                .await?;
        let (stored, dropped) = match (ended, claim) {
            (Some((true, dropped)), _) => (Stored::File, dropped),
            (Some((false, dropped)), _) => {
                let frames: Option<Vec<u8>> =
                    sqlx::query_scalar("SELECT frames FROM output WHERE task_id = ?1 AND number = ?2")
                        .bind(task_id)
                        .bind(number)
                        .fetch_optional(&self.readers)
                        .await?;
                (Stored::Frames(frames.unwrap_or_default()), dropped)
            }
            (None, Some(claim)) if state == 2 => (Stored::Running(claim), 0),
            (None, _) => (Stored::Frames(Vec::new()), 0),
        };
        Ok(Ok(AttemptLog { number, stored, dropped }))
    }
}
