//! `add` and `add_batch`: tasks into the queue, once per request key.

use std::collections::{BTreeMap, VecDeque};

use rusqlite::params;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::db::Db;
use super::super::error::QueueError;
use super::super::events::Stored;
use super::super::operation::Operation;
use super::super::state::State;
use super::super::tx::{Tx, json, parsed};
use crate::protocol::{AUTO_KEY, ItemError};
use crate::task::{BatchId, Priority, TaskId, TaskSpec};

/// How many contexts the writer remembers; most clients come with one of a few.
const CONTEXTS: usize = 64;
/// How long a batch without a key is compared with those that follow, ms; and how many there are at most.
const TWIN_WITHIN: i64 = 60_000;
const TWINS: usize = 64;

/// Tasks to insert.
#[derive(Debug)]
pub struct Insert {
    /// Not empty.
    pub tasks: Vec<NewTask>,
    /// The tasks that were refused; part of the answer that a request key keeps.
    pub errors: Vec<ItemError>,
    pub batch: Batch,
    /// Further parts of the batch will follow.
    pub more: bool,
    pub context: NewContext,
    pub key: Option<RequestKey>,
}

/// A task as its rows take it: what is JSON there is written out, by whoever asks for it and not by the one writer.
#[derive(Debug, Clone)]
pub struct NewTask {
    name: String,
    function: String,
    params: String,
    limits: Option<String>,
    permanent_exit_codes: Option<String>,
    priority: Priority,
    max_retries: u32,
    retry_delay_ms: i64,
    timeout_ms: Option<i64>,
    delay_ms: i64,
}

impl NewTask {
    /// The rows of a task that was checked.
    ///
    /// # Errors
    /// When a part of it cannot be written as JSON.
    pub fn of(spec: TaskSpec) -> Result<Self, QueueError> {
        let codes = &spec.permanent_exit_codes;
        Ok(Self {
            params: json(&spec.params)?,
            limits: spec.limits.written().map(|limits| json(&limits)).transpose()?,
            permanent_exit_codes: (!codes.is_empty()).then(|| json(codes)).transpose()?,
            name: spec.name,
            function: spec.function,
            priority: spec.priority,
            max_retries: spec.max_retries,
            retry_delay_ms: spec.retry_delay_ms,
            timeout_ms: spec.timeout_ms,
            delay_ms: spec.delay_ms,
        })
    }
}

impl NewTask {
    /// How often a failed attempt of it is tried again.
    pub const fn max_retries(&self) -> u32 {
        self.max_retries
    }
}

/// Where tasks run, as its row takes it: written out and hashed by whoever asks, as a [`NewTask`].
#[derive(Debug, Clone)]
pub struct NewContext {
    hash: [u8; 32],
    cwd: String,
    environment: String,
}

impl NewContext {
    /// The context of a working directory with an environment.
    ///
    /// # Errors
    /// When the environment cannot be written as JSON.
    pub fn of(cwd: String, environment: &BTreeMap<String, String>) -> Result<Self, QueueError> {
        let environment = json(environment)?;
        let mut hasher = Sha256::new();
        hasher.update(cwd.as_bytes());
        hasher.update([0]);
        hasher.update(environment.as_bytes());
        Ok(Self { hash: hasher.finalize().into(), cwd, environment })
    }
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
    /// The same was added a moment ago, both times without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<Twin>,
    /// True when nothing was added, for the key was seen before.
    #[serde(skip)]
    pub repeated: bool,
}

/// An earlier batch with the same content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Twin {
    pub batch_id: BatchId,
    /// How long ago it was added, ms.
    pub age_ms: i64,
}

/// A batch that came without a key of its client's.
#[derive(Debug, Clone)]
pub struct Recent {
    hash: [u8; 32],
    batch_id: BatchId,
    /// Queue time.
    at: i64,
}

