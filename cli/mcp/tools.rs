//! What agents are told: a tool for each action and one that takes any.

use std::sync::{Arc, LazyLock};

use batch_executor::protocol::schema;
use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

/// The tool that takes a whole tool call.
pub const ANY: &str = "batch_executor";
/// The name of the parameter that says how long a reply may be.
pub const BUDGET: &str = "max_bytes";

/// What only programs want.
const HIDDEN: &[(&str, &str)] =
    &[("add_batch", "more"), ("add_batch", "resume"), ("logs", "follow"), ("results", "format")];

/// How an action is to be taken; the hints of the protocol.
#[derive(Clone, Copy)]
enum Effect {
    Reads,
    /// Adds to what is there: twice is twice.
    Adds,
    /// Twice is as once.
    Sets,
    /// What is gone is gone; twice is as once.
    Destroys,
    /// Each of them.
    Any,
}

/// Whether what it does may reach anything: tasks are programs.
type Reaches = bool;

const TOLD: &[(&str, &str, Effect, Reaches, &str)] = &[
    (
        "add",
        "Add a task",
        Effect::Adds,
        true,
        "Adds one task to the durable queue and returns its id at once. It runs while the executor runs: see `start`. A failing task is tried again 3 times unless max_retries says otherwise: 0 for what must not run twice. For several tasks use `add_batch`.",
    ),
    (
        "add_batch",
        "Add many tasks",
        Effect::Adds,
        true,
        "Adds many tasks in one call, as a batch, and returns the batch's id at once. Good ones are added, bad ones are listed in `errors`. What all have in common, such as max_retries 0 or a timeout, goes to defaults. Next: `start`, then `wait` with the batch_id.",
    ),
    (
        "start",
        "Run what is queued",
        Effect::Sets,
        true,
        "Runs what is queued and what is added meanwhile, at most max_concurrent tasks at once, and returns at once. When all have ended it stops. While it runs, this changes the settings that are given.",
    ),
    (
        "stop",
        "Start no more",
        Effect::Sets,
        false,
        "Starts no more tasks; running ones finish, or with graceful=false are ended and go back to the queue.",
    ),
    (
        "pause",
        "Pause",
        Effect::Sets,
        false,
        "Starts nothing more and suspends what runs, until `resume`: of the executor, a batch or tasks.",
    ),
    ("resume", "Go on", Effect::Sets, true, "Lets what is paused go on."),
    (
        "status",
        "How far it is",
        Effect::Reads,
        false,
        "Counts of queued, running, completed, failed and cancelled tasks, progress, rate, seconds to go, and why it waits; detailed also lists the latest batches. Returns at once.",
    ),
    (
        "results",
        "Results",
        Effect::Reads,
        false,
        "Tasks with their results and errors, in pages: next_cursor is the cursor of the next one. filter_status=failed shows what failed and why. Long outputs are shortened; `logs` has all.",
    ),
    ("show", "One task", Effect::Reads, false, "One task with every attempt: when it ran, how it ended and why."),
    (
        "logs",
        "What a task wrote",
        Effect::Reads,
        false,
        "What a task wrote, also while it runs, in pieces by offset and limit. offset=-4000 is the end of it: look there first. search finds lines in all of it, context=3 shows lines around them.",
    ),
    (
        "update",
        "Change queued tasks",
        Effect::Sets,
        false,
        "Changes tasks that are still queued. Example: priority=critical puts an urgent one first.",
    ),
    (
        "export",
        "Write results to a file",
        Effect::Adds,
        false,
        "Writes tasks with their results to a file on this machine and returns its path.",
    ),
    ("backup", "Copy the queue", Effect::Adds, false, "Copies the whole queue to a file, while it is in use."),
    (
        "clear",
        "Remove ended tasks",
        Effect::Destroys,
        false,
        "Removes tasks that have ended, with their results and logs, for good. `export` first what is to be kept.",
    ),
    (
        "cancel",
        "Cancel tasks",
        Effect::Destroys,
        false,
        "Ends running tasks and takes queued ones out of the queue. `retry` puts them back.",
    ),
    (
        "retry",
        "Try again",
        Effect::Sets,
        true,
        "Puts failed or cancelled tasks back into the queue, with all their retries; `start` runs them where it has stopped. A task that hangs: `cancel` it, then `retry` it with a timeout and max_retries 0.",
    ),
    (
        "wait",
        "Wait for the end",
        Effect::Reads,
        false,
        "Waits until the batch, the tasks or all have ended, but at most timeout seconds. Past it the answer says timed_out and what still runs, the tasks go on, and you call it again.",
    ),
    (
        "functions",
        "Functions of tasks",
        Effect::Reads,
        false,
        "The functions that tasks may name, with their parameters.",
    ),
];

