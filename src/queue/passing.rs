//! Which of some tasks pass a filter. Its condition is looked at on rows that an index or a request has named, never on the
//! whole table, so that a step is short however few pass; the writer looks at it again on the tasks that it changes.

use rusqlite::{ToSql, params_from_iter};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::db::Db;
use super::error::QueueError;
use super::tx::{json, parsed};
use crate::filter::Condition;
use crate::filter::condition::{Bound, FIRST};
use crate::task::TaskId;

/// Has one parameter, and a condition's come after it.
const NAMED: &str = "SELECT task.id FROM json_each(?1) AS wanted CROSS JOIN task ON task.id = wanted.value";

const _: () = assert!(FIRST == 2);

/// How some of the tasks come first.
pub(super) struct First {
    /// What stands after `ORDER BY`.
    pub order: String,
    pub most: usize,
}

/// Those of `ids` that are there and pass: in their order, or the first ones of another.
pub(super) async fn passing(
    connection: &mut SqliteConnection,
    ids: &[TaskId],
    condition: Option<&Condition>,
    first: Option<&First>,
) -> Result<Vec<TaskId>, QueueError> {
    // Made of our own words and of places for values. Not kept: there are as many as filters.
    let statement = AssertSqlSafe(statement(condition, first));
    let mut query = sqlx::query_scalar(statement).persistent(false).bind(json(&ids)?);
    for value in values(condition) {
        query = match value {
            Bound::Integer(value) => query.bind(*value),
            Bound::Text(value) => query.bind(value.clone()),
        };
    }
    let found: String = query.fetch_one(connection).await?;
    parsed(&found)
}

/// The same within the writer's transaction.
pub(super) fn passing_within(db: &Db, ids: &[TaskId], condition: &Condition) -> Result<Vec<TaskId>, QueueError> {
    let ids = json(&ids)?;
    let bound = values(Some(condition)).map(|value| match value {
        Bound::Integer(value) => value as &dyn ToSql,
        Bound::Text(value) => value,
    });
    let bound = std::iter::once(&ids as &dyn ToSql).chain(bound);
    let found: String = db.once(&statement(Some(condition), None), params_from_iter(bound), |row| row.get(0))?;
    parsed(&found)
}

/// The ids come in one value, for a row is a way to the thread of a reader.
fn statement(condition: Option<&Condition>, first: Option<&First>) -> String {
    let mut named = NAMED.to_owned();
    if let Some(condition) = condition {
        named.push_str(" WHERE ");
        named.push_str(&condition.sql);
    }
    if let Some(First { order, most }) = first {
        named.push_str(&format!(" ORDER BY {order} LIMIT {most}"));
    }
    format!("WITH found AS ({named}) SELECT json_group_array(id) FROM found")
}

fn values(condition: Option<&Condition>) -> impl Iterator<Item = &Bound> {
    condition.into_iter().flat_map(|condition| &condition.values)
}
