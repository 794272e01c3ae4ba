//! Which service manager this machine has.

use std::path::Path;

use batch_executor::platform;
use clap::ValueEnum;

use super::{Daemon, Plan, openrc, runit, systemd};
use crate::failure::Failure;

/// A service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Manager {
    Systemd,
    Runit,
    Openrc,
    /// runit, as the package termux-services has it.
    Termux,
}

impl Manager {
    /// The one that runs here.
    ///
    /// # Errors
    /// Where none is known.
    pub fn here() -> Result<Self, Failure> {
        let there = |path: &str| Path::new(path).exists();
        let found = [
            (platform::is_termux(), Self::Termux),
            // sd_booted(3)
            (there("/run/systemd/system"), Self::Systemd),
            (there("/run/openrc"), Self::Openrc),
            (runs("runsvdir"), Self::Runit),
        ];
        let found = found.into_iter().find(|(is, _)| *is).map(|(_, manager)| manager);
        found.ok_or_else(|| {
            Failure::usage("no service manager that is known runs here (systemd, runit, OpenRC, Termux's)")
                .hint("--manager NAME --dry-run shows what one would get; without any, every client starts the daemon that it needs")
        })
    }

    /// What it wants.
    ///
    /// # Errors
    /// Where it cannot be told what that is.
    pub fn plan(self, daemon: &Daemon, system: bool) -> Result<Plan, Failure> {
        match self {
            Self::Systemd if system => systemd::of_the_machine(daemon),
            Self::Systemd => systemd::of_the_user(daemon),
            Self::Runit => runit::plan(daemon),
            Self::Termux => runit::of_termux(daemon),
            Self::Openrc => Ok(openrc::plan(daemon)),
        }
    }
}

/// Whether a program of this name runs.
fn runs(name: &str) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|process| std::fs::read_to_string(process.path().join("comm")).ok());
    names.into_iter().any(|is| is.trim_end() == name)
}

/// A folder of the user's.
///
/// # Errors
/// Without `HOME`.
pub fn home_folder() -> Result<String, Failure> {
    std::env::var("HOME").map_err(|_| Failure::usage("HOME is not set, so it is not known where to write"))
}

/// A command's words.
pub fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}
