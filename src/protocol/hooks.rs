//! The action `hooks`: its request and its answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `hooks`.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct HooksRequest {
    /// Tell this hook an example now, once
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
}

/// `data` of `hooks`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HooksData {
    /// All, or the one that was tested.
    pub hooks: Vec<HookInfo>,
}

/// A hook and how it stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HookInfo {
    pub hook: String,
    /// The events that it tells of.
    pub on: Vec<String>,
    /// The command or the address; of a secret the name alone.
    pub to: String,
    /// Deliveries that wait, or are on their way.
    pub pending: i64,
    /// Deliveries that were given up because too many waited.
    pub dropped: i64,
    /// The latest that was tried; null: none yet.
    pub last: Option<HookDelivery>,
}

/// What a hook was to tell, and how that went.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HookDelivery {
    pub delivery: i64,
    /// Or `gap`: events that were not kept long enough to be told.
    pub event: String,
    /// How many events it tells of.
    pub count: i64,
    /// It was asked for by `test`.
    pub test: bool,
    /// `pending`, `delivered`, `failed` or `dropped`.
    pub state: String,
    pub attempts: u32,
    /// How the latest attempt ended.
    pub said: Option<String>,
    pub created_at: String,
    pub ended_at: Option<String>,
    /// While it is pending.
    pub next_attempt_at: Option<String>,
}
