//! Golden requests and answers: `tests/golden/ACTION.ndjson` holds requests, each followed by its answer.
//!
//! Every file is replayed on a daemon of its own. What differs from run to run (times, pids, paths, sizes) is
//! scrubbed. `GOLDEN=write cargo test --test protocol_golden` writes the answers anew; read the difference.

mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::Daemon;

/// Numbers that differ from run to run.
const NUMBERS: &[&str] = &[
    "average_task_time",
    "bytes",
    "cpu_time",
    "database_bytes",
    "execution_time",
    "keeper_pid",
    "max_rss",
    "open_files_limit",
    "pid",
    "processes_limit",
    "throughput",
    "total_execution_time",
    "uptime",
    "wait_time",
];
/// Texts that differ from run to run, or from version to version.
const TEXTS: &[&str] = &["created_at", "deadline", "finished_at", "sqlite", "started_at", "version"];

fn scrub(value: &mut Value, root: &str) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if NUMBERS.contains(&name.as_str()) && value.is_number() {
                    *value = json!("[number]");
                } else if TEXTS.contains(&name.as_str()) && value.is_string() {
                    *value = json!("[text]");
                } else {
                    scrub(value, root);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| scrub(value, root)),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            // A message that is JSON itself.
            Ok(mut inner @ Value::Array(_)) => {
                scrub(&mut inner, root);
                *text = inner.to_string();
            }
            _ => *text = scrubbed_text(&text.replace(root, "[root]")),
        },
        _ => {}
    }
}

/// Numbers of bytes and times within a message.
fn scrubbed_text(text: &str) -> String {
    let words: Vec<String> = text
        .split(' ')
        .map(|word| {
            let bare = word.trim_matches(['(', ')', '.', ',']);
            let is_time = bare.len() == 24 && bare.ends_with('Z') && bare.starts_with("20");
            if is_time { word.replace(bare, "[text]") } else { word.to_owned() }
        })
        .collect();
    let mut text = words.join(" ");
    if let Some(end) = text.find(" s of execution") {
        let begin = text[..end].rfind(' ').map_or(0, |space| space + 1);
        text.replace_range(begin..end, "[number]");
    }
    match text.rfind(" bytes)") {
        Some(end) => match text[..end].rfind('(') {
            Some(open) => format!("{}([number]{}", &text[..open], &text[end..]),
            None => text,
        },
        None => text,
    }
}

/// The answer to a line as it stands in the file; `cwd` goes with what is an object without one.
fn answer(daemon: &Daemon, line: &str) -> Value {
    let mut client = daemon.connect();
    let line = match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(mut request)) => {
            request.entry("cwd").or_insert_with(|| json!(daemon.work()));
            Value::Object(request).to_string()
        }
        _ => line.to_owned(),
    };
    client.send_bytes(format!("{line}\n").as_bytes());
    let mut answer = client.receive();
    // How many of them have begun by then is chance.
    if answer["action"] == "start" && answer["data"]["started"] == true {
        answer["data"]["queued"] = json!("[number]");
        answer["message"] = json!("[text]");
    }
    let root = daemon.home().parent().expect("a root").display().to_string();
    scrub(&mut answer, &root);
    answer
}

fn replay(path: &Path) {
    let text = std::fs::read_to_string(path).expect("a golden file");
    let write = std::env::var("GOLDEN").is_ok_and(|mode| mode == "write");
    let daemon = Daemon::start();
    let mut written = String::new();
    let (mut expected, mut requests) = (Vec::new(), Vec::new());
    for line in text.lines() {
        match line.strip_prefix("< ") {
            Some(answer) => expected.push(answer.to_owned()),
            None => requests.push(line.strip_prefix("> ").unwrap_or_else(|| panic!("{}: {line}", path.display()))),
        }
    }
    for (index, request) in requests.iter().enumerate() {
        let found = answer(&daemon, request).to_string();
        written.push_str(&format!("> {request}\n< {found}\n"));
        if !write {
            let golden = expected.get(index).map_or("", String::as_str);
            assert_eq!(found, golden, "{}: the answer to {request}", path.display());
        }
    }
    if write {
        std::fs::write(path, written).expect("written");
    }
}

fn golden(name: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("{name}.ndjson")].iter().collect();
    replay(&path);
}

macro_rules! golden {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                golden(stringify!($name));
            }
        )*

        #[test]
        fn every_golden_file_is_replayed() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
            let mut files: Vec<String> = std::fs::read_dir(folder)
                .expect("golden files")
                .map(|entry| entry.expect("a file").path().file_stem().expect("a name").to_string_lossy().into_owned())
                .collect();
            let mut replayed = [$(stringify!($name)),*];
            files.sort();
            replayed.sort_unstable();
            assert_eq!(files, replayed);
        }
    };
}

golden!(
    add, add_batch, backup, cancel, clear, envelope, export, functions, health, hooks, logs, restart, results, retry,
    show, shutdown, start, status, stop, update, wait,
);
