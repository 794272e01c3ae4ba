//! Failures as they come: the latest first, a bounded number of them.

use std::collections::VecDeque;

use batch_executor::protocol::{Task, Whose};
use batch_executor::task::{BatchId, Outcome, Status, TaskId};

use super::wall_of;
use crate::views::text::reason;

/// How many are kept.
const KEPT: usize = 1000;

/// An attempt that did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One for each, ascending.
    pub number: i64,
    /// Wall clock, milliseconds.
    pub at: i64,
    pub task_id: TaskId,
    pub batch_id: Option<BatchId>,
    pub name: String,
    /// The task is tried again.
    pub again: bool,
    /// What was wrong, in a line.
    pub said: String,
}

/// The latest failures.
#[derive(Debug, Default)]
pub struct Failures {
    /// The latest first.
    kept: VecDeque<Failure>,
    numbered: i64,
}

impl Failures {
    /// What `status` lists as failed, for the time before there were events.
    pub fn set(&mut self, latest: &[Task]) {
        if self.kept.is_empty() {
            for task in latest.iter().rev() {
                let at = task.finished_at.as_deref().map_or(0, wall_of);
                let said = task.error.clone().or_else(|| task.reason.clone());
                self.push(at, task.task_id, Some(task.batch_id), Some(&task.name), false, said);
            }
        }
    }

    /// An attempt ended; kept if it failed.
    pub fn hear(&mut self, at: i64, whose: Whose, status: Status, outcome: Option<Outcome>, error: Option<String>) {
        let Some(outcome) = outcome else { return };
        if matches!(outcome, Outcome::Failed | Outcome::TimedOut | Outcome::Interrupted) {
            let said = error.unwrap_or_else(|| outcome.as_str().replace('_', " "));
            let again = status == Status::Queued;
            self.push(at, whose.task_id, whose.batch_id, whose.name.as_deref(), again, Some(said));
        }
    }

    fn push(
        &mut self,
        at: i64,
        task_id: TaskId,
        batch_id: Option<BatchId>,
        name: Option<&str>,
        again: bool,
        said: Option<String>,
    ) {
        self.numbered += 1;
        let said = said.as_deref().map(reason).unwrap_or_default();
        let name = name.unwrap_or_default().to_owned();
        self.kept.push_front(Failure { number: self.numbered, at, task_id, batch_id, name, again, said });
        self.kept.truncate(KEPT);
    }

    /// The latest first.
    pub fn all(&self) -> impl Iterator<Item = &Failure> {
        self.kept.iter()
    }

    /// The one with this number.
    pub fn get(&self, number: i64) -> Option<&Failure> {
        self.kept.iter().find(|failure| failure.number == number)
    }
}
