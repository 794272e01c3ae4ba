//! The control groups of attempts, where the system delegates some: made before a process is started in one, removed when all in it
//! is dead.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::cgroup::Group;
use crate::task::{ClaimId, Limits};

/// The keeper's groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// None: attempts get none.
    tasks: Option<PathBuf>,
    /// Told to end, and perhaps not empty yet.
    ending: Vec<Group>,
}

impl Groups {
    /// Makes groups in `tasks` from now on. What an earlier keeper left there and `is_kept` does not know is ended.
    pub(super) fn make_in(&mut self, tasks: Option<PathBuf>, is_kept: impl Fn(ClaimId) -> bool) {
        let left = tasks.iter().flat_map(|tasks| Group::all(tasks));
        for (_, group) in left.filter(|(claim, _)| !is_kept(*claim)) {
            group.kill();
            self.ending.push(group);
        }
        self.tasks = tasks;
        self.sweep();
    }

    /// The path and the members' file of a new group with these limits; none where attempts get none.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(super) fn make(&self, claim: ClaimId, limits: &Limits) -> io::Result<Option<(PathBuf, File)>> {
        let group = self.tasks.as_ref().map(|tasks| Group::of(tasks, claim));
        group.map(|group| Ok((group.path().to_owned(), group.make(limits)?))).transpose()
    }

    /// Ends all that is in a group.
    pub(super) fn end(&mut self, path: PathBuf) {
        let group = Group::at(path);
        group.kill();
        self.ending.push(group);
        self.sweep();
    }

    /// Removes what is empty by now.
    pub(super) fn sweep(&mut self) {
        self.ending.retain(|group| !group.remove());
    }
}

/// Stops all that is in a group, or lets it go on.
pub(super) fn freeze(path: &Path, on: bool) {
    if let Err(error) = Group::at(path.to_owned()).freeze(on) {
        tracing::error!(err = %error, group = %path.display(), on, "a control group cannot be frozen or thawed");
    }
}
