//! The arrows between the rooms go one way, and no file grows past a room's size.

#[path = "support/sources.rs"]
mod sources;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sources::files;

/// What each room may use. `daemon` wires the parts and sees everything.
const ARROWS: &[(&str, &[&str])] = &[
    ("task", &[]),
    ("json", &[]),
    ("time", &[]),
    ("words", &[]),
    ("filter", &["task", "visible", "words"]),
    ("home", &[]),
    ("secret", &[]),
    ("command", &[]),
    ("gate", &["command", "platform", "space", "task", "time"]),
    (
        "hooks",
        &[
            "command", "defect", "executor", "home", "output", "platform", "protocol", "queue", "secret", "task",
            "time", "version", "visible",
        ],
    ),
    ("cgroup", &["task"]),
    ("config", &["cgroup", "gate", "hooks", "secret", "task"]),
    ("version", &[]),
    ("failpoint", &[]),
    ("space", &[]),
    ("sys", &[]),
    ("visible", &[]),
    ("tasks_file", &[]),
    ("defect", &[]),
    ("platform", &["task"]),
    ("journal", &["visible"]),
    ("logging", &["defect", "home", "journal", "visible"]),
    ("presence", &["home"]),
    ("attempt", &["task"]),
    ("protocol", &["filter", "json", "task", "words"]),
    ("output", &["home", "json", "task"]),
    ("client", &["config", "home", "platform", "protocol", "task"]),
    ("function", &["attempt", "config", "home", "json", "output", "protocol", "secret", "task"]),
    (
        "keeper",
        &["cgroup", "failpoint", "home", "output", "platform", "secret", "space", "sys", "task", "time", "version"],
    ),
    ("backend", &["attempt", "cgroup", "config", "function", "home", "keeper", "output", "secret", "task", "version"]),
    ("export", &["failpoint", "protocol", "sys", "task"]),
    ("queue", &["attempt", "failpoint", "filter", "home", "output", "protocol", "space", "task", "time"]),
    ("executor", &["attempt", "backend", "failpoint", "gate", "protocol", "queue", "space", "task", "time"]),
    (
        "server",
        &[
            "cgroup", "config", "defect", "executor", "export", "filter", "function", "home", "hooks", "output",
            "platform", "protocol", "queue", "space", "sys", "task", "time", "version",
        ],
    ),
];

/// Lines without tests.
const LONGEST: usize = 400;
/// Longer ones, and why.
const LONGER: &[(&str, &str)] = &[("src/protocol/request.rs", "one struct for each action")];

fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    files(&root.join(folder), &mut found);
    let text = |path: &PathBuf| std::fs::read_to_string(path).expect("a source");
    let name = |path: &PathBuf| path.strip_prefix(root).expect("inside").display().to_string();
    found.iter().map(|path| (name(path), text(path))).collect()
}

/// The rooms that a file uses, with their lines; its tests do not count.
fn used<'t>(text: &'t str, prefix: &str) -> Vec<(usize, &'t str)> {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    let lines = code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|(number, line)| line.split(prefix).skip(1).map(move |rest| (number + 1, rest)))
        .map(|(number, rest)| (number, rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or(rest)))
        .collect()
}

#[test]
fn arrows_go_one_way() {
    let mut wrong = Vec::new();
    for (name, text) in sources("src") {
        let room = name.trim_start_matches("src/").split(['/', '.']).next().expect("a room").to_owned();
        if room == "lib" || room == "daemon" {
            continue;
        }
        let allowed = ARROWS.iter().find(|(of, _)| *of == room).unwrap_or_else(|| panic!("a new room: {room}")).1;
        for (line, uses) in used(&text, "crate::") {
            if uses != room && !allowed.contains(&uses) {
                wrong.push(format!("{name}:{line} uses {uses}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_program_uses_the_client_and_not_the_engine() {
    let engine: BTreeSet<&str> = ["queue", "executor", "backend", "server", "function", "export", "output"].into();
    let uses: Vec<_> = sources("cli")
        .iter()
        .flat_map(|(name, text)| {
            used(text, "batch_executor::").into_iter().map(move |(l, u)| (name.clone(), l, u.to_owned()))
        })
        .filter(|(_, _, uses)| engine.contains(uses.as_str()))
        .collect();
    assert!(uses.is_empty(), "{uses:#?}");
}

#[test]
fn no_file_is_longer_than_a_room_allows() {
    let long: Vec<_> = sources("src")
        .into_iter()
        .chain(sources("cli"))
        .map(|(name, text)| (name, text.split("#[cfg(test)]").next().unwrap_or_default().lines().count()))
        .filter(|(name, lines)| *lines > LONGEST && !LONGER.iter().any(|(long, _)| long == name))
        .collect();
    assert!(long.is_empty(), "{long:?}");
}
