//! What has ended since the daemon began: how, and how long it took.

use crate::task::Outcome;
use crate::time;

/// The upper bounds of the run times that are counted together, in seconds.
pub const BOUNDS: [f64; 14] =
    [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, f64::INFINITY];

/// Attempts that have ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finished {
    outcomes: [u64; Outcome::ALL.len()],
    took: [u64; BOUNDS.len()],
    took_ms: i64,
}

impl Finished {
    pub(super) fn count(&mut self, outcome: Outcome) {
        self.outcomes[outcome as usize] += 1;
    }

    /// Counts the run time of one, in ms.
    pub(super) fn took(&mut self, run_ms: i64) {
        let seconds = time::seconds(run_ms);
        if let Some(place) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.took[place] += 1;
        }
        self.took_ms += run_ms;
    }

    /// How many ended how.
    pub fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        Outcome::ALL.iter().copied().zip(self.outcomes)
    }

    /// The run times: their sum in ms, how many, and how many up to each bound that were not up to the one before.
    pub fn run_times(&self) -> (i64, u64, impl Iterator<Item = (f64, u64)> + '_) {
        (self.took_ms, self.took.iter().sum(), BOUNDS.into_iter().zip(self.took))
    }
}
