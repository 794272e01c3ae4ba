//! What an intent does: to what is looked at, and what is to be asked of others. Pure.

use batch_executor::task::{BatchId, RunState, TaskId};
use serde_json::{Value, json};

use super::keys::{Intent, Mode};
use super::model::log::Log;
use super::model::page::{FoundPage, LogPage, Page, Panel, Prompt, Purpose, Scroll, TaskPage};
use super::model::{Model, Selected};

/// What the view cannot do itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    Quit,
    Suspend,
    Redraw,
    /// A request that changes something.
    Request(Value),
    Show(TaskId),
    Find(String),
    /// Read this log on and on; none: no more.
    Follow(Option<TaskId>),
    /// How it stands is asked of this batch alone.
    Batch(Option<BatchId>),
}

impl Model {
    /// What keys are for.
    pub fn mode(&self) -> Mode {
        match (&self.prompt, self.pages.last()) {
            (Some(Prompt::Text { .. }), _) => Mode::Text,
            (Some(Prompt::Question { .. }), _) => Mode::Question,
            (None, Some(Page::Log(_))) => Mode::Log,
            (None, _) => Mode::Panels,
        }
    }

    /// Does what the user wants; what it takes of others is given back.
    pub fn act(&mut self, intent: Intent) -> Option<Ask> {
        self.notice = None;
        match intent {
            Intent::Move(rows) => self.moved(rows),
            Intent::Page(screens) => {
                let rows = self.screen();
                self.moved(screens.saturating_mul(rows));
            }
            Intent::First => self.moved(isize::MIN),
            Intent::Last => self.moved(isize::MAX),
            Intent::NextPanel => self.focus = self.focus.after(false),
            Intent::PreviousPanel => self.focus = self.focus.after(true),
            Intent::Look => return self.look(),
            Intent::Log => return self.follow(),
            Intent::Cancel => self.ask_to_cancel(),
            Intent::Retry => return self.retry(),
            Intent::Pause => return self.pause(),
            Intent::PauseThis => return self.pause_this(),
            Intent::Cap(by) => return self.change_cap(by),
            Intent::Batch => return self.alone(),
            Intent::Find => self.prompt = Some(Prompt::Text { purpose: Purpose::Find, text: String::new() }),
            Intent::Narrow => self.type_text(),
            Intent::Seek(back) => self.seek(back),
            Intent::Sort => {
                self.sort = self.sort.next();
                self.notice = Some(format!("slots {}", self.sort.said()));
            }
            Intent::Help => self.pages.push(Page::Help(Scroll::default())),
            Intent::Back => return self.back(),
            Intent::Quit => return Some(Ask::Quit),
            Intent::Suspend => return Some(Ask::Suspend),
            Intent::Redraw => return Some(Ask::Redraw),
            Intent::Type(_) | Intent::Erase | Intent::EraseAll => self.edit(intent),
            Intent::Submit => return self.submit(),
            Intent::Yes => {
                if let Some(Prompt::Question { ask, .. }) = self.prompt.take() {
                    return Some(ask);
                }
            }
            Intent::No => self.prompt = None,
        }
        None
    }

    /// Text that was pasted: typed where a text is typed, nothing anywhere else.
    pub fn paste(&mut self, text: &str) {
        if self.mode() == Mode::Text {
            text.chars().filter(|c| !c.is_control()).for_each(|c| self.edit(Intent::Type(c)));
        }
    }

    fn moved(&mut self, rows: isize) {
        match self.pages.last_mut() {
            Some(Page::Task(page)) => page.scroll.by(rows),
            Some(Page::Help(scroll)) => scroll.by(rows),
            Some(Page::Log(page)) => match rows {
                isize::MIN => page.log.go_to_start(),
                isize::MAX => page.log.go_to_end(),
                rows => page.log.scroll(rows),
            },
            Some(Page::Found(page)) => {
                let keys = page.keys();
                page.cursor.move_by(&keys, rows);
            }
            None => {
                let keys = self.keys(self.focus);
                self.cursor(self.focus).move_by(&keys, rows);
            }
        }
    }

