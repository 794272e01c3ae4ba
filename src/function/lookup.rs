//! Finding programs in PATH, never at a fixed place: on Termux there is no `/bin`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The first of `names` in `path`; a name with a slash is taken relative to `cwd`.
pub(super) fn program(names: &[&str], path: &str, cwd: &Path) -> Option<PathBuf> {
    names.iter().find_map(|name| {
        if name.contains('/') {
            return Some(cwd.join(name)).filter(|file| is_program(file));
        }
        path.split(':')
            .map(|folder| if folder.is_empty() { cwd.to_path_buf() } else { cwd.join(folder) }.join(name))
            .find(|file| is_program(file))
    })
}

fn is_program(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
