//! The slot table: which claims had a process, and its pid while it runs, in a file that outlives a killed keeper.
//! A claim is in it from before its process exists until the daemon has taken its end.
//!
//! Fixed-width lines written by `pwrite`, so they are in the page cache whatever happens to the keeper; after
//! a power cut the table says nothing, which its first line (the boot) tells.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::home;
use crate::task::ClaimId;
use crate::time;

const LINE: usize = 64;

/// One process of a dead keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub claim: ClaimId,
    /// 0 while there is none yet, or none any more.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`; 0 when it was not read in time.
    pub start_time: u64,
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
        file.write_all_at(line(&time::boot_id()).as_slice(), 0)?;
        let mut table = Self { file, used: BTreeMap::new(), free: Vec::new() };
        for (claim, pid) in claims {
            table.put(claim, pid);
        }
        std::fs::rename(&temporary, path)?;
        Ok(table)
    }

    /// Notes that a claim is about to have a process, or has this one. What cannot be written is found by its mark
    /// instead.
    pub(super) fn put(&mut self, claim: ClaimId, pid: Option<i32>) {
        let new = self.used.len() as u64 + 1;
        let place = *self.used.entry(claim).or_insert_with(|| self.free.pop().unwrap_or(new));
        let text = match pid {
            Some(pid) => format!("{claim} {pid} {}", start_time(pid).unwrap_or(0)),
            None => format!("{claim} 0 0"),
        };
        drop(self.file.write_all_at(line(&text).as_slice(), place * LINE as u64));
    }

    /// Forgets it.
    pub(super) fn remove(&mut self, claim: ClaimId) {
        if let Some(place) = self.used.remove(&claim) {
            self.free.push(place);
            drop(self.file.write_all_at(line("").as_slice(), place * LINE as u64));
        }
    }
}

fn line(text: &str) -> Vec<u8> {
    format!("{text:<width$}\n", width = LINE - 1).into_bytes()
}

/// What a keeper of this boot left; none if the table is of another boot or there is none.
pub fn read(path: &Path) -> Option<Vec<Slot>> {
    let text = home::read_text(path).ok()?;
    let mut lines = text.lines();
    if lines.next()?.trim() != time::boot_id() {
        return None;
    }
    let slot = |line: &str| {
        let mut words = line.split_whitespace();
        Some(Slot {
            claim: words.next()?.parse().ok()?,
            pid: words.next()?.parse().ok()?,
            start_time: words.next()?.parse().ok()?,
        })
    };
    Some(lines.filter_map(slot).collect())
}

/// When a process was started, in clock ticks since boot: with the pid it names a process for good.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold anything, so count from its closing parenthesis (proc_pid_stat(5)).
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Whether a process is dead and only waits to be reaped.
pub fn is_zombie(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])))
}
