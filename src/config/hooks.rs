//! The tables `[hooks.NAME]` of the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use toml::{Spanned, Table, Value};

use super::ConfigError;
use super::gates::number;
use crate::hooks::template::{FIELDS, unknown_field};
use crate::hooks::{Body, DEFAULT_ATTEMPTS, DEFAULT_TIMEOUT, Given, Hook, On, Target};
use crate::secret::Source;

/// The keys of a table.
const KEYS: &[&str] = &["on", "command", "url", "headers", "body", "text", "timeout", "attempts", "at_most_every"];
/// Headers that say where a message ends; they are the client's own to set.
const NOT_OURS: &[&str] = &["connection", "content-length", "host", "transfer-encoding"];

/// The hooks that a file declares; `at` tells the place of an offset.
pub(super) fn hooks(
    tables: BTreeMap<Spanned<String>, Table>,
    secrets: &BTreeMap<String, Source>,
    at: impl Fn(usize) -> String,
) -> Result<Vec<Hook>, ConfigError> {
    let mut hooks = Vec::new();
    for (name, table) in tables {
        let place = at(name.span().start);
        let name = name.into_inner();
        let read = Reader { table, secrets };
        hooks.push(read.hook(&name).map_err(|what| ConfigError(format!("{place}: `hooks.{name}` {what}")))?);
    }
    Ok(hooks)
}

/// A hook, for `config`: secrets by their names alone.
pub(super) fn shown(hook: &Hook) -> serde_json::Value {
    let given = |given: &Given| match given {
        Given::Plain(text) => json!(text),
        Given::Secret(name) => json!({ "secret": name }),
    };
    let on: Vec<&str> = hook.on.iter().map(|on| on.as_str()).collect();
    let mut shown = match &hook.to {
        Target::Command(argv) => json!({ "on": on, "command": argv }),
        Target::Http { url, headers } => {
            let headers: serde_json::Map<_, _> =
                headers.iter().map(|(name, value)| (name.clone(), given(value))).collect();
            json!({ "on": on, "url": given(url), "headers": headers })
        }
    };
    shown["timeout"] = json!(hook.timeout.as_secs_f64());
    shown["attempts"] = json!(hook.attempts);
    if let Some(least) = hook.at_most_every {
        shown["at_most_every"] = json!(least.as_secs_f64());
    }
    match &hook.body {
        Body::Whole => {}
        Body::Json(body) => shown["body"] = body.clone(),
        Body::Text(text) => shown["text"] = json!(text),
    }
    shown
}

/// One table; every error completes "`hooks.NAME` …".
struct Reader<'s> {
    table: Table,
    secrets: &'s BTreeMap<String, Source>,
}

