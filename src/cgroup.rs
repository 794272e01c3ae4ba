//! Control groups (cgroups(7), version 2): where the system delegates some, each task gets one of its own, so that all of it can be
//! limited, suspended and ended at once, whatever it has become.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::unistd::{AccessFlags, access};

use crate::task::{ClaimId, Limits};

/// The file system's name in mountinfo (proc_pid_mountinfo(5)).
const FILE_SYSTEM: &str = "cgroup2";
/// What the folder of the tasks' groups begins with; the home's number follows, for homes may share a group.
const TASKS: &str = "tasks-";
/// The subgroup that systemd makes for the daemon (`DelegateSubgroup=daemon`): what is above is free of processes.
const SUBGROUP: &str = "daemon";
/// What can be limited, where it is delegated.
const CONTROLLERS: &[&str] = &["memory", "cpu", "pids"];
/// The period of a share of the processors, µs; the kernel's own default.
const PERIOD: u64 = 100_000;

/// The setting `cgroups`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Wanted {
    /// The daemon's own group, where it is this user's.
    #[default]
    Auto,
    Off,
    /// A folder of the control groups.
    At(PathBuf),
}

impl FromStr for Wanted {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            path if path.starts_with('/') => Ok(Self::At(path.into())),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::At(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Where the tasks' groups are, and what they can limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegated {
    pub tasks: PathBuf,
    pub controllers: Vec<String>,
}

impl Delegated {
    /// What there is for the tasks of this home.
    ///
    /// # Errors
    /// Why there are none, in a few words.
    pub fn find(wanted: &Wanted, home: &Path) -> Result<Self, String> {
        let (base, has_processes) = match wanted {
            Wanted::Off => return Err("switched off (setting `cgroups`)".to_owned()),
            Wanted::At(path) => (path.clone(), false),
            Wanted::Auto => own().ok_or("this process's own control group is not delegated to this user")?,
        };
        if !base.join(MEMBERS).exists() {
            return Err(format!("`{}` is no folder of control groups (version 2)", base.display()));
        }
        let number = fs::metadata(home).map_err(|error| format!("the home is not there: {error}"))?.ino();
        let tasks = base.join(format!("{TASKS}{number}"));
        make(&tasks).map_err(|error| format!("`{}` cannot be made: {error}", tasks.display()))?;
        if let Some(above) = common(&tasks).filter(|above| access(&above.join(MEMBERS), AccessFlags::W_OK).is_err()) {
            drop(fs::remove_dir(&tasks));
            return Err(format!(
                "`{}` cannot be entered from this process's own control group: that takes the right to write `{}`",
                base.display(),
                above.join(MEMBERS).display()
            ));
        }
        // A group with processes may not hand controllers on (cgroups(7)); one that cannot be handed on is done without.
        for group in [&base, &tasks].into_iter().filter(|_| !has_processes) {
            for controller in CONTROLLERS {
                drop(fs::write(group.join("cgroup.subtree_control"), format!("+{controller}")));
            }
        }
        let handed_on = fs::read_to_string(tasks.join("cgroup.subtree_control")).unwrap_or_default();
        let controllers = handed_on.split_whitespace().filter(|name| CONTROLLERS.contains(name)).map(str::to_owned);
        Ok(Self { controllers: controllers.collect(), tasks })
    }

    /// The first limit that needs a controller which is not there, as a sentence.
    pub fn lacks(delegated: Option<&Self>, limits: &Limits) -> Option<String> {
        let needs = [
            ("cpus", "cpu", limits.cpus.map(|cpus| (f64::from(cpus) / 1000.0).to_string())),
            ("processes", "pids", limits.processes.map(|count| count.to_string())),
        ];
        let has = |controller: &str| delegated.is_some_and(|d| d.controllers.iter().any(|name| name == controller));
        needs.into_iter().find_map(|(limit, controller, value)| {
            let value = value.filter(|_| !has(controller))?;
            Some(format!(
                "`limits.{limit}` is {value}, but tasks have no control group with `{controller}` here; `doctor` says why"
            ))
        })
    }
}

/// The file of a group's processes.
const MEMBERS: &str = "cgroup.procs";

fn make(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

/// The group of this process.
fn current() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next()? == FILE_SYSTEM).then(|| before.split(' ').nth(4).map(PathBuf::from))?
    })?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    Some(mount.join(groups.lines().find_map(|line| line.strip_prefix("0::/"))?))
}