impl Recent {
    /// Those that were there when the daemon ended last, the latest at the end.
    pub(in super::super) fn load(db: &Db) -> Result<VecDeque<Self>, QueueError> {
        let rows: Vec<(Vec<u8>, BatchId, i64)> = db.all(
            "SELECT hash, batch_id, created_at FROM request_key INDEXED BY request_key_age
             WHERE created_at > (SELECT queue_ms FROM clock) - ?1 AND key >= ?2 AND key < ?2 || '~'
             ORDER BY created_at DESC LIMIT ?3",
            params![TWIN_WITHIN, AUTO_KEY, i64::try_from(TWINS).unwrap_or(i64::MAX)],
            |row| row.try_into(),
        )?;
        let known = rows
            .into_iter()
            .rev()
            .filter_map(|(hash, batch_id, at)| Some(Self { hash: hash.try_into().ok()?, batch_id, at }));
        Ok(known.collect())
    }
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
    const TOUCHES_CLAIMED: bool = false;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Answer, QueueError> {
        if let Some(key) = &self.key
            && let Some(answer) = self.earlier(tx, key)?
        {
            return Ok(answer);
        }
        if let Some(shortage) = tx.shortage {
            return Err(QueueError::NoRoom(shortage));
        }
        let Some((batch_id, is_paused)) = self.batch(tx)? else {
            let Batch::Existing(id) = self.batch else { return Err(QueueError::Value("a batch without id".into())) };
            return Ok(Err(InsertRefused::NoSuchBatch(id)));
        };
        let first = tx.memory.next_task;
        self.rows(tx, batch_id, first, is_paused)?;
        let last = tx.memory.next_task - 1;
        tx.tell(Stored::Added { batch_id, first, last });
        let inserted = Inserted {
            batch_id,
            first,
            last,
            position: self.tasks.first().filter(|_| !is_paused).and_then(|task| position(tx, task)),
            queued: tx.memory.tally.queued(),
            errors: self.errors.clone(),
            twin: self.twin(tx, batch_id),
            repeated: false,
        };
        if let Some(key) = &self.key {
            tx.begun()?.run(
                "INSERT OR REPLACE INTO request_key (key, hash, batch_id, answer, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![key.key, key.hash, batch_id, json(&inserted)?, tx.now],
            )?;
            tx.expired_keys = Some(tx.now - key.kept_ms);
        }
        Ok(Ok(inserted))
    }
}

impl Insert {
    /// The latest batch with the same content, if both came without a key; from here on this one is.
    fn twin(&self, tx: &mut Tx<'_>, batch_id: BatchId) -> Option<Twin> {
        if self.more || matches!(self.batch, Batch::Existing(_)) {
            return None;
        }
        let hash = self.key.as_ref().filter(|key| key.key.starts_with(AUTO_KEY))?.hash;
        let (now, recent) = (tx.now, &mut tx.memory.recent);
        while recent.len() >= TWINS || recent.front().is_some_and(|oldest| oldest.at <= now - TWIN_WITHIN) {
            recent.pop_front();
        }
        let twin = recent.iter().rev().find(|earlier| earlier.hash == hash);
        let twin = twin.map(|earlier| Twin { batch_id: earlier.batch_id, age_ms: now - earlier.at });
        recent.push_back(Recent { hash, batch_id, at: now });
        twin
    }

    /// The answer that was given to the same key, if it holds.
    fn earlier(
        &self,
        tx: &mut Tx<'_>,
        key: &RequestKey,
    ) -> Result<Option<Result<Inserted, InsertRefused>>, QueueError> {
        let stored: Option<(Vec<u8>, BatchId, String)> = tx.db.first(
            "SELECT hash, batch_id, answer FROM request_key WHERE key = ?1 AND created_at > ?2",
            params![&key.key, tx.now - key.kept_ms],
            |row| row.try_into(),
        )?;
        let Some((hash, batch_id, answer)) = stored else { return Ok(None) };
        if key.resume {
            let holds = match self.batch {
                Batch::Existing(id) => id == batch_id,
                Batch::New { .. } => is_open(tx, batch_id)?,
            };
            if !holds {
                return Ok(None);
            }
        }
        self.again(key, &hash, &answer).map(Some)
    }

    /// The answer that the key has.
    fn again(
        &self,
        key: &RequestKey,
        hash: &[u8],
        answer: &str,
    ) -> Result<Result<Inserted, InsertRefused>, QueueError> {
        if !key.resume && hash != key.hash {
            return Ok(Err(InsertRefused::KeyConflict));
        }
        let mut inserted: Inserted = parsed(answer)?;
        inserted.repeated = true;
        Ok(Ok(inserted))
    }

