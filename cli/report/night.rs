//! What a report keeps of each task: sums over all, the times of every attempt, and a row for the first 50,000.

use std::collections::{BTreeMap, HashMap};

use batch_executor::protocol::{Attempt, BatchInfo, Counts, Task};
use batch_executor::task::{BatchId, Cause, Outcome, Status, TaskId};
use chrono::{DateTime, Local};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::likeness::{self, Group, Groups};
use super::plain::{self, Tail};

/// The most tasks that are listed.
pub const MOST_ROWS: usize = 50_000;
/// The most tasks in a list of the slowest, or of those that were tried most often.
pub const MOST_TOP: usize = 10;
/// The most bytes of a failed task's output, and of another's.
const OUTPUT: (usize, usize) = (4096, 1024);
/// The most bytes of all failed tasks' outputs, and of all others'.
const OUTPUTS: (usize, usize) = (6 << 20, 2 << 20);
/// The longest name, and line of an outcome, in characters.
const LINE: usize = 160;

/// One attempt; times are wall-clock milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    pub task: TaskId,
    pub number: u32,
    pub function: usize,
    /// When it could have begun: the task's creation, or the end of the attempt before.
    pub ready: i64,
    pub start: i64,
    pub end: i64,
    /// None: it runs.
    pub outcome: Option<Outcome>,
    pub cause: Option<Cause>,
}

/// The sums of a function.
#[derive(Debug, Default)]
pub struct Function {
    pub name: String,
    pub counts: Counts,
    /// Milliseconds of each task's latest attempt that completed or failed; sorted when all are in.
    pub runs: Vec<u32>,
    pub cpu: f64,
    /// The most memory, and of which task.
    pub peak: Option<(i64, TaskId)>,
}

/// What a cause ended.
#[derive(Debug, Default)]
pub struct CauseSum {
    pub attempts: u64,
    /// Milliseconds from their starts until their end was known.
    pub lost_ms: i64,
}

/// A task in a short list.
#[derive(Debug, Clone)]
pub struct Top {
    pub task: TaskId,
    pub name: String,
    pub function: usize,
    pub status: Status,
    pub run_ms: i64,
    pub retries: u32,
}

/// A task that is listed.
#[derive(Debug)]
pub struct Row {
    pub task: TaskId,
    pub batch: BatchId,
    pub name: String,
    pub function: usize,
    pub status: Status,
    pub started: Option<i64>,
    pub run_ms: Option<i64>,
    pub wait_ms: Option<i64>,
    pub cpu_ms: i64,
    pub peak: Option<i64>,
    /// What it came to, in a line.
    pub said: String,
    /// The ends of its streams, by name.
    pub outputs: Vec<(&'static str, Tail)>,
    /// All its attempts, when there is more to tell than one that completed.
    pub tries: Vec<Try>,
}

/// An attempt of a task that is listed.
#[derive(Debug)]
pub struct Try {
    pub start: Option<i64>,
    pub end: Option<i64>,
    pub outcome: Option<Outcome>,
    pub cause: Option<Cause>,
    pub error: String,
}

/// All that a report says.
#[derive(Debug)]
pub struct Night {
    /// When the report was made.
    pub made: DateTime<Local>,
    pub batches: BTreeMap<BatchId, Option<BatchInfo>>,
    pub counts: Counts,
    pub functions: Vec<Function>,
    pub spans: Vec<Span>,
    /// When those became due that wait now.
    pub waiting: Vec<i64>,
    pub rows: Vec<Row>,
    pub groups: Groups,
    pub causes: BTreeMap<Cause, CauseSum>,
    /// The longest first.
    pub slowest: Vec<Top>,
    /// Most retries first.
    pub retried: Vec<Top>,
    pub retries: u64,
    /// Tasks that were tried again, and those of them that completed.
    pub tried_again: (u64, u64),
    pub peak: Option<(i64, TaskId)>,
    places: HashMap<String, usize>,
    room: (usize, usize),
}

/// A task as the export has it.
pub type Line = Task<Box<RawValue>>;

/// A process task's result, as far as it is shown.
#[derive(Deserialize)]
struct Streams {
    stdout: String,
    stderr: String,
    stdout_truncated: bool,
    stderr_truncated: bool,
}

impl Night {
    /// A report made at this time, of nothing yet.
    pub fn new(made: DateTime<Local>) -> Self {
        Self {
            made,
            batches: BTreeMap::new(),
            counts: Counts::default(),
            functions: Vec::new(),
            spans: Vec::new(),
            waiting: Vec::new(),
            rows: Vec::new(),
            groups: Groups::default(),
            causes: BTreeMap::new(),
            slowest: Vec::new(),
            retried: Vec::new(),
            retries: 0,
            tried_again: (0, 0),
            peak: None,
            places: HashMap::new(),
            room: OUTPUTS,
        }
    }

