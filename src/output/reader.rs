//! Reads a framed log, from memory or from a file that may still be written.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::path::Path;

use super::{GAP, HEADER, STDERR, STDOUT};
use crate::home;

/// Between two marks, in bytes of the file.
const MARK_EVERY: u64 = 1024 * 1024;

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

/// A frame's place in the log.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    at: u64,
    /// Bytes of stdout and of stderr before it.
    before: [u64; 2],
}

impl Mark {
    const fn before(&self, streams: Streams) -> u64 {
        match streams {
            Streams::Both => self.before[0] + self.before[1],
            Streams::One(STDOUT) => self.before[0],
            Streams::One(STDERR) => self.before[1],
            Streams::One(_) => 0,
        }
    }
}

/// How far a log was walked, and places on the way. A log only grows, so they hold for every later reader of
/// it: who reads a long one page by page must not walk it anew for each.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    marks: Vec<Mark>,
    end: Mark,
}

impl Marks {
    /// Whether they spare nobody a walk.
    pub const fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }
}

/// A reader of a framed log. A last frame that is not whole yet, or damage, ends it.
#[derive(Debug)]
pub struct LogReader {
    source: Source,
    walked: Marks,
}

#[derive(Debug)]
enum Source {
    Bytes(Cursor<Vec<u8>>),
    File(BufReader<File>, u64),
}

impl LogReader {
    /// Over a log that travelled in memory.
    pub fn from_bytes(frames: Vec<u8>) -> Self {
        Self { source: Source::Bytes(Cursor::new(frames)), walked: Marks::default() }
    }

