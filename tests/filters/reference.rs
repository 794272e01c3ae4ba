//! Random filters and a plain reading of them: what they say of a task as `export` with attempts writes it.

use std::fmt;

use fastrand::Rng;
use serde_json::Value;

/// A filter, as the test sees it.
pub enum Said {
    And(Vec<Said>),
    Or(Vec<Said>),
    Not(Box<Said>),
    Is(&'static Known, &'static str, String),
    In(&'static Known, Vec<String>),
}

/// A field that the test knows to read.
pub struct Known {
    name: &'static str,
    operators: &'static [&'static str],
    /// What it may be compared with.
    values: &'static [&'static str],
    /// A value to compare, of a task.
    read: fn(&Value) -> Vec<Found>,
    /// The value that a word means.
    meant: fn(&str) -> Found,
}

#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub enum Found {
    Nothing,
    Number(f64),
    Text(String),
}

const TEXT: &[&str] = &["=", "!=", "~", "!~"];
const WORD: &[&str] = &["=", "!="];
const NUMBER: &[&str] = &["=", "!=", "<", "<=", ">", ">="];

fn number(value: &Value) -> Vec<Found> {
    vec![value.as_f64().map_or(Found::Nothing, Found::Number)]
}

fn text(value: &Value) -> Vec<Found> {
    vec![value.as_str().map_or(Found::Nothing, |text| Found::Text(text.to_owned()))]
}

fn plain(word: &str) -> Found {
    Found::Text(word.to_owned())
}

fn seconds(word: &str) -> Found {
    let scale = if word.ends_with("ms") {
        0.001
    } else if word.ends_with('h') {
        3600.0
    } else {
        1.0
    };
    let digits = word.trim_end_matches(char::is_alphabetic);
    digits.parse().map_or(Found::Nothing, |value: f64| Found::Number(value * scale))
}

fn whole(word: &str) -> Found {
    word.parse().map_or(Found::Nothing, Found::Number)
}

fn kib(word: &str) -> Found {
    let digits = word.trim_end_matches('K').trim_end_matches('G');
    let scale = if word.ends_with('G') { 1_073_741_824.0 } else { 1024.0 };
    digits.parse().map_or(Found::Nothing, |value: f64| Found::Number(value * scale))
}

fn level(word: &str) -> Found {
    ["low", "medium", "high", "critical"]
        .iter()
        .zip([0.0, 1.0, 2.0, 3.0])
        .find(|(level, _)| **level == word)
        .map_or(Found::Nothing, |(_, place)| Found::Number(place))
}

/// The latest attempt.
fn latest(task: &Value) -> &Value {
    task["attempts"].as_array().and_then(|attempts| attempts.last()).unwrap_or(&Value::Null)
}

fn functions(task: &Value) -> Vec<Found> {
    let language = match task["function"].as_str() {
        Some("custom_function") => plain("python"),
        Some("code_execution") => text(&task["params"]["runtime"]).remove(0),
        _ => Found::Nothing,
    };
    [text(&task["function"]), vec![language]].concat()
}

const FIELDS: &[Known] = &[
    Known {
        name: "id",
        operators: NUMBER,
        values: &["1", "5", "12", "99"],
        read: |t| number(&t["task_id"]),
        meant: whole,
    },
    Known {
        name: "status",
        operators: WORD,
        values: &["queued", "completed", "failed", "cancelled", "running"],
        read: |t| text(&t["status"]),
        meant: plain,
    },
    Known {
        name: "function",
        operators: TEXT,
        values: &["python", "terminal", "nodejs", "code_execution", "simulate", "command"],
        read: functions,
        meant: plain,
    },
    Known {
        name: "name",
        operators: TEXT,
        values: &["shell", "later 3", "O", "%", "quoted", "_"],
        read: |t| text(&t["name"]),
        meant: plain,
    },
    Known { name: "batch", operators: NUMBER, values: &["1", "2"], read: |t| number(&t["batch_id"]), meant: whole },
    Known {
        name: "priority",
        operators: NUMBER,
        values: &["low", "medium", "high", "critical"],
        read: |t| t["priority"].as_str().map(level).into_iter().collect(),
        meant: level,
    },
    Known {
        name: "runtime",
        operators: NUMBER,
        values: &["10ms", "0.1s", "200ms", "1h", "none"],
        read: |t| number(&t["execution_time"]),
        meant: seconds,
    },
    Known {
        name: "timeout",
        operators: NUMBER,
        values: &["200ms", "1s", "none"],
        read: |t| number(&t["timeout"]),
        meant: seconds,
    },
    Known {
        name: "retries",
        operators: NUMBER,
        values: &["0", "1", "2"],
        read: |t| number(&t["retry_count"]),
        meant: whole,
    },
    Known {
        name: "max_retries",
        operators: NUMBER,
        values: &["0", "3"],
        read: |t| number(&t["max_retries"]),
        meant: whole,
    },
    Known {
        name: "interruptions",
        operators: NUMBER,
        values: &["0", "1"],
        read: |t| number(&t["interruptions"]),
        meant: whole,
    },
    Known {
        name: "attempts",
        operators: NUMBER,
        values: &["0", "1", "3"],
        read: |t| number(&t["attempts"].as_array().map_or(0, Vec::len).into()),
        meant: whole,
    },
    Known {
        name: "exit_code",
        operators: NUMBER,
        values: &["0", "3", "4", "none"],
        read: |t| number(&t["exit_code"]),
        meant: whole,
    },
    Known {
        name: "signal",
        operators: NUMBER,
        values: &["9", "15", "none"],
        read: |t| number(&t["signal"]),
        meant: whole,
    },
    Known {
        name: "error",
        operators: TEXT,
        values: &["EXIT", "valueerror", "timed out", "none"],
        read: |t| text(&t["error"]),
        meant: plain,
    },
    Known {
        name: "outcome",
        operators: WORD,
        values: &["completed", "failed", "timed_out", "none"],
        read: |t| text(&latest(t)["outcome"]),
        meant: plain,
    },
    Known {
        name: "cause",
        operators: WORD,
        values: &["timed_out", "killed", "none"],
        read: |t| text(&latest(t)["cause"]),
        meant: plain,
    },
    Known {
        name: "cpu",
        operators: NUMBER,
        values: &["1ms", "10ms", "none"],
        read: |t| number(&latest(t)["cpu_time"]),
        meant: seconds,
    },
    Known {
        name: "memory",
        operators: NUMBER,
        values: &["1K", "4000K", "1G", "none"],
        read: |t| number(&latest(t)["max_rss"]),
        meant: kib,
    },
    Known { name: "finished", operators: WORD, values: &["none"], read: |t| text(&t["finished_at"]), meant: plain },
];

