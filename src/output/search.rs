//! Finds lines in a log, page by page, however long the log and its lines are.

use memchr::memchr;
use memchr::memmem::Finder;

use super::{LogReader, Streams};

/// How much is looked at at once, in bytes; a longer line is looked at in such pieces.
const PIECE: usize = 1024 * 1024;
/// How much of a line is shown, in bytes, and how much of that before the first match.
const SHOWN: usize = 2000;
const BEFORE: usize = 500;

/// The lines that a search found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Each with its newline; of a long one the part around its first match.
    pub text: String,
    /// The offset at which each begins; of a long one, the part that is shown.
    pub matches: Vec<u64>,
    /// Where the search goes on.
    pub next: u64,
    /// Bytes of the streams so far.
    pub size: u64,
}

impl LogReader {
    /// Up to about `limit` bytes of lines of `streams` that contain `text`, from `offset` on; a negative offset counts from the
    /// end. One line at least, if there is one. `grows`: a line at the end may not be whole yet and is left for later.
    pub fn search(&mut self, streams: Streams, text: &str, offset: i64, limit: usize, grows: bool) -> Found {
        let finder = Finder::new(text);
        let (mut held, mut at, size) = self.read(streams, offset, PIECE);
        let mut found = Found { text: String::new(), matches: Vec::new(), next: at - held.len() as u64, size };
        loop {
            let mut seen = 0;
            while let Some(length) = memchr(b'\n', &held[seen..]) {
                if !found.take(&held[seen..seen + length], &finder, limit) {
                    return found;
                }
                seen += length + 1;
                found.next += length as u64 + 1;
            }
            held.drain(..seen);
            if at >= size {
                break;
            }
            if held.len() >= PIECE {
                if !found.take(&held, &finder, limit) {
                    return found;
                }
                // A match may lie across two pieces.
                let passed = held.len() - (text.len() - 1).min(held.len());
                held.drain(..passed);
                found.next += passed as u64;
            }
            let (more, next, _) = self.read(streams, i64::try_from(at).unwrap_or(i64::MAX), PIECE);
            if next <= at {
                break;
            }
            held.extend(more);
            at = next;
        }
        if !grows && found.take(&held, &finder, limit) {
            found.next += held.len() as u64;
        }
        found
    }
}

impl Found {
    /// Takes a line at `next` in, if it matches; false when there is no room for it.
    fn take(&mut self, line: &[u8], finder: &Finder<'_>, limit: usize) -> bool {
        let Some(place) = finder.find(line) else { return true };
        let from = if line.len() <= SHOWN { 0 } else { place.saturating_sub(BEFORE) };
        let shown = if line.len() <= SHOWN {
            String::from_utf8_lossy(line).into_owned()
        } else {
            let upto = line.len().min(from + SHOWN);
            let part = String::from_utf8_lossy(&line[from..upto]);
            let (head, tail) = (if from > 0 { "… " } else { "" }, if upto < line.len() { " …" } else { "" });
            format!("{head}{}{tail}", part.trim_matches('\u{fffd}'))
        };
        if !self.text.is_empty() && self.text.len() + shown.len() >= limit {
            return false;
        }
        self.text += &shown;
        self.text.push('\n');
        self.matches.push(self.next + from as u64);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::{STDERR, STDOUT, header};
    use super::*;

    fn log(frames: &[(u8, &[u8])]) -> LogReader {
        let frames =
            frames.iter().flat_map(|(stream, payload)| [header(*stream, payload.len()).as_slice(), payload].concat());
        LogReader::from_bytes(frames.collect())
    }

    #[test]
    fn lines_are_found_with_their_places_page_by_page() {
        let mut log =
            log(&[(STDOUT, b"an error\nfine\nerr"), (STDERR, b"or two\n"), (STDOUT, b"no error here\nlast error")]);
        let all = log.search(Streams::Both, "error", 0, 1000, false);
        let text = "an error\nerror two\nno error here\nlast error\n";
        assert_eq!(all, Found { text: text.into(), matches: vec![0, 14, 24, 38], next: 48, size: 48 });
        let mut paged = (String::new(), Vec::new());
        let mut next = 0;
        while next < 48 {
            let page = log.search(Streams::Both, "error", i64::try_from(next).expect("small"), 1, false);
            assert!(page.next > next, "{page:?}");
            paged.0 += &page.text;
            paged.1.extend(page.matches);
            next = page.next;
        }
        assert_eq!(paged, (all.text, all.matches));
        assert!(log.search(Streams::One(STDERR), "error", 0, 9, false).matches.is_empty());
        assert_eq!(log.search(Streams::Both, "error", -10, 99, false).matches, [38]);
    }

    #[test]
    fn a_line_on_its_way_is_left_for_later() {
        let mut log = log(&[(STDOUT, b"an error\nerr")]);
        let found = log.search(Streams::Both, "err", 0, 99, true);
        assert_eq!((found.matches, found.next, found.size), (vec![0], 9, 12));
    }

    #[test]
    fn a_line_without_end_is_searched_in_pieces() {
        let mut line = vec![b'x'; 3 * PIECE];
        line[PIECE - 3..PIECE + 3].copy_from_slice(b"needle");
        let mut log = log(&[(STDOUT, &line)]);
        let found = log.search(Streams::Both, "needle", 0, 99, false);
        assert_eq!((found.matches.len(), found.next), (1, line.len() as u64));
        let place = usize::try_from(found.matches[0]).expect("small");
        assert!(found.text.starts_with("xxneedle") && line[place..].starts_with(b"xxneedle"), "{place}");
        assert!(found.text.len() < SHOWN + 20);
    }
}
