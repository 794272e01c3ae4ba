//! The output of one attempt: in memory while it is small, then in a capped file.
//!
//! Past the cap the end of the output is kept by two segment files that take turns, so that head and
//! tail survive and the task never waits. Where the disk gives nothing more, the rest is counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::output::{GAP, HEADER, header};

/// What one attempt may keep in memory.
const SMALL: usize = 64 * 1024;
/// The longest tail segment.
const SEGMENT: u64 = 1024 * 1024;

/// The output of one attempt so far.
#[derive(Debug)]
pub(super) struct Capture {
    path: PathBuf,
    frames: Vec<u8>,
    /// Where the last frame in memory begins.
    last: Option<usize>,
    file: Option<File>,
    /// Bytes in the file.
    written: u64,
    cap: u64,
    tail: Option<Tail>,
    dropped: u64,
    failed: bool,
}

/// What came after the cap.
#[derive(Debug)]
struct Tail {
    current: File,
    length: u64,
    /// Length of the other segment, which is whole.
    other: u64,
    /// Which of the two is current.
    second: bool,
    /// Payload bytes that were in segments since overwritten.
    lost: u64,
    /// Payload bytes in the current and the other segment.
    held: (u64, u64),
}

/// What is left when the attempt has ended.
#[derive(Debug, Default)]
pub(super) struct Captured {
    pub frames: Vec<u8>,
    pub spilled: bool,
    pub dropped: u64,
}

impl Capture {
    pub(super) const fn new(path: PathBuf, cap: u64) -> Self {
        Self {
            path,
            frames: Vec::new(),
            last: None,
            file: None,
            written: 0,
            cap,
            tail: None,
            dropped: 0,
            failed: false,
        }
    }

    /// Bytes held in memory.
    pub(super) const fn in_memory(&self) -> usize {
        self.frames.len()
    }

    /// Takes what was read from a pipe. `room`: whether the total budget has room for it in memory.
    pub(super) fn take(&mut self, stream: u8, bytes: &[u8], room: bool) {
        if self.failed {
            self.dropped += bytes.len() as u64;
            return;
        }
        if self.file.is_none() {
            if room && self.frames.len() + HEADER + bytes.len() <= SMALL {
                self.remember(stream, bytes);
                return;
            }
            self.spill();
        }
        self.append(stream, bytes);
    }

    /// Moves what is in memory to the file; what follows goes there at once.
    pub(super) fn spill(&mut self) {
        if self.file.is_some() || self.failed {
            return;
        }
        match create(&self.path).and_then(|mut file| file.write_all(&self.frames).map(|()| file)) {
            Ok(file) => {
                self.written = self.frames.len() as u64;
                self.file = Some(file);
                self.frames = Vec::new();
                self.last = None;
            }
            Err(_) => self.fail(),
        }
    }

    fn remember(&mut self, stream: u8, bytes: &[u8]) {
        if let Some(last) = self.last
            && self.frames[last] == stream
        {
            let length = self.frames.len() - last - HEADER + bytes.len();
            self.frames[last..last + HEADER].copy_from_slice(&header(stream, length));
        } else {
            self.last = Some(self.frames.len());
            self.frames.extend(header(stream, bytes.len()));
        }
        self.frames.extend(bytes);
    }

    fn append(&mut self, stream: u8, bytes: &[u8]) {
        if self.failed {
            self.dropped += bytes.len() as u64;
            return;
        }
        let length = (HEADER + bytes.len()) as u64;
        let segment = SEGMENT.min(self.cap / 4);
        let written = match (&mut self.tail, &mut self.file) {
            (None, Some(file)) if self.written + length + 2 * segment <= self.cap => {
                self.written += length;
                write_frame(file, stream, bytes)
            }
            (None, _) => Tail::open(&self.path).and_then(|mut tail| {
                tail.write(&self.path, segment, stream, bytes)?;
                self.tail = Some(tail);
                Ok(())
            }),
            (Some(tail), _) => tail.write(&self.path, segment, stream, bytes),
        };
        if written.is_err() {
            self.dropped += bytes.len() as u64;
            self.fail();
        }
    }

