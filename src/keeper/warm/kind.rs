//! What something is prepared for: the tasks that would start the same interpreter in the same way.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::home::Home;
use crate::keeper::environment::Environment;
use crate::keeper::protocol::LaunchProcess;
use crate::sys::{self, Spawn, SpawnError};
use crate::task::Prepared;

/// Variables of a task's own that an interpreter, or a library at its import, reads at its start; these prefixes. The
/// others are set when a task is there.
const AT_START: &[&str] = &["LD_", "LC_", "LANG", "TZ", "PATH", "HOME", "MALLOC_", "GLIBC_"];
const AT_START_OF_PYTHON: &[&str] =
    &["PYTHON", "VIRTUAL_ENV", "CONDA", "OMP_", "OPENBLAS_", "MKL_", "BLIS_", "NUMEXPR_", "NUMBA_", "CUDA_"];
const AT_START_OF_NODE: &[&str] = &["NODE_", "UV_", "OPENSSL_", "SSL_", "ICU_", "HTTP", "http", "NO_PROXY", "no_proxy"];

/// What is prepared, and for which tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    program: String,
    /// The zeroth argument.
    name: String,
    pub prepared: Prepared,
    /// The id of the environment beneath.
    pub environment: i64,
    variables: Vec<(String, String)>,
    /// The working directory, where the interpreter depends on it.
    folder: Option<String>,
}

/// What is to be there before it, where it can run in that.
pub(super) fn prepared(launch: &LaunchProcess) -> Option<&Prepared> {
    let prepared = launch.prepared.as_ref()?;
    let is_possible = match prepared {
        Prepared::Forks { .. } => true,
        Prepared::Ahead => {
            let is_code = matches!(&launch.argv[..], [_, flag, _] if flag == "-e");
            // Both are of a thread: those that Node has by then would go without.
            let is_nice = launch.limits.nice.is_some() || launch.limits.ionice.is_some();
            // A secret that was read would have to be read again for a task that cannot run so after all.
            is_code && !is_nice && !launch.value_pipe && launch.secrets.is_empty()
        }
        Prepared::Worker => false,
    };
    is_possible.then_some(prepared)
}

impl Kind {
    /// The kind of a process that can run in what is prepared.
    pub(super) fn of(launch: &LaunchProcess, prepared: &Prepared, beneath: Option<&Environment>) -> Self {
        let searched = match prepared {
            Prepared::Ahead => "NODE_PATH",
            Prepared::Forks { .. } | Prepared::Worker => "PYTHONPATH",
        };
        let own = launch.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let beneath = beneath.into_iter().flat_map(Environment::iter);
        let path = own.chain(beneath).find(|(name, _)| *name == searched).map(|(_, path)| path);
        let is_relative = path.is_some_and(|path| path.split(':').any(|part| !part.starts_with('/')));
        Self {
            folder: (is_relative || is_script(&launch.program)).then(|| launch.cwd.clone()),
            program: launch.program.clone(),
            name: launch.argv.first().cloned().unwrap_or_default(),
            prepared: prepared.clone(),
            environment: launch.environment,
            variables: at_start(launch, prepared).cloned().collect(),
        }
    }

    pub(super) fn fits(&self, launch: &LaunchProcess) -> bool {
        self.program == launch.program
            && Some(&self.name) == launch.argv.first()
            && Some(&self.prepared) == prepared(launch)
            && self.environment == launch.environment
            && self.variables.iter().eq(at_start(launch, &self.prepared))
            && self.folder.as_ref().is_none_or(|folder| *folder == launch.cwd)
    }

    /// The table of the configuration that it is from.
    pub(super) const fn runtime(&self) -> &'static str {
        match self.prepared {
            Prepared::Ahead => "runtimes.nodejs",
            Prepared::Forks { .. } | Prepared::Worker => "runtimes.python",
        }
    }

    /// What its interpreters have in their environment, but for the mark.
    pub(super) fn variables(
        &self,
        launch: &LaunchProcess,
        beneath: Option<&Environment>,
        home: &Home,
    ) -> BTreeMap<String, String> {
        let of_all = beneath.into_iter().flat_map(Environment::iter);
        let own = self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // Names that every task has: they are there, with values of their own, before any task.
        let named = launch.variables.iter().filter(|(name, _)| name.starts_with("BATCH_EXECUTOR_"));
        let named = named.map(|(name, value)| (name.as_str(), value.as_str()));
        let all = of_all.chain(own).chain(named).map(|(name, value)| (name.to_owned(), value.to_owned()));
        let root = ("BATCH_EXECUTOR_HOME".to_owned(), home.root().display().to_string());
        all.chain([root]).collect()
    }

    /// Starts its interpreter; gives the pid. `code`: the option and what it runs, which finds in its arguments the number
    /// of `socket`, this process's pid, and `more`.
    pub(super) fn spawn(
        &self,
        code: [&str; 2],
        more: &[String],
        environment: &[&CStr],
        home: &Home,
        socket: &OwnedFd,
        [stdin, stdout, stderr]: [BorrowedFd<'_>; 3],
    ) -> io::Result<i32> {
        let (number, keeper) = (socket.as_raw_fd().to_string(), std::process::id().to_string());
        let words = [self.name.as_str(), code[0], code[1], &number, &keeper].into_iter();
        let argv = words.chain(more.iter().map(String::as_str)).map(text).collect::<io::Result<Vec<_>>>()?;
        let root = || home.root().display().to_string();
        sys::spawn(&Spawn {
            program: &text(&self.program)?,
            argv: &argv,
            environment,
            cwd: &text(&self.folder.clone().unwrap_or_else(root))?,
            stdin,
            stdout,
            stderr,
            value: Some(socket.as_fd()),
            group: None,
            bounds: &[],
        })
        .map_err(|error| match error {
            SpawnError::Fork(error)
            | SpawnError::Group(error)
            | SpawnError::Bound(_, error)
            | SpawnError::Cwd(error)
            | SpawnError::Exec(error) => error,
        })
    }
}

/// A text as execve(2) takes it.
pub(super) fn text(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(io::Error::other)
}

/// Variables as execve(2) takes them.
pub(super) fn texts(variables: &BTreeMap<String, String>) -> io::Result<Vec<CString>> {
    variables.iter().map(|(name, value)| text(&format!("{name}={value}"))).collect()
}

/// Whether a program is a script, which may choose the interpreter by the folder that it is in, as pyenv's do.
fn is_script(program: &str) -> bool {
    let mut begin = [0; 2];
    File::open(program).and_then(|mut file| file.read_exact(&mut begin)).is_ok() && begin == *b"#!"
}

fn at_start<'l>(
    launch: &'l LaunchProcess,
    prepared: &Prepared,
) -> impl Iterator<Item = &'l (String, String)> + use<'l> {
    let more = match prepared {
        Prepared::Ahead => AT_START_OF_NODE,
        Prepared::Forks { .. } | Prepared::Worker => AT_START_OF_PYTHON,
    };
    let is_read = move |name: &str| AT_START.iter().chain(more).any(|prefix| name.starts_with(prefix));
    launch.variables.iter().filter(move |(name, _)| is_read(name))
}
