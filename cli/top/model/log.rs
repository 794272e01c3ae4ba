//! What a task wrote, in lines: the end of it, and where the user is.

use std::collections::VecDeque;

use batch_executor::task::TaskId;

/// Bytes of text that are kept; what is before them is in the file.
const KEPT: usize = 2 << 20;
/// A line is cut after so many bytes.
const LONGEST: usize = 64 << 10;

/// A log that is looked at.
#[derive(Debug, Default)]
pub struct Log {
    pub task_id: TaskId,
    pub attempt: Option<u32>,
    /// Nothing more will come.
    pub ended: bool,
    /// Why there is nothing.
    pub said: Option<String>,
    lines: VecDeque<String>,
    /// How many lines went away at the beginning.
    gone: usize,
    bytes: usize,
    /// The last line has no end yet.
    open: bool,
    /// The line at the top, counted from the first that ever was; none: the end is followed.
    top: Option<usize>,
    /// The text that is looked for.
    pub sought: String,
    /// Rows and columns of the last drawing.
    pub area: (usize, usize),
}

impl Log {
    /// A log of which nothing is known yet.
    pub fn of(task_id: TaskId) -> Self {
        Self { task_id, ..Self::default() }
    }

    /// More of it.
    pub fn push(&mut self, text: &str) {
        for piece in text.split_inclusive('\n') {
            let line = piece.trim_end_matches('\n').trim_end_matches('\r');
            let before = self.lines.back().filter(|_| self.open).map(String::len);
            let line = &line[..line.floor_char_boundary(LONGEST - before.unwrap_or(0))];
            match self.lines.back_mut() {
                Some(last) if before.is_some() => last.push_str(line),
                _ => self.lines.push_back(line.to_owned()),
            }
            self.bytes += line.len();
            self.open = !piece.ends_with('\n');
        }
        while self.bytes > KEPT {
            let Some(line) = self.lines.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(line.len());
            self.gone += 1;
        }
    }

    /// A part that was skipped.
    pub fn skip(&mut self) {
        self.open = false;
        self.push("[a part is not shown: more is written than can be read]\n");
    }

    /// Whether the end is followed.
    pub const fn follows(&self) -> bool {
        self.top.is_none()
    }

    /// Whether nothing was written, as far as it was read.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines that are to be shown, and whether the first is at the top; else the last is at the bottom.
    pub fn window(&self, rows: usize) -> (Vec<&str>, bool) {
        match self.top {
            None => {
                let first = self.lines.len().saturating_sub(rows);
                (self.lines.range(first..).map(String::as_str).collect(), false)
            }
            Some(top) => {
                let first = top.saturating_sub(self.gone).min(self.lines.len());
                let last = (first + rows).min(self.lines.len());
                (self.lines.range(first..last).map(String::as_str).collect(), true)
            }
        }
    }

    /// Scrolls by so many lines; past the end it is followed again.
    pub fn scroll(&mut self, lines: isize) {
        let (rows, _) = self.area;
        let end = self.gone + self.lines.len().saturating_sub(rows);
        let top = self.top.unwrap_or(end).max(self.gone).saturating_add_signed(lines).max(self.gone);
        self.top = (top < end).then_some(top);
    }

    /// The first line there is.
    pub fn go_to_start(&mut self) {
        self.top = (self.lines.len() > self.area.0).then_some(self.gone);
    }

    /// The end, which is followed from now on.
    pub fn go_to_end(&mut self) {
        self.top = None;
    }

    /// Goes to the next line before (or after) the top with the sought text. False: there is none.
    pub fn seek(&mut self, back: bool) -> bool {
        let (rows, _) = self.area;
        let end = self.lines.len().saturating_sub(rows);
        let here = self.top.map_or(end, |top| top.saturating_sub(self.gone));
        let has = |line: &String| !found(line, &self.sought).is_empty();
        let at = if back {
            (0..here.min(self.lines.len())).rev().find(|at| self.lines.get(*at).is_some_and(has))
        } else {
            (here + 1..self.lines.len()).find(|at| self.lines.get(*at).is_some_and(has))
        };
        if let Some(at) = at {
            self.top = Some(self.gone + at);
        }
        at.is_some()
    }

    /// How many lines have the sought text.
    pub fn matches(&self) -> usize {
        self.lines.iter().filter(|line| !found(line, &self.sought).is_empty()).count()
    }
}

/// Where in a line the text is, as ranges of bytes. A capital letter in it makes capitals count.
pub fn found(line: &str, sought: &str) -> Vec<(usize, usize)> {
    if sought.is_empty() {
        return Vec::new();
    }
    let exact = sought.chars().any(char::is_uppercase);
    let line = if exact { line.to_owned() } else { line.to_ascii_lowercase() };
    line.match_indices(sought).map(|(at, text)| (at, at + text.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: usize) -> Log {
        let mut log = Log { area: (4, 80), ..Log::of(1) };
        (0..lines).for_each(|n| log.push(&format!("line {n}\n")));
        log
    }

    #[test]
    fn pieces_become_lines() {
        let mut log = Log::of(1);
        ["a", "b\r\nc", "\n", "\n", "d"].iter().for_each(|piece| log.push(piece));
        assert_eq!(log.window(9).0, ["ab", "c", "", "d"]);
    }

    #[test]
    fn the_end_is_followed_until_one_scrolls() {
        let mut log = log(10);
        assert_eq!(log.window(4), (vec!["line 6", "line 7", "line 8", "line 9"], false));
        log.scroll(-2);
        assert_eq!(log.window(2), (vec!["line 4", "line 5"], true));
        log.push("more\n");
        assert_eq!(log.window(2).0, ["line 4", "line 5"]);
        log.scroll(99);
        assert!(log.follows());
        log.go_to_start();
        log.scroll(-5);
        assert_eq!(log.window(1).0, ["line 0"]);
    }

    #[test]
    fn what_is_sought_is_found_upwards_and_downwards() {
        let mut log = log(30);
        log.sought = "Line 1".to_owned();
        assert!(!log.seek(true), "a capital counts");
        log.sought = "line 1".to_owned();
        assert!(log.seek(true));
        assert_eq!(log.window(1).0, ["line 19"]);
        assert!(log.seek(true) && log.seek(false) && !log.seek(false));
        assert_eq!(log.matches(), 11);
        assert_eq!(found("a LINE line", "line"), [(2, 6), (7, 11)]);
    }

    #[test]
    fn memory_does_not_grow_with_the_log() {
        let mut log = Log { area: (4, 80), ..Log::of(1) };
        log.push("first\n");
        log.go_to_start();
        (0..40).for_each(|_| log.push(&format!("{}\n", "x".repeat(100_000))));
        assert!(log.bytes <= KEPT && log.lines.len() <= 32, "{}", log.bytes);
        log.scroll(-1);
        assert!(log.window(1).0.first().expect("a line").starts_with('x'));
        (0..1000).for_each(|_| log.push(&"y".repeat(1000)));
        assert!(log.bytes <= KEPT + LONGEST);
    }
}
