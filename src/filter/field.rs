//! What a task can be asked for: the table of the fields.

use super::value::{self, Literal};
use crate::task::{Cause, Outcome, Priority, Status};

/// A field of a task.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    /// Its name in a task's JSON, where that is another; it is understood, too.
    pub(super) alias: &'static str,
    pub(super) kind: Kind,
    /// Whether a task may have no such value.
    optional: bool,
    /// Its value in SQL, where `task` is the task and `:now` the wall clock in ms; a task may have two such values.
    pub(super) values: &'static [&'static str],
    /// What it is, in a few words.
    pub about: &'static str,
}

/// What kind of value a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    /// An id, also as `task_12`.
    Id,
    Text,
    /// One of these; its code is the place among them.
    Word(&'static [&'static str]),
    /// As words, from the least to the most.
    Level(&'static [&'static str]),
    /// Milliseconds.
    Duration,
    /// Bytes.
    Size,
    /// Wall clock, ms.
    Time,
}

/// A column of the attempt that is shown: the latest, once it has ended.
macro_rules! latest {
    ($column:literal) => {
        concat!("(SELECT ", $column, " FROM attempt WHERE task_id = task.id AND number = task.attempts)")
    };
}

const NO_YES: &[&str] = &["no", "yes"];

pub(super) const ID: Field = field("id", "task_id", Kind::Id, &["task.id"], "the task's id");
pub(super) const STATUS: Field =
    field("status", "", Kind::Word(Status::WORDS), &["max(task.state - 1, 0)"], "its state");
pub(super) const BATCH: Field = field("batch", "batch_id", Kind::Id, &["task.batch_id"], "the id of its batch");
pub(super) const ENDED_AGO: Field = optional(
    "ended_ago",
    "",
    Kind::Duration,
    &["CASE WHEN task.state >= 3 THEN max(:now - task.finished_at, 0) END"],
    "time since it ended",
);
pub(super) const PRIORITY: Field =
    field("priority", "", Kind::Level(Priority::WORDS), &["task.priority"], "how urgent it is, the least first");
pub(super) const FINISHED: Field = optional(
    "finished",
    "finished_at",
    Kind::Time,
    &["CASE WHEN task.state >= 3 THEN task.finished_at END"],
    "when it ended",
);

/// All fields, in the order of the documentation.
pub const FIELDS: &[Field] = &[
    ID,
    STATUS,
    field(
        "function",
        "",
        Kind::Text,
        &[
            "task.function",
            "CASE task.function WHEN 'custom_function' THEN 'python'
                 WHEN 'code_execution' THEN (SELECT params ->> '$.runtime' FROM task_input WHERE task_id = task.id) END",
        ],
        "what runs it; also `python`, `nodejs` and `terminal`: the language of `code_execution`, and `python` of `custom_function`",
    ),
    field("name", "", Kind::Text, &["task.name"], "what it is called"),
    field(
        "params",
        "",
        Kind::Text,
        &["(SELECT params FROM task_input WHERE task_id = task.id)"],
        "its parameters, as JSON text",
    ),
    BATCH,
    optional(
        "batch_name",
        "",
        Kind::Text,
        &["(SELECT name FROM batch WHERE batch.id = task.batch_id)"],
        "the name of its batch",
    ),
    PRIORITY,
    optional(
        "runtime",
        "execution_time",
        Kind::Duration,
        &["CASE WHEN task.state = 2 THEN max(:now - task.started_at, 0) ELSE task.run_ms END"],
        "how long the latest attempt took; of one that runs, so far by the clock",
    ),
    optional(
        "waited",
        "wait_time",
        Kind::Duration,
        &["CASE WHEN task.first_started_at IS NOT NULL THEN max(task.first_started_at - task.created_at, 0)
               WHEN task.state < 2 THEN max(:now - task.created_at, 0) END"],
        "from when it was added to its first start; of one that waits for it, so far",
    ),
    field("age", "", Kind::Duration, &["max(:now - task.created_at, 0)"], "time since it was added"),
    ENDED_AGO,
    optional("timeout", "", Kind::Duration, &["task.timeout_ms"], "what an attempt may take"),
    field("attempts", "", Kind::Integer, &["task.attempts"], "attempts that were begun"),
    field("retries", "retry_count", Kind::Integer, &["task.retry_count"], "retries that were used"),
    field("max_retries", "", Kind::Integer, &["task.max_retries"], "retries that are allowed"),
    field("interruptions", "", Kind::Integer, &["task.interruptions"], "attempts that were lost with the daemon or the machine"),
    optional(
        "outcome",
        "",
        Kind::Word(Outcome::WORDS),
        &[latest!("outcome")],
        "how the latest attempt ended",
    ),
    optional(
        "cause",
        "",
        Kind::Word(Cause::WORDS),
        &[latest!("cause")],
        "what ended it from outside",
    ),
    optional("exit_code", "", Kind::Integer, &[latest!("exit_code")], "of its process"),
    optional("signal", "", Kind::Integer, &[latest!("signal")], "that ended its process"),
    optional("error", "", Kind::Text, &[latest!("error")], "why the latest attempt failed"),
    optional(
        "reason",
        "",
        Kind::Text,
        &["CASE WHEN task.state >= 3 THEN task.reason END"],
        "why a task that has ended did so",
    ),
    optional("cpu", "cpu_time", Kind::Duration, &[latest!("cpu_us / 1000.0")], "CPU time of the latest attempt"),
    optional("memory", "max_rss", Kind::Size, &[latest!("max_rss")], "the most memory that its process had"),
    field(
        "paused",
        "",
        Kind::Word(NO_YES),
        &["task.state < 3 AND task.paused IS NOT NULL"],
        "put aside by `pause`, itself or with its batch",
    ),
    field("created", "created_at", Kind::Time, &["task.created_at"], "when it was added"),
    optional("started", "started_at", Kind::Time, &["task.started_at"], "when the latest attempt started"),
    FINISHED,
];

const fn field(
    name: &'static str,
    alias: &'static str,
    kind: Kind,
    values: &'static [&'static str],
    about: &'static str,
) -> Field {
    Field { name, alias, kind, optional: false, values, about }
}

