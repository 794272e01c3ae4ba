//! The file that an export or a backup becomes: written beside its place, synced, then renamed. For its owner alone.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use nix::errno::Errno;
use tempfile::NamedTempFile;

use crate::failpoint;
use crate::protocol::ExportFormat;
use crate::sys;

/// Why there is no export.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("`output_file` is `{0}`, which exists; choose another or set `overwrite`")]
    Exists(PathBuf),
    #[error("`output_file` is `{path}`, but there is no folder `{folder}`; make it first")]
    NoFolder { path: PathBuf, folder: PathBuf },
    #[error("`output_file` is `{path}`, but it cannot be made there: {error}")]
    Place { path: PathBuf, error: io::Error },
    #[error("the file cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// A file that is written and has no name yet.
pub struct Target {
    path: PathBuf,
    overwrite: bool,
    file: BufWriter<NamedTempFile>,
}

impl Target {
    /// Begins one that will be at `path`.
    ///
    /// # Errors
    /// When the file exists and may not be overwritten, or its folder is missing.
    pub fn create(path: &Path, overwrite: bool) -> Result<Self, TargetError> {
        let place = |error| TargetError::Place { path: path.to_owned(), error };
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(TargetError::Exists(path.to_owned()));
        }
        if path.is_dir() {
            return Err(place(io::ErrorKind::IsADirectory.into()));
        }
        let folder = path.parent().ok_or_else(|| place(io::ErrorKind::InvalidInput.into()))?;
        if !folder.is_dir() {
            return Err(TargetError::NoFolder { path: path.to_owned(), folder: folder.to_owned() });
        }
        let file = tempfile::Builder::new().prefix(".batch-export-").tempfile_in(folder).map_err(place)?;
        Ok(Self { path: path.to_owned(), overwrite, file: BufWriter::with_capacity(128 * 1024, file) })
    }

    /// Where its bytes are meanwhile.
    pub fn beside(&self) -> &Path {
        self.file.get_ref().path()
    }

    pub(super) const fn file(&mut self) -> &mut BufWriter<NamedTempFile> {
        &mut self.file
    }

    /// Gives it its name, and says how long it is: a reader sees the whole file or none.
    ///
    /// # Errors
    /// When it cannot be written, or the name was taken meanwhile.
    pub fn publish(mut self) -> Result<u64, TargetError> {
        self.file.flush()?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        let bytes = file.as_file().metadata()?.len();
        failpoint::reach("before-publish");
        if self.overwrite {
            file.persist(&self.path).map_err(|error| error.error)?;
        } else {
            // By a rename that does not replace: Android has no hard links.
            rename_new(file.path(), &self.path).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => TargetError::Exists(self.path.clone()),
                _ => TargetError::Io(error),
            })?;
            // Its name is the target's now; there is nothing to remove.
            let _kept = file.into_temp_path().keep();
        }
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(bytes)
    }
}

/// A rename that fails where the new name exists; where the file system knows none, by looking first.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
    match sys::rename_new(&name(from)?, &name(to)?) {
        Err(error) if matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EINVAL | Errno::ENOSYS)) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(from, to)
        }
        other => other,
    }
}

/// `batch_results_YYYYMMDD_HHMMSS.EXT` in UTC.
pub fn default_name(format: ExportFormat, wall_ms: i64) -> String {
    let now = DateTime::<Utc>::from_timestamp_millis(wall_ms).unwrap_or_default();
    format!("batch_results_{}.{}", now.format("%Y%m%d_%H%M%S"), format.as_str())
}
