//! Secrets by reference: where a value comes from, how it is read, how it is kept out of what a task writes.
//!
//! What is stored and shown has names alone. Right before an attempt's own process starts, a process of its own reads
//! the values (`read`) and gives them to the keeper by a pipe; there they live in the mask (`mask`) of the attempt's
//! output, and in the task's environment.

#[cfg(feature = "daemon")]
mod mask;
#[cfg(feature = "daemon")]
mod read;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[cfg(feature = "daemon")]
pub use mask::{Mask, Masked};
#[cfg(feature = "daemon")]
pub use read::{Value, answered, asked, serve};

/// The most secrets that one task may have: each costs time for every byte that the task writes.
pub const MOST_SECRETS: usize = 32;
/// The default of `timeout`, in milliseconds.
pub const DEFAULT_TIMEOUT_MS: u64 = 30_000;

/// Where a secret's value comes from: `[secrets.NAME]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// What is in a file that nobody else can read.
    File { path: PathBuf },
    /// What a program writes to its standard output within a time.
    Command { argv: Vec<String>, timeout_ms: u64 },
}

/// A secret that a task wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The variable that gets its value.
    pub variable: String,
    /// Its name in the configuration.
    pub name: String,
    pub source: Source,
}
