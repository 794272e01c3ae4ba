//! Readings of this machine, for the gates.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::process::Command;

use super::battery::{Power, hottest_zone, power};
use super::network::network;
use super::{Reading, Rule};
use crate::space;
use crate::time;

/// How long a command may take. Termux's ask an Android app, which may have to be started.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is shown of what a command said.
const SHOWN: usize = 200;

/// Where one look at the gates reads; what several of them need is read once.
pub struct Sources<'h> {
    home: &'h Path,
    power: Option<Power>,
}

impl<'h> Sources<'h> {
    /// For one look; `home` is where the disk is, and where commands run.
    pub const fn new(home: &'h Path) -> Self {
        Self { home, power: None }
    }

    /// What there is to say to a rule.
    pub async fn read(&mut self, rule: &Rule) -> Reading {
        match rule {
            Rule::Battery(_) => number(self.power().await.percent, "no battery is seen here"),
            Rule::Charging => match self.power().await.plugged {
                Some(true) => Reading::Yes,
                Some(false) => Reading::No("not charging".to_owned()),
                None => Reading::Unknown("neither a battery nor a charger is seen here".to_owned()),
            },
            Rule::Temperature(_) => {
                let battery = self.power().await.temperature;
                let hottest = battery.into_iter().chain(hottest_zone()).reduce(f64::max);
                number(hottest, "no temperature is seen here")
            }
            Rule::Network { unmetered } => network(*unmetered).await,
            Rule::Window(window) => {
                if window.holds(&time::local_now()) {
                    Reading::Yes
                } else {
                    Reading::No(format!("it is not {window}"))
                }
            }
            Rule::FreeMemory(_) => number(available_memory(), "/proc/meminfo does not say"),
            #[expect(clippy::cast_precision_loss, reason = "a size to compare")]
            Rule::FreeDisk(_) => number(space::free(self.home).map(|bytes| bytes as f64), "the disk does not say"),
            Rule::Load(_) => number(load(), "/proc/loadavg cannot be read here"),
            Rule::Idle(_) => number(unused(), "no terminal is seen here"),
            Rule::Command(argv) => command(argv, self.home).await,
        }
    }

    async fn power(&mut self) -> Power {
        match &self.power {
            Some(power) => power.clone(),
            None => self.power.insert(power().await).clone(),
        }
    }
}

fn number(value: Option<f64>, unknown: &str) -> Reading {
    value.map_or_else(|| Reading::Unknown(unknown.to_owned()), Reading::Number)
}

/// Bytes (proc_meminfo(5)).
fn available_memory() -> Option<f64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// Seconds since a terminal was last read from: its time of access is that of the last key (as w(1) takes it).
#[expect(clippy::cast_precision_loss, reason = "seconds")]
fn unused() -> Option<f64> {
    let is_terminal = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let number =
            if path.parent().is_some_and(|folder| folder.ends_with("pts")) { name } else { &name[3.min(name.len())..] };
        (name.starts_with("tty") || number == name) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    };
    let in_folder = |folder: &str| fs::read_dir(folder).into_iter().flatten().filter_map(|e| Some(e.ok()?.path()));
    let terminals = in_folder("/dev/pts").chain(in_folder("/dev")).filter(is_terminal);
    let last = terminals.filter_map(|path| Some(fs::metadata(path).ok()?.atime())).max()?;
    Some((time::wall_ms() / 1000 - last).max(0) as f64)
}

/// Exit code 0 opens; all else closes, with the last line that was said.
async fn command(argv: &[String], home: &Path) -> Reading {
    match run(argv, home).await {
        Ok(output) if output.status.success() => Reading::Yes,
        Ok(output) => {
            let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
            let last = said.iter().rev().find_map(|said| said.lines().rev().find(|line| !line.trim().is_empty()));
            let last = last.map(|line| line.trim().chars().filter(|c| !c.is_control()).take(SHOWN).collect());
            Reading::No(last.unwrap_or_else(|| output.status.to_string()))
        }
        Err(error) => Reading::No(format!("`{}` cannot be asked: {error}", argv.first().map_or("", String::as_str))),
    }
}

/// What a program of the system writes to its stdout; none where there is no such program, or it fails.
pub(super) async fn said(argv: &[&str]) -> Option<String> {
    let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
    let output = run(&argv, Path::new("/")).await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The same, as JSON.
pub(super) async fn asked<T: DeserializeOwned>(argv: &[&str]) -> Option<T> {
    serde_json::from_str(&said(argv).await?).ok()
}

async fn run(argv: &[String], cwd: &Path) -> io::Result<Output> {
    let [program, arguments @ ..] = argv else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(cwd).stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(output) => output,
        Err(_) => Err(io::Error::other(format!("it took more than {} s", PATIENCE.as_secs()))),
    }
}
