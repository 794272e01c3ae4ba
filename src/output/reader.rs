//! Reads a framed log, from memory or from a file that may still be written.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::path::Path;

use super::{GAP, HEADER, STDERR, STDOUT};

/// Which streams a read is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// stdout and stderr, in the order in which they came.
    Both,
    One(u8),
}

impl Streams {
    const fn has(self, stream: u8) -> bool {
        match self {
            Self::Both => stream == STDOUT || stream == STDERR,
            Self::One(one) => one == stream,
        }
    }
}

/// A reader of a framed log. A last frame that is not whole yet, or damage, ends it.
#[derive(Debug)]
pub struct LogReader {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Bytes(Cursor<Vec<u8>>),
    File(BufReader<File>, u64),
}

impl LogReader {
    /// Over a log that travelled in memory.
    pub const fn from_bytes(frames: Vec<u8>) -> Self {
        Self { source: Source::Bytes(Cursor::new(frames)) }
    }

    /// Over a log file, as far as it is written now.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { source: Source::File(BufReader::with_capacity(64 * 1024, file), length) })
    }

    /// The bytes of `streams` so far.
    pub fn size(&mut self, streams: Streams) -> u64 {
        let mut size = 0;
        self.walk(|stream, length, _| {
            if streams.has(stream) {
                size += u64::from(length);
            }
            Ok(true)
        });
        size
    }

    /// Up to `limit` bytes of `streams` from `offset`; a negative offset counts from the end. Gives the
    /// bytes, the offset after them, and the size.
    pub fn read(&mut self, streams: Streams, offset: i64, limit: usize) -> (Vec<u8>, u64, u64) {
        let size = self.size(streams);
        let from = match u64::try_from(offset) {
            Ok(from) => from.min(size),
            Err(_) => size.saturating_sub(offset.unsigned_abs()),
        };
        let upto = size.min(from.saturating_add(limit as u64));
        let mut bytes = Vec::new();
        self.copy(streams, from, upto, &mut bytes);
        let next = from + bytes.len() as u64;
        (bytes, next, size)
    }

    /// A stream whole, or its head and tail of together `keep` bytes with a line between that says how
    /// much was left out; and how much that is, what the log itself does not have included.
    pub fn head_tail(&mut self, stream: u8, keep: u64) -> (Vec<u8>, u64) {
        let (mut size, mut gap, mut before_gap) = (0_u64, 0_u64, 0_u64);
        self.walk(|found, length, payload| {
            if found == GAP && length == 8 {
                let mut missing = [0; 8];
                payload.read_exact(&mut missing)?;
                gap += u64::from_le_bytes(missing);
                before_gap = size;
            } else if found == stream {
                size += u64::from(length);
            }
            Ok(true)
        });
        let mut kept = Vec::new();
        let fits = size <= keep;
        if fits && gap == 0 {
            self.copy(Streams::One(stream), 0, size, &mut kept);
            return (kept, 0);
        }
        let (head, tail) = if fits { (before_gap, before_gap) } else { (keep / 2, size - (keep - keep / 2)) };
        let omitted = gap + (tail - head);
        self.copy(Streams::One(stream), 0, head, &mut kept);
        kept.extend_from_slice(format!("\n… {omitted} bytes left out …\n").as_bytes());
        self.copy(Streams::One(stream), tail, size, &mut kept);
        (kept, omitted)
    }

    /// Appends the bytes `from..upto` of `streams` to `bytes`.
    fn copy(&mut self, streams: Streams, from: u64, upto: u64, bytes: &mut Vec<u8>) {
        let mut at = 0;
        self.walk(|stream, length, payload| {
            if !streams.has(stream) {
                return Ok(true);
            }
            let (begin, end) = (at, at + u64::from(length));
            at = end;
            if begin >= upto {
                return Ok(false);
            }
            if end > from {
                let skip = from.saturating_sub(begin);
                io::copy(&mut payload.take(skip), &mut io::sink())?;
                io::copy(&mut payload.take(upto.min(end) - begin - skip), bytes)?;
            }
            Ok(true)
        });
    }

    /// Calls `each` with every whole frame's stream, length and payload until it says false.
    fn walk(&mut self, each: impl FnMut(u8, u32, &mut dyn Read) -> io::Result<bool>) {
        // What cannot be read ends the log: a frame on its way, or a damaged file.
        let _end: io::Result<()> = match &mut self.source {
            Source::Bytes(bytes) => {
                let length = bytes.get_ref().len() as u64;
                walk(bytes, length, each)
            }
            Source::File(file, length) => walk(file, *length, each),
        };
    }
}

