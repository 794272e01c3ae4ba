//! `doctor --repair`: under the daemon's lock.

use super::{DaemonError, lock_home};
use crate::home::Home;
use crate::queue::salvage;
pub use crate::queue::salvage::{RepairError, Repaired};

/// Salvages a damaged queue into a fresh one (`doctor --repair`), where no daemon runs.
///
/// # Errors
/// [`DaemonError`], with its exit code; the queue is as it was.
pub fn repair(home: &Home) -> Result<Repaired, DaemonError> {
    if !home.database().exists() {
        return Err(RepairError::Missing(home.database()).into());
    }
    let _lock = lock_home(home, None)?;
    let stamp = chrono::Utc::now().format("%Y%m%d_%H%M%S%3f").to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(salvage::repair(&home.database(), &stamp))?)
}
