//! Reading values, in a process of its own: a slow command or disk holds up nobody but the attempt that waits for it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::libc::{O_CLOEXEC, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};
use serde::{Deserialize, Serialize};

use super::{Source, Wanted};

/// A shorter value is in many texts by chance, and masking it would tell it.
const SHORTEST: usize = 4;
/// The longest value; a variable may have 128 KiB (execve(2)).
const LONGEST: usize = 64 * 1024;

/// A secret's value. Never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value(#[serde(with = "serde_bytes")] Vec<u8>);

impl Value {
    /// What nobody is to see.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Checks what was read; the error completes "the secret … ".
    fn new(mut bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        match bytes.len() {
            ..SHORTEST => Err(format!("is shorter than {SHORTEST} bytes, too short to be masked")),
            SHORTEST..=LONGEST if bytes.contains(&0) => Err("holds a NUL character, which no variable can".to_owned()),
            SHORTEST..=LONGEST => Ok(Self(bytes)),
            _ => Err(format!("is longer than {} KiB", LONGEST / 1024)),
        }
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What the reading process says: the values in the order of what was wanted, or a sentence.
type Answer = Result<Vec<Value>, String>;

/// The question to the reading process.
pub fn asked(wanted: &[Wanted]) -> Vec<u8> {
    // This type can always be encoded; without a question the reader fails, and with it the attempt.
    rmp_serde::to_vec_named(wanted).unwrap_or_default()
}

/// What the reading process wrote before it ended.
///
/// # Errors
/// A sentence that names the secret and repeats nothing of it.
pub fn answered(bytes: &[u8]) -> Answer {
    rmp_serde::from_slice(bytes).unwrap_or_else(|_| Err("the secrets were not read: their reader ended".to_owned()))
}

/// The work of the reading process: a question on standard input, the answer on standard output.
///
/// # Errors
/// When there is no question, or nobody who wants the answer.
pub fn serve() -> io::Result<()> {
    let mut question = Vec::new();
    io::stdin().read_to_end(&mut question)?;
    let wanted: Vec<Wanted> = rmp_serde::from_slice(&question).map_err(io::Error::other)?;
    let answer: Answer = wanted.iter().map(Wanted::read).collect();
    io::stdout().write_all(&rmp_serde::to_vec_named(&answer).map_err(io::Error::other)?)
}

impl Wanted {
    fn read(&self) -> Result<Value, String> {
        let read = match &self.source {
            Source::File { path } => file(path),
            Source::Command { argv, timeout_ms } => command(argv, *timeout_ms),
        };
        read.and_then(Value::new).map_err(|why| format!("the secret `{}` {why}", self.name))
    }
}

/// One byte more than a value and its newline may have.
const MOST_READ: u64 = LONGEST as u64 + 2;

fn file(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: io::Error| match error.raw_os_error() {
        Some(nix::libc::ELOOP) => format!("cannot be read: `{}` is a symbolic link", path.display()),
        _ => format!("cannot be read from `{}`: {error}", path.display()),
    };
    // Whatever it is, opening it neither waits nor takes a terminal.
    let flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(cannot)?;
    let found = file.metadata().map_err(cannot)?;
    let own = nix::unistd::geteuid().as_raw();
    if !found.is_file() {
        return Err(format!("cannot be read: `{}` is not a regular file", path.display()));
    }
    if found.uid() != own {
        return Err(format!("is not used: `{}` belongs to the user {}, not to {own}", path.display(), found.uid()));
    }
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o7777;
        return Err(format!("is not used: `{}` has the mode {mode:04o}, but must be 0600 or stricter", path.display()));
    }
    let mut bytes = Vec::new();
    file.take(MOST_READ).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

/// What it says on its standard error is not repeated, for it may hold the value.
fn command(argv: &[String], timeout_ms: u64) -> Result<Vec<u8>, String> {
    let [program, arguments @ ..] = argv else { return Err("has no command".to_owned()) };
    let cannot = |error: io::Error| format!("cannot be read: its command `{program}` cannot be run: {error}");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(cannot)?;
    let stdout = child.stdout.take();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.map_or(Ok(0), |stdout| stdout.take(MOST_READ).read_to_end(&mut bytes));
        // Nobody listens any more when the time is over.
        drop(tell.send(read.and_then(|_| Ok((bytes, child.wait()?)))));
    });
    let ended: io::Result<(Vec<u8>, ExitStatus)> = told
        .recv_timeout(Duration::from_millis(timeout_ms))
        .map_err(|_| format!("was not read: its command `{program}` did not end within {timeout_ms} ms"))?;
    let (bytes, status) = ended.map_err(cannot)?;
    // One that wrote too much was not heard to the end.
    if status.success() || bytes.len() as u64 == MOST_READ {
        Ok(bytes)
    } else {
        Err(format!("was not read: its command `{program}` failed ({status})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_goes_and_what_cannot_be_masked_or_set_is_refused() {
        let value = |bytes: &[u8]| Value::new(bytes.to_vec()).map(|value| value.0);
        assert_eq!(value(b"abcd\n\n"), Ok(b"abcd\n".to_vec()));
        assert_eq!(value(b"abcd"), Ok(b"abcd".to_vec()));
        assert!(value(b"abc\n").expect_err("short").contains("shorter than 4 bytes"));
        assert!(value(b"ab\0cd").expect_err("NUL").contains("NUL"));
        assert!(value(&[b'a'; LONGEST + 1]).expect_err("long").contains("longer than 64 KiB"));
        assert_eq!(format!("{:?}", Value(b"abcd".to_vec())), "***");
    }
}
