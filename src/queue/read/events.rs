//! What has happened, from a number on, with what is told of each task now.

use std::collections::HashMap;

use serde::Deserialize;

use super::super::Queue;
use super::super::error::QueueError;
use super::super::events::{LastEnd, Stored, Tasks, What};
use super::super::memory::state_of;
use super::super::tx::{json, parsed};
use crate::protocol::{Event, Gap, Happened, TaskList, Whose};
use crate::task::{BatchId, Cause, Outcome, TaskId};
use crate::time::{rfc3339, seconds};

/// How many rows are read at once.
const ROWS: i64 = 16;
/// How many events are looked at at once for those that are wanted.
const LOOKED_AT: usize = 1000;
/// How much of an error's text is told, in characters.
const LONGEST_ERROR: i64 = 1000;

/// Some of the events, in their order.
#[derive(Debug)]
pub struct Told {
    pub events: Vec<Event>,
    /// The number to go on with.
    pub next: i64,
    pub gap: Option<Gap>,
}

/// What is told of an attempt. The fields are in the order of the columns.
#[derive(Deserialize)]
struct AttemptRow {
    task_id: TaskId,
    number: u32,
    batch_id: BatchId,
    name: String,
    function: String,
    outcome: Option<i64>,
    cause: Option<i64>,
    error: Option<String>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    run_ms: Option<i64>,
}

type Attempts = HashMap<(TaskId, u32), AttemptRow>;

#[derive(sqlx::FromRow)]
struct Row {
    first: i64,
    last: i64,
    at: i64,
    events: String,
}

/// An event with its number and time.
type Numbered = (i64, i64, Stored);

impl Told {
    /// At most `most` events of these rows, which follow on what was taken; and whether it ended at numbers that are not there,
    /// for they are the next page's gap. There are such where old ones were let go of, and where a repair could not read a row.
    fn take(&mut self, rows: Vec<Row>, most: usize) -> (Vec<Numbered>, bool) {
        let mut taken: Vec<Numbered> = Vec::new();
        for row in rows {
            let events: Option<Vec<Stored>> = parsed(&row.events).ok();
            let begins = if events.is_some() { row.first } else { row.last + 1 };
            if begins > self.next {
                let follows = self.gap.is_none_or(|gap| gap.to + 1 == self.next);
                if !taken.is_empty() || !self.events.is_empty() || !follows {
                    return (taken, true);
                }
                let from = self.gap.map_or(self.next, |gap| gap.from);
                self.gap = Some(Gap { from, to: begins - 1 });
                self.next = begins;
            }
            let numbered = (row.first..).zip(events.into_iter().flatten()).skip_while(|(seq, _)| *seq < self.next);
            taken.extend(numbered.map(|(seq, event)| (seq, row.at, event)).take(most - taken.len()));
            self.next = taken.last().map_or(self.next, |(seq, ..)| seq + 1);
            if taken.len() >= most {
                break;
            }
        }
        (taken, false)
    }
}

