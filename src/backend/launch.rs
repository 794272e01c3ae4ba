//! From an attempt and the work that it means to what the keeper is told.

use std::io::Write;

use crate::attempt::Attempt;
use crate::function::Work;
use crate::home::{self, Home};
use crate::keeper::protocol::{Launch, LaunchProcess, LaunchWork};

/// A longer standard input goes by a file, in bytes.
const LONG_STDIN: usize = 100 * 1024;

pub(super) fn launch_of(attempt: &Attempt, work: Work, grace_ms: i64, home: &Home) -> Launch {
    let mut timeout_ms = attempt.timeout_ms;
    let work = match work {
        Work::Simulate { duration_ms, fails } => LaunchWork::Simulate { duration_ms, fails },
        Work::Unrunnable { error } => LaunchWork::Unrunnable { error },
        Work::Process(process) => {
            timeout_ms = [timeout_ms, process.timeout_ms].into_iter().flatten().min();
            let (stdin, stdin_file) = stdin_of(attempt, process.stdin, home);
            LaunchWork::Process(Box::new(LaunchProcess {
                program: process.program.display().to_string(),
                argv: process.argv,
                cwd: process.cwd.display().to_string(),
                environment: attempt.environment.id,
                variables: process.env,
                stdin,
                stdin_file,
                value_pipe: process.value_pipe,
                script: process.script.map(|path| path.display().to_string()),
                secrets: process.secrets,
                limits: process.limits,
                prepared: process.prepared,
            }))
        }
    };
    Launch {
        claim: attempt.claim,
        task_id: attempt.task_id,
        attempt: attempt.number,
        priority: attempt.priority,
        function: attempt.function.clone(),
        timeout_ms,
        grace_ms,
        work,
    }
}

/// What a process reads: in the message while it is short, else in a file, so that the keeper stays small.
fn stdin_of(attempt: &Attempt, stdin: Vec<u8>, home: &Home) -> (Vec<u8>, Option<String>) {
    if stdin.len() <= LONG_STDIN {
        return (stdin, None);
    }
    let path = home.run_dir().join(format!("{}-{}.stdin", attempt.task_id, attempt.number));
    match home::new_file(&path).and_then(|mut file| file.write_all(&stdin)) {
        Ok(()) => (Vec::new(), Some(path.display().to_string())),
        Err(error) => {
            tracing::warn!(path = %path.display(), err = %error, "a long standard input travels in memory");
            (stdin, None)
        }
    }
}
