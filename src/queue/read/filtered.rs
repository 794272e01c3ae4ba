//! Tasks that pass a filter: which, how they stand, the first ones of an order. Step by step, each a short transaction, so
//! that what comes of it is not of one moment.

use super::super::Queue;
use super::super::error::QueueError;
use super::super::passing::{First, passing};
use super::Selected;
use super::pages::{Filter, LISTED, WALKED, ids_of};
use super::task::{Rows, fitting, rows};
use crate::filter::Sort;
use crate::protocol::Task;
use crate::task::{Status, TaskId};

/// The tasks that pass a filter, in steps.
pub struct Steps<'q> {
    queue: &'q Queue,
    filter: &'q Filter,
    /// None: there is no further one.
    after: Option<TaskId>,
    upto: TaskId,
}

impl Steps<'_> {
    /// The ids of the next step in which some pass, ascending; none at the end.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<TaskId>>, QueueError> {
        while let Some(after) = self.after {
            let _turn = self.queue.turn_of_scan(self.filter).await?;
            let mut reading = self.queue.readers.begin().await?;
            let (ids, next) = ids_of(&mut reading, self.filter, after, self.upto, WALKED).await?;
            reading.commit().await?;
            self.after = next;
            if !ids.is_empty() {
                return Ok(Some(ids));
            }
        }
        Ok(None)
    }
}

impl Queue {
    /// The tasks that pass and are in the queue now.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn steps<'q>(&'q self, filter: &'q Filter) -> Result<Steps<'q>, QueueError> {
        Ok(Steps { queue: self, filter, after: Some(0), upto: self.last_id().await? })
    }

    /// Whether nothing passes with `after < id <= upto`.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn is_end(&self, filter: &Filter, after: TaskId, upto: TaskId) -> Result<bool, QueueError> {
        let mut steps = Steps { queue: self, filter, after: Some(after), upto };
        Ok(steps.next().await?.is_none())
    }

    /// How the tasks that pass stand.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn tally_passing(&self, filter: &Filter) -> Result<Selected, QueueError> {
        let mut steps = self.steps(filter).await?;
        let mut all = Selected::default();
        while let Some(ids) = steps.next().await? {
            all = all.with(self.tally_of(&ids, None).await?);
        }
        Ok(all)
    }

    /// The first `most` of the tasks that pass, in an order at this time of the wall clock. So many ids are held, and as
    /// many again.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn first_by(
        &self,
        filter: &Filter,
        sort: Sort,
        now_ms: i64,
        most: usize,
    ) -> Result<Vec<TaskId>, QueueError> {
        let first = First { order: sort.to_sql(now_ms), most };
        let mut steps = self.steps(filter).await?;
        let (mut best, mut sorted) = (Vec::new(), 0);
        loop {
            let step = steps.next().await?;
            let is_last = step.is_none();
            best.extend(step.unwrap_or_default());
            // What was sorted is sorted again with what is new, so that is to be no less.
            if best.len() > sorted && (is_last || best.len() >= sorted + most.max(WALKED)) {
                let mut connection = self.readers.acquire().await?;
                best = passing(&mut connection, &best, None, Some(&first)).await?;
                sorted = best.len();
            }
            if is_last {
                return Ok(best);
            }
        }
    }

    /// As [`Self::first_of`], of what passes at this time of the wall clock.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn first_passing(&self, filter: &Filter, status: Status, now_ms: i64) -> Result<Vec<Task>, QueueError> {
        if filter.status.is_some_and(|only| only != status) {
            return Ok(Vec::new());
        }
        let sort = match status {
            Status::Queued => Sort::URGENT_FIRST,
            Status::Running => Sort::BY_ID,
            Status::Completed | Status::Failed | Status::Cancelled => Sort::LATEST_FIRST,
        };
        let filter = Filter { status: Some(status), ..filter.clone() };
        let ids = self.first_by(&filter, sort, now_ms, LISTED.into()).await?;
        let (rows, _) = self.rows_of(&ids).await?;
        self.shown(&rows)
    }

    /// The rows of the first of these tasks, in their order, and how many of the ids that took; not all where they are large.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn rows_of(&self, ids: &[TaskId]) -> Result<(Rows, usize), QueueError> {
        let mut reading = self.readers.begin().await?;
        // Some may have left since.
        let there = passing(&mut reading, ids, None, None).await?;
        let fit = fitting(&mut reading, &there).await?;
        let rows = rows(&mut reading, fit, false).await?;
        reading.commit().await?;
        let all_fit = fit.len() == there.len();
        let last = fit.last().filter(|_| !all_fit).and_then(|last| ids.iter().position(|id| id == last));
        Ok((rows, last.map_or(ids.len(), |last| last + 1)))
    }
}
