//! Warm runtimes: a task in a fork of a prepared interpreter sees what it would see otherwise, and dies as it would.

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::{Daemon, lives, python, signal, until};

/// Says with `WARM` whether it runs in a fork: there are frames beneath its own.
const IS_WARM: &str = "import sys\nprint(sys._getframe().f_back is not None)";

fn configure(daemon: &Daemon, text: &str) {
    let folder = daemon.home().parent().expect("a root").join("config/batch-executor");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("config.toml"), text).expect("a configuration");
}

/// A daemon whose tasks in Python run in forks that are there.
fn warm(imports: &str) -> Daemon {
    let mut daemon = Daemon::home_only();
    configure(&daemon, &format!("[runtimes.python]\nwarm = true\nimports = {imports}\n"));
    daemon.serve();
    until_warm(&daemon);
    daemon
}

/// Runs tasks until one runs in a fork: the first start the fork-server and run cold.
fn until_warm(daemon: &Daemon) {
    for _ in 0..200 {
        let shown = daemon.run(&[python(&format!("{IS_WARM}\nimport time; time.sleep(0.05)"))]);
        if stdout(&shown[0]) == "True\n" {
            return;
        }
    }
    panic!("never warm\n{}", daemon.log());
}

fn stdout(task: &Value) -> &str {
    task["result"]["stdout"].as_str().unwrap_or_else(|| panic!("{task}"))
}

fn with(mut task: Value, field: &str, value: Value) -> Value {
    task[field] = value;
    task
}

fn param(mut task: Value, name: &str, value: Value) -> Value {
    task["params"][name] = value;
    task
}

fn function(code: &str, args: Value) -> Value {
    json!({"name": "f", "function": "custom_function", "params": {"code": code, "args": args}, "max_retries": 0})
}

