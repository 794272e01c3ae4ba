//! `[gates]`: a line each. A value alone is where the gate closes; a table says more.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::{Spanned, Value};

use super::ConfigError;
use crate::gate::{Gate, Rule, Threshold, Window};
use crate::task::{self, Hold};

/// What is known of each gate that needs no command: what is allowed, and how often it is looked at, in seconds: no source
/// changes faster.
const KNOWN: &[(&str, &str, f64)] = &[
    ("battery", "percent from 1 to 100", 60.0),
    ("charging", "true or false", 30.0),
    ("temperature", "degrees Celsius from 1 to 150", 15.0),
    ("network", "\"any\" or \"unmetered\"", 30.0),
    ("window", "times such as \"22:00-06:00\", several with commas", 60.0),
    ("free_memory", "a number of bytes, such as \"500MiB\"", 5.0),
    ("free_disk", "a number of bytes, such as \"2GiB\"", 15.0),
    ("load", "a load above 0", 5.0),
    ("idle", "seconds from 1 to 86400 without a key", 10.0),
];
/// How often a command is asked, in seconds.
const COMMAND_EVERY: f64 = 60.0;
/// The keys of a table.
const KEYS: &[&str] = &["at", "until", "running", "every", "command"];

/// The gates that a file declares; `at` tells the place of an offset.
pub(super) fn gates(
    table: BTreeMap<Spanned<String>, Value>,
    at: impl Fn(usize) -> String,
) -> Result<Vec<Gate>, ConfigError> {
    let mut gates = Vec::new();
    for (name, value) in table {
        let place = at(name.span().start);
        let name = name.into_inner();
        let gate = gate(&name, value).map_err(|what| ConfigError(format!("{place}: `gates.{name}` {what}")))?;
        gates.extend(gate);
    }
    Ok(gates)
}

/// None: it is switched off.
fn gate(name: &str, value: Value) -> Result<Option<Gate>, String> {
    let mut table = match value {
        Value::Table(table) => table,
        value => toml::Table::from_iter([("at".to_owned(), value)]),
    };
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("has the unknown key `{key}`; they are {}", KEYS.join(", ")));
    }
    let running = match table.remove("running") {
        None => Hold::Leave,
        Some(value) => value
            .as_str()
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| format!("has `running` {value}, but must be {}", Hold::WORDS.join(", ")))?,
    };
    let every = match table.remove("every") {
        None => None,
        Some(value) => {
            let seconds = number(&value).filter(|seconds| (0.01..=86_400.0).contains(seconds));
            Some(seconds.ok_or_else(|| format!("has `every` {value}, but must be seconds from 0.01 to 86400"))?)
        }
    };
    let (at, until, command) = (table.remove("at"), table.remove("until"), table.remove("command"));
    let known = KNOWN.iter().find(|(known, ..)| *known == name);
    let (rule, usual) = match (known, command) {
        (Some((_, allowed, every)), None) => {
            let at = at.ok_or_else(|| format!("needs `at`: {allowed}"))?;
            let rule = rule(name, &at, until.as_ref());
            (rule.map_err(|()| wrong(&at, until.as_ref(), allowed))?, *every)
        }
        (None, Some(command)) if at.is_none() && until.is_none() => (Some(own(&command)?), COMMAND_EVERY),
        (Some(_), Some(_)) => return Err("is a gate of the machine and takes no `command`; choose another name".into()),
        (None, _) => {
            let known: Vec<&str> = KNOWN.iter().map(|(name, ..)| *name).collect();
            return Err(format!(
                "is none of {}; a gate of your own is a table with a `command`, a list of texts, and perhaps `every` and `running`",
                known.join(", ")
            ));
        }
    };
    let every = Duration::from_secs_f64(every.unwrap_or(usual));
    Ok(rule.map(|rule| Gate { name: name.to_owned(), rule, running, every }))
}

fn wrong(at: &Value, until: Option<&Value>, allowed: &str) -> String {
    match until {
        None => format!("is {at}, but must be {allowed}"),
        Some(until) => {
            format!("has `at` {at} and `until` {until}, but must be {allowed}, `until` where it opens again")
        }
    }
}

