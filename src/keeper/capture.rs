//! The output of one attempt: in memory while it is small, then in a capped file.
//!
//! Past the cap the end of the output is kept by two segment files that take turns, so that head and
//! tail survive and the task never waits. Where the disk gives nothing more, a short head and tail of each
//! stream stay in memory, and the rest is counted.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::home;
use crate::output::{GAP, HEADER, LogReader, STDERR, STDOUT, Streams, VALUE, header};
use crate::secret::{Mask, Masked};

/// What one attempt may keep in memory.
const SMALL: usize = 64 * 1024;
/// The longest tail segment.
const SEGMENT: u64 = 1024 * 1024;
/// What is kept of each end of a stream when the disk is full.
const SHORT: usize = 4 * 1024;

/// The output of one attempt so far.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Capture {
    path: PathBuf,
    cap: u64,
    kept: Kept,
    #[serde(default)]
    masking: Option<Masking>,
}

/// What must not be seen in the output, and how far each stream went through it.
#[derive(Debug, Serialize, Deserialize)]
struct Masking {
    mask: Mask,
    streams: BTreeMap<u8, Masked>,
}

/// Where it is.
#[derive(Debug, Serialize, Deserialize)]
enum Kept {
    Memory(Frames),
    File(Spill),
    /// The disk is full.
    Short(Vec<Short>),
}

/// Frames in memory.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Frames {
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    /// Where the last frame begins.
    last: Option<usize>,
}

/// A log file. `Handle`s are opened again after the keeper has replaced itself.
#[derive(Debug, Serialize, Deserialize)]
struct Spill {
    file: Handle,
    /// Bytes in the file.
    written: u64,
    tail: Option<Tail>,
}

/// What came after the cap.
#[derive(Debug, Serialize, Deserialize)]
struct Tail {
    current: Handle,
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

/// Both ends of a stream.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Short {
    stream: u8,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    lost: u64,
}

/// A file that is written at its end.
#[derive(Debug, Deserialize)]
#[serde(try_from = "PathBuf")]
struct Handle {
    path: PathBuf,
    file: File,
}

/// What is left when the attempt has ended.
#[derive(Debug, Default)]
pub(super) struct Captured {
    pub frames: Vec<u8>,
    pub spilled: bool,
    pub dropped: u64,
}

impl Capture {
    pub(super) fn new(path: PathBuf, cap: u64) -> Self {
        Self { path, cap, kept: Kept::Memory(Frames::default()), masking: None }
    }

    /// Bytes held in memory.
    pub(super) fn in_memory(&self) -> usize {
        match &self.kept {
            Kept::Memory(frames) => frames.bytes.len(),
            Kept::File(_) => 0,
            Kept::Short(streams) => streams.iter().map(|short| short.head.len() + short.tail.len()).sum(),
        }
    }

    /// Whether it is in its file.
    pub(super) fn is_in_file(&self) -> bool {
        matches!(self.kept, Kept::File(_))
    }

    /// Masks all that it takes from now on.
    pub(super) fn mask(&mut self, mask: Mask) {
        self.masking = Some(Masking { mask, streams: BTreeMap::new() });
    }

    /// A text about the attempt, without what its output must not show.
    pub(super) fn masked(&self, text: String) -> String {
        match &self.masking {
            Some(masking) => masking.mask.text(&text),
            None => text,
        }
    }

    /// Takes what was read from a pipe. `room`: whether the total budget has room for it in memory.
    pub(super) fn take(&mut self, stream: u8, bytes: &[u8], room: bool) {
        let Some(Masking { mask, streams }) = &mut self.masking else { return self.keep(stream, bytes, room) };
        let mut shown = Vec::with_capacity(bytes.len());
        streams.entry(stream).or_default().push(mask, bytes, &mut shown);
        self.keep(stream, &shown, room);
    }

    fn keep(&mut self, stream: u8, bytes: &[u8], room: bool) {
        if bytes.is_empty() {
            return;
        }
        if let Kept::Memory(frames) = &mut self.kept {
            if room && frames.bytes.len() + HEADER + bytes.len() <= SMALL {
                return frames.push(stream, bytes);
            }
            self.spill();
        }
        let written = match &mut self.kept {
            Kept::File(spill) => spill.append(&self.path, self.cap, stream, bytes),
            Kept::Memory(_) | Kept::Short(_) => Ok(()),
        };
        if let Err(error) = written {
            self.shorten(&error);
        }
        if let Kept::Short(streams) = &mut self.kept {
            of_stream(streams, stream).push(bytes);
        }
    }

