//! Finds lines in a log, page by page, however long the log and its lines are.

use std::collections::VecDeque;

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
    /// Each with its newline; of a long one the part around its first match. With context, `--` between groups that do not touch.
    pub text: String,
    /// The offset at which each matching one begins; of a long one, the part that is shown.
    pub matches: Vec<u64>,
    /// Where the search goes on.
    pub next: u64,
    /// Bytes of the streams so far.
    pub size: u64,
}

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Search {
    pub text: String,
    /// How many lines around each match are given, too.
    pub context: usize,
}

impl LogReader {
    /// Up to about `limit` bytes of lines of `streams` that match, from `offset` on; a negative offset counts from the end. One match
    /// at least, if there is one. `grows`: a line at the end may not be whole yet and is left for later.
    pub fn search(&mut self, streams: Streams, search: &Search, offset: i64, limit: usize, grows: bool) -> Found {
        let (mut held, mut at, size) = self.read(streams, offset, PIECE);
        let mut finding = Finding::new(search, at - held.len() as u64, size, limit);
        loop {
            let mut seen = 0;
            while let Some(length) = memchr(b'\n', &held[seen..]) {
                if !finding.take(&held[seen..seen + length]) {
                    return finding.found;
                }
                seen += length + 1;
                finding.found.next += length as u64 + 1;
            }
            held.drain(..seen);
            if at >= size {
                break;
            }
            if held.len() >= PIECE {
                if !finding.take(&held) {
                    return finding.found;
                }
                // A match may lie across two pieces.
                let passed = held.len() - (search.text.len() - 1).min(held.len());
                held.drain(..passed);
                finding.found.next += passed as u64;
            }
            let (more, next, _) = self.read(streams, i64::try_from(at).unwrap_or(i64::MAX), PIECE);
            if next <= at {
                break;
            }
            held.extend(more);
            at = next;
        }
        if !grows && (held.is_empty() || finding.take(&held)) {
            finding.found.next += held.len() as u64;
        }
        finding.found
    }
}

/// A search on its way.
struct Finding<'s> {
    finder: Finder<'s>,
    context: usize,
    limit: usize,
    found: Found,
    /// The lines before the next one that are not given yet, with their offsets.
    before: VecDeque<(u64, String)>,
    /// How many lines after the last match are still to be given.
    after: usize,
}

impl<'s> Finding<'s> {
    fn new(search: &'s Search, next: u64, size: u64, limit: usize) -> Self {
        Self {
            finder: Finder::new(&search.text),
            context: search.context,
            limit,
            found: Found { text: String::new(), matches: Vec::new(), next, size },
            before: VecDeque::new(),
            after: 0,
        }
    }

    /// Takes the line at `next` in; false when it matches and there is no room for it: then the search goes on with its context.
    fn take(&mut self, line: &[u8]) -> bool {
        let found = &mut self.found;
        let Some(place) = self.finder.find(line) else {
            if self.after > 0 {
                self.after -= 1;
                found.push(&shown(line, 0).1);
            } else if self.context > 0 {
                if self.before.len() == self.context {
                    self.before.pop_front();
                }
                self.before.push_back((found.next, shown(line, 0).1));
            }
            return true;
        };
        let (from, line) = shown(line, place);
        let length = line.len() + self.before.iter().map(|(_, line)| line.len() + 1).sum::<usize>();
        if !found.text.is_empty() && found.text.len() + length >= self.limit {
            found.next = self.before.front().map_or(found.next, |(offset, _)| *offset);
            return false;
        }
        if self.context > 0 && self.after == 0 && !found.text.is_empty() && self.before.len() == self.context {
            found.push("--");
        }
        self.before.drain(..).for_each(|(_, line)| found.push(&line));
        found.push(&line);
        found.matches.push(found.next + from as u64);
        self.after = self.context;
        true
    }
}

impl Found {
    fn push(&mut self, line: &str) {
        self.text += line;
        self.text.push('\n');
    }
}

