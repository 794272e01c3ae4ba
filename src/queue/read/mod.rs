//! What is read, on connections that cannot write. Short transactions only: an open one would keep
//! the write-ahead log from being reset.

mod backup;
mod events;
mod filtered;
mod health;
mod hooks;
mod logs;
mod pages;
mod status;
mod task;

pub use backup::BackupError;
pub use events::Told;
pub use filtered::Steps;
pub use health::DatabaseHealth;
pub(super) use health::tally_difference;
pub use hooks::{HookStanding, Latest, Waiting};
pub use logs::{AttemptLog, NoLog, Stored};
pub use pages::{Filter, PAGE_ROWS, Page};
pub use status::Selected;
