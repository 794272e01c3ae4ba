//! What hooks tell: written down together with how far they were told of the events, and what came of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use rusqlite::params;

use super::super::error::QueueError;
use super::super::operation::Operation;
use super::super::tx::{Tx, json, parsed};
use crate::protocol::Gap;

/// Deliveries that are kept in all, beside those that wait and the latest of each event of a hook.
const KEPT: i64 = 1000;
/// Deliveries of one hook that wait at most.
const PENDING: usize = 100;

/// How a delivery stands, as it is stored.
pub mod state {
    pub const PENDING: i64 = 0;
    pub const DELIVERED: i64 = 1;
    pub const FAILED: i64 = 2;
    pub const DROPPED: i64 = 3;

    /// Its word.
    pub const fn word(state: i64) -> &'static str {
        match state {
            PENDING => "pending",
            DELIVERED => "delivered",
            DROPPED => "dropped",
            _ => "failed",
        }
    }
}

/// Meets the hooks that are configured now: those that are new begin at the event `end`, those that are no more are forgotten. The
/// answer is the first event that each was not told of.
#[derive(Debug, Clone)]
pub struct Meet {
    pub names: Vec<String>,
    pub end: i64,
}

impl Operation for Meet {
    type Answer = BTreeMap<String, i64>;
    const TOUCHES_CLAIMED: bool = false;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Answer, QueueError> {
        let known: Vec<(String, i64)> = tx.db.all("SELECT name, next FROM hook", [], |row| row.try_into())?;
        let mut next: BTreeMap<String, i64> = known.into_iter().collect();
        // Where a repair lost the latest events their numbers come again.
        if next.values().any(|next| *next > self.end) {
            next.values_mut().for_each(|next| *next = self.end.min(*next));
            tx.begun()?.run("UPDATE hook SET next = ?1 WHERE next > ?1", [self.end])?;
        }
        let now = tx.wall_ms;
        let gone: Vec<String> = next.keys().filter(|name| !self.names.contains(name)).cloned().collect();
        for name in gone {
            next.remove(&name);
            tx.begun()?.run("DELETE FROM hook WHERE name = ?1", [&name])?;
            tx.begun()?.run(
                "UPDATE hook_delivery SET state = 3, ended_at = ?2, said = 'the hook is not configured any more'
                 WHERE hook = ?1 AND state = 0",
                params![&name, now],
            )?;
        }
        for name in &self.names {
            if !next.contains_key(name) {
                next.insert(name.clone(), self.end);
                tx.begun()?.run("INSERT INTO hook (name, next) VALUES (?1, ?2)", params![name, self.end])?;
            }
        }
        Ok(next)
    }
}

/// What one hook is to tell of one kind of event.
#[derive(Debug, Clone)]
pub struct Tell {
    pub hook: String,
    pub event: &'static str,
    /// The fields of the first few events.
    pub first: Vec<Map<String, Value>>,
    pub count: i64,
    /// Between two deliveries, in ms: what comes meanwhile is gathered. 0: a delivery for each event.
    pub gathers_ms: i64,
}

/// Writes down what is to be told, and that all hooks were told of the events before `next`.
#[derive(Debug, Clone)]
pub struct Record {
    pub next: i64,
    pub tell: Vec<Tell>,
    /// Of deliveries that gather, the most events that are told one by one.
    pub first: usize,
    /// Events that are not kept any more.
    pub gap: Option<Gap>,
    /// Deliveries that are on their way: nothing is added to them, and they are not dropped.
    pub on_their_way: Vec<i64>,
}

impl Operation for Record {
    type Answer = ();
    const TOUCHES_CLAIMED: bool = false;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        if let Some(Gap { from, to }) = self.gap {
            let said = format!("the events {from} to {to} are not kept any more: nothing of them is told");
            tx.begun()?.run(
                "INSERT INTO hook_delivery
                     (hook, event, first, count, state, said, created_at, ended_at, first_due, due)
                 SELECT name, 'gap', '[]', ?1, 3, ?2, ?3, ?3, ?4, ?4 FROM hook WHERE next <= ?5",
                params![to - from + 1, said, tx.wall_ms, tx.now, to],
            )?;
        }
        tx.begun()?.run("UPDATE hook SET next = ?1 WHERE next < ?1", [self.next])?;
        for tell in &self.tell {
            self.tell(tx, tell)?;
        }
        self.drop_surplus(tx)
    }
}

