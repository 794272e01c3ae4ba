//! Other users, and what somebody put in the way: refused in one sentence, or replaced, and never written through.
//!
//! Only root can be several users; elsewhere the tests about them say that they did not run.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use support::{Daemon, shell};

const STRANGER: u32 = 65534;
const NEIGHBOUR: u32 = 65533;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("not run: only root can be several users");
    }
    root
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().expect("a file").permissions().mode() & 0o7777
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A command that `user` carries out.
fn as_user(user: u32, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--clear-groups", &format!("--reuid={user}"), &format!("--regid={user}")]).arg(program);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir("/").stdin(Stdio::null());
    command
}

/// The program where everybody can run it.
fn program_for_all(folder: &Path) -> PathBuf {
    let program = folder.join("program");
    fs::copy(env!("CARGO_BIN_EXE_batch-executor"), &program).expect("a copy");
    program
}

#[test]
fn another_user_is_refused_also_where_the_socket_was_opened_by_hand() {
    if !is_root() {
        return;
    }
    let daemon = Daemon::start();
    let root = daemon.home().parent().expect("a folder").to_owned();
    set_mode(&root, 0o755);
    let program = program_for_all(&root);
    let add = |home: &Path| {
        as_user(STRANGER, &program)
            .args(["add", "n", "--function", "simulate", "--no-autostart", "--home"])
            .arg(home)
            .output()
            .expect("the program runs")
    };
    let refused = add(&daemon.home());
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    assert!(stderr(&refused).contains("not allowed to use"), "{refused:?}");
    set_mode(&daemon.home(), 0o777);
    set_mode(&daemon.home().join("daemon.sock"), 0o666);
    let refused = add(&daemon.home());
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    assert!(stderr(&refused).contains("this daemon serves its own user only"), "{refused:?}");
    set_mode(&daemon.home(), 0o700);
    assert_eq!(daemon.ok(json!({"action": "status"}))["counts"]["total"], 0);
}

