//! Sends a file of tasks: several `add_batch` of bounded size, one batch.

use std::collections::{BTreeMap, VecDeque};

use batch_executor::client::{Answer, Client};
use batch_executor::protocol::{BatchAdded, ErrorCode, ItemError};
use batch_executor::task::{BatchId, TaskId};
use batch_executor::tasks_file::{Part, Parts, Place};
use serde_json::{Map, Value, json};

use crate::context::{Context, data, request};
use crate::exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::tasks_file::Input;
use crate::views::text;

/// The most bad tasks that are kept to be listed; the others are counted.
const MAX_LISTED: usize = 1000;
/// The most ids that an answer lists.
const MAX_IDS: usize = 1000;
/// Parts whose answers are not waited for while the next is read.
const AHEAD: usize = 2;
/// After so many parts it says how far it is.
const TELL_EVERY: usize = 64;
/// Fields of a file that are not `add_batch`'s, or that this program sets itself.
const NOT_PASSED_ON: &[&str] = &["action", "tool_name", "thoughts", "id", "tasks", "more", "resume", "atomic"];

/// What a file is sent with.
#[derive(Debug)]
pub struct Plan {
    /// Fields of the request beside the tasks.
    pub fields: Map<String, Value>,
    /// Of the first part; part n has `KEY/n`.
    pub key: String,
    /// The key holds while the batch is not done (`run`).
    pub resume: bool,
    /// One bad task refuses all.
    pub atomic: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Added {
    pub batch_id: Option<BatchId>,
    pub added: u64,
    pub first_task_id: Option<TaskId>,
    pub last_task_id: Option<TaskId>,
    pub task_ids: Vec<TaskId>,
    pub queued: i64,
    /// Whether the batch was there before: all its parts.
    pub repeated: bool,
    /// Tasks of those parts that were there before.
    pub before: u64,
    /// The first of the bad tasks.
    pub listed: Vec<(Place, String)>,
    pub bad: u64,
    pub warnings: Vec<String>,
}

impl Plan {
    /// The fields that the file and the command line give, the command line's first.
    pub fn new(input: &Input, given: Map<String, Value>, environment: &BTreeMap<String, String>, key: String) -> Self {
        let mut fields = input.header();
        let atomic = fields.get("atomic") == Some(&Value::Bool(true));
        fields.retain(|name, _| !NOT_PASSED_ON.contains(&name.as_str()));
        fields.extend(given);
        fields.entry("environment").or_insert_with(|| json!(environment));
        let key = fields.remove("request_key").and_then(|key| Some(key.as_str()?.to_owned())).unwrap_or(key);
        Self { fields, key, resume: false, atomic }
    }

    /// The fields for every task that does not set them.
    pub fn defaults(&self) -> Map<String, Value> {
        self.fields.get("defaults").and_then(Value::as_object).cloned().unwrap_or_default()
    }

    /// A request that adds nothing whatever is in the part, for its last task is none: which others are bad?
    fn question(&self, mut part: Part) -> Result<Value, Failure> {
        part.tasks.push(Value::Null);
        let mut fields = self.fields.clone();
        fields.insert("tasks".to_owned(), Value::Array(part.tasks));
        fields.insert("atomic".to_owned(), json!(true));
        request("add_batch", fields)
    }