/// Whether it is true of a task.
pub fn holds(said: &Said, task: &Value) -> bool {
    match said {
        Said::And(all) => all.iter().all(|said| holds(said, task)),
        Said::Or(any) => any.iter().any(|said| holds(said, task)),
        Said::Not(said) => !holds(said, task),
        Said::In(known, words) => words.iter().any(|word| compared(known, "=", word, task)),
        Said::Is(known, "!=", word) => !compared(known, "=", word, task),
        Said::Is(known, "!~", word) => !compared(known, "~", word, task),
        Said::Is(known, operator, word) => compared(known, operator, word, task),
    }
}

fn compared(known: &Known, operator: &str, word: &str, task: &Value) -> bool {
    let meant = if word == "none" { Found::Nothing } else { (known.meant)(word) };
    (known.read)(task).iter().any(|found| match (operator, found, &meant) {
        ("=", Found::Number(one), Found::Number(other)) => (one - other).abs() < 1e-9,
        ("=", one, other) => one == other,
        (_, Found::Nothing, _) => false,
        ("~", Found::Text(text), Found::Text(part)) => text.to_ascii_lowercase().contains(&part.to_ascii_lowercase()),
        ("<", one, other) => one < other,
        ("<=", one, other) => one <= other,
        (">", one, other) => one > other,
        (">=", one, other) => one >= other,
        _ => panic!("{operator} of {found:?} and {meant:?}"),
    })
}

/// A random filter, at most so deep.
pub fn any_filter(random: &mut Rng, depth: usize) -> Said {
    let several = |random: &mut Rng| (0..random.usize(2..4)).map(|_| any_filter(random, depth - 1)).collect();
    match random.u8(0..if depth == 0 { 2 } else { 7 }) {
        2 | 3 => Said::And(several(random)),
        4 | 5 => Said::Or(several(random)),
        6 => Said::Not(Box::new(any_filter(random, depth - 1))),
        0 => {
            let known = random.choice(FIELDS).expect("fields");
            let words = (0..random.usize(1..4)).map(|_| word(random, known).to_owned()).collect();
            Said::In(known, words)
        }
        _ => {
            let known = random.choice(FIELDS).expect("fields");
            let word = word(random, known);
            let operators = if word == "none" { WORD } else { known.operators };
            Said::Is(known, random.choice(operators).expect("operators"), word.to_owned())
        }
    }
}

fn word(random: &mut Rng, known: &'static Known) -> &'static str {
    random.choice(known.values).expect("values")
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |word: &str| if word.contains(' ') { format!("\"{word}\"") } else { word.to_owned() };
        let joined =
            |all: &[Self], between: &str| all.iter().map(|said| format!("({said})")).collect::<Vec<_>>().join(between);
        match self {
            Self::And(all) => write!(f, "{}", joined(all, " and ")),
            Self::Or(any) => write!(f, "{}", joined(any, " OR ")),
            Self::Not(said) => write!(f, "not ({said})"),
            Self::In(known, words) => {
                let words: Vec<String> = words.iter().map(|word| value(word)).collect();
                write!(f, "{} in ({})", known.name, words.join(", "))
            }
            Self::Is(known, operator, word) => write!(f, "{} {operator} {}", known.name, value(word)),
        }
    }
}
