//! A client that adds, cancels, retries, clears, exports and changes the cap, whoever dies, and writes down what was
//! acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

/// The highest cap that is ever set.
pub const CAP: i64 = 8;
/// With more than this queued no client adds.
const ENOUGH: i64 = 300;

/// What is to become of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Completes,
    /// At each try.
    Fails,
    /// It is delayed, and cancelled before it runs.
    Never,
}

/// What was acknowledged.
#[derive(Debug, Default)]
pub struct Ledger {
    pub added: BTreeMap<i64, Fate>,
    /// Tasks whose cancellation was.
    pub cancelled: BTreeSet<i64>,
    /// How often a failed task was taken back into the queue.
    pub retried: BTreeMap<i64, u64>,
    /// Tasks that were removed, and those of which nobody knows, for the answer was lost.
    pub cleared: BTreeSet<i64>,
    pub perhaps_cleared: BTreeSet<i64>,
}

pub struct Client {
    number: u64,
    random: fastrand::Rng,
    home: PathBuf,
    work: PathBuf,
    connection: Option<BufReader<UnixStream>>,
    requests: u64,
}

/// The lines that a task writes when it begins and when it is about to end.
fn code(body: &str) -> String {
    let line =
        |which| format!("echo \"{which} $BATCH_EXECUTOR_TASK_ID $BATCH_EXECUTOR_ATTEMPT $EPOCHREALTIME\" >> runs");
    format!("{}; {body}; {}", line('S'), line('E'))
}

impl Client {
    pub fn new(number: u64, seed: u64, home: PathBuf, work: PathBuf) -> Self {
        Self { number, random: fastrand::Rng::with_seed(seed), home, work, connection: None, requests: 0 }
    }

    /// Runs until `over`, to the end of what was begun.
    pub fn run(mut self, ledger: &Mutex<Ledger>, over: &AtomicBool) {
        while !over.load(Ordering::Acquire) {
            let queued = self.insist(&json!({"action": "status"}))["counts"]["queued"].as_i64().expect("a count");
            match self.random.u8(0..10) {
                0..=3 if queued < ENOUGH => self.add_batch(ledger),
                4 if queued < ENOUGH => self.add(ledger),
                5 => self.add_and_cancel(ledger),
                6 => self.change_cap(),
                7 if self.random.bool() => self.pause(ledger),
                7 => self.retry(ledger),
                8 => (0..8).for_each(|_| self.clear(ledger)),
                _ => self.read(),
            }
        }
    }

    fn exchange(&mut self, request: &Value) -> io::Result<Value> {
        if self.connection.is_none() {
            let stream = UnixStream::connect(self.home.join("daemon.sock"))?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            self.connection = Some(BufReader::new(stream));
        }
        let connection = self.connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        writeln!(connection.get_mut(), "{request}")?;
        let mut line = String::new();
        connection.read_line(&mut line)?;
        serde_json::from_str(&line).map_err(io::Error::other)
    }

