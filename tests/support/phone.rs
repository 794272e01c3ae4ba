//! A phone, as far as Linux can be one: Termux's layout and nothing else in a mount namespace, an ordinary user, clocks of
//! its own, and Android's filter of system calls, as `docs/architecture.md` says. Needs root.
#![expect(dead_code, reason = "each test file uses a part of it")]

mod android;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::io::{Seek, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde_json::{Value, json};

pub use android::Filter;

use crate::support::{self, until};

pub const PREFIX: &str = "/data/data/com.termux/files/usr";
pub const HOME: &str = "/data/data/com.termux/files/home";
/// The user of an app.
const APP: u32 = 10_123;
/// All the programs that there are.
const PROGRAMS: &[&str] = &[
    "bash", "cat", "env", "ln", "mkdir", "runsv", "runsvdir", "setsid", "sh", "sleep", "sv", "svlogd", "tail", "touch",
    "true",
];
/// What Android denies to apps.
const DENIED: &[&str] = &["stat", "loadavg", "uptime", "vmstat", "version", "sys/kernel/random/boot_id"];
/// How long the phone was up when it starts here.
const UP_S: i64 = 60;

/// A process on the phone, by its pid here.
pub struct Process {
    pub pid: i32,
    pub words: Vec<String>,
    /// The first process of a task's attempt.
    pub leads_task: bool,
}

impl Process {
    pub fn is(&self, word: &str) -> bool {
        self.words.get(1).is_some_and(|is| is == word) && self.words[0].ends_with("batch-executor")
    }
}

type Job = Box<dyn FnOnce(&mut File) + Send>;

/// One that is on: a thread in the phone's namespaces starts all that runs there.
struct On {
    jobs: mpsc::Sender<Job>,
    init: Child,
    namespace: PathBuf,
}

/// A phone with Termux and this program. Dropped, nothing of it is left.
pub struct Phone {
    root: tempfile::TempDir,
    /// What is seen there of this machine, and as what.
    seen: Vec<(PathBuf, PathBuf)>,
    environment: BTreeMap<String, String>,
    /// What runs programs there, as their first line says.
    pub linker: PathBuf,
    /// Python of this machine.
    python: PathBuf,
    on: Option<On>,
    was_on: Vec<On>,
    clocks: Clocks,
}

/// By how many seconds the clocks of a phone differ from this machine's.
#[derive(Debug, Clone, Copy, Default)]
struct Clocks {
    monotonic: i64,
    boottime: i64,
}

impl Clocks {
    /// As they are a short time after a boot.
    fn at_boot() -> Self {
        let seconds = |clock| clock_gettime(clock).expect("a clock").tv_sec();
        let boottime = seconds(ClockId::CLOCK_BOOTTIME);
        let monotonic = seconds(ClockId::CLOCK_MONOTONIC);
        let up = UP_S.min(monotonic);
        Self { monotonic: up - monotonic, boottime: up - boottime }
    }

