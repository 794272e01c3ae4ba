//! What the user looks at: the panels, or a page above them; and what is typed.

use batch_executor::protocol::Task;
use batch_executor::task::{BatchId, TaskId};

use super::cursor::Cursor;
use super::log::Log;
use crate::top::act::Ask;

/// A list beside the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Panel {
    #[default]
    Slots,
    Queue,
    Batches,
    Failures,
}

impl Panel {
    /// In the order in which Tab goes through them.
    pub const ALL: [Self; 4] = [Self::Slots, Self::Queue, Self::Batches, Self::Failures];

    /// Its title.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Slots => "Slots",
            Self::Queue => "Queue",
            Self::Batches => "Batches",
            Self::Failures => "Failures",
        }
    }

    /// The next, or the one before.
    pub fn after(self, back: bool) -> Self {
        let step = if back { Self::ALL.len() - 1 } else { 1 };
        Self::ALL.get((self as usize + step) % Self::ALL.len()).copied().unwrap_or(self)
    }
}

/// The order of the slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// Each task stays in its row.
    #[default]
    Slot,
    /// The longest first.
    Time,
    Task,
    Name,
}

impl Sort {
    /// The next order.
    pub const fn next(self) -> Self {
        match self {
            Self::Slot => Self::Time,
            Self::Time => Self::Task,
            Self::Task => Self::Name,
            Self::Name => Self::Slot,
        }
    }

    /// What is said of it.
    pub const fn said(self) -> &'static str {
        match self {
            Self::Slot => "by slot",
            Self::Time => "the longest first",
            Self::Task => "by task",
            Self::Name => "by name",
        }
    }
}

/// A page above the panels.
#[derive(Debug)]
pub enum Page {
    Task(Box<TaskPage>),
    Log(Box<LogPage>),
    Found(Box<FoundPage>),
    Help(Scroll),
}

/// How far a page of lines is scrolled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scroll {
    pub first: usize,
    /// Of the last drawing: how many lines there are, and how many are shown.
    pub lines: usize,
    pub shown: usize,
}

impl Scroll {
    /// Scrolls by so many lines.
    pub fn by(&mut self, lines: isize) {
        self.first = self.first.saturating_add_signed(lines).min(self.lines.saturating_sub(self.shown));
    }

    /// What is drawn now.
    pub fn show(&mut self, lines: usize, shown: usize) {
        (self.lines, self.shown) = (lines, shown);
        self.by(0);
    }
}

/// A task that is looked at.
#[derive(Debug)]
pub struct TaskPage {
    pub task_id: TaskId,
    /// What is known of it.
    pub task: Option<Task>,
    /// Why nothing is.
    pub said: Option<String>,
    /// Something happened to it since.
    pub is_old: bool,
    /// When it was asked for last: wall clock, milliseconds.
    pub asked: i64,
    pub scroll: Scroll,
}

impl TaskPage {
    /// Of which nothing is known yet.
    pub fn of(task_id: TaskId) -> Self {
        Self { task_id, task: None, said: None, is_old: false, asked: 0, scroll: Scroll::default() }
    }

    /// Its name, once it is known.
    pub fn name(&self) -> &str {
        self.task.as_ref().map_or("", |task| task.name.as_str())
    }

    /// Its batch, once it is known.
    pub fn batch(&self) -> Option<BatchId> {
        self.task.as_ref().map(|task| task.batch_id)
    }
}

/// A task's output that is looked at.
#[derive(Debug)]
pub struct LogPage {
    pub log: Log,
    pub name: String,
    pub batch: Option<BatchId>,
}

/// Tasks that were looked for.
#[derive(Debug, Default)]
pub struct FoundPage {
    /// What was typed.
    pub sought: String,
    pub tasks: Vec<Task>,
    /// How many there are in all; none: not answered yet.
    pub total: Option<i64>,
    /// Why none are there.
    pub said: Option<String>,
    /// Something happened since.
    pub is_old: bool,
    /// When it was asked for last: wall clock, milliseconds.
    pub asked: i64,
    /// How long it is not asked for anew, in milliseconds: to find is a scan of all tasks.
    pub rest: i64,
    pub cursor: Cursor,
}

impl FoundPage {
    /// Their ids.
    pub fn keys(&self) -> Vec<i64> {
        self.tasks.iter().map(|task| task.task_id).collect()
    }

    /// The one in the cursor's row.
    pub fn selected(&self) -> Option<&Task> {
        self.tasks.get(self.cursor.row(&self.keys())?)
    }
}

/// What the bottom line asks.
#[derive(Debug)]
pub enum Prompt {
    /// Yes or no.
    Question { question: String, ask: Ask },
    /// A text.
    Text { purpose: Purpose, text: String },
}

/// What a text is typed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Tasks of the queue.
    Find,
    /// What the panels list.
    Narrow,
    /// A line of a log.
    Search,
}
