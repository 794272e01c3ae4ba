//! Programs of the system outside, played by scripts in a folder that comes first in PATH.

use std::path::{Path, PathBuf};

/// The folder.
pub struct StandIns {
    bin: PathBuf,
}

impl StandIns {
    /// None yet, in `folder`.
    pub fn new(folder: &Path) -> Self {
        let bin = folder.join("bin");
        std::fs::create_dir_all(&bin).expect("a folder");
        Self { bin }
    }

    /// A program that is this shell script.
    pub fn put(&self, name: &str, script: &str) {
        // Whole at once: one may be running.
        let new = self.bin.join(format!(".{name}"));
        std::fs::write(&new, format!("#!/bin/sh\n{script}\n")).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&new, mode).expect("ours");
        std::fs::rename(&new, self.bin.join(name)).expect("renamed");
    }

    /// A value for PATH: they come first.
    pub fn path(&self) -> String {
        format!("{}:{}", self.bin.display(), std::env::var("PATH").expect("a path"))
    }
}
