//! Follows the events and tells of them: one delivery of a hook at a time, a few at once. It sleeps until something has happened or is
//! due; where no hook is configured nothing runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::deliver::{Deliverer, Failure};
use super::gather::to_tell;
use super::message::{FIRST, Sender, Told};
use super::source;
use super::{Hook, On};
use crate::executor::Alarm;
use crate::home::Home;
use crate::platform;
use crate::protocol::Gap;
use crate::queue::error::QueueError;
use crate::queue::ops::hooks::{Attempted, Meet, Record, Tested, Then};
use crate::queue::{HookStanding, Queue, Waiting};
use crate::secret::Source;
use crate::task::{DEFAULT_RETRY_DELAY_MS, RetryPolicy};
use crate::time::wall_ms;

/// How many deliveries are on their way at once.
const AT_ONCE: usize = 4;
/// How far the stored place in the events may be behind while a daemon runs: after a crash what was looked at since, and not told, is
/// looked at again.
const UNSTORED: i64 = 1000;
/// What happens within so much of the first is looked at with it: a rush is not a look for each commit.
const BREATH: Duration = Duration::from_millis(50);
/// Between two tries while the disk takes nothing.
const STORAGE_RETRY: Duration = Duration::from_millis(500);

/// A handle on the hooks; cheap to clone.
#[derive(Clone)]
pub struct Hooks {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Queue,
    hooks: Vec<Hook>,
    /// What any of them tells of.
    on: Vec<On>,
    output_dir: PathBuf,
    deliverer: Deliverer,
    /// Held by a test: one at a time.
    testing: Mutex<()>,
    /// Nothing more is told.
    ending: watch::Sender<bool>,
    /// The first event that was not looked at; 0: none was.
    seen: AtomicI64,
    runner: StdMutex<Option<JoinHandle<()>>>,
    abort: OnceLock<AbortHandle>,
}

impl Hooks {
    /// Begins to follow the events. Commands run in `home`, and get `environment`.
    pub fn start(
        queue: Queue,
        hooks: Vec<Hook>,
        secrets: BTreeMap<String, Source>,
        home: &Home,
        environment: BTreeMap<String, String>,
    ) -> Self {
        let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let deliverer = Deliverer {
            sender: Sender { host, home: home.root().display().to_string() },
            secrets,
            program: platform::running_program(),
            home: home.root().to_owned(),
            environment,
        };
        let inner = Inner {
            queue,
            on: hooks.iter().flat_map(|hook| hook.on.iter().copied()).collect(),
            hooks,
            output_dir: home.output_dir(),
            deliverer,
            testing: Mutex::new(()),
            ending: watch::Sender::new(false),
            seen: AtomicI64::new(0),
            runner: StdMutex::new(None),
            abort: OnceLock::new(),
        };
        let hooks = Self { inner: Arc::new(inner) };
        let runner = tokio::spawn(hooks.clone().run());
        hooks.inner.abort.get_or_init(|| runner.abort_handle());
        *hooks.inner.runner.lock().unwrap_or_else(PoisonError::into_inner) = Some(runner);
        hooks
    }

