//! What differs from one platform to the next, told apart at run time, so that all of it is compiled and tested everywhere.

use crate::task::DEFAULT_MAX_CONCURRENT;

/// How many tasks may run at once on a phone when nothing is said: Android ends processes in the background, of all apps
/// together, when there are more than 32 of them, and those that compute much earlier.
const ON_A_PHONE: u32 = 3;

/// The commands with which Termux keeps the phone awake, and lets it sleep again.
pub const WAKE_LOCK: &str = "termux-wake-lock";
pub const WAKE_UNLOCK: &str = "termux-wake-unlock";

/// Whether this is Termux, which says so to all that it starts.
pub fn is_termux() -> bool {
    std::env::var_os("TERMUX_VERSION").is_some()
}

/// How many tasks may run at once when nothing is said.
pub fn default_max_concurrent() -> u32 {
    if is_termux() { ON_A_PHONE } else { DEFAULT_MAX_CONCURRENT }
}
