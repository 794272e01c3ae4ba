//! `add` and `add_batch`: tasks into the queue, once per request key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::error::QueueError;
use super::super::state::State;
use super::super::tx::{Tx, json, parsed};
use super::super::writer::Operation;
use crate::protocol::ItemError;
use crate::task::{BatchId, Priority, TaskId, TaskSpec};

/// How many expired request keys one insertion removes; bounded, so that no request pays for all.
const EXPIRED_AT_ONCE: i64 = 100;

/// Tasks to insert.
#[derive(Debug)]
pub struct Insert {
    /// Checked; not empty.
    pub specs: Vec<TaskSpec>,
    /// The tasks that were refused; part of the answer that a request key keeps.
    pub errors: Vec<ItemError>,
    pub batch: Batch,
    /// Further parts of the batch will follow.
    pub more: bool,
    pub cwd: String,
    pub environment: BTreeMap<String, String>,
    pub key: Option<RequestKey>,
}

/// The batch that tasks go to.
#[derive(Debug, Clone)]
pub enum Batch {
    New { name: Option<String> },
    Existing(BatchId),
}

/// What makes a repeated request safe.
#[derive(Debug, Clone)]
pub struct RequestKey {
    pub key: String,
    /// Of the request's canonical content.
    pub hash: [u8; 32],
    /// The key holds only while its batch is not done.
    pub resume: bool,
    /// How long a key is remembered, ms.
    pub kept_ms: i64,
}

/// The answer to an insertion; kept with the request key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inserted {
    pub batch_id: BatchId,
    pub first: TaskId,
    pub last: TaskId,
    /// Of the first task, 1 = next; none with a delay.
    pub position: Option<i64>,
    /// Tasks in the queue.
    pub queued: i64,
    pub errors: Vec<ItemError>,
    /// True when nothing was added, for the key was seen before.
    #[serde(skip)]
    pub repeated: bool,
}

/// Why nothing was inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsertRefused {
    NoSuchBatch(BatchId),
    /// The key was used with other content.
    KeyConflict,
}

impl Operation for Insert {
    type Answer = Result<Inserted, InsertRefused>;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Answer, QueueError> {
        if let Some(key) = &self.key
            && let Some(answer) = self.earlier(tx, key).await?
        {
            return Ok(answer);
        }
        if let Some(shortage) = tx.shortage {
            return Err(QueueError::NoRoom(shortage));
        }
        let Some(batch_id) = self.batch(tx).await? else {
            let Batch::Existing(id) = self.batch else { return Err(QueueError::Value("a batch without id".into())) };
            return Ok(Err(InsertRefused::NoSuchBatch(id)));
        };
        let first = tx.memory.next_task;
        self.rows(tx, batch_id, first).await?;
        let last = tx.memory.next_task - 1;
        let inserted = Inserted {
            batch_id,
            first,
            last,
            position: self.specs.first().and_then(|spec| position(tx, spec)),
            queued: tx.memory.tally.queued(),
            errors: self.errors.clone(),
            repeated: false,
        };
        if let Some(key) = &self.key {
            remember(tx, key, &inserted).await?;
        }
        Ok(Ok(inserted))
    }
}

impl Insert {
    /// The answer that was given to the same key, if it holds.
    async fn earlier(
        &self,
        tx: &mut Tx<'_>,
        key: &RequestKey,
    ) -> Result<Option<Result<Inserted, InsertRefused>>, QueueError> {
        let stored: Option<(Vec<u8>, BatchId, String)> =
            sqlx::query_as("SELECT hash, batch_id, answer FROM request_key WHERE key = ?1 AND created_at > ?2")
                .bind(&key.key)
                .bind(tx.now - key.kept_ms)
                .fetch_optional(&mut *tx.connection)
                .await?;
        let Some((hash, batch_id, answer)) = stored else { return Ok(None) };
        if key.resume {
            let holds = match self.batch {
                Batch::Existing(id) => id == batch_id,
                Batch::New { .. } => is_open(tx, batch_id).await?,
            };
            if !holds {
                return Ok(None);
            }
        } else if hash != key.hash {
            return Ok(Some(Err(InsertRefused::KeyConflict)));
        }
        let mut inserted: Inserted = parsed(&answer)?;
        inserted.repeated = true;
        Ok(Some(Ok(inserted)))
    }

    async fn batch(&self, tx: &mut Tx<'_>) -> Result<Option<BatchId>, QueueError> {
        match &self.batch {
            Batch::New { name } => {
                let done = sqlx::query("INSERT INTO batch (name, created_at, expecting) VALUES (?1, ?2, ?3)")
                    .bind(name)
                    .bind(tx.wall_ms)
                    .bind(self.more)
                    .execute(&mut *tx.connection)
                    .await?;
                Ok(Some(done.last_insert_rowid()))
            }
            Batch::Existing(id) => {
                let done = sqlx::query("UPDATE batch SET expecting = ?2 WHERE id = ?1")
                    .bind(id)
                    .bind(self.more)
                    .execute(&mut *tx.connection)
                    .await?;
                Ok((done.rows_affected() == 1).then_some(*id))
            }
        }
    }