impl Record {
    fn tell(&self, tx: &mut Tx<'_>, tell: &Tell) -> Result<(), QueueError> {
        if tell.gathers_ms > 0 && self.gathered(tx, tell)? {
            return Ok(());
        }
        let latest: Option<i64> = tx.db.one(
            "SELECT max(first_due) FROM hook_delivery WHERE hook = ?1 AND event = ?2 AND test = 0",
            params![&tell.hook, tell.event],
            |row| row.get(0),
        )?;
        let due = latest.map_or(tx.now, |latest| tx.now.max(latest.saturating_add(tell.gathers_ms)));
        tx.begun()?.run(
            "INSERT INTO hook_delivery (hook, event, first, count, state, created_at, first_due, due)
             VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?6)",
            params![&tell.hook, tell.event, json(&tell.first)?, tell.count, tx.wall_ms, due],
        )?;
        Ok(())
    }

    /// Adds to the delivery that waits for its first attempt, if one does.
    fn gathered(&self, tx: &mut Tx<'_>, tell: &Tell) -> Result<bool, QueueError> {
        let waiting: Vec<(i64, String)> = tx.db.all(
            "SELECT id, first FROM hook_delivery INDEXED BY hook_delivery_pending
             WHERE state = 0 AND hook = ?1 AND event = ?2 AND attempts = 0 AND test = 0",
            params![&tell.hook, tell.event],
            |row| row.try_into(),
        )?;
        let Some((id, first)) = waiting.into_iter().rfind(|(id, _)| !self.on_their_way.contains(id)) else {
            return Ok(false);
        };
        let mut first: Vec<Map<String, Value>> = parsed(&first)?;
        let room = self.first.saturating_sub(first.len());
        first.extend(tell.first.iter().take(room).cloned());
        tx.begun()?.run(
            "UPDATE hook_delivery SET first = ?2, count = count + ?3 WHERE id = ?1",
            params![id, json(&first)?, tell.count],
        )?;
        Ok(true)
    }

    /// Of what waits the oldest goes, of what has ended too.
    fn drop_surplus(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        let hooks: BTreeSet<&String> = self.tell.iter().map(|tell| &tell.hook).collect();
        for hook in hooks {
            let waiting: Vec<i64> = tx.db.all(
                "SELECT id FROM hook_delivery INDEXED BY hook_delivery_pending WHERE state = 0 AND hook = ?1",
                [hook],
                |row| row.get(0),
            )?;
            let surplus = waiting.len().saturating_sub(PENDING);
            let mut oldest: Vec<i64> = waiting.into_iter().filter(|id| !self.on_their_way.contains(id)).collect();
            oldest.sort_unstable();
            oldest.truncate(surplus);
            if oldest.is_empty() {
                continue;
            }
            tracing::warn!(hook, deliveries = oldest.len(), "too many deliveries wait; the oldest are given up");
            tx.begun()?.run(
                "UPDATE hook SET dropped = dropped + ?2 WHERE name = ?1",
                params![hook, i64::try_from(oldest.len()).unwrap_or(i64::MAX)],
            )?;
            tx.begun()?.run(
                "UPDATE hook_delivery SET state = 3, ended_at = ?2, said = coalesce(said, 'too many waited')
                 WHERE id IN (SELECT value FROM json_each(?1))",
                params![json(&oldest)?, tx.wall_ms],
            )?;
        }
        forget_old(tx)
    }
}

/// The latest of each event stays while its hook is known: it is shown, and the next waits for `at_most_every` after it.
fn forget_old(tx: &mut Tx<'_>) -> Result<(), QueueError> {
    tx.begun()?.run(
        "DELETE FROM hook_delivery WHERE state <> 0 AND id <= (SELECT max(id) FROM hook_delivery) - ?1
         AND (NOT EXISTS (SELECT 1 FROM hook WHERE name = hook_delivery.hook)
             OR EXISTS (SELECT 1 FROM hook_delivery AS later
                 WHERE later.hook = hook_delivery.hook AND later.event = hook_delivery.event
                 AND later.first_due >= hook_delivery.first_due AND later.test = hook_delivery.test
                 AND later.state <> 0 AND later.id > hook_delivery.id))",
        [KEPT],
    )?;
    Ok(())
}

/// What an attempt to deliver came to.
#[derive(Debug, Clone)]
pub struct Attempted {
    pub id: i64,
    pub said: String,
    pub then: Then,
}

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Delivered,
    Failed,
    /// It is tried again after so many ms.
    Again(i64),
}

impl Operation for Attempted {
    type Answer = ();
    const TOUCHES_CLAIMED: bool = false;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        let (state, after, ended) = match self.then {
            Then::Delivered => (state::DELIVERED, 0, Some(tx.wall_ms)),
            Then::Failed => (state::FAILED, 0, Some(tx.wall_ms)),
            Then::Again(after) => (state::PENDING, after, None),
        };
        let due = tx.now.saturating_add(after);
        tx.begun()?.run(
            "UPDATE hook_delivery SET attempts = attempts + 1, state = ?2, said = ?3, due = ?4, ended_at = ?5
             WHERE id = ?1 AND state = 0",
            params![self.id, state, &self.said, due, ended],
        )?;
        Ok(())
    }
}

/// Writes down a test, which was tried once.
#[derive(Debug, Clone)]
pub struct Tested {
    pub hook: String,
    pub event: &'static str,
    pub said: String,
    pub is_delivered: bool,
}

impl Operation for Tested {
    type Answer = ();
    const TOUCHES_CLAIMED: bool = false;

    fn apply(&self, tx: &mut Tx<'_>) -> Result<(), QueueError> {
        tx.begun()?.run(
            "INSERT INTO hook_delivery
                 (hook, event, first, count, test, state, attempts, said, created_at, ended_at, first_due, due)
             VALUES (?1, ?2, '[]', 1, 1, ?3, 1, ?4, ?5, ?5, ?6, ?6)",
            params![
                &self.hook,
                self.event,
                if self.is_delivered { state::DELIVERED } else { state::FAILED },
                &self.said,
                tx.wall_ms,
                tx.now
            ],
        )?;
        forget_old(tx)
    }
}
