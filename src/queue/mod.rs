//! The only code that knows SQL: one writer, many readers, claims, recovery.
//!
//! - [`writer`]: the group commit and what an operation is; `settle`: what is claimed at the end of each group;
//!   `suspects`: care after the machine went down; [`outside`]: care while somebody else kills tasks.
//! - [`ops`]: the operations, a file for each. `decide`: what follows from an attempt's end, pure.
//! - [`read`]: status, pages of tasks, attempts, output; on connections that cannot write. `passing`: what passes a filter.
//! - [`salvage`]: a fresh queue from what can be read of a damaged one.
//! - `open`: pragmas and migrations. `db`: the connection that writes. [`clock`]: queue time. `memory`, `state`, `tx`: what the writer works with.
//!
//! Nothing here knows a process or a socket.

pub mod clock;
mod db;
mod decide;
pub mod error;
pub mod events;
pub mod finished;
pub mod memory;
mod open;
mod open_task;
pub mod operation;
pub mod ops;
pub mod outside;
mod passing;
pub mod read;
pub mod salvage;
mod settle;
pub mod state;
mod suspects;
mod tx;
pub mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::SqlitePool;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

pub use open::known_schema;
pub use read::{HookStanding, Waiting};

use crate::attempt::Attempt;
use crate::home::Place;
use crate::space::Floor;
use clock::{Left, QueueClock};
use error::{OpenError, QueueError};
use memory::{Memory, Remembered};
use operation::{Job, Operation, Pending};
use writer::{Snapshot, WAITING, Writer};

/// A handle on the queue; cheap to clone.
#[derive(Clone)]
pub struct Queue {
    jobs: mpsc::Sender<Box<dyn Job>>,
    readers: SqlitePool,
    /// The readers that may look tasks over for filters at the same time: the others are for what is answered at once.
    scans: Arc<Semaphore>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    damage: watch::Sender<Option<QueueError>>,
    gate: Arc<AtomicUsize>,
    /// Why nothing starts, if something beside the executor's state stands in the way; and whether it suspends what runs.
    why: Arc<Mutex<Option<(String, bool)>>>,
    closing: Arc<Notify>,
    clock: Arc<QueueClock>,
}

/// What opening gives beside the handle.
pub struct Opened {
    pub queue: Queue,
    /// The tasks that are claimed, after each commit that claimed some.
    pub claimed: mpsc::UnboundedReceiver<Vec<Attempt>>,
    /// Ends after [`Queue::close`], or when every handle is gone.
    pub writer: JoinHandle<()>,
    /// How the daemon before this one left it.
    pub left: Left,
}

/// How a queue is worked with.
#[derive(Debug, Clone)]
pub struct Rules<'r> {
    /// The functions with a cap of their own.
    pub caps: &'r BTreeMap<String, u32>,
    /// Where less is free, nothing is added or claimed.
    pub floor: Floor,
    /// How many events are kept.
    pub kept_events: u32,
}

impl Queue {
    /// Whether this program could open the queue at `database`, without touching it.
    ///
    /// # Errors
    /// When the file is newer, foreign, damaged or cannot be read.
    pub async fn check(database: &Path) -> Result<(), OpenError> {
        open::refuse_newer(database).await
    }

