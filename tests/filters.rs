//! The filter language on a real daemon: what matches is what a plain reading of the tasks' JSON says, changes hit nothing
//! else, and no text makes a statement of SQL that is not one.

#[path = "filters/reference.rs"]
mod reference;
mod support;

use batch_executor::filter::condition::Bound;
use batch_executor::filter::{FIELDS, Filter, LONGEST, Sort};
use proptest::prelude::*;
use reference::{any_filter, holds};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use support::{Daemon, shell};

/// Tasks of every kind and state; nothing runs and nothing will.
fn mixed() -> Daemon {
    let daemon = Daemon::start();
    let python = |runtime: &str, code: &str| json!({"name": format!("{runtime} code"), "function": "code_execution", "params": {"runtime": runtime, "code": code}, "max_retries": 0});
    daemon.ok(json!({"action": "add_batch", "name": "Night", "defaults": {"retry_delay": 0}, "tasks": [
        shell("echo fine"), shell("echo 50% off_by_one >&2; exit 3"), shell("kill -TERM $$"), shell("exit 4"),
        python("python", "raise ValueError('TimeOut')"), python("python", "print(1)"),
        {"name": "own", "function": "custom_function", "params": {"code": "def process(): return 1"}},
        {"name": "slow", "function": "command", "params": {"argv": ["sleep", "60"]}, "timeout": 0.2, "max_retries": 0},
        {"name": "flaky", "function": "simulate", "params": {"duration": 0.05, "fail": 2}, "priority": "critical"},
        {"name": "it's \"quoted\"; --", "function": "simulate", "params": {"duration": 0.01}, "priority": "low"},
    ]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 4}));
    daemon.wait();
    let queued: Vec<Value> = (0..6)
        .map(|n| json!({"name": format!("later {n}"), "function": "simulate", "priority": if n % 2 == 0 { "low" } else { "high" }}))
        .collect();
    let added = daemon.ok(json!({"action": "add_batch", "tasks": queued}));
    daemon.ok(json!({"action": "cancel", "task_ids": [added["first_task_id"], added["last_task_id"]]}));
    daemon.ok(json!({"action": "pause", "task_id": added["first_task_id"].as_i64().map(|id| id + 1)}));
    daemon
}

/// The tasks with their attempts.
fn exported(daemon: &Daemon) -> Vec<Value> {
    let file = daemon.work().join("all.jsonl");
    let request =
        json!({"action": "export", "format": "jsonl", "attempts": true, "overwrite": true, "output_file": file});
    daemon.ok(request);
    let text = std::fs::read_to_string(file).expect("a file");
    text.lines().map(|line| serde_json::from_str(line).expect("a task")).collect()
}

fn ids(tasks: &Value) -> Vec<i64> {
    tasks.as_array().into_iter().flatten().filter_map(|task| task["task_id"].as_i64()).collect()
}

fn matching(daemon: &Daemon, filter: &str) -> Vec<i64> {
    ids(&daemon.ok(json!({"action": "results", "filter": filter}))["tasks"])
}

