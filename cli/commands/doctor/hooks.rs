//! Whether the hooks can tell somebody, as far as that can be seen without telling.

use std::collections::BTreeMap;
use std::path::Path;

use batch_executor::hooks::{Given, Hook, Target};
use batch_executor::secret::Source;

use super::Check;
use crate::context::in_path;

const NAME: &str = "hook";

/// A check for each hook; a command runs in `home`.
pub fn checks(hooks: &[Hook], secrets: &BTreeMap<String, Source>, home: &Path) -> Vec<Check> {
    hooks.iter().map(|hook| check(hook, secrets, home)).collect()
}

fn check(hook: &Hook, secrets: &BTreeMap<String, Source>, home: &Path) -> Check {
    let name = &hook.name;
    match &hook.to {
        Target::Command(argv) => {
            let program = argv.first().map_or("", String::as_str);
            let found = if program.contains('/') {
                Some(home.join(program)).filter(|path| path.is_file())
            } else {
                in_path(program)
            };
            match found {
                Some(found) => Check::ok(NAME, format!("{name}: {}", found.display())),
                None => Check::warning(
                    NAME,
                    format!("{name}: there is no program `{program}`"),
                    format!("install it, or correct `command` in [hooks.{name}]"),
                ),
            }
        }
        Target::Http { url, headers } => {
            let given = std::iter::once(url).chain(headers.iter().map(|(_, value)| value));
            let missing = given.into_iter().find_map(|given| match given {
                Given::Secret(name) => unreadable(secrets.get(name)?).map(|path| (name, path)),
                Given::Plain(_) => None,
            });
            match missing {
                Some((secret, path)) => Check::warning(
                    NAME,
                    format!("{name}: the secret `{secret}` is not in {}", path.display()),
                    format!("write it there, for you alone to read, then: batch-executor hooks test {name}"),
                ),
                None => Check::ok(NAME, format!("{name}: {url}")),
            }
        }
    }
}

/// The file of a secret, where there is none.
fn unreadable(source: &Source) -> Option<&Path> {
    match source {
        Source::File { path } if !path.is_file() => Some(path),
        _ => None,
    }
}
