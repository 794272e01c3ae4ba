//! Readings of this machine, for the gates.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::battery::{hottest_zone, power};
use super::network::network;
use super::{Reading, Rule};
use crate::command::{PATIENCE, Place};
use crate::space;
use crate::time;

/// What is shown of what a command said.
const SHOWN: usize = 80;

/// Where the gates read.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Where the disk is, and where commands run.
    pub home: PathBuf,
    /// What commands get.
    pub environment: BTreeMap<String, String>,
}

impl Sources {
    /// What there is to say to a rule.
    pub async fn read(&self, rule: &Rule) -> Reading {
        let place = Place { cwd: &self.home, environment: &self.environment };
        match rule {
            Rule::Battery(_) => number(power(place).await.percent, "no battery is seen here"),
            Rule::Charging => match power(place).await.plugged {
                Some(true) => Reading::Yes,
                Some(false) => Reading::No("not charging".to_owned()),
                None => Reading::Unknown("neither a battery nor a charger is seen here".to_owned()),
            },
            Rule::Temperature(_) => {
                let battery = power(place).await.temperature;
                let hottest = battery.into_iter().chain(hottest_zone()).reduce(f64::max);
                number(hottest, "no temperature is seen here")
            }
            Rule::Network { unmetered } => network(*unmetered, place).await,
            Rule::Window(window) => {
                if window.holds(&time::local_now()) {
                    Reading::Yes
                } else {
                    Reading::No(format!("it is not {window}"))
                }
            }
            Rule::FreeMemory(_) => number(available_memory(), "/proc/meminfo does not say"),
            #[expect(clippy::cast_precision_loss, reason = "a size to compare")]
            Rule::FreeDisk(_) => number(space::free(&self.home).map(|bytes| bytes as f64), "the disk does not say"),
            Rule::Load(_) => number(load(), "/proc/loadavg cannot be read here"),
            Rule::Idle(_) => number(unused(), "no terminal is seen here"),
            Rule::Command(argv) => command(argv, place).await,
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
        let is_pty = path.parent().is_some_and(|folder| folder.ends_with("pts"));
        let number = if is_pty { Some(name) } else { name.strip_prefix("tty") };
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let in_folder = |folder: &str| fs::read_dir(folder).into_iter().flatten().filter_map(|e| Some(e.ok()?.path()));
    let terminals = in_folder("/dev/pts").chain(in_folder("/dev")).filter(is_terminal);
    let last = terminals.filter_map(|path| Some(fs::metadata(path).ok()?.atime())).max()?;
    Some((time::wall_ms() / 1000 - last).max(0) as f64)
}

/// Exit code 0 opens; all else closes, with the last line that was said.
async fn command(argv: &[String], place: Place<'_>) -> Reading {
    match place.run(argv, b"", PATIENCE).await {
        Ok(ended) if ended.status.success() => Reading::Yes,
        Ok(ended) => Reading::No(ended.last_line(SHOWN).unwrap_or_else(|| ended.status.to_string())),
        Err(error) => Reading::No(format!("`{}` cannot be asked: {error}", argv.first().map_or("", String::as_str))),
    }
}
