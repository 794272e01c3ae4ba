//! What differs from one platform to the next, told apart at run time, so that all of it is compiled and tested everywhere.

use std::io;
use std::path::PathBuf;

use crate::task::DEFAULT_MAX_CONCURRENT;

/// How many tasks may run at once on a phone when nothing is said: Android ends processes in the background, of all apps
/// together, when there are more than 32 of them, and those that compute much earlier.
const ON_A_PHONE: u32 = 3;

/// Whether this is Termux, which says so to all that it starts.
pub fn is_termux() -> bool {
    std::env::var_os("TERMUX_VERSION").is_some()
}

/// How many tasks may run at once when nothing is said.
pub fn default_max_concurrent() -> u32 {
    if is_termux() { ON_A_PHONE } else { DEFAULT_MAX_CONCURRENT }
}

/// Where this program is, to be started again now or later; what was installed in its place since counts.
///
/// # Errors
/// When the system does not tell it.
pub fn this_program() -> io::Result<PathBuf> {
    through_linker().map_or_else(std::env::current_exe, Ok)
}

/// What this process runs, whatever was installed in its place since.
pub fn running_program() -> PathBuf {
    through_linker().unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

/// The path of this program where the kernel runs a linker, which runs the program: on Termux from the Play store, for
/// Android lets apps execute nothing that they have written. `/proc/self/exe` names the linker there, and termux-exec
/// tells the program.
fn through_linker() -> Option<PathBuf> {
    std::env::var_os("TERMUX_EXEC__PROC_SELF_EXE").filter(|path| !path.is_empty()).map(PathBuf::from)
}
