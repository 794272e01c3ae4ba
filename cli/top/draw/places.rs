//! Where what was drawn, for the mouse.

use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use crate::top::act::Ask;
use crate::top::keys::{Intent, Mode};
use crate::top::model::Model;
use crate::top::model::page::{Page, Panel};

/// Rows that the wheel scrolls at once.
const WHEEL: isize = 3;

/// Where what is.
#[derive(Debug, Default)]
pub struct Places {
    /// The rows of each panel that is there.
    pub lists: Vec<(Panel, Rect)>,
    /// Their titles.
    pub tabs: Vec<(Panel, Rect)>,
    /// The rows of what was found.
    pub found: Option<Rect>,
}

impl Places {
    /// What a click or the wheel does.
    pub fn mouse(&self, event: MouseEvent, model: &mut Model) -> Option<Ask> {
        if matches!(model.mode(), Mode::Text | Mode::Question) {
            return None;
        }
        let at = Position::new(event.column, event.row);
        match event.kind {
            MouseEventKind::ScrollUp => self.wheel(at, -WHEEL, model),
            MouseEventKind::ScrollDown => self.wheel(at, WHEEL, model),
            MouseEventKind::Down(MouseButton::Left) => self.click(at, model),
            _ => None,
        }
    }

    fn wheel(&self, at: Position, rows: isize, model: &mut Model) -> Option<Ask> {
        if model.pages.is_empty() {
            let (panel, _) = self.lists.iter().find(|(_, area)| area.contains(at))?;
            model.focus = *panel;
        }
        model.act(Intent::Move(rows))
    }

    fn click(&self, at: Position, model: &mut Model) -> Option<Ask> {
        if let Some((area, Page::Found(page))) = self.found.zip(model.pages.last_mut()) {
            let row = area.contains(at).then(|| page.cursor.first + usize::from(at.y - area.y))?;
            let keys = page.keys();
            if row >= keys.len() {
                return None;
            }
            let again = page.cursor.row(&keys) == Some(row);
            page.cursor.move_to(&keys, row);
            return if again { model.look() } else { None };
        }
        if !model.pages.is_empty() {
            return None;
        }
        if let Some((panel, _)) = self.tabs.iter().find(|(_, area)| area.contains(at)) {
            model.focus = *panel;
            return None;
        }
        let (panel, area) = self.lists.iter().find(|(_, area)| area.contains(at))?;
        model.click(*panel, usize::from(at.y - area.y))
    }
}
