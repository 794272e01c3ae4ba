//! Ending attempts by order: SIGTERM, the grace, SIGKILL.

use nix::sys::signal::Signal;

use super::Core;
use crate::keeper::groups;
use crate::keeper::process::{is_dead, signal_group};
use crate::keeper::protocol::EndAnswer;
use crate::keeper::table::{Running, Timer};
use crate::task::{ClaimId, Order};
use crate::time;

impl Core {
    /// Ends attempts by order; none: all that run.
    pub(in crate::keeper) fn end_all(
        &mut self,
        claims: Option<Vec<ClaimId>>,
        order: Order,
        grace_ms: i64,
    ) -> Vec<(ClaimId, EndAnswer)> {
        let claims = claims.unwrap_or_else(|| self.running_claims());
        claims.into_iter().map(|claim| (claim, self.end(claim, order, grace_ms))).collect()
    }

    /// Ends an attempt by order.
    pub(super) fn end(&mut self, claim: ClaimId, order: Order, grace_ms: i64) -> EndAnswer {
        self.listen(claim);
        let Some(running) = self.table.running.get_mut(&claim) else {
            let yielded = !self.take_back(Some(&[claim])).is_empty();
            return if yielded {
                EndAnswer::Yielded
            } else if self.table.untaken.ended().contains(&claim) {
                EndAnswer::Ended
            } else {
                EndAnswer::Unknown
            };
        };
        let Some(pid) = running.pid else {
            running.ordered(order);
            self.simulated(claim);
            return EndAnswer::Ordered;
        };
        if is_dead(pid) {
            self.child_died();
            // Where that was the reader of its secrets, its own process runs now.
            let runs = self.table.running.get(&claim).is_some_and(|running| running.pid != Some(pid));
            return if runs { self.end(claim, order, grace_ms) } else { EndAnswer::Ended };
        }
        running.ordered(order);
        if running.suspension.lasts() {
            running.suspension.end(time::monotonic_ms());
            if let Some(group) = &running.group {
                groups::freeze(group, false);
            }
        }
        signal_group(pid, Signal::SIGTERM);
        signal_group(pid, Signal::SIGCONT);
        let kill = |running: &Running| running.kill_at.map(|at| (at, claim, Timer::Kill));
        if let Some(earlier) = kill(running) {
            self.timers.remove(&earlier);
        }
        running.kill_at(time::monotonic_ms().saturating_add(grace_ms.max(0)));
        self.timers.extend(kill(running));
        EndAnswer::Ordered
    }
}
