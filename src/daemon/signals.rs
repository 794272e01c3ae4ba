//! The signals that a daemon hears.

use std::io;

use nix::sys::signal::{SigSet, Signal as Number};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::STOP;
use crate::server::Ending;

/// SIGTERM and SIGINT end the daemon; SIGUSR2 and SIGHUP replace it.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    usr2: Signal,
    hup: Signal,
}

impl Signals {
    pub(super) fn all() -> SigSet {
        [Number::SIGTERM, Number::SIGINT, Number::SIGUSR2, Number::SIGHUP].into_iter().collect()
    }

    /// From here on they are heard; what came while one program became the next is heard now.
    pub(super) fn install() -> io::Result<Self> {
        let signals = Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            usr2: signal(SignalKind::user_defined2())?,
            hup: signal(SignalKind::hangup())?,
        };
        Self::all().thread_unblock()?;
        Ok(signals)
    }

    pub(super) async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.term.recv() => STOP,
            _ = self.int.recv() => STOP,
            _ = self.usr2.recv() => Ending::Replace,
            _ = self.hup.recv() => Ending::Replace,
        }
    }
}
