//! The states of a task in the database, which tell two kinds of queued tasks apart, and their tally.

use std::collections::BTreeMap;

use crate::protocol::Counts;
use crate::task::{Priority, Status};

/// The state column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Queued and due; perhaps claimed ahead.
    Ready,
    /// Queued until `ready_at`.
    Waiting,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl State {
    const ALL: [Self; 6] = [Self::Ready, Self::Waiting, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// The code in the database.
    pub const fn code(self) -> i64 {
        self as i64
    }

    /// The state of a code.
    pub fn from_code(code: i64) -> Option<Self> {
        usize::try_from(code).ok().and_then(|i| Self::ALL.get(i).copied())
    }

    /// What a user sees.
    pub const fn status(self) -> Status {
        match self {
            Self::Ready | Self::Waiting => Status::Queued,
            Self::Running => Status::Running,
            Self::Completed => Status::Completed,
            Self::Failed => Status::Failed,
            Self::Cancelled => Status::Cancelled,
        }
    }

    /// The state of an ended status.
    pub const fn of_ended(status: Status) -> Option<Self> {
        match status {
            Status::Completed => Some(Self::Completed),
            Status::Failed => Some(Self::Failed),
            Status::Cancelled => Some(Self::Cancelled),
            Status::Queued | Status::Running => None,
        }
    }

    /// The range of codes that a status covers.
    pub const fn codes(status: Status) -> (i64, i64) {
        match status {
            Status::Queued => (0, 1),
            Status::Running => (2, 2),
            Status::Completed => (3, 3),
            Status::Failed => (4, 4),
            Status::Cancelled => (5, 5),
        }
    }
}

/// Tasks and their run time, by state and priority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    tasks: [[i64; 4]; 6],
    run_ms: [[i64; 4]; 6],
}

impl Tally {
    /// Tasks in `state` at `priority`.
    pub const fn tasks(&self, state: State, priority: Priority) -> i64 {
        self.tasks[state as usize][priority as usize]
    }

    /// Tasks in `state`.
    pub fn in_state(&self, state: State) -> i64 {
        self.tasks[state as usize].iter().sum()
    }

    /// Tasks that are queued, due or not.
    pub fn queued(&self) -> i64 {
        self.in_state(State::Ready) + self.in_state(State::Waiting)
    }

    /// Tasks that have not ended: queued or running.
    pub fn open(&self) -> i64 {
        self.queued() + self.in_state(State::Running)
    }

    /// Tasks that are queued, due or not, at each priority.
    pub fn queued_by_priority(&self) -> BTreeMap<Priority, i64> {
        let queued = |priority| self.tasks(State::Ready, priority) + self.tasks(State::Waiting, priority);
        Priority::ALL.iter().map(|priority| (*priority, queued(*priority))).collect()
    }

    /// Adds `tasks` with `run_ms` together.
    pub const fn add(&mut self, state: State, priority: Priority, tasks: i64, run_ms: i64) {
        self.tasks[state as usize][priority as usize] += tasks;
        self.run_ms[state as usize][priority as usize] += run_ms;
    }

    /// What the users see of it.
    pub fn counts(&self) -> Counts {
        let [completed, failed, cancelled] =
            [State::Completed, State::Failed, State::Cancelled].map(|s| self.in_state(s));
        let (queued, running) = (self.queued(), self.in_state(State::Running));
        Counts::of(queued, running, completed, failed, cancelled)
    }

    /// The run time of completed and failed tasks, in ms.
    pub fn run_ms(&self) -> i64 {
        [State::Completed, State::Failed].iter().map(|s| self.run_ms[*s as usize].iter().sum::<i64>()).sum()
    }

    /// Every cell: state code, priority code, tasks, run time.
    pub fn cells(&self) -> impl Iterator<Item = (i64, i64, i64, i64)> + '_ {
        (0..6_i64).zip(self.tasks.iter().zip(&self.run_ms)).flat_map(|(state, (tasks, run))| {
            (0..4_i64).zip(tasks.iter().zip(run)).map(move |(priority, (t, r))| (state, priority, *t, *r))
        })
    }

    /// What changed from `before`.
    pub fn since(&self, before: &Self) -> Self {
        let mut difference = *self;
        for state in 0..6 {
            for priority in 0..4 {
                difference.tasks[state][priority] -= before.tasks[state][priority];
                difference.run_ms[state][priority] -= before.run_ms[state][priority];
            }
        }
        difference
    }
}
