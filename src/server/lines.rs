//! Bytes that come in any pieces, cut into lines of bounded length.

/// What a client sends, line by line.
#[derive(Debug, Default)]
pub struct Lines {
    input: Vec<u8>,
    /// How much of `input` is known to hold no newline.
    scanned: usize,
    /// The rest of a line that was too long is being skipped.
    skipping: bool,
    longest: usize,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Without its newline.
    Whole(Vec<u8>),
    /// Said once, as soon as it is known; nothing of it is kept.
    TooLong,
}

impl Lines {
    /// Lines of at most `longest` bytes.
    pub fn new(longest: u64) -> Self {
        Self { longest: usize::try_from(longest).unwrap_or(usize::MAX), ..Self::default() }
    }

    /// Takes what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next line, if it is whole, or known to be too long.
    pub fn next_line(&mut self) -> Option<Line> {
        loop {
            let Some(end) = self.input[self.scanned..].iter().position(|byte| *byte == b'\n') else {
                return self.unfinished();
            };
            let rest = self.input.split_off(self.scanned + end + 1);
            let mut line = std::mem::replace(&mut self.input, rest);
            self.scanned = 0;
            if !std::mem::take(&mut self.skipping) {
                line.pop();
                return Some(if line.len() > self.longest { Line::TooLong } else { Line::Whole(line) });
            }
        }
    }

    fn unfinished(&mut self) -> Option<Line> {
        self.scanned = self.input.len();
        let too_long = !self.skipping && self.input.len() > self.longest;
        if self.skipping || too_long {
            self.input = Vec::new();
            self.scanned = 0;
            self.skipping = true;
        }
        too_long.then_some(Line::TooLong)
    }
}