    /// Adds a task.
    pub fn add(&mut self, task: &Line) {
        self.batches.entry(task.batch_id).or_insert(None);
        let function = self.place(&task.function);
        let attempts = task.attempts.as_deref().unwrap_or_default();
        count(&mut self.counts, task.status);
        let usage = self.add_attempts(task, function, attempts);
        let sums = &mut self.functions[function];
        count(&mut sums.counts, task.status);
        let run_ms = task.execution_time.map(ms);
        if let (Some(run), Status::Completed | Status::Failed) = (run_ms, task.status) {
            sums.runs.push(u32::try_from(run).unwrap_or(u32::MAX));
        }
        sums.cpu += usage.0;
        let peak = usage.1.map(|bytes| (bytes, task.task_id));
        sums.peak = higher(sums.peak, peak);
        self.peak = higher(self.peak, peak);
        self.add_tops(task, function, run_ms.unwrap_or(0));
        let streams = task.result.as_ref().and_then(|result| serde_json::from_str::<Streams>(result.get()).ok());
        if task.status == Status::Failed {
            let error = task.error.as_deref().or(task.reason.as_deref()).unwrap_or_default();
            let wrote =
                || streams.as_ref().map(|s| plain::tail(if s.stderr.is_empty() { &s.stdout } else { &s.stderr }, 2000));
            self.groups.add(task.task_id, function, error, || wrote().unwrap_or_default());
        }
        if self.rows.len() < MOST_ROWS {
            let row = self.row(task, function, run_ms, usage, streams.as_ref());
            self.rows.push(row);
        }
    }

    /// Puts in order what can be ordered when all is in.
    pub fn finish(&mut self) {
        self.functions.iter_mut().for_each(|function| function.runs.sort_unstable());
        self.spans.sort_unstable_by_key(|span| (span.start, span.task));
    }

    /// From the first attempt's start to the last one's end.
    pub fn period(&self) -> Option<(i64, i64)> {
        let begun = self.spans.iter().map(|span| span.start).min()?;
        let ended = self.spans.iter().map(|span| span.end).max()?;
        Some((begun, ended.max(begun + 1)))
    }

    /// The name of a function.
    pub fn function(&self, place: usize) -> &str {
        &self.functions[place].name
    }

    /// The arguments of `retry` that try failures of a kind again.
    pub fn retry(&self, group: &Group) -> String {
        match (self.groups.by_size().len(), self.batches.first_key_value()) {
            (1, Some((batch, _))) if self.batches.len() == 1 => format!("--filter-status failed --batch-id {batch}"),
            _ => group.ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        }
    }

    /// The place of a function's sums.
    fn place(&mut self, name: &str) -> usize {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.functions.len();
        self.functions.push(Function { name: plain::line(name, LINE), ..Function::default() });
        self.places.insert(name.to_owned(), place);
        place
    }

    /// Adds the times of a task's attempts; gives their CPU seconds and peak of memory.
    fn add_attempts(&mut self, task: &Line, function: usize, attempts: &[Attempt]) -> (f64, Option<i64>) {
        let mut ready = time(Some(&task.created_at)).unwrap_or(0);
        let (mut cpu, mut peak) = (0.0, None);
        let now = self.made.timestamp_millis();
        for attempt in attempts {
            cpu += attempt.cpu_time.unwrap_or(0.0);
            peak = peak.max(attempt.max_rss);
            let start = time(attempt.started_at.as_ref());
            let end = time(attempt.finished_at.as_ref()).unwrap_or(now);
            if let Some(cause) = attempt.cause.filter(|_| attempt.outcome != Some(Outcome::TimedOut)) {
                let sum = self.causes.entry(cause).or_default();
                sum.attempts += 1;
                sum.lost_ms += start.map_or(0, |start| (end - start).max(0));
            }
            if let Some(start) = start {
                let (number, outcome, cause) = (attempt.attempt, attempt.outcome, attempt.cause);
                let end = end.max(start);
                self.spans.push(Span { task: task.task_id, number, function, ready, start, end, outcome, cause });
                ready = end;
            }
        }
        if task.status == Status::Queued {
            self.waiting.push(ready);
        }
        (cpu, peak)
    }

    fn add_tops(&mut self, task: &Line, function: usize, run_ms: i64) {
        self.retries += u64::from(task.retry_count);
        if task.retry_count > 0 {
            self.tried_again.0 += 1;
            self.tried_again.1 += u64::from(task.status == Status::Completed);
        }
        let top = || Top {
            task: task.task_id,
            name: plain::line(&task.name, LINE),
            function,
            status: task.status,
            run_ms,
            retries: task.retry_count,
        };
        if run_ms > 0 {
            insert(&mut self.slowest, |other| other.run_ms >= run_ms, top);
        }
        if task.retry_count > 0 {
            insert(&mut self.retried, |other| other.retries >= task.retry_count, top);
        }
    }

