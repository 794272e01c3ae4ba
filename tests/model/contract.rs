//! The contract as a plain in-memory model: what is queued, runs and has ended, at rest after each change.
//!
//! It knows no process, no clock and no database. Everything that could depend on timing is kept out of the tasks:
//! one runs until the test lets it end, or forever, or for no time at all, and a retry waits until it is hastened.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// At this many interruptions a task fails (the daemon is told the same).
pub const MAX_INTERRUPTIONS: u32 = 2;
/// An exit code after which there is no retry.
pub const PERMANENT: u8 = 7;
pub const PRIORITIES: [&str; 4] = ["low", "medium", "high", "critical"];
const DEFAULT_CAP: usize = 5;

/// How a task behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A process that runs until the test opens its gate.
    Gate,
    /// Simulated: ends at once, the first attempts as failures.
    Instant { fails: u32 },
    /// Simulated: never ends by itself.
    Endless,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    pub const fn name(self) -> &'static str {
        ["queued", "running", "completed", "failed", "cancelled"][self as usize]
    }

    pub const fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

#[derive(Debug, Clone)]
pub struct Task {
    pub batch: i64,
    pub kind: Kind,
    pub priority: usize,
    pub status: Status,
    /// It does not start; where it ran when it was paused, it is suspended.
    pub paused: bool,
    /// It was paused and runs to its end all the same, for it was stopped.
    pub left: bool,
    /// Queued with a delay or a retry that does not come due while the test runs.
    pub parked: bool,
    pub max_retries: u32,
    pub retry_count: u32,
    pub interruptions: u32,
    /// What became of each attempt that has ended.
    pub outcomes: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Stopped,
    Running,
    Stopping,
}

/// What `start` gave; `None` was not given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    pub cap: Option<usize>,
    pub keep: Option<bool>,
    pub max_failures: Option<u32>,
    pub deadline: bool,
}

#[derive(Debug, Clone)]
pub struct Model {
    /// By id; ids are never reused.
    pub tasks: BTreeMap<i64, Task>,
    pub next_task: i64,
    pub next_batch: i64,
    pub state: State,
    pub reason: Option<&'static str>,
    pub cap: usize,
    pub deadline: bool,
    /// Tasks in the order in which they were given a slot since this was last emptied.
    pub started: Vec<i64>,
    /// The executor is paused; true: what ran then is suspended.
    pub paused: Option<bool>,
    paused_batches: BTreeSet<i64>,
    keep: bool,
    max_failures: Option<u32>,
    failures: u32,
}

impl Model {
    /// An empty queue.
    pub const fn new() -> Self {
        Self {
            tasks: BTreeMap::new(),
            next_task: 1,
            next_batch: 1,
            state: State::Stopped,
            reason: None,
            cap: DEFAULT_CAP,
            deadline: false,
            started: Vec::new(),
            paused: None,
            paused_batches: BTreeSet::new(),
            keep: false,
            max_failures: None,
            failures: 0,
        }
    }

