//! Queue time: the clock of everything that is due.
//!
//! Advances with `CLOCK_BOOTTIME` within a boot and by `max(0, wall difference)` across boots, so a
//! clock that is set by a year fires nothing and parks nothing.

use rusqlite::params;

use super::db::Db;
use super::error::QueueError;
use super::events::LastEnd;
use crate::time::{self, Boot};

/// How the daemon before this one left the queue.
#[derive(Debug, Clone, Copy)]
pub struct Left {
    /// The machine has booted since it was last written.
    pub rebooted: bool,
    pub end: LastEnd,
}

/// Translates boot time to queue time in this process.
#[derive(Debug, Clone)]
pub struct QueueClock {
    boot: Boot,
    /// Queue time at boot time 0 of this boot, in ms.
    offset_ms: i64,
}

impl QueueClock {
    /// Reads the stored row and finds the present from it.
    pub(super) fn load(db: &Db) -> Result<Self, QueueError> {
        let stored: Option<(i64, String, i64, i64)> =
            db.first("SELECT queue_ms, boot, boottime_ms, wall_ms FROM clock WHERE id = 1", [], |row| row.try_into())?;
        let boot = Boot::this();
        let boottime = time::boottime_ms();
        let now = stored.map_or(0, |(queue, written_in, boottime_then, wall_then)| {
            queue + passed(&Boot::stored(&written_in), &boot, boottime - boottime_then, time::wall_ms() - wall_then)
        });
        Ok(Self { boot, offset_ms: now - boottime })
    }

    /// How the daemon that wrote the stored row left it.
    pub(super) fn left(db: &Db) -> Result<Left, QueueError> {
        let stored: Option<(String, bool)> =
            db.first("SELECT boot, closed FROM clock WHERE id = 1", [], |row| row.try_into())?;
        let Some((boot, closed)) = stored else { return Ok(Left { rebooted: false, end: LastEnd::None }) };
        let rebooted = !Boot::stored(&boot).is(&Boot::this());
        let end = match (closed, rebooted) {
            (true, _) => LastEnd::Stop,
            (false, true) => LastEnd::Reboot,
            (false, false) => LastEnd::Crash,
        };
        Ok(Left { rebooted, end })
    }

    /// Now, in queue time.
    pub fn now(&self) -> i64 {
        time::boottime_ms() + self.offset_ms
    }

    /// The boot time (ms) at which it will be `queue_ms`; for a timer on `CLOCK_BOOTTIME`.
    pub fn boottime_of(&self, queue_ms: i64) -> i64 {
        queue_ms - self.offset_ms
    }

    /// The wall clock's reading at `queue_ms`, if it is not set until then; for display.
    pub fn wall_of(&self, queue_ms: i64) -> i64 {
        time::wall_ms() + (queue_ms - self.now())
    }

    /// Stores it; `closed`: the daemon ends in order.
    pub(super) fn store(&self, db: &Db, closed: bool) -> Result<(), QueueError> {
        db.run(
            "INSERT INTO clock (id, queue_ms, boot, boottime_ms, wall_ms, closed) VALUES (1, ?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO UPDATE SET queue_ms = ?1, boot = ?2, boottime_ms = ?3, wall_ms = ?4, closed = ?5",
            params![self.now(), self.boot.as_str(), time::boottime_ms(), time::wall_ms(), closed],
        )?;
        Ok(())
    }
}

/// What has passed since boot `then`, in ms, when boot time and wall clock have gone on by so much: boot time within a
/// boot, wall clock across boots. Where boots can only be guessed, a clock that was set looks as a boot does; as long
/// as boot time has not gone back, it is less than what has passed, whichever it was, and so nothing comes early.
fn passed(then: &Boot, now: &Boot, boottime: i64, wall: i64) -> i64 {
    let by_boottime = then.is(now) || (now.is_guessed() && boottime >= 0);
    if by_boottime { boottime.max(0) } else { wall.max(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;
    const YEAR: i64 = 365 * DAY;

    #[test]
    fn sleep_counts_within_a_boot_and_the_wall_clock_across_boots() {
        let (one, other) = (Boot::stored("0b1"), Boot::stored("0b2"));
        assert_eq!(passed(&one, &one, 5, YEAR), 5);
        assert_eq!(passed(&one, &one, -5, YEAR), 0);
        assert_eq!(passed(&one, &other, 5, 7), 7);
        assert_eq!(passed(&one, &other, 5, -7), 0);
    }

    #[test]
    fn a_clock_that_was_set_is_no_boot_that_brings_things_early() {
        let (one, set) = (Boot::stored("at-1700000000"), Boot::stored("at-1731536000"));
        assert_eq!(passed(&one, &set, 5, YEAR + 5), 5, "set forward by a year");
        assert_eq!(passed(&set, &one, 5, 5 - YEAR), 5, "set back by a year: nothing is parked");
        assert_eq!(passed(&one, &set, -DAY, 7), 7, "boot time began anew: it has booted");
    }
}
