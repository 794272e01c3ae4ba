//! Retention: completed tasks leave by age or number, in slices, and the file gives back the room that is free.
//!
//! What has failed or was cancelled stays: it waits for somebody's decision.

use rusqlite::params;

use super::super::error::QueueError;
use super::super::operation::Operation;
use super::super::state::State;
use super::super::tx::Tx;
use super::clear;
use super::row::{OWN, Row};

/// The most tasks that one transaction removes: a few milliseconds, during which others wait.
pub const SLICE: i64 = 100;
/// The most pages that one transaction gives back.
const PAGES: i64 = 256;
/// So many free pages are kept for what comes, and a quarter of the file if that is more.
const SPARE_PAGES: i64 = 1024;

/// Removes one slice of what need not be kept, the oldest first.
#[derive(Debug, Clone, Copy)]
pub struct Retire {
    /// The most completed tasks that are kept.
    pub count: Option<i64>,
    /// How long one is kept, in ms of queue time.
    pub age_ms: Option<i64>,
}

/// What one slice came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// Whether more is to be removed now.
    pub more: bool,
    /// When the oldest that stays is old enough, in queue time.
    pub next_due: Option<i64>,
}

impl Operation for Retire {
    type Answer = Retired;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Retired, QueueError> {
        let surplus = self.count.map_or(0, |keep| tx.memory.tally.in_state(State::Completed) - keep);
        let surplus = usize::try_from(surplus).unwrap_or(0);
        let now = tx.now;
        let old = |kept_since: i64| self.age_ms.is_some_and(|age| kept_since.saturating_add(age) <= now);
        let rows: Vec<(Row, i64)> = tx.db.all(
            "SELECT id, batch_id, priority, state, run_ms, kept_since FROM task INDEXED BY task_kept
             WHERE state = 3 AND kept_since <= ?1 ORDER BY kept_since LIMIT ?2",
            params![i64::MAX, SLICE + 1],
            |row| Ok((row.try_into()?, row.get(OWN)?)),
        )?;
        let slice = rows.iter().take(usize::try_from(SLICE).unwrap_or(usize::MAX));
        let leaving =
            slice.enumerate().take_while(|(place, (_, kept_since))| *place < surplus || old(*kept_since)).count();
        let stays = rows.get(leaving).map(|(_, kept_since)| *kept_since);
        let retired = Retired {
            more: stays.is_some_and(|since| leaving < surplus || old(since)),
            next_due: stays.zip(self.age_ms).map(|(since, age)| since.saturating_add(age)),
        };
        let rows: Vec<Row> = rows.into_iter().take(leaving).map(|(row, _)| row).collect();
        clear::remove(tx, &rows)?;
        Ok(retired)
    }
}

/// Gives a slice of the file's free pages back to the disk when there are many; the answer is whether it did.
#[derive(Debug, Clone, Copy)]
pub struct Shrink;

impl Operation for Shrink {
    type Answer = bool;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, QueueError> {
        let (free, pages): (i64, i64) = tx.db.one(
            "SELECT freelist_count, page_count FROM pragma_freelist_count, pragma_page_count",
            [],
            |row| row.try_into(),
        )?;
        let surplus = free - SPARE_PAGES.max(pages / 4);
        if surplus <= 0 {
            return Ok(false);
        }
        // A pragma takes no bound values.
        let statement = format!("PRAGMA incremental_vacuum({})", surplus.min(PAGES));
        // It gives a row for each page.
        tx.begun()?.all(&statement, [], |_| Ok(()))?;
        tx.shrunk = surplus <= PAGES;
        Ok(true)
    }
}
