//! The daemon's log: standard error, the journal where that leads to it, or a file of bounded size.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::defect;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::ChronoUtc;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::home;
use crate::journal::Journal;
use crate::visible::visible_line;

/// The size at which the keeper's log is begun anew.
const KEEPER_LOG_BYTES: u64 = 1 << 20;

/// Where the log goes.
#[derive(Debug)]
pub enum Destination {
    Stderr,
    /// Begun anew when it is longer; the one before is kept as `NAME.1`.
    File {
        path: PathBuf,
        most_bytes: u64,
    },
}

/// Sets the log up for this process. `RUST_LOG` beats `filter`.
///
/// # Errors
/// When the file cannot be opened.
pub fn init(filter: &str, destination: Destination) -> io::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    defect::watch();
    // A second set-up in one process keeps the first.
    if let (Destination::Stderr, Some(journal)) = (&destination, Journal::behind_stderr()) {
        let _ = tracing_subscriber::registry().with(filter).with(journal).try_init();
        return Ok(());
    }
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(ChronoUtc::new("%FT%T%.3fZ".to_owned()))
        .with_ansi(false);
    let _ = match destination {
        Destination::Stderr => log.with_writer(|| Lines(io::stderr())).try_init(),
        Destination::File { path, most_bytes } => {
            log.with_writer(Mutex::new(Lines(Bounded::open(path, most_bytes)?))).try_init()
        }
    };
    Ok(())
}

/// Sets the keeper's log up: what went wrong, in a file that is there once something has.
pub fn init_keeper(path: PathBuf) {
    // As for the daemon's.
    let _ = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_timer(ChronoUtc::new("%FT%T%.3fZ".to_owned()))
        .with_ansi(false)
        .with_writer(Mutex::new(Lines(Late { path, log: None })))
        .try_init();
}

/// A log file that is made with its first line.
struct Late {
    path: PathBuf,
    log: Option<Bounded>,
}

impl Write for Late {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let log = match &mut self.log {
            Some(log) => log,
            None => self.log.insert(Bounded::open(self.path.clone(), KEEPER_LOG_BYTES)?),
        };
        log.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event a line, whatever is in its fields: paths, names and messages are others' text.
struct Lines<W>(W);

impl<W: Write> Write for Lines<W> {
    /// Called once for each event, with its line end.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = visible_line(text.strip_suffix('\n').unwrap_or(&text));
        self.0.write_all(format!("{line}\n").as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A log file that does not grow for ever.
struct Bounded {
    path: PathBuf,
    file: File,
    length: u64,
    most: u64,
}

impl Bounded {
    fn open(path: PathBuf, most: u64) -> io::Result<Self> {
        let file = append(&path)?;
        let length = file.metadata()?.len();
        Ok(Self { path, file, length, most })
    }
}

fn append(path: &Path) -> io::Result<File> {
    home::open_file(path, File::options().create(true).append(true))
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.length > 0 && self.length + bytes.len() as u64 > self.most {
            let mut before = self.path.clone().into_os_string();
            before.push(".1");
            std::fs::rename(&self.path, before)?;
            self.file = append(&self.path)?;
            self.length = 0;
        }
        let written = self.file.write(bytes)?;
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_begun_anew_and_the_one_before_is_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("daemon.log");
        let mut log = Bounded::open(path.clone(), 10).expect("a log");
        for line in ["one\n", "two\n", "three\n"] {
            log.write_all(line.as_bytes()).expect("written");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("the log"), "three\n");
        assert_eq!(std::fs::read_to_string(folder.path().join("daemon.log.1")).expect("the one before"), "one\ntwo\n");
    }
}
