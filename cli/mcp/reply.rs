//! Replies that fit an agent's context: both ends of what is long, whole tasks, and the way to the rest.

use batch_executor::protocol::Response;
use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::Value;

/// The reply's length in bytes when nothing is said.
pub const USUAL: usize = 32 * 1024;
/// How long a text within a reply may be, in bytes, by how short the reply must become.
const SHORTER: [usize; 5] = [16 * 1024, 4 * 1024, 1024, 400, 200];

/// The tool's result for an answer, in about `most` bytes.
pub fn of(response: Response, most: usize) -> CallToolResult {
    let Response { ok, message, data, warnings, error, .. } = response;
    let mut text = shortened(message.trim_end(), most / 4);
    for warning in warnings.unwrap_or_default() {
        text.push_str("\nwarning: ");
        text.push_str(&shortened(&warning, 400));
    }
    if !ok {
        if let Some(details) =
            error.map(|error| error.details).filter(|details| details.as_object().is_some_and(|d| !d.is_empty()))
        {
            text.push_str("\ndetails: ");
            text.push_str(&shortened(&details.to_string(), most / 2));
        }
        return refused(&text);
    }
    let mut data = data.unwrap_or_default();
    let room = most.saturating_sub(text.len());
    if fit(&mut data, room) {
        text.push_str("\nShortened to fit: `logs` has all that a task wrote, next_cursor the tasks that come after, max_bytes more at once.");
    }
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(data);
    result
}

/// The result of what was not done.
pub fn refused(text: &str) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

/// Makes it fit; whether something was left out.
fn fit(data: &mut Value, room: usize) -> bool {
    if length(data) <= room {
        return false;
    }
    for most in SHORTER {
        shorten(data, most);
        if length(data) <= room {
            return true;
        }
    }
    let mut last = None;
    while length(data) > room {
        let Some(Value::Array(tasks)) = data.get_mut("tasks") else { break };
        if tasks.len() <= 1 {
            break;
        }
        tasks.truncate(tasks.len() / 2);
        last = tasks.last().map(|task| task["task_id"].clone());
    }
    if let Some(last) = last {
        data["next_cursor"] = last;
    }
    true
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

/// Its beginning and its end, the end longer: there errors are.
fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(most / 3);
    let tail = text.ceil_char_boundary(text.len() - (most - most / 3));
    format!("{}\n… {} bytes left out …\n{}", &text[..head], tail - head, &text[tail..])
}