    /// Opens the queue at `database`, migrates it and starts its writer. Whoever must not have anything claimed holds a
    /// [`Closed`] gate.
    ///
    /// # Errors
    /// When the file is newer, foreign, damaged or cannot be used.
    pub async fn open(database: &Path, output_dir: &Path, rules: Rules<'_>) -> Result<Opened, OpenError> {
        let Rules { caps, floor, kept_events } = rules;
        salvage::finish(database).map_err(OpenError::File)?;
        let db = open::writer(database).await?;
        let reading = |error| OpenError::reading(database, error);
        let left = QueueClock::left(&db).map_err(reading)?;
        let clock = Arc::new(QueueClock::load(&db).map_err(reading)?);
        let memory = Memory::load(&db, caps, kept_events.into()).map_err(reading)?;
        // The first that is written, after all that is read: a file that is damaged there stays as it is.
        clock.store(&db, false).map_err(reading)?;
        let first = Snapshot::of(&memory, floor.shortage(), writer::Recent::default());
        let (jobs, waiting) = mpsc::channel(WAITING);
        let (snapshot, seen) = watch::channel(Arc::new(first));
        let (claimed, to_launch) = mpsc::unbounded_channel();
        let damage = watch::Sender::new(None);
        let gate = Arc::new(AtomicUsize::new(0));
        let closing = Arc::new(Notify::new());
        let writer = Writer {
            db,
            place: Place::of(database).map_err(OpenError::File)?,
            memory,
            remembered: Remembered::default(),
            clock: clock.clone(),
            clock_stored: clock.now(),
            jobs: waiting,
            snapshot,
            claimed,
            gate: gate.clone(),
            floor,
            closing: closing.clone(),
            damage: damage.clone(),
            claims_on: false,
            since_look: 0,
            output_dir: output_dir.to_owned(),
        };
        let readers = open::readers(database).await?;
        let runtime = Handle::current();
        let writer = tokio::task::spawn_blocking(move || writer.run(&runtime));
        let scans = Arc::new(Semaphore::new(open::SCANS));
        let queue = Self { jobs, readers, scans, snapshot: seen, damage, gate, why: Arc::default(), closing, clock };
        Ok(Opened { queue, claimed: to_launch, writer, left })
    }

    /// Hands an operation to the writer at once (in the order of the calls, while there is room) and
    /// gives its answer after the commit.
    ///
    /// # Errors
    /// When it could not be committed; [`QueueError`] says what follows.
    pub async fn write<O: Operation>(&self, operation: O) -> Result<O::Answer, QueueError> {
        let (job, answer) = Pending::new(operation);
        self.jobs.send(job).await.map_err(|_| self.closed())?;
        answer.await.map_err(|_| self.closed())?
    }

    fn closed(&self) -> QueueError {
        self.damage.borrow().clone().unwrap_or(QueueError::Closed)
    }

    /// Closes the gate until what is given back is dropped: no group that begins meanwhile claims tasks.
    pub fn close_gate(&self) -> Closed {
        self.gate.fetch_add(1, Ordering::AcqRel);
        Closed(self.gate.clone())
    }

    /// Notes why nothing starts, for the reason of tasks that wait, and whether what runs is suspended.
    pub fn say_why(&self, why: Option<(String, bool)>) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    fn why(&self) -> Option<(String, bool)> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the last commit left.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Wakes with every commit.
    pub fn commits(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Becomes `Some` when the file must not be written any more.
    pub fn damage(&self) -> watch::Receiver<Option<QueueError>> {
        self.damage.subscribe()
    }

    /// Tells of damage that a reader met: nothing is written any more.
    pub fn met_damage(&self, found: &str) {
        self.damage.send_replace(Some(QueueError::Damaged(found.to_owned())));
    }

    /// The clock of what is due.
    pub fn clock(&self) -> &QueueClock {
        &self.clock
    }

    /// Closes the queue: what was handed in is carried out, everything after is refused. When the writer has ended
    /// after this, the write-ahead log is in the file.
    pub async fn close(&self) {
        // Before the writer, which can only then be the last connection.
        self.readers.close().await;
        self.closing.notify_one();
    }
}

/// A closed gate; open again when every one of them is dropped.
#[must_use]
pub struct Closed(Arc<AtomicUsize>);

impl Drop for Closed {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ops::control::Nudge;

    #[tokio::test]
    async fn what_is_in_a_file_that_nobody_finds_is_not_acknowledged() {
        let home = tempfile::tempdir().expect("a folder");
        let database = home.path().join("queue.db");
        let Opened { queue, .. } = Queue::open(
            &database,
            home.path(),
            Rules { caps: &BTreeMap::new(), floor: Floor::new(home.path().into(), 0), kept_events: 1000 },
        )
        .await
        .expect("a queue");
        queue.write(Nudge).await.expect("written");
        std::fs::rename(&database, home.path().join("elsewhere.db")).expect("moved");
        assert!(matches!(queue.write(Nudge).await, Err(QueueError::Gone(path)) if path == database));
        let damage = queue.damage().borrow().clone();
        assert!(matches!(damage, Some(QueueError::Gone(_))), "{damage:?}");
    }
}