    /// The answer; none if the daemon died before it came.
    fn ask(&mut self, request: &Value) -> Option<Value> {
        let mut request = request.clone();
        request["cwd"] = json!(self.work);
        match self.exchange(&request) {
            Ok(answer) if answer["error"]["code"] == "shutting_down" => None,
            Ok(answer) => Some(answer),
            Err(error) => {
                assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "no answer to {request}");
                self.connection = None;
                std::thread::sleep(Duration::from_millis(2));
                None
            }
        }
    }

    /// Asked until it is answered; safe for what may be asked twice.
    fn answer(&mut self, request: &Value) -> Value {
        loop {
            if let Some(answer) = self.ask(request) {
                return answer;
            }
        }
    }

    /// As [`Self::answer`], of what cannot be refused.
    fn insist(&mut self, request: &Value) -> Value {
        let mut answer = self.answer(request);
        assert_eq!(answer["ok"], true, "{request}: {answer}");
        answer["data"].take()
    }

    fn key(&mut self) -> String {
        self.requests += 1;
        format!("{}/{}", self.number, self.requests)
    }

    fn task(&mut self) -> (Value, Fate) {
        let (body, fate) = match self.random.u8(0..12) {
            0..=4 => (":", Fate::Completes),
            5 | 6 => ("sleep 0.02", Fate::Completes),
            7 => ("sleep 0.1", Fate::Completes),
            8 => ("head -c 200000 /dev/zero | tr '\\0' x", Fate::Completes),
            // What it leaves behind ends with it.
            9 => ("setsid sleep 600 & sleep 0.01", Fate::Completes),
            _ => ("exit 3", Fate::Fails),
        };
        let mut task = super::support::shell(&code(body));
        task["name"] = json!(self.key());
        task["max_retries"] = json!(if fate == Fate::Fails { 1 } else { 0 });
        task["retry_delay"] = json!(0.01);
        task["priority"] = json!(["low", "medium", "high", "critical"][self.random.usize(0..4)]);
        (task, fate)
    }

    fn add(&mut self, ledger: &Mutex<Ledger>) {
        let (mut task, fate) = self.task();
        task["action"] = json!("add");
        task["request_key"] = json!(self.key());
        let id = self.insist(&task)["task_id"].as_i64().expect("an id");
        assert_eq!(ledger.lock().expect("a ledger").added.insert(id, fate), None, "id {id} was given twice");
    }

    fn add_batch(&mut self, ledger: &Mutex<Ledger>) {
        let (tasks, fates): (Vec<Value>, Vec<Fate>) = (0..self.random.u8(1..30)).map(|_| self.task()).unzip();
        let request = json!({"action": "add_batch", "tasks": tasks, "request_key": self.key()});
        let added = self.insist(&request);
        let ids = added["task_ids"].as_array().expect("ids").iter().map(|id| id.as_i64().expect("an id"));
        let mut ledger = ledger.lock().expect("a ledger");
        for (id, fate) in ids.zip(fates) {
            assert_eq!(ledger.added.insert(id, fate), None, "id {id} was given twice");
        }
    }

    fn add_and_cancel(&mut self, ledger: &Mutex<Ledger>) {
        let (mut task, _) = self.task();
        task["action"] = json!("add");
        task["delay"] = json!(3600);
        task["request_key"] = json!(self.key());
        let id = self.insist(&task)["task_id"].as_i64().expect("an id");
        assert_eq!(ledger.lock().expect("a ledger").added.insert(id, Fate::Never), None, "id {id} was given twice");
        self.insist(&json!({"action": "cancel", "task_ids": [id]}));
        ledger.lock().expect("a ledger").cancelled.insert(id);
    }

    fn change_cap(&mut self) {
        let cap = self.random.i64(1..=CAP);
        self.ask(&json!({"action": "start", "max_concurrent": cap, "keep": true}));
    }

    /// Pauses the executor or a task for a moment.
    fn pause(&mut self, ledger: &Mutex<Ledger>) {
        let known: Vec<i64> = ledger.lock().expect("a ledger").added.keys().rev().take(20).copied().collect();
        let task = self.random.choice(known).filter(|_| self.random.bool());
        // A known one may be cleared, or have ended; the executor may be stopped.
        let about = task.map_or_else(|| json!({}), |id| json!({"task_ids": [id]}));
        let ask = |action: &str| {
            let mut request = about.clone();
            request["action"] = json!(action);
            request
        };
        self.ask(&ask("pause"));
        std::thread::sleep(Duration::from_millis(self.random.u64(0..20)));
        let resumed = self.answer(&ask("resume"));
        let is_cleared = |id| ledger.lock().expect("a ledger").perhaps_cleared.contains(&id);
        let is_gone = resumed["error"]["code"] == "not_found" && task.is_some_and(is_cleared);
        assert!(resumed["ok"] == true || is_gone, "{task:?}: {resumed}");
    }

    fn retry(&mut self, ledger: &Mutex<Ledger>) {
        let request = json!({"action": "results", "filter_status": "failed", "limit": 5});
        let failed = self.insist(&request)["tasks"][0]["task_id"].as_i64();
        let Some(id) = failed else { return };
        if let Some(answer) = self.ask(&json!({"action": "retry", "task_ids": [id]}))
            && answer["data"]["requeued"] == 1
        {
            *ledger.lock().expect("a ledger").retried.entry(id).or_default() += 1;
        }
    }

    /// Removes what has completed of a batch of before.
    fn clear(&mut self, ledger: &Mutex<Ledger>) {
        let known: Vec<i64> = ledger.lock().expect("a ledger").added.keys().copied().collect();
        let Some(id) = self.random.choice(known) else { return };
        let Some(answer) = self.ask(&json!({"action": "show", "task_id": id})) else { return };
        let batch = answer["data"]["batch_id"].clone();
        if batch.is_null() {
            // It is gone. A request without a batch would be about everybody's tasks.
            return;
        }
        let Some(status) = self.ask(&json!({"action": "status", "batch_id": batch})) else { return };
        let counts = &status["data"]["counts"];
        // Only when nothing of it can complete any more: then what is removed is known. Perhaps it is gone already.
        if counts["queued"] != 0 || counts["running"] != 0 {
            return;
        }
        let ids = self.completed(&batch);
        ledger.lock().expect("a ledger").perhaps_cleared.extend(&ids);
        let clear = json!({"action": "clear", "filter_status": "completed", "batch_id": batch});
        if self.ask(&clear).is_some_and(|answer| answer["ok"] == true) {
            ledger.lock().expect("a ledger").cleared.extend(&ids);
        }
    }

    /// The completed tasks of a batch, page by page.
    fn completed(&mut self, batch: &Value) -> BTreeSet<i64> {
        let mut ids = BTreeSet::new();
        let mut page = json!({"action": "results", "filter_status": "completed", "batch_id": batch});
        loop {
            let data = self.insist(&page);
            let tasks = data["tasks"].as_array().into_iter().flatten();
            ids.extend(tasks.filter_map(|task| task["task_id"].as_i64()));
            if data["next_cursor"].is_null() {
                return ids;
            }
            page["cursor"] = data["next_cursor"].clone();
        }
    }

    fn read(&mut self) {
        let target = self.work.join(format!("export-{}.jsonl", self.number));
        let export = json!({"action": "export", "format": "jsonl", "output_file": target, "overwrite": true});
        let exported = self.ask(&export).is_some_and(|answer| answer["ok"] == true);
        if let Ok(text) = std::fs::read_to_string(&target) {
            // Whole, whoever died while a newer one was being written.
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a whole line"));
            assert!(lines.count() > 0 || !exported || text.is_empty());
        }
        let status = self.insist(&json!({"action": "status"}));
        assert!(status["counts"]["running"].as_i64() <= Some(CAP), "{status}");
    }
}
