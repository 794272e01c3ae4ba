//! Under systemd's journal (a real journald) an event's fields are the journal's, and nothing is said twice.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn what_a_task_did_is_found_by_its_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/journal.sh");
    let lines = folder.path().join("lines");
    let output = Command::new("timeout")
        .args(["120", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(script)
        .args([env!("CARGO_BIN_EXE_batch-executor").as_ref(), folder.path()])
        .env("LINES_TO", &lines)
        .env_remove("BATCH_EXECUTOR_HOME")
        .output()
        .expect("unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    if said.contains("not run: ") || why.contains("unshare failed") {
        eprintln!("not run: no journal of our own can be had here: {said}{why}");
        return;
    }
    assert!(output.status.success(), "{said}{why}");
    let entries: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of_task = |id: &str| entries.iter().filter(|entry| entry["TASK_ID"] == id).collect::<Vec<_>>();
    let is = |entry: &Value, fields: &[(&str, &str)]| {
        for (name, value) in fields {
            assert_eq!(entry[name], *value, "{entry}");
        }
    };
    // That a task completed is for those who ask for more (`log_level`).
    assert!(of_task("1").is_empty(), "{said}");
    let [failed] = of_task("2")[..] else { panic!("not once: {said}") };
    is(failed, &[("BATCH_ID", "2"), ("ATTEMPT", "1"), ("OUTCOME", "failed"), ("PRIORITY", "6")]);
    // The message is the line that it is elsewhere, whatever a task wrote.
    is(
        failed,
        &[
            ("ERROR", "exit code 3: one\ntwo"),
            (
                "MESSAGE",
                "an attempt ended task_id=2 batch_id=2 attempt=1 outcome=failed error=\"exit code 3: one\\ntwo\"",
            ),
        ],
    );
    let [killed] = of_task("3")[..] else { panic!("not once: {said}") };
    is(killed, &[("BATCH_ID", "3"), ("ERROR", "not by batch-executor: killed by SIGKILL (signal 9)")]);
    let serving = entries.iter().filter(|entry| entry["MESSAGE"].as_str().is_some_and(|m| m.starts_with("serving ")));
    let [serving] = serving.collect::<Vec<_>>()[..] else { panic!("not once: {said}") };
    assert_eq!(serving["PID"], serving["_PID"]);
    // The second daemon wrote lines.
    let lines = std::fs::read_to_string(lines).expect("lines");
    assert!(lines.contains("INFO batch_executor::daemon: serving pid="), "{lines}");
    assert!(lines.contains("an attempt ended task_id=5 batch_id=5 attempt=1 outcome=failed error="), "{lines}");
    assert!(of_task("5").is_empty(), "{said}");
}
