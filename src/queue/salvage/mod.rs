//! `doctor --repair`: a fresh queue from what can still be read of a damaged one.
//!
//! SQLite is not asked for it, for it gives up where a page on the way to a row is damaged. `pages` gives the latest
//! committed version of each page, `rows` what is on it; which table a page belongs to is told from above (the way
//! from the root) and from below (the map of parents that an auto-vacuumed file has), so that a damaged page costs its
//! own rows alone. `fill` writes them into a fresh queue and makes that whole: tallies, ids, what belongs together.
//!
//! The damaged file stays as it is until the fresh one is complete and on the disk, and a copy of it stays beside it.

mod fill;
mod pages;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::error::{OpenError, QueueError};
use super::open;
use super::read::tally_difference;
use fill::{Filler, Table};
use pages::Pages;
use rows::Value;

/// What a repair came to.
#[derive(Debug, Clone)]
pub struct Repaired {
    /// The damaged queue; its log, if it had one, has the same name with `-wal`.
    pub saved: PathBuf,
    /// The rows of each table that are in the fresh queue.
    pub tables: Vec<(String, u64)>,
    /// Pages of the file that could not be read.
    pub unreadable_pages: usize,
    /// Rows on readable pages that could not be read or made no sense.
    pub unreadable_rows: u64,
    /// What had to be given up or set anew, a sentence each.
    pub notes: Vec<String>,
}