/// Tasks that tell what they see. What differs from run to run (pids, ids) they leave out.
fn tellers() -> Vec<Value> {
    let long = format!("print(len({:?}), __file__[-5:], __name__)", "x".repeat(120 * 1024));
    let mut tellers: Vec<Value> = [
        "import os; print(sorted((k, v) for k, v in os.environ.items() if not k.startswith('BATCH_EXECUTOR_')))",
        "import os; print(sorted(k for k in os.environ if k.startswith('BATCH_EXECUTOR_')))",
        "import os; print(os.environ['BATCH_EXECUTOR_ATTEMPT'], os.getenv('BATCH_EXECUTOR_HOME'))",
        "import subprocess; print(subprocess.run(['env'], capture_output=True, text=True).stdout.count('\\n'))",
        "import os; print(os.getcwd(), os.path.realpath('/proc/self/cwd'))",
        "import os; print(os.getpid() == os.getsid(0) == os.getpgid(0))",
        "import os, sys; print(os.getppid() > 1, sys.argv, sys.orig_argv[:2], sys.path[0], sys.executable, sys.flags)",
        "print(__name__, __file__ if '__file__' in globals() else None, sorted(globals()), __builtins__, __spec__, __loader__)",
        "import sys; print('out'); print('err', file=sys.stderr); print('out 2'); sys.stderr.write('no newline')",
        "import os; os.write(1, b'\\xff\\x00raw'); os._exit(7)",
        "import sys; sys.exit(3)",
        "import sys; sys.exit('a sentence')",
        "raise SystemExit",
        "def f():\n    return 1 / 0\nf()",
        "this is no python",
        "raise KeyboardInterrupt",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "import sys\nsys.excepthook = lambda *e: print('mine', e[0].__name__)\n[][1]",
        "import atexit, threading, time\natexit.register(print, 'at exit')\nthreading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()",
        "f = open('left_open', 'w'); f.write('kept'); f2 = f",
        "print(open('left_open').read())",
        "class D:\n    def __del__(self): print('deleted')\nd = D()\nd.me = d",
        "import os; print(sorted(os.readlink('/proc/self/fd/%s' % n).split(':')[0] for n in os.listdir('/proc/self/fd') if n in '012'), len(os.listdir('/proc/self/fd')))",
        "import signal; print([signal.getsignal(n) for n in (1, 2, 13, 15, 17)], signal.pthread_sigmask(0, []))",
        "import resource as r, os; print([r.getrlimit(n) for n in range(10)], os.nice(0), '%03o' % os.umask(0))",
        "print([l for l in open('/proc/self/status') if l.startswith(('SigP', 'SigB', 'SigI', 'SigC', 'Shd', 'NoNew', 'Threads'))])",
        "import sys; print(sys.stdin.read(), sys.stdin.isatty(), sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.line_buffering, sys.stdout.write_through)",
        "import json; print(json.dumps({'a': [1, 2]}))",
        "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))))",
        "import multiprocessing as m\nif __name__ == '__main__':\n    with m.get_context('fork').Pool(2) as p: print(p.map(abs, [-1, -2]))",
        "import asyncio\nasync def f(): return 5\nprint(asyncio.run(f()))",
        "from __future__ import annotations\nx: int = 1\nprint(__annotations__)",
        "import sys; sys.stdout.close()",
        "import warnings; warnings.warn('w', DeprecationWarning)",
        "import threading, os; print(threading.current_thread() is threading.main_thread(), len(os.listdir('/proc/self/task')))",
        "import ctypes; n = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(n)); print(n.value)",
        "b = bytearray(50 << 20); print(len(b)); raise MemoryError",
        &long,
    ]
    .into_iter()
    .map(python)
    .collect();
    let all = json!({"memory": "512MiB", "cpu": 100, "open_files": 99, "nice": 7, "ionice": "idle", "umask": "027"});
    let tell = "import os, resource as r, subprocess\nprint([r.getrlimit(n) for n in range(10)], os.nice(0), '%03o' % os.umask(0), subprocess.run('ionice', capture_output=True).stdout)";
    tellers.extend([
        with(python(tell), "limits", all),
        with(python("while True: pass"), "limits", json!({"cpu": 1})),
        with(python("b = bytearray(1 << 30)"), "limits", json!({"memory": "256MiB"})),
        with(python("import time; time.sleep(60)"), "timeout", json!(0.3)),
        param(python("import sys; print(sys.stdin.read())"), "stdin", json!("given é")),
        param(python("import sys; print(len(sys.stdin.read()))"), "stdin", json!("x".repeat(300_000))),
        param(python("import os; print(os.environ['OWN'], os.getenv('OWN'))"), "env", json!({"OWN": "é=\n1"})),
        param(python("import time; print(time.tzname)"), "env", json!({"TZ": "Asia/Tokyo"})),
        param(python("import os; print(os.getcwd())"), "cwd", json!("/")),
        param(python("import sub; print(sub.__file__)"), "cwd", json!("module")),
        param(python("import sub; print(sub.x)"), "env", json!({"PYTHONPATH": "module"})),
        function(
            "def process(a, b=2):\n    print('printed')\n    return {'sum': a + b, 'name': __name__}",
            json!({"a": 1}),
        ),
        function("def process(): return 1", json!({"a": 1})),
        function("def process(): return 1 / 0", json!({})),
        function("nothing = 1", json!({})),
        function("def process(): import os; os._exit(0)", json!({})),
        function("async def process(t): return len(t)", json!({"t": "x".repeat(200_000)})),
        function(
            "import dataclasses\n@dataclasses.dataclass\nclass A: x: int\ndef process(): return A(3).x",
            json!({}),
        ),
    ]);
    tellers
}

#[test]
fn a_warm_task_sees_and_gives_what_a_cold_one_does() {
    let cold = Daemon::start();
    let warm = warm("[\"json\", \"decimal\"]");
    for daemon in [&cold, &warm] {
        std::fs::create_dir(daemon.work().join("module")).expect("a folder");
        std::fs::write(daemon.work().join("module/sub.py"), "x = 17\n").expect("a module");
    }
    let tellers = tellers();
    let place = |daemon: &Daemon| daemon.home().parent().expect("a root").display().to_string();
    let told = |daemon: &Daemon| {
        // One after the other: some look at what an earlier one left.
        daemon.ok(json!({"action": "start", "max_concurrent": 1, "keep": true}));
        let shown = daemon.run(&tellers);
        shown
            .into_iter()
            .map(|task| {
                let fields = ["status", "error", "exit_code", "signal", "result"];
                let text = json!(fields.map(|field| task[field].clone())).to_string();
                text.replace(&place(daemon), "ROOT")
            })
            .collect::<Vec<_>>()
    };
    let pairs = tellers.iter().zip(told(&cold)).zip(told(&warm));
    let differences: Vec<String> = pairs
        .filter(|((_, cold), warm)| cold != warm)
        .map(|((task, cold), warm)| format!("{}\n  cold {cold}\n  warm {warm}", &task["params"]["code"]))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let shown = warm.run(&[python(IS_WARM)]);
    assert_eq!(stdout(&shown[0]), "True\n", "and they were forks");
}