#[test]
fn what_matches_is_what_a_plain_reading_says() {
    let daemon = mixed();
    let tasks = exported(&daemon);
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("FUZZ_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut some, mut none) = (0, 0);
    for _ in 0..600 {
        let filter = any_filter(&mut random, 3);
        let text = filter.to_string();
        let expected: Vec<i64> =
            tasks.iter().filter(|task| holds(&filter, task)).filter_map(|task| task["task_id"].as_i64()).collect();
        let answer = daemon.ok(json!({"action": "results", "filter": text}));
        assert_eq!(ids(&answer["tasks"]), expected, "{text}");
        assert_eq!(answer["summary"]["total"], json!(expected.len()), "{text}");
        if expected.is_empty() {
            none += 1
        } else {
            some += 1
        }
        let status = daemon.ok(json!({"action": "status", "filter": text}));
        assert_eq!(status["counts"]["total"], json!(expected.len()), "{text}");
    }
    assert!(some > 100 && none > 20, "{some} of the filters match something, {none} nothing");
}

#[test]
fn words_of_the_documentation_mean_what_they_say() {
    let daemon = mixed();
    for (filter, expected) in [
        ("function=python", vec![5, 6, 7]),
        ("function=terminal and status=failed", vec![2, 3, 4]),
        ("function = code_execution and not function=terminal", vec![5, 6]),
        ("error~timeout", vec![5]),
        ("error ~ '50% OFF_BY'", vec![2]),
        ("outcome=timed_out or signal=15", vec![3, 8]),
        ("cause=timed_out", vec![8]),
        ("retries>0", vec![9]),
        ("status=failed and exit_code!=none and exit_code in (3, 4)", vec![2, 4]),
        ("name='it' or name~quoted", vec![10]),
        ("batch_name=Night and priority>=high", vec![9]),
        ("paused=yes", vec![12]),
        ("status=queued and paused = no", vec![13, 14, 15]),
        ("id in (3, task_1, 99)", vec![1, 3]),
        ("created>2020-01-01 00:00 and created<2020-01-02", vec![]),
        ("age<1h and timeout<1s", vec![8]),
        ("runtime>=190ms and function=command and cpu!=none", vec![8]),
        ("ended_ago<1h and status=cancelled", vec![11, 16]),
        ("params~'\"fail\":2'", vec![9]),
        ("memory>=1K and memory<1G and id=1", vec![1]),
    ] {
        assert_eq!(matching(&daemon, filter), expected, "{filter}");
    }
    let running = daemon.ok(json!({"action": "results", "filter": "status=failed", "filter_status": "completed"}));
    assert_eq!(running["tasks"], json!([]), "both hold");
    let some = daemon.ok(json!({"action": "results", "filter": "status=failed", "task_ids": [1, 2, 3], "batch_id": 1}));
    assert_eq!(ids(&some["tasks"]), [2, 3]);
}

#[test]
fn what_is_wrong_changes_nothing() {
    let daemon = mixed();
    let before = exported(&daemon);
    for action in ["results", "status", "cancel", "retry", "clear", "export", "wait"] {
        let refused = daemon.call(&json!({"action": action, "filter": "statu=failed"}));
        let message = refused["message"].as_str().expect("a message");
        assert_eq!(refused["error"]["code"], "invalid_request", "{action}");
        let said =
            "`filter`, at character 1: unknown field `statu`; did you mean `status`? The fields are id, status, ";
        assert!(message.starts_with(said), "{action}: {message}");
        for wrong in [json!(""), json!(5), json!("x".repeat(LONGEST + 1))] {
            let refused = daemon.call(&json!({"action": action, "filter": wrong}));
            assert_eq!(refused["error"]["code"], "invalid_request", "{action}: {refused}");
        }
    }
    for (request, said) in [
        (
            json!({"sort": "size"}),
            "`sort` is \"size\", but must be a field, with a `-` before it for the largest first",
        ),
        (json!({"sort": "-runtime", "cursor": 5}), "`cursor` does not go with `sort`"),
    ] {
        let mut results = request.clone();
        results["action"] = json!("results");
        let refused = daemon.call(&results);
        assert!(refused["message"].as_str().is_some_and(|message| message.starts_with(said)), "{refused}");
    }
    assert_eq!(exported(&daemon), before);
}

#[test]
fn changes_hit_what_matches_and_a_dry_run_nothing() {
    let daemon = mixed();
    let before = exported(&daemon);
    let dry = daemon.call(&json!({"action": "cancel", "filter": "name~later and priority=high", "dry_run": true}));
    assert_eq!(dry["message"], "would cancel 2 tasks: 12, 14; nothing was changed.");
    let data = json!({"cancelled_count": 2, "cancelled": [12, 14], "not_cancelled": [], "dry_run": true});
    assert_eq!(dry["data"], data);
    let dry = daemon.call(&json!({"action": "retry", "filter": "exit_code=3", "dry_run": true}));
    let data = json!({"requeued": 1, "not_requeued": [], "dry_run": true, "task_ids": [2]});
    assert_eq!(
        (&dry["data"], &dry["message"]),
        (&data, &json!("would put 1 task back into the queue: 2; nothing was changed."))
    );
    let dry = daemon
        .ok(json!({"action": "clear", "filter": "function=python", "filter_status": "completed", "dry_run": true}));
    assert_eq!(dry, json!({"cleared": 2, "remaining": 14, "dry_run": true, "task_ids": [6, 7]}));
    // Without a filter, too, with what would be left alone.
    let dry = daemon.call(&json!({"action": "cancel", "task_ids": [1, 13, 99], "dry_run": true}));
    assert_eq!(dry["message"], "would cancel 1 task: 13; 2 tasks not, see data; nothing was changed.");
    let not = json!([{"task_id": 1, "reason": "is already completed"}, {"task_id": 99, "reason": "no such task"}]);
    assert_eq!(dry["data"]["not_cancelled"], not);
    for (request, code) in [
        (json!({"action": "cancel", "task_id": 99, "dry_run": true}), "not_found"),
        (json!({"action": "retry", "task_id": 1, "dry_run": true}), "conflict"),
        (json!({"action": "cancel", "batch_id": 99, "filter": "id=1"}), "not_found"),
        (json!({"action": "clear", "batch_id": 99, "dry_run": true}), "not_found"),
    ] {
        assert_eq!(daemon.call(&request)["error"]["code"], code, "{request}");
    }
    let dry = daemon.ok(json!({"action": "clear", "older_than": 3600, "dry_run": true}));
    assert_eq!(dry["cleared"], 0);
    assert_eq!(daemon.ok(json!({"action": "retry", "batch_id": 1, "dry_run": true}))["requeued"], 5);
    assert_eq!(exported(&daemon), before, "nothing was changed");

    let done = daemon.ok(json!({"action": "cancel", "filter": "name~later and priority=high"}));
    assert_eq!(done, json!({"cancelled_count": 2, "cancelled": [12, 14], "not_cancelled": []}));
    let done = daemon.ok(json!({"action": "retry", "filter": "exit_code=3 or outcome=timed_out", "max_retries": 1}));
    assert_eq!(done, json!({"requeued": 2, "not_requeued": []}));
    assert_eq!(matching(&daemon, "status=queued and max_retries=1"), [2, 8]);
    let done = daemon.ok(json!({"action": "clear", "filter": "function=python", "filter_status": "completed"}));
    assert_eq!(done, json!({"cleared": 2, "remaining": 14}));
    let done = daemon.ok(json!({"action": "clear", "filter": "name~later", "batch_id": 1}));
    assert_eq!(done["cleared"], 0);
    assert_eq!(daemon.ok(json!({"action": "health"}))["tally_difference"], Value::Null);
}

#[test]
fn what_starts_while_it_is_asked_for_as_queued_is_left_alone() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "start", "max_concurrent": 4, "keep": true}));
    for _ in 0..20 {
        let batch =
            daemon.ok(json!({"action": "add_batch", "tasks": vec![shell("sleep 0.02"); 12]}))["batch_id"].take();
        let filter = format!("status=queued and batch={batch}");
        let cancelled = daemon.ok(json!({"action": "cancel", "filter": filter}));
        assert_eq!(cancelled["not_cancelled"], json!([]));
        daemon.ok(json!({"action": "wait", "batch_id": batch}));
        let of = |filter: &str| matching(&daemon, &format!("batch={batch} and {filter}"));
        assert_eq!(of("status=cancelled").len(), cancelled["cancelled"].as_array().map_or(0, Vec::len), "{cancelled}");
        assert_eq!(of("outcome=cancelled"), [0; 0], "none that ran was ended");
    }
}

