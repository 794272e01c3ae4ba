//! Starts a daemon in the background when none answers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::SigSet;

use super::connection::Connection;
use super::error::ClientError;
use crate::config::{SETTINGS, Setting};
use crate::home::Home;
use crate::platform::{self, LogOut};

/// How long a started daemon may take to serve: another one may be in its grace time before.
const START_SECONDS: u64 = 60;
/// The exit code of a daemon that found its home's lock taken.
const EXIT_LOCKED: i32 = 75;
/// The exit code of a systemd-run(1) that could not make a scope; a daemon has others.
const EXIT_NO_SCOPE: i32 = 1;
/// Between two looks at the socket: at first, and at most.
const LOOK_AFTER: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(50));
/// The end of a failed daemon's stderr that is worth showing.
const MESSAGE_BYTES: u64 = 4096;

const ENDS_AT_LOG_OUT: &str =
    "when you log out, this machine ends the daemon and what runs; to let them go on: loginctl enable-linger";
const NO_SCOPE: &str =
    "the daemon was started in this login, and may end with it, for systemd-run could not put it elsewhere";

/// What a background daemon inherits beside the names in `env_pass` and the variables of the settings.
const OWN_NAMES: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "XDG_*",
    "TERMUX_*",
    "ANDROID_*",
    // Android's own commands do not run without these.
    "BOOTCLASSPATH",
    "DEX2OATBOOTCLASSPATH",
    "SYSTEMSERVERCLASSPATH",
    "EXTERNAL_STORAGE",
    "BATCH_EXECUTOR_CONFIG",
    "RUST_LOG",
];

/// How to start a daemon.
#[derive(Debug, Clone)]
pub struct Starter {
    pub program: PathBuf,
    /// `--config`, when the client was given one.
    pub config: Option<PathBuf>,
    /// The setting: names that the daemon's environment keeps.
    pub env_pass: Vec<String>,
    /// Tells the user what follows from how it was started.
    pub warn: fn(&str),
}

/// A daemon that was started: its process, and the file that has its stderr until it writes its own log.
struct Started {
    child: Child,
    messages: File,
    /// systemd-run(1) is to become it.
    in_scope: bool,
}

impl Starter {
    /// Starts a daemon for `home` and connects to it; when another client was quicker, to that one's.
    ///
    /// # Errors
    /// `Spawn`, `StartFailed` with the daemon's own message, `StartTimeout`, `NotAllowed`.
    pub fn start(&self, home: &Home) -> Result<Connection, ClientError> {
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS);
        let mut daemon = Some(self.outlive_login(home)?);
        let mut pause = LOOK_AFTER.0;
        while Instant::now() < deadline {
            match Connection::connect(home) {
                Ok(connection) => {
                    if let Some(Started { mut child, .. }) = daemon {
                        if connection.peer_pid().is_some_and(|pid| pid != child.id()) {
                            // Another one serves. Ours would only find the lock taken, or the home free after that one's end.
                            let _ = child.kill();
                        }
                        reap_later(child);
                    }
                    return Ok(connection);
                }
                Err(ClientError::Unreachable { .. }) => {}
                Err(other) => return Err(other),
            }
            if let Some(Started { child, messages, in_scope }) = &mut daemon
                && let Some(status) = child.try_wait().map_err(|error| self.spawn_error(error))?
            {
                daemon = match status.code() {
                    Some(EXIT_LOCKED) => None,
                    Some(EXIT_NO_SCOPE) if *in_scope => {
                        (self.warn)(&format!("{NO_SCOPE}: {}", last_words(messages).unwrap_or_default().trim()));
                        Some(self.spawn(home, None)?)
                    }
                    _ => return Err(failed(status, messages)),
                };
            } else if daemon.is_none() && pause == LOOK_AFTER.1 {
                // The holder of the lock does not serve; it may be ending, so that it is our turn.
                daemon = Some(self.outlive_login(home)?);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LOOK_AFTER.1);
        }
        Err(ClientError::StartTimeout { seconds: START_SECONDS, log: home.log() })
    }

    /// Starts the daemon where it outlives this login, if there is such a place.
    fn outlive_login(&self, home: &Home) -> Result<Started, ClientError> {
        let log_out = platform::log_out();
        if log_out == LogOut::Ends {
            (self.warn)(ENDS_AT_LOG_OUT);
        }
        if log_out == LogOut::GoesOn || !has_manager() {
            return self.spawn(home, None);
        }
        // A scope keeps the process and its environment, and lets it out of the login's control group.
        let mut scope = Command::new("systemd-run");
        scope.args(["--user", "--scope", "--quiet", "--collect", "--description=batch-executor daemon"]);
        scope.arg(format!("--unit=batch-executor-{}", std::process::id())).arg("--").arg(&self.program);
        self.spawn(home, Some(scope)).or_else(|_| self.spawn(home, None))
    }

    /// Starts the daemon, by a program that becomes it or directly.
    fn spawn(&self, home: &Home, scope: Option<Command>) -> Result<Started, ClientError> {
        // In memory: a client on a phone may know no folder for temporary files.
        let messages =
            memfd_create("messages", MFdFlags::MFD_CLOEXEC).map_err(|error| self.spawn_error(error.into()))?;
        let messages = File::from(messages);
        let stderr = messages.try_clone().map_err(|error| self.spawn_error(error))?;
        let in_scope = scope.is_some();
        let mut command = scope.unwrap_or_else(|| Command::new(&self.program));
        command.args(["daemon", "--detached", "--home"]).arg(home.root());
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        command.env_clear().envs(self.environment());
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = spawn_unblocked(&mut command).map_err(|error| self.spawn_error(error))?;
        Ok(Started { child, messages, in_scope })
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        let variables: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
        let keeps = |name: &str| {
            let patterns = OWN_NAMES.iter().copied().chain(self.env_pass.iter().map(String::as_str));
            patterns.chain(variables.iter().map(String::as_str)).any(|pattern| matches(pattern, name))
        };
        std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(keeps)).collect()
    }

    fn spawn_error(&self, error: io::Error) -> ClientError {
        ClientError::Spawn { program: self.program.clone(), error }
    }
}

