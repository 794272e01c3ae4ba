//! The pages of a file that SQLite cannot or should not read any more: the latest committed version of each, from the
//! write-ahead log where it has one (sqlite.org/fileformat2.html).

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::queue::open::PAGE_BYTES;

const MAGIC: &[u8] = b"SQLite format 3\0";
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// A file and its log, to be read by page.
pub(super) struct Pages {
    file: File,
    log: Option<File>,
    /// Where the log has a page's latest committed version.
    logged: HashMap<u32, u64>,
    size: usize,
    /// Bytes of a page that hold content.
    pub usable: usize,
    pub count: u32,
}

impl Pages {
    pub(super) fn open(path: &Path, log: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let log = match File::open(log) {
            Ok(log) => Some(log),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut header = [0; 100];
        let read = read_up_to(&file, &mut header, 0)?;
        let has_magic = read == header.len() && header.starts_with(MAGIC);
        let size = match usize::from(u16::from_be_bytes([header[16], header[17]])) {
            1 => 65_536,
            size if has_magic && size.is_power_of_two() && size >= 512 => size,
            _ => usize::try_from(PAGE_BYTES).unwrap_or(4096),
        };
        // A queue's pages reserve nothing.
        let mut pages = Self { logged: HashMap::new(), size, usable: size, count: 0, file, log };
        pages.count = u32::try_from(pages.file.metadata()?.len() / size as u64).unwrap_or(u32::MAX);
        if let Some(log) = &pages.log {
            let (logged, count) = committed(log, size)?;
            pages.count = pages.count.max(count);
            pages.logged = logged;
        }
        Ok(pages)
    }

    /// A page, if it can be read whole.
    pub(super) fn read(&self, number: u32) -> Option<Vec<u8>> {
        let mut page = vec![0; self.size];
        let (file, at) = match (self.logged.get(&number), &self.log) {
            (Some(at), Some(log)) => (log, *at),
            _ => (&self.file, u64::from(number.checked_sub(1)?) * self.size as u64),
        };
        file.read_exact_at(&mut page, at).ok()?;
        Some(page)
    }

    /// What the map of an auto-vacuumed file says of a page: its kind and its parent.
    pub(super) fn mapped(&self, number: u32) -> Option<(u8, u32)> {
        let group = u32::try_from(self.usable / 5 + 1).ok()?;
        let map = number.checked_sub(2)? / group * group + 2;
        let at = usize::try_from(number.checked_sub(map + 1)?).ok()? * 5;
        let page = self.read(map)?;
        Some((*page.get(at)?, u32_at(&page, at + 1)?))
    }
}

/// A big-endian number.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn read_up_to(file: &File, into: &mut [u8], mut at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match file.read_at(&mut into[read..], at)? {
            0 => break,
            bytes => {
                read += bytes;
                at += bytes as u64;
            }
        }
    }
    Ok(read)
}

/// Where the committed pages of a log are, and how many pages the file then has. A log ends where the first frame is
/// not its own or not whole: so it looks after a power cut, too.
fn committed(log: &File, size: usize) -> io::Result<(HashMap<u32, u64>, u32)> {
    let (mut pages, mut pending, mut count) = (HashMap::new(), Vec::new(), 0);
    let mut header = [0; LOG_HEADER];
    let whole = read_up_to(log, &mut header, 0)? == LOG_HEADER;
    let magic = u32_at(&header, 0).unwrap_or(0);
    let mut sum = Checksum { big_endian: magic & 1 == 1, parts: (0, 0) };
    sum.add(&header[..24]);
    if !whole || magic & !1 != 0x377f_0682 || u32_at(&header, 8) != u32::try_from(size).ok() || !sum.is(&header[24..]) {
        return Ok((pages, count));
    }
    let mut frame = vec![0; FRAME_HEADER + size];
    let mut at = LOG_HEADER as u64;
    while read_up_to(log, &mut frame, at)? == frame.len() {
        sum.add(&frame[..8]);
        sum.add(&frame[FRAME_HEADER..]);
        if frame[8..16] != header[16..24] || !sum.is(&frame[16..24]) {
            break;
        }
        pending.push((u32_at(&frame, 0).unwrap_or(0), at + FRAME_HEADER as u64));
        // The last frame of a transaction says how many pages the file has.
        match u32_at(&frame, 4) {
            None | Some(0) => {}
            Some(after) => {
                pages.extend(pending.drain(..));
                count = after;
            }
        }
        at += frame.len() as u64;
    }
    Ok((pages, count))
}

/// The log's running checksum.
struct Checksum {
    big_endian: bool,
    parts: (u32, u32),
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        let word = |four: &[u8]| {
            let four = four.try_into().unwrap_or_default();
            if self.big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
        };
        let (mut one, mut two) = self.parts;
        for pair in bytes.chunks_exact(8) {
            one = one.wrapping_add(word(&pair[..4])).wrapping_add(two);
            two = two.wrapping_add(word(&pair[4..])).wrapping_add(one);
        }
        self.parts = (one, two);
    }

    fn is(&self, stored: &[u8]) -> bool {
        u32_at(stored, 0) == Some(self.parts.0) && u32_at(stored, 4) == Some(self.parts.1)
    }
}
