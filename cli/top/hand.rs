//! The thread that carries out what the user wants, one after the other, so that keys never wait for the daemon.

use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

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
    /// The tasks, and how many there are; and how long it took.
    Found {
        sought: String,
        found: Result<(Vec<Task>, i64), String>,
        took: Duration,
    },
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
                let begun = Instant::now();
                let found = find(&mut client, &sought).map_err(|failure| failure.text().0);
                Done::Found { sought, found, took: begun.elapsed() }
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

fn find(client: &mut Client, sought: &str) -> Result<(Vec<Task>, i64), Failure> {
    let mut request = json!({"action": "results", "limit": FOUND});
    if let Some(filter) = filter_of(sought) {
        request["filter"] = json!(filter);
    }
    let found: ResultsData = data(&ask(client, &request)?)?;
    Ok((found.tasks, found.summary.counts.total))
}

/// What is typed as a filter: one as it is; of plain words those that are states choose, and the rest is a text that the name,
/// the function or the error has, or an id. None: nothing is typed.
fn filter_of(sought: &str) -> Option<String> {
    let sought = sought.trim();
    if sought.contains(['=', '<', '>', '~']) || sought.contains(" in (") {
        return Some(sought.to_owned());
    }
    let (states, words): (Vec<&str>, Vec<&str>) =
        sought.split_whitespace().partition(|word| word.parse::<Status>().is_ok());
    let states = (!states.is_empty()).then(|| format!("status in ({})", states.join(", ").to_lowercase()));
    let words = (!words.is_empty()).then(|| {
        let text = words.join(" ").replace('"', "");
        let id = text.parse::<TaskId>().map(|id| format!("id={id} or ")).unwrap_or_default();
        format!("({id}name~\"{text}\" or function~\"{text}\" or error~\"{text}\")")
    });
    let parts: Vec<String> = [states, words].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::filter_of;

    #[test]
    fn plain_words_are_a_filter() {
        assert_eq!(filter_of("  "), None);
        assert_eq!(filter_of("Failed cancelled").as_deref(), Some("status in (failed, cancelled)"));
        let text = r#"status in (failed) and (name~"no room" or function~"no room" or error~"no room")"#;
        assert_eq!(filter_of("no failed \"room").as_deref(), Some(text));
        let id = r#"(id=12 or name~"12" or function~"12" or error~"12")"#;
        assert_eq!(filter_of("12").as_deref(), Some(id));
        assert_eq!(filter_of("runtime>5m and not status=failed").as_deref(), Some("runtime>5m and not status=failed"));
    }
}
