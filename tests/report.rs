//! `report`: the page draws itself in a browser and runs nothing that a task wrote; Markdown; two runs compared; the command.

mod support;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use support::{Daemon, python, shell, signal};

/// What would run, or break out, where it is taken for markup.
const HOSTILE: &str =
    "</script></pre><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><!--";

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// The document after its script has run, as a browser has it.
fn opened(daemon: &Daemon, page: &Path, part: &str) -> String {
    let profile = daemon.work().join("profile");
    let output = Command::new("timeout")
        .args(["60", "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--dump-dom", &format!("file://{}{part}", page.display())])
        .output()
        .expect("chromium, which `make setup` installs");
    stdout(&output)
}

/// What is between two texts.
fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("no {from}"));
    rest.split_once(to).unwrap_or_else(|| panic!("no {to} after {from}")).0
}

/// A night with all that can happen: completed, failed with hostile output, tried again, timed out, interrupted, a long output.
fn night(daemon: &Daemon) {
    let named = |mut task: Value, name: &str| {
        task["name"] = json!(name);
        task
    };
    let hostile = format!(
        "import sys; print({HOSTILE:?}); print('\\x1b[31m' + {HOSTILE:?} + ' 7', file=sys.stderr); sys.exit(3)"
    );
    let again =
        json!({"name": "again", "function": "simulate", "params": {"duration": 0, "fail": 1}, "retry_delay": 0});
    let late = json!({"name": "late", "function": "command", "params": {"argv": ["sleep", "60"]}, "timeout": 0.1, "max_retries": 0});
    let added = daemon.ok(json!({"action": "add_batch", "name": format!("night {HOSTILE}"), "tasks": [
        named(shell("echo good"), "good"),
        named(python(&hostile), HOSTILE),
        named(python(&hostile.replace(" 7", " 8")), "hostile too"),
        again,
        late,
        named(shell("echo >> begun; while [ ! -e gate ]; do sleep 0.01; done"), "interrupted"),
        named(python("print('x' * 3_000_000)"), "long"),
        {"name": "unknown", "function": format!("f{HOSTILE}")},
    ]}));
    assert_eq!(added["errors"], json!([]));
    daemon.ok(json!({"action": "start"}));
    let begun = || std::fs::read_to_string(daemon.work().join("begun")).unwrap_or_default().lines().count();
    daemon.until(&json!({"action": "status"}), |data| begun() == 1 && data["counts"]["running"] == 1);
    signal(daemon.keeper_pid(), "KILL");
    daemon.until(&json!({"action": "status"}), |_| begun() == 2);
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    daemon.wait();
}

#[test]
fn the_page_draws_itself_and_runs_nothing_that_a_task_wrote() {
    let daemon = Daemon::start();
    night(&daemon);
    let said = stdout(&daemon.cli(&["report"]));
    let page = daemon.work().join("report.html");
    assert_eq!(said, format!("the report of 8 tasks is in {}\n", page.display()));
    let source = std::fs::read_to_string(&page).expect("a page");
    // Nothing that was written by others is markup, whatever a browser would make of it.
    assert_eq!(source.matches("<script").count(), 2, "the data and the script");
    assert!(!source.contains("<img") && !source.contains("<!--"));

    let document = opened(&daemon, &page, "");
    assert!(!between(&document, "<title>", "</title>").starts_with("owned"));
    assert_eq!(document.matches("<script").count(), 2);
    assert!(!document.contains("<img") && !document.contains("<!--"));
    assert_eq!(between(&document, "class=\"headline\">", "<"), "4 of 8 tasks completed, 4 failed.");
    assert_eq!(between(&document, "id=\"found\" role=\"status\">", "<"), "8 tasks");
    assert_eq!(document.matches("role=\"row\" aria-rowindex").count(), 8, "a row for each task");
    // The slots, what waited, the throughput, and a histogram for each of the four functions.
    assert_eq!(document.matches("<svg").count(), 7);
    assert_eq!(document.matches("role=\"img\"").count(), 7);
    assert_eq!(document.matches("<desc>").count(), 7);
    assert!(between(&document, "<svg class=\"slots\"", "</svg>").contains("1 attempt was lost: the process that owns"));
    // The two that failed alike are one kind.
    let failures = between(&document, "id=\"failures\"", "</section>");
    assert_eq!(failures.matches("<details").count(), 3);
    assert!(failures.contains("batch-executor retry 2 3<"), "{failures}");

    let hostile = opened(&daemon, &page, "#task-2");
    let dialog = between(&hostile, "<dialog", "</dialog>");
    assert!(
        dialog.contains("open=\"\"")
            && dialog.contains("&lt;/script&gt;&lt;/pre&gt;&lt;script&gt;document.title='owned'")
    );
    assert!(!dialog.contains("\\x1b"), "colours are left out");
    assert!(!between(&hostile, "<title>", "</title>").starts_with("owned"));
    let long = opened(&daemon, &page, "#task-7");
    let dialog = between(&long, "<dialog", "</dialog>");
    // All of the 3,000,001 but the 1,024 that are there.
    assert_eq!(between(dialog, "class=\"note\">", "<"), "… 2,998,977 bytes more: ", "{dialog}");
    let interrupted = opened(&daemon, &page, "#task-6");
    let dialog = between(&interrupted, "<dialog", "</dialog>");
    assert!(dialog.contains("interrupted") && dialog.contains("the process that owns the tasks died"), "{dialog}");
}

