//! What `doctor` asks of the daemon.

use serde::{Deserialize, Serialize};

/// `data` of `health`: what only the daemon can tell `doctor`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Health {
    pub version: String,
    pub protocol: u32,
    pub pid: u32,
    pub keeper_pid: Option<u32>,
    pub sqlite: String,
    pub schema: i64,
    /// `ok`, or what `PRAGMA quick_check` found.
    pub database: String,
    pub database_bytes: i64,
    /// Null when the tallies agree with the rows, else the difference.
    pub tally_difference: Option<String>,
    pub open_files_limit: u64,
    pub processes_limit: u64,
    /// The storage error that stands, if one does.
    pub storage_error: Option<String>,
    /// The cap for now, after several tasks were killed from outside together; null: as set.
    #[serde(default)]
    pub lowered_to: Option<u32>,
    /// Which control groups tasks have, or why they have none.
    #[serde(default)]
    pub cgroups: String,
}
