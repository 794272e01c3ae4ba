//! Many rows for one statement: a prepared one that has a list of `VALUES`, each row's values bound.
//!
//! A way to SQLite's thread and back costs as much as writing ten rows (docs/performance.md), so rows go there together, and the rows
//! of several statements too. Bound values are written as fast as by a prepared statement in a loop; taking them out of JSON text
//! takes half as long again, and for an update of many columns several times as long.

use std::collections::VecDeque;

use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;

use super::error::QueueError;
use super::tx::Tx;

/// How many rows a prepared statement takes where it takes more than one, and from how many on it is used. Fewer leave the last ones null, and a statement takes
/// no notice of a row whose first value is null.
const SIZES: [(usize, usize); 3] = [(256, 193), (64, 25), (8, 2)];
/// A statement with so many values or more has its way to SQLite's thread alone. Texts are prepared, and kept, as they come: each long
/// one takes hundreds of KiB, so it is the same whatever comes with it.
const LONG: usize = 256;

/// A value on its way into a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// Rows on their way into a statement.
pub(super) struct Rows {
    /// With one row, `(VALUES (?, …))`, which is repeated; all its parameters are there.
    statement: &'static str,
    columns: usize,
    cells: VecDeque<Cell>,
}

impl Rows {
    /// No rows yet for `statement`.
    pub(super) const fn new(statement: &'static str) -> Self {
        Self { statement, columns: 0, cells: VecDeque::new() }
    }

    /// Another row, in the order of the statement's columns.
    pub(super) fn push<const N: usize>(&mut self, row: [Cell; N]) {
        self.columns = N;
        self.cells.extend(row);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

/// Writes rows, in the order of the statements, and carries out `last` after them. What comes next is made ready while SQLite's
/// thread is at work.
pub(super) async fn write<const N: usize>(
    tx: &mut Tx<'_>,
    statements: [Rows; N],
    last: &str,
) -> Result<(), QueueError> {
    let mut parts = Parts { statements: statements.into(), last };
    let mut next = parts.next()?;
    while let Some(Part { text, values, is_long }) = next {
        if is_long {
            tx.begun().await?;
        }
        let (done, after) = tokio::join!(biased; tx.carry_out(text, values), async { parts.next() });
        done?;
        next = after?;
    }
    Ok(())
}

/// What has one way to SQLite's thread.
#[derive(Default)]
struct Part {
    text: String,
    values: SqliteArguments,
    is_long: bool,
}

/// What is still to be written.
struct Parts<'l> {
    statements: VecDeque<Rows>,
    last: &'l str,
}

impl Parts<'_> {
    fn next(&mut self) -> Result<Option<Part>, QueueError> {
        let mut part = Part::default();
        while let Some(Rows { statement, columns, cells }) = self.statements.front_mut() {
            if cells.is_empty() {
                self.statements.pop_front();
                continue;
            }
            let size = size(cells.len() / *columns);
            part.is_long = size * *columns >= LONG;
            if part.is_long && !part.text.is_empty() {
                part.is_long = false;
                return Ok(Some(part));
            }
            repeat(statement, size, &mut part.text);
            for _ in 0..size * *columns {
                bind(&mut part.values, cells.pop_front().unwrap_or(Cell::Null))?;
            }
            if part.is_long {
                return Ok(Some(part));
            }
        }
        part.text.push_str(std::mem::take(&mut self.last));
        Ok((!part.text.is_empty()).then_some(part))
    }
}

/// For how many rows a statement is that takes some of so many, or all.
fn size(rows: usize) -> usize {
    SIZES.into_iter().find(|(_, from)| rows >= *from).map_or(1, |(size, _)| size)
}

fn bind(values: &mut SqliteArguments, cell: Cell) -> Result<(), QueueError> {
    match cell {
        Cell::Null => values.add(None::<i64>),
        Cell::Integer(value) => values.add(value),
        Cell::Text(value) => values.add(value),
        Cell::Blob(value) => values.add(value),
    }
    .map_err(|error| QueueError::Value(error.to_string()))
}

/// Appends `statement` for so many rows.
fn repeat(statement: &str, rows: usize, text: &mut String) {
    let (before, rest) = statement.split_once("(VALUES ").unwrap_or((statement, ""));
    let (row, after) = rest.split_at(rest.find(')').map_or(rest.len(), |at| at + 1));
    text.push_str(before);
    text.push_str("(VALUES ");
    for place in 0..rows {
        text.push_str(if place > 0 { ", " } else { "" });
        text.push_str(row);
    }
    text.push_str(after);
    text.push_str(";\n");
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<i32> for Cell {
    fn from(value: i32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Integer(value.into())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<Vec<u8>> for Cell {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_a_statement_is_repeated() {
        let mut text = String::new();
        repeat("UPDATE t SET a = j.column2 FROM (VALUES (?, ?)) AS j WHERE id = j.column1", 3, &mut text);
        assert_eq!(
            text,
            "UPDATE t SET a = j.column2 FROM (VALUES (?, ?), (?, ?), (?, ?)) AS j WHERE id = j.column1;\n"
        );
    }

    #[test]
    fn what_is_absent_is_null() {
        assert_eq!([Cell::from(None::<i64>), Some("a").into()], [Cell::Null, Cell::Text("a".to_owned())]);
    }
}