/// Starts a program with no signal blocked: a client that waits has some blocked, and a child inherits the mask of
/// the thread that starts it.
///
/// # Errors
/// When it cannot be started.
pub fn spawn_unblocked(command: &mut Command) -> io::Result<Child> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            SigSet::all().thread_unblock()?;
            command.spawn()
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the starting thread panicked")))
    })
}

/// This process's own values of the names in `patterns` (a final `*` matches the rest of a name).
/// Values that are not UTF-8 cannot travel in JSON and are left out.
pub fn passed_environment(patterns: &[String]) -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| patterns.iter().any(|pattern| matches(pattern, name)))
        .collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// Whether the user's own systemd can be asked.
fn has_manager() -> bool {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    folder.is_some_and(|folder| folder.join("systemd/private").exists() || folder.join("bus").exists())
}

/// The end of what it said.
fn last_words(messages: &mut File) -> io::Result<String> {
    let mut text = Vec::new();
    let from = io::SeekFrom::Start(messages.metadata()?.len().saturating_sub(MESSAGE_BYTES));
    messages.seek(from)?;
    messages.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn failed(status: ExitStatus, messages: &mut File) -> ClientError {
    // Without its words the exit status has to say it alone.
    let said = last_words(messages).unwrap_or_default();
    let (hints, said): (Vec<&str>, Vec<&str>) = said.trim().lines().partition(|line| line.starts_with("hint: "));
    let said = said.join("\n");
    let message = if said.is_empty() {
        format!("the daemon ended instead of serving ({status})")
    } else {
        said.trim_start_matches("batch-executor: ").to_owned()
    };
    let hint = hints.first().map(|hint| hint.trim_start_matches("hint: ").to_owned());
    ClientError::StartFailed { code: status.code().and_then(|code| u8::try_from(code).ok()), message, hint }
}

/// A daemon that ends under a client that goes on must not stay as its zombie.
fn reap_later(mut child: Child) {
    std::thread::spawn(move || {
        // Signals are for the thread that listens to them, or SIGINT would end the program from here.
        SigSet::all().thread_block()?;
        child.wait()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_star_matches_the_rest() {
        assert!(matches("LC_*", "LC_ALL") && matches("PATH", "PATH") && matches("*", "ANY"));
        assert!(!matches("PATH", "PATHS") && !matches("LC_*", "LANG"));
    }

    #[test]
    fn a_daemon_that_refuses_is_reported_in_its_own_words() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::at(folder.path()).expect("a short path");
        let program = folder.path().join("daemon");
        std::fs::write(&program, "#!/bin/sh\necho 'bad setting' >&2\nexit 78\n").expect("a writable folder");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&program, mode).expect("our file");
        let starter = Starter { program, config: None, env_pass: vec!["PATH".to_owned()], warn: |_| {} };
        match starter.start(&home) {
            Err(ClientError::StartFailed { code: Some(78), message, hint: None }) => assert_eq!(message, "bad setting"),
            other => panic!("not refused but {other:?}"),
        }
    }
}
