//! An order of tasks.

use serde::{Serialize, Serializer};

use super::field::{FINISHED, Field, ID, PRIORITY};
use crate::words::did_you_mean;

/// An order by one field, then by id. Tasks without such a value come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    field: &'static Field,
    descending: bool,
}

impl Sort {
    /// As tasks come where nothing is said.
    pub const BY_ID: Self = Self { field: &ID, descending: false };
    /// What is queued, as it will run.
    pub const URGENT_FIRST: Self = Self { field: &PRIORITY, descending: true };
    /// What has ended, the latest first.
    pub const LATEST_FIRST: Self = Self { field: &FINISHED, descending: true };

    /// Reads `runtime` or, the largest first, `-runtime`.
    ///
    /// # Errors
    /// What is allowed, to go on after "`sort` ".
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix('-').unwrap_or(text);
        let field = Field::of(name).ok_or_else(|| {
            let near = did_you_mean(name, super::FIELDS.iter().map(|field| field.name));
            let end = if near.is_empty() { "; the" } else { " The" };
            format!(
                "is {text:?}, but must be a field, with a `-` before it for the largest first{near}{end} fields are {}",
                Field::names()
            )
        })?;
        Ok(Self { field, descending: name.len() < text.len() })
    }

    /// What stands after `ORDER BY`.
    pub fn to_sql(self, now_ms: i64) -> String {
        let value = self.field.values.first().copied().unwrap_or(ID.name).replace(":now", &now_ms.to_string());
        let direction = if self.descending { "DESC" } else { "ASC" };
        format!("({value}) IS NULL, ({value}) {direction}, task.id")
    }
}

impl Serialize for Sort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let direction = if self.descending { "-" } else { "" };
        serializer.serialize_str(&format!("{direction}{}", self.field.name))
    }
}
