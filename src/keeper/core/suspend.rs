//! Suspending attempts: their groups are stopped, and their time with them.

use nix::sys::signal::Signal;

use super::Core;
use crate::keeper::process::signal_group;
use crate::keeper::protocol::SuspendedBy;
use crate::task::ClaimId;
use crate::time;

impl Core {
    /// Suspends attempts for this reason, or lets them go on as far as it is the last one; none: all that run. Gives those of them
    /// that run and are not being ended.
    pub(in crate::keeper) fn suspend(
        &mut self,
        claims: Option<Vec<ClaimId>>,
        by: SuspendedBy,
        on: bool,
    ) -> Vec<ClaimId> {
        let mut claims = claims.unwrap_or_else(|| self.running_claims());
        claims.retain(|claim| self.suspend_one(*claim, by, on));
        claims
    }

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
        match (running.pid, running.suspension.lasts()) {
            (Some(pid), lasts) if lasts != lasted => {
                let in_group = running.in_group;
                self.hold(claim, pid, in_group, lasts);
            }
            _ => {}
        }
        true
    }

    /// Stops all of an attempt, or lets it go on: by its control group, else by its process group.
    pub(super) fn hold(&self, claim: ClaimId, pid: i32, in_group: bool, on: bool) {
        if in_group {
            self.groups.freeze(claim, on);
        } else {
            signal_group(pid, if on { Signal::SIGSTOP } else { Signal::SIGCONT });
        }
    }
}