fn walk<R: Read + Seek>(
    source: &mut R,
    length: u64,
    mut each: impl FnMut(u8, u32, &mut dyn Read) -> io::Result<bool>,
) -> io::Result<()> {
    source.seek(io::SeekFrom::Start(0))?;
    let mut at = 0_u64;
    let mut header = [0; HEADER];
    while at + HEADER as u64 <= length {
        source.read_exact(&mut header)?;
        let [stream, a, b, c, d] = header;
        let payload = u32::from_le_bytes([a, b, c, d]);
        at += HEADER as u64;
        if at + u64::from(payload) > length {
            break;
        }
        let mut rest = source.take(u64::from(payload));
        if !each(stream, payload, &mut rest)? {
            break;
        }
        let left = i64::try_from(rest.limit()).unwrap_or(i64::MAX);
        source.seek_relative(left)?;
        at += u64::from(payload);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{VALUE, header};
    use super::*;

    fn log(frames: &[(u8, &[u8])]) -> LogReader {
        let mut bytes = Vec::new();
        for (stream, payload) in frames {
            bytes.extend(header(*stream, payload.len()));
            bytes.extend(*payload);
        }
        LogReader::from_bytes(bytes)
    }

    #[test]
    fn streams_are_read_apart_and_together() {
        let mut log = log(&[(STDOUT, b"one "), (STDERR, b"two "), (VALUE, b"x"), (STDOUT, b"three")]);
        assert_eq!(log.read(Streams::Both, 0, 100), (b"one two three".to_vec(), 13, 13));
        assert_eq!(log.read(Streams::One(STDOUT), 0, 100).0, b"one three");
        assert_eq!(log.read(Streams::Both, 2, 5), (b"e two".to_vec(), 7, 13));
        assert_eq!(log.read(Streams::Both, -5, 100).0, b"three");
        assert_eq!(log.read(Streams::Both, -500, 3).0, b"one");
        assert_eq!(log.read(Streams::Both, 99, 3), (vec![], 13, 13));
    }

    #[test]
    fn a_frame_on_its_way_is_not_read() {
        let mut bytes = header(STDOUT, 3).to_vec();
        bytes.extend(b"abc");
        bytes.extend(header(STDOUT, 9));
        bytes.extend(b"ab");
        assert_eq!(LogReader::from_bytes(bytes).read(Streams::Both, 0, 100).0, b"abc");
    }

    #[test]
    fn head_and_tail_say_what_is_between() {
        let mut whole = log(&[(STDOUT, b"0123456789")]);
        assert_eq!(whole.head_tail(STDOUT, 10), (b"0123456789".to_vec(), 0));
        let (text, omitted) = whole.head_tail(STDOUT, 4);
        assert_eq!((String::from_utf8_lossy(&text).as_ref(), omitted), ("01\n… 6 bytes left out …\n89", 6));
        let mut gap = log(&[(STDOUT, b"head"), (GAP, &7_u64.to_le_bytes()), (STDOUT, b"tail")]);
        let (text, omitted) = gap.head_tail(STDOUT, 100);
        assert_eq!((String::from_utf8_lossy(&text).as_ref(), omitted), ("head\n… 7 bytes left out …\ntail", 7));
    }
}
