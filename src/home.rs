//! The folder that the daemon owns: where it is, what is in it, and how its files are opened.
//!
//! What is in it is this user's alone: a home of somebody else, or one into which others may have put something, is
//! refused, and no file in it is opened through a link.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;

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
    #[error(
        "`{path}` belongs to the user with uid {owner}, not to this one (uid {user}); choose another home with --home or BATCH_EXECUTOR_HOME"
    )]
    NotOurs { path: PathBuf, owner: u32, user: u32 },
    #[error(
        "others may write to the home `{path}` (mode {mode:04o}) and something is in it; look at it, then take it back with: chmod 700 {path}"
    )]
    OpenToOthers { path: PathBuf, mode: u32 },
    #[error(
        "the home `{path}` holds files that are not of batch-executor, and others may read it; name an empty folder"
    )]
    OtherFiles { path: PathBuf },
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
    /// When a folder cannot be created or synced, or is not this user's alone.
    pub fn create(&self) -> Result<(), HomeError> {
        let create = |error| HomeError::Create { path: self.root.clone(), error };
        self.make_root().map_err(create)?;
        self.take_possession()?;
        for folder in [self.output_dir(), self.run_dir()] {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(create)?;
            refuse_others(&folder, &folder.symlink_metadata().map_err(create)?)?;
            refuse_others(&folder, &folder.metadata().map_err(create)?)?;
        }
        if self.database().is_symlink() {
            return Err(create(is_a_link(&self.database())));
        }
        File::open(&self.root).and_then(|folder| folder.sync_all()).map_err(create)
    }

    fn make_root(&self) -> io::Result<()> {
        if self.root.is_dir() {
            return Ok(());
        }
        let mut missing: Vec<&Path> = self.root.ancestors().take_while(|d| !d.exists()).collect();
        DirBuilder::new().recursive(true).mode(0o700).create(&self.root)?;
        while let Some(made) = missing.pop() {
            if let Some(parent) = made.parent() {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(())
    }

    /// Closes the folder to others, if it is ours and nobody else can have put something into it.
    fn take_possession(&self) -> Result<(), HomeError> {
        let path = || self.root.clone();
        let create = |error| HomeError::Create { path: path(), error };
        let found = self.root.metadata().map_err(create)?;
        refuse_others(&self.root, &found)?;
        let mode = found.permissions().mode() & 0o7777;
        if mode & 0o077 == 0 {
            return Ok(());
        }
        let is_empty = || self.root.read_dir().map(|mut entries| entries.next().is_none()).map_err(create);
        if mode & 0o022 == 0 && !is_empty()? && !self.holds_ours() {
            return Err(HomeError::OtherFiles { path: path() });
        }
        if mode & 0o022 != 0 && !is_empty()? {
            return Err(HomeError::OpenToOthers { path: path(), mode });
        }
        std::fs::set_permissions(&self.root, Permissions::from_mode(0o700)).map_err(create)?;
        // Somebody may have been quicker.
        if mode & 0o022 != 0 && !is_empty()? {
            return Err(HomeError::OpenToOthers { path: path(), mode });
        }
        Ok(())
    }

    fn holds_ours(&self) -> bool {
        let ours = [self.database(), self.lock(), self.socket(), self.log(), self.keeper_lock()];
        ours.iter().any(|file| file.exists())
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

    /// What went wrong in the keeper.
    pub fn keeper_log(&self) -> PathBuf {
        self.root.join("keeper.log")
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

    /// The note that a daemon of this home took the wake lock, and in which boot.
    pub fn wake_lock(&self) -> PathBuf {
        self.root.join("wake_lock")
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

/// A file as it was found in its place, by name and inode.
#[derive(Debug, Clone)]
pub struct Place {
    path: PathBuf,
    file: (u64, u64),
}

impl Place {
    /// The file that has this name now.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: inode(&path.metadata()?) })
    }

    /// The name of a file that is open.
    ///
    /// # Errors
    /// When the file cannot be looked at.
    pub fn of_open(path: &Path, file: &File) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: inode(&file.metadata()?) })
    }

    /// Whether both are the same file, whatever they are called.
    pub fn is_same(&self, other: &Self) -> bool {
        self.file == other.file
    }

    /// Whether the name still leads to that file.
    pub fn is_kept(&self) -> bool {
        self.path.metadata().is_ok_and(|found| inode(&found) == self.file)
    }

    /// The name.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn inode(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Opens a file of the home, made with mode 0600 where the options make it. A link, another user's file and what is no
/// plain file are refused: somebody else put them there.
///
/// # Errors
/// As [`OpenOptions::open`]; `PermissionDenied` with a sentence for what is refused.
pub fn open_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // A pipe without a reader would hold the opening up.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let no_plain_file = || refused(format!("`{}` is no plain file; remove it", path.display()));
    let opened = options.mode(0o600).custom_flags(flags.bits()).open(path);
    let file = opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ELOOP) => is_a_link(path),
        Some(Errno::ENXIO | Errno::EISDIR) => no_plain_file(),
        _ => error,
    })?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(no_plain_file());
    }
    refuse_others(path, &found).map_err(|error| refused(error.to_string()))?;
    Ok(file)
}

/// The text of a file of the home, opened as [`open_file`] does.
///
/// # Errors
/// As [`open_file`], and when it is no text.
pub fn read_text(path: &Path) -> io::Result<String> {
    io::read_to_string(open_file(path, OpenOptions::new().read(true))?)
}

/// A new file in the home, for writing, mode 0600, in place of whatever has its name.
///
/// # Errors
/// When it cannot be made.
pub fn new_file(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)
}

fn refuse_others(path: &Path, found: &Metadata) -> Result<(), HomeError> {
    let (owner, user) = (found.uid(), geteuid().as_raw());
    if owner == user { Ok(()) } else { Err(HomeError::NotOurs { path: path.to_owned(), owner, user }) }
}

fn is_a_link(path: &Path) -> io::Error {
    refused(format!("`{}` is a symbolic link, and nothing is read or written through one; remove it", path.display()))
}

fn refused(sentence: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, sentence)
}