    /// Those of what this thread starts from here on (time_namespaces(7)); `file`: its offsets.
    fn set(self, file: &mut File) {
        unshare(CloneFlags::from_bits_retain(libc::CLONE_NEWTIME)).expect("a time namespace");
        file.rewind().expect("a file");
        let text = format!("monotonic {} 0\nboottime {} 0\n", self.monotonic, self.boottime);
        file.write_all(text.as_bytes()).expect("offsets");
    }
}

impl Phone {
    /// One that is off.
    pub fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "a phone needs root: mount(2), chroot(2), unshare(2)");
        let root = tempfile::Builder::new().prefix("bx-").tempdir().expect("a temporary folder");
        std::fs::set_permissions(root.path(), Permissions::from_mode(0o755)).expect("ours");
        let (environment, clocks) = (BTreeMap::new(), Clocks::default());
        let [linker, python] = [const { PathBuf::new() }; 2];
        let mut phone =
            Self { root, seen: Vec::new(), environment, linker, python, on: None, was_on: Vec::new(), clocks };
        for folder in ["tmp", "var/service", "var/log", "bin", "lib", "etc/profile.d", "share/termux-services"] {
            std::fs::create_dir_all(phone.path(format!("{PREFIX}/{folder}"))).expect("a folder");
        }
        std::fs::create_dir_all(phone.path(HOME)).expect("a folder");
        for own in [HOME, &format!("{PREFIX}/tmp"), &format!("{PREFIX}/var/service"), &format!("{PREFIX}/var/log")] {
            chown(phone.path(own), Some(APP), Some(APP)).expect("root may");
        }
        phone.install();
        for device in ["/dev/null", "/dev/zero", "/dev/urandom"] {
            phone.show(device, device);
        }
        std::fs::create_dir(phone.path("/proc")).expect("a folder");
        for (name, value) in [
            ("PREFIX", PREFIX),
            ("HOME", HOME),
            ("PATH", &format!("{PREFIX}/bin")),
            ("TMPDIR", &format!("{PREFIX}/tmp")),
            ("TERMUX_VERSION", "0.118.3"),
            ("ANDROID_ROOT", "/system"),
            ("ANDROID_DATA", "/data"),
            ("LANG", "C.UTF-8"),
            // A wall clock of its own: no namespace has one.
            ("BATCH_EXECUTOR_FAILPOINT_CLOCK", &format!("{HOME}/clock")),
        ] {
            phone.set(name, value);
        }
        phone
    }

    /// The programs, with the libraries that they need in the place of Android's own; runit as termux-services has it.
    fn install(&mut self) {
        let says = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().expect("it runs");
            String::from_utf8(output.stdout).expect("text").trim().to_owned()
        };
        let code = "import _ctypes, sys, sysconfig\n\
                    print(sys._base_executable, sysconfig.get_path('stdlib'), _ctypes.__file__)";
        let python = says("python3", &["-c", code]);
        let [python, library, foreign] = python.split(' ').collect::<Vec<_>>()[..] else {
            panic!("no paths: {python}")
        };
        let library = Path::new(library);
        self.show(library, format!("{PREFIX}/lib/{}", library.file_name().expect("a name").display()));
        let path = std::env::var("PATH").expect("a path");
        let found = |name: &str| {
            let folders = path.split(':').map(|folder| Path::new(folder).join(name));
            folders.into_iter().find(|file| file.is_file()).unwrap_or_else(|| panic!("no {name}: tests/setup.sh"))
        };
        let mut programs: BTreeMap<&str, PathBuf> = PROGRAMS.iter().map(|name| (*name, found(name))).collect();
        self.python = python.into();
        programs.insert("python3", self.python.clone());
        programs.insert("batch-executor", env!("CARGO_BIN_EXE_batch-executor").into());
        // What warm Python loads has a library of its own.
        let loaded = programs.values().cloned().chain([PathBuf::from(foreign)]);
        let needed = loaded.map(|file| says("ldd", &[file.to_str().expect("UTF-8")])).collect::<Vec<_>>().join("\n");
        let libraries: BTreeSet<PathBuf> =
            needed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect();
        for (name, program) in programs {
            self.show(program.canonicalize().expect("a program"), format!("{PREFIX}/bin/{name}"));
        }
        let linker = libraries
            .iter()
            .find(|file| file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"ld-")));
        self.linker = linker.expect("a dynamic linker").clone();
        for library in libraries {
            self.show(library.canonicalize().expect("a library"), library);
        }
        let logger = format!(
            "#!{PREFIX}/bin/sh\nservice=${{PWD%/log}}; log=\"$LOGDIR/sv/${{service##*/}}\"\n\
             mkdir -p \"$log\"\nexec svlogd -tt \"$log\"\n"
        );
        let start = format!(
            "export SVDIR={PREFIX}/var/service LOGDIR={PREFIX}/var/log\n(runsvdir \"$SVDIR\" </dev/null >/dev/null 2>&1 &)\n"
        );
        self.write(&format!("{PREFIX}/share/termux-services/svlogger"), &logger);
        self.write(&format!("{PREFIX}/etc/profile.d/start-services.sh"), &start);
    }

    /// Lets something of this machine be seen there.
    fn show(&mut self, here: impl Into<PathBuf>, there: impl AsRef<Path>) {
        let (here, there) = (here.into(), self.path(there));
        std::fs::create_dir_all(there.parent().expect("a folder")).expect("a folder");
        if here.is_dir() {
            std::fs::create_dir_all(&there).expect("a folder");
        } else {
            drop(File::create(&there).expect("a file"));
        }
        self.seen.push((here, there));
    }

    /// Where a path of the phone is here.
    pub fn path(&self, there: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(there.as_ref().strip_prefix("/").expect("an absolute path"))
    }

    pub fn home(&self) -> PathBuf {
        self.path(HOME).join(".local/share/batch-executor")
    }

    /// Writes a program.
    pub fn write(&self, there: &str, text: &str) {
        std::fs::write(self.path(there), text).expect("written");
        std::fs::set_permissions(self.path(there), Permissions::from_mode(0o755)).expect("ours");
    }

    /// Sets a variable for what is started from here on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Sets the wall clock ahead of this machine's.
    pub fn set_clock(&self, ahead_s: i64) {
        let file = self.path(HOME).join("clock");
        std::fs::write(file.with_extension("new"), (ahead_s * 1000).to_string()).expect("written");
        std::fs::rename(file.with_extension("new"), file).expect("renamed");
    }

    /// Switches it on; what is started there is filtered.
    pub fn boots(&mut self, filter: Filter) {
        self.clocks = Clocks::at_boot();
        let clocks = self.clocks;
        let (root, seen, python) = (self.root.path().to_owned(), self.seen.clone(), self.python.clone());
        let denied = self.root.path().join("denied");
        std::fs::write(&denied, "").expect("a file");
        std::fs::set_permissions(&denied, Permissions::from_mode(0o000)).expect("ours");
        let (jobs, waiting) = mpsc::channel::<Job>();
        let (told, booted) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID).expect("namespaces");
            let offsets = format!("/proc/{}/timens_offsets", nix::unistd::gettid());
            let mut offsets = File::options().write(true).open(offsets).expect("a kernel with time namespaces");
            clocks.set(&mut offsets);
            // Takes what nobody reaps any more, as the first process of every machine does. It ends when this process does,
            // and all of the phone with it.
            let code = "import signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); sys.stdin.read()";
            let init = Command::new(python).args(["-c", code]).current_dir("/").stdin(Stdio::piped()).spawn();
            isolate(&root, &seen, &denied);
            for program in filter.programs() {
                seccompiler::apply_filter(&program).expect("a filter");
            }
            told.send(init.expect("python3")).expect("who asked waits");
            for job in waiting {
                job(&mut offsets);
            }
        });
        let init = booted.recv().expect("it boots");
        let namespace = std::fs::read_link(format!("/proc/{}/ns/pid", init.id())).expect("a process");
        self.on = Some(On { jobs, init, namespace });
    }

    fn within<T: Send + 'static>(&self, job: impl FnOnce(&mut File) -> T + Send + 'static) -> T {
        let (told, done) = mpsc::channel();
        let job: Job = Box::new(move |offsets| told.send(job(offsets)).expect("who asked waits"));
        self.on.as_ref().expect("it is on").jobs.send(job).expect("its thread");
        done.recv().expect("its thread")
    }

    /// Starts something there as a shell of Termux would, in its home. Whoever does has to wait for its end, or the
    /// phone is never gone.
    pub fn spawn(&self, words: &[&str]) -> Child {
        let [program, arguments @ ..] = words else { panic!("nothing to start") };
        let mut command = Command::new(format!("{PREFIX}/bin/{program}"));
        command.args(arguments).uid(APP).gid(APP).current_dir(HOME).env_clear().envs(&self.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.within(move |_| command.spawn()).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Runs something there.
    pub fn run(&self, words: &[&str]) -> Output {
        self.spawn(words).wait_with_output().expect("its end")
    }

    /// Runs something there that must be fine; gives what it says.
    pub fn says(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {:?}\n{said}", output.status);
        said
    }

    /// Starts something there that goes on by itself.
    pub fn leave(&self, words: &[&str]) {
        self.says(&[&["sh", "-c", "\"$@\" </dev/null >/dev/null 2>>~/left.log &", "sh"], words].concat());
    }

    /// What Termux does when its app starts: the files for it, one after the other; without any the services alone.
    pub fn app_starts(&self) {
        let code = "set -- ~/.termux/boot/*; [ -f \"$1\" ] || set -- $PREFIX/etc/profile.d/start-services.sh\n\
                    for file; do sh \"$file\"; done";
        self.says(&["sh", "-c", code]);
    }

    /// Android ends the app: all of its processes, at once.
    pub fn app_is_killed(&self) {
        until("the app has ended", || {
            self.kill(|_| true);
            self.processes().is_empty()
        });
    }

    /// The machine sleeps: time passes, and none by `CLOCK_MONOTONIC`. The clocks of a process cannot be changed, so this is
    /// seen by what is started from here on.
    pub fn sleeps(&mut self, seconds: i64) {
        self.clocks.boottime += seconds;
        let clocks = self.clocks;
        self.within(move |offsets| clocks.set(offsets));
    }

    /// Switches it off at once: the kernel ends all that is in the namespace of the first that ends.
    pub fn power_fails(&mut self) {
        let on = self.on.as_mut().expect("it is on");
        on.init.kill().expect("our child");
        until("it is off", || self.processes().is_empty());
        self.was_on.extend(self.on.take());
    }

    /// Every process that lives, but the first.
    pub fn processes(&self) -> Vec<Process> {
        let on = self.on.as_ref().expect("it is on");
        let here = |pid: &i32| {
            std::fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|namespace| namespace == on.namespace)
        };
        let pids = std::fs::read_dir("/proc").expect("proc(5)").flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| u32::try_from(*pid) != Ok(on.init.id()))
            .filter(here)
            .filter(|pid| support::lives(*pid))
            .map(process)
            .collect()
    }

    /// Sends SIGKILL to some; gives how many.
    pub fn kill(&self, which: impl Fn(&Process) -> bool) -> usize {
        let chosen = self.processes().into_iter().filter(which);
        // One that has ended meanwhile is not counted.
        chosen.filter(|one| kill(Pid::from_raw(one.pid), Signal::SIGKILL).is_ok()).count()
    }

    /// One request to a daemon that may not be there.
    pub fn ask(&self, request: &Value) -> Option<Value> {
        let mut request = request.clone();
        request["cwd"] = json!(HOME);
        support::ask(&self.home(), &request)
    }

    /// The data of a request that must be accepted once there is a daemon.
    pub fn ok(&self, request: &Value) -> Value {
        let mut answer = Value::Null;
        until("a daemon answers", || self.ask(request).map(|answered| answer = answered).is_some());
        assert_eq!(answer["ok"], true, "{request}: {answer}");
        answer["data"].take()
    }

    /// The number of tasks in a state.
    pub fn count(&self, state: &str) -> i64 {
        self.ok(&json!({"action": "status"}))["counts"][state].as_i64().expect("a count")
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        for on in self.on.iter_mut().chain(&mut self.was_on) {
            drop(on.init.kill());
            // Where a test fails nobody may wait any more for what it has started there, and so the first does not end.
            if !std::thread::panicking() {
                drop(on.init.wait());
            }
        }
    }
}