impl Queue {
    /// At most `limit` events from number `from` on; with `batch_id` those of that batch alone.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn events(&self, from: i64, limit: usize, batch_id: Option<BatchId>) -> Result<Told, QueueError> {
        self.told(from, limit, batch_id, None::<fn(&Stored) -> bool>).await
    }

    /// At most `limit` events from number `from` on of those that are wanted; of the others nothing more is read.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn events_that(
        &self,
        from: i64,
        limit: usize,
        is_wanted: impl Fn(&Stored) -> bool,
    ) -> Result<Told, QueueError> {
        self.told(from, limit, None, Some(is_wanted)).await
    }

    async fn told(
        &self,
        from: i64,
        limit: usize,
        batch_id: Option<BatchId>,
        is_wanted: Option<impl Fn(&Stored) -> bool>,
    ) -> Result<Told, QueueError> {
        // Few may be wanted among many.
        let are_chosen = batch_id.is_some() || is_wanted.is_some();
        let mut told = Told { events: Vec::new(), next: from, gap: None };
        // What is committed can be read a little before others are told of it, and who goes on from there would be refused.
        let before = self.snapshot().next_event;
        loop {
            let rows = self.event_rows(told.next, before).await?;
            let is_last = i64::try_from(rows.len()).is_ok_and(|rows| rows < ROWS);
            let room = if are_chosen { LOOKED_AT } else { limit - told.events.len() };
            let (mut stored, is_cut) = told.take(rows, room);
            let is_full = is_cut || stored.len() >= room;
            if let Some(is_wanted) = &is_wanted {
                stored.retain(|(.., event)| is_wanted(event));
            }
            let attempts = self.attempts_of(&stored).await?;
            for (seq, at, event) in stored {
                let event = shown(seq, at, event, &attempts)?;
                if batch_id.is_none_or(|id| event.what.batch_id() == Some(id)) {
                    told.events.push(event);
                    if told.events.len() >= limit {
                        told.next = seq + 1;
                        return Ok(told);
                    }
                }
            }
            if is_cut || (is_last && !is_full) {
                return Ok(told);
            }
        }
    }

    async fn event_rows(&self, from: i64, before: i64) -> Result<Vec<Row>, QueueError> {
        Ok(sqlx::query_as(
            "SELECT first, last, at, events FROM event
             WHERE first >= coalesce((SELECT max(first) FROM event WHERE first <= ?1), 0) AND last >= ?1 AND first < ?3
             ORDER BY first LIMIT ?2",
        )
        .bind(from)
        .bind(ROWS)
        .bind(before)
        .fetch_all(&self.readers)
        .await?)
    }

    async fn attempts_of(&self, stored: &[Numbered]) -> Result<Attempts, QueueError> {
        let wanted: Vec<(TaskId, u32)> = stored
            .iter()
            .filter_map(|(.., event)| match event {
                Stored::Started(task, attempt)
                | Stored::NotStarted(task, attempt)
                | Stored::Ended(task, attempt, _) => Some((*task, *attempt)),
                _ => None,
            })
            .collect();
        if wanted.is_empty() {
            return Ok(Attempts::new());
        }
        let found: String = sqlx::query_scalar(
            "SELECT json_group_array(json_array(task.id, j.value ->> 1, batch_id, name, function, outcome, cause,
                 substr(error, 1, ?2), exit_code, signal,
                 iif(attempts = j.value ->> 1, run_ms, max(0, attempt.finished_at - attempt.started_at))))
             FROM json_each(?1) AS j CROSS JOIN task ON task.id = j.value ->> 0
             LEFT JOIN attempt ON attempt.task_id = task.id AND attempt.number = j.value ->> 1",
        )
        .bind(json(&wanted)?)
        .bind(LONGEST_ERROR)
        .fetch_one(&self.readers)
        .await?;
        let rows: Vec<AttemptRow> = parsed(&found)?;
        Ok(rows.into_iter().map(|row| ((row.task_id, row.number), row)).collect())
    }
}

