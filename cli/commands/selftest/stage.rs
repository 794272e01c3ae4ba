//! The throw-away folder in which it takes place, and the ways to wait in it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use batch_executor::home::Home;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tempfile::TempDir;

use super::report::Seen;
use crate::failure::Failure;
use crate::interrupt::Interrupt;

/// The longest that it waits for anything that was promised.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Nothing of the user's settings is in it: what is tested is the program. A task may be interrupted many times here.
const CONFIG: &str = "grace = 1\nmax_interruptions = 1000\n";

/// The throw-away folder, and what every check needs.
pub(super) struct Stage {
    folder: TempDir,
    /// What is tested.
    pub program: PathBuf,
    pub interrupt: Interrupt,
    pub seed: u64,
}

impl Stage {
    /// A folder beside the home, so that it is on the same disk; in it, when the home is a disk of its own.
    ///
    /// # Errors
    /// When there is no place for it.
    pub(super) fn new(home: &Home, program: PathBuf, seed: u64) -> Result<Self, Failure> {
        let place = place(home.root());
        let folder = tempfile::Builder::new()
            .prefix(".bx-")
            .tempdir_in(place)
            .map_err(|error| Failure::file("make a folder in", &place.to_string_lossy(), &error))?;
        let config = folder.path().join("config.toml");
        std::fs::write(&config, CONFIG).map_err(|e| Failure::file("write", &config.to_string_lossy(), &e))?;
        Ok(Self { folder, program, interrupt: Interrupt::install_with_hangup()?, seed })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder().join("config.toml")
    }

    /// Leaves the folder where it is, for somebody to look at.
    pub(super) fn keep(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// The same numbers for the same seed and check, whatever other checks do.
    pub(super) fn random(&self, check: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed.wrapping_add(check))
    }

    /// Waits, unless the user ends it.
    ///
    /// # Errors
    /// The user ended it.
    pub(super) fn pause(&self, how_long: Duration) -> Result<(), Seen> {
        let ms = u16::try_from(how_long.as_millis().max(1)).unwrap_or(u16::MAX);
        let mut sources = [PollFd::new(self.interrupt.wake(), PollFlags::POLLIN)];
        // Whatever poll says, the signal tells.
        let _ = poll(&mut sources, PollTimeout::from(ms));
        self.not_interrupted()
    }

    /// # Errors
    /// The user ended it.
    pub(super) fn not_interrupted(&self) -> Result<(), Seen> {
        self.interrupt.taken().map_or(Ok(()), |signal| Err(Seen::Interrupted(signal)))
    }

    /// Looks until it finds.
    ///
    /// # Errors
    /// `never`, with how long it was looked for; the user ended it.
    pub(super) fn until<T>(&self, never: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, Seen> {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if begun.elapsed() > PATIENCE {
                return Err(Seen::Broken(format!("{never} within {} s", PATIENCE.as_secs())));
            }
            self.pause(LOOK_EVERY)?;
        }
    }
}

/// The home's folder when that is on the same disk and may be written, else the home itself.
fn place(home: &Path) -> &Path {
    let there: Vec<&Path> = home.ancestors().filter(|folder| folder.is_dir()).collect();
    let disk = |folder: &Path| std::fs::metadata(folder).map(|meta| meta.dev()).ok();
    match there.as_slice() {
        [own, beside, ..] if *own == home => {
            if disk(own) == disk(beside) && nix::unistd::access(*beside, nix::unistd::AccessFlags::W_OK).is_ok() {
                beside
            } else {
                own
            }
        }
        [nearest, ..] => nearest,
        [] => home,
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn beside_the_home_or_where_it_will_be() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let home = root.path().join("data/home");
        assert_eq!(place(&home), root.path());
        std::fs::create_dir_all(&home).expect("a folder");
        assert_eq!(place(&home), root.path().join("data"));
    }

    #[test]
    fn in_the_home_when_that_is_another_disk() {
        assert_eq!(place(std::path::Path::new("/proc")), std::path::Path::new("/proc"));
    }
}