/// A line, or of a long one the part around a place in it; and where that part begins.
fn shown(line: &[u8], place: usize) -> (usize, String) {
    if line.len() <= SHOWN {
        return (0, String::from_utf8_lossy(line).into_owned());
    }
    let from = place.saturating_sub(BEFORE);
    let upto = line.len().min(from + SHOWN);
    let part = String::from_utf8_lossy(&line[from..upto]);
    let (head, tail) = (if from > 0 { "… " } else { "" }, if upto < line.len() { " …" } else { "" });
    (from, format!("{head}{}{tail}", part.trim_matches('\u{fffd}')))
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

    fn text(text: &str) -> Search {
        Search { text: text.to_owned(), context: 0 }
    }

    #[test]
    fn lines_around_a_match_are_given_too() {
        let mut log = log(&[(STDOUT, b"1\n2\nerror 3\n4\nerror 5\n6\n7\n8\n9\nerror 10\n11")]);
        let search = Search { text: "error".to_owned(), context: 1 };
        let all = log.search(Streams::Both, &search, 0, 1000, false);
        assert_eq!(all.text, "2\nerror 3\n4\nerror 5\n6\n--\n9\nerror 10\n11\n");
        assert_eq!(all.matches, [4, 14, 30]);
        let first = log.search(Streams::Both, &search, 0, 15, false);
        assert_eq!((first.text.as_str(), first.next), ("2\nerror 3\n4\n", 14));
        let second = log.search(Streams::Both, &search, 14, 12, false);
        assert_eq!((second.text.as_str(), second.next), ("error 5\n6\n", 28));
        let third = log.search(Streams::Both, &search, 28, 1, false);
        assert_eq!((third.text.as_str(), third.next), ("9\nerror 10\n11\n", 41));
    }

    #[test]
    fn lines_are_found_with_their_places_page_by_page() {
        let mut log =
            log(&[(STDOUT, b"an error\nfine\nerr"), (STDERR, b"or two\n"), (STDOUT, b"no error here\nlast error")]);
        let all = log.search(Streams::Both, &text("error"), 0, 1000, false);
        let lines = "an error\nerror two\nno error here\nlast error\n";
        assert_eq!(all, Found { text: lines.into(), matches: vec![0, 14, 24, 38], next: 48, size: 48 });
        let mut paged = (String::new(), Vec::new());
        let mut next = 0;
        while next < 48 {
            let page = log.search(Streams::Both, &text("error"), i64::try_from(next).expect("small"), 1, false);
            assert!(page.next > next, "{page:?}");
            paged.0 += &page.text;
            paged.1.extend(page.matches);
            next = page.next;
        }
        assert_eq!(paged, (all.text, all.matches));
        assert!(log.search(Streams::One(STDERR), &text("error"), 0, 9, false).matches.is_empty());
        assert_eq!(log.search(Streams::Both, &text("error"), -10, 99, false).matches, [38]);
    }

    #[test]
    fn a_line_on_its_way_is_left_for_later() {
        let mut log = log(&[(STDOUT, b"an error\nerr")]);
        let found = log.search(Streams::Both, &text("err"), 0, 99, true);
        assert_eq!((found.matches, found.next, found.size), (vec![0], 9, 12));
    }

    #[test]
    fn a_line_without_end_is_searched_in_pieces() {
        let mut line = vec![b'x'; 3 * PIECE];
        line[PIECE - 3..PIECE + 3].copy_from_slice(b"needle");
        let mut log = log(&[(STDOUT, &line)]);
        let found = log.search(Streams::Both, &text("needle"), 0, 99, false);
        assert_eq!((found.matches.len(), found.next), (1, line.len() as u64));
        let place = usize::try_from(found.matches[0]).expect("small");
        assert!(found.text.starts_with("xxneedle") && line[place..].starts_with(b"xxneedle"), "{place}");
        assert!(found.text.len() < SHOWN + 20);
    }
}