    /// The batch, and whether it is paused.
    fn batch(&self, tx: &mut Tx<'_>) -> Result<Option<(BatchId, bool)>, QueueError> {
        match &self.batch {
            Batch::New { name } => {
                let id = tx.memory.next_batch;
                tx.memory.next_batch += 1;
                let queued = i64::try_from(self.tasks.len()).unwrap_or(i64::MAX);
                tx.begun()?.run(
                    "INSERT INTO batch (id, name, created_at, expecting, queued) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![id, name, tx.wall_ms, self.more, queued],
                )?;
                tx.batches.entry(id).or_default().with_its_row = queued;
                Ok(Some((id, false)))
            }
            Batch::Existing(id) => {
                let statement = "UPDATE batch SET expecting = ?2 WHERE id = ?1 RETURNING paused";
                let is_paused = tx.begun()?.first(statement, params![id, self.more], |row| row.get(0))?;
                Ok(is_paused.map(|is_paused| (*id, is_paused)))
            }
        }
    }

    fn rows(&self, tx: &mut Tx<'_>, batch_id: BatchId, first: TaskId, is_paused: bool) -> Result<(), QueueError> {
        let context_id = context(tx, &self.context)?;
        let db = tx.begun()?;
        let mut insert_task = db.prepare(
            "INSERT INTO task (id, batch_id, name, function, priority, state, ready_at, max_retries, retry_delay_ms,
                 timeout_ms, permanent_exit_codes, created_at, paused)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?;
        let mut insert_input =
            db.prepare("INSERT INTO task_input (task_id, params, limits, context_id) VALUES (?1, ?2, ?3, ?4)")?;
        for (id, task) in (first..).zip(&self.tasks) {
            let due = (task.delay_ms > 0).then(|| tx.now + task.delay_ms);
            let ready_at = due.filter(|_| !is_paused);
            let state = if due.is_some() || is_paused { State::Waiting } else { State::Ready };
            insert_task.execute(params![
                id,
                batch_id,
                task.name,
                task.function,
                task.priority.code(),
                state.code(),
                ready_at,
                task.max_retries,
                task.retry_delay_ms,
                task.timeout_ms,
                task.permanent_exit_codes,
                tx.wall_ms,
                is_paused.then_some(due.unwrap_or(0)),
            ])?;
            insert_input.execute(params![id, task.params, task.limits, context_id])?;
            tx.tallied(batch_id, task.priority, state, 1, 0);
            match ready_at {
                _ if is_paused => {}
                Some(due) => tx.memory.waits_until(due),
                None => tx.memory.became_ready(task.priority, id),
            }
            tx.memory.next_task = id + 1;
        }
        Ok(())
    }
}

/// The place in the queue of a task that was just added last, from the tally.
fn position(tx: &Tx<'_>, task: &NewTask) -> Option<i64> {
    (task.delay_ms == 0).then(|| {
        let before = Priority::ALL
            .iter()
            .filter(|p| **p > task.priority)
            .map(|p| tx.memory.tally.tasks(State::Ready, *p))
            .sum::<i64>();
        before + tx.memory.tally.tasks(State::Ready, task.priority)
    })
}

/// Whether a batch has tasks to come or tasks that have not ended.
fn is_open(tx: &mut Tx<'_>, batch_id: BatchId) -> Result<bool, QueueError> {
    let open: Option<bool> =
        tx.db
            .first("SELECT expecting + queued + running > 0 FROM batch WHERE id = ?1", [batch_id], |row| row.get(0))?;
    Ok(open.unwrap_or(false))
}

/// The id of a context; stored once by hash.
fn context(tx: &mut Tx<'_>, new: &NewContext) -> Result<i64, QueueError> {
    if let Some(id) = tx.memory.contexts.get(&new.hash) {
        return Ok(*id);
    }
    let stored = tx.db.first("SELECT id FROM context WHERE hash = ?1", [&new.hash], |row| row.get(0))?;
    let id = match stored {
        Some(id) => id,
        None => {
            let NewContext { hash, cwd, environment } = new;
            let db = tx.begun()?;
            db.run(
                "INSERT INTO context (hash, cwd, environment) VALUES (?1, ?2, ?3)",
                params![hash, cwd, environment],
            )?;
            db.last_id()
        }
    };
    if tx.memory.contexts.len() >= CONTEXTS {
        tx.memory.contexts.clear();
    }
    tx.memory.contexts.insert(new.hash, id);
    Ok(id)
}
