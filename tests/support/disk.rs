//! A disk that is asked what a record of the shim says, and loses its power.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What the disk was asked, and what the daemon said to its clients in between.
#[derive(Debug)]
pub enum Event {
    Created(String),
    Written {
        name: String,
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncated {
        name: String,
        length: usize,
    },
    /// A file's writes and length.
    Synced(String),
    /// The names in the folder.
    FolderSynced,
    Unlinked(String),
    /// One answer, as it was about to be sent.
    Answered(serde_json::Value),
}

/// Reads a record.
pub fn events(record: &Path) -> Vec<Event> {
    let bytes = std::fs::read(record).expect("a record");
    let mut rest = bytes.as_slice();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').expect("a line");
        let line = std::str::from_utf8(&rest[..end]).expect("a line of text");
        rest = &rest[end + 1..];
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<usize>().expect("a number");
        let mut take = |length: usize| {
            let taken = rest[..length].to_vec();
            rest = &rest[length + 1..];
            taken
        };
        match words[0] {
            "C" => events.push(Event::Created(words[1].into())),
            "W" => events.push(Event::Written { name: words[1].into(), offset: number(2), bytes: take(number(3)) }),
            "T" => events.push(Event::Truncated { name: words[1].into(), length: number(2) }),
            "S" if words[1] == "." => events.push(Event::FolderSynced),
            "S" => events.push(Event::Synced(words[1].into())),
            "U" => events.push(Event::Unlinked(words[1].into())),
            "A" => {
                let lines = take(number(1));
                let answers = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                events.extend(answers.map(|line| Event::Answered(serde_json::from_slice(line).expect("an answer"))));
            }
            _ => panic!("not understood: {line}"),
        }
    }
    events
}

/// Decides what of the unsynced a power cut takes.
pub trait Fate {
    /// Whether a change that was not synced is on the disk all the same.
    fn survives(&mut self) -> bool;
    /// The unit in which a write may be torn.
    fn sector(&self) -> usize;
}

/// A change of a file that was not synced yet.
#[derive(Debug, Clone)]
enum Change<'e> {
    Write(usize, &'e [u8]),
    Truncate(usize),
}

/// A file: what is on the disk for sure, and what may be.
#[derive(Debug, Clone, Default)]
struct File<'e> {
    durable: Vec<u8>,
    pending: Vec<Change<'e>>,
}

/// A disk that is asked what a record says, and loses its power.
#[derive(Debug, Default)]
pub struct Disk<'e> {
    files: Vec<File<'e>>,
    /// The names as a running program sees them, and as they are on the disk for sure.
    names: BTreeMap<&'e str, usize>,
    durable_names: BTreeMap<&'e str, usize>,
}

impl<'e> Disk<'e> {
    pub fn ask(&mut self, event: &'e Event) {
        match event {
            Event::Created(name) => {
                self.names.insert(name, self.files.len());
                self.files.push(File::default());
            }
            Event::Written { name, offset, bytes } => self.file(name).pending.push(Change::Write(*offset, bytes)),
            Event::Truncated { name, length } => self.file(name).pending.push(Change::Truncate(*length)),
            Event::Synced(name) => {
                let file = self.file(name);
                for change in std::mem::take(&mut file.pending) {
                    change.apply(&mut file.durable, None);
                }
            }
            Event::FolderSynced => self.durable_names = self.names.clone(),
            Event::Unlinked(name) => drop(self.names.remove(name.as_str())),
            Event::Answered(_) => {}
        }
    }

    fn file(&mut self, name: &str) -> &mut File<'e> {
        let file = self.names[name];
        &mut self.files[file]
    }

    /// The files after a power cut now. Without a fate all that was asked is on the disk.
    pub fn image(&self, mut fate: Option<&mut dyn Fate>) -> BTreeMap<&'e str, Vec<u8>> {
        let mut image = BTreeMap::new();
        let every_name: BTreeSet<&str> = self.names.keys().chain(self.durable_names.keys()).copied().collect();
        for name in every_name {
            let (now, before) = (self.names.get(name), self.durable_names.get(name));
            let survives = now == before || fate.as_mut().is_none_or(|fate| fate.survives());
            let Some(file) = (if survives { now } else { before }) else { continue };
            let file = &self.files[*file];
            let mut bytes = file.durable.clone();
            for change in &file.pending {
                change.apply(&mut bytes, fate.as_mut().map(|fate| &mut **fate as &mut dyn Fate));
            }
            image.insert(name, bytes);
        }
        image
    }
}

impl Change<'_> {
    fn apply(&self, file: &mut Vec<u8>, fate: Option<&mut dyn Fate>) {
        match (self, fate) {
            (Change::Truncate(length), None) => file.resize(*length, 0),
            (Change::Truncate(length), Some(fate)) => {
                if fate.survives() {
                    file.resize(*length, 0);
                }
            }
            (Change::Write(offset, bytes), None) => put(file, *offset, bytes),
            (Change::Write(offset, bytes), Some(fate)) => {
                let sector = fate.sector();
                let mut at = *offset;
                while at < offset + bytes.len() {
                    let next = ((at / sector + 1) * sector).min(offset + bytes.len());
                    if fate.survives() {
                        put(file, at, &bytes[at - offset..next - offset]);
                    }
                    at = next;
                }
            }
        }
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}
