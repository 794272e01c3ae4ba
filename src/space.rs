//! Room on the disk: below the floor nothing new is begun, so that what runs can still be written down.

use std::fmt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

/// The part of a file system that the floor takes at most: on a small one the setting would leave nothing.
const LARGEST_PART: u64 = 8;

/// What must stay free on a folder's disk.
#[derive(Debug, Clone)]
pub struct Floor {
    folder: PathBuf,
    bytes: u64,
}

/// What is free on a folder's disk, in bytes; none: the system does not say.
pub fn free(folder: &Path) -> Option<u64> {
    Some(sizes(folder)?.0)
}

/// What is free on a folder's disk, and its size; in bytes.
fn sizes(folder: &Path) -> Option<(u64, u64)> {
    let disk = statvfs(folder).ok()?;
    #[expect(clippy::useless_conversion, reason = "the types differ between 32 and 64 bits")]
    let (unit, free, all) =
        (u64::from(disk.fragment_size()), u64::from(disk.blocks_available()), u64::from(disk.blocks()));
    Some((free.saturating_mul(unit), all.saturating_mul(unit)))
}

impl Floor {
    /// `bytes`, but at most an eighth of the file system; 0: no floor.
    pub fn new(folder: PathBuf, bytes: u64) -> Self {
        Self { folder, bytes }
    }

    /// None: there is room, or the system does not say.
    pub fn shortage(&self) -> Option<Shortage> {
        if self.bytes == 0 {
            return None;
        }
        let (free, all) = sizes(&self.folder)?;
        let floor = self.bytes.min(all / LARGEST_PART);
        (free < floor).then_some(Shortage { free, floor })
    }
}

/// Less is free than must stay free; in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    pub free: u64,
    pub floor: u64,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| {
            #[expect(clippy::cast_precision_loss, reason = "a size to read")]
            let mib = bytes as f64 / f64::from(1 << 20);
            mib
        };
        write!(
            f,
            "the disk of the home has {:.1} MiB free, below the floor of {:.1} MiB (setting `min_free_bytes`)",
            mib(self.free),
            mib(self.floor)
        )
    }
}
