//! Replies that fit an agent's context: both ends of what is long, whole tasks, and the way to the rest.

use batch_executor::protocol::{ErrorCode, Response};
use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Map, Value};

/// The reply's length in bytes when nothing is said.
pub const USUAL: usize = 32 * 1024;
/// How long a text within a reply may be, in bytes, by how short the reply must become.
const SHORTER: [usize; 5] = [16 * 1024, 4 * 1024, 1024, 400, 200];
/// How what is left out is marked, behind the number of bytes; as the daemon does it in a result.
const LEFT_OUT: &str = " bytes left out …\n";

/// The tool's result for an answer, in about `most` bytes; `has_pages`: tasks that do not fit are on the next page. Some clients show an agent only the text: it has what it is about.
pub fn of(response: Response, most: usize, has_pages: bool) -> CallToolResult {
    let Response { ok, action, message, data, warnings, error, .. } = response;
    let mut text = String::new();
    // First, for they may say that something else was done than was meant.
    for warning in warnings.unwrap_or_default() {
        text.push_str(&format!("warning: {}\n", shortened(&warning, 400)));
    }
    if !ok {
        text.push_str(&shortened(message.trim_end(), most / 4));
        if error.as_ref().is_some_and(|error| error.code == ErrorCode::NotFound) {
            text.push_str("; it was cleared, or there never was one");
        }
        if let Some(details) =
            error.map(|error| error.details).filter(|details| details.as_object().is_some_and(|d| !d.is_empty()))
        {
            text.push_str("\ndetails: ");
            text.push_str(&shortened(&details.to_string(), most / 2));
        }
        return refused(&text);
    }
    let mut data = data.unwrap_or_default();
    if action.as_deref() == Some("status") {
        brief(&mut data);
    }
    // The text may have it once more, or as much of it as a quarter.
    let room = (most - most / 4).saturating_sub(message.len().min(most / 4) + text.len());
    let fitted = fit(&mut data, room, has_pages);
    if fitted == Fitted::Fewer {
        // It would tell of tasks that the next page has.
        text.push_str(message.lines().next().unwrap_or_default());
    } else {
        text.push_str(&shortened(message.trim_end(), most / 4));
    }
    if fitted != Fitted::Whole {
        text.push_str("\nShortened to fit; more with max_bytes.");
        if let Some(cursor) = data.get("next_cursor").and_then(Value::as_i64) {
            text.push_str(&format!(" The next tasks: cursor={cursor}."));
        }
        if data.get("tasks").is_some_and(Value::is_array) {
            text.push_str(" `logs` has all that a task wrote.");
        }
    }
    match data.get("text").and_then(Value::as_str) {
        Some(log) if action.as_deref() == Some("logs") => {
            text.push('\n');
            text.push_str(log);
        }
        _ if length(&data) <= most / 8 || text.lines().count() == 1 => {
            text.push('\n');
            text.push_str(&shortened(&data.to_string(), most / 4));
        }
        _ => {}
    }
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(data);
    result
}

/// The result of what was not done.
pub fn refused(text: &str) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// How it stands, and no more: the tasks in a detailed status without what they were given and what they wrote.
fn brief(data: &mut Value) {
    let lists = data.get_mut("tasks").and_then(Value::as_object_mut);
    for task in lists.into_iter().flat_map(Map::values_mut).filter_map(Value::as_array_mut).flatten() {
        if let Value::Object(task) = task {
            task.retain(|name, value| !value.is_null() && !matches!(name.as_str(), "params" | "result" | "limits"));
        }
    }
}

/// What it took to make it fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fitted {
    Whole,
    /// Long texts have lost their middle.
    Shorter,
    /// Tasks were left out.
    Fewer,
}

/// Makes it fit, and says what that took.
fn fit(data: &mut Value, room: usize, has_pages: bool) -> Fitted {
    if length(data) <= room {
        return Fitted::Whole;
    }
    for most in SHORTER {
        shorten(data, most);
        if length(data) <= room {
            return Fitted::Shorter;
        }
    }
    let mut fitted = Fitted::Shorter;
    while length(data) > room && halve(data) {
        fitted = Fitted::Fewer;
    }
    if fitted == Fitted::Fewer
        && has_pages
        && let Some(last) = data["tasks"].as_array().and_then(|tasks| tasks.last())
    {
        data["next_cursor"] = last["task_id"].clone();
    }
    fitted
}

/// Halves the longest list of tasks or batches, down to one; false when there is none to halve.
fn halve(data: &mut Value) -> bool {
    let mut lists: Vec<&mut Vec<Value>> = Vec::new();
    for (name, value) in data.as_object_mut().into_iter().flatten() {
        match value {
            Value::Array(list) if matches!(name.as_str(), "tasks" | "batches") => lists.push(list),
            Value::Object(states) if name == "tasks" => {
                lists.extend(states.values_mut().filter_map(Value::as_array_mut))
            }
            _ => {}
        }
    }
    match lists.into_iter().max_by_key(|list| list.len()) {
        Some(list) if list.len() > 1 => {
            list.truncate(list.len() / 2);
            true
        }
        _ => false,
    }
}

fn length(data: &Value) -> usize {
    serde_json::to_vec(data).map_or(0, |text| text.len())
}

fn shorten(value: &mut Value, most: usize) {
    match value {
        Value::String(text) => *text = shortened(text, most),
        Value::Array(list) => list.iter_mut().for_each(|value| shorten(value, most)),
        Value::Object(map) => map.values_mut().for_each(|value| shorten(value, most)),
        _ => {}
    }
}

/// Its beginning and its end, the end longer: there errors are. What was left out before is counted with it.
fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(most / 3);
    let tail = text.ceil_char_boundary(text.len() - (most - most / 3));
    let (mut left_out, mut rest) = (tail - head, &text[head..tail]);
    while let Some((before, after)) = rest.split_once(LEFT_OUT) {
        let count = before.rsplit_once("… ").and_then(|(_, count)| count.parse::<usize>().ok());
        left_out += count.unwrap_or(0);
        rest = after;
    }
    format!("{}\n… {left_out}{LEFT_OUT}{}", &text[..head], &text[tail..])
}
