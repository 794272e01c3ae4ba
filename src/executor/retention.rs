//! Lets completed tasks go that need not be kept any more, a slice at a time: after ends, and when the next one is old
//! enough. After much has gone the file gives room back, in slices too.

use super::alarm::Alarm;
use super::events::STORAGE_RETRY;
use super::{Executor, Retention};
use crate::queue::ops::retain::{Retire, SLICE, Shrink};
use crate::queue::state::State;
use crate::queue::writer::Snapshot;

impl Executor {
    /// Runs until the queue is closed.
    pub(super) async fn run_retention(self) {
        let mut alarm = match Alarm::new() {
            Ok(alarm) => alarm,
            Err(error) => {
                tracing::error!(err = %error, "there is no timer: no task leaves by its age");
                return;
            }
        };
        let rule = self.inner.rules.retention;
        let retire = Retire { count: rule.count, age_ms: rule.age_ms };
        let queue = &self.inner.queue;
        let mut commits = queue.commits();
        // What an earlier daemon left, and the file that it did not come to shrink.
        let mut due = rule.age_ms.map(|_| queue.clock().now());
        let mut removed = None;
        loop {
            let snapshot = commits.borrow_and_update().clone();
            let now = queue.clock().now();
            let done = if is_surplus(&snapshot, rule) || due.is_some_and(|due| due <= now) {
                queue.write(retire).await.map(|retired| due = if retired.more { Some(now) } else { retired.next_due })
            } else if removed != Some(snapshot.removed) {
                queue.write(Shrink).await.map(|more| removed = (!more).then_some(snapshot.removed))
            } else {
                if due.is_none() && snapshot.tally.in_state(State::Completed) > 0 {
                    // The oldest completed before now.
                    due = rule.age_ms.map(|age| now.saturating_add(age));
                }
                alarm.set(queue.clock(), due);
                tokio::select! {
                    changed = commits.changed() => {
                        if changed.is_err() {
                            return;
                        }
                    }
                    () = alarm.rings() => {}
                }
                continue;
            };
            match done {
                Ok(()) => {}
                Err(error) if error.is_over() => return,
                Err(error) => {
                    tracing::error!(err = %error, "what need not be kept could not be removed; trying again");
                    tokio::time::sleep(STORAGE_RETRY).await;
                }
            }
        }
    }
}

/// Whether a slice is to go because of the number: while tasks run only a whole one, or each end would cost a commit more.
fn is_surplus(snapshot: &Snapshot, rule: Retention) -> bool {
    let surplus = rule.count.map_or(0, |keep| snapshot.tally.in_state(State::Completed) - keep);
    surplus >= SLICE || (surplus > 0 && snapshot.tally.in_state(State::Running) == 0)
}
