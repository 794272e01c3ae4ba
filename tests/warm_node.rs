//! Warm Node.js: a task in a process that was started before it sees what it would see otherwise, and dies as it would.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Daemon, lives, signal, until};

/// Says whether its process was started ahead: the kernel has what that was started with.
const IS_WARM: &str =
    "console.log(require('fs').readFileSync('/proc/self/cmdline', 'utf8').includes('started ' + 'ahead'));";

fn node(code: &str) -> Value {
    json!({"name": "node", "function": "code_execution", "params": {"runtime": "nodejs", "code": code},
           "max_retries": 0})
}

fn with(mut task: Value, field: &str, value: Value) -> Value {
    task[field] = value;
    task
}

fn param(mut task: Value, name: &str, value: Value) -> Value {
    task["params"][name] = value;
    task
}

fn stdout(task: &Value) -> &str {
    task["result"]["stdout"].as_str().unwrap_or_else(|| panic!("{task}"))
}

fn configure(daemon: &Daemon, text: &str) {
    let folder = daemon.home().parent().expect("a root").join("config/batch-executor");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("config.toml"), text).expect("a configuration");
}

fn configured() -> Daemon {
    let daemon = Daemon::home_only();
    configure(&daemon, "[runtimes.nodejs]\nwarm = true\n");
    daemon
}

/// A daemon whose tasks in Node.js run in processes that are there.
fn warm() -> Daemon {
    let mut daemon = configured();
    daemon.serve();
    daemon.run(&[node("0")]);
    until_ready(&daemon);
    daemon
}

/// The processes that wait for their task.
fn waiting(daemon: &Daemon) -> Vec<i32> {
    started_ahead(daemon).into_iter().filter(|pid| waits(*pid)).collect()
}

/// Whether one waits for its task: its main thread is in read(2) of its socket, and so it has said that it is ready.
fn waits(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|call| call.contains("unix_stream"))
}

/// Waits until all that was started ahead waits. Nothing of it may have a task. What such a process has said when it waits
/// reaches the keeper before what a client says then.
fn until_ready(daemon: &Daemon) {
    until("the processes of Node.js wait", || {
        let ahead = started_ahead(daemon);
        !ahead.is_empty() && ahead.into_iter().all(waits)
    });
}

/// The processes that were started ahead, with a task or without.
fn started_ahead(daemon: &Daemon) -> Vec<i32> {
    let keeper = daemon.keeper_pid();
    let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap_or_default();
    let is_ours = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("started ahead"))
    };
    children.split_whitespace().map(|pid| pid.parse().expect("a pid")).filter(is_ours).collect()
}

/// Runs a task in a process that waits.
fn run_warm(daemon: &Daemon, task: &Value) -> Value {
    until_ready(daemon);
    daemon.run(std::slice::from_ref(task)).remove(0)
}

