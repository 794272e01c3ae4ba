//! No statement of the queue reads or sorts more than it answers with: every literal of SQL under
//! `src/queue` is explained on a migrated database. A new statement is checked without being listed here.

#[path = "support/sources.rs"]
mod sources;

use std::path::Path;

use sources::files;
use sqlx::{ConnectOptions, Row, SqliteConnection, sqlite::SqliteConnectOptions};

/// `doctor` compares the tallies with all rows, and its repair counts them anew; nothing else may.
const WHOLE: &[&str] = &["src/queue/read/health.rs", "src/queue/salvage/fill.rs"];
/// Tables of a few rows, whatever the queue holds, and lists that the request itself brought.
const SMALL: &[&str] =
    &["tally", "executor", "clock", "sqlite_sequence", "j", "wanted", "json_each", "suspect", "cause_tally", "hook"];
/// Indexes of what is open: bounded by what runs and is claimed, or read in order up to a limit.
const OPEN: &[&str] =
    &["batch_paused", "task_ready", "task_waiting", "task_waiting_id", "task_claimed", "task_running"];
/// What may be sorted: a batch that is smaller than the queue is long.
const SORTED: &[&str] = &["INDEXED BY task_batch WHERE batch_id = ?1 AND state = 0"];

/// The string literals of a source, without its tests and comments; none of ours has an escaped quote.
fn literals(source: &str) -> Vec<&str> {
    let code = source.split("#[cfg(test)]").next().unwrap_or(source);
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['"', '/']) {
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(text) = rest.strip_prefix('"') {
            let (literal, after) = text.split_once('"').expect("a closed literal");
            found.push(literal);
            rest = after;
        } else {
            rest = &rest[1..];
        }
    }
    found
}

fn is_statement(literal: &str) -> bool {
    ["SELECT ", "INSERT ", "UPDATE ", "DELETE "].iter().any(|verb| literal.starts_with(verb))
}

async fn migrated() -> SqliteConnection {
    let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await.expect("a database");
    sqlx::migrate!().run(&mut connection).await.expect("migrated");
    connection
}

async fn plan(connection: &mut SqliteConnection, statement: &str) -> Vec<String> {
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let rows = sqlx::query(explain).fetch_all(connection).await;
    let rows = rows.unwrap_or_else(|error| panic!("{error}: {statement}"));
    rows.iter().map(|row| row.get::<String, _>("detail")).collect()
}

/// Why a step of a plan costs more than it may.
fn too_much(statement: &str, step: &str) -> bool {
    let words: Vec<&str> = step.split_whitespace().collect();
    match words.as_slice() {
        ["SCAN", table, rest @ ..] => {
            let index = rest.iter().position(|word| *word == "INDEX").and_then(|at| rest.get(at + 1));
            // What another step of the plan found: that step is looked at itself.
            let found = table.starts_with("(subquery-");
            !found && !SMALL.contains(table) && !index.is_some_and(|index| OPEN.contains(index)) && *table != "CONSTANT"
        }
        ["USE", "TEMP", "B-TREE", "FOR", .., "BY"] if step.contains("ORDER") => {
            let one_line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
            !SORTED.iter().any(|sorted| one_line.contains(sorted))
        }
        _ => step.contains("AUTOMATIC"),
    }
}

#[tokio::test]
async fn no_statement_reads_more_than_it_answers_with() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    files(&root.join("src/queue"), &mut sources);
    let mut connection = migrated().await;
    let (mut explained, mut bad) = (0, Vec::new());
    for path in sources.iter().filter(|path| !WHOLE.iter().any(|whole| path.ends_with(whole))) {
        let source = std::fs::read_to_string(path).expect("a source");
        let literals = literals(&source);
        let statements = literals.iter().flat_map(|literal| literal.split(';')).map(str::trim);
        for statement in statements.filter(|statement| is_statement(statement)) {
            if statement.contains("pragma_") || statement.contains("sqlite_master") || statement.contains("_sqlx") {
                continue;
            }
            explained += 1;
            let steps = plan(&mut connection, statement).await;
            if steps.iter().any(|step| too_much(statement, step)) {
                bad.push(format!("{}\n{statement}\n  {}", path.display(), steps.join("\n  ")));
            }
        }
    }
    assert!(explained > 40, "only {explained} statements were found");
    assert!(bad.is_empty(), "{}", bad.join("\n\n"));
}

#[tokio::test]
async fn a_statement_that_reads_too_much_is_told() {
    let mut connection = migrated().await;
    for statement in [
        "SELECT id FROM task WHERE state = 3 AND function = 'x'",
        "SELECT id FROM task INDEXED BY task_batch ORDER BY batch_id",
        "SELECT id FROM task INDEXED BY task_ended WHERE state >= 3 AND state = 4 ORDER BY id",
        "SELECT task_id FROM attempt WHERE number = 1",
    ] {
        let steps = plan(&mut connection, statement).await;
        assert!(steps.iter().any(|step| too_much(statement, step)), "{statement}: {steps:?}");
    }
}