    /// Begins nothing more, and waits so long for what is on its way; what is not done by then is done by the next daemon.
    pub async fn finish(&self, patience: Duration) {
        self.inner.ending.send_replace(true);
        let runner = self.inner.runner.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut runner) = runner
            && tokio::time::timeout(patience, &mut runner).await.is_err()
        {
            self.hurry();
            drop(runner.await);
        }
        // A hook that the next daemon finds to be on more events is told of none that was looked at.
        let next = self.inner.seen.load(Ordering::Relaxed);
        if next > 0 {
            let record = Record { next, tell: Vec::new(), first: FIRST, gap: None, on_their_way: Vec::new() };
            if let Err(error) = self.inner.queue.write(record).await {
                tracing::warn!(err = %error, "how far hooks were told cannot be written down");
            }
        }
    }

    /// Ends what is on its way, the commands that run included.
    pub fn hurry(&self) {
        if let Some(runner) = self.inner.abort.get() {
            runner.abort();
        }
    }

    /// The configured hooks.
    pub fn declared(&self) -> &[Hook] {
        &self.inner.hooks
    }

    /// How a hook stands.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn standing(&self, hook: &Hook) -> Result<HookStanding, QueueError> {
        self.inner.queue.hook_standing(&hook.name).await
    }

    /// Tells an example now, once, and writes down how that went.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub async fn test(&self, hook: &Hook) -> Result<Tested, QueueError> {
        let _turn = self.inner.testing.lock().await;
        let event = hook.on.first().copied().unwrap_or(On::Idle);
        let delivered = self.inner.deliverer.deliver(hook, &Told::example(event, wall_ms())).await;
        let is_delivered = delivered.is_ok();
        let said = delivered.unwrap_or_else(|failure| failure.said);
        let tested = Tested { hook: hook.name.clone(), event: event.as_str(), said, is_delivered };
        self.inner.queue.write(tested.clone()).await?;
        Ok(tested)
    }

    async fn run(self) {
        let Some(next) = self.meet().await else { return };
        let mut alarm = match Alarm::new() {
            Ok(alarm) => alarm,
            Err(error) => {
                tracing::error!(err = %error, "there is no timer: hooks tell nothing");
                return;
            }
        };
        let queue = &self.inner.queue;
        let first = next.values().copied().min().unwrap_or(0);
        let mut place = Place { begins: next, seen: first, stored: first };
        let (mut commits, mut ending) = (queue.commits(), self.inner.ending.subscribe());
        let mut on_their_way = JoinSet::new();
        let mut busy = BTreeMap::new();
        while !*ending.borrow_and_update() {
            let due = match self.advance(&mut place, &mut busy, &mut on_their_way).await {
                Ok(due) => due,
                Err(error) if error.is_over() => return,
                Err(error) => {
                    tracing::error!(err = %error, "what hooks are to tell could not be read or written; trying again");
                    tokio::time::sleep(STORAGE_RETRY).await;
                    continue;
                }
            };
            alarm.set(queue.clock(), due);
            tokio::select! {
                is_closed = async { commits.wait_for(|snapshot| source::end(snapshot) > place.seen).await.is_err() } => {
                    if is_closed {
                        break;
                    }
                    tokio::time::sleep(BREATH).await;
                }
                Some(done) = on_their_way.join_next() => drop(done.map(|hook| busy.remove(&hook))),
                () = alarm.rings() => {}
                _ = ending.changed() => {}
            }
        }
        while on_their_way.join_next().await.is_some() {}
    }

    /// Lets the queue know the hooks; none where there are none.
    async fn meet(&self) -> Option<BTreeMap<String, i64>> {
        let queue = &self.inner.queue;
        let names: Vec<String> = self.inner.hooks.iter().map(|hook| hook.name.clone()).collect();
        loop {
            // Where none is configured those are forgotten that were: one that comes back is told of nothing old.
            let is_wanted = if names.is_empty() { queue.has_hooks().await } else { Ok(true) };
            let met = match is_wanted {
                Ok(false) => return None,
                Ok(true) => queue.write(Meet { names: names.clone(), end: source::end(&queue.snapshot()) }).await,
                Err(error) => Err(error),
            };
            match met {
                Ok(next) => return Some(next).filter(|next| !next.is_empty()),
                Err(error) if error.is_over() => return None,
                Err(error) => {
                    tracing::error!(err = %error, "the hooks cannot be written down; trying again");
                    tokio::time::sleep(STORAGE_RETRY).await;
                }
            }
        }
    }

    /// Looks at what has happened, begins what is due, and gives when the next is due, in queue time.
    async fn advance(
        &self,
        place: &mut Place,
        busy: &mut BTreeMap<usize, i64>,
        on_their_way: &mut JoinSet<usize>,
    ) -> Result<Option<i64>, QueueError> {
        let queue = &self.inner.queue;
        let end = source::end(&queue.snapshot());
        while place.seen < end {
            self.look(place, busy.values().copied().collect()).await?;
        }
        if busy.len() >= AT_ONCE {
            return Ok(None);
        }
        let mut next = Vec::new();
        for (index, hook) in self.inner.hooks.iter().enumerate().filter(|(index, _)| !busy.contains_key(index)) {
            next.extend(queue.next_delivery(&hook.name).await?.map(|waiting| (index, waiting)));
        }
        // Whoever waits longest, so that none with much to tell holds up the others.
        next.sort_by_key(|(_, waiting)| waiting.due);
        let now = queue.clock().now();
        for (index, waiting) in next {
            if busy.len() >= AT_ONCE {
                return Ok(None);
            }
            if waiting.due > now {
                return Ok(Some(waiting.due));
            }
            busy.insert(index, waiting.id);
            let hooks = self.clone();
            on_their_way.spawn(async move {
                hooks.deliver(&hooks.inner.hooks[index], waiting).await;
                index
            });
        }
        Ok(None)
    }

    /// Looks at some events, and has the queue write down what is to be told of them.
    async fn look(&self, place: &mut Place, on_their_way: Vec<i64>) -> Result<(), QueueError> {
        let end = source::end(&self.inner.queue.snapshot());
        let read = source::read(&self.inner.queue, place.seen, &self.inner.on).await?;
        if let Some(Gap { from, to }) = read.gap {
            tracing::warn!(from, to, "hooks are not told of events that are not kept any more");
        }
        let tell = to_tell(&self.inner.hooks, &place.begins, &read.happened);
        if !tell.is_empty() || read.gap.is_some() || read.next - place.stored >= UNSTORED {
            let record = Record { next: read.next, tell, first: FIRST, gap: read.gap, on_their_way };
            self.inner.queue.write(record).await?;
            place.stored = read.next;
        }
        // Were there nothing to read up to the end, this would not be asked again and again.
        place.seen = if read.next > place.seen { read.next } else { end };
        self.inner.seen.store(place.seen, Ordering::Relaxed);
        Ok(())
    }

    /// With the last lines of what failed, which are not stored a second time.
    async fn with_output(&self, mut told: Told) -> Told {
        for fields in told.first.iter_mut().filter(|_| told.event == On::TaskFailed) {
            let number = |name: &str| fields.get(name).and_then(Value::as_i64);
            let Some((task, attempt)) = number("task_id").zip(number("attempt")) else { continue };
            let attempt = u32::try_from(attempt).unwrap_or(0);
            let lines = source::last_lines(&self.inner.queue, &self.inner.output_dir, task, attempt).await;
            fields.insert("output".to_owned(), json!(lines));
        }
        told
    }

    /// One attempt, and what came of it.
    async fn deliver(&self, hook: &Hook, waiting: Waiting) {
        let Waiting { id, attempts, .. } = waiting;
        let attempt = attempts + 1;
        let delivered = match told(waiting) {
            Some(told) => self.inner.deliverer.deliver(hook, &self.with_output(told).await).await,
            None => Err(Failure::lasting("what was to be told is not understood")),
        };
        let (said, then) = match delivered {
            Ok(said) => {
                tracing::debug!(hook = hook.name, delivery = id, said, "a hook was told");
                (said, Then::Delivered)
            }
            Err(Failure { said, is_lasting }) if is_lasting || attempt >= hook.attempts => {
                tracing::warn!(
                    hook = hook.name,
                    delivery = id,
                    attempt,
                    said,
                    "a hook could not be told; it is given up"
                );
                (said, Then::Failed)
            }
            Err(Failure { said, .. }) => {
                let policy = RetryPolicy { max_retries: hook.attempts, retry_delay_ms: DEFAULT_RETRY_DELAY_MS };
                let after = policy.delay_ms(attempt, fastrand::f64().mul_add(2.0, -1.0));
                tracing::info!(
                    hook = hook.name,
                    delivery = id,
                    attempt,
                    said,
                    after_ms = after,
                    "a hook could not be told yet"
                );
                (said, Then::Again(after))
            }
        };
        // Until it is written the hook stays busy, or the same would be told at once again.
        while let Err(error) = self.inner.queue.write(Attempted { id, said: said.clone(), then }).await {
            if error.is_over() {
                return;
            }
            tracing::error!(err = %error, "how a hook was told cannot be written down; trying again");
            tokio::time::sleep(STORAGE_RETRY).await;
        }
    }
}

/// How far the events were looked at.
struct Place {
    /// The first event that each hook is told of.
    begins: BTreeMap<String, i64>,
    /// The first that was not looked at.
    seen: i64,
    /// The same, as the queue has it.
    stored: i64,
}

/// None where this program cannot have written it.
fn told(waiting: Waiting) -> Option<Told> {
    let (event, first) = (On::of(&waiting.event)?, serde_json::from_str(&waiting.first).ok()?);
    Some(Told { delivery: Some(waiting.id), event, first, count: waiting.count })
}