#[test]
fn running_tasks_are_found_by_how_long_they_have_run_and_waited_for() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "add_batch", "tasks": [
        {"name": "long", "function": "command", "params": {"argv": ["sleep", "600"]}},
        {"name": "long", "function": "command", "params": {"argv": ["sleep", "600"]}},
        shell("true"), shell("exit 1")]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 3}));
    daemon.until(&json!({"action": "status", "filter": "status=running and runtime>10ms"}), |data| {
        data["counts"]["total"] == 2 && data["counts"]["running"] == 2
    });
    assert_eq!(matching(&daemon, "runtime>1h"), [0_i64; 0]);
    let failed = daemon.ok(json!({"action": "wait", "filter": "not name=long"}));
    assert_eq!((&failed["counts"]["completed"], &failed["counts"]["failed"]), (&json!(1), &json!(1)));
    let late = daemon.call(&json!({"action": "wait", "filter": "status=running", "timeout": 0.01}));
    assert_eq!(
        (&late["error"]["details"]["reason"], &late["error"]["details"]["counts"]["running"]),
        (&json!("timeout"), &json!(2))
    );
    let nothing = daemon.call(&json!({"action": "wait", "filter": "name=x"}));
    assert_eq!(
        (&nothing["error"]["code"], &nothing["message"]),
        (&json!("not_found"), &json!("there is nothing to wait for: no task matches `filter`"))
    );
}

