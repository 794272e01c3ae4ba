//! What is known of the executor, and what the user looks at. Pure: the clock is told.

pub mod cursor;
pub mod failures;
pub mod log;
pub mod pace;
pub mod page;
pub mod slots;

use std::collections::BTreeMap;

use batch_executor::protocol::{BatchInfo, Event, Happened, StatusData, Task};
use batch_executor::task::{BatchId, Priority, Status, TaskId};
use batch_executor::time;
use chrono::DateTime;

use self::cursor::Cursor;
use self::failures::Failures;
use self::pace::Pace;
use self::page::{Page, Panel, Prompt, Sort};
use self::slots::{Running, Slots};
use super::act::Ask;
use super::follower::Piece;
use super::machine::Machine;

/// What is looked at is asked for anew at most this often, in milliseconds.
const FRESH_MS: i64 = 1000;

/// Milliseconds of a time on the wire; 0: it is none.
pub fn wall_of(rfc3339: &str) -> i64 {
    DateTime::parse_from_rfc3339(rfc3339).map_or(0, |time| time.timestamp_millis())
}

/// The one task that it is about, if it is about one.
const fn task_of(what: &Happened) -> Option<TaskId> {
    match what {
        Happened::Started(whose) | Happened::NotStarted(whose) | Happened::Ended { whose, .. } => Some(whose.task_id),
        _ => None,
    }
}

/// What came from the daemon.
#[derive(Debug)]
pub enum News {
    /// How it stands after what has happened. `running` is everything that runs, where events do not tell it.
    Stands { events: Vec<Event>, running: Option<Vec<Task>>, status: Box<StatusData>, machine: Machine },
    /// No daemon answers, and why.
    Away(String),
}

/// All that the view shows.
#[derive(Debug, Default)]
pub struct Model {
    /// Wall clock, milliseconds.
    pub now: i64,
    /// Why nothing comes from the daemon.
    pub away: Option<String>,
    pub status: Option<StatusData>,
    pub machine: Machine,
    /// What runs next.
    pub next: Vec<Task>,
    pub batches: Vec<BatchInfo>,
    /// How many are queued at each; unknown of one batch.
    pub priorities: Option<BTreeMap<Priority, i64>>,
    pub slots: Slots,
    pub failures: Failures,
    pub pace: Pace,
    /// The batch that is shown alone.
    pub batch: Option<BatchId>,
    /// Only what has this text is listed.
    pub narrow: String,
    pub sort: Sort,
    pub focus: Panel,
    /// Which of two panels is shown where there is room for one of them.
    pub left: Panel,
    /// Each panel's, in the order of [`Panel::ALL`].
    pub cursors: [Cursor; Panel::ALL.len()],
    /// What is looked at above the panels, the last on top.
    pub pages: Vec<Page>,
    pub prompt: Option<Prompt>,
    /// What was last said to the user.
    pub notice: Option<String>,
    /// The cap that was asked for and is not there yet.
    pub cap: Option<u32>,
}

impl Model {
    /// Takes news in. What is looked at and may have changed is to be asked for anew.
    pub fn hear(&mut self, news: News) -> Option<Ask> {
        match news {
            News::Stands { events, running, status, machine } => {
                self.touch(&events);
                events.into_iter().for_each(|event| self.happened(event));
                if let Some(tasks) = running {
                    self.slots.set(&tasks);
                }
                self.machine = machine;
                self.stands(*status);
            }
            News::Away(why) => self.away = Some(why),
        }
        self.freshen()
    }

    /// A part of the log that is looked at.
    pub fn read(&mut self, piece: Piece) {
        let Some(Page::Log(page)) = self.pages.last_mut() else { return };
        match piece {
            Piece::Text { attempt, text, ended, skipped } => {
                if skipped {
                    page.log.skip();
                }
                page.log.push(&text);
                (page.log.attempt, page.log.ended) = (Some(attempt), ended);
            }
            Piece::Failed(said) => page.log.said = Some(said),
        }
    }

    /// Notes what of it is looked at.
    fn touch(&mut self, events: &[Event]) {
        match self.pages.last_mut() {
            Some(Page::Task(page)) => {
                let is_it = |event: &Event| task_of(&event.what).is_none_or(|id| id == page.task_id);
                page.is_old |= events.iter().any(is_it);
            }
            Some(Page::Found(page)) => page.is_old |= !events.is_empty(),
            Some(Page::Log(_) | Page::Help(_)) | None => {}
        }
    }

    /// What is looked at, is old, and was not asked for just now.
    fn freshen(&mut self) -> Option<Ask> {
        let now = self.now;
        let is_due = |is_old: &mut bool, asked: &mut i64, rest: i64| {
            let is_due = *is_old && now - *asked >= FRESH_MS.max(rest);
            if is_due {
                (*is_old, *asked) = (false, now);
            }
            is_due
        };
        match self.pages.last_mut()? {
            Page::Task(page) => is_due(&mut page.is_old, &mut page.asked, 0).then_some(Ask::Show(page.task_id)),
            Page::Found(page) => {
                is_due(&mut page.is_old, &mut page.asked, page.rest).then(|| Ask::Find(page.sought.clone()))
            }
            Page::Log(_) | Page::Help(_) => None,
        }
    }

    fn happened(&mut self, Event { at, what, .. }: Event) {
        match what {
            Happened::Started(whose) => self.slots.start(Running::begun(whose, wall_of(&at))),
            Happened::NotStarted(whose) => self.slots.end(whose.task_id),
            Happened::Ended { whose, status, outcome, error, .. } => {
                self.slots.end(whose.task_id);
                self.failures.hear(wall_of(&at), whose, status, outcome, error);
            }
            _ => {}
        }
    }

