//! `results` and `show`.

use std::fmt::Write;
use std::io;

use serde_json::Value;

use super::{Reply, status, tasks, unique, unless_ending};
use crate::export;
use crate::filter::Sort;
use crate::protocol::{Counts, Refusal, Results, ResultsData, ResultsFormat, Show, Summary, Task, milliseconds};
use crate::queue::read::{Filter, Selected};
use crate::server::Shared;
use crate::task::Status;
use crate::time;

/// The default of `limit`.
const LIMIT: u32 = 1000;
/// How many sorted tasks are read at once.
const AT_ONCE: usize = 1000;
/// How many tasks the text lists.
const LISTED: usize = 50;

pub(super) async fn results(service: &Shared, request: Results) -> Result<Reply, Refusal> {
    let task_ids = request.task_ids.clone().map(unique);
    let chosen = match &task_ids {
        Some(ids) => Some(service.queue.tally_of(ids, None).await?),
        None => None,
    };
    let missing = task_ids.as_ref().zip(chosen).and_then(|(ids, found)| super::missing(ids.len(), found.counts.total));
    let now = time::wall_ms();
    let filter = Filter { status: request.filter_status, batch_id: request.batch_id, task_ids, condition: None };
    let filter = filter.passing(request.filter.as_ref(), now);
    let limit = request.limit.unwrap_or(LIMIT);
    let of_page = page(service, &filter, limit, request.cursor.unwrap_or(0));
    let (tasks, next_cursor) = match (request.sort, &request.filter) {
        (Some(sort), _) => (unless_ending(service, sorted(service, &filter, sort, now, limit)).await?, None),
        (None, Some(_)) => unless_ending(service, of_page).await?,
        (None, None) => of_page.await?,
    };
    let summary = match (&request.filter, request.cursor) {
        (None, _) => summary(service, &request, chosen).await?,
        (Some(_), None) => sums(service, unless_ending(service, service.queue.tally_passing(&filter)).await?),
        (Some(_), Some(_)) => sums(service, standing(&tasks)),
    };
    let data = ResultsData { summary, tasks, next_cursor };
    // The time is not known of one status alone.
    let of_all = request.filter_status.is_none() || request.filter.is_some();
    let message = match request.format {
        ResultsFormat::Text => text(&data, of_all),
        ResultsFormat::Summary => headline(&data.summary, of_all),
        ResultsFormat::Json => serde_json::to_string(&data.tasks).unwrap_or_default(),
        ResultsFormat::Csv => export::csv_text(&data.tasks),
    };
    Ok(Reply::new(message, &data)?.warn(missing.into_iter().collect()))
}

/// Tasks of a filter after a cursor, until the limit or the page's bytes are reached.
async fn page(service: &Shared, filter: &Filter, limit: u32, cursor: i64) -> Result<(Vec<Task>, Option<i64>), Refusal> {
    let upto = service.queue.last_id().await?;
    let mut found: Vec<Task> = Vec::new();
    let mut bytes = 0;
    let mut after = cursor;
    loop {
        let room = i64::from(limit) - i64::try_from(found.len()).unwrap_or(i64::MAX);
        let page = service.queue.page(filter, after, upto, room, false).await?;
        for task in service.queue.shown(&page.rows)? {
            let size = length(&task);
            if !found.is_empty() && bytes + size > service.settings.max_page_bytes {
                let last = found.last().map(|task| task.task_id);
                return Ok((found, last));
            }
            bytes += size;
            found.push(task);
        }
        match page.next {
            None => return Ok((found, None)),
            Some(next) if found.len() < limit as usize => after = next,
            Some(next) => {
                let ends = service.queue.is_end(filter, next, upto).await?;
                return Ok((found, (!ends).then_some(next)));
            }
        }
    }
}

/// The first tasks of an order, until the limit or the page's bytes are reached.
async fn sorted(service: &Shared, filter: &Filter, sort: Sort, now_ms: i64, limit: u32) -> Result<Vec<Task>, Refusal> {
    let ids = service.queue.first_by(filter, sort, now_ms, limit as usize).await?;
    let mut rest = ids.as_slice();
    let mut found: Vec<Task> = Vec::with_capacity(rest.len());
    let mut bytes = 0;
    while !rest.is_empty() {
        let some = &rest[..rest.len().min(AT_ONCE)];
        let (rows, taken) = service.queue.rows_of(some).await?;
        for task in service.queue.shown(&rows)? {
            bytes += length(&task);
            if !found.is_empty() && bytes > service.settings.max_page_bytes {
                return Ok(found);
            }
            found.push(task);
        }
        rest = &rest[taken..];
    }
    Ok(found)
}

/// How long a task is as JSON.
fn length(task: &Task) -> u64 {
    struct Count(u64);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // A task has text keys only, so it can be written.
    let _ = serde_json::to_writer(&mut count, task);
    count.0
}

