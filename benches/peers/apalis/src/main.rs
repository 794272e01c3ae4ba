//! apalis with SQLite: `apalis-peer DATABASE N CONCURRENCY [PROGRAM]` queues N jobs in a file (WAL, synchronous=FULL), then
//! prints how many a second a worker carries out, until the last is stored as done. A job starts PROGRAM, or does nothing.
//!
//! Its rate falls with N: to store an end it looks at all that the worker has had (`ack.sql` goes along the index of
//! `lock_by`, after ANALYZE too), so that 20,000 jobs go at a sixth of the rate of 2,000.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteConnectOptions, SqlitePool, SqliteStorage};
use futures::stream;
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};

const USAGE: &str = "usage: apalis-peer DATABASE N CONCURRENCY [PROGRAM]";
/// Jobs fetched at a time: its default of 10 would leave some of 16 slots empty.
const FETCHED: usize = 256;

/// What every job is given.
#[derive(Clone)]
struct Work {
    program: Option<String>,
    left: Arc<AtomicU64>,
}

async fn job(_: u64, work: Data<Work>, worker: WorkerContext) -> Result<(), BoxDynError> {
    if let Some(program) = &work.program {
        let status = tokio::process::Command::new(program).status().await?;
        if !status.success() {
            return Err(format!("{program}: {status}").into());
        }
    }
    if work.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        worker.stop()?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxDynError> {
    let mut words = std::env::args().skip(1);
    let mut word = || words.next().ok_or(USAGE);
    let (database, count, concurrency) = (word()?, word()?.parse::<u64>()?, word()?.parse::<usize>()?);
    let work = Work { program: words.next(), left: Arc::new(AtomicU64::new(count)) };

    // `SqliteStorage::setup` would switch syncing off; the tables alone are its own.
    let options = SqliteConnectOptions::new()
        .filename(&database)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePool::connect_with(options).await?;
    SqliteStorage::migrations().run(&pool).await?;
    let mut storage = SqliteStorage::new(&pool).with_config(Config::default().queue("true").batch_size(FETCHED));
    storage.push_stream(stream::iter(0..count)).await?;

    let begun = Instant::now();
    WorkerBuilder::new("peer")
        .backend(storage)
        .concurrency(concurrency)
        .parallelize(tokio::spawn)
        .data(work)
        .build(job)
        .run()
        .await?;
    let took = begun.elapsed();
    let done: i64 = sqlx::query_scalar("SELECT count(*) FROM Jobs WHERE status = 'Done'").fetch_one(&pool).await?;
    if u64::try_from(done)? != count {
        return Err(format!("{done} of {count} jobs are done").into());
    }
    println!("{}", count as f64 / took.as_secs_f64());
    Ok(())
}
