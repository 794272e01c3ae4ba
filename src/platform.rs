//! What differs from one platform to the next, told apart at run time, so that all of it is compiled and tested everywhere.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{User, geteuid};

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

/// What becomes of a background process of this login when its user logs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOut {
    /// It goes on.
    GoesOn,
    /// It may be ended; what the user's own systemd runs goes on, for the user lingers.
    ManagerGoesOn,
    /// It is ended; so is the user's own systemd, after the last of the user's logins.
    Ends,
}

/// What becomes of it here. It costs no process unless this is a login that systemd knows.
pub fn log_out() -> LogOut {
    // Root is excluded from what logind.conf(5) says of ending processes.
    if geteuid().is_root() || !std::fs::read_to_string("/proc/self/cgroup").is_ok_and(|groups| is_login(&groups)) {
        return LogOut::GoesOn;
    }
    if user_name().is_some_and(|user| lingers(&user)) {
        LogOut::ManagerGoesOn
    } else if ends_processes() {
        LogOut::Ends
    } else {
        // The user's systemd would end at the last log-out, and with it what it runs: here is the better place.
        LogOut::GoesOn
    }
}

/// Whether a process in these control groups (`/proc/PID/cgroup`) belongs to a login.
fn is_login(groups: &str) -> bool {
    groups.split(['/', '\n']).any(|group| group.starts_with("session-") && group.ends_with(".scope"))
}

/// Whether logind ends what a login has started, as it says itself.
fn ends_processes() -> bool {
    let mut command = Command::new("loginctl");
    command.args(["show-user", "--property=KillUserProcesses"]).stdin(Stdio::null());
    command.output().is_ok_and(|output| output.stdout.trim_ascii() == b"KillUserProcesses=yes")
}

/// Whether systemd runs a user's services without a login.
pub fn lingers(user: &str) -> bool {
    Path::new("/var/lib/systemd/linger").join(user).exists()
}

/// This user's name, if it has one.
pub fn user_name() -> Option<String> {
    User::from_uid(geteuid()).ok().flatten().map(|user| user.name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_known_by_its_scope() {
        assert!(is_login("0::/user.slice/user-1000.slice/session-3.scope\n"));
        assert!(is_login("9:pids:/\n1:name=systemd:/user.slice/user-1000.slice/session-c2.scope/inner\n0::/\n"));
        for other in ["", "0::/\n", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/session-x.service\n"] {
            assert!(!is_login(other), "{other}");
        }
    }
}