    /// Over a log file, as far as it is written now.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::resume(path, Marks::default())
    }

    /// As [`Self::open`], with what an earlier reader of the same log found.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn resume(path: &Path, walked: Marks) -> io::Result<Self> {
        let file = home::open_file(path, File::options().read(true))?;
        let length = file.metadata()?.len();
        // Small, for most of the file is skipped.
        Ok(Self { source: Source::File(BufReader::with_capacity(8 * 1024, file), length), walked })
    }

    /// What this reader found, for the next one.
    pub fn into_marks(self) -> Marks {
        self.walked
    }

    /// The bytes of `streams` so far.
    pub fn size(&mut self, streams: Streams) -> u64 {
        let mut walked = std::mem::take(&mut self.walked);
        let Marks { marks, end } = &mut walked;
        self.walk(*end, |stream, length, _| {
            if end.at >= marks.last().map_or(0, |mark| mark.at) + MARK_EVERY {
                marks.push(*end);
            }
            end.at += HEADER as u64 + u64::from(length);
            match stream {
                STDOUT => end.before[0] += u64::from(length),
                STDERR => end.before[1] += u64::from(length),
                _ => {}
            }
            Ok(true)
        });
        self.walked = walked;
        self.walked.end.before(streams)
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

    /// As [`Self::read`], as text that is cut between characters, so that the texts of all pages together
    /// are the text of the whole. `grows`: a character at the end may not be whole yet.
    pub fn read_text(&mut self, streams: Streams, offset: i64, limit: usize, grows: bool) -> (String, u64, u64) {
        let (mut bytes, mut next, size) = self.read(streams, offset, limit);
        if offset < 0 {
            // Behind the start of the log, a page begins where a character does.
            let from = next - bytes.len() as u64;
            let inside = bytes.iter().take(3).take_while(|byte| (0x80..0xC0).contains(*byte)).count();
            if from > 0 {
                bytes.drain(..inside);
            }
        }
        let cut = incomplete(&bytes);
        if cut == 0 || (next == size && !grows) {
            return (String::from_utf8_lossy(&bytes).into_owned(), next, size);
        }
        next -= cut as u64;
        bytes.truncate(bytes.len() - cut);
        if bytes.is_empty() && next + (cut as u64) < size {
            // The limit is less than one character.
            bytes = self.read(streams, i64::try_from(next).unwrap_or(i64::MAX), LONGEST_CHARACTER).0;
            let first = bytes.utf8_chunks().next();
            let length = first.map_or(0, |chunk| match chunk.valid().chars().next() {
                Some(character) => character.len_utf8(),
                None => chunk.invalid().len(),
            });
            bytes.truncate(length);
            next += length as u64;
        }
        (String::from_utf8_lossy(&bytes).into_owned(), next, size)
    }

    /// A stream whole, or its head and tail of together `keep` bytes with a line between that says how
    /// much was left out; and how much that is, what the log itself does not have included.
    pub fn head_tail(&mut self, stream: u8, keep: u64) -> (Vec<u8>, u64) {
        let (mut size, mut gap, mut before_gap) = (0_u64, 0_u64, 0_u64);
        self.walk(Mark::default(), |found, length, payload| {
            if found == GAP && length == 8 {
                let mut missing = [0; 8];
                payload.read_exact(&mut missing)?;
                gap = gap.saturating_add(u64::from_le_bytes(missing));
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
        let omitted = gap.saturating_add(tail - head);
        self.copy(Streams::One(stream), 0, head, &mut kept);
        kept.extend_from_slice(format!("\n… {omitted} bytes left out …\n").as_bytes());
        self.copy(Streams::One(stream), tail, size, &mut kept);
        (kept, omitted)
    }

    /// Appends the bytes `from..upto` of `streams` to `bytes`.
    fn copy(&mut self, streams: Streams, from: u64, upto: u64, bytes: &mut Vec<u8>) {
        let near = self.walked.marks.partition_point(|mark| mark.before(streams) <= from);
        let near = near.checked_sub(1).map_or(Mark::default(), |last| self.walked.marks[last]);
        let mut at = near.before(streams);
        self.walk(near, |stream, length, payload| {
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

    /// Calls `each` with every whole frame's stream, length and payload from a place on, until it says false.
    fn walk(&mut self, from: Mark, each: impl FnMut(u8, u32, &mut dyn Read) -> io::Result<bool>) {
        // What cannot be read ends the log: a frame on its way, or a damaged file.
        let _end: io::Result<()> = match &mut self.source {
            Source::Bytes(bytes) => {
                let length = bytes.get_ref().len() as u64;
                walk(bytes, from.at, length, each)
            }
            Source::File(file, length) => walk(file, from.at, *length, each),
        };
    }
}

/// The longest character, in bytes of UTF-8.
const LONGEST_CHARACTER: usize = 4;

/// How many bytes at the end are the beginning of a character.
fn incomplete(bytes: &[u8]) -> usize {
    let begins = |tail: &[u8]| {
        std::str::from_utf8(tail).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    let most = bytes.len().min(LONGEST_CHARACTER - 1);
    (1..=most).find(|length| begins(&bytes[bytes.len() - length..])).unwrap_or(0)
}

fn walk<R: Read + Seek>(
    source: &mut R,
    from: u64,
    length: u64,
    mut each: impl FnMut(u8, u32, &mut dyn Read) -> io::Result<bool>,
) -> io::Result<()> {
    source.seek(io::SeekFrom::Start(from))?;
    let mut at = from;
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
    fn the_texts_of_all_pages_are_the_text_of_the_whole() {
        let whole: Vec<u8> =
            ["aé€😀".as_bytes(), b"\xe2\x82A\xff\xf0\x9f\x98", "€".as_bytes(), b"\x80z\xe2\x82"].concat();
        for limit in 1..=whole.len() {
            let mut log = log(&[(STDOUT, &whole)]);
            let (mut text, mut offset) = (String::new(), 0);
            while offset < whole.len() as u64 {
                let from = i64::try_from(offset).expect("small");
                let (page, next, size) = log.read_text(Streams::Both, from, limit, false);
                assert!(next > offset && size == whole.len() as u64, "{limit}: {offset} to {next}");
                (text, offset) = (text + &page, next);
            }
            assert_eq!(text, String::from_utf8_lossy(&whole), "{limit}");
        }
    }

    #[test]
    fn a_character_on_its_way_is_held_back() {
        let mut log = log(&[(STDOUT, b"a\xe2\x82")]);
        assert_eq!(log.read_text(Streams::Both, 0, 9, true), ("a".to_owned(), 1, 3));
        assert_eq!(log.read_text(Streams::Both, 1, 9, true), (String::new(), 1, 3));
        assert_eq!(log.read_text(Streams::Both, 1, 9, false), ("\u{fffd}".to_owned(), 3, 3));
        assert_eq!(log.read_text(Streams::Both, -1, 9, false).0, "", "it began before");
    }

    #[test]
    fn a_page_from_the_end_begins_with_a_character() {
        let mut log = log(&[(STDOUT, "é€x".as_bytes())]);
        assert_eq!(log.read_text(Streams::Both, -3, 9, false), ("x".to_owned(), 6, 6));
        assert_eq!(log.read_text(Streams::Both, -4, 9, false).0, "€x");
    }

    #[test]
    fn a_later_reader_goes_on_from_the_marks_of_an_earlier_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("1-1.log");
        let line = |i: usize| format!("{i:0>99}\n");
        let frames = |lines: std::ops::Range<usize>| -> Vec<u8> {
            let frame = |i| {
                let stream = if i % 3 == 0 { STDERR } else { STDOUT };
                [header(stream, 100).as_slice(), line(i).as_bytes()].concat()
            };
            lines.flat_map(frame).collect()
        };
        let mut bytes = frames(0..30_000);
        std::fs::write(&path, &bytes).expect("written");
        let mut first = LogReader::open(&path).expect("a log");
        assert_eq!(first.size(Streams::Both), 3_000_000);
        let marks = first.into_marks();
        assert_eq!(marks.marks.len(), 3);
        bytes.extend(frames(30_000..60_000));
        std::fs::write(&path, &bytes).expect("written");
        let mut second = LogReader::resume(&path, marks).expect("a log");
        for number in [0, 1, 9_999, 29_999, 30_000, 31_001, 59_999] {
            let (text, _, size) =
                second.read_text(Streams::Both, i64::try_from(number * 100).expect("small"), 100, false);
            assert_eq!((text, size), (line(number), 6_000_000));
        }
        let (text, ..) = second.read_text(Streams::One(STDERR), 19_999 * 100, 100, false);
        assert_eq!(text, line(59_997));
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
