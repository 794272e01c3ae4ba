//! The error codes of the wire and the refusal that carries one.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What kind of refusal an answer is; scripts branch on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The line is not one JSON object.
    InvalidJson,
    /// A field is missing, of the wrong type or out of range.
    InvalidRequest,
    UnknownAction,
    /// No such task or batch, or nothing selected.
    NotFound,
    /// The state of a task, a file or a key is against it.
    Conflict,
    /// The line is over the limit.
    TooLarge,
    /// Try again.
    Busy,
    /// The daemon is ending; try again.
    ShuttingDown,
    /// Disk full, read-only or damaged queue.
    Storage,
    /// A defect of ours.
    Internal,
}

/// A request that was refused: code, one sentence for a person, details for a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: ErrorCode,
    pub message: String,
    #[serde(default)]
    pub details: Value,
}

impl Refusal {
    /// A refusal without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: json!({}) }
    }

    /// A field, value or combination that is not allowed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// Nothing has this id, or nothing is selected.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// The state of things is against it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    /// The same refusal with details for a program.
    #[must_use]
    pub fn with(mut self, details: Value) -> Self {
        self.details = details;
        self
    }
}
