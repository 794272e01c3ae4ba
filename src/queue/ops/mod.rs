//! The operations of the writer: a file for each, with the SQL beside what it is for.

pub mod apply;
pub mod cancel;
pub mod clear;
pub mod close;
pub mod control;
pub mod hooks;
pub mod insert;
pub mod pause;
pub mod recover;
pub mod retain;
pub mod retry;
mod row;
pub mod select;
pub mod update;

/// The most ids that an answer lists.
pub const LISTED: usize = 1000;
/// The reason why nothing was done to a task that is not there.
pub const NO_SUCH_TASK: &str = "no such task";
/// The most rows that one transaction changes on behalf of one request; the rest follows in further
/// ones, so that others are not held up.
pub(super) const CHUNK: i64 = 5000;
