//! `watch`: the events from a number on; where there is none yet, until one comes.

use std::time::Duration;

use tokio::time::Instant;

use super::{Reply, unless_ending};
use crate::executor::ExecutorError;
use crate::protocol::{Refusal, Watch, WatchData};
use crate::server::Shared;

/// How long it waits for an event.
const PATIENCE: Duration = Duration::from_secs(30);
/// What comes within so much of the first one is told with it: a rush is not an answer for each commit.
const BREATH: Duration = Duration::from_millis(10);
/// The most events in an answer, unless the request says otherwise.
const LIMIT: u32 = 1000;

pub(super) async fn watch(service: &Shared, request: &Watch) -> Result<Reply, Refusal> {
    let deadline = Instant::now() + PATIENCE;
    let mut commits = service.queue.commits();
    let next = commits.borrow().next_event;
    let mut from = request.from.unwrap_or(next);
    if from > next {
        return Err(Refusal::invalid(format!(
            "`from` is {from}, but the next event of this queue is number {next}: it must be from 1 to {next}"
        )));
    }
    let limit = request.limit.unwrap_or(LIMIT) as usize;
    let mut gap = None;
    loop {
        let told = unless_ending(service, service.queue.events(from, limit, request.batch_id)).await?;
        gap = gap.or(told.gap);
        from = told.next;
        if !told.events.is_empty() || gap.is_some() || !request.follow {
            return answer(&WatchData { events: told.events, next: from, gap });
        }
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => {
                return answer(&WatchData { events: Vec::new(), next: from, gap });
            }
            () = service.ends() => return Err(ExecutorError::ShuttingDown.into()),
            found = commits.wait_for(|snapshot| snapshot.next_event > from) => {
                found.map_err(|_| ExecutorError::ShuttingDown)?;
            }
        }
        tokio::time::sleep(BREATH).await;
    }
}

fn answer(data: &WatchData) -> Result<Reply, Refusal> {
    let events = match data.events.len() {
        0 => "no event".to_owned(),
        1 => "1 event".to_owned(),
        events => format!("{events} events"),
    };
    let gap = data.gap.map(|gap| format!("; {} to {} are no longer kept", gap.from, gap.to)).unwrap_or_default();
    Reply::new(format!("{events}{gap}; go on with from {}.", data.next), data)
}
