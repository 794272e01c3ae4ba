//! What was seen, a line for each promise.

use std::cell::RefCell;

use batch_executor::visible::visible_line;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::sys::signal::Signal;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::screen::{Screen, say};

/// Why a promise was not seen to hold.
#[derive(Debug)]
pub(super) enum Seen {
    /// What was seen instead.
    Broken(String),
    /// Why it cannot be produced on this machine.
    NotTestable(String),
    Interrupted(Signal),
}

/// How a check comes out: what was seen, in a few words.
pub(super) type Outcome = Result<String, Seen>;

/// What was seen of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Ok,
    Fail,
    NotTestable,
}

/// One promise.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub promise: &'static str,
    pub verdict: Verdict,
    pub seen: String,
}

/// The lines so far; each is printed when it is known.
pub(super) struct Report<'c> {
    context: &'c Context,
    pub lines: Vec<Line>,
    /// What is being done, on a terminal.
    progress: RefCell<Option<ProgressBar>>,
}

impl<'c> Report<'c> {
    pub(super) fn new(context: &'c Context) -> Self {
        Self { context, lines: Vec::new(), progress: RefCell::default() }
    }

    /// Says on a terminal what is being done.
    pub(super) fn doing(&self, what: &str) {
        if self.context.draws_bars() {
            self.progress.borrow_mut().get_or_insert_with(progress).set_message(what.to_owned());
        }
    }

    /// Takes the progress off the terminal.
    pub(super) fn done(&self) {
        if let Some(progress) = self.progress.take() {
            progress.finish_and_clear();
        }
    }

    /// Notes how a check came out and prints its line.
    ///
    /// # Errors
    /// An interruption, or nobody reads the lines any more.
    pub(super) fn add(&mut self, promise: &'static str, outcome: Outcome) -> Result<(), Failure> {
        let (verdict, seen) = match outcome {
            Ok(seen) => (Verdict::Ok, seen),
            Err(Seen::Broken(seen)) => (Verdict::Fail, seen),
            Err(Seen::NotTestable(why)) => (Verdict::NotTestable, why),
            Err(Seen::Interrupted(signal)) => return Err(interrupted(signal)),
        };
        let mark = match verdict {
            Verdict::Ok => "ok   ",
            Verdict::Fail => "FAIL ",
            Verdict::NotTestable => "not testable here:",
        };
        self.print(&format!("{mark} {promise}: {}", visible_line(&seen.replace('\n', " | "))))?;
        self.lines.push(Line { promise, verdict, seen });
        Ok(())
    }

    /// Prints a line, if lines are wanted.
    ///
    /// # Errors
    /// When nobody reads it.
    pub(super) fn print(&self, line: &str) -> Result<(), Failure> {
        self.done();
        if self.context.json || self.context.quiet {
            return Ok(());
        }
        let mut out = Screen::out();
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    }

    /// Something that must not be missed, whatever is printed.
    pub(super) fn insist(&self, text: &str) {
        self.done();
        if !self.context.json {
            say(text);
        }
    }

    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.lines.iter().filter(|line| line.verdict == verdict).count()
    }
}

fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("… {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
}

/// The user ended it.
fn interrupted(signal: Signal) -> Failure {
    let exit = match signal {
        Signal::SIGINT => crate::exit::INTERRUPTED,
        Signal::SIGTERM => crate::exit::TERMINATED,
        other => 128_u8.saturating_add(u8::try_from(other as i32).unwrap_or(0)),
    };
    Failure::new(exit, "interrupted; the throw-away daemon and its folder are removed, and nothing is proved")
}
