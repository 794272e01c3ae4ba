//! Suspending attempts: their groups are stopped, and their time with them.

use std::path::PathBuf;

use nix::sys::signal::Signal;

use super::Core;
use crate::keeper::groups;
use crate::keeper::process::signal_group;
use crate::keeper::protocol::SuspendedBy;
use crate::keeper::table::Running;
use crate::task::ClaimId;
use crate::time;

impl Core {
    /// Where attempts get control groups from now on.
    pub(in crate::keeper) fn groups_in(&mut self, tasks: Option<PathBuf>) {
        let running = &self.table.running;
        self.groups.make_in(tasks, |claim| running.contains_key(&claim));
    }

    /// Suspends attempts for this reason, or lets them go on as far as it is the last one; none: all that run. Gives those of them
    /// that run, and those that are being ended and go on.
    pub(in crate::keeper) fn suspend(
        &mut self,
        claims: Option<Vec<ClaimId>>,
        by: SuspendedBy,
        on: bool,
    ) -> (Vec<ClaimId>, Vec<ClaimId>) {
        let mut claims = claims.unwrap_or_else(|| self.running_claims());
        claims.retain(|claim| self.table.running.contains_key(claim));
        claims.into_iter().partition(|claim| self.suspend_one(*claim, by, on))
    }

    /// False where it is being ended.
    fn suspend_one(&mut self, claim: ClaimId, by: SuspendedBy, on: bool) -> bool {
        let Some(running) = self.table.running.get_mut(&claim).filter(|running| running.order.is_none()) else {
            return false;
        };
        let lasted = running.suspension.lasts();
        for timer in running.timers() {
            self.timers.remove(&timer);
        }
        running.suspension.set(by, on, time::monotonic_ms());
        self.timers.extend(running.timers());
        if running.suspension.lasts() != lasted {
            running.hold_still(!lasted);
        }
        true
    }
}

impl Running {
    /// Stops all of it, or lets it go on: its process group, and what is in its control group.
    pub(super) fn hold_still(&self, on: bool) {
        if let Some(group) = &self.group {
            groups::freeze(group, on);
        }
        if let Some(pid) = self.pid {
            signal_group(pid, if on { Signal::SIGSTOP } else { Signal::SIGCONT });
        }
    }
}