    /// The rows of a screen of what is looked at, one less, so that one sees where one was.
    fn screen(&mut self) -> isize {
        let shown = match self.pages.last() {
            Some(Page::Task(page)) => page.scroll.shown,
            Some(Page::Help(scroll)) => scroll.shown,
            Some(Page::Log(page)) => page.log.area.0,
            Some(Page::Found(page)) => page.cursor.shown,
            None => self.cursor(self.focus).shown,
        };
        isize::try_from(shown.saturating_sub(1).max(1)).unwrap_or(1)
    }

    /// Looks at what is selected.
    pub fn look(&mut self) -> Option<Ask> {
        if matches!(self.pages.last(), Some(Page::Task(_) | Page::Log(_))) {
            return None;
        }
        match self.selected()? {
            Selected::Task { id, .. } => {
                self.pages.push(Page::Task(Box::new(TaskPage::of(id))));
                Some(Ask::Show(id))
            }
            Selected::Batch { .. } => self.alone(),
        }
    }

    fn follow(&mut self) -> Option<Ask> {
        if matches!(self.pages.last(), Some(Page::Log(_))) {
            return None;
        }
        let Selected::Task { id, name, batch } = self.selected()? else {
            self.notice = Some("a batch has no log; its tasks have".to_owned());
            return None;
        };
        self.pages.push(Page::Log(Box::new(LogPage { log: Log::of(id), name, batch })));
        Some(Ask::Follow(Some(id)))
    }

    fn ask_to_cancel(&mut self) {
        let (question, request) = match self.selected() {
            None => return,
            Some(Selected::Task { id, name, .. }) => {
                (format!("Cancel task {id} {name}?"), json!({"action": "cancel", "task_id": id}))
            }
            Some(Selected::Batch { id, name }) => (
                format!("Cancel all of batch {id} {name} that has not ended?"),
                json!({"action": "cancel", "batch_id": id}),
            ),
        };
        self.prompt = Some(Prompt::Question { question, ask: Ask::Request(request) });
    }

    fn retry(&self) -> Option<Ask> {
        Some(Ask::Request(match self.selected()? {
            Selected::Task { id, .. } => json!({"action": "retry", "task_id": id}),
            Selected::Batch { id, .. } => json!({"action": "retry", "batch_id": id, "filter_status": "failed"}),
        }))
    }

    fn pause(&mut self) -> Option<Ask> {
        let status = self.status.as_ref()?;
        match status.state {
            RunState::Stopped if status.counts.queued == 0 => {
                self.notice = Some("nothing is queued".to_owned());
                None
            }
            RunState::Stopped => {
                self.prompt = Some(Prompt::Question {
                    question: format!("Start {} queued tasks?", status.counts.queued),
                    ask: Ask::Request(json!({"action": "start"})),
                });
                None
            }
            RunState::Running | RunState::Stopping => {
                Some(Ask::Request(json!({"action": if status.paused { "resume" } else { "pause" }})))
            }
        }
    }

    fn pause_this(&self) -> Option<Ask> {
        let selected = self.selected()?;
        let is_paused = |reason: &Option<String>| reason.as_ref().is_some_and(|reason| reason.starts_with("paused"));
        let (paused, field, id) = match selected {
            Selected::Batch { id, .. } => {
                (self.batches.iter().any(|batch| batch.batch_id == id && batch.paused), "batch_id", id)
            }
            Selected::Task { id, .. } => {
                let runs = self.slots.all().iter().flatten().any(|task| task.task_id == id && is_paused(&task.held));
                let waits = self.next.iter().any(|task| task.task_id == id && is_paused(&task.reason));
                (runs || waits, "task_id", id)
            }
        };
        Some(Ask::Request(json!({"action": if paused { "resume" } else { "pause" }, field: id})))
    }

    /// The cap goes by what was asked for last, so that a key that is held counts.
    fn change_cap(&mut self, by: i32) -> Option<Ask> {
        let status = self.status.as_ref()?;
        if status.state != RunState::Running {
            self.notice = Some("the cap is changed while it runs; p starts it".to_owned());
            return None;
        }
        let cap = self.cap.unwrap_or(status.max_concurrent).saturating_add_signed(by).max(1);
        self.cap = Some(cap);
        Some(Ask::Request(json!({"action": "start", "max_concurrent": cap})))
    }

