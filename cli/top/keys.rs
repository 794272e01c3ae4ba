//! What a key means. Pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What the user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// By so many rows.
    Move(isize),
    /// By so many screens.
    Page(isize),
    First,
    Last,
    NextPanel,
    PreviousPanel,
    Look,
    Log,
    Cancel,
    Retry,
    Pause,
    /// Pause what is selected.
    PauseThis,
    /// The cap, by so many.
    Cap(i32),
    Batch,
    Find,
    Narrow,
    /// The next match, or with true the one before.
    Seek(bool),
    Sort,
    Help,
    Back,
    Quit,
    Suspend,
    Redraw,
    Type(char),
    Erase,
    EraseAll,
    Submit,
    Yes,
    No,
}

/// What keys are for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Panels,
    /// A log: `n` and `N` look for the text.
    Log,
    /// A text is typed.
    Text,
    /// Yes or no.
    Question,
}

/// All keys, for the help: the key, what it does.
pub const HELP: &[(&str, &str)] = &[
    ("arrows, j k", "select; PgUp PgDn, Home End (g G)"),
    ("Tab, Shift-Tab", "the next panel, the one before"),
    ("Enter", "look at the task: attempts, why, error, parameters; in Batches: that batch alone"),
    ("l", "its log, followed as it is written"),
    ("/", "list only what has a text; in a log: search, n N go on"),
    ("f", "find tasks: states, a text, an id, or a filter such as runtime>5m"),
    ("c", "cancel the task or batch (asks first)"),
    ("r", "retry the task; in Batches: all of it that failed"),
    ("p", "pause, resume; when stopped: start (asks first)"),
    ("P", "pause or resume the selected task or batch alone"),
    ("+ -", "more or fewer at once"),
    ("b", "the selected batch alone; again: all"),
    ("s", "sort the slots: by slot, time, task, name"),
    ("Ctrl-L, Ctrl-Z", "draw anew; back to the shell (fg comes back)"),
    ("Esc", "back"),
    ("q", "quit; the tasks go on"),
];

/// What the key means in this mode; none: nothing.
pub fn intent(key: &KeyEvent, mode: Mode) -> Option<Intent> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') if mode == Mode::Text || mode == Mode::Question => Some(Intent::No),
            KeyCode::Char('c') => Some(Intent::Quit),
            KeyCode::Char('z') => Some(Intent::Suspend),
            KeyCode::Char('l') => Some(Intent::Redraw),
            KeyCode::Char('u') if mode == Mode::Text => Some(Intent::EraseAll),
            KeyCode::Char('h') if mode == Mode::Text => Some(Intent::Erase),
            KeyCode::Char('f') => Some(Intent::Page(1)),
            KeyCode::Char('b') => Some(Intent::Page(-1)),
            _ => None,
        };
    }
    if key.modifiers.contains(KeyModifiers::ALT) {
        return None;
    }
    match mode {
        Mode::Text => typed(key.code),
        Mode::Question => match key.code {
            KeyCode::Char('y' | 'Y') => Some(Intent::Yes),
            KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc | KeyCode::Enter => Some(Intent::No),
            _ => None,
        },
        Mode::Log => match key.code {
            KeyCode::Char('n') => Some(Intent::Seek(true)),
            KeyCode::Char('N') => Some(Intent::Seek(false)),
            code => moved(code).or_else(|| wanted(code)),
        },
        Mode::Panels => moved(key.code).or_else(|| wanted(key.code)),
    }
}

const fn typed(code: KeyCode) -> Option<Intent> {
    match code {
        KeyCode::Char(character) => Some(Intent::Type(character)),
        KeyCode::Backspace => Some(Intent::Erase),
        KeyCode::Enter => Some(Intent::Submit),
        KeyCode::Esc => Some(Intent::No),
        _ => None,
    }
}

const fn moved(code: KeyCode) -> Option<Intent> {
    match code {
        KeyCode::Up | KeyCode::Char('k') => Some(Intent::Move(-1)),
        KeyCode::Down | KeyCode::Char('j') => Some(Intent::Move(1)),
        KeyCode::PageUp => Some(Intent::Page(-1)),
        KeyCode::PageDown | KeyCode::Char(' ') => Some(Intent::Page(1)),
        KeyCode::Home | KeyCode::Char('g') => Some(Intent::First),
        KeyCode::End | KeyCode::Char('G') => Some(Intent::Last),
        KeyCode::Tab | KeyCode::Right => Some(Intent::NextPanel),
        KeyCode::BackTab | KeyCode::Left => Some(Intent::PreviousPanel),
        _ => None,
    }
}

const fn wanted(code: KeyCode) -> Option<Intent> {
    match code {
        KeyCode::Enter => Some(Intent::Look),
        KeyCode::Char('l') => Some(Intent::Log),
        KeyCode::Char('c') => Some(Intent::Cancel),
        KeyCode::Char('r') => Some(Intent::Retry),
        KeyCode::Char('p') => Some(Intent::Pause),
        KeyCode::Char('P') => Some(Intent::PauseThis),
        KeyCode::Char('+' | '=') => Some(Intent::Cap(1)),
        KeyCode::Char('-') => Some(Intent::Cap(-1)),
        KeyCode::Char('b') => Some(Intent::Batch),
        KeyCode::Char('f') => Some(Intent::Find),
        KeyCode::Char('/') => Some(Intent::Narrow),
        KeyCode::Char('s') => Some(Intent::Sort),
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Some(Intent::Help),
        KeyCode::Esc | KeyCode::Backspace => Some(Intent::Back),
        KeyCode::Char('q') => Some(Intent::Quit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode, mode: Mode) -> Option<Intent> {
        intent(&KeyEvent::new(code, KeyModifiers::NONE), mode)
    }

    #[test]
    fn letters_are_commands_unless_a_text_is_typed() {
        assert_eq!(key(KeyCode::Char('q'), Mode::Panels), Some(Intent::Quit));
        assert_eq!(key(KeyCode::Char('q'), Mode::Text), Some(Intent::Type('q')));
        assert_eq!(key(KeyCode::Char('n'), Mode::Log), Some(Intent::Seek(true)));
        assert_eq!(key(KeyCode::Char('n'), Mode::Panels), None);
        assert_eq!(key(KeyCode::Char('x'), Mode::Panels), None);
    }

    #[test]
    fn only_a_y_is_a_yes() {
        assert_eq!(key(KeyCode::Char('y'), Mode::Question), Some(Intent::Yes));
        for code in [KeyCode::Enter, KeyCode::Esc, KeyCode::Char('n'), KeyCode::Char('q')] {
            assert_eq!(key(code, Mode::Question), Some(Intent::No), "{code:?}");
        }
        assert_eq!(key(KeyCode::Char('c'), Mode::Question), None);
    }

    #[test]
    fn control_c_leaves_what_is_typed_or_the_view() {
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(intent(&control_c, Mode::Panels), Some(Intent::Quit));
        assert_eq!(intent(&control_c, Mode::Text), Some(Intent::No));
        let alt_q = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::ALT);
        assert_eq!(intent(&alt_q, Mode::Panels), None);
    }
}
