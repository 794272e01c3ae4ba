//! The control groups of attempts, where the system delegates some: made before a process is started in one, removed when all in it
//! is dead.

use std::fs::File;
use std::io;
use std::path::PathBuf;

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
    /// Groups in `tasks`. What an earlier keeper left there and `is_kept` does not know is ended.
    pub(super) fn new(tasks: Option<PathBuf>, is_kept: impl Fn(ClaimId) -> bool) -> Self {
        let left = tasks.iter().flat_map(|tasks| Group::all(tasks));
        let ending: Vec<Group> = left.filter(|(claim, _)| !is_kept(*claim)).map(|(_, group)| group).collect();
        ending.iter().for_each(Group::kill);
        let mut groups = Self { tasks, ending };
        groups.sweep();
        groups
    }

    /// The `cgroup.procs` of a new group with these limits; none where attempts get none.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(super) fn make(&self, claim: ClaimId, limits: &Limits) -> io::Result<Option<File>> {
        self.of(claim).map(|group| group.make(limits)).transpose()
    }

    /// Ends all that is in an attempt's group.
    pub(super) fn end(&mut self, claim: ClaimId) {
        if let Some(group) = self.of(claim) {
            group.kill();
            self.ending.push(group);
            self.sweep();
        }
    }

    /// Stops all that is in an attempt's group, or lets it go on.
    pub(super) fn freeze(&self, claim: ClaimId, on: bool) {
        if let Some(Err(error)) = self.of(claim).map(|group| group.freeze(on)) {
            tracing::error!(err = %error, claim, on, "a control group cannot be frozen or thawed");
        }
    }

    /// Removes what is empty by now.
    pub(super) fn sweep(&mut self) {
        self.ending.retain(|group| !group.remove());
    }

    fn of(&self, claim: ClaimId) -> Option<Group> {
        self.tasks.as_ref().map(|tasks| Group::of(tasks, claim))
    }
}
