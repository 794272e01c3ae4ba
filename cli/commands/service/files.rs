//! The files of a service. Each ends with a line that says who wrote it and what it was then: a file that somebody changed is neither
//! replaced nor removed unasked.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::exit;
use crate::failure::Failure;
use crate::request_key::Fingerprint;

/// How the last line begins.
const WRITTEN: &str = "# written by batch-executor service install: ";

/// A file as it is to be.
#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    pub text: String,
    /// A script.
    pub is_run: bool,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Missing,
    /// As it was written, by this program or an earlier one.
    Written,
    /// Somebody changed it, or wrote it.
    Changed,
}

impl State {
    /// The word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Missing => "not there",
            Self::Written => "as it was written",
            Self::Changed => "changed by somebody",
        }
    }
}

impl File {
    /// All of it.
    pub fn contents(&self) -> String {
        format!("{}{WRITTEN}{}\n", self.text, fingerprint(&self.text))
    }

    /// How it is now. One that cannot be read is none of ours.
    pub fn state(&self) -> State {
        match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::Missing,
            Err(_) => State::Changed,
            Ok(is) => match is.trim_end().rsplit_once(WRITTEN) {
                Some((text, written)) if written == fingerprint(text) => State::Written,
                _ => State::Changed,
            },
        }
    }

    /// Writes it whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::file("write", &self.path.to_string_lossy(), &error);
        let folder = self.path.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder).map_err(failed)?;
        let new = self.path.with_extension("new");
        fs::write(&new, self.contents()).map_err(failed)?;
        let mode = if self.is_run { 0o755 } else { 0o644 };
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).map_err(failed)?;
        fs::rename(&new, &self.path).map_err(failed)
    }

    /// Removes it.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self) -> Result<(), Failure> {
        fs::remove_file(&self.path).map_err(|error| Failure::file("remove", &self.path.to_string_lossy(), &error))
    }
}

fn fingerprint(text: &str) -> String {
    let mut fingerprint = Fingerprint::default();
    fingerprint.update(text.as_bytes());
    fingerprint.hex()
}

/// That none was changed by somebody, unless that is of no account.
///
/// # Errors
/// Exit 4, with the first that was.
pub fn unchanged(files: &[File], force: bool) -> Result<(), Failure> {
    let changed = files.iter().find(|file| !force && file.state() == State::Changed);
    changed.map_or(Ok(()), |file| {
        let said = format!("`{}` was changed by somebody; nothing was done", file.path.display());
        Err(Failure::new(exit::REFUSED, said).hint("--force puts ours in its place, --dry-run shows it"))
    })
}
