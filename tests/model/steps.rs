//! What is done to the daemon, and what the model says comes of it.

use std::fmt;

use serde_json::{Value, json};

use super::contract::{Kind, Model, PERMANENT, PRIORITIES, Settings, State, Status};

/// Seconds that no test takes.
const FAR: u32 = 3600;
/// Marks its start, waits at its gate for the exit code, marks its end. To be told to end is an end that it handles.
const GATE: &str = r#"id=$BATCH_EXECUTOR_TASK_ID
trap 'echo "- $id" >> marks; exit 0' TERM
exec 3<> gates/$id
echo "+ $id" >> marks
read -r code <&3
echo "- $id" >> marks
exit $code"#;

/// One thing to do. A number picks among what there is when its turn comes.
#[derive(Debug, Clone)]
pub enum Op {
    Add(Draft),
    AddBatch {
        drafts: Vec<Draft>,
        to: Option<u8>,
        with_bad: bool,
    },
    Resend(u8),
    Start(Settings),
    Stop {
        graceful: bool,
        wait: bool,
    },
    Deadline,
    Cancel(Vec<u8>),
    CancelBatch(u8),
    Pause(Vec<u8>, bool),
    PauseBatch(u8, bool),
    /// None: it goes on; true: what runs is suspended.
    PauseRun(Option<bool>),
    Retry(Vec<u8>),
    RetryAll {
        status: Status,
        batch: Option<u8>,
    },
    Reprioritise(Vec<u8>, usize),
    Hasten(Vec<u8>),
    Clear {
        status: Option<Status>,
        batch: Option<u8>,
    },
    Open(u8, u8),
    /// A gate opens while there is no daemon.
    Crash(Option<(u8, u8)>),
    /// Before what was asked last has come to rest.
    CrashAtOnce,
    Terminate,
    KillKeeper,
}

#[derive(Debug, Clone, Copy)]
pub struct Draft {
    pub kind: Kind,
    pub priority: usize,
    pub retries: u32,
    pub delayed: bool,
}

/// An [`Op`] that found what it is about.
pub enum Act {
    Request(Value),
    Open(i64, u8),
    Crash(Option<(i64, u8)>),
    Terminate,
    KillKeeper,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(request) => write!(f, "{}", request.to_string().replace(&json!(GATE).to_string(), "GATE")),
            Self::Open(task, code) => write!(f, "# task {task} exits with {code}"),
            Self::Crash(None) => write!(f, "# kill -9 of the daemon; start it again"),
            Self::Crash(Some((task, code))) => {
                write!(f, "# kill -9 of the daemon; task {task} exits with {code}; start it again")
            }
            Self::Terminate => write!(f, "# SIGTERM to the daemon; start it again"),
            Self::KillKeeper => write!(f, "# kill -9 of the keeper"),
        }
    }
}

/// What is done next, and what a request's answer must have in it.
pub struct Step {
    pub act: Act,
    pub answer: Value,
}

/// The model under a sequence of [`Op`]s.
pub struct Play {
    pub model: Model,
    adds: Vec<(Value, Value)>,
}

impl Play {
    pub const fn new() -> Self {
        Self { model: Model::new(), adds: Vec::new() }
    }

    /// What `op` is now; none when what it needs is not there.
    pub fn step(&mut self, op: &Op) -> Option<Step> {
        let step = self.resolve(op)?;
        self.model.settle();
        Some(step)
    }

