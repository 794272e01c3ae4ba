//! A file per command: its flags, its request, its text for people.

pub mod add;
pub mod add_batch;
pub mod adding;
pub mod backup;
pub mod call;
pub mod cancel;
pub mod clear;
pub mod completions;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod doctor;
pub mod export;
pub mod follow;
pub mod functions;
pub mod hooks;
pub mod keeper;
pub mod logs;
pub mod man;
pub mod metrics;
pub mod pause;
pub mod read_secrets;
pub mod report;
pub mod results;
pub mod retry;
pub mod run;
pub mod selftest;
pub mod serve;
pub mod service;
pub mod show;
pub mod start;
pub mod status;
pub mod stop;
pub mod top;
pub mod update;
pub mod wait;
pub mod watch;

use crate::args::{Command, Global};
use crate::context::Context;
use crate::failure::Failure;

/// Carries out a command; gives the exit code.
///
/// # Errors
/// What [`Failure`] says.
pub fn dispatch(global: &Global, command: Command) -> Result<u8, Failure> {
    // Made where it is needed: a shell's completions and the keeper must work whatever the configuration is.
    let context = || Context::new(global);
    match command {
        Command::Run(args) => run::run(&context()?, &args),
        Command::Add(args) => add::run(&context()?, &args),
        Command::AddBatch(args) => add_batch::run(&context()?, &args),
        Command::Start(args) => start::run(&context()?, &args),
        Command::Stop(args) => stop::run(&context()?, &args),
        Command::Status(args) => status::run(&context()?, &args),
        Command::Top(args) => top::run(&context()?, &args),
        Command::Results(args) => results::run(&context()?, &args),
        Command::Show(args) => show::run(&context()?, &args),
        Command::Logs(args) => logs::run(&context()?, &args),
        Command::Update(args) => update::run(&context()?, &args),
        Command::Export(args) => export::run(&context()?, &args),
        Command::Report(args) => report::run(&context()?, &args),
        Command::Backup(args) => backup::run(&context()?, &args),
        Command::Clear(args) => clear::run(&context()?, &args),
        Command::Hooks(args) => hooks::run(&context()?, &args),
        Command::Metrics(args) => metrics::run(&context()?, &args),
        Command::Pause(args) => pause::pause(&context()?, &args),
        Command::Resume(args) => pause::resume(&context()?, &args),
        Command::Cancel(args) => cancel::run(&context()?, &args),
        Command::Retry(args) => retry::run(&context()?, &args),
        Command::Wait(args) => wait::run(&context()?, &args),
        Command::Watch(args) => watch::run(&context()?, &args),
        Command::Functions(args) => functions::run(&context()?, &args),
        #[cfg(feature = "mcp")]
        Command::Mcp => crate::mcp::run(context()?),
        Command::Call(args) => call::run(&context()?, &args),
        Command::Daemon(args) => daemon::run(&context()?, &args),
        Command::Keeper(args) => keeper::run(global, &args),
        Command::ReadSecrets => read_secrets::run(),
        Command::Config(args) => config::run(&context()?, &args),
        Command::Doctor(args) => doctor::run(&context()?, &args),
        Command::Selftest(args) => selftest::run(&context()?, &args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Service(args) => service::run(&context()?, &args),
        Command::Demo(args) => demo::run(&args),
    }
}