    async fn rows(&self, tx: &mut Tx<'_>, batch_id: BatchId, first: TaskId) -> Result<(), QueueError> {
        let context_id = context(tx, &self.cwd, &self.environment).await?;
        let mut hot = Vec::with_capacity(self.specs.len());
        let mut cold = Vec::with_capacity(self.specs.len());
        for (id, spec) in (first..).zip(&self.specs) {
            let ready_at = (spec.delay_ms > 0).then(|| tx.now + spec.delay_ms);
            let state = if ready_at.is_some() { State::Waiting } else { State::Ready };
            let codes =
                if spec.permanent_exit_codes.is_empty() { None } else { Some(json(&spec.permanent_exit_codes)?) };
            hot.push((
                id,
                &spec.name,
                &spec.function,
                spec.priority.code(),
                state.code(),
                ready_at,
                spec.max_retries,
                spec.retry_delay_ms,
                spec.timeout_ms,
                codes,
            ));
            let limits = spec.limits.written().map(|limits| json(&limits)).transpose()?;
            cold.push((id, json(&spec.params)?, limits));
            tx.tallied(batch_id, spec.priority, state, 1, 0);
            match ready_at {
                Some(due) => tx.memory.waits_until(due),
                None => tx.memory.became_ready(spec.priority, id),
            }
            tx.memory.next_task = id + 1;
        }
        sqlx::query(
            "INSERT INTO task (id, batch_id, name, function, priority, state, ready_at, max_retries, retry_delay_ms,
                 timeout_ms, permanent_exit_codes, created_at)
             SELECT value ->> 0, ?2, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                 value ->> 7, value ->> 8, value ->> 9, ?3 FROM json_each(?1)",
        )
        .bind(json(&hot)?)
        .bind(batch_id)
        .bind(tx.wall_ms)
        .execute(&mut *tx.connection)
        .await?;
        sqlx::query(
            "INSERT INTO task_input (task_id, params, limits, context_id)
             SELECT value ->> 0, value ->> 1, value ->> 2, ?2 FROM json_each(?1)",
        )
        .bind(json(&cold)?)
        .bind(context_id)
        .execute(&mut *tx.connection)
        .await?;
        Ok(())
    }
}

/// The place in the queue of a task that was just added last, from the tally.
fn position(tx: &Tx<'_>, spec: &TaskSpec) -> Option<i64> {
    (spec.delay_ms == 0).then(|| {
        let before = Priority::ALL
            .iter()
            .filter(|p| **p > spec.priority)
            .map(|p| tx.memory.tally.tasks(State::Ready, *p))
            .sum::<i64>();
        before + tx.memory.tally.tasks(State::Ready, spec.priority)
    })
}

/// Whether a batch has tasks to come or tasks that have not ended.
async fn is_open(tx: &mut Tx<'_>, batch_id: BatchId) -> Result<bool, QueueError> {
    let open: Option<bool> = sqlx::query_scalar("SELECT expecting + queued + running > 0 FROM batch WHERE id = ?1")
        .bind(batch_id)
        .fetch_optional(&mut *tx.connection)
        .await?;
    Ok(open.unwrap_or(false))
}

/// The id of a working directory with an environment; stored once by hash.
async fn context(tx: &mut Tx<'_>, cwd: &str, environment: &BTreeMap<String, String>) -> Result<i64, QueueError> {
    let environment = json(environment)?;
    let mut hasher = Sha256::new();
    hasher.update(cwd.as_bytes());
    hasher.update([0]);
    hasher.update(environment.as_bytes());
    let hash = hasher.finalize().to_vec();
    let found: Option<i64> = sqlx::query_scalar("SELECT id FROM context WHERE hash = ?1")
        .bind(&hash)
        .fetch_optional(&mut *tx.connection)
        .await?;
    if let Some(id) = found {
        return Ok(id);
    }
    let done = sqlx::query("INSERT INTO context (hash, cwd, environment) VALUES (?1, ?2, ?3)")
        .bind(&hash)
        .bind(cwd)
        .bind(&environment)
        .execute(&mut *tx.connection)
        .await?;
    Ok(done.last_insert_rowid())
}

async fn remember(tx: &mut Tx<'_>, key: &RequestKey, inserted: &Inserted) -> Result<(), QueueError> {
    sqlx::query("DELETE FROM request_key WHERE key IN (SELECT key FROM request_key WHERE created_at <= ?1 LIMIT ?2)")
        .bind(tx.now - key.kept_ms)
        .bind(EXPIRED_AT_ONCE)
        .execute(&mut *tx.connection)
        .await?;
    sqlx::query(
        "INSERT INTO request_key (key, hash, batch_id, answer, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (key) DO UPDATE SET hash = ?2, batch_id = ?3, answer = ?4, created_at = ?5",
    )
    .bind(&key.key)
    .bind(key.hash.as_slice())
    .bind(inserted.batch_id)
    .bind(json(inserted)?)
    .bind(tx.now)
    .execute(&mut *tx.connection)
    .await?;
    Ok(())
}
