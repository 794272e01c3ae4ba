//! The requests: one struct per action. Times are seconds, absent means the default of `CONTRACT`.
//!
//! The client serializes them; the daemon makes them with [`super::parse_line`], which checks every
//! field, so a value here is within its range.

mod adding;
mod changing;
mod reading;
mod running;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

pub use adding::*;
pub use changing::*;
pub use reading::*;
pub use running::*;

use super::hooks::HooksRequest;
use super::watch::Watch;

/// One request line: the action with what surrounds it.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    /// A string or number, echoed in the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    /// The client's working directory, absolute; else the peer process's own is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Goes with the tasks that the request adds. Never logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<BTreeMap<String, String>>,
    #[serde(flatten)]
    pub action: Action,
}

impl From<Action> for Request {
    fn from(action: Action) -> Self {
        Self { id: None, cwd: None, environment: None, action }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    Add(Box<Add>),
    AddBatch(Box<AddBatch>),
    Start(Start),
    Stop(Stop),
    /// Beyond the contract's table, as `resume`.
    Pause(Pause),
    Resume(Resume),
    Status(StatusRequest),
    Results(Results),
    Show(Show),
    Logs(Logs),
    Update(Box<Update>),
    Export(Export),
    Backup(Backup),
    Clear(Clear),
    Cancel(Cancel),
    Retry(Retry),
    Wait(Wait),
    Functions(Empty),
    /// What has happened. Beyond the contract's table.
    Watch(Watch),
    /// Ends the daemon in order (`daemon stop`). Beyond the contract's table.
    Shutdown(Shutdown),
    /// Replaces the daemon by the program now installed (`daemon restart`).
    Restart(Empty),
    /// What `doctor` asks the daemon: versions, database health, limits, interpreters.
    Health(Empty),
    /// How the queue stands, as OpenMetrics text in `message`.
    Metrics(Empty),
    /// Who is told when something happens, and how that went; or a test of one.
    Hooks(HooksRequest),
}

impl Action {
    /// The name on the wire of every action, in the order of the documentation.
    pub const NAMES: &'static [&'static str] = &[
        "add",
        "add_batch",
        "start",
        "stop",
        "pause",
        "resume",
        "status",
        "results",
        "show",
        "logs",
        "update",
        "export",
        "backup",
        "clear",
        "cancel",
        "retry",
        "wait",
        "functions",
        "watch",
        "shutdown",
        "restart",
        "health",
        "metrics",
        "hooks",
    ];

    /// The name on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "add",
            Self::AddBatch(_) => "add_batch",
            Self::Start(_) => "start",
            Self::Stop(_) => "stop",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Status(_) => "status",
            Self::Results(_) => "results",
            Self::Show(_) => "show",
            Self::Logs(_) => "logs",
            Self::Update(_) => "update",
            Self::Export(_) => "export",
            Self::Backup(_) => "backup",
            Self::Clear(_) => "clear",
            Self::Cancel(_) => "cancel",
            Self::Retry(_) => "retry",
            Self::Wait(_) => "wait",
            Self::Functions(_) => "functions",
            Self::Watch(_) => "watch",
            Self::Shutdown(_) => "shutdown",
            Self::Restart(_) => "restart",
            Self::Health(_) => "health",
            Self::Metrics(_) => "metrics",
            Self::Hooks(_) => "hooks",
        }
    }
}

/// An action without parameters.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Empty {}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn is_false(value: &bool) -> bool {
    !value
}

const fn yes() -> bool {
    true
}
