//! The tasks of a report, read from the daemon one at a time: an export with every attempt, which has no name on the disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};

use batch_executor::protocol::{BatchInfo, StatusData};
use batch_executor::task::BatchId;
use chrono::Local;
use serde_json::{Map, json};

use super::night::{Line, Night};
use crate::commands::export;
use crate::context::{Context, data};
use crate::failure::Failure;

/// The most batches of whose names is asked.
const MOST_NAMES: usize = 100;

/// What a report of these batches says; of all when none is named.
///
/// # Errors
/// A batch that is not there, or no daemon.
pub fn night(context: &Context, batches: &[BatchId]) -> Result<Night, Failure> {
    let mut night = Night::new(Local::now());
    let wanted: Vec<Option<BatchId>> =
        if batches.is_empty() { vec![None] } else { batches.iter().copied().map(Some).collect() };
    for batch in wanted {
        tasks(context, batch, |task| night.add(&task))?;
        if let Some(batch) = batch {
            night.batches.entry(batch).or_insert(None);
        }
    }
    night.finish();
    if night.batches.len() <= MOST_NAMES {
        names(context, &mut night.batches)?;
    }
    Ok(night)
}

/// Every task of a batch, or of all, by its id.
///
/// # Errors
/// A batch that is not there, no daemon, a file that cannot be read.
pub fn tasks(context: &Context, batch: Option<BatchId>, mut each: impl FnMut(Line)) -> Result<(), Failure> {
    let mut request = Map::new();
    request.insert("format".to_owned(), json!("jsonl"));
    request.insert("attempts".to_owned(), json!(true));
    if let Some(batch) = batch {
        request.insert("batch_id".to_owned(), json!(batch));
    }
    let (file, _) = export::written(context, request)?;
    let mut lines = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    while next(&mut lines, &mut line)? {
        each(serde_json::from_slice(&line).map_err(|error| Failure::unexpected("export", &error))?);
    }
    Ok(())
}

fn next(lines: &mut BufReader<File>, line: &mut Vec<u8>) -> Result<bool, Failure> {
    line.clear();
    let read = lines.read_until(b'\n', line).map_err(|error| Failure::file("read", "the export", &error))?;
    Ok(read > 0)
}

/// What the batches are called.
fn names(context: &Context, batches: &mut BTreeMap<BatchId, Option<BatchInfo>>) -> Result<(), Failure> {
    for (id, info) in batches {
        let mut request = Map::new();
        request.insert("batch_id".to_owned(), json!(id));
        let status: StatusData = data(&context.ask("status", request)?)?;
        *info = status.batches.into_iter().flatten().find(|batch| batch.batch_id == *id);
    }
    Ok(())
}
