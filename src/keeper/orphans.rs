//! What left its process group: the keeper is the subreaper, so it becomes the keeper's child.
//!
//! An orphan belongs to the attempt whose mark it carries or in whose session it is; one of which neither can be
//! said belongs to those that run when it is first seen, and is ended when none of them is left. The daemon is
//! spared: one that a client within a task started is such an orphan.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::MARK;
use super::warm::Warm;
use crate::task::ClaimId;

/// Orphans that live, with the attempts that they may belong to.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Orphans {
    unmarked: BTreeMap<i32, BTreeSet<ClaimId>>,
    #[serde(skip)]
    children: Children,
}

impl Orphans {
    /// Looks at the children; ends those whose attempt has ended. `mains`: the pids of running attempts.
    /// `daemon_lock`: the file with the daemon's pid. `warm`: knows every process that waits for its task, and every worker.
    pub(super) fn sweep(&mut self, mains: &BTreeMap<i32, ClaimId>, daemon_lock: &Path, warm: &mut Warm) {
        // A fork is told of before it is a child of this process.
        warm.read();
        // What a process with a mark of its own started is that process's, whichever attempt it works on.
        let mut mains = mains.clone();
        mains.extend(warm.marks());
        let mut children = self.children.pids();
        children.retain(|pid| !mains.contains_key(pid) && !warm.knows(*pid));
        self.unmarked.retain(|pid, _| children.contains(pid));
        if children.is_empty() {
            return;
        }
        let running: BTreeSet<ClaimId> = mains.values().copied().collect();
        for pid in children {
            let ended = match mark(pid).or_else(|| mains.get(&session(pid)?).copied()) {
                Some(claim) => !running.contains(&claim),
                None => {
                    let owners = self.unmarked.entry(pid).or_insert_with(|| running.clone());
                    owners.retain(|claim| running.contains(claim));
                    owners.is_empty()
                }
            };
            if ended && !is_daemon(pid, daemon_lock) {
                // It may have died meanwhile; it is our child, so its pid cannot be another's.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

fn is_daemon(pid: i32, lock: &Path) -> bool {
    std::fs::read_to_string(lock).is_ok_and(|holder| holder.trim() == pid.to_string())
}

/// The kernel's list of this process's children; opened once, for it is read at every death.
#[derive(Debug, Default)]
struct Children(Option<File>);

impl Children {
    fn pids(&mut self) -> Vec<i32> {
        let me = std::process::id();
        match self.list(me) {
            Ok(list) => list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
            // A kernel without CONFIG_PROC_CHILDREN: by the parent's pid, field 4 of every stat.
            Err(_) => all_pids().filter(|pid| parent(*pid) == Some(me)).collect(),
        }
    }

    fn list(&mut self, me: u32) -> io::Result<String> {
        let file = match self.0.take() {
            Some(file) => file,
            None => File::open(format!("/proc/{me}/task/{me}/children"))?,
        };
        let file = self.0.insert(file);
        let mut text = Vec::new();
        let mut part = [0; 1024];
        loop {
            match file.read_at(&mut part, text.len() as u64)? {
                0 => return String::from_utf8(text).map_err(io::Error::other),
                length => text.extend_from_slice(&part[..length]),
            }
        }
    }
}

/// Every process that can be seen.
pub(crate) fn all_pids() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn session(pid: i32) -> Option<i32> {
    nix::unistd::getsid(Some(Pid::from_raw(pid))).ok().map(Pid::as_raw)
}

fn parent(pid: i32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The claim that a process carries in its environment; none too for what is dead.
pub(crate) fn mark(pid: i32) -> Option<ClaimId> {
    variable(pid, MARK)?.parse().ok()
}

/// A variable that a process was started with.
pub(crate) fn variable(pid: i32, name: &str) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let value = std::str::from_utf8(entry).ok()?.strip_prefix(name)?.strip_prefix('=')?;
        Some(value.to_owned())
    })
}
