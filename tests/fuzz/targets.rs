//! The bodies of the fuzz targets: what comes from a socket, a file or a task, in any bytes. They panic where a promise
//! does not hold. `tests/fuzz.rs` runs them over the corpus and what is near it, `fuzz/` under cargo-fuzz.

use std::io::{BufReader, Cursor, Write};

use batch_executor::config::{Loaded, Overrides};
use batch_executor::keeper::protocol::{FromKeeper, Inbox, KeeperEvent, ToKeeper, encode};
use batch_executor::output::{LogReader, STDERR, STDOUT, Streams, VALUE};
use batch_executor::protocol::parse_line;
use batch_executor::server::lines::{Line, Lines};
use batch_executor::tasks_file::{Items, Parts, csv_rows, json_lines, json_list};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What takes any bytes.
pub type Target = fn(&[u8]);

/// The targets by their names.
pub const TARGETS: &[(&str, Target)] =
    &[("request", request), ("tasks", tasks), ("config", config), ("keeper", keeper), ("logs", logs)];

/// A client's bytes: first how they are cut, then the lines. However they are cut they are the same lines, and each is a
/// request or a refusal with a sentence.
pub fn request(bytes: &[u8]) {
    const LONGEST: usize = 4096;
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let mut lines = Lines::new(LONGEST as u64);
    let mut found = Vec::new();
    for piece in bytes.chunks(usize::from(*cut) + 1) {
        lines.push(piece);
        found.extend(std::iter::from_fn(|| lines.next_line()));
    }
    let mut expected = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        if line.len() > LONGEST {
            expected.push(Line::TooLong);
        } else if end.is_some() {
            expected.push(Line::Whole(line.to_vec()));
        }
        rest = end.map_or(&[], |end| &rest[end + 1..]);
    }
    assert_eq!(found, expected);
    for line in found {
        if let Line::Whole(line) = line {
            match parse_line(&line) {
                Ok(parsed) => assert!(!parsed.request.action.name().is_empty()),
                Err(bad) => assert!(!bad.refusal.message.is_empty()),
            }
        }
    }
}

/// A file of tasks: first its form, then its text. It ends, and every task of it is one or has a sentence.
pub fn tasks(bytes: &[u8]) {
    let Some((form, text)) = bytes.split_first() else { return };
    let items: Items<'_> = match form % 3 {
        0 => match json_list::layout(Cursor::new(text)) {
            Ok(layout) => json_list::items(BufReader::new(Cursor::new(text)), &layout).expect("memory can be read"),
            Err(said) => return assert!(!said.expect("memory can be read").is_empty()),
        },
        1 => json_lines::items(Cursor::new(text)),
        _ => match csv_rows::items(Cursor::new(text)) {
            Ok(items) => items,
            Err(said) => return assert!(!said.expect("memory can be read").is_empty()),
        },
    };
    let mut parts = Parts::new(items, true);
    let (mut good, mut bad) = (0, 0);
    let mut refuse = |_, said: String| {
        assert!(!said.is_empty());
        bad += 1;
    };
    while let Ok(Some(part)) = parts.next_part(&mut refuse) {
        assert_eq!(part.tasks.len(), part.places.len());
        good += part.tasks.len();
    }
    assert!(good + bad <= text.len(), "{good} and {bad} of {}", text.len());
}

/// A configuration: settings, or a sentence that names the file.
pub fn config(bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    match Loaded::load(Some(file.path()), &Overrides::default()) {
        Ok(loaded) => assert!(!loaded.origins().is_empty()),
        Err(error) => assert!(error.to_string().contains(&*file.path().to_string_lossy()), "{error}"),
    }
}

/// What daemon and keeper may find in each other's messages, and in the file of ends: first which of them reads and how the
/// bytes are cut. A message that is understood is the same when it was written again.
pub fn keeper(bytes: &[u8]) {
    let Some(([reader, cut], bytes)) = bytes.split_first_chunk() else { return };
    match reader % 3 {
        0 => take_all::<ToKeeper>(*cut, bytes),
        1 => take_all::<FromKeeper>(*cut, bytes),
        _ => take_all::<KeeperEvent>(*cut, bytes),
    }
}

fn take_all<M: Serialize + DeserializeOwned>(cut: u8, bytes: &[u8]) {
    let mut inbox = Inbox::default();
    for piece in bytes.chunks(usize::from(cut) + 1) {
        inbox.space().extend_from_slice(piece);
        loop {
            match inbox.take::<M>() {
                Ok(Some(message)) => {
                    let once = encode(&message).expect("it was decoded");
                    let mut again = Inbox::default();
                    again.space().extend_from_slice(&once);
                    let message = again.take::<M>().expect("a message").expect("whole");
                    assert_eq!(encode(&message).expect("it was decoded"), once);
                }
                Ok(None) => break,
                // The connection ends.
                Err(_) => return,
            }
        }
    }
}

/// A log: first where to read, then the frames. Every page ends, and all pages together are the whole.
pub fn logs(bytes: &[u8]) {
    let Some(([offset, limit], frames)) = bytes.split_first_chunk() else { return };
    let mut log = LogReader::from_bytes(frames.to_vec());
    let limit = usize::from(*limit) + 1;
    for streams in [Streams::Both, Streams::One(STDOUT), Streams::One(STDERR), Streams::One(VALUE)] {
        let size = log.size(streams);
        assert!(size <= frames.len() as u64);
        let (whole, end, of) = log.read(streams, 0, frames.len());
        assert_eq!((whole.len() as u64, end, of), (size, size, size));
        let (mut text, mut at) = (String::new(), 0);
        while at < size {
            let (page, next, _) = log.read_text(streams, i64::try_from(at).expect("small"), limit, false);
            assert!(next > at && next <= size);
            (text, at) = (text + &page, next);
        }
        assert_eq!(text, String::from_utf8_lossy(&whole));
        for from in [i64::from(*offset), -i64::from(*offset), i64::MIN, i64::MAX] {
            let (page, next, of) = log.read_text(streams, from, limit, true);
            assert!(page.len() <= 3 * (limit + 4) && next <= of);
        }
    }
    for stream in [STDOUT, STDERR, VALUE] {
        let (kept, _) = log.head_tail(stream, u64::from(*offset));
        assert!(kept.len() <= frames.len() + 64);
    }
}
