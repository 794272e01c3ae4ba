//! What is told: an object, with a sentence for people in `text`. Pure.

use serde_json::{Map, Value, json};

use super::On;
use crate::time::rfc3339;
use crate::visible::{clipped, reason, visible_line};

/// How many of the events that were gathered are told one by one.
pub(super) const FIRST: usize = 5;
/// The longest text of an event that is told, in characters.
const LONGEST: usize = 2000;
/// The longest name or error within a sentence, in characters.
const IN_A_SENTENCE: usize = 200;

/// Where it is told from.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub host: String,
    pub home: String,
}

/// What is to be told.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// None: it is a test.
    pub delivery: Option<i64>,
    pub event: On,
    /// The fields of the first events.
    pub first: Vec<Map<String, Value>>,
    /// How many there were.
    pub count: i64,
}

impl Told {
    /// The whole object: the fields of the first event, and those of the first few where there were several.
    pub fn message(&self, hook: &str, sender: &Sender) -> Value {
        let mut message = self.first.first().cloned().unwrap_or_default();
        let own = [
            ("hook", json!(hook)),
            ("event", json!(self.event.as_str())),
            ("text", json!(self.text())),
            ("host", json!(sender.host)),
            ("home", json!(sender.home)),
            ("count", json!(self.count)),
        ];
        message.extend(own.map(|(name, value)| (name.to_owned(), value)));
        match self.delivery {
            Some(id) => message.insert("delivery".to_owned(), json!(id)),
            None => message.insert("test".to_owned(), json!(true)),
        };
        if self.count > 1 {
            message.insert("first".to_owned(), json!(self.first));
        }
        Value::Object(message)
    }

    /// A sentence for people, in one line.
    fn text(&self) -> String {
        let said: Vec<String> = self.first.iter().map(|fields| sentence(self.event, fields)).collect();
        let mut text = match (said.as_slice(), self.count) {
            ([], _) => self.event.as_str().to_owned(),
            ([only], 1) => only.clone(),
            (several, count) => {
                let more = count - i64::try_from(several.len()).unwrap_or(count);
                let more = if more > 0 { format!("; and {more} more") } else { String::new() };
                format!("{count} {}: {}{more}", plural(self.event), several.join("; "))
            }
        };
        if self.delivery.is_none() {
            text.insert_str(0, "a test: ");
        }
        text
    }

    /// An example of what an event has to say.
    pub fn example(event: On, wall_ms: i64) -> Self {
        let fields = match event {
            On::BatchEnded => {
                json!({"batch_id": 3, "name": "thumbnails", "counts": {"total": 242, "completed": 240, "failed": 2, "cancelled": 0}, "took": 734.0})
            }
            On::TaskFailed => json!({"task_id": 12, "attempt": 4, "batch_id": 3, "name": "resize 0417.jpg",
                "function": "command", "outcome": "failed", "cause": "exit", "error": "exit code 1: no such file",
                "exit_code": 1, "signal": null, "run_time": 0.8, "output": "reading 0417.jpg\nno such file"}),
            On::Idle => json!({}),
            On::GateClosed => json!({"gate": "battery", "found": "29 %"}),
            On::Crashed => json!({"version": crate::version::VERSION, "after": "crash"}),
        };
        let mut fields = fields.as_object().cloned().unwrap_or_default();
        fields.insert("at".to_owned(), json!(rfc3339(wall_ms)));
        Self { delivery: None, event, first: vec![fields], count: 1 }
    }
}

/// An event's fields as they are kept: long texts are cut.
pub(super) fn kept(mut fields: Map<String, Value>) -> Map<String, Value> {
    for value in fields.values_mut() {
        if let Value::String(text) = value
            && let Some((end, _)) = text.char_indices().nth(LONGEST)
        {
            text.truncate(end);
            text.push('…');
        }
    }
    fields
}

fn plural(event: On) -> &'static str {
    match event {
        On::BatchEnded => "batches ended",
        On::TaskFailed => "tasks failed",
        On::Idle => "times idle",
        On::GateClosed => "gates closed",
        On::Crashed => "crashes",
    }
}

