//! The slot table: which claims had a process, and its pid while it runs, in a file that outlives a killed keeper.
//! A claim is in it from before its process exists until the daemon has taken its end.
//!
//! Fixed-width lines written by `pwrite`, so they are in the page cache whatever happens to the keeper; after
//! a power cut the table says nothing, which its first line (the boot) tells.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::home;
use crate::task::ClaimId;
use crate::time::{self, Boot};

const LINE: usize = 64;

/// One process of a dead keeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub claim: ClaimId,
    /// 0 while there is none yet. It may be dead, and another process may have its pid.
    pub pid: i32,
    /// When it was started, as [`start_time`] tells it: between these two. No pid comes twice in so short a time.
    pub started: RangeInclusive<u64>,
}

impl Slot {
    /// The start time of its process, if that is still the one that has the pid.
    pub fn living(&self) -> Option<u64> {
        start_time(self.pid).filter(|time| self.pid > 0 && self.started.contains(time))
    }
}

/// The table, for writing.
#[derive(Debug)]
pub(super) struct SlotTable {
    file: File,
    used: BTreeMap<ClaimId, u64>,
    free: Vec<u64>,
}

impl SlotTable {
    /// Replaces the table at `path` by one with these claims and the pids of those that run.
    pub(super) fn create(path: &Path, claims: impl Iterator<Item = (ClaimId, Option<i32>)>) -> io::Result<Self> {
        let temporary = path.with_extension("new");
        let file = home::new_file(&temporary)?;
        file.write_all_at(line(Boot::this().as_str()).as_slice(), 0)?;
        let mut table = Self { file, used: BTreeMap::new(), free: Vec::new() };
        for (claim, pid) in claims {
            match pid.and_then(|pid| Some((pid, start_time(pid)?))) {
                Some((pid, time)) => table.started(claim, pid, &(time..=time)),
                None => table.put(claim),
            }
        }
        std::fs::rename(&temporary, path)?;
        Ok(table)
    }

    /// Notes that a claim is about to have a process. What cannot be written is found by its mark instead.
    pub(super) fn put(&mut self, claim: ClaimId) {
        self.write(claim, &format!("{claim} 0 0"));
    }

    /// Notes that it has this process, `started` between these two ticks.
    pub(super) fn started(&mut self, claim: ClaimId, pid: i32, started: &RangeInclusive<u64>) {
        self.write(claim, &format!("{claim} {pid} {} {}", started.start(), started.end()));
    }

    fn write(&mut self, claim: ClaimId, text: &str) {
        let new = self.used.len() as u64 + 1;
        let place = *self.used.entry(claim).or_insert_with(|| self.free.pop().unwrap_or(new));
        drop(self.file.write_all_at(line(text).as_slice(), place * LINE as u64));
    }

    /// Its place may be another's. Until then its line stays: the queue has the end of the claim, and none is given
    /// twice.
    pub(super) fn remove(&mut self, claim: ClaimId) {
        self.free.extend(self.used.remove(&claim));
    }
}

fn line(text: &str) -> Vec<u8> {
    format!("{text:<width$}\n", width = LINE - 1).into_bytes()
}

/// What a keeper of this boot left; none if the table is of another boot or there is none. Where boots can only be
/// guessed, what lives of another's: a clock that was set looks as a boot does, and no other process has that pid and
/// that start time.
pub fn read(path: &Path) -> Option<Vec<Slot>> {
    let text = home::read_text(path).ok()?;
    let mut lines = text.lines();
    let written_in = Boot::stored(lines.next()?.trim());
    let is_this_boot = written_in.is(&Boot::this());
    if !is_this_boot && !written_in.is_guessed() {
        return None;
    }
    let slot = |line: &str| {
        let mut words = line.split_whitespace();
        let (claim, pid, from) = (words.next()?, words.next()?, words.next()?);
        // A keeper of an older version wrote one time.
        let to = words.next().unwrap_or(from);
        Some(Slot {
            claim: claim.parse().ok()?,
            pid: pid.parse().ok()?,
            started: from.parse().ok()?..=to.parse().ok()?,
        })
    };
    Some(lines.filter_map(slot).filter(|slot| is_this_boot || slot.living().is_some()).collect())
}

/// When a process was started, in clock ticks since boot: with the pid it names a process for good. Field 22 of
/// `/proc/PID/stat`; of a process that is in the middle of exec(3) this waits until it has been.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold anything, so count from its closing parenthesis (proc_pid_stat(5)).
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// The tick that it is now (proc(5) counts them from `CLOCK_BOOTTIME`; on Linux there are 100 a second).
pub(super) fn tick() -> u64 {
    u64::try_from(time::boottime_ms() / 10).unwrap_or(0)
}

/// Whether a process is dead and only waits to be reaped.
pub fn is_zombie(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])))
}