    /// Moves what is in memory to the file; what follows goes there at once.
    pub(super) fn spill(&mut self) {
        let Kept::Memory(frames) = &self.kept else { return };
        let made = Handle::create(self.path.clone()).and_then(|mut file| {
            file.file.write_all(&frames.bytes)?;
            Ok(Spill { file, written: frames.bytes.len() as u64, tail: None })
        });
        match made {
            Ok(spill) => self.kept = Kept::File(spill),
            Err(error) => self.shorten(&error),
        }
    }

    /// The disk gives nothing more: what there is shrinks to both ends of each stream, and its files go.
    pub(super) fn shorten(&mut self, why: &dyn Display) {
        tracing::warn!(path = %self.path.display(), err = %why, "output is cut short: it cannot be written");
        let mut log = match &mut self.kept {
            Kept::Memory(frames) => LogReader::from_bytes(std::mem::take(&mut frames.bytes)),
            Kept::File(_) => LogReader::open(&self.path).unwrap_or_else(|_| LogReader::from_bytes(Vec::new())),
            Kept::Short(_) => return,
        };
        let mut streams = Vec::new();
        for stream in [STDOUT, STDERR, VALUE] {
            let (head, upto, size) = log.read(Streams::One(stream), 0, SHORT);
            let tail_from = size.saturating_sub(SHORT as u64).max(upto);
            let (tail, ..) = log.read(Streams::One(stream), i64::try_from(tail_from).unwrap_or(i64::MAX), SHORT);
            if size > 0 {
                streams.push(Short { stream, head, tail: tail.into(), lost: tail_from - upto });
            }
        }
        if let Kept::File(Spill { tail: Some(tail), .. }) = &self.kept {
            // Which stream they were of is not known any more.
            of_stream(&mut streams, STDOUT).lost += tail.lost + tail.held.0 + tail.held.1;
        }
        for path in [self.path.clone(), segment_path(&self.path, false), segment_path(&self.path, true)] {
            drop(std::fs::remove_file(path));
        }
        self.kept = Kept::Short(streams);
    }

    /// Puts head and tail together and gives what is left.
    pub(super) fn finish(mut self) -> Captured {
        for (stream, mut held) in self.masking.take().into_iter().flat_map(|masking| masking.streams) {
            let mut shown = Vec::new();
            held.finish(&mut shown);
            self.keep(stream, &shown, true);
        }
        match self.kept {
            Kept::Memory(frames) => Captured { frames: frames.bytes, ..Captured::default() },
            Kept::File(mut spill) => {
                let mut dropped = 0;
                if let Some(tail) = spill.tail.take() {
                    dropped += tail.lost;
                    // A tail that cannot be joined is lost; the head and the count stay.
                    if tail.join(&self.path, &mut spill.file.file).is_err() {
                        dropped += tail.held.0 + tail.held.1;
                    }
                }
                Captured { frames: Vec::new(), spilled: true, dropped }
            }
            Kept::Short(streams) => {
                let mut frames = Frames::default();
                let dropped = streams.iter().map(|short| short.lost).sum::<u64>();
                for mut short in streams {
                    frames.push(short.stream, &short.head);
                    if short.lost > 0 {
                        frames.push(GAP, &short.lost.to_le_bytes());
                    }
                    frames.push(short.stream, short.tail.make_contiguous());
                }
                Captured { frames: frames.bytes, spilled: false, dropped }
            }
        }
    }
}

impl Frames {
    fn push(&mut self, stream: u8, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(last) = self.last
            && self.bytes[last] == stream
        {
            let length = self.bytes.len() - last - HEADER + bytes.len();
            self.bytes[last..last + HEADER].copy_from_slice(&header(stream, length));
        } else {
            self.last = Some(self.bytes.len());
            self.bytes.extend(header(stream, bytes.len()));
        }
        self.bytes.extend(bytes);
    }
}

fn of_stream(streams: &mut Vec<Short>, stream: u8) -> &mut Short {
    let place = streams.iter().position(|short| short.stream == stream).unwrap_or_else(|| {
        streams.push(Short { stream, ..Short::default() });
        streams.len() - 1
    });
    &mut streams[place]
}