#[test]
fn what_a_wait_has_chosen_stays_chosen() {
    let daemon = Daemon::start();
    daemon.ok(json!({"action": "start", "keep": true}));
    for _ in 0..50 {
        daemon.ok(json!({"action": "add", "name": "long", "function": "simulate", "params": {"duration": 600}}));
        daemon.running(1);
        let mut waiting = daemon.connect();
        waiting.send(&json!({"action": "wait", "filter": "status=running"}));
        daemon.ok(json!({"action": "cancel", "filter": "status=running"}));
        let ended = waiting.receive();
        // The cancel may have come first: then nothing ran any more.
        if ended["error"]["code"] != "not_found" {
            assert_eq!(
                (&ended["data"]["counts"]["total"], &ended["data"]["counts"]["cancelled"]),
                (&json!(1), &json!(1))
            );
            return;
        }
    }
    panic!("no wait came before its cancel");
}

#[test]
fn sorted_results_are_one_page_with_what_has_no_value_last() {
    let daemon = mixed();
    let sorted = |sort: &str, filter: &str, limit: i64| {
        let data = daemon.ok(json!({"action": "results", "sort": sort, "filter": filter, "limit": limit}));
        assert_eq!(data["next_cursor"], Value::Null);
        ids(&data["tasks"])
    };
    assert_eq!(sorted("-exit_code", "exit_code!=none", 2), [4, 2]);
    assert_eq!(sorted("exit_code", "id in (1, 2, 3, 4)", 100), [1, 2, 4, 3]);
    assert_eq!(sorted("-priority", "status=queued", 100), [12, 14, 13, 15]);
    assert_eq!(sorted("id", "id<4", 100), [1, 2, 3]);
    assert_eq!(sorted("-id", "id<4", 100), [3, 2, 1]);
    let all = daemon.ok(json!({"action": "results", "sort": "-runtime", "limit": 3}));
    assert_eq!((all["tasks"].as_array().map(Vec::len), &all["summary"]["total"]), (Some(3), &json!(16)));
    let times: Vec<f64> =
        all["tasks"].as_array().expect("tasks").iter().filter_map(|task| task["execution_time"].as_f64()).collect();
    assert!(times.is_sorted_by(|one, next| one >= next), "{times:?}");
    let detailed = daemon.ok(json!({"action": "status", "filter": "batch=2", "detailed": true}));
    assert_eq!(ids(&detailed["tasks"]["queued"]), [12, 14, 13, 15]);
    assert_eq!(detailed["tasks"]["failed"], json!([]));
}