    fn alone(&mut self) -> Option<Ask> {
        self.batch = match self.batch {
            Some(_) => None,
            None => Some(self.selected()?.batch()?),
        };
        self.pace.forget();
        Some(Ask::Batch(self.batch))
    }

    fn type_text(&mut self) {
        let (purpose, text) = match self.pages.last() {
            Some(Page::Log(page)) => (Purpose::Search, page.log.sought.clone()),
            Some(_) => return,
            None => (Purpose::Narrow, self.narrow.clone()),
        };
        self.prompt = Some(Prompt::Text { purpose, text });
    }

    fn edit(&mut self, intent: Intent) {
        let Some(Prompt::Text { text, purpose }) = &mut self.prompt else { return };
        match intent {
            Intent::Type(character) => text.push(character),
            Intent::Erase => drop(text.pop()),
            _ => text.clear(),
        }
        // What is listed follows what is typed.
        if *purpose == Purpose::Narrow {
            self.narrow.clone_from(text);
        }
    }

    fn submit(&mut self) -> Option<Ask> {
        let Some(Prompt::Text { purpose, text }) = self.prompt.take() else { return None };
        match purpose {
            Purpose::Narrow => self.narrow = text,
            Purpose::Search => {
                if let Some(Page::Log(page)) = self.pages.last_mut() {
                    page.log.sought = text;
                    self.seek(true);
                }
            }
            Purpose::Find => {
                self.pages.retain(|page| !matches!(page, Page::Found(_)));
                let page = FoundPage { sought: text.clone(), asked: self.now, ..FoundPage::default() };
                self.pages.push(Page::Found(Box::new(page)));
                return Some(Ask::Find(text));
            }
        }
        None
    }

    fn seek(&mut self, back: bool) {
        if let Some(Page::Log(page)) = self.pages.last_mut()
            && !page.log.sought.is_empty()
            && !page.log.seek(back)
        {
            let where_to = if back { "above" } else { "below" };
            self.notice = Some(format!("no more {:?} {where_to}", page.log.sought));
        }
    }

    /// One thing less: a page, the text, the batch.
    fn back(&mut self) -> Option<Ask> {
        match self.pages.pop() {
            Some(Page::Log(_)) => return Some(Ask::Follow(None)),
            Some(_) => {}
            None if !self.narrow.is_empty() => self.narrow.clear(),
            None if self.batch.is_some() => return self.alone(),
            None => {}
        }
        None
    }

