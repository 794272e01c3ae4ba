//! Late, duplicate and stale events and orders change nothing, and the tallies are the rows, after each.

#[path = "support/tallies.rs"]
mod tallies;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use batch_executor::attempt::{Attempt, Ended, Event, Output, Verdict};
use batch_executor::filter::Filter;
use batch_executor::queue::operation::Operation;
use batch_executor::queue::ops::apply::Apply;
use batch_executor::queue::ops::cancel::Cancel;
use batch_executor::queue::ops::clear::{Clear, ClearPassing};
use batch_executor::queue::ops::control::{Promote, Start, Stop};
use batch_executor::queue::ops::insert::{Batch, Insert, NewContext, NewTask};
use batch_executor::queue::ops::pause::Pause;
use batch_executor::queue::ops::recover::{Recover, Release};
use batch_executor::queue::ops::retry::{Change, Retry, Which};
use batch_executor::queue::ops::select::Selection;
use batch_executor::queue::ops::update::Update;
use batch_executor::queue::{Opened, Queue, Rules};
use batch_executor::space::Floor;
use batch_executor::task::{Cause, ClaimId, Hold, Limits, Order, Priority, TaskId, TaskSpec};
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tallies::DIFFERENCES;
use tokio::sync::mpsc::UnboundedReceiver;

/// All that an operation on a task may change.
const ROWS: &str = "SELECT json_array('task', id, name, priority, state, ready_at, claim, cancel_requested, attempts,
        retry_count, interruptions, first_started_at, started_at, finished_at, run_ms, reason) FROM task
    UNION ALL SELECT json_array('attempt', task_id, number, started_at, outcome, cause, error, exit_code) FROM attempt
    UNION ALL SELECT json_array('output', task_id, number, hex(frames)) FROM output
    UNION ALL SELECT json_array('run', state, reason, failures) FROM executor";

/// A queue in a file, and a second connection that looks at it.
struct Bench {
    queue: Queue,
    claimed: UnboundedReceiver<Vec<Attempt>>,
    eye: SqliteConnection,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// With so many tasks, running.
    async fn with(tasks: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("queue.db");
        let opened = Queue::open(
            &path,
            folder.path(),
            Rules { caps: &BTreeMap::new(), floor: Floor::new(folder.path().into(), 0), kept_events: 1000 },
        )
        .await
        .expect("a queue");
        let Opened { queue, claimed, .. } = opened;
        let eye = SqliteConnectOptions::new().filename(&path).connect().await.expect("a connection");
        let mut bench = Self { queue, claimed, eye, _folder: folder };
        bench.add(tasks).await;
        bench.write(Start { max_concurrent: Some(2), keep: Some(true), ..Start::default() }).await;
        bench
    }

    async fn add(&mut self, tasks: usize) {
        assert!(self.write(new_tasks(tasks)).await.is_ok());
    }

    /// Writes; then the tallies must be the rows.
    async fn write<O: Operation>(&mut self, operation: O) -> O::Answer {
        let answer = self.queue.write(operation).await.expect("written");
        let differences: Vec<String> = sqlx::query_scalar(DIFFERENCES).fetch_all(&mut self.eye).await.expect("read");
        assert!(differences.is_empty(), "{differences:?}");
        answer
    }

    async fn rows(&mut self) -> Vec<String> {
        sqlx::query_scalar(ROWS).fetch_all(&mut self.eye).await.expect("rows")
    }

    /// Writes what must change nothing.
    async fn in_vain<O: Operation>(&mut self, operation: O) -> O::Answer {
        let before = self.rows().await;
        let answer = self.write(operation).await;
        assert_eq!(self.rows().await, before);
        answer
    }

    /// The claims that were handed out, in their order.
    async fn claims(&mut self) -> Vec<(TaskId, ClaimId)> {
        let claimed = self.claimed.recv().await.expect("claims");
        claimed.iter().map(|attempt| (attempt.task_id, attempt.claim)).collect()
    }

    async fn state(&mut self, task: TaskId) -> i64 {
        sqlx::query_scalar("SELECT state FROM task WHERE id = ?1")
            .bind(task)
            .fetch_one(&mut self.eye)
            .await
            .expect("a task")
    }
}

