//! What a dead keeper left: proof of its death, its processes, its ends.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::BackendError;
use crate::home::{Home, open_file, read_text};
use crate::keeper::{self, slots};
use crate::task::ClaimId;

/// Waits until the old keeper's lock is free, ends what it left running and notes the claims that had a process for
/// [`lost`]: the next keeper begins its table anew. Blocking.
pub(super) fn clear(home: &Home) -> Result<(), BackendError> {
    // One that is leaving holds its lock a moment longer than its socket.
    keeper::wait_for_its_death(&home.keeper_lock())?;
    let left = slots::read(&home.keeper_slots()).unwrap_or_default();
    let mut remaining: Vec<(i32, u64)> = left.iter().filter_map(|slot| Some((slot.pid, slot.living()?))).collect();
    let root = home.root().display().to_string();
    let mut claims: BTreeSet<ClaimId> = left.iter().map(|slot| slot.claim).collect();
    for pid in keeper::all_pids() {
        if let Some(claim) = keeper::mark(pid)
            && keeper::variable(pid, "BATCH_EXECUTOR_HOME").as_ref() == Some(&root)
        {
            remaining.extend(slots::start_time(pid).map(|time| (pid, time)));
            // None yet: of a fork that waits for its task.
            if claim > 0 {
                claims.insert(claim);
            }
        }
    }
    for (pid, start_time) in &remaining {
        if slots::start_time(*pid) == Some(*start_time) {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
    for (pid, start_time) in remaining {
        // They are no children of ours, so nothing tells when they are gone (pidfd_open(2) is not to be had on
        // every Android); after SIGKILL it is a matter of milliseconds.
        while slots::start_time(pid) == Some(start_time) && !slots::is_zombie(pid) {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
    for left in std::fs::read_dir(home.run_dir())?.flatten() {
        // Code and input of attempts that are gone; one that stays costs its room and nothing else.
        drop(std::fs::remove_file(left.path()));
    }
    note(home, &claims)?;
    Ok(())
}

/// Adds claims to those that had a process under a keeper that is dead. It stands until the queue knows: a daemon may
/// die in between.
fn note(home: &Home, claims: &BTreeSet<ClaimId>) -> io::Result<()> {
    let lines: String = claims.iter().map(|claim| format!("{claim}\n")).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let mut file = open_file(&home.keeper_lost(), File::options().create(true).append(true))?;
    file.write_all(lines.as_bytes())
}

/// The claims that had a process under keepers that are dead.
pub(super) fn lost(home: &Home) -> io::Result<BTreeSet<ClaimId>> {
    match read_text(&home.keeper_lost()) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// The queue knows them now.
pub(super) fn forget(home: &Home) {
    // Claims are never given again, so a list that stays says nothing wrong.
    drop(std::fs::remove_file(home.keeper_lost()));
}