    fn request(&self, part: Part, number: usize, more: bool, batch: Option<BatchId>) -> Result<Value, Failure> {
        let mut fields = self.fields.clone();
        if let Some(batch) = batch {
            // The batch has its name by now.
            fields.remove("name");
            fields.insert("batch_id".to_owned(), json!(batch));
        }
        let key = if number == 1 { self.key.clone() } else { format!("{}/{number}", self.key) };
        fields.insert("request_key".to_owned(), json!(key));
        fields.insert("tasks".to_owned(), Value::Array(part.tasks));
        if self.atomic {
            fields.insert("atomic".to_owned(), json!(true));
        }
        if self.resume {
            fields.insert("resume".to_owned(), json!(true));
        }
        if more {
            fields.insert("more".to_owned(), json!(true));
        }
        request("add_batch", fields)
    }
}

/// Adds the tasks of `input`. Bad ones are in the answer; what was acknowledged stays, whatever happens then.
///
/// # Errors
/// A file that cannot be read, a refusal that is not about single tasks, an interruption between two parts,
/// and no good task at all.
pub fn add(
    context: &Context,
    client: &mut Client,
    input: &Input,
    plan: &Plan,
    interrupt: &Interrupt,
) -> Result<Added, Failure> {
    if plan.atomic {
        check_all(client, input, plan)?;
    }
    let mut added = Added::default();
    let mut parts = Parts::new(input.items()?, !plan.defaults().contains_key("name"));
    let mut next = next_part(&mut parts, &mut added, input)?;
    let mut number = 1;
    let mut asked = VecDeque::new();
    while let Some(part) = next {
        next = next_part(&mut parts, &mut added, input)?;
        if let Some(signal) = interrupt.taken() {
            let look = "batch-executor status";
            return Err(Failure::interrupted(signal, look));
        }
        asked.push_back(part.places.clone());
        client.submit(&plan.request(part, number, next.is_some(), added.batch_id)?)?;
        // The first part's answer says which batch the others belong to.
        let ahead = if added.batch_id.is_some() && next.is_some() { AHEAD } else { 0 };
        while client.submitted() > ahead {
            let places = asked.pop_front().unwrap_or_default();
            added.take(client.next_answer()?, &places)?;
        }
        number += 1;
        if number % TELL_EVERY == 0 && next.is_some() {
            context.tell(&format!("{} tasks added so far", added.added));
        }
    }
    added.listed.sort_by_key(|(place, _)| place.index);
    parts.tell_left_out(|said| context.tell(said));
    match added.batch_id {
        Some(_) => Ok(added),
        None if added.bad == 0 => Err(input.unusable_text("it has no tasks")),
        None => Err(added.nothing()),
    }
}

fn next_part(parts: &mut Parts<'_>, added: &mut Added, input: &Input) -> Result<Option<Part>, Failure> {
    parts.next_part(&mut |place, said| added.bad(place, said)).map_err(|error| input.unreadable(&error))
}

/// The whole file, before anything of it is added. The daemon is asked: it alone knows what each function takes.
fn check_all(client: &mut Client, input: &Input, plan: &Plan) -> Result<(), Failure> {
    let mut found = Added::default();
    let mut parts = Parts::new(input.items()?, !plan.defaults().contains_key("name"));
    while let Some(part) = next_part(&mut parts, &mut found, input)? {
        let places = part.places.clone();
        let answer = client.call_until_answered(&plan.question(part)?)?;
        let Some(mut errors) = item_errors(&answer) else { return Err(Failure::Refused(Box::new(answer))) };
        errors.retain(|bad| bad.index < places.len());
        found.bad_items(errors, &places);
    }
    found.listed.sort_by_key(|(place, _)| place.index);
    if found.bad == 0 { Ok(()) } else { Err(found.nothing()) }
}

impl Added {
    fn bad(&mut self, place: Place, said: String) {
        self.bad += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push((place, said));
        }
    }

    fn take(&mut self, answer: Answer, places: &[Place]) -> Result<(), Failure> {
        if !answer.response.ok {
            return match item_errors(&answer) {
                Some(errors) => {
                    self.bad_items(errors, places);
                    Ok(())
                }
                None => Err(Failure::Refused(Box::new(answer))),
            };
        }
        let part: BatchAdded = data(&answer)?;
        self.batch_id = Some(part.batch_id);
        self.first_task_id = self.first_task_id.or(part.first_task_id);
        self.last_task_id = part.last_task_id.or(self.last_task_id);
        self.added += part.added;
        self.before += if part.repeated { part.added } else { 0 };
        self.queued = part.queued;
        self.repeated = self.before == self.added;
        let room = (MAX_IDS + 1).saturating_sub(self.task_ids.len());
        match part.task_ids {
            Some(ids) => self.task_ids.extend(ids.into_iter().take(room)),
            None => {
                let range = part.first_task_id.zip(part.last_task_id).map(|(first, last)| first..=last);
                self.task_ids.extend(range.into_iter().flatten().take(room));
            }
        }
        self.bad_items(part.errors, places);
        for warning in answer.response.warnings.unwrap_or_default() {
            if !self.warnings.contains(&warning) && self.warnings.len() < MAX_LISTED {
                self.warnings.push(warning);
            }
        }
        Ok(())
    }

    fn bad_items(&mut self, errors: Vec<ItemError>, places: &[Place]) {
        for ItemError { index, error } in errors {
            self.bad(places.get(index).copied().unwrap_or(Place { index, line: None }), error);
        }
    }

    /// Why nothing was added.
    fn nothing(&self) -> Failure {
        let (place, said) = self.listed.first().map_or((String::new(), ""), |(p, s)| (format!("{p}: "), s.as_str()));
        let others = if self.bad > 1 { format!(" (and {} more)", self.bad - 1) } else { String::new() };
        Failure::new(exit::REFUSED, format!("nothing was added: {place}{said}{others}"))
            .details(json!({"errors": self.errors()}))
    }