    fn resolve(&mut self, op: &Op) -> Option<Step> {
        match op {
            Op::Add(draft) => Some(self.add(*draft)),
            Op::AddBatch { drafts, to, with_bad } => self.add_batch(drafts, *to, *with_bad),
            Op::Resend(which) => {
                let (request, answer) = nth(&self.adds, *which)?;
                Some(Step { act: Act::Request(request.clone()), answer: answer.clone() })
            }
            Op::Start(given) => Some(self.start(*given)),
            Op::Stop { graceful, wait } => Some(self.stop(*graceful, *wait)),
            Op::Deadline => {
                (self.model.state == State::Running).then_some(())?;
                self.model.wind_down("deadline", false);
                Some(asked(json!({"action": "start", "timeout": 0.001}), json!({"started": false})))
            }
            Op::Cancel(picks) => Some(self.cancel(self.picked(picks)?)),
            Op::CancelBatch(which) => self.cancel_batch(*which),
            Op::Pause(picks, on) => Some(self.pause(self.picked(picks)?, *on)),
            Op::PauseBatch(which, on) => self.pause_batch(*which, *on),
            Op::PauseRun(paused) => Some(self.pause_run(*paused)),
            Op::Retry(picks) => Some(self.retry(&self.picked(picks)?)),
            Op::RetryAll { status, batch } => self.retry_all(*status, *batch),
            Op::Reprioritise(picks, priority) => {
                let change = json!({"priority": PRIORITIES[*priority]});
                Some(self.update(self.picked(picks)?, change, Some(*priority), false))
            }
            Op::Hasten(picks) => Some(self.update(self.picked(picks)?, json!({"delay": 0}), None, true)),
            Op::Clear { status, batch } => self.clear(*status, *batch),
            Op::Open(which, code) => {
                let task = self.gate(*which)?;
                self.model.open(task, *code);
                Some(Step { act: Act::Open(task, *code), answer: Value::Null })
            }
            Op::Crash(open) => {
                let open = open.and_then(|(which, code)| Some((self.gate(which)?, code)));
                if let Some((task, code)) = open {
                    self.model.open(task, code);
                }
                Some(Step { act: Act::Crash(open), answer: Value::Null })
            }
            Op::CrashAtOnce => Some(Step { act: Act::Crash(None), answer: Value::Null }),
            Op::Terminate => {
                self.model.give_back();
                Some(Step { act: Act::Terminate, answer: Value::Null })
            }
            Op::KillKeeper => {
                self.model.lose();
                Some(Step { act: Act::KillKeeper, answer: Value::Null })
            }
        }
    }

    fn add(&mut self, draft: Draft) -> Step {
        let batch = self.new_batch();
        let position = (!draft.delayed).then(|| self.model.position(draft.priority));
        let mut request = task_of(draft);
        request["action"] = json!("add");
        request["name"] = json!("one");
        request["request_key"] = json!(format!("key {}", self.adds.len()));
        let task = self.added(batch, draft);
        self.remembered(request, json!({"task_id": task, "batch_id": batch, "position": position}))
    }

    fn add_batch(&mut self, drafts: &[Draft], to: Option<u8>, with_bad: bool) -> Option<Step> {
        let bad = with_bad.then(|| json!({"function": "simulate", "params": {"duration": -1}}));
        let tasks: Vec<Value> = bad.into_iter().chain(drafts.iter().copied().map(task_of)).collect();
        let key = format!("key {}", self.adds.len());
        let mut request = json!({"action": "add_batch", "tasks": tasks, "request_key": key});
        let batch = match to {
            Some(which) => {
                let batch = self.batch(which)?;
                request["batch_id"] = json!(batch);
                batch
            }
            None => self.new_batch(),
        };
        let ids: Vec<i64> = drafts.iter().map(|draft| self.added(batch, *draft)).collect();
        let errors = if with_bad { json!([{"index": 0}]) } else { json!([]) };
        let answer = json!({"batch_id": batch, "added": ids.len(), "first_task_id": ids.first(), "task_ids": ids,
            "last_task_id": ids.last(), "errors": errors, "queued": self.model.count(Status::Queued)});
        Some(self.remembered(request, answer))
    }

    fn new_batch(&mut self) -> i64 {
        self.model.next_batch += 1;
        self.model.next_batch - 1
    }

    fn added(&mut self, batch: i64, draft: Draft) -> i64 {
        self.model.add(batch, draft.kind, draft.priority, max_retries(draft), draft.delayed)
    }

    fn remembered(&mut self, request: Value, answer: Value) -> Step {
        self.adds.push((request.clone(), answer.clone()));
        asked(request, answer)
    }

    fn start(&mut self, given: Settings) -> Step {
        let mut request = json!({"action": "start"});
        if let Some(cap) = given.cap {
            request["max_concurrent"] = json!(cap);
        }
        if let Some(keep) = given.keep {
            request["keep"] = json!(keep);
        }
        if let Some(most) = given.max_failures {
            request["max_failures"] = json!(most);
        }
        if given.deadline {
            request["timeout"] = json!(FAR);
        }
        let started = self.model.start(given);
        asked(request, json!({"started": started, "max_concurrent": self.model.cap}))
    }