impl Reader<'_> {
    fn hook(mut self, name: &str) -> Result<Hook, String> {
        if let Some(key) = self.table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("has the unknown key `{key}`; they are {}", KEYS.join(", ")));
        }
        let on = self.on()?;
        let to = self.target()?;
        Ok(Hook {
            name: name.to_owned(),
            on,
            to,
            body: self.body()?,
            timeout: self.seconds("timeout", 0.01, 3600.0)?.unwrap_or(DEFAULT_TIMEOUT),
            attempts: self.attempts()?,
            at_most_every: self.seconds("at_most_every", 0.0, 86_400.0)?,
        })
    }

    fn on(&mut self) -> Result<Vec<On>, String> {
        let words = On::ALL.iter().map(|on| on.as_str()).collect::<Vec<_>>().join(", ");
        let Some(value) = self.table.remove("on") else { return Err(format!("needs `on`, a list of {words}")) };
        let on: Option<Vec<On>> =
            value.as_array().and_then(|list| list.iter().map(|word| On::of(word.as_str()?)).collect());
        let on = on.filter(|on| !on.is_empty());
        on.ok_or_else(|| format!("has `on` {}, but must be a list of {words}", one_line(&value)))
    }

    fn target(&mut self) -> Result<Target, String> {
        let (command, url, headers) =
            (self.table.remove("command"), self.table.remove("url"), self.table.remove("headers"));
        match (command, url, headers) {
            (Some(command), None, None) => argv(&command).map(Target::Command),
            (Some(_), None, Some(_)) => Err("has `headers`, which are for a `url`".to_owned()),
            (None, Some(url), headers) => {
                let given = self.given(&url);
                let is_address = |given: &Given| matches!(given, Given::Secret(_)) || is_address(given);
                let url = given.filter(is_address).ok_or_else(|| {
                    let allowed =
                        "an address with http:// or https://, or { secret = \"NAME\" } of one under [secrets]";
                    format!("has `url` {}, but must be {allowed}", one_line(&url))
                })?;
                Ok(Target::Http { url, headers: self.headers(headers)? })
            }
            (None, None, _) | (Some(_), Some(_), _) => Err("needs either a `command` or a `url`".to_owned()),
        }
    }

    fn headers(&self, headers: Option<Value>) -> Result<Vec<(String, Given)>, String> {
        let headers = match headers {
            None => return Ok(Vec::new()),
            Some(Value::Table(headers)) => headers,
            Some(other) => return Err(format!("has `headers` {}, but must be a table", one_line(&other))),
        };
        let header = |(name, value): (String, Value)| {
            let is_name =
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            if !is_name || NOT_OURS.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(format!("has the header {name:?}, which cannot be set"));
            }
            match self.given(&value).filter(|given| !has_control(given)) {
                Some(given) => Ok((name, given)),
                None => Err(format!(
                    "has the header `{name}` {}, but must be a text of one line, or {{ secret = \"NAME\" }} of one under [secrets]",
                    one_line(&value)
                )),
            }
        };
        headers.into_iter().map(header).collect()
    }

    /// A text, or a secret that is declared.
    fn given(&self, value: &Value) -> Option<Given> {
        match value {
            Value::String(text) => Some(Given::Plain(text.clone())),
            Value::Table(table) if table.len() == 1 => {
                let name = table.get("secret")?.as_str()?;
                self.secrets.contains_key(name).then(|| Given::Secret(name.to_owned()))
            }
            _ => None,
        }
    }

    fn body(&mut self) -> Result<Body, String> {
        let (body, text) = (self.table.remove("body"), self.table.remove("text"));
        let body = match (body, text) {
            (None, None) => Body::Whole,
            (Some(_), Some(_)) => return Err("has both `body` and `text`, but sends one".to_owned()),
            (None, Some(Value::String(text))) => Body::Text(text),
            (None, Some(other)) => return Err(format!("has `text` {}, but must be a text", one_line(&other))),
            (Some(body), None) => {
                let json = body.as_str().ok_or_else(|| "it is no text".to_owned());
                let json = json.and_then(|text| serde_json::from_str(text).map_err(|error| error.to_string()));
                Body::Json(json.map_err(|why| {
                    format!(
                        "has `body` {}, but must be a text that is JSON ({why}); plain text goes by `text`",
                        one_line(&body)
                    )
                })?)
            }
        };
        let unknown = match &body {
            Body::Whole => None,
            Body::Text(text) => unknown_field(text),
            Body::Json(json) => unknown_in(json),
        };
        match unknown {
            None => Ok(body),
            Some(field) => Err(no_field(field)),
        }
    }

    fn attempts(&mut self) -> Result<u32, String> {
        let Some(value) = self.table.remove("attempts") else { return Ok(DEFAULT_ATTEMPTS) };
        let attempts = value.as_integer().and_then(|count| u32::try_from(count).ok());
        let attempts = attempts.filter(|count| (1..=1000).contains(count));
        attempts.ok_or_else(|| format!("has `attempts` {value}, but must be a whole number from 1 to 1000"))
    }

    fn seconds(&mut self, key: &str, low: f64, high: f64) -> Result<Option<Duration>, String> {
        let Some(value) = self.table.remove(key) else { return Ok(None) };
        let seconds = number(&value).filter(|seconds| (low..=high).contains(seconds));
        let seconds =
            seconds.ok_or_else(|| format!("has `{key}` {value}, but must be seconds from {low} to {high}"))?;
        Ok(Some(Duration::from_secs_f64(seconds)))
    }
}

fn argv(command: &Value) -> Result<Vec<String>, String> {
    let argv: Option<Vec<String>> =
        command.as_array().and_then(|list| list.iter().map(|word| word.as_str().map(str::to_owned)).collect());
    let argv = argv.filter(|argv| argv.first().is_some_and(|program| !program.is_empty()));
    let argv = argv.ok_or_else(|| {
        format!("has `command` {}, but must be a list of texts, the program first", one_line(command))
    })?;
    match argv.iter().skip(1).find_map(|argument| unknown_field(argument)) {
        None => Ok(argv),
        Some(field) => Err(no_field(field)),
    }
}

fn no_field(field: &str) -> String {
    format!("has the unknown field `{{{{{field}}}}}`; they are {}", FIELDS.join(", "))
}

fn unknown_in(json: &serde_json::Value) -> Option<&str> {
    match json {
        serde_json::Value::String(text) => unknown_field(text),
        serde_json::Value::Array(list) => list.iter().find_map(unknown_in),
        serde_json::Value::Object(map) => map.values().find_map(unknown_in),
        _ => None,
    }
}

fn is_address(given: &Given) -> bool {
    let Given::Plain(text) = given else { return false };
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    // The colons of an IPv6 address are within brackets. To a port that is none the client goes by the usual one.
    let (host, port) = host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).unwrap_or((host, ""));
    let is_port = port.is_empty() || port.parse::<u16>().is_ok();
    !host.is_empty() && is_port && text.chars().all(|c| c.is_ascii_graphic())
}

fn has_control(given: &Given) -> bool {
    matches!(given, Given::Plain(text) if text.chars().any(char::is_control))
}

