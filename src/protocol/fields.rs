//! Reading the fields of a JSON object with one clear sentence for each thing that is wrong.

use std::cell::RefCell;
use std::fmt::{self, Display};

use serde_json::{Map, Value};

use crate::filter::{Filter, LONGEST, Sort};
use crate::json::{DEEPEST, depth};
use crate::task::TaskId;
use crate::words::did_you_mean;

/// More seconds than this are refused: some 317 years, and in milliseconds still far from the end of an `i64`.
const MOST_SECONDS: f64 = 1e10;
/// No object has more fields than this that are known.
const KNOWN: usize = 16;
/// The most characters of a value that a message repeats.
const SHOWN: usize = 80;

/// The fields of one object. Absent and null are the same. What was never asked for is unknown.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    known: RefCell<Vec<&'static str>>,
}

type Read<T> = Result<Option<T>, String>;

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map<String, Value>) -> Self {
        Self { map, known: RefCell::new(Vec::with_capacity(KNOWN)) }
    }

    /// The field as it is; null when it says so, `None` when it is absent.
    pub(super) fn raw(&self, name: &'static str) -> Option<&'a Value> {
        self.known.borrow_mut().push(name);
        self.map.get(name)
    }

    /// The field by `read`; `allowed` completes "… must be".
    pub(super) fn optional<T>(
        &self,
        name: &'static str,
        allowed: impl Display,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Read<T> {
        match self.raw(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| wrong(name, value, allowed)),
        }
    }

    /// A field whose value was taken out of the object, for it may be most of it; `read` gives back what is not allowed.
    pub(super) fn taken<T>(
        &self,
        name: &'static str,
        value: Option<Value>,
        allowed: impl Display,
        read: impl FnOnce(Value) -> Result<T, Value>,
    ) -> Read<T> {
        self.known.borrow_mut().push(name);
        match value.unwrap_or_default() {
            Value::Null => Ok(None),
            value => read(value).map(Some).map_err(|value| wrong(name, &value, allowed)),
        }
    }

    pub(super) fn required<T>(&self, name: &str, read: Read<T>) -> Result<T, String> {
        read?.ok_or_else(|| format!("`{name}` is missing"))
    }

    pub(super) fn bool(&self, name: &'static str) -> Read<bool> {
        self.optional(name, "true or false", Value::as_bool)
    }

    /// Text of 1 to `most` bytes.
    pub(super) fn text(&self, name: &'static str, most: usize) -> Read<String> {
        self.optional(name, format_args!("text of 1 to {most} bytes"), |v| {
            v.as_str().filter(|s| !s.is_empty() && s.len() <= most).map(str::to_owned)
        })
    }

    /// An object that is kept as it is. Nested no deeper than any JSON reader follows, also within an answer.
    pub(super) fn kept_object(&self, name: &'static str) -> Read<Map<String, Value>> {
        self.object(name)?.map(|object| not_too_deep(name, object)).transpose()
    }

    pub(super) fn object(&self, name: &'static str) -> Read<Map<String, Value>> {
        self.optional(name, "an object", |v| v.as_object().cloned())
    }

    /// A whole number of a range; `5.0` counts as 5.
    pub(super) fn integer(&self, name: &'static str, low: i64, high: i64) -> Read<i64> {
        self.optional(name, format_args!("a whole number from {low} to {high}"), |v| {
            whole(v).filter(|n| (low..=high).contains(n))
        })
    }

    pub(super) fn small(&self, name: &'static str, low: u32, high: u32) -> Read<u32> {
        Ok(self.integer(name, low.into(), high.into())?.and_then(|n| u32::try_from(n).ok()))
    }

    /// Seconds, 0 or more.
    pub(super) fn seconds(&self, name: &'static str) -> Read<f64> {
        self.optional(name, "a number of seconds from 0 to 1e10", |v| {
            v.as_f64().filter(|s| (0.0..=MOST_SECONDS).contains(s))
        })
    }

    /// Seconds, above 0.
    pub(super) fn positive_seconds(&self, name: &'static str) -> Read<f64> {
        self.optional(name, "a number of seconds above 0 and at most 1e10", |v| {
            v.as_f64().filter(|s| *s > 0.0 && *s <= MOST_SECONDS)
        })
    }

    /// As `read`, but an explicit null is told from an absent field.
    pub(super) fn nullable<T>(&self, name: &'static str, read: Read<T>) -> Result<Option<Option<T>>, String> {
        let value = read?;
        Ok(self.map.get(name).map(|_| value))
    }

    /// One of `words`, in any letter case.
    pub(super) fn word<T: Copy>(&self, name: &'static str, words: &[(&'static str, T)]) -> Read<T> {
        self.optional(name, OneOf(words), |v| {
            let given = v.as_str()?;
            words.iter().find(|(word, _)| word.eq_ignore_ascii_case(given)).map(|(_, value)| *value)
        })
    }

    pub(super) fn id(&self, name: &'static str) -> Read<TaskId> {
        self.optional(name, "an id such as 12, \"12\" or \"task_12\"", task_ref)
    }

    /// The field `filter`.
    pub(super) fn filter(&self) -> Read<Filter> {
        let text = self.text("filter", LONGEST)?;
        text.map(|text| Filter::parse(&text).map_err(|wrong| format!("`filter`, {wrong}"))).transpose()
    }

    /// The field `sort`.
    pub(super) fn sort(&self) -> Read<Sort> {
        let text = self.text("sort", LONGEST)?;
        text.map(|text| Sort::parse(&text).map_err(|wrong| format!("`sort` {wrong}"))).transpose()
    }

    /// A list of ids, not empty.
    pub(super) fn ids(&self, name: &'static str) -> Read<Vec<TaskId>> {
        self.optional(name, "a list of ids such as [12, \"task_13\"], not empty", |v| {
            v.as_array().filter(|list| !list.is_empty())?.iter().map(task_ref).collect()
        })
    }

    /// A warning for each unknown field, with the nearest known name.
    pub(super) fn unknown(&self) -> Vec<String> {
        let known = self.known.borrow();
        self.map
            .keys()
            .filter(|name| !known.contains(&name.as_str()))
            .map(|name| format!("unknown field `{name}` was ignored{}", did_you_mean(name, known.iter().copied())))
            .collect()
    }
}

