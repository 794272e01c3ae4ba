//! Cuts JSON text into values without keeping more than one of them.

use std::io::{self, BufRead, ErrorKind};

use super::MAX_TASK_BYTES;

/// Reads JSON byte by byte and knows where it is.
#[derive(Debug)]
pub struct Scanner<R> {
    source: R,
    /// Bytes read so far.
    pub position: u64,
}

impl<R: BufRead> Scanner<R> {
    /// A scanner of `source`, which is at `position` of its file.
    pub fn new(source: R, position: u64) -> Self {
        Self { source, position }
    }

    /// The next byte, left in place.
    pub fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.source.fill_buf() {
                Ok(buffer) => return Ok(buffer.first().copied()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the byte that was peeked at.
    pub fn skip(&mut self) {
        self.source.consume(1);
        self.position += 1;
    }

    /// The next byte that is not white space (nor a byte order mark), left in place.
    pub fn peek_token(&mut self) -> io::Result<Option<u8>> {
        while let Some(byte) = self.peek()? {
            let mark = self.position < 3 && [0xef, 0xbb, 0xbf].contains(&byte);
            if !byte.is_ascii_whitespace() && !mark {
                return Ok(Some(byte));
            }
            self.skip();
        }
        Ok(None)
    }

    /// Takes one value; its text goes to `text` if that is given. Brackets are counted, not matched:
    /// what is inside is for the parser. False: the text ended, or the value is too long to be kept.
    pub fn value(&mut self, mut text: Option<&mut Vec<u8>>) -> io::Result<bool> {
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        let mut begun = false;
        while let Some(byte) = self.peek()? {
            if !in_string && depth == 0 && begun && (b",]}:".contains(&byte) || byte.is_ascii_whitespace()) {
                return Ok(true);
            }
            self.skip();
            begun = true;
            if let Some(text) = &mut text {
                if text.len() >= MAX_TASK_BYTES {
                    return Ok(false);
                }
                text.push(byte);
            }
            let mut closed = false;
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => {
                    in_string = !in_string;
                    closed = !in_string;
                }
                _ if in_string => {}
                b'[' | b'{' => depth += 1,
                b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    closed = true;
                }
                _ => {}
            }
            if closed && depth == 0 {
                return Ok(true);
            }
        }
        Ok(begun && depth == 0 && !in_string)
    }
}