    /// The disk gives nothing more: what is there stays, the rest is counted.
    fn fail(&mut self) {
        self.failed = true;
        if self.file.is_none() {
            drop(std::fs::remove_file(&self.path));
        }
    }

    /// Puts head and tail together and gives what is left.
    pub(super) fn finish(mut self) -> Captured {
        if let (Some(tail), Some(file)) = (self.tail.take(), &mut self.file) {
            self.dropped += tail.lost;
            // A tail that cannot be joined is lost; the head and the count stay.
            if tail.join(&self.path, file).is_err() {
                self.dropped += tail.held.0 + tail.held.1;
            }
        }
        Captured { frames: self.frames, spilled: self.file.is_some(), dropped: self.dropped }
    }
}

impl Tail {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            current: create(&segment_path(path, false))?,
            length: 0,
            other: 0,
            second: false,
            lost: 0,
            held: (0, 0),
        })
    }

    fn write(&mut self, path: &Path, segment: u64, stream: u8, bytes: &[u8]) -> io::Result<()> {
        if self.length > 0 && self.length + (HEADER + bytes.len()) as u64 > segment {
            self.second = !self.second;
            self.current = create(&segment_path(path, self.second))?;
            self.other = self.length;
            self.length = 0;
            self.lost += self.held.1;
            self.held = (0, self.held.0);
        }
        write_frame(&mut self.current, stream, bytes)?;
        self.length += (HEADER + bytes.len()) as u64;
        self.held.0 += bytes.len() as u64;
        Ok(())
    }

    fn join(&self, path: &Path, file: &mut File) -> io::Result<()> {
        if self.lost > 0 {
            write_frame(file, GAP, &self.lost.to_le_bytes())?;
        }
        for (second, length) in [(!self.second, self.other), (self.second, self.length)] {
            let segment = segment_path(path, second);
            if length > 0 {
                io::copy(&mut File::open(&segment)?, file)?;
            }
            drop(std::fs::remove_file(segment));
        }
        Ok(())
    }
}

fn segment_path(path: &Path, second: bool) -> PathBuf {
    path.with_extension(if second { "tail2" } else { "tail1" })
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)
}

/// Header and payload in one write, so that a reader meets a frame whole or not yet.
fn write_frame(file: &mut File, stream: u8, bytes: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(HEADER + bytes.len());
    frame.extend(header(stream, bytes.len()));
    frame.extend(bytes);
    file.write_all(&frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{LogReader, STDERR, STDOUT, Streams};

    fn capture(cap: u64) -> (tempfile::TempDir, Capture) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("1-1.log");
        (folder, Capture::new(path, cap))
    }

    #[test]
    fn small_output_stays_in_memory_and_frames_merge() {
        let (_folder, mut capture) = capture(1 << 30);
        for (stream, bytes) in [(STDOUT, "a"), (STDOUT, "b"), (STDERR, "c")] {
            capture.take(stream, bytes.as_bytes(), true);
        }
        let captured = capture.finish();
        assert!(!captured.spilled);
        assert_eq!(captured.frames.len(), 2 * HEADER + 3);
        assert_eq!(LogReader::from_bytes(captured.frames).read(Streams::Both, 0, 9).0, b"abc");
    }

    #[test]
    fn past_the_cap_head_and_tail_are_kept_and_the_rest_is_counted() {
        let (folder, mut capture) = capture(400 * 1024);
        let lines: Vec<String> = (0..200_000).map(|i| format!("line {i}\n")).collect();
        let total: usize = lines.iter().map(String::len).sum();
        for chunk in lines.chunks(1000) {
            capture.take(STDOUT, chunk.concat().as_bytes(), true);
        }
        let captured = capture.finish();
        let mut log = LogReader::open(&folder.path().join("1-1.log")).expect("the log");
        let size = log.size(Streams::Both);
        assert!(captured.spilled && captured.frames.is_empty());
        assert_eq!(size + captured.dropped, total as u64);
        assert!(size <= 400 * 1024, "{size}");
        let (text, omitted) = log.head_tail(STDOUT, 1 << 20);
        let text = String::from_utf8(text).expect("text");
        assert_eq!(omitted, captured.dropped);
        assert!(text.starts_with("line 0\n") && text.ends_with("line 199999\n"));
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1);
    }
}
