//! Clocks and the one place where times become text. Integers of milliseconds everywhere else.
//!
//! Which clock means what:
//!
//! | what | clock | the machine sleeps | the wall clock is set |
//! | --- | --- | --- | --- |
//! | retries, delays, the run's deadline, the cap's raise, deliveries of hooks, ages of retention and request keys | queue time (`queue::clock`): boot time within a boot, wall clock across boots | goes on | nothing |
//! | timeouts of tasks and hooks, grace, `execution_time`, what the keeper prepares and how long it waits for a daemon | monotonic | stands still | nothing |
//! | patience of a client (`wait`, `--timeout`, `logs -f`) and pauses before something is tried again | monotonic (`Instant`, tokio) | stands still | nothing |
//! | a gate's window | local wall clock (`CLOCK_REALTIME`, told when it is set) | goes on | goes with it |
//! | how often gates are looked at, how long something is suspended | monotonic | stands still | nothing |
//! | start of a process, beside its pid | boot time, in ticks (proc(5)) | goes on | nothing |
//! | `throughput` of the last minute | boot time | goes on | nothing |
//! | `created_at` and other times that are shown, `wait_time`, the log's lines, names of files, `clear --older-than` | wall | goes on | goes with it |
//! | kills from outside that came together | wall, as the keeper noted it | goes on | those before are forgotten |

use chrono::{DateTime, Local, SecondsFormat, Utc};
use nix::time::{ClockId, clock_gettime};

/// A network that sets the wall clock does so by less, in seconds; two boots that are nearer to each other are taken for
/// one, which costs nothing: hardly any time has passed, and no process of the first is found.
const SET_BY_NETWORK_S: u64 = 60;

/// Wall-clock time: milliseconds since 1970-01-01 UTC.
pub fn wall_ms() -> i64 {
    Utc::now().timestamp_millis() + set_by_ms()
}

/// By how much a test has set the wall clock: the milliseconds in the file that `BATCH_EXECUTOR_FAILPOINT_CLOCK` names.
#[cfg(feature = "failpoints")]
fn set_by_ms() -> i64 {
    let file = std::env::var_os("BATCH_EXECUTOR_FAILPOINT_CLOCK");
    file.and_then(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok()).unwrap_or(0)
}

/// Nobody but the machine sets the clock.
#[cfg(not(feature = "failpoints"))]
const fn set_by_ms() -> i64 {
    0
}

/// Milliseconds as seconds, which is what others are told.
#[expect(clippy::cast_precision_loss, reason = "below 2^53 ms")]
pub const fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// The wall clock, as it is read where the daemon is.
pub fn local_now() -> DateTime<Local> {
    DateTime::from_timestamp_millis(wall_ms()).unwrap_or_default().with_timezone(&Local)
}

/// Milliseconds of `CLOCK_BOOTTIME`: since boot, sleep included (clock_gettime(2)).
pub fn boottime_ms() -> i64 {
    clock_ms(ClockId::CLOCK_BOOTTIME)
}

/// Milliseconds of `CLOCK_MONOTONIC`: since boot, sleep excluded.
pub fn monotonic_ms() -> i64 {
    clock_ms(ClockId::CLOCK_MONOTONIC)
}

fn clock_ms(clock: ClockId) -> i64 {
    clock_gettime(clock).map(|t| t.tv_sec() * 1000 + t.tv_nsec() / 1_000_000).unwrap_or(0)
}

/// What tells one boot from the next: the kernel's boot id or, where Android hides it, a guess: the second at which it
/// was, by the wall clock (`at-SECOND`).
#[derive(Debug, Clone)]
pub struct Boot(String);

impl Boot {
    /// The one that the machine is in.
    pub fn this() -> Self {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_or_else(|_| Self(format!("at-{}", (wall_ms() - boottime_ms()) / 1000)), |id| Self::stored(id.trim()))
    }

    /// One that was written down with [`Self::as_str`].
    pub fn stored(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// What to write down.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a guess: a wall clock that was set makes two of one boot.
    pub fn is_guessed(&self) -> bool {
        self.guessed_at().is_some()
    }

    /// Whether both are one boot, as far as that can be told.
    pub fn is(&self, other: &Self) -> bool {
        match (self.guessed_at(), other.guessed_at()) {
            (Some(one), Some(other)) => one.abs_diff(other) <= SET_BY_NETWORK_S,
            _ => self.0 == other.0,
        }
    }

    fn guessed_at(&self) -> Option<i64> {
        self.0.strip_prefix("at-")?.parse().ok()
    }
}

/// RFC 3339 in UTC with milliseconds, as every time on the wire (`2026-01-02T03:04:05.678Z`).
pub fn rfc3339(wall_ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(wall_ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guessed_boot_stays_the_same_when_a_network_sets_the_clock() {
        let boot = |text| Boot::stored(text);
        assert!(boot("at-1700000000").is(&boot("at-1700000059")) && boot("at-1700000059").is(&boot("at-1700000000")));
        assert!(!boot("at-1700000000").is(&boot("at-1700000061")));
        assert!(boot("3f-a").is(&boot("3f-a")) && !boot("3f-a").is(&boot("3f-b")) && !boot("3f-a").is(&boot("at-17")));
        assert!(boot("at--17").is_guessed() && !boot("3f-a").is_guessed());
    }
}