/// Makes a root of what is seen, this thread's and that of all that it starts.
fn isolate(root: &Path, seen: &[(PathBuf, PathBuf)], denied: &Path) {
    let bind = |here: &Path, there: &Path| {
        mount(Some(here), there, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .unwrap_or_else(|error| panic!("{} on {}: {error}", here.display(), there.display()));
    };
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).expect("private");
    for (here, there) in seen {
        bind(here, there);
    }
    let proc = root.join("proc");
    // By a process of the phone, whose processes it then shows.
    let mounted = Command::new("mount").args(["-t", "proc", "-o", "hidepid=2", "proc"]).arg(&proc).status();
    assert!(mounted.expect("mount(8)").success(), "proc(5)");
    for name in DENIED {
        bind(denied, &proc.join(name));
    }
    nix::unistd::chroot(root).expect("a root");
    nix::unistd::chdir("/").expect("a folder");
}

fn process(pid: i32) -> Process {
    let list = |name: &str| {
        let text = std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        text.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>()
    };
    let has_task = list("environ").iter().any(|entry| entry.starts_with("BATCH_EXECUTOR_TASK_ID="));
    let leads = nix::unistd::getsid(Some(Pid::from_raw(pid))).is_ok_and(|session| session.as_raw() == pid);
    Process { pid, words: list("cmdline"), leads_task: has_task && leads }
}
