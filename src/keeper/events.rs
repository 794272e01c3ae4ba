//! The ordered stream of what happened, each event kept until the daemon has it on disk.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::protocol::{Inbox, KeeperEvent, encode};
use crate::failpoint;
use crate::home;
use crate::task::ClaimId;

/// Events that the daemon has not taken.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Untaken {
    events: VecDeque<(u64, KeeperEvent)>,
    next_seq: u64,
    /// The claims whose ends are among them.
    ended: BTreeSet<ClaimId>,
    /// The number of the latest end.
    #[serde(default)]
    last_end: u64,
    /// Bytes of output that they hold.
    output: usize,
}

impl Default for Untaken {
    fn default() -> Self {
        Self { events: VecDeque::new(), next_seq: 1, ended: BTreeSet::new(), last_end: 0, output: 0 }
    }
}

impl Untaken {
    pub(super) fn push(&mut self, event: KeeperEvent) {
        if let KeeperEvent::Ended(end) = &event {
            self.ended.insert(end.claim);
            self.last_end = self.next_seq;
            self.output += end.frames.len();
        }
        self.events.push_back((self.next_seq, event));
        self.next_seq += 1;
    }

    /// Forgets the events up to `upto`; gives the claims whose ends were among them.
    pub(super) fn taken(&mut self, upto: u64) -> Vec<ClaimId> {
        let mut ended = Vec::new();
        while self.events.front().is_some_and(|(seq, _)| *seq <= upto) {
            if let Some((_, KeeperEvent::Ended(end))) = self.events.pop_front() {
                self.ended.remove(&end.claim);
                self.output -= end.frames.len();
                ended.push(end.claim);
            }
        }
        ended
    }

    /// The events from number `from` on.
    pub(super) fn since(&self, from: u64) -> impl Iterator<Item = &(u64, KeeperEvent)> {
        let start = self.events.partition_point(|(seq, _)| *seq < from);
        self.events.range(start..)
    }

    /// Whether there is an event numbered `from` or later.
    pub(super) fn has_since(&self, from: u64) -> bool {
        self.events.back().is_some_and(|(seq, _)| *seq >= from)
    }

    /// Whether an end is among them.
    pub(super) const fn has_end_since(&self, from: u64) -> bool {
        self.last_end >= from
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The claims that have ended.
    pub(super) const fn ended(&self) -> &BTreeSet<ClaimId> {
        &self.ended
    }

    /// Bytes of output that the events hold.
    pub(super) const fn output(&self) -> usize {
        self.output
    }

    /// Writes the events to a file that the next keeper reads; durable when this returns.
    pub(super) fn store(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file = home::new_file(&temporary)?;
        for (_, event) in &self.events {
            file.write_all(&encode(event)?)?;
        }
        file.sync_all()?;
        failpoint::reach("keeper-storing-ends");
        std::fs::rename(&temporary, path)?;
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        File::open(folder)?.sync_all()
    }

    /// The events that an earlier keeper left; none if it left no file. The file stays until they are taken.
    pub(super) fn load(path: &Path) -> io::Result<Self> {
        let mut inbox = Inbox::default();
        match home::open_file(path, File::options().read(true)) {
            Ok(mut file) => drop(file.read_to_end(inbox.space())?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut untaken = Self::default();
        while let Some(event) = inbox.take()? {
            untaken.push(event);
        }
        Ok(untaken)
    }
}
