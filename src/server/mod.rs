//! The socket: peer check, connections, dispatch of requests to queue and executor.
//!
//! [`lines`] cuts what comes, `connection` speaks the protocol, [`handlers`] carry the requests out. No state of tasks lives here.

mod connection;
pub mod handlers;
pub mod lines;
mod listener;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::cgroup::Delegated;
use crate::config::Settings;
use crate::executor::Executor;
use crate::home::Home;
use crate::hooks::Hooks;
use crate::queue::Queue;

pub use handlers::metrics_text;
pub use listener::{bind, serve};

/// What the handlers work with; shared by all connections.
pub struct Service {
    pub queue: Queue,
    pub executor: Executor,
    pub hooks: Hooks,
    pub settings: Settings,
    /// Where tasks get control groups, or why they get none.
    pub cgroups: Result<Delegated, String>,
    pub home: Home,
    pub started: Instant,
    /// Set by `shutdown`, `restart` and signals.
    pub ending: watch::Sender<Option<Ending>>,
    /// Why the last program that was to take over could not.
    pub not_replaced: watch::Sender<String>,
}

impl Service {
    /// Resolves when the daemon is ending.
    pub async fn ends(&self) {
        // The sender lives as long as this service.
        let _ = self.ending.subscribe().wait_for(Option::is_some).await.map(drop);
    }
}

/// How the daemon is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// What runs is ended; without a grace (ms) the setting holds.
    Stop { grace_ms: Option<i64> },
    /// The program now installed takes this process over; what runs goes on with the keeper.
    Replace,
}

/// The service as it is passed around.
pub type Shared = Arc<Service>;