/// All tools, in the order in which they are listed; made once.
pub fn all() -> &'static [Tool] {
    static ALL: LazyLock<Vec<Tool>> = LazyLock::new(made);
    &ALL
}

fn made() -> Vec<Tool> {
    let mut tools: Vec<Tool> = TOLD
        .iter()
        .filter_map(|(name, title, effect, reaches, text)| {
            let tool = Tool::new(*name, *text, Arc::new(parameters(name)?));
            Some(described(tool, title, *effect, *reaches, schema::data(name)?))
        })
        .collect();
    let any = Tool::new(
        ANY,
        "Any action as one object, such as {\"action\": \"status\"}, or within tool_args. The other tools are these actions one by one: prefer \
         them.",
        Arc::new(object(json!({
            "type": "object",
            "properties": {
                "action": {"type": "string", "enum": schema::ACTIONS},
                "tool_name": {"type": "string"},
                "tool_args": {"type": "object", "description": "The action and its parameters"},
            },
        }))),
    );
    tools.push(described(any, "Any action", Effect::Any, true, object(json!({"type": "object"}))));
    tools
}

fn described(mut tool: Tool, title: &str, effect: Effect, reaches: Reaches, data: Map<String, Value>) -> Tool {
    tool.title = Some(title.to_owned());
    tool.output_schema = Some(Arc::new(data));
    let hints = ToolAnnotations::new()
        .read_only(matches!(effect, Effect::Reads))
        .destructive(matches!(effect, Effect::Destroys | Effect::Any))
        .idempotent(!matches!(effect, Effect::Adds | Effect::Any))
        .open_world(reaches);
    tool.annotations = Some(hints);
    tool
}

/// As the protocol has them, and how long the reply may be where that can be long.
fn parameters(action: &str) -> Option<Map<String, Value>> {
    let mut schema = schema::parameters(action)?;
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        if matches!(action, "results" | "show" | "logs" | "status") {
            let text = "Keep the reply to about so many bytes; default 32768";
            properties.insert(BUDGET.to_owned(), json!({"type": "integer", "minimum": 2048, "description": text}));
        }
        if action == "add" {
            let text = "Where it runs, an absolute path; default the server's own folder";
            properties.insert("cwd".to_owned(), json!({"type": "string", "description": text}));
        }
        // As the bridge has them.
        let defaults = [
            ("results", "limit", "At most so many tasks; default 50"),
            ("logs", "limit", "At most so many bytes; default half of max_bytes"),
            ("wait", "timeout", "Seconds that the call may take, at most 300; default 45. Past it the tasks go on"),
        ];
        for (_, name, text) in defaults.iter().filter(|(of, ..)| *of == action) {
            properties[*name]["description"] = (*text).into();
        }
        properties.retain(|name, _| !HIDDEN.contains(&(action, name.as_str())));
        // `defaults` may have it.
        if let Some(Value::Object(task)) = properties.get_mut("tasks").and_then(|tasks| tasks.get_mut("items")) {
            task.remove("required");
        }
    }
    Some(schema)
}

/// An agent that misspells a parameter must not get what it did not ask for: all results for the failed ones, a queue that is
/// cleared.
///
/// # Errors
/// One sentence for the agent.
pub fn only_known(action: &str, request: &Map<String, Value>) -> Result<(), String> {
    let Some(tool) = all().iter().find(|tool| tool.name == action) else { return Ok(()) };
    let known: Vec<&str> =
        tool.input_schema["properties"].as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
    let surround = ["action", "id", "cwd", "environment", BUDGET];
    let is_known = |name: &str| known.contains(&name) || surround.contains(&name) || HIDDEN.contains(&(action, name));
    let Some(unknown) = request.keys().find(|name| !is_known(name)) else { return Ok(()) };
    let all = if known.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", known.join(", ")) };
    Err(format!("`{action}` has no parameter `{unknown}`; {all}"))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