    fn row(
        &mut self,
        task: &Line,
        function: usize,
        run_ms: Option<i64>,
        (cpu, peak): (f64, Option<i64>),
        streams: Option<&Streams>,
    ) -> Row {
        let attempts = task.attempts.as_deref().unwrap_or_default();
        let is_plain = attempts.len() < 2 && task.status == Status::Completed;
        let tries = if is_plain { &[] } else { attempts };
        let outputs = match (streams, &task.result) {
            (Some(streams), _) => vec![
                ("stdout", streams.stdout.as_str(), streams.stdout_truncated),
                ("stderr", streams.stderr.as_str(), streams.stderr_truncated),
            ],
            (None, Some(result)) => vec![("result", result.get(), false)],
            (None, None) => Vec::new(),
        };
        let outputs = outputs.into_iter().filter(|(_, text, _)| !text.is_empty());
        let outputs = outputs.map(|(stream, text, is_cut)| (stream, self.kept(task.status, text, is_cut))).collect();
        Row {
            task: task.task_id,
            batch: task.batch_id,
            name: plain::line(&task.name, LINE),
            function,
            status: task.status,
            started: time(task.started_at.as_ref()),
            run_ms,
            wait_ms: task.wait_time.map(ms),
            cpu_ms: ms(cpu),
            peak,
            said: said(task, streams),
            outputs,
            tries: tries.iter().map(tried).collect(),
        }
    }

