//! JSON Lines: a task a line; blank lines are nothing.

use std::io::{self, BufRead, Read};

use super::{Item, Items, MAX_TASK_BYTES, Place, parse_task, until_end};

/// The tasks, line by line.
pub fn items<'a>(source: impl BufRead + 'a) -> Items<'a> {
    let mut lines = Lines { source, index: 0, line: 0, done: false };
    until_end(move || lines.next_item())
}

struct Lines<R> {
    source: R,
    index: usize,
    line: u64,
    /// Nobody knows where the next one begins.
    done: bool,
}

impl<R: BufRead> Lines<R> {
    fn next_item(&mut self) -> io::Result<Option<Item>> {
        if self.done {
            return Ok(None);
        }
        let mut text = Vec::new();
        loop {
            text.clear();
            let limit = MAX_TASK_BYTES as u64 + 1;
            if self.source.by_ref().take(limit).read_until(b'\n', &mut text)? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if self.line == 1 && text.starts_with(b"\xef\xbb\xbf") {
                text.drain(..3);
            }
            if !text.trim_ascii().is_empty() {
                break;
            }
        }
        let place = Place { index: self.index, line: Some(self.line) };
        self.index += 1;
        let task = if text.len() > MAX_TASK_BYTES {
            self.done = true;
            Err("the line is longer than 64 MiB".to_owned())
        } else {
            parse_task(text.trim_ascii())
        };
        Ok(Some(Item { place, bytes: text.len(), task }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_named_and_the_rest_goes_on() {
        let text = "\u{feff}{\"name\":\"a\"}\n\n{oops\n[1]\r\n{\"name\":\"b\"}";
        let found: Vec<Item> = items(text.as_bytes()).map(|item| item.expect("memory can be read")).collect();
        let lines: Vec<_> = found.iter().map(|item| (item.place.index, item.place.line, item.task.is_ok())).collect();
        assert_eq!(lines, [(0, Some(1), true), (1, Some(3), false), (2, Some(4), false), (3, Some(5), true)]);
        let said = found.into_iter().nth(1).map(|item| item.task);
        assert_eq!(said, Some(Err("not valid JSON: key must be a string at column 2".to_owned())));
    }
}
