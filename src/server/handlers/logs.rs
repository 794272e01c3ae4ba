//! `logs`: the output of an attempt, while it runs too.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Reply;
use crate::executor::{ExecutorError, Follower};
use crate::output::{Found as Lines, LogReader, Marks, STDERR, STDOUT, Search, Streams, log_file};
use crate::protocol::{ErrorCode, LogStream, Logs, LogsData, Refusal};
use crate::queue::read::{NoLog, Stored};
use crate::server::Shared;

/// The default of `limit`, in bytes.
const LIMIT: u32 = 65_536;
/// How long `follow` waits for more.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an end may be on its way into the queue when its output is not in a file any more.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// The least time between two looks at the queue while commits come fast.
const BREATH: Duration = Duration::from_millis(10);
/// Of how many log files it is known how far they were walked.
const REMEMBERED: usize = 32;

/// The log files that were read last, the latest at the end.
static WALKED: Mutex<Vec<(PathBuf, Marks)>> = Mutex::new(Vec::new());

pub(super) async fn logs(service: &Shared, request: &Logs) -> Result<Reply, Refusal> {
    let begun = Instant::now();
    let mut commits = service.queue.commits();
    let mut followed = None;
    loop {
        commits.borrow_and_update();
        let looked = Instant::now();
        let (data, found) = read(service, request, &mut followed).await?;
        let patience = match found {
            Found::OnItsWay => ON_ITS_WAY,
            Found::Nothing if request.follow => PATIENCE,
            Found::Nothing | Found::Text => Duration::ZERO,
        };
        let grown = async {
            match &mut followed {
                Some(follower) => follower.grown().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(begun + patience) => return answer(request, &data),
            () = service.ends() => return Err(ExecutorError::ShuttingDown.into()),
            () = grown => {}
            _ = async { tokio::join!(commits.changed(), tokio::time::sleep_until(looked + BREATH)) } => {}
        }
    }
}

/// What a look at a log found.
enum Found {
    /// Something to answer with, or the end.
    Text,
    /// Nothing new in the log of what runs or is to run.
    Nothing,
    /// The attempt has just ended and its log is on its way into the queue.
    OnItsWay,
}

async fn read(service: &Shared, request: &Logs, followed: &mut Option<Follower>) -> Result<(LogsData, Found), Refusal> {
    let id = request.task_id;
    let none_yet = |attempt| {
        let offset = request.offset.max(0);
        LogsData { text: String::new(), next_offset: offset, size: 0, ended: false, dropped: 0, attempt, matches: None }
    };
    let log = match service.queue.attempt_log(id, request.attempt).await? {
        Ok(log) => log,
        Err(NoLog::NoSuchTask) => return Err(Refusal::not_found(format!("no task {id}"))),
        Err(NoLog::NotStarted) => return Ok((none_yet(0), Found::Nothing)),
        Err(NoLog::NoSuchAttempt(made)) => {
            return Err(Refusal::not_found(format!(
                "task {id} has no such attempt; `attempt` must be from 1 to {made}"
            )));
        }
    };
    let path = log_file(&service.home.output_dir(), id, log.number);
    let mut ended = true;
    let source = match log.stored {
        Stored::Frames(frames) => LogReader::from_bytes(frames),
        Stored::File => opened(&path).unwrap_or_else(|| LogReader::from_bytes(Vec::new())),
        Stored::Running(claim) => {
            ended = false;
            if followed.as_ref().is_none_or(|follower| follower.claim() != claim) {
                *followed = Some(service.executor.follow(claim).await?);
            }
            match opened(&path) {
                Some(log) => log,
                None => return Ok((none_yet(log.number), Found::OnItsWay)),
            }
        }
    };
    let streams = match request.stream {
        LogStream::Both => Streams::Both,
        LogStream::Stdout => Streams::One(STDOUT),
        LogStream::Stderr => Streams::One(STDERR),
    };
    let (offset, limit) = (request.offset, request.limit.unwrap_or(LIMIT) as usize);
    let context = request.context.unwrap_or(0) as usize;
    let search = request.search.clone().map(|text| Search { text, context });
    let page = tokio::task::spawn_blocking(move || {
        let mut source = source;
        let page = page(&mut source, streams, search.as_ref(), offset, limit, !ended);
        remember(path, source.into_marks());
        page
    })
    .await
    .map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))?;
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    // A search that came further is answered, so that it need not begin anew.
    let is_further = !page.text.is_empty() || (request.search.is_some() && signed(page.next) > offset.max(0));
    let found = if ended || is_further { Found::Text } else { Found::Nothing };
    let data = LogsData {
        text: page.text,
        next_offset: signed(page.next),
        size: signed(page.size),
        ended,
        dropped: log.dropped,
        attempt: log.number,
        matches: request.search.as_ref().map(|_| page.matches.into_iter().map(signed).collect()),
    };
    Ok((data, found))
}

/// A page of a log, or of its lines that match.
fn page(
    log: &mut LogReader,
    streams: Streams,
    search: Option<&Search>,
    offset: i64,
    limit: usize,
    grows: bool,
) -> Lines {
    match search {
        Some(search) => log.search(streams, search, offset, limit, grows),
        None => {
            let (text, next, size) = log.read_text(streams, offset, limit, grows);
            Lines { text, matches: Vec::new(), next, size }
        }
    }
}

/// A log file, with what is known of it.
fn opened(path: &Path) -> Option<LogReader> {
    let mut walked = WALKED.lock().unwrap_or_else(PoisonError::into_inner);
    let place = walked.iter().position(|(known, _)| known == path);
    let marks = place.map(|place| walked.remove(place).1).unwrap_or_default();
    drop(walked);
    LogReader::resume(path, marks).ok()
}

fn remember(path: PathBuf, marks: Marks) {
    if marks.is_empty() {
        return;
    }
    let mut walked = WALKED.lock().unwrap_or_else(PoisonError::into_inner);
    walked.retain(|(known, _)| *known != path);
    if walked.len() == REMEMBERED {
        walked.remove(0);
    }
    walked.push((path, marks));
}

fn answer(request: &Logs, data: &LogsData) -> Result<Reply, Refusal> {
    let message = if data.attempt == 0 {
        format!("task {} has not started yet.", request.task_id)
    } else {
        let dropped = if data.dropped > 0 { format!(", {} bytes were not kept", data.dropped) } else { String::new() };
        let more = if data.next_offset < data.size {
            "more from next_offset"
        } else if data.ended {
            "that is all"
        } else {
            "it runs still; ask again from next_offset"
        };
        let matches = data.matches.as_ref().map(|matches| match matches.len() {
            0 => "no line matches, ".to_owned(),
            1 => "1 line matches, ".to_owned(),
            lines => format!("{lines} lines match, "),
        });
        let (matches, upto, size) = (matches.unwrap_or_default(), data.next_offset, data.size);
        format!("attempt {}: {matches}bytes up to {upto} of {size}{dropped}; {more}.", data.attempt)
    };
    Reply::new(message, data)
}