/// What it ended with. Frames of what ran the code are left out, for there are others; so is what differs from home to home
/// and from process to process. The error has the last lines, which are such frames, too.
fn told(daemon: &Daemon, task: &Value) -> String {
    let root = daemon.home().parent().expect("a root").display().to_string();
    let error = task["error"].as_str().and_then(|error| error.split(": ").next());
    let result = &task["result"];
    let ends = json!([task["status"], error, task["exit_code"], task["signal"], result["stderr_truncated"]]);
    let text = |stream: &str| result[stream].as_str().unwrap_or_default().replace(&root, "ROOT");
    let is_ours = |line: &&str| {
        let places = [" (node:", "at node:", "[eval]-wrapper", "batch-executor-boot", "lines matching cause"];
        line.starts_with(' ') && places.iter().any(|place| line.contains(place))
    };
    let (stdout, stderr) = (text("stdout"), text("stderr"));
    let lines = stderr.lines().filter(|line| !is_ours(line)).map(|line| match line.strip_prefix("(node:") {
        Some(warning) => warning.split_once(')').map_or(line, |(_, said)| said),
        None => line,
    });
    format!("{ends}\n{stdout}\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// Tasks that tell what they see. What differs from run to run (pids, ids) they leave out.
fn tellers() -> Vec<Value> {
    let long =
        format!("console.log({:?}.length, __filename.slice(-5), require.main === module)", "x".repeat(120 * 1024));
    let mut tellers: Vec<Value> = [
        "console.log(Object.entries(process.env).filter(([k]) => !k.startsWith('BATCH_EXECUTOR_')).sort())",
        "console.log(Object.keys(process.env).filter(k => k.startsWith('BATCH_EXECUTOR_')).sort())",
        "console.log(process.env.BATCH_EXECUTOR_ATTEMPT, process.env.BATCH_EXECUTOR_HOME)",
        "console.log(require('child_process').execSync('env').toString().split('\\n').length)",
        "console.log(process.cwd(), require('fs').realpathSync('/proc/self/cwd'))",
        "const s = require('fs').readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' '); console.log(+s[2] === process.pid, +s[3] === process.pid, s[1] > 1)",
        "console.log(process.argv, process.execArgv, process.argv0, process.title, process._eval, process.execPath)",
        "console.log(module.id, module.filename, module.path, module.paths, module.parent, module.loaded, module.children, __filename, __dirname, require.main, this === globalThis, exports === module.exports)",
        "console.log(Object.getOwnPropertyNames(globalThis).sort().join(), Object.keys(globalThis).join(), Object.keys(require.cache))",
        "console.log(typeof fs.readFileSync, typeof os.cpus, os === require('os'))",
        "console.log(process.exitCode, process.eventNames(), process.listeners('exit').length, RegExp.$1, RegExp.lastMatch)",
        "console.log('out'); console.error('err'); process.stdout.write('no newline')",
        "require('fs').writeSync(1, Buffer.from([255, 0, 65])); process.reallyExit(7)",
        "process.exit(3)",
        "process.exitCode = 4; process.on('exit', c => console.log('exit', c)); process.on('beforeExit', () => console.log('before'))",
        "process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 10000)",
        "process.kill(process.pid, 'SIGKILL')",
        "process.on('SIGTERM', () => { console.log('caught'); process.exit(5) }); process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 10000)",
        "function f() { return null.x }\nf()",
        "throw new Error('plain')",
        "throw { no: 'error' }",
        "throw undefined",
        "Promise.reject(new Error('rejected'))",
        "Promise.reject(17)",
        "setTimeout(() => { throw new TypeError('later') }, 1)",
        "process.on('uncaughtException', (e, origin) => console.log('mine', e.message, origin)); throw new Error('x')",
        "process.on('unhandledRejection', e => console.log('mine', e.message)); Promise.reject(new Error('x'))",
        "class Deep extends Error {}; throw new Deep('own', { cause: new Error('beneath') })",
        "this is no javascript",
        "return 5",
        "let a = 1; let a = 2",
        "'use strict'; undeclared = 1",
        "undeclared = 1; console.log(delete globalThis.undeclared, 010)",
        "await 1; console.log('module', typeof require)",
        "await (1)",
        "import fs from 'fs'; console.log(typeof fs.readFileSync, import.meta.url, typeof module)",
        "export const x = 1; console.log(x)",
        "const x: number = 5; console.log(x)",
        "import('./module/sub.mjs').then(m => console.log(m.default, m.url))",
        "import('module-of-cwd').then(m => console.log(m.default))",
        "import('os').then(m => console.log(typeof m.cpus))",
        "import('./nothing.mjs').catch(e => console.log(e.code))",
        "console.log(require('./module/sub.js'), require.resolve('./module/sub.js'), require('module-of-cwd'))",
        "require('nothing')",
        "console.log(crypto === require('crypto'), crypto.createHash('sha256').update('x').digest('hex'))",
        "crypto; throw new Error('with crypto')",
        "console.log(typeof globalThis['cry' + 'pto'].subtle)",
        "const crypto = require('crypto'); console.log(crypto.randomBytes(3).length)",
        "#!/usr/bin/env node\nconsole.log('after a hashbang')",
        "// only a comment",
        "console.log(eval('1 + 1'), new Function('return this === globalThis')(), (0, eval)('typeof module'))",
        "console.log(require('vm').runInThisContext('typeof require'), typeof structuredClone, typeof fetch)",
        "const { Worker } = require('worker_threads'); new Worker('require(\"worker_threads\").parentPort.postMessage(process.argv.length)', { eval: true }).on('message', m => console.log('worker', m))",
        "const { fork } = require('child_process'); fork('./module/child.js').on('message', m => console.log(m))",
        "const { spawnSync } = require('child_process'); console.log(spawnSync('cat', { stdio: ['inherit', 'pipe', 'inherit'] }).stdout.toString(), spawnSync(process.execPath, ['-p', 'process.argv.length']).stdout.toString())",
        "const fs = require('fs'); console.log(['0', '1', '2'].map(n => fs.readlinkSync('/proc/self/fd/' + n).split(':')[0]), fs.readdirSync('/proc/self/fd').length)",
        "console.log(require('fs').readFileSync('/proc/self/status', 'utf8').split('\\n').filter(l => /^(SigP|SigB|SigI|SigC|ShdP|NoNew|Threads)/.test(l)))",
        "console.log(require('fs').readFileSync('/proc/self/limits', 'utf8'), process.umask().toString(8), os.getPriority())",
        "console.log(JSON.stringify(require('fs').readFileSync(0, 'utf8')), process.stdin.isTTY, process.stdout.isTTY, require('tty').isatty(0), process.stdin.constructor.name, process.stdout.constructor.name)",
        "process.stdin.on('data', d => console.log('data', String(d))).on('end', () => console.log('end'))",
        "process.stdin.destroy(); console.log('x'.repeat(200000).length, 'y'.repeat(100000))",
        "(async () => { for await (const line of require('readline').createInterface({ input: process.stdin })) console.log('line', line); console.log('no more') })()",
        "require('http').createServer((q, r) => r.end('served')).listen(0, function () { require('http').get({ port: this.address().port }, r => r.on('data', d => { console.log(String(d)); this.close() })) })",
        "require('fs').readFile('/proc/self/comm', (e, d) => console.log(String(d)))",
        "require('fs').writeFileSync('left', 'kept'); globalThis.stain = 1; Array.prototype.stain = 1",
        "console.log(require('fs').readFileSync('left', 'utf8'), typeof stain, [].stain)",
        "process.emitWarning('w'); process.emitWarning('old', 'DeprecationWarning')",
        "process.nextTick(() => console.log('tick')); Promise.resolve().then(() => console.log('then')); queueMicrotask(() => console.log('micro')); setTimeout(() => console.log('timeout'), 5); console.log('main')",
        "Promise.resolve().then(() => process.nextTick(console.log, 'tick')).then(() => console.log('then')); (async () => { await null; console.log('awaited'); throw new Error('async') })()",
        "process.on('uncaughtException', () => console.log('caught')); process.nextTick(console.log, 'tick'); setTimeout(console.log, 5, 'timeout'); Promise.resolve().then(() => console.log('then')); throw 1",
        "const ids = () => [typeof module, module.id, exports === module.exports, typeof require]; console.log(ids()); setTimeout(() => console.log(ids(), Object.getOwnPropertyDescriptor(globalThis, 'module').writable))",
        "process.on('uncaughtException', () => {}); setTimeout(() => console.log(typeof module, module.id)); throw 1",
        "Error.stackTraceLimit = 1; throw new Error('short')",
        "console.log(new Error('here').stack.split('\\n').slice(0, 2))",
        "console.log(Intl.DateTimeFormat().resolvedOptions().timeZone, new Date(0).getHours())",
        "process.stdout.end('ended')",
        "function f() { f() } f()",
        &long,
    ]
    .into_iter()
    .map(node)
    .collect();
    let all = json!({"memory": "2GiB", "cpu": 100, "open_files": 99, "nice": 7, "ionice": "idle", "umask": "027"});
    let some = json!({"memory": "2GiB", "cpu": 100, "open_files": 99, "umask": "027"});
    let tell = "console.log(require('fs').readFileSync('/proc/self/limits', 'utf8'), process.umask().toString(8), os.getPriority()); console.log(String(require('child_process').execSync('ionice; umask; ulimit -n')))";
    tellers.extend([
        with(node(tell), "limits", all),
        with(node(tell), "limits", some),
        with(node("for (;;);"), "limits", json!({"cpu": 1})),
        with(node("setTimeout(() => {}, 60000)"), "timeout", json!(0.3)),
        param(node("console.log(require('fs').readFileSync(0, 'utf8'), require('fs').readFileSync(0, 'utf8'))"), "stdin", json!("given é")),
        param(node("process.stdin.on('data', d => console.log('data', String(d))).on('end', () => console.log('end'))"), "stdin", json!("events")),
        param(node("console.log(require('fs').readFileSync(0).length)"), "stdin", json!("x".repeat(90_000))),
        param(node("console.log(require('fs').readFileSync('/dev/stdin').length)"), "stdin", json!("x".repeat(300_000))),
        param(node("console.log(String(require('child_process').execSync('cat', { stdio: ['inherit', 'pipe', 'inherit'] })))"), "stdin", json!("for a child")),
        param(node("console.log(process.env.OWN, 'OWN' in process.env, process.env.EMPTY)"), "env", json!({"OWN": "é=\n1", "EMPTY": ""})),
        param(node("console.log(new Date(0).getHours(), process.env.TZ)"), "env", json!({"TZ": "Asia/Tokyo"})),
        param(node("console.log(require('in-path'))"), "env", json!({"NODE_PATH": "module"})),
        param(node("console.log(process.execArgv.length, v8.getHeapStatistics().heap_size_limit < 2e8)"), "env", json!({"NODE_OPTIONS": "--max-old-space-size=100"})),
        param(node("console.log(globalThis.preloaded)"), "env", json!({"NODE_OPTIONS": "--require ./module/preload.js"})),
        param(node("console.log(process.cwd(), module.filename)"), "cwd", json!("/")),
        param(node("console.log(require('./sub.js'), module.paths[0])"), "cwd", json!("module")),
        param(node("console.log(process.cwd())"), "cwd", json!("link")),
    ]);
    tellers
}

fn furnish(work: &Path) {
    let write = |path: &str, text: &str| {
        let path = work.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    write("module/sub.js", "module.exports = 17\n");
    write("module/sub.mjs", "export default 18; export const url = import.meta.url\n");
    write("module/child.js", "process.send([process.argv.slice(2), process.execArgv, typeof process._eval])\n");
    write("module/preload.js", "globalThis.preloaded = process.cwd() + process.env.BATCH_EXECUTOR_ATTEMPT\n");
    write("module/in-path.js", "module.exports = 19\n");
    write("node_modules/module-of-cwd/index.js", "module.exports = 20\n");
    std::os::unix::fs::symlink("module", work.join("link")).expect("a link");
}

fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[test]
fn a_warm_task_sees_and_gives_what_a_cold_one_does() {
    let cold = Daemon::start();
    let warm = warm();
    furnish(&cold.work());
    furnish(&warm.work());
    let mut differences = Vec::new();
    let tellers = tellers();
    for daemon in [&cold, &warm] {
        daemon.ok(json!({"action": "start", "max_concurrent": 1, "keep": true}));
    }
    let cold_ones = cold.run(&tellers);
    for (task, cold_one) in tellers.iter().zip(&cold_ones) {
        let warm_one = run_warm(&warm, task);
        let (cold, warm) = (told(&cold, cold_one), told(&warm, &warm_one));
        if cold != warm {
            differences.push(format!("{}\n  cold {cold}\n  warm {warm}", &task["params"]["code"]));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let failed = run_warm(&warm, &node("throw new Error('plain')"));
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("Error: plain")), "{failed}");
    assert_eq!(stdout(&run_warm(&warm, &node(IS_WARM))), "true\n", "and they were started ahead");
}

#[test]
fn a_warm_task_is_a_process_that_was_there_before() {
    let daemon = warm();
    let known: Vec<(i32, Option<u64>)> = waiting(&daemon).into_iter().map(|pid| (pid, start_time(pid))).collect();
    let shown =
        run_warm(&daemon, &node("console.log(process.pid, require('fs').readFileSync('/proc/self/stat', 'utf8'))"));
    let pid: i32 = stdout(&shown).split(' ').next().and_then(|pid| pid.parse().ok()).expect("a pid");
    let (_, started) = known.iter().find(|(known, _)| *known == pid).unwrap_or_else(|| panic!("{pid} of {known:?}"));
    let told = stdout(&shown).rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok());
    assert_eq!(told, *started, "{shown}");
    until("another waits in its place", || waiting(&daemon).len() == known.len());
    assert!(!waiting(&daemon).contains(&pid), "each is for one task");
}

#[test]
fn what_a_warm_task_may_not_have_it_does_not_get() {
    let daemon = warm();
    let greedy = format!("{IS_WARM}const kept = []; for (;;) kept.push(Buffer.allocUnsafeSlow(64 << 20))");
    let shown = run_warm(&daemon, &with(node(&greedy), "limits", json!({"memory": "1GiB"})));
    assert_eq!(shown["status"], "failed", "{shown}");
    assert!(shown["attempts"][0]["max_rss"].as_i64().is_some_and(|most| most < 1 << 30), "{shown}");
    assert!(shown["result"]["stderr"].as_str().is_some_and(|said| said.to_lowercase().contains("alloc")), "{shown}");
    assert_eq!(stdout(&shown), "true\n", "{shown}");
}

#[test]
fn nothing_of_one_task_is_visible_in_the_next() {
    let daemon = warm();
    let stain = node(
        "globalThis.stain = Array.prototype.stain = process.stain = fs.stain = 1; process.env.STAIN = '1'; process.umask(0o777);
process.chdir('/'); require.cache.stain = module; fs.openSync('/proc/self/fd/1'); console.log(Math.random())",
    );
    let look = node(
        "console.log([globalThis, [], process, fs, process.env, require.cache].map(x => 'stain' in x), 'STAIN' in process.env,
process.umask().toString(8), process.cwd(), fs.readdirSync('/proc/self/fd').length)",
    );
    let before = run_warm(&daemon, &look);
    let stained = daemon.run(&vec![stain; 20]);
    let after = daemon.run(&vec![look; 20]);
    assert!(after.iter().all(|task| stdout(task) == stdout(&before)), "{before} {after:?}");
    let numbers: std::collections::BTreeSet<&str> = stained.iter().map(stdout).collect();
    assert_eq!(numbers.len(), 20, "each has random numbers of its own: {numbers:?}");
}

#[test]
fn a_death_without_a_task_is_no_tasks_death() {
    let daemon = warm();
    for pid in waiting(&daemon) {
        signal(pid, "KILL");
    }
    let shown = daemon.run(&vec![node("console.log('done')"); 4]);
    for task in &shown {
        let attempts = task["attempts"].as_array().map(Vec::len);
        assert_eq!((&task["status"], stdout(task), attempts), (&json!("completed"), "done\n", Some(1)), "{task}");
    }
    assert_eq!(stdout(&run_warm(&daemon, &node(IS_WARM))), "true\n");
}

#[test]
fn a_process_that_dies_before_it_begins_costs_its_task_nothing() {
    let daemon = warm();
    for pid in waiting(&daemon) {
        // It is taken, and dies of the signal that waits for it.
        signal(pid, "STOP");
    }
    let stopped = started_ahead(&daemon);
    let id = daemon.ok(json!({"action": "add_batch", "tasks": [node(&format!("{IS_WARM}console.log('once')"))]}))["first_task_id"].clone();
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    for pid in stopped {
        signal(pid, "KILL");
    }
    daemon.wait();
    let shown = daemon.ok(json!({"action": "show", "task_id": id}));
    let attempts = shown["attempts"].as_array().map(Vec::len);
    assert_eq!((stdout(&shown), attempts, &shown["interruptions"]), ("false\nonce\n", Some(1), &json!(0)), "{shown}");
}

#[test]
fn a_cancel_before_it_begins_is_a_cancel() {
    let daemon = warm();
    for pid in waiting(&daemon) {
        signal(pid, "STOP");
    }
    let added = daemon.ok(json!({"action": "add_batch", "tasks": [node("console.log('never')")]}));
    let id = added["first_task_id"].clone();
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    daemon.ok(json!({"action": "cancel", "task_id": id}));
    daemon.wait();
    let shown = daemon.ok(json!({"action": "show", "task_id": id}));
    let attempts = shown["attempts"].as_array().map(Vec::len);
    assert_eq!((&shown["status"], stdout(&shown), attempts), (&json!("cancelled"), "", Some(1)), "{shown}");
}

#[test]
fn warm_tasks_go_on_under_the_next_daemon() {
    let mut daemon = warm();
    let file = daemon.work().join("go");
    let wait = format!(
        "(function look() {{ fs.existsSync({:?}) ? console.log('done') : setTimeout(look, 10) }})()",
        file.display().to_string()
    );
    daemon.ok(json!({"action": "add_batch", "tasks": vec![node(&wait); 4]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 2}));
    daemon.running(2);
    daemon.kill();
    daemon.serve();
    std::fs::write(file, "").expect("written");
    daemon.wait();
    for task in daemon.tasks().iter().rev().take(4) {
        assert_eq!((stdout(task), &task["interruptions"]), ("done\n", &json!(0)), "{task}");
    }
}

/// A task with children that left its session and group: all write their pids.
fn escaping(work: &Path) -> (Value, Vec<PathBuf>) {
    let (own, other) = (work.join("own"), work.join("other"));
    let code = format!(
        "{IS_WARM}
require('child_process').execFileSync('setsid', ['-f', 'sh', '-c', 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600'], {{ stdio: 'ignore' }});
fs.writeFileSync('{1}.new', String(process.pid)); fs.renameSync('{1}.new', '{1}');
setTimeout(() => {{}}, 600000)",
        other.display(),
        own.display()
    );
    (node(&code), vec![own, other])
}

fn pids(files: &[PathBuf]) -> Vec<i32> {
    let pid = |file: &PathBuf| std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    until("the processes have written their pids", || files.iter().all(|file| pid(file).is_some()));
    files.iter().filter_map(pid).collect()
}

fn all_gone(pids: &[i32]) {
    until("all processes are gone", || !pids.iter().any(|pid| lives(*pid)));
}

#[test]
fn nothing_is_left_of_a_warm_task_whose_keeper_is_killed() {
    let daemon = warm();
    let (task, files) = escaping(&daemon.work());
    let id = daemon.ok(json!({"action": "add_batch", "tasks": [task]}))["first_task_id"].clone();
    daemon.ok(json!({"action": "start"}));
    let mut left = pids(&files);
    left.extend(started_ahead(&daemon));
    signal(daemon.keeper_pid(), "KILL");
    all_gone(&left);
    let again = daemon.until(&json!({"action": "show", "task_id": id}), |task| task["interruptions"] == 1);
    assert_eq!(again["attempts"][0]["cause"], "keeper_lost", "{again}");
}

#[test]
fn nothing_is_left_of_a_warm_task_that_was_cancelled() {
    let daemon = warm();
    let (task, files) = escaping(&daemon.work());
    let id = daemon.ok(json!({"action": "add_batch", "tasks": [task]}))["first_task_id"].clone();
    daemon.ok(json!({"action": "start"}));
    let left = pids(&files);
    daemon.ok(json!({"action": "cancel", "task_id": id}));
    daemon.wait();
    all_gone(&left);
    let shown = daemon.ok(json!({"action": "show", "task_id": id}));
    assert_eq!((&shown["status"], &shown["signal"]), (&json!("cancelled"), &json!(15)), "{shown}");
    assert_eq!(stdout(&shown), "true\n", "it was warm");
}

#[test]
fn what_escaped_from_a_task_that_runs_is_left_alone() {
    let daemon = warm();
    let (task, files) = escaping(&daemon.work());
    daemon.ok(json!({"action": "add_batch", "tasks": [task]}));
    daemon.ok(json!({"action": "start"}));
    let left = pids(&files);
    // Each death is an occasion to look for orphans.
    daemon.ok(json!({"action": "add_batch", "tasks": vec![node("0"); 3]}));
    daemon.ok(json!({"action": "start"}));
    daemon.until(&json!({"action": "status"}), |data| data["counts"]["completed"] == 4);
    assert!(left.iter().all(|pid| lives(*pid)), "{left:?}");
}

#[test]
fn nothing_waits_after_a_stop() {
    let daemon = warm();
    let waiting = waiting(&daemon);
    assert!(!waiting.is_empty());
    let stopped = daemon.cli(&["daemon", "stop"]);
    assert!(stopped.status.success(), "{stopped:?}");
    all_gone(&waiting);
}

/// A daemon that finds a script in the place of Node.js; `begin`: what that does before it becomes the true one.
fn with_script(bin: &Path, begin: &str) -> Daemon {
    let real = std::env::var("PATH").expect("a PATH");
    let program = bin.join("node");
    std::fs::write(&program, format!("#!/bin/sh\nPATH='{real}'\n{begin}\nexec node \"$@\"\n")).expect("a script");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    let mut daemon = configured();
    daemon.set("PATH", &format!("{}:{real}", bin.display()));
    daemon.serve();
    daemon
}

#[test]
fn a_script_that_becomes_the_interpreter_may_stand_for_it() {
    let bin = tempfile::tempdir().expect("a folder");
    let daemon = with_script(bin.path(), "");
    daemon.run(&[node("0")]);
    assert_eq!(stdout(&run_warm(&daemon, &node(IS_WARM))), "true\n");
}

#[test]
fn an_interpreter_of_no_use_costs_the_warmth_alone() {
    let bin = tempfile::tempdir().expect("a folder");
    let note = bin.path().join("tried");
    // Cold it works; what is to wait it ends, and leaves a note.
    let begin = format!("case \"$2\" in *'started ahead'*) echo >> {}; exit 3;; esac", note.display());
    let daemon = with_script(bin.path(), &begin);
    let tried = || std::fs::read_to_string(&note).unwrap_or_default().len();
    daemon.run(&[node("0")]);
    until("it was tried", || tried() >= 3);
    let shown = daemon.run(&vec![node(IS_WARM); 20]);
    assert!(shown.iter().all(|task| stdout(task) == "false\n"), "{shown:?}");
    // After the third death; by then as many as wait at most were started beside it.
    assert!(tried() <= 6, "it is not tried again at once, but was {} times", tried());
}

#[test]
fn the_setting_is_shown_and_what_is_wrong_is_named() {
    let daemon = configured();
    let shown = String::from_utf8(daemon.cli(&["config"]).stdout).expect("text");
    assert!(shown.contains("runtimes.nodejs") && shown.contains("\"warm\":true"), "{shown}");
    let doctor = String::from_utf8(daemon.cli(&["doctor"]).stdout).expect("text");
    assert!(doctor.lines().any(|line| line.contains("warm nodejs") && line.contains("on")), "{doctor}");
    for (text, said) in [
        ("[runtimes.nodejs]\nwram = true\n", "wram"),
        ("[runtimes.nodejs]\nwarm = \"yes\"\n", "boolean"),
        ("[runtimes.nodejs]\nimports = [\"fs\"]\n", "imports"),
    ] {
        configure(&daemon, text);
        let refused = daemon.cli(&["config"]);
        let text = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(78), "{text}");
        assert!(text.contains(said) && text.contains("config.toml:"), "{text}");
    }
}

#[test]
fn tasks_run_cold_where_it_is_off() {
    let daemon = Daemon::start();
    let shown = daemon.run(&vec![node(IS_WARM); 3]);
    assert!(shown.iter().all(|task| stdout(task) == "false\n"), "{shown:?}");
}
