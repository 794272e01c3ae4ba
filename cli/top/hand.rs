//! The thread that carries out what the user wants, one after the other, so that keys never wait for the daemon.

use std::sync::mpsc::{Receiver, SyncSender};

use batch_executor::client::{Answer, Client};
use batch_executor::protocol::{ResultsData, Task};
use batch_executor::task::{Status, TaskId};
use serde_json::{Value, json};

use super::app::Message;
use crate::context::{accepted, data};
use crate::failure::Failure;

/// Tasks that are listed at most.
const FOUND: u32 = 1000;

/// What is to be done.
#[derive(Debug)]
pub enum Errand {
    Request(Value),
    Show(TaskId),
    Find(String),
}

/// What came of it; where it failed, why.
#[derive(Debug)]
pub enum Done {
    /// What is to be said; `failed`: nothing was changed.
    Said {
        text: String,
        failed: bool,
    },
    Shown(TaskId, Result<Box<Task>, String>),
    /// What was sought, and the tasks with how many there are.
    Found(String, Result<(Vec<Task>, i64), String>),
}

/// Carries out errands until there are no more to come.
pub fn run(mut client: Client, errands: &Receiver<Errand>, to: &SyncSender<Message>) {
    for errand in errands {
        let done = match errand {
            Errand::Request(request) => said(client.call(&request).map_err(Failure::from)),
            Errand::Show(id) => {
                let shown = ask(&mut client, &json!({"action": "show", "task_id": id}));
                Done::Shown(id, shown.and_then(|answer| data(&answer)).map_err(|failure| failure.text().0))
            }
            Errand::Find(sought) => {
                let found = find(&mut client, &sought).map_err(|failure| failure.text().0);
                Done::Found(sought, found)
            }
        };
        if to.send(Message::Done(done)).is_err() {
            return;
        }
    }
}

/// What the daemon says, or why it does not.
fn said(answer: Result<Answer, Failure>) -> Done {
    match answer {
        Ok(answer) => Done::Said { failed: !answer.response.ok, text: answer.response.message },
        Err(failure) => Done::Said { failed: true, text: failure.text().0 },
    }
}

fn ask(client: &mut Client, request: &Value) -> Result<Answer, Failure> {
    accepted(client.call_until_answered(request))
}

/// Words that are states choose, the rest is a text that a task must have.
fn find(client: &mut Client, sought: &str) -> Result<(Vec<Task>, i64), Failure> {
    let (states, words): (Vec<&str>, Vec<&str>) =
        sought.split_whitespace().partition(|word| word.parse::<Status>().is_ok());
    let mut request = json!({"action": "results", "limit": FOUND});
    if let Some(state) = states.first() {
        request["filter_status"] = json!(state);
    }
    let found: ResultsData = data(&ask(client, &request)?)?;
    let text = words.join(" ").to_lowercase();
    let has = |task: &Task| {
        let texts = [Some(&task.name), Some(&task.function), task.error.as_ref(), task.reason.as_ref()];
        text.is_empty() || texts.into_iter().flatten().any(|part| part.to_lowercase().contains(&text))
    };
    let total = found.summary.counts.total;
    let tasks: Vec<Task> = found.tasks.into_iter().filter(has).collect();
    let total = if text.is_empty() { total } else { i64::try_from(tasks.len()).unwrap_or(i64::MAX) };
    Ok((tasks, total))
}
