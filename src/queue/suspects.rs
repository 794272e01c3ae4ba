//! Tasks that were claimed when the machine went down, and may have been what took it down.
//!
//! While one of them is queued nothing is claimed ahead, and a start is written before the attempt is launched,
//! so that the one that takes the machine down again is known to have run.

use super::error::QueueError;
use super::memory::Memory;
use super::open_task::open_tasks;
use super::ops::apply::Writes;
use super::tx::{Tx, json};
use crate::task::{ClaimId, TaskId};

/// Notes suspects.
pub(super) fn note(tx: &mut Tx<'_>, tasks: &[TaskId]) -> Result<(), QueueError> {
    if tasks.is_empty() {
        return Ok(());
    }
    tx.memory.suspects.extend(tasks);
    tx.begun()?.run("INSERT OR IGNORE INTO suspect (task_id) SELECT value FROM json_each(?1)", [json(&tasks)?])?;
    Ok(())
}

/// Forgets those that are not queued any more.
pub(super) fn forget(tx: &mut Tx<'_>) -> Result<(), QueueError> {
    if tx.memory.suspects.is_empty() {
        return Ok(());
    }
    let gone: Vec<TaskId> = tx.begun()?.all(
        "DELETE FROM suspect WHERE NOT EXISTS (SELECT 1 FROM task WHERE id = task_id AND state < 2) RETURNING task_id",
        [],
        |row| row.get(0),
    )?;
    for task in gone {
        tx.memory.suspects.remove(&task);
    }
    Ok(())
}

/// Writes the starts of what was just claimed.
pub(super) fn start(tx: &mut Tx<'_>, claims: &[ClaimId]) -> Result<(), QueueError> {
    let mut writes = Writes::default();
    for (_, mut task) in open_tasks(tx, claims)? {
        task.start(tx, tx.wall_ms);
        writes.tasks.push(task);
    }
    writes.write(tx)
}

impl Memory {
    /// Whether starts are written ahead and nothing is claimed beyond the free slots.
    pub(super) fn is_careful(&self) -> bool {
        !self.suspects.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use serde_json::Map;

    use crate::attempt::{Attempt, Event};
    use crate::queue::ops::apply::Apply;
    use crate::queue::ops::control::{Nudge, Start};
    use crate::queue::ops::insert::{Batch, Insert, NewContext, NewTask};
    use crate::queue::ops::recover::{Recover, Recovered, Release};
    use crate::queue::{Opened, Queue, Rules};
    use crate::space::Floor;
    use crate::task::{Cause, DEFAULT_RETRY_DELAY_MS, Limits, Priority, TaskSpec};

    async fn open(folder: &std::path::Path) -> Opened {
        Queue::open(
            &folder.join("queue.db"),
            folder,
            Rules { caps: &BTreeMap::new(), floor: Floor::new(folder.into(), 0), kept_events: 1000 },
        )
        .await
        .expect("a queue")
    }

    async fn close(opened: Opened) {
        let Opened { queue, writer, .. } = opened;
        queue.close().await;
        writer.await.expect("its end");
    }

    fn three_tasks() -> Insert {
        let spec = TaskSpec {
            limits: Limits::default(),
            name: "t".to_owned(),
            function: "command".to_owned(),
            params: Map::new(),
            priority: Priority::Medium,
            max_retries: 0,
            timeout_ms: None,
            retry_delay_ms: DEFAULT_RETRY_DELAY_MS,
            permanent_exit_codes: Vec::new(),
            delay_ms: 0,
        };
        Insert {
            tasks: vec![NewTask::of(spec).expect("JSON"); 3],
            errors: Vec::new(),
            batch: Batch::New { name: None },
            more: false,
            context: NewContext::of("/".to_owned(), &BTreeMap::new()).expect("JSON"),
            key: None,
        }
    }

    /// A queue that runs three tasks, one at once.
    async fn with_three_tasks(folder: &std::path::Path) -> Opened {
        let opened = open(folder).await;
        opened.queue.write(three_tasks()).await.expect("written").expect("inserted");
        opened.queue.write(Start { max_concurrent: Some(1), ..Start::default() }).await.expect("started");
        opened
    }

    async fn after_power_cut(opened: &Opened) -> Recovered {
        let recover = Recover {
            held: BTreeSet::new(),
            had_process: BTreeSet::new(),
            cause: Cause::Reboot,
            max_interruptions: 5,
            output_dir: "/nowhere".into(),
        };
        let closed = opened.queue.close_gate();
        let recovered = opened.queue.write(recover).await.expect("recovered");
        drop(closed);
        opened.queue.write(Nudge).await.expect("claimed");
        recovered
    }

    async fn claimed(opened: &mut Opened) -> Vec<Attempt> {
        opened.claimed.recv().await.expect("claims")
    }

    #[tokio::test]
    async fn a_task_that_takes_the_machine_down_counts_from_its_second_time_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut opened = with_three_tasks(folder.path()).await;
        assert_eq!(claimed(&mut opened).await.len(), 3, "claimed ahead");
        close(opened).await;

        let mut opened = open(folder.path()).await;
        let recovered = after_power_cut(&opened).await;
        assert_eq!((recovered.interrupted, recovered.suspects), (3, vec![1, 2, 3]));
        let task = opened.queue.task(1).await.expect("read").expect("the task");
        assert_eq!((task.interruptions, &task.attempts.expect("attempts")[0].started_at), (0, &None));
        let careful = claimed(&mut opened).await;
        assert_eq!(careful.iter().map(|attempt| attempt.task_id).collect::<Vec<_>>(), [1], "nothing ahead");
        close(opened).await;

        let mut opened = open(folder.path()).await;
        let recovered = after_power_cut(&opened).await;
        assert_eq!(recovered.interrupted, 1, "its start was on the disk before it was launched");
        assert_eq!(opened.queue.task(1).await.expect("read").expect("the task").interruptions, 1);
        assert_eq!(claimed(&mut opened).await[0].task_id, 1);
        close(opened).await;
    }

    #[tokio::test]
    async fn a_start_that_was_written_ahead_is_taken_back_with_the_attempt() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut opened = with_three_tasks(folder.path()).await;
        claimed(&mut opened).await;
        after_power_cut(&opened).await;
        let careful = claimed(&mut opened).await;
        let closed = opened.queue.close_gate();
        opened.queue.write(Release { claims: vec![careful[0].claim] }).await.expect("released");
        let task = opened.queue.task(1).await.expect("read").expect("the task");
        assert_eq!((task.status.as_str(), task.started_at), ("queued", None));
        let late = Event::Started { claim: careful[0].claim, task_id: 1, started_at: 1 };
        opened.queue.write(Apply { events: Arc::new(vec![late]) }).await.expect("ignored");
        assert_eq!(opened.queue.task(1).await.expect("read").expect("the task").status.as_str(), "queued");
        assert_eq!(opened.queue.health().await.expect("health").tally_difference, None);
        drop(closed);
        close(opened).await;
    }
}