impl Short {
    fn push(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(SHORT.saturating_sub(self.head.len())));
        // A head that was cut stays as it is, or it would not be the beginning.
        if self.tail.is_empty() && self.lost == 0 {
            self.head.extend(head);
            self.tail.extend(rest);
        } else {
            self.tail.extend(bytes);
        }
        let over = self.tail.len().saturating_sub(SHORT);
        self.tail.drain(..over);
        self.lost += over as u64;
    }
}

impl Spill {
    fn append(&mut self, path: &Path, cap: u64, stream: u8, bytes: &[u8]) -> io::Result<()> {
        let length = (HEADER + bytes.len()) as u64;
        let segment = SEGMENT.min(cap / 4);
        if self.tail.is_none() {
            if self.written + length + 2 * segment <= cap {
                self.written += length;
                return write_frame(&mut self.file.file, stream, bytes);
            }
            self.tail = Some(Tail::open(path)?);
        }
        self.tail.as_mut().map_or(Ok(()), |tail| tail.write(path, segment, stream, bytes))
    }
}

impl Tail {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            current: Handle::create(segment_path(path, false))?,
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
            self.current = Handle::create(segment_path(path, self.second))?;
            self.other = self.length;
            self.length = 0;
            self.lost += self.held.1;
            self.held = (0, self.held.0);
        }
        write_frame(&mut self.current.file, stream, bytes)?;
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
                io::copy(&mut home::open_file(&segment, File::options().read(true))?, file)?;
            }
            drop(std::fs::remove_file(segment));
        }
        Ok(())
    }
}

impl Handle {
    fn create(path: PathBuf) -> io::Result<Self> {
        let file = home::new_file(&path)?;
        Ok(Self { path, file })
    }
}

impl TryFrom<PathBuf> for Handle {
    type Error = io::Error;

    fn try_from(path: PathBuf) -> io::Result<Self> {
        let file = home::open_file(&path, File::options().append(true))?;
        Ok(Self { path, file })
    }
}

impl Serialize for Handle {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.path.serialize(serializer)
    }
}

fn segment_path(path: &Path, second: bool) -> PathBuf {
    path.with_extension(if second { "tail2" } else { "tail1" })
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

    #[test]
    fn without_a_disk_both_ends_stay_and_the_rest_is_counted() {
        let (folder, mut capture) = capture(1 << 30);
        capture.take(STDERR, b"a warning\n", true);
        capture.spill();
        let lines: Vec<String> = (0..20_000).map(|i| format!("line {i}\n")).collect();
        let total: usize = lines.iter().map(String::len).sum();
        for (i, chunk) in lines.chunks(1000).enumerate() {
            if i == 10 {
                capture.shorten(&io::ErrorKind::StorageFull);
            }
            capture.take(STDOUT, chunk.concat().as_bytes(), true);
        }
        let captured = capture.finish();
        assert!(!captured.spilled);
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
        let mut log = LogReader::from_bytes(captured.frames);
        assert_eq!(log.size(Streams::One(STDOUT)), 2 * SHORT as u64);
        assert_eq!(captured.dropped, (total - 2 * SHORT) as u64);
        let (text, omitted) = log.head_tail(STDOUT, 1 << 20);
        let text = String::from_utf8(text).expect("text");
        assert!(text.starts_with("line 0\n") && text.ends_with("line 19999\n"), "{text}");
        assert_eq!(omitted, captured.dropped);
        assert_eq!(log.read(Streams::One(STDERR), 0, 100).0, b"a warning\n");
    }

    #[test]
    fn a_capture_goes_on_after_the_keeper_replaced_itself() {
        let (folder, mut capture) = capture(400 * 1024);
        let lines: Vec<String> = (0..60_000).map(|i| format!("line {i}\n")).collect();
        for chunk in lines.chunks(1000) {
            capture.take(STDOUT, chunk.concat().as_bytes(), true);
            let state = rmp_serde::to_vec_named(&capture).expect("bytes");
            capture = rmp_serde::from_slice(&state).expect("the same");
        }
        let captured = capture.finish();
        let mut log = LogReader::open(&folder.path().join("1-1.log")).expect("the log");
        let text = String::from_utf8(log.head_tail(STDOUT, 1 << 20).0).expect("text");
        assert!(captured.dropped > 0 && text.starts_with("line 0\n") && text.ends_with("line 59999\n"));
    }
}
