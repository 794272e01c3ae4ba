//! The suspension of an attempt: why, since when, and for how long in all. While it lasts no time of the attempt's passes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::protocol::SuspendedBy;

/// Of one attempt; times are monotonic ms.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Suspension {
    by: BTreeSet<SuspendedBy>,
    since: Option<i64>,
    /// Of those that are over.
    total: i64,
}

impl Suspension {
    pub(super) fn lasts(&self) -> bool {
        self.since.is_some()
    }

    /// For how long it was suspended, up to `now`.
    pub(super) fn total(&self, now: i64) -> i64 {
        self.total + self.since.map_or(0, |since| now - since)
    }

    /// Adds a reason, or takes it away.
    pub(super) fn set(&mut self, by: SuspendedBy, on: bool, now: i64) {
        if on {
            self.by.insert(by);
            self.since.get_or_insert(now);
        } else {
            self.by.remove(&by);
            if self.by.is_empty() {
                self.end(now);
            }
        }
    }

    /// Takes every reason away.
    pub(super) fn end(&mut self, now: i64) {
        self.total = self.total(now);
        self.since = None;
        self.by.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_while_there_is_a_reason() {
        let mut suspension = Suspension::default();
        suspension.set(SuspendedBy::Task, true, 10);
        suspension.set(SuspendedBy::Gate, true, 12);
        suspension.set(SuspendedBy::Task, false, 15);
        assert!(suspension.lasts());
        suspension.set(SuspendedBy::Gate, false, 20);
        assert!(!suspension.lasts());
        assert_eq!(suspension.total(99), 10);
        suspension.set(SuspendedBy::Gate, false, 30);
        assert_eq!(suspension.total(99), 10);
    }
}
