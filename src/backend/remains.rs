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
    // A keeper that is leaving holds its lock a moment longer than its socket.
    while keeper::lock(&home.keeper_lock())?.is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
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
        while start_time.is_some() && slots::start_time(pid) == start_time && !slots::is_zombie(pid) {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
    Ok(left.into_iter().map(|slot| slot.claim).collect())
}