#[test]
fn nothing_of_one_task_is_visible_in_the_next() {
    let daemon = warm("[\"json\", \"random\"]");
    let stain = "import os, sys, json, builtins, random
json.stain = builtins.stain = sys.stain = 1
os.environ['STAIN'] = '1'; os.umask(0o777); os.chdir('/')
sys.path.insert(0, '/stain'); sys.modules['stain'] = json
open('/proc/self/fd/1')
print(random.random())";
    let look = "import os, sys, json, builtins
print([hasattr(x, 'stain') for x in (json, builtins, sys)], 'STAIN' in os.environ, 'stain' in sys.modules, '/stain' in sys.path, '%03o' % os.umask(0), os.getcwd())";
    let before = daemon.run(&[python(look)]);
    let stained = daemon.run(&vec![python(stain); 20]);
    let after = daemon.run(&vec![python(look); 20]);
    assert!(after.iter().all(|task| stdout(task) == stdout(&before[0])), "{after:?}");
    let numbers: std::collections::BTreeSet<&str> = stained.iter().map(stdout).collect();
    assert_eq!(numbers.len(), 20, "each has random numbers of its own: {numbers:?}");
}

/// The fork-servers of a daemon's keeper.
fn servers(daemon: &Daemon) -> Vec<i32> {
    let keeper = daemon.keeper_pid();
    let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).expect("children");
    let is_server = |pid: &i32| {
        let text = |what: &str| std::fs::read_to_string(format!("/proc/{pid}/{what}")).unwrap_or_default();
        // A fork has a group of its own and a socket; the server is the one that has been there longest.
        text("cmdline").contains("a fork-server of warm tasks")
    };
    let mut found: Vec<i32> =
        children.split_whitespace().map(|pid| pid.parse().expect("a pid")).filter(is_server).collect();
    found.sort_by_key(|pid| start_time(*pid));
    found
}

fn start_time(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok()).unwrap_or(u64::MAX)
}

#[test]
fn a_fork_servers_death_is_no_tasks_death() {
    let daemon = warm("[]");
    let file = daemon.work().join("go");
    let wait = format!(
        "import os, time\nwhile not os.path.exists({:?}): time.sleep(0.01)\nprint('done')",
        file.display().to_string()
    );
    let added = daemon.ok(json!({"action": "add_batch", "tasks": vec![python(&wait); 6]}));
    daemon.ok(json!({"action": "start", "max_concurrent": 2}));
    daemon.running(2);
    signal(servers(&daemon)[0], "KILL");
    std::fs::write(file, "").expect("written");
    daemon.wait();
    for id in added["task_ids"].as_array().expect("ids") {
        let task = daemon.ok(json!({"action": "show", "task_id": id}));
        assert_eq!(
            (&task["status"], stdout(&task), &task["attempts"].as_array().map(Vec::len)),
            (&json!("completed"), "done\n", &Some(1))
        );
    }
    until_warm(&daemon);
}

