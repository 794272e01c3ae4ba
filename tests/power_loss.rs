//! Power cuts: what was acknowledged is in every image that the disk may hold then.
//!
//! A daemon works on a disk that records what it is asked and what is answered (`tests/shim`). From the record come the
//! images: what was written up to each sync, and images in which what was not synced is lost or torn by sector. Each is
//! opened by the queue itself, a sample of them by a real daemon. `TORTURE=full` takes all syncs and 500 torn images
//! instead of a sample; `TORTURE_SEED` repeats a run's choices.

#[path = "support/disk.rs"]
mod disk;
#[path = "support/shim.rs"]
mod shim;
mod support;
#[path = "support/tallies.rs"]
mod tallies;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use batch_executor::queue::{Opened, Queue, Rules};
use batch_executor::space::Floor;
use disk::{Disk, Event, Fate};
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use support::Daemon;
use tallies::DIFFERENCES;

/// Long enough for several checkpoints.
const ROUNDS: usize = 36;

/// What an acknowledged request says of its tasks, until a later one says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    Queued,
    /// Added to a running executor, or started: queued, running or completed.
    Runs,
    Completed,
    Cancelled,
    Gone,
}

/// A request with what its acknowledgement means.
struct Said {
    request: String,
    tasks: Vec<i64>,
    fact: Fact,
}

/// A recorded run.
struct Run {
    events: Vec<Event>,
    said: Vec<Said>,
    /// By a client that works beside it: every request adds tasks that are never touched again.
    beside: Vec<Said>,
    _folder: tempfile::TempDir,
}

/// One client, whose requests come one after the other.
struct Clerk<'d> {
    daemon: &'d Daemon,
    prefix: &'static str,
    said: Vec<Said>,
    asked: usize,
}

impl Clerk<'_> {
    fn says(&mut self, fact: Fact, mut request: Value, tasks: impl FnOnce(&Value) -> Vec<i64>) -> Vec<i64> {
        self.asked += 1;
        let id = format!("{}-{}", self.prefix, self.asked);
        request["id"] = json!(id);
        let data = self.daemon.ok(request);
        let tasks = tasks(&data);
        self.said.push(Said { request: id, tasks: tasks.clone(), fact });
        tasks
    }

    fn adds(&mut self, fact: Fact, tasks: Value) -> Vec<i64> {
        self.says(fact, json!({"action": "add_batch", "tasks": tasks}), ids)
    }
}

fn ids(added: &Value) -> Vec<i64> {
    added["task_ids"].as_array().expect("ids").iter().filter_map(Value::as_i64).collect()
}

fn later() -> Value {
    json!({"function": "simulate", "params": {"duration": 0, "note": "x".repeat(600)}, "delay": 100_000})
}

fn work(daemon: &Daemon, clerk: &mut Clerk<'_>, round: usize, ended: &mut Vec<Vec<i64>>) {
    let now = json!({"function": "simulate", "params": {"duration": 0, "note": "y".repeat(1500)}});
    let tasks = clerk.adds(Fact::Queued, json!([now, now, now]));
    let kept = clerk.adds(Fact::Queued, json!([later(), later(), later()]));
    let taken_out = kept[..2].to_vec();
    clerk.says(Fact::Cancelled, json!({"action": "cancel", "task_ids": taken_out}), |_| taken_out.clone());
    clerk.says(Fact::Runs, json!({"action": "start", "max_concurrent": 2, "keep": true}), |_| tasks.clone());
    clerk.says(Fact::Completed, json!({"action": "wait", "task_ids": tasks}), |_| tasks.clone());
    ended.push(tasks);
    clerk.says(Fact::Queued, json!({"action": "stop", "wait": true}), |_| vec![]);
    if round % 3 == 2 {
        let again = vec![taken_out[0]];
        clerk.says(Fact::Queued, json!({"action": "retry", "task_ids": again}), |_| again.clone());
        // It may be run at once, and is not looked at any more.
        clerk.says(Fact::Cancelled, json!({"action": "cancel", "task_ids": again}), |_| again.clone());
    }
    if round % 4 == 3 {
        let gone: Vec<i64> = ended.drain(..).flatten().collect();
        clerk.says(Fact::Gone, json!({"action": "clear", "filter_status": "completed"}), |_| gone);
    }
    assert_eq!(daemon.ok(json!({"action": "health"}))["tally_difference"], Value::Null);
}

