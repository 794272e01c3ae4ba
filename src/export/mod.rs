//! JSON, JSON Lines and CSV from a stream of tasks, into a file that appears whole or not at all.
//!
//! Blocking; memory does not grow with the number of tasks.

mod csv_rows;
mod target;

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::value::RawValue;

pub use csv_rows::csv_text;
pub use target::{Target, TargetError, default_name};

use crate::protocol::{Counts, ExportFormat, Task};
use crate::task::Status;
use csv_rows::header;

/// Room for the metadata, which is known when all tasks are written and stands before them.
const METADATA_ROOM: usize = 512;

/// What the JSON document says about its tasks.
#[derive(Debug, Serialize)]
struct Metadata {
    exported_at: String,
    total_tasks: i64,
    completed: i64,
    failed: i64,
    cancelled: i64,
    queued: i64,
    running: i64,
    total_execution_time: f64,
    average_task_time: Option<f64>,
}

/// An export on its way.
pub struct Export {
    target: Target,
    format: ExportFormat,
    attempts: bool,
    exported_at: String,
    counts: Counts,
    run_seconds: f64,
    timed: u32,
}

impl Export {
    /// Begins an export to `path`.
    ///
    /// # Errors
    /// When the file exists and may not be overwritten, or its folder is missing.
    pub fn create(
        path: &Path,
        format: ExportFormat,
        attempts: bool,
        overwrite: bool,
        exported_at: String,
    ) -> Result<Self, TargetError> {
        let mut target = Target::create(path, overwrite)?;
        match format {
            ExportFormat::Json => {
                write!(target.file(), "{{\"metadata\": {:METADATA_ROOM$}, \"tasks\": [", "")?;
            }
            ExportFormat::Csv => target.file().write_all(&header(attempts))?,
            ExportFormat::Jsonl => {}
        }
        Ok(Self { target, format, attempts, exported_at, counts: Counts::default(), run_seconds: 0.0, timed: 0 })
    }

    /// Writes tasks.
    ///
    /// # Errors
    /// When the disk takes no more.
    pub fn tasks(&mut self, tasks: &[Task<Box<RawValue>>]) -> io::Result<()> {
        let mut between: &[u8] = if self.counts.total == 0 { b"\n" } else { b",\n" };
        let file = self.target.file();
        match self.format {
            ExportFormat::Csv => csv_rows::write(file, tasks, self.attempts)?,
            ExportFormat::Json => {
                for task in tasks {
                    file.write_all(between)?;
                    serde_json::to_writer(&mut *file, task)?;
                    between = b",\n";
                }
            }
            ExportFormat::Jsonl => {
                for task in tasks {
                    serde_json::to_writer(&mut *file, task)?;
                    file.write_all(b"\n")?;
                }
            }
        }
        tasks.iter().for_each(|task| self.count(task));
        Ok(())
    }

    fn count<J>(&mut self, task: &Task<J>) {
        self.counts.total += 1;
        let count = match task.status {
            Status::Queued => &mut self.counts.queued,
            Status::Running => &mut self.counts.running,
            Status::Completed => &mut self.counts.completed,
            Status::Failed => &mut self.counts.failed,
            Status::Cancelled => &mut self.counts.cancelled,
        };
        *count += 1;
        if matches!(task.status, Status::Completed | Status::Failed) {
            self.run_seconds += task.execution_time.unwrap_or(0.0);
            self.timed += 1;
        }
    }

    /// Makes the file appear; gives how many tasks and bytes it has.
    ///
    /// # Errors
    /// When the disk takes no more, or somebody else made the file meanwhile.
    pub fn finish(mut self) -> Result<(u64, u64), TargetError> {
        if self.format == ExportFormat::Json {
            self.target.file().write_all(b"\n]}\n")?;
            let metadata = serde_json::to_string(&self.metadata()).map_err(io::Error::from)?;
            let file = self.target.file();
            file.seek(SeekFrom::Start("{\"metadata\": ".len() as u64))?;
            write!(file, "{metadata:METADATA_ROOM$}")?;
        }
        let bytes = self.target.publish()?;
        Ok((u64::try_from(self.counts.total).unwrap_or(0), bytes))
    }

    fn metadata(&self) -> Metadata {
        Metadata {
            exported_at: self.exported_at.clone(),
            total_tasks: self.counts.total,
            completed: self.counts.completed,
            failed: self.counts.failed,
            cancelled: self.counts.cancelled,
            queued: self.counts.queued,
            running: self.counts.running,
            total_execution_time: self.run_seconds,
            average_task_time: (self.timed > 0).then(|| self.run_seconds / f64::from(self.timed)),
        }
    }
}
