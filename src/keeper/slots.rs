//! The slot table: which pids run for which claims, in a file that outlives a killed keeper.
//!
//! Fixed-width lines written by `pwrite`, so they are in the page cache whatever happens to the keeper; after
//! a power cut the table says nothing, which its first line (the boot) tells.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::task::ClaimId;
use crate::time;

const LINE: usize = 64;

/// One process of a dead keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub claim: ClaimId,
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
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
        file.write_all_at(line(&time::boot_id()).as_slice(), 0)?;
        Ok(Self { file, used: BTreeMap::new(), free: Vec::new() })
    }

    /// Notes a process that was just forked. What cannot be written is found by its mark instead.
    pub(super) fn put(&mut self, claim: ClaimId, pid: i32) {
        let place = self.free.pop().unwrap_or(self.used.len() as u64 + 1);
        self.used.insert(claim, place);
        let text = format!("{claim} {pid} {}", start_time(pid).unwrap_or(0));
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
    let text = std::fs::read_to_string(path).ok()?;
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