fn recorded(rounds: usize) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let record = folder.path().join("record");
    let mut daemon = Daemon::home_only();
    let home = daemon.home().display().to_string();
    daemon.set("LD_PRELOAD", &shim::compile(folder.path()).display().to_string());
    daemon.set("SHIM_HOME", &home);
    daemon.set("SHIM_RECORD", &record.display().to_string());
    let (mut said, mut beside, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    for life in 0..3 {
        daemon.serve();
        let alive = &daemon;
        let mut clerk = Clerk { daemon: alive, prefix: ["a", "b", "c"][life], said: Vec::new(), asked: 0 };
        let mut other = Clerk { daemon: alive, prefix: ["x", "y", "z"][life], said: Vec::new(), asked: 0 };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..rounds {
                    other.adds(Fact::Queued, json!([later(), later()]));
                }
            });
            (0..rounds / 3).for_each(|round| work(alive, &mut clerk, round, &mut ended));
        });
        said.append(&mut clerk.said);
        beside.append(&mut other.said);
        // The first life ends in order, and moves its log into the file; the second is killed.
        if life == 0 {
            assert_eq!(daemon.stop(), Some(0));
        } else if life == 1 {
            daemon.kill();
        }
    }
    assert_eq!(daemon.stop(), Some(0));
    Run { events: disk::events(&record), said, beside, _folder: folder }
}

impl Run {
    /// What each task must be when all events before `cut` have happened: what was acknowledged last, and what the
    /// request that was on its way may have made of it.
    fn expected(&self, cut: usize) -> BTreeMap<i64, (Fact, Option<Fact>)> {
        let answers = self.events[..cut].iter().filter_map(|event| match event {
            Event::Answered(answer) => answer["id"].as_str(),
            _ => None,
        });
        let answered: BTreeSet<&str> = answers.collect();
        let is_answered = |said: &&Said| answered.contains(said.request.as_str());
        let mut expected = BTreeMap::new();
        for said in self.said.iter().take_while(is_answered).chain(self.beside.iter().filter(is_answered)) {
            expected.extend(said.tasks.iter().map(|task| (*task, (said.fact, None))));
        }
        for (task, said) in self.said.iter().find(|said| !is_answered(said)).into_iter().flat_map(Said::each) {
            expected.entry(task).and_modify(|it| it.1 = Some(said));
        }
        expected
    }

    /// The disk after the events before `cut`.
    fn disk(&self, cut: usize) -> Disk<'_> {
        let mut disk = Disk::default();
        self.events[..cut].iter().for_each(|event| disk.ask(event));
        disk
    }

    /// The number of events after each sync.
    fn syncs(&self) -> Vec<usize> {
        let is_sync = |event: &Event| matches!(event, Event::Synced(_) | Event::FolderSynced);
        (1..=self.events.len()).filter(|cut| is_sync(&self.events[cut - 1])).collect()
    }
}

impl Said {
    fn each(&self) -> impl Iterator<Item = (i64, Fact)> {
        self.tasks.iter().map(|task| (*task, self.fact))
    }
}

impl Fact {
    /// Whether a task with this state, if it is there, bears it out.
    fn holds(self, state: Option<i64>) -> bool {
        match self {
            Self::Queued => matches!(state, Some(0 | 1)),
            Self::Runs => matches!(state, Some(0..=3)),
            Self::Completed => state == Some(3),
            Self::Cancelled => state == Some(5),
            Self::Gone => state.is_none(),
        }
    }
}

/// What was not synced survives by chance.
struct Chance {
    random: fastrand::Rng,
    survivors: f64,
    sector: usize,
}

impl Chance {
    fn new(mut random: fastrand::Rng) -> Self {
        let survivors = [0.0, 0.1, 0.5, 0.9][random.usize(..4)];
        let sector = [512, 4096][random.usize(..2)];
        Self { random, survivors, sector }
    }
}

impl Fate for Chance {
    fn survives(&mut self) -> bool {
        self.random.f64() < self.survivors
    }

    fn sector(&self) -> usize {
        self.sector
    }
}

/// Writes an image as the home's files.
fn lay(image: &BTreeMap<&str, Vec<u8>>, home: &Path) {
    drop(std::fs::remove_dir_all(home));
    std::fs::create_dir_all(home).expect("a home");
    for (name, bytes) in image {
        std::fs::write(home.join(name), bytes).expect("written");
    }
}