/// Why nothing was repaired; the queue is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error("there is no queue `{0}`")]
    Missing(PathBuf),
    #[error("the queue `{0}` is not damaged; nothing was done")]
    Intact(PathBuf),
    #[error(
        "nothing of a queue can be read in `{0}`; it was left untouched: put a backup in its place, or move it away"
    )]
    Nothing(PathBuf),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the salvaged queue cannot be written: {0}; the damaged one was left untouched")]
    Write(#[from] QueueError),
    #[error("the queue cannot be repaired: {doing} failed: {error}; the damaged one was left untouched")]
    Io { doing: &'static str, error: io::Error },
}

impl From<sqlx::Error> for RepairError {
    fn from(error: sqlx::Error) -> Self {
        Self::Write(error.into())
    }
}

/// A path beside the queue's.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Puts a salvaged queue in its place, if one is complete and waits for it. The old log goes first: it must never meet
/// the new file.
pub(super) fn finish(path: &Path) -> io::Result<()> {
    let repaired = beside(path, ".repaired");
    if !repaired.exists() {
        return Ok(());
    }
    for end in ["-wal", "-shm"] {
        match std::fs::remove_file(beside(path, end)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_folder(path)?;
    std::fs::rename(&repaired, path)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Salvages the queue at `path`, of which nobody may have a connection, into a fresh one that takes its place. `stamp`
/// is for the name under which the damaged one is kept.
///
/// # Errors
/// When there is nothing to repair, or no fresh queue can be made.
pub async fn repair(path: &Path, stamp: &str) -> Result<Repaired, RepairError> {
    let failed = |doing| move |error| RepairError::Io { doing, error };
    finish(path).map_err(failed("finishing an earlier repair"))?;
    if !path.exists() {
        return Err(RepairError::Missing(path.to_owned()));
    }
    let sound = match open::refuse_newer(path).await {
        Err(error @ (OpenError::Newer { .. } | OpenError::Foreign { .. })) => return Err(error.into()),
        Err(_) => false,
        Ok(()) => is_sound(path).await,
    };
    let pages = Pages::open(path, &beside(path, "-wal")).map_err(failed("reading it"))?;
    let fresh = beside(path, ".new");
    for end in ["", "-wal", "-shm", "-journal"] {
        drop(std::fs::remove_file(beside(&fresh, end)));
    }
    let salvaged = salvage(&pages, &fresh).await;
    let Some(mut repaired) = salvaged.inspect_err(|_| drop(std::fs::remove_file(&fresh)))? else {
        drop(std::fs::remove_file(&fresh));
        return Err(RepairError::Nothing(path.to_owned()));
    };
    // SQLite does not look into the values.
    if sound && (repaired.unreadable_pages, repaired.unreadable_rows, repaired.notes.len()) == (0, 0, 0) {
        drop(std::fs::remove_file(&fresh));
        return Err(RepairError::Intact(path.to_owned()));
    }
    File::open(&fresh).and_then(|file| file.sync_all()).map_err(failed("writing the salvaged queue"))?;
    repaired.saved = beside(path, &format!(".damaged-{stamp}"));
    for end in ["", "-wal"] {
        keep(&beside(path, end), &beside(&repaired.saved, end)).map_err(failed("keeping a copy"))?;
    }
    sync_folder(path).map_err(failed("keeping a copy"))?;
    std::fs::rename(&fresh, beside(path, ".repaired")).map_err(failed("putting the salvaged queue in its place"))?;
    finish(path).map_err(failed("putting the salvaged queue in its place"))?;
    Ok(repaired)
}

/// A copy on the disk, for its owner alone.
fn keep(file: &Path, copy: &Path) -> io::Result<()> {
    if !file.exists() {
        return Ok(());
    }
    std::fs::copy(file, copy)?;
    std::fs::set_permissions(copy, std::fs::Permissions::from_mode(0o600))?;
    File::open(copy)?.sync_all()
}

/// Whether SQLite finds nothing wrong, and the tallies are the rows.
async fn is_sound(path: &Path) -> bool {
    let check = async {
        let mut connection = SqliteConnectOptions::new().filename(path).read_only(true).connect().await?;
        let found: Vec<String> =
            sqlx::query_scalar("SELECT integrity_check FROM pragma_integrity_check").fetch_all(&mut connection).await?;
        let difference = tally_difference(&mut connection).await?;
        connection.close().await?;
        Ok::<_, QueueError>(found == ["ok"] && difference.is_none())
    };
    check.await.unwrap_or(false)
}

/// Writes what can be read of `pages` into a fresh queue at `fresh`; none if there is nothing.
async fn salvage(pages: &Pages, fresh: &Path) -> Result<Option<Repaired>, RepairError> {
    let mut connection = open::migrated(fresh).await?;
    let tables = fill::tables(&mut connection).await?;
    let (owned, unreadable) = owned_pages(pages, &tables);
    let mut filler = Filler::new(&mut connection, tables).await?;
    for (page, table) in &owned {
        filler.page(pages, *page, *table).await?;
    }
    let is_nothing = filler.is_empty();
    let repaired = filler.finish(unreadable).await?;
    std::mem::ManuallyDrop::into_inner(connection).close().await?;
    Ok((!is_nothing).then_some(repaired))
}

/// For each page with rows, the table that they are of; and how many pages on the way to rows cannot be read.
fn owned_pages(pages: &Pages, tables: &[Table]) -> (BTreeMap<u32, usize>, usize) {
    let roots = roots(pages, tables);
    let table_of: HashMap<u32, usize> = roots.iter().enumerate().map(|(table, root)| (*root, table)).collect();
    let fits = |page, table: usize| rows::content(pages, page, tables[table].without_rowid);
    let (mut owned, mut unreadable) = (BTreeMap::new(), BTreeSet::new());
    // From above.
    for (table, root) in roots.iter().enumerate() {
        let mut ways = VecDeque::from([*root]);
        while let Some(page) = ways.pop_front() {
            if owned.contains_key(&page) || table_above(pages, page, &table_of).is_some_and(|owner| owner != table) {
                continue;
            }
            match fits(page, table) {
                Some(content) => {
                    ways.extend(content.children);
                    owned.insert(page, table);
                }
                None => drop(unreadable.insert(page)),
            }
        }
    }
    // From below.
    for page in 2..=pages.count {
        if let Some(table) = table_above(pages, page, &table_of).filter(|_| !owned.contains_key(&page)) {
            match fits(page, table) {
                Some(_) => drop(owned.insert(page, table)),
                None => drop(unreadable.insert(page)),
            }
        }
    }
    (owned, unreadable.len())
}

/// The table to whose root the map of parents leads.
fn table_above(pages: &Pages, mut page: u32, table_of: &HashMap<u32, usize>) -> Option<usize> {
    const ROOT: u8 = 1;
    const BELOW: u8 = 5;
    // No tree is higher.
    for _ in 0..20 {
        match pages.mapped(page)? {
            (ROOT, _) => return table_of.get(&page).copied(),
            (BELOW, parent) => page = parent,
            _ => return None,
        }
    }
    None
}

/// The root page of each table: as the file says, else where a fresh queue has it, for all are made by the same steps.
fn roots(pages: &Pages, tables: &[Table]) -> Vec<u32> {
    let mut found = HashMap::new();
    let (mut ways, mut seen) = (VecDeque::from([1]), BTreeSet::new());
    while let Some(page) = ways.pop_front() {
        let Some(content) = rows::content(pages, page, false).filter(|_| seen.insert(page)) else { continue };
        ways.extend(content.children);
        for row in content.rows.into_iter().flatten() {
            if let [Value::Text(kind), Value::Text(name), _, Value::Integer(root), ..] = row.values.as_slice()
                && kind == "table"
                && let Ok(root) = u32::try_from(*root)
            {
                found.insert(name.clone(), root);
            }
        }
    }
    tables.iter().map(|table| found.get(&table.name).copied().unwrap_or(table.root)).collect()
}
