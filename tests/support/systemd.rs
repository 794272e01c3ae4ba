//! A machine with systemd (`systemd.sh`): a real `systemd --user`, a real journald, and control groups of its own.
#![expect(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The user, as `systemd.sh` has it.
const USER: &str = "1000";

/// The program, as this machine has it.
pub const PROGRAM: &str = "/opt/batch-executor";

/// Ended when dropped, with all that runs under it.
pub struct Systemd {
    folder: tempfile::TempDir,
    child: Child,
    /// The process whose namespaces are the machine.
    pid: String,
}

impl Systemd {
    /// None, and why is said, where namespaces or control groups cannot be had.
    pub fn of_a_user() -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("bx-").tempdir().expect("a folder");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("ours");
        let why = folder.path().join("why-not");
        let mut child = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child"])
            .arg(support("systemd.sh"))
            .args([env!("CARGO_BIN_EXE_batch-executor").as_ref(), folder.path()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&why).expect("a file"))
            .spawn()
            .expect("unshare");
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut said).expect("a line");
        if let Some(pid) = said.trim().strip_prefix("ready ").map(str::to_owned) {
            return Some(Self { folder, child, pid });
        }
        child.wait().expect("its end");
        let why = std::fs::read_to_string(why).expect("a file");
        assert!(said.starts_with("not run: ") || why.contains("unshare failed"), "{said}{why}");
        eprintln!("not run: no systemd of our own can be had here: {said}{why}");
        None
    }

    /// The user's home folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command of root's there, with the user's variables.
    pub fn as_root(&self, program: &Path) -> Command {
        self.enter(&[], program)
    }

    /// A command of the user's.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.enter(&["--setuid", USER, "--setgid", USER], Path::new(program));
        command.args(arguments);
        command
    }

    /// Runs it.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.command(program, arguments).stdin(Stdio::null()).output().expect("nsenter")
    }

    fn enter(&self, user: &[&str], program: &Path) -> Command {
        let mut path = self.folder().join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").expect("a path"));
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid, "--mount", "--pid", "--cgroup"])
            .arg(format!("--wd={}", self.folder().display()))
            .args(user)
            .arg(program)
            .env_clear()
            .envs([("HOME", self.folder().as_os_str()), ("PATH", &path)])
            .env("XDG_RUNTIME_DIR", format!("/run/user/{USER}"));
        command
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// A script of this folder.
pub fn support(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(name)
}