fn new_tasks(count: usize) -> Insert {
    let spec = TaskSpec {
        limits: Limits::default(),
        name: "task".into(),
        function: "command".into(),
        params: serde_json::Map::new(),
        priority: Priority::Medium,
        max_retries: 1,
        timeout_ms: None,
        retry_delay_ms: 0,
        permanent_exit_codes: Vec::new(),
        delay_ms: 0,
    };
    Insert {
        tasks: vec![NewTask::of(spec).expect("JSON"); count],
        errors: Vec::new(),
        batch: Batch::New { name: None },
        more: false,
        context: NewContext::of("/".into(), &BTreeMap::new()).expect("JSON"),
        key: None,
    }
}

fn apply(events: impl Into<Vec<Event>>) -> Apply {
    Apply { events: Arc::new(events.into()) }
}

fn started((task_id, claim): (TaskId, ClaimId)) -> Event {
    Event::Started { claim, task_id, started_at: 1000 }
}

fn ended((task_id, claim): (TaskId, ClaimId), exit_code: i32, order: Option<Order>) -> Event {
    let verdict = match exit_code {
        0 => Verdict::Success { result: None },
        code => Verdict::Failure { error: format!("exit code {code}"), permanent: false, result: None },
    };
    Event::Ended(Box::new(Ended {
        claim,
        task_id,
        started_at: 1000,
        finished_at: 1500,
        run_ms: 500,
        timeout_ms: Some(500),
        order,
        verdict,
        exit_code: Some(exit_code),
        signal: None,
        outside_kill: None,
        cpu_us: None,
        max_rss: None,
        output: Output { frames: vec![1, 1, 0, 0, 0, b'x'], ..Output::default() },
    }))
}

fn cancel(task: TaskId, ordered: &[ClaimId]) -> Cancel {
    let ordered: BTreeMap<TaskId, ClaimId> = ordered.iter().map(|claim| (task, *claim)).collect();
    Cancel { selection: Selection::Tasks(vec![task]), yielded: Vec::new(), ordered }
}

fn lost() -> Recover {
    Recover {
        held: BTreeSet::new(),
        had_process: BTreeSet::new(),
        cause: Cause::KeeperLost,
        max_interruptions: 5,
        output_dir: "/nowhere".into(),
    }
}

fn retry(ids: Vec<i64>) -> Retry {
    Retry { which: Which::Tasks(ids), change: Change::default() }
}

#[tokio::test]
async fn an_end_counts_once() {
    let mut bench = Bench::with(2).await;
    let [one, two] = bench.claims().await[..] else { panic!("two claims") };
    bench.write(apply([started(one), ended(one, 0, None)])).await;
    assert_eq!(bench.state(1).await, 3);
    bench.in_vain(apply([ended(one, 0, None)])).await;
    bench.in_vain(apply([ended(one, 1, None)])).await;
    bench.in_vain(apply([started(one)])).await;
    // Without its start, and twice in one group.
    bench.write(apply([ended(two, 0, None), ended(two, 1, None), started(two)])).await;
    assert_eq!(bench.state(2).await, 3);
}

#[tokio::test]
async fn an_event_of_an_earlier_claim_is_not_the_next_one_s() {
    let mut bench = Bench::with(1).await;
    let first = bench.claims().await[0];
    bench.write(Release { claims: vec![first.1] }).await;
    let second = bench.claims().await[0];
    assert_ne!(first.1, second.1);
    bench.in_vain(apply([started(first)])).await;
    bench.in_vain(apply([ended(first, 0, None)])).await;
    bench.in_vain(Release { claims: vec![first.1] }).await;
    bench.write(apply([started(second), ended(second, 1, None)])).await;
    let retry = bench.claims().await[0];
    bench.in_vain(apply([ended(second, 0, None)])).await;
    bench.write(apply([ended(retry, 1, None)])).await;
    assert_eq!(bench.state(1).await, 4);
}