/// A value as it may be shown in a message of one line.
fn one_line(value: &Value) -> String {
    value.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn read(text: &str) -> Result<Vec<Hook>, String> {
        let tables = toml::from_str(text).expect("TOML");
        let secrets = BTreeMap::from([("chat".to_owned(), Source::File { path: PathBuf::from("/x") })]);
        hooks(tables, &secrets, |_| "c.toml:1".to_owned()).map_err(|error| error.0)
    }

    #[test]
    fn a_hook_with_everything_and_one_with_little() {
        let found = read(
            "[chat]\non = [\"task_failed\", \"idle\"]\nurl = { secret = \"chat\" }\nheaders = { X-A = \"b\" }\n\
             body = '{\"text\": \"{{text}}\"}'\ntimeout = 2\nattempts = 1\nat_most_every = 0.5\n\
             [desk]\non = [\"crashed\"]\ncommand = [\"notify-send\", \"{{text}}\"]\n",
        )
        .expect("hooks");
        assert_eq!((&found[0].on, found[0].attempts), (&vec![On::TaskFailed, On::Idle], 1));
        assert_eq!((found[0].gathers_ms(On::TaskFailed), found[1].gathers_ms(On::TaskFailed)), (500, 10_000));
        assert_eq!(found[0].to.to_string(), "the secret `chat`");
        assert_eq!((found[1].timeout, found[1].attempts, &found[1].body), (DEFAULT_TIMEOUT, 5, &Body::Whole));
        assert_eq!(shown(&found[0])["url"], json!({"secret": "chat"}));
    }

    #[test]
    fn an_address_may_have_a_port_and_a_user() {
        for url in
            ["http://x", "https://x:8443/y:z", "http://[::1]", "http://[::1]:80/", "http://u:p@x?a=b:c", "http://x:/"]
        {
            assert!(read(&format!("[h]\non = [\"idle\"]\nurl = \"{url}\"")).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        let command = "command = [\"x\"]";
        for (text, said) in [
            (command.to_owned(), "needs `on`, a list of batch_ended, task_failed, idle, gate_closed, crashed"),
            (format!("on = [\"failed\"]\n{command}"), "has `on` [\"failed\"], but must be a list of batch_ended"),
            (format!("on = []\n{command}"), "has `on` [], but"),
            ("on = [\"idle\"]".to_owned(), "needs either a `command` or a `url`"),
            (format!("on = [\"idle\"]\n{command}\nurl = \"http://x\""), "needs either a `command` or a `url`"),
            ("on = [\"idle\"]\ncommand = \"x\"".to_owned(), "has `command` \"x\", but must be a list of texts"),
            (
                "on = [\"idle\"]\ncommand = [\"x\", \"{{tekst}}\"]".to_owned(),
                "the unknown field `{{tekst}}`; they are hook, event",
            ),
            (
                "on = [\"idle\"]\nurl = \"ftp://x\"".to_owned(),
                "has `url` \"ftp://x\", but must be an address with http://",
            ),
            ("on = [\"idle\"]\nurl = \"http://x:99999/\"".to_owned(), "has `url` \"http://x:99999/\", but must be"),
            ("on = [\"idle\"]\nurl = \"http://u:p@:80\"".to_owned(), "has `url` \"http://u:p@:80\", but must be"),
            ("on = [\"idle\"]\nurl = { secret = \"no\" }".to_owned(), "{ secret = \"NAME\" } of one under [secrets]"),
            ("on = [\"idle\"]\nurl = \"http://x\"\nheaders = { A = \"b\\nc\" }".to_owned(), "has the header `A`"),
            ("on = [\"idle\"]\nurl = \"http://x\"\nheaders = { Host = \"b\" }".to_owned(), "which cannot be set"),
            (format!("on = [\"idle\"]\n{command}\nheaders = {{ A = \"b\" }}"), "has `headers`, which are for a `url`"),
            (
                "on = [\"idle\"]\nurl = \"http://x\"\nbody = '{\"a\": {{text}}}'".to_owned(),
                "must be a text that is JSON",
            ),
            ("on = [\"idle\"]\nurl = \"http://x\"\nbody = '[\"{{no}}\"]'".to_owned(), "the unknown field `{{no}}`"),
            (format!("on = [\"idle\"]\n{command}\nbody = '{{}}'\ntext = \"x\""), "has both `body` and `text`"),
            (
                format!("on = [\"idle\"]\n{command}\ntimeout = 0"),
                "has `timeout` 0, but must be seconds from 0.01 to 3600",
            ),
            (
                format!("on = [\"idle\"]\n{command}\nattempts = 0"),
                "has `attempts` 0, but must be a whole number from 1 to 1000",
            ),
            (
                format!("on = [\"idle\"]\n{command}\nat_most_every = -1"),
                "has `at_most_every` -1, but must be seconds from 0 to",
            ),
            (format!("on = [\"idle\"]\n{command}\nevery = 1"), "has the unknown key `every`; they are on, command"),
        ] {
            let error = read(&format!("[h]\n{text}")).expect_err(&text);
            assert!(error.starts_with("c.toml:1: `hooks.h` ") && error.contains(said), "{text}: {error}");
        }
    }
}
