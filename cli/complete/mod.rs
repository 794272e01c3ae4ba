//! What a shell offers while a command line is typed. The script of `completions` has the shell ask this program each time, by a
//! variable of the environment, so that it knows the tasks of the running daemon. Nothing here starts a daemon, waits for
//! long, or says why there is nothing to offer.

mod bash;
mod candidates;

use std::ffi::OsStr;
use std::io;

use batch_executor::task::{Priority, Status};
use clap::{Arg, Command, CommandFactory, ValueHint};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{Elvish, Fish, Powershell, Shells, Zsh};
use clap_complete::{CompleteEnv, Shell};

use crate::args::Cli;
use crate::commands::completions::for_people;
use bash::Bash;

/// The variable by which a shell asks; its value is the shell's name.
const ASKED: &str = "BATCH_EXECUTOR_COMPLETE";
const PROGRAM: &str = "batch-executor";
const SHELLS: Shells<'static> = Shells(&[&Bash, &Elvish, &Fish, &Powershell, &Zsh]);

/// Answers a shell. False: none asked.
pub fn answered() -> bool {
    let asked = CompleteEnv::with_factory(definition).var(ASKED).shells(SHELLS).bin(PROGRAM).completer(PROGRAM);
    // What cannot be completed is the command's own to refuse, once it is entered.
    asked.try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref()).unwrap_or(true)
}

/// The script that makes a shell ask.
///
/// # Errors
/// For a shell that is not known.
pub fn script(shell: Shell) -> io::Result<Vec<u8>> {
    let name = shell.to_string();
    let adapter = SHELLS.completer(&name).ok_or_else(|| io::Error::other(format!("unknown shell `{name}`")))?;
    let mut script = Vec::new();
    adapter.write_registration(ASKED, PROGRAM, PROGRAM, PROGRAM, &mut script)?;
    if shell == Shell::Zsh {
        // As a file in fpath it is read when it is first needed, and has to offer something at once.
        script
            .extend(b"[[ \"${funcstack[1]}\" != _batch-executor ]] || _clap_dynamic_completer_batch_executor \"$@\"\n");
    }
    Ok(script)
}

/// The commands with what their arguments may be. Flags are offered to who types a dash, or where there is nothing else.
fn definition() -> Command {
    let typing_a_flag = std::env::args_os().next_back().is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
    with_values(for_people(&Cli::command()), typing_a_flag)
}

fn with_values(command: Command, typing_a_flag: bool) -> Command {
    command
        .disable_help_flag(!typing_a_flag)
        .mut_args(|argument| with_value(argument.clone()).hide(!typing_a_flag && !argument.is_positional()))
        .mut_subcommands(|command| with_values(command, typing_a_flag))
}

/// An argument, by its name in the definitions, with what it may be.
fn with_value(argument: Arg) -> Arg {
    let words = |words: &'static [&'static str]| {
        ArgValueCandidates::new(move || words.iter().map(CompletionCandidate::new).collect())
    };
    match argument.get_id().as_str() {
        "ids" | "task_ids" | "task_id" => argument.add(ArgValueCompleter::new(candidates::tasks)),
        "batch_id" => argument.add(ArgValueCompleter::new(candidates::batches)),
        "function" => argument.add(ArgValueCompleter::new(candidates::functions)),
        "priority" => argument.add(words(Priority::WORDS)),
        "filter_status" => argument.add(words(Status::WORDS)),
        "filter" | "sort" => argument.add(ArgValueCandidates::new(candidates::fields)),
        "columns" => argument.add(ArgValueCandidates::new(candidates::columns)),
        "stream" => argument.add(words(&["both", "stdout", "stderr"])),
        "file" | "export" | "output_file" | "config" | "home" | "command" | "folder" | "program" => {
            if std::env::var_os(bash::INDEX).is_some() {
                return argument.add(ArgValueCompleter::new(|_: &OsStr| vec![bash::FILES.into()]));
            }
            let folders = matches!(argument.get_id().as_str(), "home" | "folder");
            argument.value_hint(if folders { ValueHint::DirPath } else { ValueHint::AnyPath })
        }
        _ => argument,
    }
}