/// The lowest group above both this process's own and another: whoever moves between the two needs the right to write its
/// members (cgroups(7)).
fn common(group: &Path) -> Option<PathBuf> {
    let own = current()?;
    own.ancestors().find(|above| group.starts_with(above)).map(Path::to_owned)
}

/// The group of this process, if it is this user's, or that above where systemd has made one for the daemon; and whether it has
/// processes. Root may write everywhere, so that says nothing: it names one.
fn own() -> Option<(PathBuf, bool)> {
    let own = current()?;
    let uid = nix::unistd::geteuid();
    let is_ours = |group: &Path| fs::metadata(group.join(MEMBERS)).is_ok_and(|meta| meta.uid() == uid.as_raw());
    if uid.is_root() || !is_ours(&own) {
        return None;
    }
    match own.parent() {
        Some(above) if own.ends_with(SUBGROUP) && is_ours(above) => Some((above.to_owned(), false)),
        _ => Some((own, true)),
    }
}

/// The group of one attempt.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
}

impl Group {
    /// The group of a claim, which may not be there.
    pub fn of(tasks: &Path, claim: ClaimId) -> Self {
        Self { path: tasks.join(claim.to_string()) }
    }

    /// The group at a path that [`Self::path`] gave.
    pub const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Those that there are, with their claims.
    pub fn all(tasks: &Path) -> Vec<(ClaimId, Self)> {
        let entries = fs::read_dir(tasks).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let claim = entry.file_name().to_str()?.parse().ok()?;
                Some((claim, Self { path: entry.path() }))
            })
            .collect()
    }

    /// Makes it, with its limits; whoever writes `0` to what is given is in it. `memory` is each process's own where there is no
    /// controller for it.
    ///
    /// # Errors
    /// When it cannot be made or limited so.
    pub fn make(&self, limits: &Limits) -> io::Result<File> {
        make(&self.path)?;
        let set = |file: &str, value: String| fs::write(self.path.join(file), value);
        if let Some(bytes) = limits.memory.filter(|_| self.path.join("memory.max").exists()) {
            set("memory.max", bytes.to_string())?;
            set("memory.oom.group", "1".to_owned())?;
            // Not there without swap accounting.
            drop(set("memory.swap.max", "0".to_owned()));
        }
        if let Some(count) = limits.processes {
            set("pids.max", count.to_string())?;
        }
        if let Some(cpus) = limits.cpus {
            set("cpu.max", format!("{} {PERIOD}", u64::from(cpus) * PERIOD / 1000))?;
        }
        File::options().write(true).open(self.path.join(MEMBERS))
    }

    /// Ends every process in it (SIGKILL); before Linux 5.14 one by one.
    pub fn kill(&self) {
        if fs::write(self.path.join("cgroup.kill"), "1").is_err() {
            let members = fs::read_to_string(self.path.join(MEMBERS)).unwrap_or_default();
            for pid in members.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0) {
                // It may have ended by itself.
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
            }
        }
    }

    /// Stops every process in it, or lets them go on.
    ///
    /// # Errors
    /// When there is no such group.
    pub fn freeze(&self, on: bool) -> io::Result<()> {
        let mut file = File::options().write(true).open(self.path.join("cgroup.freeze"))?;
        file.write_all(if on { b"1" } else { b"0" })
    }

    /// Removes it, with those that the task has made within it; false while a process in it is not dead yet.
    pub fn remove(&self) -> bool {
        match remove_dir(&self.path) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

fn remove_dir(group: &Path) -> io::Result<()> {
    match fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            for entry in
                fs::read_dir(group)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            {
                remove_dir(&entry.path())?;
            }
            fs::remove_dir(group)
        }
        done => done,
    }
}