#[tokio::test]
async fn a_cancel_holds_whatever_comes_after_it() {
    let mut bench = Bench::with(3).await;
    let claims = bench.claims().await;
    bench.write(apply([started(claims[0])])).await;
    // Not asked for at the keeper yet: nothing is changed, the claim is named.
    let asked = bench.in_vain(cancel(1, &[])).await;
    assert_eq!((asked.count, asked.claimed), (0, vec![claims[0]]));
    assert_eq!(bench.write(cancel(1, &[claims[0].1])).await.count, 1);
    bench.write(apply([ended(claims[0], 0, None)])).await;
    assert_eq!(bench.state(1).await, 5, "whatever its exit code");
    bench.in_vain(apply([ended(claims[0], 0, None)])).await;
    // The end of what was ordered may be here before the order is: it was cancelled all the same.
    let late = bench.in_vain(cancel(1, &[claims[0].1])).await;
    assert_eq!((late.count, late.not_cancelled.len()), (1, 0));
    let again = bench.in_vain(cancel(1, &[])).await;
    assert_eq!((again.count, again.not_cancelled.len()), (0, 1));
    // A claimed one that is given back is cancelled at once; its late events are nobody's.
    let yielded = Cancel { yielded: vec![claims[1].1], ..cancel(2, &[]) };
    assert_eq!(bench.write(yielded).await.count, 1);
    bench.in_vain(apply([started(claims[1]), ended(claims[1], 0, None)])).await;
    assert_eq!(bench.state(2).await, 5);
    // Cancelled, then lost with its keeper.
    bench.write(apply([started(claims[2])])).await;
    bench.write(cancel(3, &[claims[2].1])).await;
    bench.write(lost()).await;
    assert_eq!(bench.state(3).await, 5);
}

#[tokio::test]
async fn what_has_ended_is_changed_by_retry_alone() {
    let mut bench = Bench::with(3).await;
    let claims = bench.claims().await;
    bench.write(apply([ended(claims[0], 0, None), ended(claims[1], 1, None)])).await;
    let second = bench.claims().await[0];
    bench.write(apply([ended(second, 1, None), started(claims[2])])).await;
    let update = |ids: &[TaskId]| Update { task_ids: ids.to_vec(), name: Some("new".into()), ..Update::default() };
    assert_eq!(bench.in_vain(update(&[1, 2, 3, 9])).await.not_updated.len(), 4);
    assert_eq!(bench.in_vain(retry(vec![1, 3, 9])).await.not_requeued.len(), 3);
    bench.write(Stop { reason: "stopped by request", yielded: Vec::new() }).await;
    assert_eq!(bench.write(retry(vec![2])).await.requeued, 1);
    assert_eq!(bench.in_vain(retry(vec![2])).await.requeued, 0);
    bench.in_vain(apply([ended(second, 1, None)])).await;
    bench.in_vain(Promote).await;
}

#[tokio::test]
async fn a_loss_is_counted_once() {
    let mut bench = Bench::with(2).await;
    let claims = bench.claims().await;
    bench.write(apply([started(claims[0])])).await;
    let _closed = bench.queue.close_gate();
    let found = bench.write(lost()).await;
    assert_eq!((found.interrupted, found.released), (1, 1));
    assert_eq!(bench.in_vain(lost()).await.interrupted, 0);
    bench.in_vain(apply([ended(claims[0], 0, None), started(claims[1]), ended(claims[1], 0, None)])).await;
    assert_eq!((bench.state(1).await, bench.state(2).await), (0, 0));
}

#[tokio::test]
async fn a_stopped_attempt_goes_back_and_clear_takes_only_what_ended() {
    let mut bench = Bench::with(2).await;
    let claims = bench.claims().await;
    bench.write(apply([started(claims[0]), ended(claims[1], 0, None)])).await;
    bench.write(Stop { reason: "stopped by request", yielded: Vec::new() }).await;
    bench.in_vain(Stop { reason: "deadline", yielded: Vec::new() }).await;
    let clear = Clear { states: vec![3, 4, 5], batch_id: Some(1), ended_by: i64::MAX, upto: i64::MAX };
    assert_eq!(bench.write(clear.clone()).await, 1);
    assert_eq!(bench.in_vain(clear).await, 0);
    bench.write(apply([ended(claims[0], 0, Some(Order::Stop))])).await;
    assert_eq!(bench.state(1).await, 0);
    bench.in_vain(apply([ended(claims[0], 0, Some(Order::Stop))])).await;
    bench.in_vain(apply([ended(claims[1], 0, None)])).await;
}

