//! `export`.

use std::path::Path;

use super::{Incoming, Reply, tasks};
use crate::executor::ExecutorError;
use crate::export::{Export, TargetError, default_name};
use crate::protocol::{self, ErrorCode, Exported, Refusal};
use crate::queue::read::{Filter, PAGE_ROWS};
use crate::server::Shared;
use crate::time::{rfc3339, wall_ms};

impl From<TargetError> for Refusal {
    fn from(error: TargetError) -> Self {
        let code = match error {
            TargetError::Exists(_) => ErrorCode::Conflict,
            TargetError::NoFolder { .. } | TargetError::Place { .. } => ErrorCode::InvalidRequest,
            TargetError::Io(_) => ErrorCode::Storage,
        };
        Self::new(code, error.to_string())
    }
}

pub(super) async fn export(service: &Shared, incoming: &Incoming, request: protocol::Export) -> Result<Reply, Refusal> {
    let now = wall_ms();
    let named = request.output_file.unwrap_or_else(|| default_name(request.format, now));
    let path = if named.starts_with('/') { named.into() } else { Path::new(&incoming.cwd()?).join(named) };
    if let Some(id) = request.batch_id {
        service.queue.batch(id).await?.ok_or_else(|| Refusal::not_found(format!("no batch {id}")))?;
    }
    let (format, attempts, overwrite, file) = (request.format, request.attempts, request.overwrite, path.clone());
    let mut export = blocking(move || Ok(Export::create(&file, format, attempts, overwrite, rfc3339(now))?)).await?;
    let filter = Filter { status: request.filter_status, batch_id: request.batch_id, task_ids: None };
    let upto = service.queue.last_id().await?;
    let mut after = Some(0);
    while let Some(from) = after {
        if service.ending.borrow().is_some() {
            return Err(ExecutorError::ShuttingDown.into());
        }
        let page = service.queue.page(&filter, from, upto, PAGE_ROWS, attempts).await?;
        after = page.next;
        export = blocking(move || {
            page.tasks.iter().try_for_each(|task| export.task(task)).map_err(TargetError::from)?;
            Ok(export)
        })
        .await?;
    }
    let (exported, bytes) = blocking(move || Ok(export.finish()?)).await?;
    let file = path.display().to_string();
    let message = format!("{} exported to {file} ({bytes} bytes).", tasks(exported));
    Reply::new(message, &Exported { file, exported, bytes })
}

/// Disk work, off the threads that serve others.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Refusal::new(ErrorCode::Internal, format!("the export failed: {error}"))))
}
