//! Why there is no answer.

use std::io;
use std::path::PathBuf;

/// A failure on the client's side; what the daemon refuses is an answer, not this.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon answers at `{socket}`: {error}")]
    Unreachable { socket: PathBuf, error: io::Error },
    /// The socket is not ours (EACCES, EPERM).
    #[error("not allowed to use `{socket}`: {error}")]
    NotAllowed { socket: PathBuf, error: io::Error },
    /// The connection broke before the answer: the request may or may not have taken effect.
    #[error("the connection to the daemon broke before its answer: {0}")]
    Lost(io::Error),
    /// What came is not an answer of this protocol.
    #[error("the daemon's answer cannot be read: {0}")]
    Garbled(serde_json::Error),
    #[error("the request cannot be written as JSON: {0}")]
    Unwritable(serde_json::Error),
    #[error("cannot start the daemon `{program}`: {error}")]
    Spawn { program: PathBuf, error: io::Error },
    /// The started daemon ended instead of serving; `code` is its exit code.
    #[error("{message}")]
    StartFailed { code: Option<u8>, message: String, hint: Option<String> },
    #[error("the daemon did not serve within {seconds} s; see `{log}`")]
    StartTimeout { seconds: u64, log: PathBuf },
}
