//! What there is room for of the tasks' output: a budget in memory, and the disk down to its floor.

use super::capture::Capture;
use crate::space::Floor;

/// What all attempts together may keep of their output in memory.
const OUTPUT_BUDGET: usize = 1024 * 1024;
/// So much goes to files between two looks at the disk.
const UNCHECKED: u64 = 1024 * 1024;

pub(super) struct Room {
    /// Bytes of output that running attempts hold in memory.
    in_memory: usize,
    floor: Floor,
    /// Bytes that went to files since the disk was looked at.
    unchecked: u64,
}

impl Room {
    pub(super) fn new(floor: Floor) -> Self {
        Self { in_memory: 0, floor, unchecked: 0 }
    }

    /// Whether there is room in memory, with `untaken` bytes of ended attempts there.
    pub(super) fn in_memory(&self, untaken: usize) -> bool {
        self.in_memory + untaken < OUTPUT_BUDGET
    }

    /// An attempt has come, with what it holds in memory.
    pub(super) fn add(&mut self, capture: &Capture) {
        self.in_memory += capture.in_memory();
    }

    /// An attempt goes.
    pub(super) fn remove(&mut self, capture: &Capture) {
        self.in_memory -= capture.in_memory();
    }

    /// Accounts for `taken` bytes of output since [`Self::remove`]; on a disk at its floor the attempt's file goes.
    pub(super) fn grown(&mut self, capture: &mut Capture, was_in_file: bool, taken: usize) {
        if capture.is_in_file() {
            self.unchecked += taken as u64;
            if self.unchecked >= UNCHECKED || !was_in_file {
                self.unchecked = 0;
                if let Some(shortage) = self.floor.shortage() {
                    capture.shorten(&shortage);
                }
            }
        }
        self.add(capture);
    }
}
