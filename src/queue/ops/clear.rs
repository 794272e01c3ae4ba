//! `clear`: ended tasks leave the queue, in pieces.

use rusqlite::params;

use super::super::error::QueueError;
use super::super::events::Stored;
use super::super::memory::{priority_of, state_of};
use super::super::operation::Operation;
use super::super::passing::passing_within;
use super::super::tx::{Tx, json};
use super::CHUNK;
use super::row::Row;
use crate::filter::Condition;
use crate::task::{BatchId, TaskId};

/// Removes those of some tasks that pass and have ended.
#[derive(Debug, Clone)]
pub struct ClearPassing {
    pub ids: Vec<TaskId>,
    pub condition: Condition,
}

impl Operation for ClearPassing {
    /// How many were removed.
    type Answer = u64;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, QueueError> {
        let ids = passing_within(tx.db, &self.ids, &self.condition)?;
        let rows: Vec<Row> = tx.db.all(
            "SELECT id, batch_id, priority, state, run_ms FROM task
             WHERE id IN (SELECT value FROM json_each(?1)) AND state >= 3",
            [json(&ids)?],
            |row| row.try_into(),
        )?;
        clear(tx, &rows)
    }
}

/// Removes one piece of the ended tasks.
#[derive(Debug, Clone)]
pub struct Clear {
    /// Codes of ended states.
    pub states: Vec<i64>,
    pub batch_id: Option<BatchId>,
    /// Only what ended at or before this wall-clock time, ms.
    pub ended_by: i64,
    /// Only up to this id: what ends while the pieces are removed is not swept up.
    pub upto: TaskId,
}

impl Operation for Clear {
    /// How many were removed; fewer than a piece at the end.
    type Answer = u64;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, QueueError> {
        let rows = self.rows(tx)?;
        clear(tx, &rows)
    }
}

/// Removes them, tells of it, and gives how many they were.
fn clear(tx: &mut Tx<'_>, rows: &[Row]) -> Result<u64, QueueError> {
    let cleared = rows.len() as u64;
    remove(tx, rows)?;
    if cleared > 0 {
        tx.tell(Stored::Cleared(cleared));
    }
    Ok(cleared)
}

/// Takes ended tasks out of the queue, with all that belongs to them.
pub(super) fn remove(tx: &mut Tx<'_>, rows: &[Row]) -> Result<(), QueueError> {
    if rows.is_empty() {
        return Ok(());
    }
    let ids: Vec<TaskId> = rows.iter().map(|row| row.id).collect();
    for row in rows {
        let (priority, state) = (priority_of(row.priority)?, state_of(row.state)?);
        tx.tallied(row.batch_id, priority, state, -1, -row.run_ms.unwrap_or(0));
        tx.emptied.insert(row.batch_id);
    }
    tx.memory.removed += rows.len() as u64;
    let ids = json(&ids)?;
    let files: Vec<String> = tx.begun()?.all(
        "INSERT OR IGNORE INTO stale_file (path)
         SELECT task_id || '-' || number || '.log' FROM attempt
         WHERE spilled = 1 AND task_id IN (SELECT value FROM json_each(?1)) RETURNING path",
        [&ids],
        |row| row.get(0),
    )?;
    tx.unlink.extend(files);
    for statement in [
        "DELETE FROM output WHERE task_id IN (SELECT value FROM json_each(?1))",
        "DELETE FROM attempt WHERE task_id IN (SELECT value FROM json_each(?1))",
        "DELETE FROM task_input WHERE task_id IN (SELECT value FROM json_each(?1))",
        "DELETE FROM task WHERE id IN (SELECT value FROM json_each(?1))",
    ] {
        tx.begun()?.run(statement, [&ids])?;
    }
    Ok(())
}

impl Clear {
    fn rows(&self, tx: &mut Tx<'_>) -> Result<Vec<Row>, QueueError> {
        let statement = if self.batch_id.is_some() {
            "SELECT id, batch_id, priority, state, run_ms FROM task INDEXED BY task_batch_ended
             WHERE state >= 3 AND batch_id = ?3 AND state IN (SELECT value FROM json_each(?1)) AND finished_at <= ?2
                 AND id <= ?5 LIMIT ?4"
        } else {
            "SELECT id, batch_id, priority, state, run_ms FROM task INDEXED BY task_ended
             WHERE state >= 3 AND state IN (SELECT value FROM json_each(?1)) AND finished_at <= ?2 AND ?3 IS NULL
                 AND id <= ?5 LIMIT ?4"
        };
        tx.db.all(statement, params![json(&self.states)?, self.ended_by, self.batch_id, CHUNK, self.upto], |row| {
            row.try_into()
        })
    }
}
