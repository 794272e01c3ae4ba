//! `logs`: the output of an attempt, while it runs too.

use std::time::Duration;

use super::Reply;
use crate::executor::{ExecutorError, Follower};
use crate::output::{LogReader, STDERR, STDOUT, Streams, log_file};
use crate::protocol::{ErrorCode, LogStream, Logs, LogsData, Refusal};
use crate::queue::read::{NoLog, Stored};
use crate::server::Shared;

/// The default of `limit`, in bytes.
const LIMIT: u32 = 65_536;
/// How long `follow` waits for more.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn logs(service: &Shared, request: &Logs) -> Result<Reply, Refusal> {
    let patience = tokio::time::sleep(PATIENCE);
    tokio::pin!(patience);
    let mut commits = service.queue.commits();
    loop {
        commits.borrow_and_update();
        let (data, running) = read(service, request).await?;
        let waits = request.follow && !data.ended && data.text.is_empty();
        if !waits {
            return answer(request, &data);
        }
        let grown = async {
            match running {
                Some(mut follower) => follower.grown().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = grown => {}
            _ = commits.changed() => {}
            () = &mut patience => return answer(request, &data),
            () = service.ends() => return Err(ExecutorError::ShuttingDown.into()),
        }
    }
}

async fn read(service: &Shared, request: &Logs) -> Result<(LogsData, Option<Follower>), Refusal> {
    let id = request.task_id;
    let log = match service.queue.attempt_log(id, request.attempt).await? {
        Ok(log) => log,
        Err(NoLog::NoSuchTask) => return Err(Refusal::not_found(format!("no task {id}"))),
        Err(NoLog::NotStarted) => {
            let data = LogsData { text: String::new(), next_offset: 0, size: 0, ended: false, dropped: 0, attempt: 0 };
            return Ok((data, None));
        }
        Err(NoLog::NoSuchAttempt(made)) => {
            return Err(Refusal::not_found(format!(
                "task {id} has had {made} attempts; `attempt` must be from 1 to that"
            )));
        }
    };
    let path = log_file(&service.home.output_dir(), id, log.number);
    let mut running = None;
    let ended = !matches!(log.stored, Stored::Running(_));
    let source = match log.stored {
        Stored::Frames(frames) => Some(LogReader::from_bytes(frames)),
        Stored::File => LogReader::open(&path).ok(),
        Stored::Running(claim) => {
            running = Some(service.executor.follow(claim).await?);
            LogReader::open(&path).ok()
        }
    };
    let streams = match request.stream {
        LogStream::Both => Streams::Both,
        LogStream::Stdout => Streams::One(STDOUT),
        LogStream::Stderr => Streams::One(STDERR),
    };
    let (offset, limit) = (request.offset, request.limit.unwrap_or(LIMIT) as usize);
    let (bytes, next, size) = tokio::task::spawn_blocking(move || match source {
        Some(mut log) => log.read(streams, offset, limit),
        None => (Vec::new(), 0, 0),
    })
    .await
    .map_err(|error| Refusal::new(ErrorCode::Internal, error.to_string()))?;
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let data = LogsData {
        text: String::from_utf8_lossy(&bytes).into_owned(),
        next_offset: signed(next),
        size: signed(size),
        ended,
        dropped: log.dropped,
        attempt: log.number,
    };
    Ok((data, running))
}

fn answer(request: &Logs, data: &LogsData) -> Result<Reply, Refusal> {
    let message = if data.attempt == 0 {
        format!("task {} has not started yet.", request.task_id)
    } else {
        let dropped = if data.dropped > 0 { format!(", {} bytes were not kept", data.dropped) } else { String::new() };
        let more = if data.ended {
            "that is all"
        } else if data.next_offset < data.size {
            "more from next_offset"
        } else {
            "it runs still; ask again from next_offset"
        };
        format!("attempt {}: bytes up to {} of {}{dropped}; {more}.", data.attempt, data.next_offset, data.size)
    };
    Reply::new(message, data)
}
