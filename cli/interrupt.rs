//! SIGINT and SIGTERM as something that a wait can listen to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// From its making on, SIGINT and SIGTERM no longer end the program but are read here.
#[derive(Debug)]
pub struct Interrupt {
    signals: SignalFd,
}

impl Interrupt {
    /// Takes the signals over, for the rest of the program.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn install() -> io::Result<Self> {
        Self::of(&[Signal::SIGINT, Signal::SIGTERM])
    }

    /// As [`Self::install`], SIGHUP too: for what must be put away when the terminal goes.
    ///
    /// # Errors
    /// As [`Self::install`].
    pub fn install_with_hangup() -> io::Result<Self> {
        Self::of(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])
    }

    /// As [`Self::install_with_hangup`], and what stops and continues a job: for who holds the terminal.
    ///
    /// # Errors
    /// As [`Self::install`].
    pub fn install_with_job_control() -> io::Result<Self> {
        Self::of(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGTSTP, Signal::SIGCONT])
    }

    fn of(signals: &[Signal]) -> io::Result<Self> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { signals })
    }

    /// Readable once a signal came.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// The signal that came, if one did.
    pub fn taken(&self) -> Option<Signal> {
        let info = self.signals.read_signal().ok().flatten()?;
        i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok())
    }
}
