//! The folder that the daemon owns: where it is and what is in it.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The longest path of a Unix socket: `sun_path` less its final NUL (unix(7)).
const SOCKET_PATH_LIMIT: usize = 107;
/// The longest name of a socket in the home, with its slash.
const LONGEST_SOCKET_NAME: usize = "/keeper.sock".len();

/// A home folder; not necessarily there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// Why there is no usable home.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error("no home folder: neither --home, BATCH_EXECUTOR_HOME, XDG_DATA_HOME nor HOME is set")]
    Unset,
    #[error(
        "the home `{path}` is too long for a Unix socket: {length} bytes, at most {limit} are possible; choose a shorter one with --home or BATCH_EXECUTOR_HOME"
    )]
    TooLong { path: PathBuf, length: usize, limit: usize },
    #[error("cannot create the home `{path}`: {error}")]
    Create { path: PathBuf, error: io::Error },
    #[error("the working directory cannot be read: {0}")]
    WorkingDirectory(io::Error),
}

impl Home {
    /// The home by the flag, else the environment (CONTRACT section 1), made absolute.
    ///
    /// # Errors
    /// When nothing names one, or its socket's path would be too long.
    pub fn locate(flag: Option<&Path>) -> Result<Self, HomeError> {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let root = flag
            .map(Path::to_path_buf)
            .or_else(|| set("BATCH_EXECUTOR_HOME"))
            .or_else(|| set("XDG_DATA_HOME").map(|d| d.join("batch-executor")))
            .or_else(|| set("HOME").map(|d| d.join(".local/share/batch-executor")))
            .ok_or(HomeError::Unset)?;
        Self::at(&root)
    }

    /// The home at `root`, made absolute.
    ///
    /// # Errors
    /// When its socket's path would be too long.
    pub fn at(root: &Path) -> Result<Self, HomeError> {
        let root = std::path::absolute(root).map_err(HomeError::WorkingDirectory)?;
        let limit = SOCKET_PATH_LIMIT - LONGEST_SOCKET_NAME;
        let length = root.as_os_str().len();
        if length > limit {
            return Err(HomeError::TooLong { path: root, length, limit });
        }
        Ok(Self { root })
    }

    /// Creates the home (mode 0700) and its folders and makes their names durable.
    ///
    /// # Errors
    /// When a folder cannot be created or synced.
    pub fn create(&self) -> Result<(), HomeError> {
        self.try_create().map_err(|error| HomeError::Create { path: self.root.clone(), error })
    }

    fn try_create(&self) -> io::Result<()> {
        if !self.root.is_dir() {
            let mut missing: Vec<&Path> = self.root.ancestors().take_while(|d| !d.exists()).collect();
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root)?;
            while let Some(made) = missing.pop() {
                if let Some(parent) = made.parent() {
                    std::fs::File::open(parent)?.sync_all()?;
                }
            }
        }
        if std::fs::metadata(&self.root)?.permissions().mode() & 0o077 != 0 {
            if !self.is_ours()? {
                return Err(io::Error::other("it is open to others and holds other files; name an empty folder"));
            }
            std::fs::set_permissions(&self.root, std::fs::Permissions::from_mode(0o700))?;
        }
        for folder in [self.output_dir(), self.run_dir()] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        std::fs::File::open(&self.root)?.sync_all()
    }

    /// Whether the folder holds something of ours, or nothing.
    fn is_ours(&self) -> io::Result<bool> {
        let ours = [self.database(), self.lock(), self.socket(), self.log(), self.keeper_lock()];
        Ok(ours.iter().any(|file| file.exists()) || std::fs::read_dir(&self.root)?.next().is_none())
    }

    /// The folder itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The queue.
    pub fn database(&self) -> PathBuf {
        self.root.join("queue.db")
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.root.join("daemon.sock")
    }

    /// The daemon's lock; its text is the holder's pid.
    pub fn lock(&self) -> PathBuf {
        self.root.join("daemon.lock")
    }

    /// The log of a daemon that the CLI started.
    pub fn log(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    /// The keeper's socket.
    pub fn keeper_socket(&self) -> PathBuf {
        self.root.join("keeper.sock")
    }

    /// The keeper's lock (POSIX `fcntl`): free means that no keeper lives.
    pub fn keeper_lock(&self) -> PathBuf {
        self.root.join("keeper.lock")
    }

    /// The keeper's table of claims that have a process, or had one.
    pub fn keeper_slots(&self) -> PathBuf {
        self.root.join("keeper.slots")
    }

    /// Claims that had a process under a keeper that is dead, until the queue knows.
    pub fn keeper_lost(&self) -> PathBuf {
        self.root.join("keeper.lost")
    }

    /// Ends that a leaving keeper could not hand over.
    pub fn keeper_ends(&self) -> PathBuf {
        self.root.join("keeper.ends")
    }

    /// Output of attempts that was too large to travel with their end.
    pub fn output_dir(&self) -> PathBuf {
        self.root.join("output")
    }

    /// Code that is too long for an argument, one file an attempt.
    pub fn run_dir(&self) -> PathBuf {
        self.root.join("run")
    }
}
