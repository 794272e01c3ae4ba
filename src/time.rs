//! Clocks and the one place where times become text. Integers of milliseconds everywhere else.

use chrono::{DateTime, Local, SecondsFormat, Utc};
use nix::time::{ClockId, clock_gettime};

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

/// What tells one boot from the next: the kernel's boot id, or, where Android hides it, the boot's
/// wall-clock minute (real time minus boot time).
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| format!("at-{}", (wall_ms() - boottime_ms()) / 60_000), |id| id.trim().to_owned())
}

/// RFC 3339 in UTC with milliseconds, as every time on the wire (`2026-01-02T03:04:05.678Z`).
pub fn rfc3339(wall_ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(wall_ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}
