//! What a dead keeper left: proof of its death, its processes, its ends.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::BackendError;
use crate::home::Home;
use crate::keeper::{self, slots};
use crate::task::ClaimId;

/// Waits until the old keeper's lock is free, ends what it left running and gives the claims that had a
/// process. Blocking.
pub(super) fn clear(home: &Home) -> Result<Vec<ClaimId>, BackendError> {
    // One that is leaving holds its lock a moment longer than its socket.
    keeper::wait_for_its_death(&home.keeper_lock())?;
    let left = slots::read(&home.keeper_slots()).unwrap_or_default();
    let mut remaining: Vec<(i32, Option<u64>)> =
        left.iter().map(|slot| (slot.pid, Some(slot.start_time).filter(|t| *t > 0))).collect();
    let root = home.root().display().to_string();
    remaining.extend(
        keeper::all_pids()
            .filter(|pid| {
                keeper::mark(*pid).is_some() && keeper::variable(*pid, "BATCH_EXECUTOR_HOME").as_ref() == Some(&root)
            })
            .map(|pid| (pid, slots::start_time(pid))),
    );
    for (pid, start_time) in &remaining {
        let same = start_time.is_some_and(|noted| slots::start_time(*pid) == Some(noted));
        if same {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
    for (pid, start_time) in remaining {
        // They are no children of ours, so nothing tells when they are gone (pidfd_open(2) is not to be had on
        // every Android); after SIGKILL it is a matter of milliseconds.
        while start_time.is_some() && slots::start_time(pid) == start_time && !slots::is_zombie(pid) {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
    for left in std::fs::read_dir(home.run_dir())?.flatten() {
        // Code and input of attempts that are gone; one that stays costs its room and nothing else.
        drop(std::fs::remove_file(left.path()));
    }
    Ok(left.into_iter().map(|slot| slot.claim).collect())
}