#[test]
fn pages_of_what_matches_are_each_task_once() {
    let daemon = Daemon::start();
    let tasks: Vec<Value> =
        (0..5000).map(|n| json!({"name": format!("n{}", n % 100), "function": "simulate"})).collect();
    daemon.ok(json!({"action": "add_batch", "tasks": tasks}));
    let (mut seen, mut cursor, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let page =
            daemon.ok(json!({"action": "results", "filter": "name in (n7, n99)", "limit": 40, "cursor": cursor}));
        let total = if pages == 0 { 100 } else { page["tasks"].as_array().map_or(0, Vec::len) };
        assert_eq!(page["summary"]["total"], total, "the first page sums all up, another itself");
        seen.extend(ids(&page["tasks"]));
        pages += 1;
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    let expected: Vec<i64> = (1..=5000).filter(|id| [8, 0].contains(&(id % 100))).collect();
    assert_eq!((seen, pages), (expected, 3));
    let file = daemon.work().join("some.csv");
    let some = daemon.ok(json!({"action": "export", "format": "csv", "filter": "name=n7", "output_file": file}));
    assert_eq!(some["exported"], 50);
    let dry = daemon.ok(json!({"action": "cancel", "filter": "name!=n7", "dry_run": true}));
    assert_eq!((&dry["cancelled_count"], dry["cancelled"].as_array().map(Vec::len)), (&json!(4950), Some(1000)));
    let done = daemon.ok(json!({"action": "cancel", "filter": "name!=n7"}));
    assert_eq!((&done["cancelled_count"], done["cancelled"].as_array().map(Vec::len)), (&json!(4950), Some(1000)));
    let back = daemon.ok(json!({"action": "retry", "filter": "status=cancelled and id<=2500"}));
    assert_eq!(back["requeued"], 2475);
    let cleared = daemon.ok(json!({"action": "clear", "filter": "name~n"}));
    assert_eq!((&cleared["cleared"], &cleared["remaining"]), (&json!(2475), &json!(2525)));
    assert_eq!(daemon.ok(json!({"action": "health"}))["tally_difference"], Value::Null);
}

#[test]
fn people_filter_sort_and_choose_columns() {
    let daemon = mixed();
    let said = |arguments: &[&str]| {
        let output = daemon.cli(arguments);
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let table = "ID  Status  Exit code  Error\n4   failed          4  exit code 4\n2   failed          3  exit code 3: 50% off_by_one\n2 tasks, all failed\n";
    let results =
        ["results", "--filter", "exit_code in (3,4)", "--sort", "-exit_code", "--columns", "id,status,exit_code,error"];
    assert_eq!(said(&results), (Some(0), table.to_owned()));
    assert_eq!(
        said(&["results", "--filter", "name~later", "--all", "--limit", "2", "--quiet"]).1,
        "11\n12\n13\n14\n15\n16\n"
    );
    let all = said(&["results", "--filter", "name~later", "--all", "--limit", "4"]).1;
    assert!(all.ends_with("\n6 tasks: 4 queued, 2 cancelled\n"), "{all}");
    assert_eq!(
        said(&["cancel", "--filter", "name~later", "--dry-run"]).1,
        "would cancel 4 tasks: 12, 13, 14, 15; nothing was changed.\n"
    );
    assert_eq!(
        said(&["cancel", "--filter", "name~later"]).1,
        "4 tasks cancelled. `retry` brings cancelled ones back.\n"
    );
    assert_eq!(
        said(&["wait", "--filter", "function=terminal"]),
        (Some(1), "4 tasks: 1 completed, 3 failed\n".to_owned())
    );
    assert_eq!(said(&["wait", "--filter", "name=x"]).0, Some(3));
    let wrong = said(&["status", "--filter", "runtime>30x"]);
    assert_eq!(wrong.0, Some(4));
    assert!(
        wrong.1.contains("`filter`, at character 9: `runtime` is compared with `30x`, but must be a duration"),
        "{}",
        wrong.1
    );
    let wrong = said(&["results", "--columns", "id,size"]);
    assert_eq!(wrong.0, Some(2));
    assert!(wrong.1.contains("the columns are id, status, "), "{}", wrong.1);
    assert_eq!(said(&["results", "--columns", "id", "--json"]).0, Some(2));
}

/// Runs the condition on a migrated database; gives its plan.
async fn carried_out(connection: &mut SqliteConnection, filter: &Filter, sort: Sort) -> Vec<String> {
    let condition = filter.condition(1_800_000_000_000);
    let text = format!(
        "SELECT task.id FROM json_each(?1) AS wanted CROSS JOIN task ON task.id = wanted.value WHERE {} ORDER BY {} LIMIT 5",
        condition.sql,
        sort.to_sql(1_800_000_000_000)
    );
    let mut plan = Vec::new();
    for prefix in ["", "EXPLAIN QUERY PLAN "] {
        let mut query = sqlx::query(AssertSqlSafe(format!("{prefix}{text}"))).bind("[1,2,3]");
        for value in &condition.values {
            query = match value {
                Bound::Integer(value) => query.bind(*value),
                Bound::Text(value) => query.bind(value.clone()),
            };
        }
        let rows = query.fetch_all(&mut *connection).await.unwrap_or_else(|error| panic!("{error}: {text}"));
        plan = rows.iter().filter_map(|row| row.try_get("detail").ok()).collect();
    }
    plan
}

async fn migrated() -> SqliteConnection {
    let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await.expect("a database");
    sqlx::migrate!().run(&mut connection).await.expect("migrated");
    connection
}

#[tokio::test]
async fn the_longest_and_every_field_are_statements_that_read_only_what_was_named() {
    let mut connection = migrated().await;
    let by_id = Sort::parse("id").expect("a field");
    let longest = ["id=1"; 512].join(" or ");
    assert!(longest.len() > LONGEST - 10 && longest.len() <= LONGEST);
    let deep = format!("{}{}{}", "not (".repeat(31), ["id=1"; 480].join(" or "), ")".repeat(31));
    let list = format!("id in ({})", ["1"; 2000].join(","));
    for text in [longest, deep, list] {
        carried_out(&mut connection, &Filter::parse(&text).expect("a filter"), by_id).await;
    }
    for field in FIELDS {
        for sort in [field.name.to_owned(), format!("-{}", field.name)] {
            let sort = Sort::parse(&sort).expect("a field");
            for value in ["1", "yes", "high", "failed", "killed", "2026-01-31"] {
                let Ok(filter) = Filter::parse(&format!("{}={value}", field.name)) else { continue };
                let plan = carried_out(&mut connection, &filter, sort).await;
                let walks = |step: &&String| step.starts_with("SCAN") && !step.starts_with("SCAN wanted");
                assert_eq!(plan.iter().find(walks), None, "{}: {plan:?}", field.name);
            }
        }
    }
}

/// Pieces of the language, and what is none.
fn pieces() -> impl Strategy<Value = String> {
    let words: Vec<String> = FIELDS
        .iter()
        .map(|field| field.name.to_owned())
        .chain(
            "and or not in ( ) , = != < <= > >= ~ !~ ! \" ' none failed high yes 30s 10K 2026-01-31 22:00 -5 99999999999999999999 ; -- ?1 %  task.id \u{0} é \\"
                .split(' ')
                .map(str::to_owned),
        )
        .collect();
    prop::collection::vec(prop::sample::select(words), 0..24).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_filter_or_one_sentence(text in prop_oneof![".*", pieces(), "[a-z_]{2,9}(=|<|~|!=)[a-z0-9'\";%-]{0,12}( and [a-z]{2,6}=[0-9]{1,4})?"]) {
        thread_local! {
            static DATABASE: (tokio::runtime::Runtime, std::cell::RefCell<SqliteConnection>) = {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                let connection = runtime.block_on(migrated());
                (runtime, connection.into())
            };
        }
        match Filter::parse(&text) {
            Ok(filter) => DATABASE.with(|(runtime, connection)| {
                let sort = Sort::parse("-runtime").expect("a field");
                runtime.block_on(carried_out(&mut connection.borrow_mut(), &filter, sort));
            }),
            Err(sentence) => {
                prop_assert!(sentence.starts_with("at "), "{sentence}");
                prop_assert!(!sentence.contains(|c: char| c.is_control()), "{sentence:?}");
            }
        }
    }
}