#[test]
fn warm_tasks_go_on_under_the_next_daemon() {
    let mut daemon = warm("[]");
    let file = daemon.work().join("go");
    let wait = format!(
        "import os, time\nwhile not os.path.exists({:?}): time.sleep(0.01)\nprint('done')",
        file.display().to_string()
    );
    daemon.ok(json!({"action": "add_batch", "tasks": vec![python(&wait); 4]}));
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

/// A warm task with a child that left its session and group: both write their pids.
fn escaping(work: &std::path::Path) -> (Value, Vec<PathBuf>) {
    let (own, plain, execed) = (work.join("own"), work.join("plain"), work.join("execed"));
    let code = format!(
        "import os, subprocess, time
def note(path, pid):
    with open(path + '.new', 'w') as file: file.write(str(pid))
    os.rename(path + '.new', path)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        note({plain:?}, os.getpid())
        time.sleep(600)
    os._exit(0)
os.wait()
subprocess.run(['setsid', '-f', 'sh', '-c', 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600'])
note({own:?}, os.getpid())
time.sleep(600)",
        execed.display()
    );
    (python(&code), vec![own, plain, execed])
}

fn pids(files: &[PathBuf]) -> Vec<i32> {
    files
        .iter()
        .map(|file| {
            loop {
                match std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()) {
                    Some(pid) if pid > 0 => break pid,
                    _ => std::thread::sleep(std::time::Duration::from_millis(5)),
                }
            }
        })
        .collect()
}

fn all_gone(pids: &[i32]) {
    for pid in pids {
        while lives(*pid) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

#[test]
fn nothing_is_left_of_a_warm_task_whose_keeper_is_killed() {
    let daemon = warm("[]");
    let (task, files) = escaping(&daemon.work());
    let id = daemon.ok(json!({"action": "add_batch", "tasks": [task]}))["first_task_id"].clone();
    daemon.ok(json!({"action": "start"}));
    let mut left = pids(&files);
    left.extend(servers(&daemon));
    signal(daemon.keeper_pid(), "KILL");
    all_gone(&left);
    let again = daemon.until(&json!({"action": "show", "task_id": id}), |task| task["interruptions"] == 1);
    assert_eq!(again["attempts"][0]["cause"], "keeper_lost", "{again}");
}

#[test]
fn nothing_is_left_of_a_warm_task_that_was_cancelled() {
    let daemon = warm("[]");
    let (task, files) = escaping(&daemon.work());
    let id = daemon.ok(json!({"action": "add_batch", "tasks": [task]}))["first_task_id"].clone();
    daemon.ok(json!({"action": "start"}));
    let left = pids(&files);
    daemon.ok(json!({"action": "cancel", "task_id": id}));
    daemon.wait();
    all_gone(&left);
    let shown = daemon.ok(json!({"action": "show", "task_id": id}));
    assert_eq!((&shown["status"], &shown["signal"]), (&json!("cancelled"), &json!(15)), "{shown}");
}

#[test]
fn a_module_that_cannot_be_imported_costs_the_warmth_alone() {
    let mut daemon = Daemon::home_only();
    configure(&daemon, "[runtimes.python]\nwarm = true\nimports = [\"no_such_module\"]\n");
    daemon.serve();
    let shown = daemon.run(&vec![python(IS_WARM); 3]);
    assert!(shown.iter().all(|task| stdout(task) == "False\n"), "{shown:?}");
    // The tasks do not wait for it.
    let log = || std::fs::read_to_string(daemon.home().join("keeper.log")).unwrap_or_default();
    until("the keeper says why", || log().contains("No module named 'no_such_module'"));
    let doctor = String::from_utf8(daemon.cli(&["doctor"]).stdout).expect("text");
    assert!(doctor.contains("No module named 'no_such_module'"), "{doctor}");
}

#[test]
fn the_setting_is_shown_and_what_is_wrong_is_named() {
    let daemon = Daemon::home_only();
    configure(&daemon, "[runtimes.python]\nwarm = true\nimports = [\"json\"]\n");
    let shown = String::from_utf8(daemon.cli(&["config"]).stdout).expect("text");
    assert!(shown.contains("runtimes.python") && shown.contains("\"warm\":true"), "{shown}");
    for (text, said) in [
        ("[runtimes.python]\nwram = true\n", "wram"),
        ("[runtimes.ruby]\nwarm = true\n", "ruby"),
        ("[runtimes.python]\nimports = [\"a b\"]\n", "no module's name"),
    ] {
        configure(&daemon, text);
        let refused = daemon.cli(&["config"]);
        let text = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(78), "{text}");
        assert!(text.contains(said), "{text}");
    }
}
