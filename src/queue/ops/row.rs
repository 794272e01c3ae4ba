//! What the operations on chosen tasks read of each.

use crate::task::{BatchId, TaskId};

/// A task; the first columns of a row that is read as one: `id, batch_id, priority, state, run_ms`.
pub(super) struct Row {
    pub id: TaskId,
    pub batch_id: BatchId,
    /// The code.
    pub priority: i64,
    /// The code.
    pub state: i64,
    pub run_ms: Option<i64>,
}

/// Where the columns of an operation's own begin, after a [`Row`].
pub(super) const OWN: usize = 5;

impl TryFrom<&rusqlite::Row<'_>> for Row {
    type Error = rusqlite::Error;

    fn try_from(row: &rusqlite::Row<'_>) -> Result<Self, Self::Error> {
        Ok(Self {
            id: row.get(0)?,
            batch_id: row.get(1)?,
            priority: row.get(2)?,
            state: row.get(3)?,
            run_ms: row.get(4)?,
        })
    }
}
