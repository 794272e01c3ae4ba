//! The terminal: taken for the view, and given back on every way out.

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::crossterm::{Command, execute};
use ratatui::layout::Rect;

use crate::screen;

/// Presses and the wheel, in the form that has no limit of columns (xterm's modes 1000 and 1006); not every movement, which
/// crossterm's own command also asks for and which is much to send over ssh.
#[derive(Debug, Clone, Copy)]
struct Presses(bool);

impl Command for Presses {
    fn write_ansi(&self, f: &mut impl fmt::Write) -> fmt::Result {
        f.write_str(if self.0 { "\x1b[?1000h\x1b[?1006h" } else { "\x1b[?1006l\x1b[?1000l" })
    }
}

/// The terminal while the view has it. Dropped, it is as it was before.
pub struct Taken {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    mouse: bool,
}

impl Taken {
    /// Takes it; from here on a panic, too, gives it back before it says anything.
    ///
    /// # Errors
    /// When it cannot be set or written.
    pub fn take(mouse: bool) -> io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        set(mouse).inspect_err(|_| give_back())?;
        let terminal = Terminal::new(CrosstermBackend::new(screen::canvas()))?;
        Ok(Self { terminal, mouse })
    }

    /// Draws; only cells that changed are written, in one piece.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame.buffer_mut()))?;
        Ok(())
    }

    /// The shell's for a while: gives it back, and stops this process until it is continued.
    ///
    /// # Errors
    /// When it cannot be set or written afterwards.
    pub fn suspend(&mut self) -> io::Result<()> {
        give_back();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP)?;
        self.come_back()
    }

    /// After a stop, of whatever origin: takes it again, and everything is drawn anew.
    ///
    /// # Errors
    /// When it cannot be set or written.
    pub fn come_back(&mut self) -> io::Result<()> {
        // Who had it meanwhile has set it; only from what it was before can it be set again.
        disable_raw_mode()?;
        set(self.mouse)?;
        self.redraw()
    }

    /// Everything is drawn anew by the next [`Self::draw`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn redraw(&mut self) -> io::Result<()> {
        // Not `clear`: it asks the terminal where the cursor is, and the answer would come among the keys.
        let area = Rect::from(((0, 0).into(), self.terminal.size()?));
        self.terminal.resize(area)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
    }
}

fn set(mouse: bool) -> io::Result<()> {
    enable_raw_mode()?;
    let mut to = screen::canvas();
    execute!(to, EnterAlternateScreen, EnableBracketedPaste, Hide)?;
    if mouse { execute!(to, Presses(true)) } else { Ok(()) }
}

/// As far as it can be done: where it cannot, the terminal is gone.
fn give_back() {
    let mut to = screen::canvas();
    drop(execute!(to, Presses(false), DisableBracketedPaste, LeaveAlternateScreen, Show));
    drop(to.flush());
    drop(disable_raw_mode());
}