/// What a user does with the list; what came of it is in `#seen`.
const HANDS: &str = include_str!("report/hands.js");

#[test]
fn the_list_is_searched_sorted_and_opened() {
    let daemon = Daemon::start();
    let task = |n: i64| {
        let params = json!({"duration": 0, "fail": n % 100 == 3});
        json!({"name": format!("t{n}"), "function": "simulate", "params": params, "max_retries": 0})
    };
    daemon.ok(json!({"action": "add_batch", "tasks": (1..=300).map(task).collect::<Vec<_>>()}));
    daemon.ok(json!({"action": "start"}));
    daemon.wait();
    let source = stdout(&daemon.cli(&["report", "-o", "-"]));
    let nonce = between(&source, "script-src 'nonce-", "'");
    let page = daemon.work().join("used.html");
    let used = source.replace("</body>", &format!("<script nonce=\"{nonce}\">{HANDS}</script></body>"));
    std::fs::write(&page, used).expect("a page");
    let document = opened(&daemon, &page, "");
    let seen: Vec<&str> = between(&document, "id=\"seen\">", "</p>").split("; ").collect();
    let expected = [
        "few rows: true",
        // t7 and t70 to t79.
        "11 of 300 tasks",
        "3 of 300 tasks",
        "0 of 300 tasks",
        "300 tasks",
        "t1,t10",
        "t99,t98",
        "3 of 300 tasks",
        "t3,t203",
        "true t3 #task-3",
        "false ",
        "true t3 #task-3",
        "false task-999 is not listed",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn markdown_for_chats() {
    let daemon = Daemon::start();
    night(&daemon);
    let text = stdout(&daemon.cli(&["report", "--format", "md"]));
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"[A-Z][a-z]{2} \d+ [A-Z][a-z]{2} \d\d:\d\d:\d\d to \d\d:\d\d:\d\d", "[begin] to [end]");
    settings.add_filter(r"with at most \d+ at once", "with at most [n] at once");
    settings.add_filter(r"\b\d+(\.\d)? (s|ms)\b", "[s]");
    settings.add_filter(r"\d+\.\d MiB", "[size]");
    // Which of those that took about as long is the first is chance.
    settings.add_filter(r"(?s)\n## Slowest\n.*?\n\n", "\n## Slowest\n\n[tasks]\n\n");
    settings.add_filter(r"(?s)(\| ---: \|\n)(\| `.*?)\n\n## Failures", "$1[functions]\n\n## Failures");
    settings.add_filter(r"The slowest task, `.*`, ran", "The slowest task, [name], ran");
    settings.bind(|| insta::assert_snapshot!("report_markdown", text));
}

#[test]
fn two_runs_compared() {
    let daemon = Daemon::start();
    let tasks = |first: bool| {
        let task = |name: &str, duration: f64, fail: bool| {
            let params = json!({"duration": duration, "fail": fail});
            json!({"name": name, "function": "simulate", "params": params, "max_retries": 0})
        };
        let (slow, fast) = if first { (0.0, 0.6) } else { (0.6, 0.0) };
        let only = if first { "gone" } else { "new" };
        json!([
            task("same", 0.0, false),
            task("broke", 0.0, !first),
            task("mended", 0.0, first),
            task("slower", slow, false),
            task("faster", fast, false),
            task(only, 0.0, false)
        ])
    };
    for first in [true, false] {
        daemon.ok(json!({"action": "add_batch", "tasks": tasks(first)}));
        daemon.ok(json!({"action": "start"}));
        daemon.wait();
    }
    let text = stdout(&daemon.cli(&["report", "--compare", "1", "2", "--format", "md"]));
    let said =
        "By task: fails now: 1; completes now: 1; slower: 1; faster: 1; only in the second: 1; only in the first: 1.";
    assert!(text.contains(said), "{text}");
    let row = |heading: &str| {
        between(&text, &format!("## {heading} (1)"), "\n\n##").lines().last().expect("a row").to_owned()
    };
    assert!(
        row("Fails now").starts_with("| `broke` |") && row("Fails now").ends_with("failed | `simulated failure` |")
    );
    for (heading, name) in
        [("Completes now", "mended"), ("Slower", "slower"), ("Faster", "faster"), ("Only in the second", "new")]
    {
        assert!(row(heading).starts_with(&format!("| `{name}` |")), "{heading}: {text}");
    }
    stdout(&daemon.cli(&["report", "--compare", "1", "2", "-o", "compared.html"]));
    let document = opened(&daemon, &daemon.work().join("compared.html"), "");
    assert_eq!(document.matches("<table").count(), 6);
    assert_eq!(document.matches("<script").count(), 0);
}

#[test]
fn a_report_starts_nothing_and_says_that_it_is_not_over() {
    let daemon = Daemon::start();
    daemon.ok(
        json!({"action": "add_batch", "tasks": [shell("true"), shell("while [ ! -e gate ]; do sleep 0.01; done")]}),
    );
    let queued = stdout(&daemon.cli(&["report", "--format", "md"]));
    assert!(queued.contains("**0 of 2 tasks completed. It is not over: 0 running, 2 queued.**"), "{queued}");
    assert_eq!(daemon.ok(json!({"action": "status"}))["state"], "stopped");
    daemon.ok(json!({"action": "start"}));
    daemon
        .until(&json!({"action": "status"}), |data| data["counts"]["completed"] == 1 && data["counts"]["running"] == 1);
    let running = stdout(&daemon.cli(&["report", "1", "-o", "running.md"]));
    assert!(running.starts_with("the report of 2 tasks is in"), "{running}");
    let running = std::fs::read_to_string(daemon.work().join("running.md")).expect("a report");
    assert!(running.contains("**1 of 2 tasks completed. It is not over: 1 running, 0 queued.**"), "{running}");
    std::fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    daemon.wait();
}

#[test]
fn what_is_there_is_replaced_only_when_that_is_said() {
    let daemon = Daemon::start();
    let code = |arguments: &[&str]| daemon.cli(arguments).status.code();
    let file = daemon.work().join("report.html");
    std::fs::write(&file, "mine").expect("a file");
    assert_eq!(code(&["report"]), Some(4));
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "mine");
    let answer: Value = serde_json::from_str(&stdout(&daemon.cli(&["report", "--overwrite", "--json"]))).expect("JSON");
    assert_eq!(
        (&answer["ok"], &answer["data"]["file"], &answer["data"]["tasks"]),
        (&json!(true), &json!(file), &json!(0))
    );
    assert!(std::fs::read_to_string(&file).expect("the file").contains("There are no tasks."));
    assert!(stdout(&daemon.cli(&["report", "-o", "-"])).starts_with("<!doctype html>"));
    assert_eq!(code(&["report", "99", "-o", "absent.html"]), Some(3));
    assert_eq!(code(&["report", "-o", "absent/report.html"]), Some(4));
    assert_eq!(code(&["report", "--json", "--format", "md"]), Some(2));
    assert_eq!(code(&["report", "1", "--compare", "1", "2"]), Some(2));
    let left: Vec<_> =
        std::fs::read_dir(daemon.work()).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["report.html"]);
}
