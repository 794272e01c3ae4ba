//! The way to the user: everything that the program writes to standard output and standard error goes through here.
//!
//! Names, errors, output and messages are others' text: what could drive the terminal is made visible. What is for
//! programs goes as it is into a pipe or a file.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

use batch_executor::visible::{is_driving, visible};
use comfy_table::Table;

/// Standard output or standard error, for text.
pub struct Screen {
    to: Box<dyn Write>,
    is_terminal: bool,
    /// The beginning of a character, or of a line end.
    held: Vec<u8>,
}

impl Screen {
    /// Standard output.
    pub fn out() -> Self {
        let out = io::stdout().lock();
        Self { is_terminal: out.is_terminal(), to: Box::new(out), held: Vec::new() }
    }

    /// Standard error.
    pub fn err() -> Self {
        let err = io::stderr().lock();
        Self { is_terminal: err.is_terminal(), to: Box::new(err), held: Vec::new() }
    }

    /// What `write!` calls.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        Write::write_fmt(self, text)
    }

    /// Writes what is held back.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        Write::flush(self)
    }

    /// A table, with its colours. What is in its cells was made visible there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn table(&mut self, table: &Table) -> io::Result<()> {
        self.flush()?;
        writeln!(self.to, "{}", table.trim_fmt())
    }

    /// A line of JSON. JSON escapes the older controls by itself; what else could drive a terminal is in its strings.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn json(&mut self, line: &str) -> io::Result<()> {
        self.flush()?;
        if !line.contains(is_driving) {
            return writeln!(self.to, "{line}");
        }
        let mut escaped = String::with_capacity(line.len() + 16);
        for character in line.chars() {
            // Writing to a string does not fail; every one of them is in the basic plane.
            let _ = match character {
                driving if is_driving(driving) => write!(escaped, "\\u{:04x}", u32::from(driving)),
                plain => escaped.write_char(plain),
            };
        }
        writeln!(self.to, "{escaped}")
    }

    /// Where what is for programs goes: as it is, unless a terminal would have to take it.
    pub fn data(&mut self) -> &mut dyn Write {
        if self.is_terminal { self } else { &mut self.to }
    }

    /// Where what the user wants as it is goes.
    pub fn raw(&mut self) -> &mut dyn Write {
        &mut self.to
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        let whole = self.held.len() - unfinished(&self.held);
        let text = String::from_utf8_lossy(&self.held[..whole]);
        self.to.write_all(visible(&text).as_bytes())?;
        self.held.drain(..whole);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.held);
        self.to.write_all(visible(&String::from_utf8_lossy(&rest)).as_bytes())?;
        self.to.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Who needs to know whether it could be written has flushed it.
        drop(self.flush());
    }
}

/// How many bytes at the end are the beginning of something.
fn unfinished(bytes: &[u8]) -> usize {
    if bytes.last() == Some(&b'\r') {
        return 1;
    }
    let begins =
        |tail: &[u8]| std::str::from_utf8(tail).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none());
    (1..=bytes.len().min(3)).find(|length| begins(&bytes[bytes.len() - length..])).unwrap_or(0)
}

/// A line on standard error; when that is closed there is nobody to tell.
pub fn say(text: &str) {
    drop(writeln!(Screen::err(), "{text}"));
}

/// Whether standard output is a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Clears the terminal; what follows begins at its top.
///
/// # Errors
/// When it cannot be written.
pub fn clear() -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(b"\x1b[H\x1b[2J")?;
    out.flush()
}

/// Whether standard output may have colours (`https://no-color.org`).
pub fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Paper(Rc<RefCell<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(write: impl FnOnce(&mut Screen)) -> String {
        let paper = Paper::default();
        let mut screen = Screen { to: Box::new(paper.clone()), is_terminal: true, held: Vec::new() };
        write(&mut screen);
        drop(screen);
        String::from_utf8(paper.0.take()).expect("text")
    }

    #[test]
    fn however_it_is_cut_it_is_made_visible() {
        let text = "é\u{9b}\r\n\u{202e}\u{1b}[m€\r".as_bytes();
        for size in 1..=text.len() {
            let pieces =
                |screen: &mut Screen| text.chunks(size).for_each(|piece| screen.write_all(piece).expect("written"));
            assert_eq!(shown(pieces), "é\\u{9b}\r\n\\u{202e}\\x1b[m€\\r", "{size}");
        }
        assert_eq!(shown(|screen| screen.write_all(b"\xc2").expect("written")), "\u{fffd}");
    }

    #[test]
    fn json_stays_the_same_json() {
        let line = "{\"a\":\"\u{7f}\u{9b}\u{202e}\\u001b\"}";
        let written = shown(|screen| screen.json(line).expect("written"));
        assert_eq!(written, "{\"a\":\"\\u007f\\u009b\\u202e\\u001b\"}\n");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(value(&written), value(line));
    }
}