/// One that a task may not have.
const fn optional(
    name: &'static str,
    alias: &'static str,
    kind: Kind,
    values: &'static [&'static str],
    about: &'static str,
) -> Field {
    Field { name, alias, kind, optional: true, values, about }
}

impl Field {
    /// The field of a name, in any case.
    pub fn of(name: &str) -> Option<&'static Self> {
        let is = |field: &&Self| [field.name, field.alias].iter().any(|known| known.eq_ignore_ascii_case(name));
        FIELDS.iter().filter(|_| !name.is_empty()).find(is)
    }

    /// All names, for a message.
    pub(super) fn names() -> String {
        FIELDS.iter().map(|field| field.name).collect::<Vec<_>>().join(", ")
    }

    /// The operators that it takes.
    pub(super) fn operators(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Text => &["=", "!=", "~", "!~", "in"],
            Kind::Word(_) => &["=", "!=", "in"],
            Kind::Integer | Kind::Id | Kind::Level(_) | Kind::Duration | Kind::Size | Kind::Time => {
                &["=", "!=", "<", "<=", ">", ">=", "in"]
            }
        }
    }

    /// The words that it may be, where there are only some.
    pub(super) const fn words(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Word(words) | Kind::Level(words) => words,
            _ => &[],
        }
    }

    /// A value of this field. None: it is not allowed.
    pub(super) fn read(&self, text: &str, quoted: bool) -> Option<Literal> {
        if self.optional && !quoted && text.eq_ignore_ascii_case("none") {
            return Some(Literal::None);
        }
        match self.kind {
            Kind::Integer => text.parse().ok().map(Literal::Integer),
            Kind::Id => text.strip_prefix("task_").unwrap_or(text).parse().ok().map(Literal::Integer),
            Kind::Text => Some(Literal::Text(text.to_owned())),
            Kind::Word(words) | Kind::Level(words) => {
                let code = words.iter().position(|word| word.eq_ignore_ascii_case(text))?;
                i64::try_from(code).ok().map(Literal::Integer)
            }
            Kind::Duration => value::duration(text).map(Literal::Integer),
            Kind::Size => value::size(text).map(Literal::Integer),
            Kind::Time => value::time(text),
        }
    }

    /// What a value must be.
    pub fn allowed(&self) -> String {
        let mut allowed = match self.kind {
            Kind::Integer => "a whole number".to_owned(),
            Kind::Id => "an id such as 12".to_owned(),
            Kind::Text => "a text".to_owned(),
            Kind::Word(words) | Kind::Level(words) => format!("one of {}", words.join(", ")),
            Kind::Duration => "a duration such as 30s, 5m, 1.5h or 2d".to_owned(),
            Kind::Size => "a size such as 512K, 10M or 1.5G".to_owned(),
            Kind::Time => "a time such as 2026-01-31, \"2026-01-31 22:00\" or 2026-01-31T22:00:00Z".to_owned(),
        };
        if self.optional {
            allowed.push_str(", or none");
        }
        allowed
    }
}
