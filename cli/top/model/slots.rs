//! What runs, each task in a slot that it keeps to its end, so that a row stays where it is.

use std::collections::{BTreeSet, HashMap};

use batch_executor::protocol::{Task, Whose};
use batch_executor::task::{BatchId, TaskId};

use super::wall_of;

/// A task that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub task_id: TaskId,
    pub batch_id: Option<BatchId>,
    /// From 1, where it is known.
    pub attempt: Option<u32>,
    pub name: String,
    pub function: String,
    /// Wall clock, milliseconds.
    pub since: i64,
    /// Why it does not go on: it is suspended.
    pub held: Option<String>,
}

impl Running {
    /// An attempt that began.
    pub fn begun(whose: Whose, since: i64) -> Self {
        Self {
            task_id: whose.task_id,
            batch_id: whose.batch_id,
            attempt: Some(whose.attempt),
            name: whose.name.unwrap_or_default(),
            function: whose.function.unwrap_or_default(),
            since,
            held: None,
        }
    }
}

impl From<&Task> for Running {
    fn from(task: &Task) -> Self {
        Self {
            task_id: task.task_id,
            batch_id: Some(task.batch_id),
            attempt: None,
            name: task.name.clone(),
            function: task.function.clone(),
            since: task.started_at.as_deref().map_or(0, wall_of),
            held: task.reason.clone(),
        }
    }
}

/// The slots. Changed by starts and ends, set right by what `results` says.
#[derive(Debug, Default)]
pub struct Slots {
    slots: Vec<Option<Running>>,
    of: HashMap<TaskId, usize>,
    /// Those before the last used one that are free.
    free: BTreeSet<usize>,
}

impl Slots {
    /// What runs, from a list of all of it; who runs on stays where it is.
    pub fn set(&mut self, tasks: &[Task]) {
        let all: HashMap<TaskId, &Task> = tasks.iter().map(|task| (task.task_id, task)).collect();
        let gone: Vec<TaskId> = self.of.keys().filter(|id| !all.contains_key(id)).copied().collect();
        gone.into_iter().for_each(|id| self.end(id));
        for task in tasks {
            let attempt = self.of.get(&task.task_id).and_then(|at| self.slots.get(*at)?.as_ref()?.attempt);
            self.start(Running { attempt, ..Running::from(task) });
        }
    }

    /// A task started; one that is there already is taken as it is now.
    pub fn start(&mut self, task: Running) {
        let known = self.of.get(&task.task_id).copied();
        let at = known.or_else(|| self.free.pop_first()).unwrap_or(self.slots.len());
        self.of.insert(task.task_id, at);
        match self.slots.get_mut(at) {
            Some(slot) => *slot = Some(task),
            None => self.slots.push(Some(task)),
        }
    }

    /// An attempt of a task ended.
    pub fn end(&mut self, task_id: TaskId) {
        let Some(at) = self.of.remove(&task_id) else { return };
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = None;
            self.free.insert(at);
        }
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
            self.free.remove(&self.slots.len());
        }
    }

    /// The slots up to the last used one; none: free.
    pub fn all(&self) -> &[Option<Running>] {
        &self.slots
    }

    /// What runs in a slot.
    pub fn get(&self, at: usize) -> Option<&Running> {
        self.slots.get(at)?.as_ref()
    }

    /// How many are in use.
    pub fn busy(&self) -> usize {
        self.of.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(task_id: TaskId) -> Running {
        Running {
            task_id,
            batch_id: Some(1),
            attempt: Some(1),
            name: format!("n{task_id}"),
            function: "f".into(),
            since: 0,
            held: None,
        }
    }

    fn ids(slots: &Slots) -> Vec<Option<TaskId>> {
        slots.all().iter().map(|slot| slot.as_ref().map(|task| task.task_id)).collect()
    }

    #[test]
    fn a_task_keeps_its_slot_and_the_next_takes_the_first_free_one() {
        let mut slots = Slots::default();
        (1..=3).for_each(|id| slots.start(running(id)));
        slots.end(1);
        assert_eq!(ids(&slots), [None, Some(2), Some(3)]);
        slots.start(running(4));
        slots.start(running(5));
        assert_eq!(ids(&slots), [Some(4), Some(2), Some(3), Some(5)]);
        slots.end(3);
        slots.end(5);
        assert_eq!(ids(&slots), [Some(4), Some(2)]);
        assert_eq!(slots.busy(), 2);
        slots.start(running(6));
        assert_eq!(ids(&slots), [Some(4), Some(2), Some(6)]);
    }

    #[test]
    fn what_is_told_twice_or_late_changes_nothing() {
        let mut slots = Slots::default();
        slots.start(running(1));
        slots.start(running(1));
        slots.end(9);
        assert_eq!(ids(&slots), [Some(1)]);
        slots.end(1);
        slots.end(1);
        assert!(slots.all().is_empty() && slots.free.is_empty());
    }
}