    fn stop(&mut self, graceful: bool, wait: bool) -> Step {
        let wait = wait && (!graceful || self.model.count(Status::Running) == 0);
        self.model.wind_down("stopped by request", graceful);
        let answer = if wait { json!({"state": "stopped", "running": 0}) } else { json!({}) };
        asked(json!({"action": "stop", "graceful": graceful, "wait": wait}), answer)
    }

    fn cancel(&mut self, ids: Vec<i64>) -> Step {
        let is_alone_unknown = matches!(ids[..], [id] if !self.model.tasks.contains_key(&id));
        let (done, not) = self.split(&ids, Model::cancel);
        let answer = if is_alone_unknown {
            json!({"error": {"code": "not_found"}})
        } else {
            json!({"cancelled_count": done.len(), "cancelled": done, "not_cancelled": about(&not)})
        };
        asked(with_ids(json!({"action": "cancel"}), ids), answer)
    }

    fn cancel_batch(&mut self, which: u8) -> Option<Step> {
        let batch = self.batch(which)?;
        let ids: Vec<i64> = self.of_batch(batch);
        let (done, _) = self.split(&ids, Model::cancel);
        let answer = json!({"cancelled_count": done.len(), "cancelled": done, "not_cancelled": []});
        Some(asked(json!({"action": "cancel", "batch_id": batch}), answer))
    }

    fn pause(&mut self, ids: Vec<i64>, on: bool) -> Step {
        let is_alone_unknown = matches!(ids[..], [id] if !self.model.tasks.contains_key(&id));
        let (done, not) = self.split(&ids, |model, id| model.pause(id, on));
        let answer = if is_alone_unknown {
            json!({"error": {"code": "not_found"}})
        } else {
            json!({"count": done.len(), "tasks": done, "not_changed": about(&not)})
        };
        asked(with_ids(json!({"action": if on { "pause" } else { "resume" }}), ids), answer)
    }

    fn pause_batch(&mut self, which: u8, on: bool) -> Option<Step> {
        let batch = self.batch(which)?;
        let ids: Vec<i64> = self.of_batch(batch);
        let (done, _) = self.split(&ids, |model, id| model.pause(id, on));
        self.model.pause_batch(batch, on);
        let answer = json!({"count": done.len(), "tasks": done, "not_changed": []});
        Some(asked(json!({"action": if on { "pause" } else { "resume" }, "batch_id": batch}), answer))
    }

    fn pause_run(&mut self, paused: Option<bool>) -> Step {
        let request = match paused {
            Some(true) => json!({"action": "pause"}),
            Some(false) => json!({"action": "pause", "running": "leave"}),
            None => json!({"action": "resume"}),
        };
        if paused.is_some() && self.model.state != State::Running {
            return asked(request, json!({"error": {"code": "conflict"}}));
        }
        self.model.paused = paused;
        asked(request, json!({"paused": paused.is_some()}))
    }

    fn retry(&mut self, ids: &[i64]) -> Step {
        let known = self.model.tasks.clone();
        let (done, not) = self.split(ids, Model::retry);
        let answer = match (ids, not.first()) {
            ([id], Some(_)) if known.contains_key(id) => json!({"error": {"code": "conflict"}}),
            ([_], Some(_)) => json!({"error": {"code": "not_found"}}),
            _ => json!({"requeued": done.len(), "not_requeued": about(&not)}),
        };
        asked(with_ids(json!({"action": "retry"}), ids.to_vec()), answer)
    }

    fn retry_all(&mut self, status: Status, batch: Option<u8>) -> Option<Step> {
        let mut request = json!({"action": "retry", "filter_status": status.name()});
        let mut ids: Vec<i64> = self.model.of(status).collect();
        if let Some(which) = batch {
            let batch = self.batch(which)?;
            request["batch_id"] = json!(batch);
            ids.retain(|id| self.model.tasks[id].batch == batch);
        }
        let (done, _) = self.split(&ids, Model::retry);
        Some(asked(request, json!({"requeued": done.len(), "not_requeued": []})))
    }