fn sentence(event: On, fields: &Map<String, Value>) -> String {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).map(short).filter(|text| !text.is_empty());
    let number = |name: &str| fields.get(name).and_then(Value::as_i64).unwrap_or(0);
    let named = || text("name").map(|name| format!(" `{name}`")).unwrap_or_default();
    match event {
        On::BatchEnded => {
            let took = fields.get("took").and_then(Value::as_f64).map(|took| format!(" in {}", duration(took)));
            let (id, counts) = (number("batch_id"), counts(fields));
            format!("batch {id}{} ended{}{}", named(), counts, took.unwrap_or_default())
        }
        On::TaskFailed => {
            let error = fields.get("error").and_then(Value::as_str).map(|error| short(&reason(error)));
            let error = error.filter(|error| !error.is_empty()).map(|error| format!(": {error}")).unwrap_or_default();
            format!("task {}{} failed{error}", number("task_id"), named())
        }
        On::Idle => "nothing is queued or running any more".to_owned(),
        On::GateClosed => {
            let found = text("found").map(|found| format!(" ({found})")).unwrap_or_default();
            format!("the gate `{}` is closed{found}: nothing starts", text("gate").unwrap_or_default())
        }
        On::Crashed => match text("after").as_deref() {
            Some("reboot") => "the daemon is back: the machine went down under it".to_owned(),
            _ => "the daemon is back after a crash".to_owned(),
        },
    }
}

/// ": 240 completed, 2 failed", without what there is none of.
fn counts(fields: &Map<String, Value>) -> String {
    let count = |state: &str| fields.get("counts").and_then(|counts| counts.get(state)).and_then(Value::as_i64);
    let counts = ["completed", "failed", "cancelled"].map(|state| (state, count(state).unwrap_or(0)));
    let said: Vec<String> = counts.iter().filter(|(_, n)| *n > 0).map(|(state, n)| format!("{n} {state}")).collect();
    if said.is_empty() { String::new() } else { format!(": {}", said.join(", ")) }
}

/// Seconds as people say them, roughly.
fn duration(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above 0, and a rough number")]
    let whole = seconds.round() as u64;
    match whole {
        0..120 => format!("{whole} s"),
        120..7200 => format!("{} min", (whole + 30) / 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// The first line of a text, not too long, without what could drive a terminal.
fn short(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    visible_line(&clipped(line, IN_A_SENTENCE)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(event: On, first: &[Value], count: i64) -> Told {
        let first = first.iter().filter_map(|fields| fields.as_object().cloned()).collect();
        Told { delivery: Some(7), event, first, count }
    }

    #[test]
    fn one_event_is_a_sentence() {
        let counts = json!({"total": 242, "completed": 240, "failed": 2, "cancelled": 0});
        let batch = json!({"batch_id": 3, "name": "thumbnails", "counts": counts, "took": 734.2});
        let text = told(On::BatchEnded, &[batch], 1).text();
        assert_eq!(text, "batch 3 `thumbnails` ended: 240 completed, 2 failed in 12 min");
        let gate = told(On::GateClosed, &[json!({"gate": "battery", "found": "29 %"})], 1).text();
        assert_eq!(gate, "the gate `battery` is closed (29 %): nothing starts");
    }

    #[test]
    fn several_are_told_in_one_and_a_hostile_name_drives_nothing() {
        let tasks = [json!({"task_id": 1, "name": "\u{1b}[2J\nx", "error": "\n no\n"}), json!({"task_id": 2})];
        let told = told(On::TaskFailed, &tasks, 500);
        assert_eq!(told.text(), "500 tasks failed: task 1 `\\x1b[2J` failed: no; task 2 failed; and 498 more");
        let sender = Sender { host: "h".to_owned(), home: "/x".to_owned() };
        let message = told.message("chat", &sender);
        assert_eq!((&message["task_id"], &message["count"], &message["delivery"]), (&json!(1), &json!(500), &json!(7)));
        assert_eq!(message["first"][1], json!({"task_id": 2}));
        assert_eq!(message["name"], "\u{1b}[2J\nx", "the field is as it is");
    }

    #[test]
    fn a_long_text_is_cut() {
        let fields = Map::from_iter([("error".to_owned(), json!("é".repeat(5000)))]);
        assert_eq!(kept(fields)["error"].as_str().map(|text| text.chars().count()), Some(LONGEST + 1));
    }
}