#[test]
fn a_client_says_nothing_to_another_users_daemon() {
    if !is_root() {
        return;
    }
    let daemon = Daemon::home_only();
    let (home, root) = (daemon.home(), daemon.home().parent().expect("a folder").to_owned());
    set_mode(&root, 0o755);
    let program = program_for_all(&root);
    fs::create_dir(&home).expect("a folder");
    set_mode(&home, 0o777);
    let heard = root.join("heard");
    fs::create_dir(&heard).expect("a folder");
    set_mode(&heard, 0o777);
    let mut impostor = as_user(STRANGER, Path::new("sh"))
        .args(["-c", "exec nc -lU \"$0/daemon.sock\" > \"$1/bytes\""])
        .args([&home, &heard])
        .spawn()
        .expect("a shell");
    let begun = std::time::Instant::now();
    while !home.join("daemon.sock").exists() {
        assert!(begun.elapsed() < PATIENCE && impostor.try_wait().is_ok_and(|ended| ended.is_none()), "no impostor");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    set_mode(&home.join("daemon.sock"), 0o777);
    chown(&home, Some(NEIGHBOUR), Some(NEIGHBOUR)).expect("given away");
    set_mode(&home, 0o755);
    let refused = as_user(NEIGHBOUR, Path::new("timeout"))
        .arg("20")
        .arg(&program)
        .args(["status", "--home"])
        .arg(&home)
        .output()
        .expect("runs");
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    assert!(stderr(&refused).contains("the user with uid 65534 serves it"), "{refused:?}");
    impostor.wait().expect("its end");
    assert_eq!(fs::read(heard.join("bytes")).expect("a file"), b"", "what it heard");
}

#[test]
fn a_home_of_somebody_else_is_refused() {
    if !is_root() {
        return;
    }
    for folder in ["", "output", "run"] {
        let daemon = Daemon::home_only();
        let place = daemon.home().join(folder);
        fs::create_dir_all(&place).expect("a folder");
        set_mode(&daemon.home(), 0o700);
        chown(&place, Some(STRANGER), None).expect("given away");
        for arguments in [&["daemon"][..], &["status"]] {
            let refused = daemon.refusing(arguments);
            assert_eq!(refused.status.code(), Some(77), "{folder} {refused:?}");
            assert!(stderr(&refused).contains("belongs to the user with uid 65534"), "{refused:?}");
        }
        assert!(!daemon.home().join("queue.db").exists());
    }
}

#[test]
fn a_home_into_which_others_may_have_put_something_is_refused() {
    let daemon = Daemon::home_only();
    fs::create_dir(daemon.home()).expect("a folder");
    fs::write(daemon.home().join("daemon.lock"), "").expect("a file");
    for open in [0o777, 0o770] {
        set_mode(&daemon.home(), open);
        for arguments in [&["daemon"][..], &["status"]] {
            let refused = daemon.refusing(arguments);
            assert_eq!(refused.status.code(), Some(78), "{refused:?}");
            assert!(stderr(&refused).contains(&format!("(mode {open:04o})")), "{refused:?}");
            assert!(stderr(&refused).contains("chmod 700"), "{refused:?}");
        }
        assert_eq!(mode(&daemon.home()), open, "left as it was");
    }
    assert!(!daemon.home().join("queue.db").exists());
}

#[test]
fn an_empty_folder_that_is_open_to_others_is_closed() {
    let mut daemon = Daemon::home_only();
    fs::create_dir(daemon.home()).expect("a folder");
    set_mode(&daemon.home(), 0o777);
    daemon.serve();
    assert_eq!(mode(&daemon.home()), 0o700);
}

/// A file that must stay as it is, and a link to it at `place`.
fn trap(daemon: &Daemon, place: &str) -> PathBuf {
    let victim = daemon.work().join(format!("victim of {}", place.replace('/', " ")));
    fs::write(&victim, "precious").expect("a file");
    let place = daemon.home().join(place);
    drop(fs::remove_file(&place));
    symlink(&victim, place).expect("a link");
    victim
}

fn unharmed(victim: &Path) {
    assert_eq!(fs::read_to_string(victim).expect("the file"), "precious", "{victim:?}");
}

#[test]
fn a_link_in_the_place_of_what_is_kept_is_refused() {
    for place in ["daemon.lock", "keeper.lock", "keeper.ends", "queue.db", "daemon.log"] {
        let daemon = Daemon::home_only();
        fs::create_dir(daemon.home()).expect("a folder");
        set_mode(&daemon.home(), 0o700);
        let victim = trap(&daemon, place);
        // The log is only written by a daemon that a client has started.
        let refused = daemon.refusing(if place == "daemon.log" { &["status"] } else { &["daemon"] });
        assert_eq!(refused.status.code(), Some(77), "{place}: {refused:?}");
        assert!(stderr(&refused).contains("is a symbolic link"), "{place}: {refused:?}");
        unharmed(&victim);
    }
}

#[test]
fn a_pipe_in_the_place_of_the_log_holds_nobody_up() {
    let daemon = Daemon::home_only();
    fs::create_dir(daemon.home()).expect("a folder");
    set_mode(&daemon.home(), 0o700);
    nix::unistd::mkfifo(&daemon.home().join("daemon.log"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let refused = daemon.refusing(&["status"]);
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
}

#[test]
fn a_link_in_the_place_of_what_is_made_anew_is_replaced() {
    let mut daemon = Daemon::home_only();
    for folder in ["", "output", "run"] {
        fs::create_dir(daemon.home().join(folder)).expect("a folder");
        set_mode(&daemon.home().join(folder), 0o700);
    }
    let mut victims: Vec<_> =
        ["daemon.sock", "daemon.new", "keeper.sock", "keeper.slots"].map(|p| trap(&daemon, p)).into();
    daemon.serve();
    victims.extend(
        ["output/1-1.log", "output/1-1.tail1", "output/1-1.tail2", "run/2-1.sh", "run/3-1.stdin"]
            .map(|p| trap(&daemon, p)),
    );
    let long = "#".repeat(200_000);
    let mut tasks = [shell("yes a line | head -c 300000"), shell(&format!("echo {long}\necho done")), shell("cat")];
    tasks[2]["params"]["stdin"] = json!(long);
    daemon.ok(json!({"action": "add_batch", "tasks": tasks}));
    daemon.ok(json!({"action": "start"}));
    assert_eq!(daemon.wait()["counts"]["completed"], 3, "{:?}", daemon.tasks());
    assert_eq!(daemon.ok(json!({"action": "logs", "task_id": 1}))["size"], 300_000);
    assert_eq!(daemon.ok(json!({"action": "logs", "task_id": 3}))["size"], 200_000);
    assert!(daemon.home().join("keeper.slots").symlink_metadata().expect("a table").is_file());
    victims.iter().for_each(|victim| unharmed(victim));
}

#[test]
fn an_export_replaces_a_link_and_never_writes_through_it() {
    let daemon = Daemon::start();
    let victim = daemon.work().join("victim");
    let link = daemon.work().join("results.json");
    fs::write(&victim, "precious").expect("a file");
    symlink(&victim, &link).expect("a link");
    let export =
        |overwrite: bool| daemon.call(&json!({"action": "export", "output_file": link, "overwrite": overwrite}));
    assert_eq!(export(false)["error"]["code"], "conflict");
    assert_eq!(export(true)["ok"], true);
    assert!(link.symlink_metadata().expect("the export").is_file());
    unharmed(&victim);
}

#[test]
fn whatever_the_umask_what_is_written_is_its_users_alone() {
    let daemon = Daemon::home_only();
    let program = env!("CARGO_BIN_EXE_batch-executor");
    let mut open = Command::new("sh");
    open.args(["-c", "umask 0; exec \"$0\" status", program])
        .envs(daemon.command(&[]).get_envs().filter_map(|(n, v)| Some((n, v?))));
    assert!(open.stdin(Stdio::null()).output().expect("runs").status.success());
    let long = "#".repeat(200_000);
    let code = format!(
        "yes a line | head -c 300000; while [ ! -e {} ]; do sleep 0.01; done",
        daemon.work().join("gate").display()
    );
    let mut running = shell(&format!("{code}\n{long}"));
    running["params"]["stdin"] = json!(long);
    daemon.ok(json!({"action": "add_batch", "tasks": [running]}));
    daemon.ok(json!({"action": "start"}));
    daemon.running(1);
    let size = |data: &Value| data["size"].as_i64() == Some(300_000);
    daemon.until(&json!({"action": "logs", "task_id": 1, "follow": true}), size);
    let exported = daemon.work().join("results.csv");
    daemon.ok(json!({"action": "export", "format": "csv", "output_file": exported}));
    assert_eq!(mode(&exported), 0o600);
    let mut seen = Vec::new();
    let mut folders = vec![daemon.home()];
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{folder:?}");
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{path:?}");
                seen.push(path.file_name().expect("a name").to_string_lossy().into_owned());
            }
        }
    }
    let wanted = ["daemon.lock", "daemon.log", "daemon.sock", "keeper.lock", "keeper.slots", "keeper.sock", "queue.db"];
    for name in wanted.iter().chain(&["1-1.log", "1-1.sh", "1-1.stdin"]) {
        assert!(seen.iter().any(|found| found == name), "no {name} in {seen:?}");
    }
    assert_eq!(daemon.home().metadata().expect("the home").uid(), nix::unistd::geteuid().as_raw());
    fs::write(daemon.work().join("gate"), "").expect("the gate opens");
    daemon.wait();
}