    /// A click on a row of a panel; on the one that is selected it looks at it.
    pub fn click(&mut self, panel: Panel, row: usize) -> Option<Ask> {
        let keys = self.keys(panel);
        let cursor = self.cursor(panel);
        let row = cursor.first + row;
        if row >= keys.len() {
            self.focus = panel;
            return None;
        }
        let was = cursor.row(&keys) == Some(row);
        cursor.move_to(&keys, row);
        let again = was && self.focus == panel;
        self.focus = panel;
        if again { self.look() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::machine::Machine;
    use crate::top::model::News;
    use batch_executor::protocol::StatusData;

    fn status(state: &str, queued: i64) -> StatusData {
        serde_json::from_value(json!({
            "state": state, "reason": null, "max_concurrent": 5, "keep": false, "deadline": null, "progress": 0.0,
            "counts": {"total": queued, "queued": queued, "running": 0, "completed": 0, "failed": 0, "cancelled": 0},
            "average_task_time": null, "total_execution_time": 0.0, "throughput": 0.0, "eta": null,
            "version": "0", "protocol": 1, "pid": 1, "uptime": 1.0, "home": "/h",
        }))
        .expect("a status")
    }

    fn started(task_id: TaskId) -> batch_executor::protocol::Event {
        serde_json::from_value(
            json!({"seq": 1, "at": "2026-01-01T00:00:00.000Z", "event": "started", "task_id": task_id,
            "attempt": 1, "batch_id": 7, "name": format!("n{task_id}"), "function": "f"}),
        )
        .expect("an event")
    }

    fn model(state: &str) -> Model {
        let mut model = Model::default();
        model.hear(News::Stands {
            events: (1..=3).map(started).collect(),
            running: None,
            status: Box::new(status(state, 3)),
            machine: Machine::default(),
        });
        model
    }

    #[test]
    fn cancel_asks_and_means_what_was_selected_then() {
        let mut model = model("running");
        model.act(Intent::Move(1));
        assert_eq!(model.act(Intent::Cancel), None);
        assert_eq!(model.mode(), Mode::Question);
        model.slots.end(2);
        assert_eq!(model.act(Intent::Yes), Some(Ask::Request(json!({"action": "cancel", "task_id": 2}))));
        assert_eq!(model.mode(), Mode::Panels);
        model.act(Intent::Cancel);
        assert_eq!(model.act(Intent::No), None);
        assert_eq!(model.mode(), Mode::Panels);
    }

    #[test]
    fn the_cap_goes_on_from_what_was_asked_for() {
        let mut it = model("running");
        it.act(Intent::Cap(1));
        assert_eq!(it.act(Intent::Cap(1)), Some(Ask::Request(json!({"action": "start", "max_concurrent": 7}))));
        for _ in 0..20 {
            it.act(Intent::Cap(-1));
        }
        assert_eq!(it.cap, Some(1), "at least one");
        assert_eq!(model("stopped").act(Intent::Cap(1)), None, "it would start it");
    }

    #[test]
    fn pause_is_resume_is_start() {
        assert_eq!(model("running").act(Intent::Pause), Some(Ask::Request(json!({"action": "pause"}))));
        let mut paused = model("running");
        paused.status.as_mut().expect("known").paused = true;
        assert_eq!(paused.act(Intent::Pause), Some(Ask::Request(json!({"action": "resume"}))));
        let mut stopped = model("stopped");
        assert_eq!(stopped.act(Intent::Pause), None, "it asks");
        assert_eq!(stopped.act(Intent::Yes), Some(Ask::Request(json!({"action": "start"}))));
    }

    #[test]
    fn back_takes_one_thing_at_a_time() {
        let mut model = model("running");
        assert_eq!(model.act(Intent::Batch), Some(Ask::Batch(Some(7))));
        model.act(Intent::Narrow);
        "n2".chars().for_each(|c| drop(model.act(Intent::Type(c))));
        assert_eq!(model.keys(Panel::Slots), [1], "it follows what is typed");
        model.act(Intent::Submit);
        assert_eq!(model.act(Intent::Look), Some(Ask::Show(2)));
        assert_eq!(model.act(Intent::Log), Some(Ask::Follow(Some(2))));
        assert_eq!(model.act(Intent::Back), Some(Ask::Follow(None)));
        model.act(Intent::Back);
        assert!(model.pages.is_empty());
        model.act(Intent::Back);
        assert!(model.narrow.is_empty());
        assert_eq!(model.act(Intent::Back), Some(Ask::Batch(None)));
        assert_eq!(model.act(Intent::Back), None);
    }

    #[test]
    fn what_is_pasted_is_no_command() {
        let mut model = model("running");
        model.paste("cy");
        assert_eq!(model.mode(), Mode::Panels);
        model.act(Intent::Find);
        model.paste("failed\nx");
        assert_eq!(model.act(Intent::Submit), Some(Ask::Find("failedx".to_owned())));
    }

    #[test]
    fn with_nothing_there_no_key_does_harm() {
        let mut model = Model::default();
        for intent in [Intent::Look, Intent::Log, Intent::Cancel, Intent::Retry, Intent::Pause, Intent::PauseThis] {
            assert_eq!(model.act(intent), None, "{intent:?}");
        }
        for intent in [Intent::Cap(1), Intent::Batch, Intent::Move(1), Intent::Page(-1), Intent::First, Intent::Last] {
            assert_eq!(model.act(intent), None, "{intent:?}");
        }
        assert_eq!(model.mode(), Mode::Panels);
    }

    #[test]
    fn a_second_click_looks() {
        let mut model = model("running");
        assert_eq!(model.click(Panel::Slots, 1), None);
        assert_eq!(model.click(Panel::Slots, 1), Some(Ask::Show(2)));
        model.act(Intent::Back);
        assert_eq!(model.click(Panel::Slots, 9), None);
        assert_eq!(model.click(Panel::Failures, 0), None);
        assert_eq!(model.focus, Panel::Failures);
    }
}