    fn update(&mut self, ids: Vec<i64>, change: Value, priority: Option<usize>, hasten: bool) -> Step {
        let (done, not) = self.split(&ids, |model, id| model.update(id, priority, hasten));
        let mut request = change;
        request["action"] = json!("update");
        asked(with_ids(request, ids), json!({"updated": done, "not_updated": about(&not)}))
    }

    fn clear(&mut self, status: Option<Status>, batch: Option<u8>) -> Option<Step> {
        let mut request = json!({"action": "clear"});
        if let Some(status) = status {
            request["filter_status"] = json!(status.name());
        }
        let batch = match batch {
            Some(which) => Some(self.batch(which)?),
            None => None,
        };
        if let Some(batch) = batch {
            request["batch_id"] = json!(batch);
        }
        let cleared = self.model.clear(status, batch);
        Some(asked(request, json!({"cleared": cleared, "remaining": self.model.tasks.len()})))
    }

    /// The ids for which `change` held, and the others.
    fn split(&mut self, ids: &[i64], mut change: impl FnMut(&mut Model, i64) -> bool) -> (Vec<i64>, Vec<i64>) {
        ids.iter().partition(|id| change(&mut self.model, **id))
    }

    /// Ids that were given once, ascending; what they name may be cleared.
    fn picked(&self, picks: &[u8]) -> Option<Vec<i64>> {
        let given: Vec<i64> = (1..self.model.next_task).collect();
        let mut ids = picks.iter().map(|pick| nth(&given, *pick).copied()).collect::<Option<Vec<i64>>>()?;
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
    }

    fn gate(&self, which: u8) -> Option<i64> {
        let is_gate = |id: &i64| self.model.tasks[id].kind == Kind::Gate && !self.model.is_suspended(*id);
        nth(&self.model.of(Status::Running).filter(is_gate).collect::<Vec<_>>(), which).copied()
    }

    /// A batch that has tasks.
    fn batch(&self, which: u8) -> Option<i64> {
        let mut batches: Vec<i64> = self.model.tasks.values().map(|task| task.batch).collect();
        batches.sort_unstable();
        batches.dedup();
        nth(&batches, which).copied()
    }

    fn of_batch(&self, batch: i64) -> Vec<i64> {
        self.model.tasks.iter().filter(|(_, task)| task.batch == batch).map(|(id, _)| *id).collect()
    }
}

fn nth<T>(list: &[T], which: u8) -> Option<&T> {
    list.get(usize::from(which).checked_rem(list.len())?)
}

const fn asked(request: Value, answer: Value) -> Step {
    Step { act: Act::Request(request), answer }
}

/// One id goes as `task_id`, several as `task_ids`; `update` takes both as well.
fn with_ids(mut request: Value, ids: Vec<i64>) -> Value {
    match ids[..] {
        [id] => request["task_id"] = json!(id),
        _ => request["task_ids"] = json!(ids),
    }
    request
}

fn about(ids: &[i64]) -> Vec<Value> {
    ids.iter().map(|id| json!({"task_id": id})).collect()
}

/// A simulated failure is never the last one, for which of several simultaneous ones is the last is a matter of time.
const fn max_retries(draft: Draft) -> u32 {
    match draft.kind {
        Kind::Instant { fails } => fails + draft.retries,
        Kind::Gate | Kind::Endless => draft.retries,
    }
}

fn task_of(draft: Draft) -> Value {
    let (function, params) = match draft.kind {
        Kind::Gate => ("code_execution", json!({"runtime": "terminal", "code": GATE})),
        Kind::Instant { fails } => ("simulate", json!({"duration": 0, "fail": fails})),
        Kind::Endless => ("simulate", json!({"duration": FAR})),
    };
    let mut task = json!({"function": function, "params": params, "priority": PRIORITIES[draft.priority],
        "max_retries": max_retries(draft), "retry_delay": FAR});
    if draft.kind == Kind::Gate {
        task["permanent_exit_codes"] = json!([PERMANENT]);
    }
    if draft.delayed {
        task["delay"] = json!(FAR);
    }
    task
}