/// None: it is switched off.
fn rule(name: &str, at: &Value, until: Option<&Value>) -> Result<Option<Rule>, ()> {
    // `usual`: where it opens again when nothing is said.
    let threshold = |read: fn(&Value) -> Option<f64>, low: f64, high: f64, usual: fn(f64) -> f64| {
        let in_range = |value: &Value| read(value).filter(|value| (low..=high).contains(value)).ok_or(());
        let at = in_range(at)?;
        let until = match until {
            Some(until) => in_range(until)?,
            None => usual(at).clamp(low, high),
        };
        Ok::<_, ()>(Threshold { at, until })
    };
    let alone = |rule| if until.is_none() { Ok(Some(rule)) } else { Err(()) };
    let rule = match name {
        "battery" => threshold(percent, 1.0, 100.0, |at| at + 5.0).map(Rule::Battery).map(Some),
        "temperature" => threshold(number, 1.0, 150.0, |at| at - 3.0).map(Rule::Temperature).map(Some),
        "free_memory" => threshold(bytes, 1.0, 1e18, |at| at * 1.1).map(Rule::FreeMemory).map(Some),
        "free_disk" => threshold(bytes, 1.0, 1e18, |at| at * 1.1).map(Rule::FreeDisk).map(Some),
        "load" => threshold(number, 0.01, 1e6, |at| at * 0.9).map(Rule::Load).map(Some),
        "idle" => threshold(number, 1.0, 86_400.0, |at| at).map(Rule::Idle).map(Some),
        "charging" => match at.as_bool().ok_or(())? {
            true => alone(Rule::Charging),
            false => Ok(None),
        },
        "network" => match at.as_str() {
            Some("any") => alone(Rule::Network { unmetered: false }),
            Some("unmetered") => alone(Rule::Network { unmetered: true }),
            _ => Err(()),
        },
        _ => alone(Rule::Window(at.as_str().and_then(|text| text.parse::<Window>().ok()).ok_or(())?)),
    }?;
    match rule.as_ref().and_then(Rule::threshold) {
        Some((Threshold { at, until }, is_floor)) if (until < at) == is_floor && until != at => Err(()),
        _ => Ok(rule),
    }
}

fn own(command: &Value) -> Result<Rule, String> {
    let argv: Option<Vec<String>> =
        command.as_array().and_then(|list| list.iter().map(|word| word.as_str().map(str::to_owned)).collect());
    argv.filter(|argv| argv.first().is_some_and(|program| !program.is_empty()))
        .map(Rule::Command)
        .ok_or_else(|| format!("has `command` {command}, but must be a list of texts, the program first"))
}

#[expect(clippy::cast_precision_loss, reason = "numbers that people write")]
pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64)).filter(|value| value.is_finite())
}

fn percent(value: &Value) -> Option<f64> {
    number(value).or_else(|| value.as_str()?.strip_suffix('%')?.trim().parse().ok())
}

#[expect(clippy::cast_precision_loss, reason = "a size to compare")]
fn bytes(value: &Value) -> Option<f64> {
    number(value).or_else(|| task::bytes(value.as_str()?).map(|bytes| bytes as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Gate>, String> {
        let table = toml::from_str(text).expect("TOML");
        gates(table, |_| "c.toml:1".to_owned()).map_err(|error| error.0)
    }

    #[test]
    fn a_value_alone_or_a_table() {
        let found = read(
            "battery = 30\ncharging = false\nload = { at = 4, until = 2.5, running = \"pause\", every = 1 }\n\
             vpn = { command = [\"nmcli\", \"x\"] }\nwindow = \"22:00-06:00\"",
        )
        .expect("gates");
        let names: Vec<&str> = found.iter().map(|gate| gate.name.as_str()).collect();
        assert_eq!(names, ["battery", "load", "vpn", "window"]);
        assert_eq!(found[0].rule, Rule::Battery(Threshold { at: 30.0, until: 35.0 }));
        assert_eq!((found[1].running, found[1].every), (Hold::Pause, Duration::from_secs(1)));
        assert_eq!(found[1].rule, Rule::Load(Threshold { at: 4.0, until: 2.5 }));
        assert_eq!(found[2].every, Duration::from_secs(60));
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        for (text, said) in [
            ("battery = 0", "`gates.battery` is 0, but must be percent from 1 to 100"),
            ("window = \"22-6\"", "`gates.window` is \"22-6\", but must be times such as"),
            ("load = { at = 2, until = 3 }", "`until` where it opens again"),
            ("vpn = true", "`gates.vpn` is none of battery, charging"),
            ("battery = { at = 30, if = 2 }", "has the unknown key `if`; they are at, until, running, every, command"),
            ("battery = { command = [\"x\"] }", "takes no `command`"),
            ("vpn = { command = [] }", "must be a list of texts"),
            ("battery = { at = 30, running = \"kill\" }", "has `running` \"kill\", but must be leave, pause, end"),
            ("battery = { at = 30, every = 0 }", "has `every` 0, but must be seconds"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with("c.toml:1: `gates.") && error.contains(said), "{text}: {error}");
        }
    }
}