    /// What was added, in one sentence.
    pub fn message(&self) -> String {
        let batch = self.batch_id.unwrap_or_default();
        let ids = match (self.first_task_id, self.last_task_id) {
            (Some(first), Some(last)) if first < last => format!(", tasks {first} to {last}"),
            (Some(only), _) => format!(", task {only}"),
            _ => String::new(),
        };
        let again = match (self.repeated, self.added) {
            (false, _) if self.before > 0 => format!(" added, {} of them before", self.before),
            (false, _) => " added".to_owned(),
            (true, 1) => " was there before".to_owned(),
            (true, _) => " were there before".to_owned(),
        };
        let bad = if self.bad > 0 { format!("; {} bad left out", self.bad) } else { String::new() };
        format!("batch {batch}: {}{again}{ids}{bad}", text::tasks(self.added))
    }

    /// The list of bad tasks, for a program.
    pub fn errors(&self) -> Value {
        self.listed
            .iter()
            .map(|(place, said)| match place.line {
                Some(line) => json!({"index": place.index, "line": line, "error": said}),
                None => json!({"index": place.index, "error": said}),
            })
            .collect()
    }

    /// The list of bad tasks, for a person, on standard error.
    pub fn tell_bad(&self, context: &Context) {
        for (place, said) in &self.listed {
            context.tell(&format!("{place}: {said}"));
        }
        let unlisted = self.bad - self.listed.len() as u64;
        if unlisted > 0 {
            context.tell(&format!("and {unlisted} more"));
        }
    }

    /// The data of an `add_batch` answer over all parts.
    pub fn data(&self) -> Value {
        let mut data = json!({
            "batch_id": self.batch_id, "added": self.added, "first_task_id": self.first_task_id,
            "last_task_id": self.last_task_id, "errors": self.errors(), "queued": self.queued,
            "repeated": self.repeated,
        });
        if self.task_ids.len() <= MAX_IDS {
            data["task_ids"] = json!(self.task_ids);
        }
        data
    }
}

/// The list in the details of a refusal of all tasks.
fn item_errors(answer: &Answer) -> Option<Vec<ItemError>> {
    let refusal = answer.response.error.as_ref().filter(|refusal| refusal.code == ErrorCode::InvalidRequest)?;
    serde_json::from_value(refusal.details.get("errors")?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(line: &str) -> Answer {
        Answer { line: line.to_owned(), response: serde_json::from_str(line).expect("an answer") }
    }

    #[test]
    fn errors_are_named_by_their_place_in_the_file() {
        let places = [Place { index: 4, line: Some(7) }, Place { index: 6, line: Some(9) }];
        let mut added = Added::default();
        added.bad(Place { index: 5, line: Some(8) }, "not valid JSON".to_owned());
        let line = r#"{"ok":true,"action":"add_batch","message":"m","warnings":["w"],"data":{"batch_id":3,"added":1,
            "first_task_id":10,"last_task_id":10,"task_ids":[10],"errors":[{"index":1,"error":"no"}],"queued":1}}"#;
        added.take(answer(line), &places).expect("an accepted part");
        assert_eq!(added.bad, 2);
        let expected = json!([
            {"index": 5, "line": 8, "error": "not valid JSON"}, {"index": 6, "line": 9, "error": "no"},
        ]);
        assert_eq!(added.errors(), expected);
        assert_eq!(added.data()["task_ids"], json!([10]));
    }

    #[test]
    fn a_batch_was_there_before_when_all_its_parts_were() {
        let part = |first: u64, repeated: bool| {
            let ids = format!(r#""first_task_id":{first},"last_task_id":{},"errors":[],"queued":4"#, first + 1);
            answer(&format!(
                r#"{{"ok":true,"action":"add_batch","message":"m","data":{{"batch_id":3,"added":2,{ids},"repeated":{repeated}}}}}"#
            ))
        };
        let mut added = Added::default();
        added.take(part(1, true), &[]).expect("a part");
        assert_eq!(
            (added.repeated, added.message()),
            (true, "batch 3: 2 tasks were there before, tasks 1 to 2".into())
        );
        added.take(part(3, false), &[]).expect("a part");
        let said = "batch 3: 4 tasks added, 2 of them before, tasks 1 to 4";
        assert_eq!((added.repeated, added.message()), (false, said.into()));
    }

    #[test]
    fn a_part_without_a_good_task_does_not_end_the_rest() {
        let line = r#"{"ok":false,"action":"add_batch","message":"m",
            "error":{"code":"invalid_request","message":"m","details":{"errors":[{"index":0,"error":"no"}]}}}"#;
        let mut added = Added::default();
        added.take(answer(line), &[Place { index: 0, line: None }]).expect("a list of errors");
        assert_eq!(added.listed, [(Place { index: 0, line: None }, "no".to_owned())]);
        assert_eq!(added.nothing().exit(), exit::REFUSED);
        let line = r#"{"ok":false,"action":"add_batch","message":"m","error":{"code":"storage","message":"m"}}"#;
        assert!(added.take(answer(line), &[]).is_err());
    }
}
