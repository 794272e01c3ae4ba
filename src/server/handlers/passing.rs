//! Changes of the tasks that pass a filter, and what they would be. The tasks are chosen by a reader, a step at a time;
//! each is looked at again in the transaction that changes it, so one that has changed meanwhile is left alone.

use super::{status, tasks, unless_ending};
use crate::filter::{Condition, Filter as Written};
use crate::protocol::{NotDone, Refusal};
use crate::queue::ops::{LISTED, NO_SUCH_TASK};
use crate::queue::read::{Filter, Steps};
use crate::server::Shared;
use crate::task::{BatchId, Status, TaskId};
use crate::time;

/// How many ids a message names.
const NAMED: usize = 10;

/// The tasks of a change.
pub(super) struct Passing {
    filter: Filter,
    pub condition: Condition,
}

/// What would be changed.
pub(super) struct Dry {
    pub count: u64,
    /// The first, at most [`LISTED`].
    pub ids: Vec<TaskId>,
}

impl Passing {
    /// Tasks that can be changed (`able`) and pass what was asked for, of a batch or of chosen ones if those are given.
    ///
    /// # Errors
    /// When there is no such batch.
    pub(super) async fn of(
        service: &Shared,
        asked: Option<Written>,
        able: Written,
        batch_id: Option<BatchId>,
        chosen: &[TaskId],
    ) -> Result<Self, Refusal> {
        if let Some(id) = batch_id {
            status::batch(service, id).await?;
        }
        let written = match asked {
            Some(asked) => asked.and(able),
            None => able,
        };
        let task_ids = (!chosen.is_empty()).then(|| chosen.to_vec());
        let now = time::wall_ms();
        let filter = Filter { batch_id, task_ids, ..Filter::default() }.passing(Some(&written), now);
        Ok(Self { filter, condition: written.condition(now) })
    }

    /// Their ids, in steps that one transaction can change.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub(super) async fn steps<'s>(&'s self, service: &'s Shared) -> Result<Steps<'s>, Refusal> {
        Ok(service.queue.steps(&self.filter).await?)
    }

    /// What would be changed.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub(super) async fn dry(&self, service: &Shared) -> Result<Dry, Refusal> {
        let mut dry = Dry { count: 0, ids: Vec::new() };
        let mut steps = self.steps(service).await?;
        while let Some(ids) = unless_ending(service, steps.next()).await? {
            dry.count += ids.len() as u64;
            dry.ids.extend(ids.into_iter().take(LISTED - dry.ids.len()));
        }
        Ok(dry)
    }
}

impl Dry {
    /// "would put 2 tasks back: 3, 5; nothing was changed."
    pub(super) fn said(&self, would: &str, whereto: &str, rest: &str) -> String {
        let named: Vec<String> = self.ids.iter().take(NAMED).map(ToString::to_string).collect();
        let more = if self.count > NAMED as u64 { ", …" } else { "" };
        let which = if named.is_empty() { String::new() } else { format!(": {}{more}", named.join(", ")) };
        format!("would {would} {}{whereto}{which}{rest}; nothing was changed.", tasks(self.count))
    }
}

/// Of chosen tasks, those that a dry run would leave as they are, and why; `is` begins what is said of their state.
///
/// # Errors
/// When the queue cannot be read.
pub(super) async fn left_alone(
    service: &Shared,
    chosen: &[TaskId],
    able: &[Status],
    is: &str,
) -> Result<Vec<NotDone>, Refusal> {
    let statuses = service.queue.statuses_of(chosen).await?;
    let reason = |id| match statuses.get(id) {
        None => Some(NO_SUCH_TASK.to_owned()),
        Some(status) if able.contains(status) => None,
        Some(status) => Some(format!("{is} {status}")),
    };
    Ok(chosen.iter().filter_map(|id| Some(NotDone { task_id: *id, reason: reason(id)? })).take(LISTED).collect())
}
