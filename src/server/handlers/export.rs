//! `export` and `backup`: what becomes a file.

use std::path::{Path, PathBuf};

use super::{Incoming, Reply, status, tasks};
use crate::executor::ExecutorError;
use crate::export::{Export, Target, TargetError, default_name};
use crate::protocol::{self, BackedUp, ErrorCode, Exported, Refusal};
use crate::queue::read::{BackupError, Filter, PAGE_ROWS};
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
    let path = place(service, incoming, &named)?;
    if let Some(id) = request.batch_id {
        status::batch(service, id).await?;
    }
    let (format, attempts, overwrite, file) = (request.format, request.attempts, request.overwrite, path.clone());
    let mut export = blocking(move || Ok(Export::create(&file, format, attempts, overwrite, rfc3339(now))?)).await?;
    let filter = Filter { status: request.filter_status, batch_id: request.batch_id, ..Filter::default() }
        .passing(request.filter.as_ref(), now);
    let upto = service.queue.last_id().await?;
    let mut page = service.queue.page(&filter, 0, upto, PAGE_ROWS, attempts).await?;
    loop {
        if service.ending.borrow().is_some() {
            return Err(ExecutorError::ShuttingDown.into());
        }
        let (rows, queue) = (page.rows, service.queue.clone());
        let writing = blocking(move || {
            export.tasks(&queue.shown(&rows)?).map_err(TargetError::from)?;
            Ok(export)
        });
        let Some(after) = page.next else {
            export = writing.await?;
            break;
        };
        // The next page is read while this one is written.
        let reading = async { Ok(service.queue.page(&filter, after, upto, PAGE_ROWS, attempts).await?) };
        (export, page) = tokio::try_join!(writing, reading)?;
    }
    let (exported, bytes) = blocking(move || Ok(export.finish()?)).await?;
    let file = path.display().to_string();
    let message = format!("{} exported to {file} ({bytes} bytes).", tasks(exported));
    Reply::new(message, &Exported { file, exported, bytes })
}

pub(super) async fn backup(service: &Shared, incoming: &Incoming, request: protocol::Backup) -> Result<Reply, Refusal> {
    let path = place(service, incoming, &request.output_file)?;
    let (file, overwrite) = (path.clone(), request.overwrite);
    let target = blocking(move || Ok(Target::create(&file, overwrite)?)).await?;
    tokio::select! {
        copied = service.queue.back_up(target.beside()) => copied?,
        // The copy goes with the process.
        () = service.ends() => return Err(ExecutorError::ShuttingDown.into()),
    }
    let bytes = blocking(move || Ok(target.publish()?)).await?;
    let file = path.display().to_string();
    let home = service.home.root().display();
    let message = format!("the queue is copied to {file} ({bytes} bytes). Output files are not in it: {home}/output.");
    Reply::new(message, &BackedUp { file, bytes })
}

impl From<BackupError> for Refusal {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Queue(error) => error.into(),
            BackupError::Copy(_) => Self::new(ErrorCode::Storage, error.to_string()),
        }
    }
}

/// Where a file is to be: beside the client, and never in the place of the daemon's own.
fn place(service: &Shared, incoming: &Incoming, named: &str) -> Result<PathBuf, Refusal> {
    let path = if named.starts_with('/') { named.into() } else { Path::new(&incoming.cwd()?).join(named) };
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    if folder.is_some() && folder == service.home.root().canonicalize().ok() {
        return Err(Refusal::invalid(format!(
            "`output_file` is `{}`, which is among the daemon's own files; choose another folder",
            path.display()
        )));
    }
    Ok(path)
}

/// Disk work, off the threads that serve others.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Refusal::new(ErrorCode::Internal, format!("writing the file failed: {error}"))))
}