    /// The end of an output, as far as there is room.
    fn kept(&mut self, status: Status, text: &str, is_cut: bool) -> Tail {
        let (most, room) = match status {
            Status::Failed | Status::Cancelled => (OUTPUT.0, &mut self.room.0),
            _ => (OUTPUT.1, &mut self.room.1),
        };
        let mut tail = plain::tail(text, most.min(*room));
        *room = room.saturating_sub(tail.text.len());
        if is_cut {
            tail.before += left_out(text).unwrap_or(0);
        }
        tail
    }
}

/// The bytes that a result says it has not, without those that say it: `… N bytes left out …` in a line.
fn left_out(text: &str) -> Option<usize> {
    let (begin, end) = ("\n… ", " bytes left out …\n");
    let number = text.split_once(begin)?.1.split_once(end)?.0;
    number.parse::<usize>().ok().map(|count| count.saturating_sub(begin.len() + number.len() + end.len()))
}

/// What a task came to, in a line: why it failed or waits, else the last that it wrote.
fn said(task: &Line, streams: Option<&Streams>) -> String {
    let is_open = matches!(task.status, Status::Queued | Status::Running);
    let why = if is_open { task.reason.as_deref() } else { task.error.as_deref() };
    let wrote = || streams.map(|s| if s.stdout.trim().is_empty() { &s.stderr } else { &s.stdout });
    let value = || if streams.is_none() { task.result.as_ref().map(|result| result.get()) } else { None };
    let said =
        why.or_else(|| wrote().map(String::as_str)).or_else(value).or(task.reason.as_deref()).unwrap_or_default();
    if said.trim().is_empty() { String::new() } else { plain::line(likeness::last_line(&plain::shown(said)), LINE) }
}

fn tried(attempt: &Attempt) -> Try {
    let error = attempt.error.as_deref().map(|error| plain::line(likeness::last_line(error), LINE));
    Try {
        start: time(attempt.started_at.as_ref()),
        end: time(attempt.finished_at.as_ref()),
        outcome: attempt.outcome,
        cause: attempt.cause,
        error: error.unwrap_or_default(),
    }
}

/// Puts one into a short list, behind those that come before it.
fn insert(list: &mut Vec<Top>, before: impl Fn(&Top) -> bool, top: impl FnOnce() -> Top) {
    let place = list.iter().take_while(|other| before(other)).count();
    if place < MOST_TOP {
        list.truncate(MOST_TOP - 1);
        list.insert(place.min(list.len()), top());
    }
}

fn higher(one: Option<(i64, TaskId)>, other: Option<(i64, TaskId)>) -> Option<(i64, TaskId)> {
    if other.map(|(bytes, _)| bytes) > one.map(|(bytes, _)| bytes) { other } else { one }
}

/// Counts a task.
pub const fn count(counts: &mut Counts, status: Status) {
    counts.total += 1;
    let count = match status {
        Status::Queued => &mut counts.queued,
        Status::Running => &mut counts.running,
        Status::Completed => &mut counts.completed,
        Status::Failed => &mut counts.failed,
        Status::Cancelled => &mut counts.cancelled,
    };
    *count += 1;
}

/// RFC 3339 as milliseconds.
pub fn time(text: Option<&String>) -> Option<i64> {
    DateTime::parse_from_rfc3339(text?).ok().map(|time| time.timestamp_millis())
}

/// Seconds as milliseconds.
#[expect(clippy::cast_possible_truncation, reason = "far below 2^53 ms")]
pub fn ms(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn task(id: TaskId, changes: Value) -> Line {
        let mut task = json!({
            "task_id": id, "batch_id": 1, "name": format!("t{id}"), "function": "f", "params": {}, "priority": "medium",
            "status": "completed", "reason": null, "created_at": "2026-01-01T00:00:00.000Z",
            "started_at": "2026-01-01T00:00:01.000Z", "finished_at": "2026-01-01T00:00:03.000Z", "execution_time": 2.0,
            "wait_time": 1.0, "retry_count": 0, "max_retries": 3, "timeout": null, "retry_delay": 1.0,
            "permanent_exit_codes": [], "interruptions": 0, "result": null, "error": null, "exit_code": 0, "signal": null,
            "attempts": [{"attempt": 1, "started_at": "2026-01-01T00:00:01.000Z", "finished_at": "2026-01-01T00:00:03.000Z",
                "outcome": "completed", "cause": null, "error": null, "exit_code": 0, "signal": null, "cpu_time": 0.5,
                "max_rss": id}],
        });
        for (field, value) in changes.as_object().expect("an object") {
            task[field] = value.clone();
        }
        serde_json::from_str(&task.to_string()).expect("a task")
    }

    #[test]
    fn the_first_are_listed_and_the_sums_are_over_all() {
        let mut night = Night::new(Local::now());
        let many = i64::try_from(MOST_ROWS).expect("a count") + 5;
        for id in 1..=many {
            night.add(&task(id, json!({})));
        }
        night.finish();
        assert_eq!((night.rows.len(), night.counts.total, night.counts.completed), (MOST_ROWS, many, many));
        assert_eq!((night.functions[0].runs.len(), night.peak), (MOST_ROWS + 5, Some((many, many))));
        assert_eq!((night.slowest.len(), night.slowest[0].task), (MOST_TOP, 1));
    }

    #[test]
    fn outputs_have_room_and_those_of_failures_a_room_of_their_own() {
        let mut night = Night::new(Local::now());
        let long = "x".repeat(5000);
        let result = json!({"exit_code": 0, "stdout": format!("a\n… 70 bytes left out …\n{long}"), "stderr": "",
            "stdout_truncated": true, "stderr_truncated": false});
        let listed = i64::try_from(OUTPUTS.1 / OUTPUT.1).expect("a count");
        for id in 1..=listed + 1 {
            night.add(&task(id, json!({"result": result})));
        }
        night.add(&task(listed + 2, json!({"result": result, "status": "failed", "error": "exit code 1"})));
        let kept = |row: &Row| (row.outputs[0].1.text.len(), row.outputs[0].1.before);
        let all = 1 + 70 + 5000;
        assert_eq!(kept(&night.rows[0]), (OUTPUT.1, all - OUTPUT.1));
        assert_eq!(kept(&night.rows[night.rows.len() - 2]), (0, all));
        assert_eq!(kept(&night.rows[night.rows.len() - 1]), (OUTPUT.0, all - OUTPUT.0));
    }

    #[test]
    fn each_attempt_is_a_span_and_each_cause_is_counted() {
        let mut night = Night::new(Local::now());
        let attempt = |number: u32, from: &str, to: &str, outcome: &str, cause: Option<&str>| {
            json!({"attempt": number, "started_at": from, "finished_at": to, "outcome": outcome, "cause": cause, "error": null,
                "exit_code": null, "signal": null, "cpu_time": null, "max_rss": null})
        };
        let [one, two, three] = ["2026-01-01T00:00:01.000Z", "2026-01-01T00:00:02.500Z", "2026-01-01T00:00:04.000Z"];
        let attempts =
            [attempt(1, one, two, "interrupted", Some("reboot")), attempt(2, three, three, "completed", None)];
        night.add(&task(1, json!({"attempts": attempts, "retry_count": 1})));
        let spans: Vec<_> = night.spans.iter().map(|s| (s.start - s.ready, s.end - s.start)).collect();
        assert_eq!(spans, [(1000, 1500), (1500, 0)]);
        let sum = &night.causes[&Cause::Reboot];
        assert_eq!((sum.attempts, sum.lost_ms), (1, 1500));
        assert_eq!((night.retries, night.tried_again, night.retried.len()), (1, (1, 1), 1));
    }
}