#[tokio::test]
async fn what_does_not_pass_any_more_is_left_alone() {
    let mut bench = Bench::with(3).await;
    let claims = bench.claims().await;
    let condition = |text| Filter::parse(text).expect("a filter").condition(0);
    let cancel = |text| Cancel {
        selection: Selection::Passing { ids: vec![1, 2, 3], condition: condition(text) },
        yielded: Vec::new(),
        ordered: BTreeMap::new(),
    };
    let retry = |text| Retry {
        which: Which::Passing { ids: vec![1, 2, 3], condition: condition(text) },
        change: Change::default(),
    };
    let clear = |text| ClearPassing { ids: vec![1, 2, 3], condition: condition(text) };
    let outcome = bench.in_vain(cancel("status=running")).await;
    assert_eq!((outcome.count, outcome.not_cancelled, outcome.claimed), (0, Vec::new(), Vec::new()));
    let outcome = bench.in_vain(cancel("status=queued and id=2")).await;
    assert_eq!(
        (outcome.ahead, outcome.claimed),
        (vec![claims[1]], Vec::new()),
        "taken back, for once started it does not pass"
    );
    assert_eq!(bench.in_vain(retry("status=queued")).await.requeued, 0);
    assert_eq!(bench.in_vain(clear("name=task")).await, 0, "they have not ended");

    let yielded = claims.iter().map(|(_, claim)| *claim).collect();
    let cancelled = bench.write(Cancel { yielded, ..cancel("id<3") }).await;
    assert_eq!((cancelled.count, cancelled.cancelled), (2, vec![1, 2]));
    assert_eq!(bench.in_vain(retry("status=failed")).await.requeued, 0);
    assert_eq!(bench.write(retry("status=cancelled and id!=1")).await.requeued, 1);
    assert_eq!(bench.write(clear("status=cancelled")).await, 1);
}

#[tokio::test]
async fn what_had_a_process_is_told_of_as_started_before_it_is_as_lost() {
    let mut bench = Bench::with(2).await;
    let [(_, ran), _] = bench.claims().await[..] else { panic!("two claims") };
    bench.write(Recover { had_process: BTreeSet::from([ran]), ..lost() }).await;
    let told: String = sqlx::query_scalar("SELECT events FROM event ORDER BY first DESC LIMIT 1")
        .fetch_one(&mut bench.eye)
        .await
        .expect("events");
    assert_eq!(told, r#"[{"s":[1,1]},{"e":[1,1,0]}]"#);
}

#[tokio::test]
async fn a_batch_that_ends_in_the_commit_that_retries_it_is_told_of() {
    let mut bench = Bench::with(1).await;
    let yielded = bench.claims().await.iter().map(|(_, claim)| *claim).collect();
    let cancel = || Cancel { selection: Selection::Tasks(vec![1]), yielded: Vec::new(), ordered: BTreeMap::new() };
    bench.write(Stop { reason: "stopped by request", yielded }).await;
    bench.write(cancel()).await;
    let retry = Retry { which: Which::Tasks(vec![1]), change: Change::default() };
    // Both wait for the writer at once.
    let (retried, cancelled) = tokio::join!(bench.queue.write(retry), bench.queue.write(cancel()));
    assert_eq!((retried.expect("written").requeued, cancelled.expect("written").count), (1, 1));
    let told: String = sqlx::query_scalar("SELECT events FROM event ORDER BY first DESC LIMIT 1")
        .fetch_one(&mut bench.eye)
        .await
        .expect("events");
    let said = ["requeued", "cancelled", "batch_ended", "idle"].map(|kind| told.matches(kind).count());
    // The counts name a state, too.
    assert_eq!(said, [1, 2, 1, 1], "{told}");
}

/// Whoever waits for what came after a pause must not wait for a further commit where it came in the same one.
#[tokio::test]
async fn a_pause_knows_that_more_came_in_its_own_commit() {
    let mut bench = Bench::with(1).await;
    let task = bench.claims().await[0];
    let before = bench.queue.snapshot().operations;
    let pause = Pause {
        selection: Selection::Tasks(vec![task.0]),
        hold: Some(Hold::Pause),
        yielded: Vec::new(),
        held: BTreeMap::new(),
    };
    let queue = bench.queue.clone();
    // While the first is carried out the others wait, and share the next commit.
    let insert = new_tasks(20_000);
    let (_, paused, _) = tokio::join!(queue.write(insert), queue.write(pause), queue.write(apply([started(task)])));
    let paused = paused.expect("written");
    assert_eq!((paused.claimed, paused.running), (vec![task], Vec::new()), "it came before the start");
    assert_eq!((paused.place, bench.queue.snapshot().operations), (before + 2, before + 3));
}
