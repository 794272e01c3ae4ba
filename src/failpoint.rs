//! Named points at which a test ends this process, as a SIGKILL at that very instant would.
//!
//! Only with the feature `failpoints`, by the variable `BATCH_EXECUTOR_FAILPOINT`: `NAME`, or `NAME:N` for the N-th
//! time that the point is reached; `NAME:N:panic` is a defect there instead. Without the feature nothing is left of it.

/// Every point, in the order of a task's way.
pub const POINTS: &[&str] = &[
    "before-commit",
    "after-commit",
    "before-launch",
    "keeper-before-start",
    "keeper-after-start",
    "keeper-before-end",
    "keeper-after-end",
    "before-apply",
    "before-taken",
    "before-recover",
    "after-recover",
    "before-pause",
    "before-publish",
    "before-exec",
    "keeper-storing-ends",
];

/// The variable that chooses one.
pub const VARIABLE: &str = "BATCH_EXECUTOR_FAILPOINT";

/// Ends this process if `point` is the chosen one.
#[cfg(feature = "failpoints")]
pub fn reach(point: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static CHOSEN: OnceLock<Option<(String, AtomicU32, bool)>> = OnceLock::new();

    debug_assert!(POINTS.contains(&point), "{point}");
    let chosen = CHOSEN.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let mut words = text.split(':');
        let (name, times) = (words.next()?, words.next().unwrap_or("1"));
        Some((name.to_owned(), AtomicU32::new(times.parse().ok()?), words.next() == Some("panic")))
    });
    if let Some((name, left, panics)) = chosen
        && name == point
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        assert!(!panics, "the point `{point}` was reached");
        let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::SIGKILL);
        // The signal is on its way; nothing more happens here.
        loop {
            std::thread::park();
        }
    }
}

/// Nothing, without the feature.
#[cfg(not(feature = "failpoints"))]
pub const fn reach(_point: &'static str) {}