/// The sums; `chosen`: those of the chosen tasks, in whatever batch.
async fn summary(service: &Shared, request: &Results, chosen: Option<Selected>) -> Result<Summary, Refusal> {
    let selected = match (&request.task_ids, request.batch_id) {
        (Some(ids), Some(id)) => service.queue.tally_of(ids, Some(id)).await?,
        (None, Some(id)) => status::batch(service, id).await?,
        (_, None) => chosen.unwrap_or_else(|| status::all(service)),
    };
    let sums = sums(service, selected);
    Ok(Summary { counts: filtered(sums.counts, request.filter_status), ..sums })
}

fn sums(service: &Shared, Selected { counts, run_ms }: Selected) -> Summary {
    let status = status::data(service, counts, run_ms);
    Summary { counts, total_execution_time: status.total_execution_time, average_task_time: status.average_task_time }
}

/// How the tasks of a page stand.
fn standing(tasks: &[Task]) -> Selected {
    let count = |status| tasks.iter().filter(|task| task.status == status).count().try_into().unwrap_or(0);
    let [queued, running, completed, failed, cancelled] =
        [Status::Queued, Status::Running, Status::Completed, Status::Failed, Status::Cancelled].map(count);
    let timed = tasks.iter().filter(|task| matches!(task.status, Status::Completed | Status::Failed));
    let run_ms = timed.filter_map(|task| task.execution_time).map(milliseconds).sum();
    Selected { counts: Counts::of(queued, running, completed, failed, cancelled), run_ms }
}

/// The counts of the one status that was asked for.
fn filtered(counts: Counts, status: Option<Status>) -> Counts {
    let Some(status) = status else { return counts };
    let none = Counts::default();
    let mut one = match status {
        Status::Queued => Counts { queued: counts.queued, ..none },
        Status::Running => Counts { running: counts.running, ..none },
        Status::Completed => Counts { completed: counts.completed, ..none },
        Status::Failed => Counts { failed: counts.failed, ..none },
        Status::Cancelled => Counts { cancelled: counts.cancelled, ..none },
    };
    one.total = one.queued + one.running + one.completed + one.failed + one.cancelled;
    one
}

fn headline(summary: &Summary, of_all: bool) -> String {
    let c = &summary.counts;
    let time = if of_all { format!("; {:.1} s of execution", summary.total_execution_time) } else { String::new() };
    format!(
        "{}: {} completed, {} failed, {} cancelled, {} running, {} queued{time}.",
        tasks(c.total),
        c.completed,
        c.failed,
        c.cancelled,
        c.running,
        c.queued,
    )
}

fn text(data: &ResultsData, of_all: bool) -> String {
    let mut text = headline(&data.summary, of_all);
    for task in data.tasks.iter().take(LISTED) {
        let said = task.error.clone().or_else(|| task.result.as_ref().map(brief)).unwrap_or_default();
        let said = match (task.status, &task.started_at) {
            (Status::Running, Some(since)) => format!(" for {:.1} s", seconds_since(since)),
            _ if said.is_empty() => said,
            _ => format!(": {}", first_line(&said)),
        };
        // Writing to a text does not fail.
        let _ = write!(text, "\n{} {} {}{said}", task.task_id, task.status, task.name);
    }
    if data.tasks.len() > LISTED {
        let _ = write!(text, "\n… and {} more in data", data.tasks.len() - LISTED);
    }
    if let Some(cursor) = data.next_cursor {
        let _ = write!(text, "\nMore with cursor {cursor}.");
    }
    text
}

fn seconds_since(when: &str) -> f64 {
    let since = chrono::DateTime::parse_from_rfc3339(when).map_or(0, |when| time::wall_ms() - when.timestamp_millis());
    time::seconds(since.max(0))
}

/// Its first line, at most 100 characters of it; what is left out is marked.
fn first_line(said: &str) -> String {
    let said = said.trim_end();
    let line = said.lines().next().unwrap_or_default();
    let shown: String = line.chars().take(100).collect();
    if shown.len() < said.len() { shown + "…" } else { shown }
}

/// The one line of a result that a person looks for.
fn brief(result: &Value) -> String {
    match result.get("stdout").and_then(Value::as_str) {
        Some(stdout) => stdout.to_owned(),
        None => result.to_string(),
    }
}

pub(super) async fn show(service: &Shared, request: &Show) -> Result<Reply, Refusal> {
    let id = request.task_id;
    let task = service.queue.task(id).await?.ok_or_else(|| Refusal::not_found(format!("no task {id}")))?;
    let said = match task.status {
        Status::Failed | Status::Completed => task.error.as_ref().or(task.reason.as_ref()),
        Status::Queued | Status::Running | Status::Cancelled => task.reason.as_ref(),
    };
    let why = said.map(|why| format!(": {why}")).unwrap_or_default();
    let next = match task.status {
        Status::Failed => " `logs` shows its output, `retry` runs it again.",
        Status::Cancelled => " `retry` runs it.",
        Status::Completed => " `logs` shows its output.",
        Status::Queued | Status::Running => "",
    };
    Reply::new(format!("task {id} `{}` is {}{why}.{next}", task.name, task.status), &task)
}