    fn stands(&mut self, mut status: StatusData) {
        self.away = None;
        let counts = &status.counts;
        self.pace.measure(self.now, counts.completed + counts.failed + counts.cancelled);
        if let Some(mut lists) = status.tasks.take() {
            self.next = lists.remove(&Status::Queued).unwrap_or_default();
            self.failures.set(&lists.remove(&Status::Failed).unwrap_or_default());
            self.batches = status.batches.take().unwrap_or_default();
            self.priorities = status.priorities.take();
        }
        if self.cap == Some(status.max_concurrent) {
            self.cap = None;
        }
        self.status = Some(status);
    }

    /// Whether something that is shown changes with the clock alone.
    pub fn ticks(&self) -> bool {
        self.slots.busy() > 0 && self.away.is_none() && !matches!(self.pages.last(), Some(Page::Help(_) | Page::Log(_)))
    }

    /// Seconds since a time.
    pub fn since(&self, wall: i64) -> f64 {
        time::seconds((self.now - wall).max(0))
    }

    /// The seconds that it may still take.
    pub fn eta(&self) -> Option<(f64, f64)> {
        let status = self.status.as_ref()?;
        self.pace.eta(status.counts.queued + status.counts.running, status.eta)
    }

    /// Whether a task belongs to what is shown.
    pub fn shows(&self, batch: Option<BatchId>, id: i64, texts: &[&str]) -> bool {
        if self.batch.is_some() && self.batch != batch {
            return false;
        }
        let sought = self.narrow.to_lowercase();
        sought.is_empty() || id.to_string() == sought || texts.iter().any(|text| text.to_lowercase().contains(&sought))
    }

    /// What a panel lists, by key: slots, ids of tasks and batches, numbers of failures.
    pub fn keys(&self, panel: Panel) -> Vec<i64> {
        match panel {
            Panel::Slots => self.slot_keys(),
            Panel::Queue => {
                let shown = |task: &&Task| self.shows(Some(task.batch_id), task.task_id, &[&task.name, &task.function]);
                self.next.iter().filter(shown).map(|task| task.task_id).collect()
            }
            Panel::Batches => {
                let shown = |batch: &&BatchInfo| {
                    self.shows(Some(batch.batch_id), batch.batch_id, &[batch.name.as_deref().unwrap_or_default()])
                };
                self.batches.iter().filter(shown).map(|batch| batch.batch_id).collect()
            }
            Panel::Failures => {
                let all = self
                    .failures
                    .all()
                    .filter(|failure| self.shows(failure.batch_id, failure.task_id, &[&failure.name, &failure.said]));
                all.map(|failure| failure.number).collect()
            }
        }
    }

    fn slot_keys(&self) -> Vec<i64> {
        let all = self.slots.all().iter().enumerate();
        let running = all.filter_map(|(at, slot)| Some((i64::try_from(at).ok()?, slot.as_ref()?)));
        let mut shown: Vec<(i64, &Running)> = running
            .filter(|(_, task)| self.shows(task.batch_id, task.task_id, &[&task.name, &task.function]))
            .collect();
        match self.sort {
            Sort::Slot => {}
            Sort::Time => shown.sort_by_key(|(_, task)| task.since),
            Sort::Task => shown.sort_by_key(|(_, task)| task.task_id),
            Sort::Name => shown.sort_by(|(_, one), (_, other)| one.name.cmp(&other.name)),
        }
        shown.into_iter().map(|(at, _)| at).collect()
    }

    /// What runs in the slot with this key.
    pub fn slot(&self, key: i64) -> Option<&Running> {
        self.slots.get(usize::try_from(key).ok()?)
    }

    /// A panel's cursor.
    pub fn cursor(&mut self, panel: Panel) -> &mut Cursor {
        &mut self.cursors[panel as usize]
    }

    /// What is selected.
    pub fn selected(&self) -> Option<Selected> {
        match self.pages.last() {
            Some(Page::Task(page)) => return Some(Selected::task(page.task_id, page.name(), page.batch())),
            Some(Page::Log(page)) => return Some(Selected::task(page.log.task_id, &page.name, page.batch)),
            Some(Page::Found(page)) => {
                let task = page.selected()?;
                return Some(Selected::task(task.task_id, &task.name, Some(task.batch_id)));
            }
            Some(Page::Help(_)) => return None,
            None => {}
        }
        let keys = self.keys(self.focus);
        let key = self.cursors.get(self.focus as usize)?.key(&keys)?;
        match self.focus {
            Panel::Slots => self.slot(key).map(|task| Selected::task(task.task_id, &task.name, task.batch_id)),
            Panel::Queue => {
                let task = self.next.iter().find(|task| task.task_id == key)?;
                Some(Selected::task(key, &task.name, Some(task.batch_id)))
            }
            Panel::Batches => {
                let batch = self.batches.iter().find(|batch| batch.batch_id == key)?;
                Some(Selected::Batch { id: key, name: batch.name.clone().unwrap_or_default() })
            }
            Panel::Failures => {
                let failure = self.failures.get(key)?;
                Some(Selected::task(failure.task_id, &failure.name, failure.batch_id))
            }
        }
    }
}

/// What a key such as `c` is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected {
    Task { id: TaskId, name: String, batch: Option<BatchId> },
    Batch { id: BatchId, name: String },
}

impl Selected {
    fn task(id: TaskId, name: &str, batch: Option<BatchId>) -> Self {
        Self::Task { id, name: name.to_owned(), batch }
    }

    /// Its batch, or itself.
    pub const fn batch(&self) -> Option<BatchId> {
        match self {
            Self::Task { batch, .. } => *batch,
            Self::Batch { id, .. } => Some(*id),
        }
    }
}
