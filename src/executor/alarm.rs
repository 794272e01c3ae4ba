//! A timer on `CLOCK_BOOTTIME`, set to queue time: the sleep of the machine counts.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

use crate::queue::clock::QueueClock;

/// One timer; unset at first.
pub(super) struct Alarm {
    timer: TimerFd,
    /// The same timer by a descriptor that tokio can watch.
    watched: AsyncFd<OwnedFd>,
    set_to: Option<i64>,
}

impl Alarm {
    #[expect(deprecated, reason = "the deprecation is about descriptors that may close early; an OwnedFd does not")]
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?;
        let watched = AsyncFd::new(timer.as_fd().try_clone_to_owned()?)?;
        Ok(Self { timer, watched, set_to: None })
    }

    /// Sets it to a queue time, or unsets it.
    pub(super) fn set(&mut self, clock: &QueueClock, due: Option<i64>) {
        if due == self.set_to {
            return;
        }
        self.set_to = due;
        let set = match due {
            Some(due) => {
                // A time of zero would disarm it.
                let at = clock.boottime_of(due).max(1);
                let at = TimeSpec::new(at / 1000, at % 1000 * 1_000_000);
                self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
            }
            None => self.timer.unset(),
        };
        if let Err(error) = set {
            tracing::error!(err = %error, "the timer cannot be set");
        }
    }

    /// Resolves when it rings; it is unset then.
    pub(super) async fn rings(&mut self) {
        if let Ok(mut ready) = self.watched.readable().await {
            let mut expirations = [0; 8];
            // Reading re-arms the readiness; what it says is not needed.
            let _ = nix::unistd::read(self.watched.get_ref(), &mut expirations);
            ready.clear_ready();
        }
        self.set_to = None;
    }
}