    pub fn of(&self, status: Status) -> impl Iterator<Item = i64> + '_ {
        self.tasks.iter().filter(move |(_, task)| task.status == status).map(|(id, _)| *id)
    }

    pub fn count(&self, status: Status) -> usize {
        self.of(status).count()
    }

    /// The place of a task that is added last at this priority.
    pub fn position(&self, priority: usize) -> usize {
        1 + self.ready().filter(|(_, task)| task.priority >= priority).count()
    }

    fn ready(&self) -> impl Iterator<Item = (&i64, &Task)> {
        self.tasks.iter().filter(|(_, task)| task.status == Status::Queued && !task.parked && !task.paused)
    }

    pub fn add(&mut self, batch: i64, kind: Kind, priority: usize, max_retries: u32, delayed: bool) -> i64 {
        let id = self.next_task;
        self.next_task += 1;
        let task = Task {
            batch,
            kind,
            priority,
            status: Status::Queued,
            paused: self.paused_batches.contains(&batch),
            left: false,
            parked: delayed,
            max_retries,
            retry_count: 0,
            interruptions: 0,
            outcomes: Vec::new(),
        };
        self.tasks.insert(id, task);
        id
    }

    /// Whether it was started, rather than changed or left as it was.
    pub fn start(&mut self, given: Settings) -> bool {
        let was = self.state;
        if was == State::Stopped {
            let idle = self.count(Status::Queued) + self.count(Status::Running) == 0;
            if idle && given.keep != Some(true) {
                return false;
            }
            (self.cap, self.keep, self.max_failures, self.paused) = (DEFAULT_CAP, false, None, None);
        }
        if was != State::Running {
            (self.state, self.reason, self.deadline, self.failures) = (State::Running, None, false, 0);
        }
        self.cap = given.cap.unwrap_or(self.cap);
        self.keep = given.keep.unwrap_or(self.keep);
        self.max_failures = given.max_failures.or(self.max_failures);
        self.deadline |= given.deadline;
        was != State::Running
    }

    /// `stop`, the deadline, too many failures.
    pub fn wind_down(&mut self, reason: &'static str, graceful: bool) {
        if self.state == State::Stopped {
            return;
        }
        if self.state == State::Running {
            (self.state, self.reason, self.deadline, self.paused) = (State::Stopping, Some(reason), false, None);
        }
        let running: Vec<i64> = self.of(Status::Running).collect();
        for id in running {
            self.task(id).left = true;
        }
        if !graceful {
            self.give_back();
        }
    }

    /// What runs goes back to the queue; nothing is counted.
    pub fn give_back(&mut self) {
        for id in self.of(Status::Running).collect::<Vec<_>>() {
            self.close(id, "stopped", Status::Queued);
        }
    }

    /// What runs is lost with the keeper; `simulate` does not count it.
    pub fn lose(&mut self) {
        for id in self.of(Status::Running).collect::<Vec<_>>() {
            let task = self.task(id);
            task.interruptions += u32::from(task.kind == Kind::Gate);
            let is_lost = task.kind == Kind::Gate && task.interruptions >= MAX_INTERRUPTIONS;
            self.close(id, "interrupted", if is_lost { Status::Failed } else { Status::Queued });
        }
    }

    /// A gate opens, and its process exits with `code`.
    pub fn open(&mut self, id: i64, code: u8) {
        match code {
            0 => self.close(id, "completed", Status::Completed),
            PERMANENT => self.close(id, "failed", Status::Failed),
            _ => self.fail(id),
        }
    }

    /// Whether the task was not over yet.
    pub fn cancel(&mut self, id: i64) -> bool {
        match self.tasks.get(&id).map(|task| task.status) {
            Some(Status::Running) => self.close(id, "cancelled", Status::Cancelled),
            Some(Status::Queued) => self.task(id).status = Status::Cancelled,
            _ => return false,
        }
        true
    }

    /// Whether the task had not ended and was not as it is to be.
    pub fn pause(&mut self, id: i64, on: bool) -> bool {
        let Some(task) = self.tasks.get_mut(&id).filter(|task| !task.status.is_ended()) else { return false };
        let changes = std::mem::replace(&mut task.paused, on) != on;
        task.left &= !changes;
        changes
    }

    /// Also what is added to it later.
    pub fn pause_batch(&mut self, batch: i64, on: bool) {
        if on {
            self.paused_batches.insert(batch);
        } else {
            self.paused_batches.remove(&batch);
        }
    }

    /// Whether a running task makes no progress.
    pub fn is_suspended(&self, id: i64) -> bool {
        let task = &self.tasks[&id];
        (task.paused && !task.left) || self.paused == Some(true)
    }

    /// Why the executor is as it is.
    pub fn shown_reason(&self) -> Option<&'static str> {
        match self.paused {
            Some(true) => Some("paused by request"),
            Some(false) => Some("paused by request, what runs goes on"),
            None => self.reason,
        }
    }

    /// Whether the task had failed or been cancelled.
    pub fn retry(&mut self, id: i64) -> bool {
        let Some(task) = self.tasks.get_mut(&id) else { return false };
        if !matches!(task.status, Status::Failed | Status::Cancelled) {
            return false;
        }
        (task.status, task.parked, task.retry_count, task.interruptions) = (Status::Queued, false, 0, 0);
        task.paused = self.paused_batches.contains(&task.batch);
        true
    }

    /// Whether the task was queued.
    pub fn update(&mut self, id: i64, priority: Option<usize>, hasten: bool) -> bool {
        let Some(task) = self.tasks.get_mut(&id).filter(|task| task.status == Status::Queued) else { return false };
        task.priority = priority.unwrap_or(task.priority);
        task.parked &= !hasten;
        true
    }

    /// How many were removed.
    pub fn clear(&mut self, status: Option<Status>, batch: Option<i64>) -> usize {
        let before = self.tasks.len();
        self.tasks.retain(|_, task| {
            let is_chosen = status.map_or(task.status.is_ended(), |status| status == task.status);
            !(is_chosen && batch.is_none_or(|batch| batch == task.batch))
        });
        before - self.tasks.len()
    }

    /// Lets everything happen that follows by itself: free slots are filled in order, a run that is over stops.
    pub fn settle(&mut self) {
        while self.state == State::Running && self.paused.is_none() && self.count(Status::Running) < self.cap {
            let best = self.ready().min_by_key(|(id, task)| (Reverse(task.priority), **id)).map(|(id, _)| *id);
            let Some(id) = best else { break };
            self.begin(id);
        }
        let (queued, running) = (self.count(Status::Queued), self.count(Status::Running));
        let is_over = match self.state {
            State::Running => !self.keep && queued + running == 0,
            State::Stopping => running == 0,
            State::Stopped => false,
        };
        if is_over {
            self.reason = if self.state == State::Running { Some("done") } else { self.reason };
            (self.state, self.deadline, self.paused) = (State::Stopped, false, None);
        }
    }

    fn begin(&mut self, id: i64) {
        self.started.push(id);
        let task = self.task(id);
        task.status = Status::Running;
        task.left = false;
        match task.kind {
            Kind::Instant { fails } if task.retry_count < fails => self.fail(id),
            Kind::Instant { .. } => self.close(id, "completed", Status::Completed),
            Kind::Gate | Kind::Endless => {}
        }
    }

    /// A failed attempt: a retry is left, or none.
    fn fail(&mut self, id: i64) {
        let task = self.task(id);
        if task.retry_count < task.max_retries {
            task.retry_count += 1;
            task.parked = true;
            self.close(id, "failed", Status::Queued);
        } else {
            self.close(id, "failed", Status::Failed);
        }
    }

    fn close(&mut self, id: i64, outcome: &'static str, status: Status) {
        let task = self.task(id);
        task.outcomes.push(outcome);
        task.status = status;
        if status == Status::Failed {
            self.failures += 1;
            if self.state == State::Running && self.max_failures.is_some_and(|most| self.failures >= most) {
                (self.state, self.reason) = (State::Stopping, Some("max_failures"));
            }
        }
    }

    fn task(&mut self, id: i64) -> &mut Task {
        self.tasks.get_mut(&id).expect("a task of the model")
    }
}