/// Opens the image with the queue's own code; gives what is wrong with it.
async fn faults(home: &Path, expected: &BTreeMap<i64, (Fact, Option<Fact>)>) -> Vec<String> {
    let path = home.join("queue.db");
    let opened = match Queue::open(
        &path,
        home,
        Rules { caps: &BTreeMap::new(), floor: Floor::new(home.into(), 0), kept_events: 1000 },
    )
    .await
    {
        Ok(Opened { queue, writer, .. }) => {
            queue.close().await;
            writer.await
        }
        Err(error) => return vec![format!("not opened: {error}")],
    };
    opened.expect("the writer ends");
    let mut eye = SqliteConnectOptions::new().filename(&path).connect().await.expect("a connection");
    let mut faults = column(&mut eye, "SELECT integrity_check FROM pragma_integrity_check").await;
    faults.retain(|found| found != "ok");
    faults.extend(column(&mut eye, DIFFERENCES).await);
    let states: Vec<(i64, i64)> =
        sqlx::query_as("SELECT id, state FROM task").fetch_all(&mut eye).await.expect("the tasks");
    let states: BTreeMap<i64, i64> = states.into_iter().collect();
    for (task, (fact, next)) in expected {
        let state = states.get(task).copied();
        if !fact.holds(state) && !next.is_some_and(|next| next.holds(state)) {
            faults.push(format!("task {task} is {state:?}, but was acknowledged as {fact:?}, then perhaps {next:?}"));
        }
    }
    let last: Option<i64> = sqlx::query_scalar("SELECT max(seq) FROM sqlite_sequence WHERE name = 'task'")
        .fetch_one(&mut eye)
        .await
        .expect("the last id");
    if last.as_ref() < expected.last_key_value().map(|(task, _)| task) {
        faults.push(format!("the next id is {last:?}, but {:?} was given", expected.last_key_value()));
    }
    eye.close().await.expect("closed");
    faults
}

async fn column(eye: &mut SqliteConnection, statement: &'static str) -> Vec<String> {
    sqlx::query_scalar(statement).fetch_all(eye).await.expect("read")
}

fn full() -> bool {
    std::env::var("TORTURE").is_ok_and(|torture| torture == "full")
}

fn seed() -> u64 {
    let seed = std::env::var("TORTURE_SEED").ok().map(|seed| seed.parse().expect("TORTURE_SEED is a number"));
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("TORTURE_SEED={seed}");
    seed
}

#[tokio::test]
async fn what_was_acknowledged_is_in_every_image() {
    let seed = seed();
    let run = recorded(if full() { ROUNDS } else { ROUNDS / 3 });
    let (syncs, events) = (run.syncs(), run.events.len());
    // Those of the first moments, in which the file is made, are always taken.
    let (prefixes, torn) = if full() { (syncs.len(), 500) } else { (60, 60) };
    let count = |counts: fn(&Event) -> bool| run.events.iter().filter(|event| counts(event)).count();
    let writes = count(|event| matches!(event, Event::Written { .. }));
    let checkpoints = count(|event| matches!(event, Event::Synced(name) if name == "queue.db"));
    println!(
        "{writes} writes, {checkpoints} checkpoints, {} syncs: {prefixes} prefixes, {torn} torn images",
        syncs.len()
    );
    assert!(checkpoints > 3, "nothing but what makes and closes the file");
    let folder = tempfile::tempdir_in(fast_disk()).expect("a folder");
    let mut random = fastrand::Rng::with_seed(seed);
    let early = (0..12).map(|n| (syncs[n], false)).chain((0..12).map(|_| (random.usize(1..=syncs[12]), true)));
    let mut chosen: Vec<(usize, bool)> = early.collect();
    chosen.extend((0..prefixes).map(|n| (syncs[n * syncs.len() / prefixes], false)));
    chosen.extend((0..torn).map(|_| (random.usize(1..=events), true)));
    let mut served = 0;
    for (number, (cut, is_torn)) in chosen.into_iter().enumerate() {
        let mut chance = Chance::new(fastrand::Rng::with_seed(seed + number as u64));
        let image = run.disk(cut).image(is_torn.then_some(&mut chance as &mut dyn Fate));
        let expected = run.expected(cut);
        let home = folder.path().join("home");
        lay(&image, &home);
        let found = faults(&home, &expected).await;
        assert!(found.is_empty(), "seed {seed}, image {number}, cut {cut} of {events}, torn {is_torn}: {found:#?}");
        if number % 30 == 29 {
            serves(&image, &expected);
            served += 1;
        }
    }
    assert!(served > 1);
}

/// A real daemon on the image: it serves, all is there, and an id is not given again.
fn serves(image: &BTreeMap<&str, Vec<u8>>, expected: &BTreeMap<i64, (Fact, Option<Fact>)>) {
    let mut daemon = Daemon::home_only();
    lay(image, &daemon.home());
    daemon.serve();
    let health = daemon.ok(json!({"action": "health"}));
    assert_eq!((&health["database"], &health["tally_difference"]), (&json!("ok"), &Value::Null));
    let given = daemon.ok(json!({"action": "add", "name": "next", "function": "simulate"}))["task_id"].as_i64();
    assert!(given > expected.last_key_value().map(|(task, _)| *task), "{given:?}");
}

/// The images need no disk that survives.
fn fast_disk() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}
