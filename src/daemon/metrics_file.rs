//! The file of metrics that node_exporter reads (its textfile collector), where the setting `metrics_file` names one: replaced as a
//! whole when something has changed, and not more often than anybody looks.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::server::{Service, metrics_text};

/// The least time between two writes: that of a usual scrape.
const EVERY: Duration = Duration::from_secs(15);

/// Keeps the file; never ends.
pub(super) async fn keep(service: Arc<Service>) {
    let Some(path) = service.settings.metrics_file.clone() else { return std::future::pending().await };
    let mut commits = service.queue.commits();
    loop {
        commits.mark_unchanged();
        let written = match metrics_text(&service).await {
            Ok(text) => write(&path, &text).map_err(|error| error.to_string()),
            Err(refusal) => Err(refusal.message),
        };
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), err = error, "the metrics cannot be written");
        }
        tokio::time::sleep(EVERY).await;
        if commits.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// A reader sees the old text or the new one, and may be anybody: there is nothing of the tasks in it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".batch-executor").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}