fn shown(seq: i64, at: i64, stored: Stored, attempts: &Attempts) -> Result<Event, QueueError> {
    let whose = |task_id, attempt| {
        let row = attempts.get(&(task_id, attempt));
        Whose {
            task_id,
            attempt,
            batch_id: row.map(|row| row.batch_id),
            name: row.map(|row| row.name.clone()),
            function: row.map(|row| row.function.clone()),
        }
    };
    let list = |Tasks { tasks, ids }| TaskList { tasks, task_ids: ids };
    let what = match stored {
        Stored::Started(task, attempt) => Happened::Started(whose(task, attempt)),
        Stored::NotStarted(task, attempt) => Happened::NotStarted(whose(task, attempt)),
        Stored::Ended(task, attempt, state) => {
            let row = attempts.get(&(task, attempt));
            let run_time = row.and_then(|row| row.run_ms).map(seconds);
            Happened::Ended {
                whose: whose(task, attempt),
                status: state_of(state)?.status(),
                outcome: row.and_then(|row| row.outcome).and_then(Outcome::from_code),
                cause: row.and_then(|row| row.cause).and_then(Cause::from_code),
                error: row.and_then(|row| row.error.clone()),
                exit_code: row.and_then(|row| row.exit_code),
                signal: row.and_then(|row| row.signal),
                run_time,
            }
        }
        Stored::Added { batch_id, first, last } => {
            Happened::Added { batch_id, tasks: last - first + 1, first_task_id: first, last_task_id: last }
        }
        Stored::Cancelled(tasks) => Happened::Cancelled(list(tasks)),
        Stored::Requeued(tasks) => Happened::Requeued(list(tasks)),
        Stored::Updated(tasks) => Happened::Updated(list(tasks)),
        Stored::Paused(what) => {
            let (batch_id, tasks) = parts(what);
            Happened::Paused { batch_id, tasks: tasks.map(list) }
        }
        Stored::Resumed(what) => {
            let (batch_id, tasks) = parts(what);
            Happened::Resumed { batch_id, tasks: tasks.map(list) }
        }
        Stored::Cleared(tasks) => Happened::Cleared { tasks },
        Stored::Executor { state, reason, max_concurrent } => Happened::Executor { state, reason, max_concurrent },
        Stored::BatchEnded { batch_id, name, counts } => Happened::BatchEnded { batch_id, name, counts },
        Stored::Idle => Happened::Idle,
        Stored::Gate { gate, open, found } => Happened::Gate { gate, open, found },
        Stored::DaemonStarted { version, after } => {
            let after = match after {
                LastEnd::None => None,
                LastEnd::Stop => Some("stop"),
                LastEnd::Restart => Some("restart"),
                LastEnd::Crash => Some("crash"),
                LastEnd::Reboot => Some("reboot"),
            };
            Happened::DaemonStarted { version, after: after.map(str::to_owned) }
        }
    };
    Ok(Event { seq, at: rfc3339(at), what })
}

fn parts(what: What) -> (Option<BatchId>, Option<Tasks>) {
    match what {
        What::Executor => (None, None),
        What::Batch(id) => (Some(id), None),
        What::Tasks(tasks) => (None, Some(tasks)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(first: i64, last: i64, is_whole: bool) -> Row {
        let events = vec![Stored::Idle; usize::try_from(last - first + 1).expect("a few")];
        let events = if is_whole { json(&events).expect("JSON") } else { "[\"idle".to_owned() };
        Row { first, last, at: 0, events }
    }

    /// The numbers that are taken, the gap, and where it goes on.
    fn taken(from: i64, most: usize, rows: Vec<Row>) -> (Vec<i64>, Option<(i64, i64)>, i64) {
        let mut told = Told { events: Vec::new(), next: from, gap: None };
        let (taken, _) = told.take(rows, most);
        (taken.iter().map(|(seq, ..)| *seq).collect(), told.gap.map(|gap| (gap.from, gap.to)), told.next)
    }

    #[test]
    fn pages_begin_and_end_anywhere() {
        let rows = || vec![row(1, 3, true), row(4, 4, true), row(5, 7, true)];
        assert_eq!(taken(1, 10, rows()), ((1..=7).collect(), None, 8));
        assert_eq!(taken(2, 4, rows()), ((2..=5).collect(), None, 6));
        assert_eq!(taken(7, 4, rows()), (vec![7], None, 8));
        assert_eq!(taken(8, 4, Vec::new()), (vec![], None, 8));
    }

    #[test]
    fn what_is_not_there_is_a_gap_before_what_is() {
        assert_eq!(taken(1, 10, vec![row(5, 6, true)]), (vec![5, 6], Some((1, 4)), 7));
        let holed = || vec![row(5, 6, true), row(9, 9, true)];
        assert_eq!(taken(1, 10, holed()), (vec![5, 6], Some((1, 4)), 7));
        assert_eq!(taken(7, 10, holed().split_off(1)), (vec![9], Some((7, 8)), 10));
        let unread = || vec![row(1, 2, true), row(3, 5, false), row(6, 6, false), row(7, 7, true)];
        assert_eq!(taken(1, 10, unread()), (vec![1, 2], None, 3));
        assert_eq!(taken(3, 10, unread().split_off(1)), (vec![7], Some((3, 6)), 8));
        assert_eq!(taken(3, 10, vec![row(3, 5, false)]), (vec![], Some((3, 5)), 6));
    }
}
