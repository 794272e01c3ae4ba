//! Timers that count the sleep of the machine: on `CLOCK_BOOTTIME`, set to queue time; on `CLOCK_REALTIME`, for times of the day.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

use crate::queue::clock::QueueClock;

/// A timer by a descriptor that tokio can watch.
struct Timer {
    timer: TimerFd,
    watched: AsyncFd<OwnedFd>,
}

impl Timer {
    #[expect(deprecated, reason = "the deprecation is about descriptors that may close early; an OwnedFd does not")]
    fn new(clock: ClockId) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(clock, flags)?;
        let watched = AsyncFd::new(timer.as_fd().try_clone_to_owned()?)?;
        Ok(Self { timer, watched })
    }

    /// Sets it to a time of its clock, ms.
    fn set(&self, at: i64, flags: TimerSetTimeFlags) -> nix::Result<()> {
        // A time of zero would disarm it.
        let at = at.max(1);
        let at = TimeSpec::new(at / 1000, at % 1000 * 1_000_000);
        self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME | flags)
    }

    async fn rings(&mut self) {
        if let Ok(mut ready) = self.watched.readable().await {
            let mut expirations = [0; 8];
            // Reading re-arms the readiness; what it says is not needed.
            let _ = nix::unistd::read(self.watched.get_ref(), &mut expirations);
            ready.clear_ready();
        }
    }
}

/// One timer of queue time; unset at first.
pub struct Alarm {
    timer: Timer,
    set_to: Option<i64>,
}

impl Alarm {
    /// An unset one.
    ///
    /// # Errors
    /// When the system has no timer left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { timer: Timer::new(ClockId::CLOCK_BOOTTIME)?, set_to: None })
    }

    /// Sets it to a queue time, or unsets it.
    pub fn set(&mut self, clock: &QueueClock, due: Option<i64>) {
        if due == self.set_to {
            return;
        }
        self.set_to = due;
        let set = match due {
            Some(due) => self.timer.set(clock.boottime_of(due), TimerSetTimeFlags::empty()),
            None => self.timer.timer.unset(),
        };
        if let Err(error) = set {
            tracing::error!(err = %error, "the timer cannot be set");
        }
    }

    /// Resolves when it rings; it is unset then.
    pub async fn rings(&mut self) {
        self.timer.rings().await;
        self.set_to = None;
    }
}

/// A timer of the wall clock.
pub(super) struct WallAlarm(Timer);

impl WallAlarm {
    /// Set to a time, ms.
    pub(super) fn at(wall_ms: i64) -> io::Result<Self> {
        let timer = Timer::new(ClockId::CLOCK_REALTIME)?;
        timer.set(wall_ms, TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET)?;
        Ok(Self(timer))
    }

    /// Resolves when it rings, or the clock was set (timerfd_create(2)).
    pub(super) async fn rings(&mut self) {
        self.0.rings().await;
    }
}