/// An object that is kept.
pub(super) fn not_too_deep(name: &str, object: Map<String, Value>) -> Result<Map<String, Value>, String> {
    if object.values().any(|value| depth(value) >= DEEPEST) {
        return Err(format!("`{name}` is nested too deep: at most {DEEPEST} levels are possible"));
    }
    Ok(object)
}

/// The words that are allowed; written out only for a message.
struct OneOf<'w, T>(&'w [(&'static str, T)]);

impl<T> Display for OneOf<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one of ")?;
        for (place, (word, _)) in self.0.iter().enumerate() {
            write!(f, "{}{word}", if place > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// A task id in any of its forms: `12`, `"12"`, `"task_12"`.
pub fn task_ref(value: &Value) -> Option<TaskId> {
    let id = match value {
        Value::String(text) => text.strip_prefix("task_").unwrap_or(text).parse().ok()?,
        other => whole(other)?,
    };
    (id > 0).then_some(id)
}

#[expect(clippy::cast_possible_truncation, clippy::float_cmp, reason = "only an exact whole number within 2^53 passes")]
pub(super) fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let float = value.as_f64()?;
        (float.abs() <= 9_007_199_254_740_992.0 && float.trunc() == float).then_some(float as i64)
    })
}

/// "… is X, but must be Y".
pub(super) fn wrong(name: &str, value: &Value, allowed: impl Display) -> String {
    format!("`{name}` is {}, but must be {allowed}", shortened(value))
}

/// A value as JSON, as much of it as a message repeats.
pub(super) fn shortened(value: &Value) -> String {
    let shown = value.to_string();
    if shown.chars().count() <= SHOWN { shown } else { shown.chars().take(SHOWN).chain(['…']).collect() }
}
