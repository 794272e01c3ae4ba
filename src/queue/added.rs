//! What the additions of a group write: gathered, and written together before anything reads it.

use std::collections::BTreeMap;

use super::error::QueueError;
use super::rows::{self, Rows};
use super::tx::Tx;
use crate::task::BatchId;

/// Rows of additions that are not written yet.
pub(super) struct Added {
    pub batches: Vec<NewBatch>,
    pub tasks: Rows,
    pub inputs: Rows,
    /// What was answered to each new request key.
    pub keys: BTreeMap<String, Answered>,
    /// What is older is forgotten, queue time.
    pub expired: i64,
}

/// A batch that is made.
pub(super) struct NewBatch {
    pub id: BatchId,
    pub name: Option<String>,
    /// Wall clock, ms.
    pub created_at: i64,
    /// Further parts follow.
    pub expecting: bool,
}

/// What a request key keeps.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub hash: Vec<u8>,
    pub batch_id: BatchId,
    /// JSON.
    pub answer: String,
    /// No answer to the same key is there; else it takes that one's place.
    pub is_new: bool,
}

impl Default for Added {
    fn default() -> Self {
        Self {
            batches: Vec::new(),
            tasks: Rows::new(
                "INSERT INTO task (id, batch_id, name, function, priority, state, ready_at, max_retries, retry_delay_ms,
                     timeout_ms, permanent_exit_codes, created_at)
                 SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) AS j WHERE column1 IS NOT NULL",
            ),
            inputs: Rows::new(
                "INSERT INTO task_input (task_id, params, limits, context_id)
                 SELECT * FROM (VALUES (?, ?, ?, ?)) AS j WHERE column1 IS NOT NULL",
            ),
            keys: BTreeMap::new(),
            expired: i64::MIN,
        }
    }
}

impl Added {
    /// The rows, in the order in which they are written; `now` in queue time, `queued` how many tasks a new batch has.
    pub(super) fn rows(self, now: i64, mut queued: impl FnMut(BatchId) -> i64) -> [Rows; 6] {
        let Self { batches: new_batches, tasks, inputs, keys, expired } = self;
        let mut batches = Rows::new(
            "INSERT INTO batch (id, name, created_at, expecting, queued)
             SELECT * FROM (VALUES (?, ?, ?, ?, ?)) AS j WHERE column1 IS NOT NULL",
        );
        for NewBatch { id, name, created_at, expecting } in new_batches {
            batches.push([id.into(), name.into(), created_at.into(), expecting.into(), queued(id).into()]);
        }
        // Bounded, so that no group pays for all; as many as come are gone in the end.
        let mut old_keys = Rows::new(
            "DELETE FROM request_key WHERE key IN
                 (SELECT key FROM request_key WHERE created_at <= (SELECT column1 FROM (VALUES (?)) AS j) LIMIT 256)",
        );
        let mut new_keys = Rows::new(
            "INSERT INTO request_key (key, hash, batch_id, answer, created_at)
             SELECT * FROM (VALUES (?, ?, ?, ?, ?)) AS j WHERE column1 IS NOT NULL",
        );
        let mut known_keys = Rows::new(
            "INSERT INTO request_key (key, hash, batch_id, answer, created_at)
             SELECT * FROM (VALUES (?, ?, ?, ?, ?)) AS j WHERE column1 IS NOT NULL
             ON CONFLICT (key) DO UPDATE SET hash = excluded.hash, batch_id = excluded.batch_id,
                 answer = excluded.answer, created_at = excluded.created_at",
        );
        if !keys.is_empty() {
            old_keys.push([expired.into()]);
        }
        for (key, Answered { hash, batch_id, answer, is_new }) in keys {
            let rows = if is_new { &mut new_keys } else { &mut known_keys };
            rows.push([key.into(), hash.into(), batch_id.into(), answer.into(), now.into()]);
        }
        [batches, tasks, inputs, old_keys, new_keys, known_keys]
    }
}

/// Writes what was gathered, before the end of the group: what the batches have is still to change.
pub(super) async fn write(tx: &mut Tx<'_>) -> Result<(), QueueError> {
    let rows = std::mem::take(&mut tx.added).rows(tx.now, |_| 0);
    rows::write(tx, rows, "").await
}
