//! JSON Schemas (draft 2020-12) of requests and answers, made from their types.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::request::{
    Action, Add, AddBatch, Backup, Cancel, Clear, Empty, Export, Logs, Pause, Results, Resume, Retry, Show, Start,
    StatusRequest, Stop, Update, Wait,
};
use super::response::{
    Added, BackedUp, BatchAdded, Cancelled, Cleared, Exported, Functions, LogsData, Paused, Requeued, ResultsData,
    Started, StatusData, StopAnswer, Task, Updated,
};
use super::watch::{Watch, WatchData};

/// How many actions, the last ones, are for programs: what happens, the daemon itself, and who is told.
const FOR_PROGRAMS: usize = 6;
/// The actions of the contract's table and `backup`: what is asked of the queue.
pub const ACTIONS: &[&str] = Action::NAMES.split_at(Action::NAMES.len() - FOR_PROGRAMS).0;

/// How many words a list in an answer's schema may have.
const MOST_WORDS: usize = 6;

/// What an action takes, without `action` itself; none if there is no such action.
pub fn parameters(action: &str) -> Option<Map<String, Value>> {
    Some(match action {
        "add" => {
            let mut schema = taken::<Add>();
            if let Some(Value::Array(required)) = schema.get_mut("required") {
                required.insert(0, "name".into());
            }
            schema
        }
        "add_batch" => {
            let mut schema = taken::<AddBatch>();
            // Told of with `add`.
            if let Some(task) = schema.get_mut("properties").and_then(|fields| fields.pointer_mut("/tasks/items")) {
                shorten(task, false);
            }
            schema
        }
        "start" => taken::<Start>(),
        "stop" => taken::<Stop>(),
        "pause" => taken::<Pause>(),
        "resume" => taken::<Resume>(),
        "status" => taken::<StatusRequest>(),
        "results" => taken::<Results>(),
        "show" => taken::<Show>(),
        "logs" => taken::<Logs>(),
        "update" => taken::<Update>(),
        "export" => taken::<Export>(),
        "backup" => taken::<Backup>(),
        "clear" => taken::<Clear>(),
        "cancel" => taken::<Cancel>(),
        "retry" => taken::<Retry>(),
        "wait" => taken::<Wait>(),
        "functions" => taken::<Empty>(),
        "watch" => taken::<Watch>(),
        _ => return None,
    })
}

/// The `data` of an action's answer; none if there is no such action.
pub fn data(action: &str) -> Option<Map<String, Value>> {
    Some(match action {
        "add" => given::<Added>(),
        "add_batch" => given::<BatchAdded>(),
        "start" => given::<Started>(),
        "stop" => given::<StopAnswer>(),
        "pause" | "resume" => given::<Paused>(),
        "status" => given::<StatusData>(),
        "wait" => without_properties(
            given::<StatusData>(),
            &["batches", "tasks", "version", "protocol", "pid", "home", "uptime"],
        ),
        "results" => given::<ResultsData>(),
        "show" => given::<Task>(),
        "logs" => given::<LogsData>(),
        "update" => given::<Updated>(),
        "export" => given::<Exported>(),
        "backup" => given::<BackedUp>(),
        "clear" => given::<Cleared>(),
        "cancel" => given::<Cancelled>(),
        "retry" => given::<Requeued>(),
        "functions" => given::<Functions>(),
        "watch" => given::<WatchData>(),
        _ => return None,
    })
}

/// Without properties that are another action's, or are told of there.
fn without_properties(mut schema: Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for name in names {
            properties.remove(*name);
        }
    }
    schema
}

/// A request with this action, and its answer: what `call --schema` prints.
pub fn of(action: &str) -> Option<Value> {
    let mut request = parameters(action)?;
    if let Some(Value::Object(properties)) = request.get_mut("properties") {
        properties.insert("action".to_owned(), json!({ "const": action }));
    } else {
        request.insert("properties".to_owned(), json!({"action": {"const": action}}));
    }
    match request.get_mut("required") {
        Some(Value::Array(required)) => required.insert(0, "action".into()),
        _ => drop(request.insert("required".to_owned(), json!(["action"]))),
    }
    let refusal = json!({
        "type": "object",
        "properties": {"code": {"type": "string"}, "message": {"type": "string"}, "details": {"type": "object"}},
        "required": ["code", "message", "details"],
    });
    let response = json!({
        "type": "object",
        "properties": {
            "ok": {"type": "boolean"},
            "action": {"const": action},
            "message": {"type": "string"},
            "data": data(action)?,
            "warnings": {"type": "array", "items": {"type": "string"}},
            "error": refusal,
        },
        "required": ["ok", "action", "message"],
    });
    Some(json!({"request": request, "response": response}))
}

fn taken<T: JsonSchema>() -> Map<String, Value> {
    made::<T>(SchemaSettings::draft2020_12(), true)
}

fn given<T: JsonSchema>() -> Map<String, Value> {
    made::<T>(SchemaSettings::draft2020_12().for_serialize(), false)
}

fn made<T: JsonSchema>(settings: SchemaSettings, described: bool) -> Map<String, Value> {
    let settings = settings.with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    shorten(&mut schema, described);
    let Value::Object(mut schema) = schema else { return Map::new() };
    schema.remove("description");
    let properties = schema.entry("properties").or_insert_with(|| json!({}));
    if !described {
        without(properties, "required");
    }
    schema
}

/// Leaves a list out wherever it is.
fn without(schema: &mut Value, list: &str) {
    match schema {
        Value::Object(map) => {
            if map.get(list).is_some_and(Value::is_array) {
                map.remove(list);
            }
            map.values_mut().for_each(|value| without(value, list));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| without(value, list)),
        _ => {}
    }
}

/// Leaves out what tells a reader nothing: names of our types, sizes of integers, and where names say it, descriptions.
fn shorten(schema: &mut Value, described: bool) {
    match schema {
        Value::Object(map) => {
            // A property may have any of these names: what belongs to a schema has another type.
            for (name, is_ours) in [
                ("title", Value::is_string as fn(&Value) -> bool),
                ("format", Value::is_string),
                ("description", |value| value.is_string()),
                ("additionalProperties", |value| *value == Value::Bool(true)),
            ] {
                if (described && name == "description") || !map.get(name).is_some_and(is_ours) {
                    continue;
                }
                map.remove(name);
            }
            if described
                && !map
                    .get("description")
                    .and_then(Value::as_str)
                    .is_some_and(|text| text.to_lowercase().contains("null"))
            {
                not_null(map);
            }
            // Words that an agent meets in answers explain themselves, and there may be more of them tomorrow.
            if !described && map.get("enum").and_then(Value::as_array).is_some_and(|words| words.len() > MOST_WORDS) {
                map.remove("enum");
            }
            if map.get("minimum").and_then(Value::as_f64) == Some(0.0) {
                map.remove("minimum");
            }
            // Some clients refuse a list of tools in which a property's schema is `true`; an empty one says the same.
            if let Some(Value::Object(properties)) = map.get_mut("properties") {
                properties.values_mut().filter(|schema| schema.is_boolean()).for_each(|schema| *schema = json!({}));
            }
            map.values_mut().for_each(|value| shorten(value, described));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| shorten(value, described)),
        _ => {}
    }
}

/// Null is as absent wherever nothing else is said of it.
fn not_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get_mut("type") {
        types.retain(|name| name != "null");
        if types.len() == 1 {
            let one = types.remove(0);
            map.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(words)) = map.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
}
