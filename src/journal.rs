//! systemd's journal, by its own protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): an event is a datagram with the line that
//! a log elsewhere has as its message, and each of its fields (`task_id`, `batch_id`) as one of the journal's (`TASK_ID`).

use std::fmt::Debug;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use nix::sys::stat::fstat;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::layer::Context;

use crate::visible::visible_line;

const SOCKET: &str = "/run/systemd/journal/socket";
/// The most of a value that is sent: a datagram has its limit.
const LONGEST: usize = 32 * 1024;

/// Where events go.
pub struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// The journal, where it is what standard error leads to, as systemd says (systemd.exec(5), `JOURNAL_STREAM`).
    pub fn behind_stderr() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let behind = fstat(io::stderr().as_fd()).ok()?;
        if stream != format!("{}:{}", behind.st_dev, behind.st_ino) {
            return None;
        }
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(SOCKET).ok()?;
        Some(Self { socket })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = String::new();
        // What cannot be formatted is left out of the line.
        let _ = DefaultFields::new().format_fields(Writer::new(&mut line), event);
        let line = visible_line(&line);
        let mut entry = Entry(Vec::new());
        entry.put("MESSAGE", &line);
        entry.put("PRIORITY", priority(*event.metadata().level()));
        entry.put("SYSLOG_IDENTIFIER", "batch-executor");
        entry.put("TARGET", event.metadata().target());
        event.record(&mut entry);
        if self.socket.send(&entry.0).is_err() {
            // The journal is being replaced, and takes lines again before it takes this.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }
}

/// As syslog(3) counts.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// A datagram.
struct Entry(Vec<u8>);

impl Entry {
    fn put(&mut self, name: &str, value: &str) {
        let value = &value.as_bytes()[..value.len().min(LONGEST)];
        self.0.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() != "message" {
            // The journal knows A-Z, 0-9 and _, and keeps what begins with _ for itself.
            let name = field.name().to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            self.put(name.trim_start_matches('_'), value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_several_lines_has_its_length_before_it() {
        let mut entry = Entry(Vec::new());
        entry.put("TASK_ID", "12");
        entry.put("ERROR", "one\ntwo");
        assert_eq!(entry.0, b"TASK_ID=12\nERROR\n\x07\0\0\0\0\0\0\0one\ntwo\n");
        let mut long = Entry(Vec::new());
        long.put("A", &"x".repeat(LONGEST + 1));
        assert_eq!(long.0.len(), LONGEST + 3);
    }
}
