//! `daemon` in the foreground: the way into the daemon's own code, where it was built in.

use batch_executor::config::{Overrides, SETTINGS};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;

/// Flags of the daemon itself: one for each setting, and those that one program gives to another.
#[derive(Debug, Clone, Default)]
#[cfg_attr(not(feature = "daemon"), expect(dead_code, reason = "only the daemon reads them"))]
pub struct ServeArgs {
    /// Leave the terminal and write HOME/daemon.log.
    detached: bool,
    /// Only say whether configuration and queue are good.
    check: bool,
    /// What the program before this one, in the same process, left open.
    inherited: Option<String>,
    overrides: Overrides,
}

impl Args for ServeArgs {
    fn augment_args(command: Command) -> Command {
        let hidden = |name| Arg::new(name).long(name).hide(true);
        let own = [hidden("detached").num_args(0), hidden("check").num_args(0), hidden("inherited").num_args(1)];
        command.args(own).args(SETTINGS.iter().map(|setting| {
            Arg::new(format!("setting {}", setting.name))
                .long(setting.name.replace('_', "-"))
                .value_name("VALUE")
                .help(format!("{} ({})", setting.description, setting.allowed))
                .help_heading("Settings")
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &str| matches.get_one::<String>(&format!("setting {name}")).cloned();
        let overrides = SETTINGS.iter().filter_map(|s| Some((s.name.to_owned(), given(s.name)?))).collect();
        Ok(Self {
            detached: matches.get_flag("detached"),
            check: matches.get_flag("check"),
            inherited: matches.get_one("inherited").cloned(),
            overrides: Overrides(overrides),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Serves until it is told to end.
///
/// # Errors
/// What [`Failure`] says.
#[cfg(feature = "daemon")]
pub fn run(context: &Context, args: &ServeArgs) -> Result<u8, Failure> {
    use batch_executor::config::Loaded;
    use batch_executor::{daemon, logging, platform};

    let settings = Loaded::load(context.config.as_deref(), &args.overrides)?.settings;
    if args.check {
        let good = daemon::could_serve(&context.home);
        good.map_err(|error| Failure::new(error.exit_code(), error.to_string()))?;
        return Ok(exit::DONE);
    }
    let inherited = args.inherited.as_deref().map(str::parse).transpose().map_err(Failure::usage)?;
    context.home.create()?;
    let destination = if args.detached {
        // Fails only for a session's leader, which has no terminal to leave.
        let _ = nix::unistd::setsid();
        logging::Destination::File { path: context.home.log(), most_bytes: settings.daemon_log_bytes }
    } else {
        logging::Destination::Stderr
    };
    logging::init(&settings.log_level, destination)
        .map_err(|error| Failure::file("open", &context.home.log().to_string_lossy(), &error))?;
    let program = platform::this_program().map_err(|error| Failure::file("find", "this program", &error))?;
    match daemon::run(daemon::Setup { home: context.home.clone(), settings, program, inherited }) {
        Ok(()) => Ok(exit::DONE),
        Err(error) => Err(Failure::new(error.exit_code(), error.to_string())),
    }
}

/// # Errors
/// Always: the daemon was left out.
#[cfg(not(feature = "daemon"))]
pub fn run(_context: &Context, args: &ServeArgs) -> Result<u8, Failure> {
    let said = format!("this program was built without the daemon ({args:?})");
    Err(Failure::new(exit::INTERNAL, said))
}
