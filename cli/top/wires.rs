//! Keys, the mouse, the terminal's size and signals, handed on as they come.

use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::SyncSender;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use ratatui::crossterm::event;

use super::app::{Message, spawn};
use crate::interrupt::Interrupt;

/// Hands on keys and signals, each by a thread that sleeps until there are some.
///
/// # Errors
/// When a thread cannot be started.
pub fn lay(interrupt: Interrupt, to: &SyncSender<Message>) -> io::Result<()> {
    let keys = to.clone();
    spawn("keys", to, move || {
        while let Ok(event) = event::read() {
            if keys.send(Message::Input(event)).is_err() {
                return;
            }
        }
        // A terminal that cannot be read has gone.
        let _ = keys.send(Message::Signal(Signal::SIGHUP));
    })?;
    let signals = to.clone();
    spawn("signals", to, move || {
        while let Some(signal) = next(&interrupt) {
            if signals.send(Message::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// The next signal; the terminal's end is one, also where SIGHUP is ignored.
fn next(interrupt: &Interrupt) -> Option<Signal> {
    let terminal = io::stdin();
    loop {
        let mut sources =
            [PollFd::new(interrupt.wake(), PollFlags::POLLIN), PollFd::new(terminal.as_fd(), PollFlags::empty())];
        match poll(&mut sources, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
        if let Some(signal) = interrupt.taken() {
            return Some(signal);
        }
        let [_, terminal] = sources;
        if terminal.any().unwrap_or(false) {
            return Some(Signal::SIGHUP);
        }
    }
}
