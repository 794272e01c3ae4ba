//! What an attempt wrote: the framed log, and the result made from it. Pure but for reading log files.
//!
//! A log is a sequence of frames, each `[stream: u8][length: u32 LE][payload]`, in the order in which
//! the keeper read them. A gap frame says how much was left out where it stands.

mod answer;
mod reader;
mod result;
mod search;

use std::path::{Path, PathBuf};

pub use answer::{Answer, LONGEST_ANSWER};
pub use reader::{LogReader, Marks, Streams};
pub use result::plain_result;
pub use search::{Found, Search};

use crate::task::TaskId;

/// The stream of standard output.
pub const STDOUT: u8 = 1;
/// The stream of standard error.
pub const STDERR: u8 = 2;
/// The stream of a function's value (`custom_function`); part of no log.
pub const VALUE: u8 = 3;
/// A gap: the payload is how many bytes are missing here, a `u64` LE.
pub const GAP: u8 = 0xFF;
/// Bytes before a payload.
pub const HEADER: usize = 5;

/// The header of a frame.
#[expect(clippy::cast_possible_truncation, reason = "a frame is at most one read of a pipe")]
pub fn header(stream: u8, length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = (length as u32).to_le_bytes();
    [stream, a, b, c, d]
}

/// Frames in memory, without those of one stream.
pub fn without(frames: &[u8], stream: u8) -> Vec<u8> {
    let (mut kept, mut rest) = (Vec::new(), frames);
    while let Some((&[of, a, b, c, d], more)) = rest.split_first_chunk::<HEADER>() {
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let (frame, after) = rest.split_at(rest.len().min(HEADER + length));
        if of != stream {
            kept.extend_from_slice(frame);
        }
        rest = if more.len() < length { &[] } else { after };
    }
    kept
}

/// The file's name of an attempt's log in the output folder.
pub fn file_name(task_id: TaskId, attempt: u32) -> String {
    format!("{task_id}-{attempt}.log")
}

/// The file of an attempt's log.
pub fn log_file(output_dir: &Path, task_id: TaskId, attempt: u32) -> PathBuf {
    output_dir.join(file_name(task_id, attempt))
}
