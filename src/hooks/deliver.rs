//! One attempt to tell.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::http::{self, Post};
use super::message::{Sender, Told};
use super::template::{fill, fill_json};
use super::{Body, Given, Hook, Target};
use crate::command::Place;
use crate::secret::{self, Source, Wanted};
use crate::visible::{clipped, visible_line};

/// What an attempt may take beyond its time limit, for whoever keeps to the limit to say so.
const MARGIN: Duration = Duration::from_secs(1);
/// What is kept of what answered or went wrong, in characters.
const SAID: usize = 200;

/// Why something was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub said: String,
    /// To try again would change nothing.
    pub is_lasting: bool,
}

impl Failure {
    pub(super) fn passing(said: impl Into<String>) -> Self {
        Self { said: said.into(), is_lasting: false }
    }

    pub(super) fn lasting(said: impl Into<String>) -> Self {
        Self { said: said.into(), is_lasting: true }
    }
}

/// What it takes to deliver.
#[derive(Debug)]
pub(super) struct Deliverer {
    pub sender: Sender,
    pub secrets: BTreeMap<String, Source>,
    /// This program, which reads secrets.
    pub program: PathBuf,
    /// Where commands run, and with what environment.
    pub home: PathBuf,
    pub environment: BTreeMap<String, String>,
}

impl Deliverer {
    /// Tells once; gives what was answered, in one line.
    pub async fn deliver(&self, hook: &Hook, told: &Told) -> Result<String, Failure> {
        let delivered = match timeout(hook.timeout + MARGIN, self.attempt(hook, told)).await {
            Ok(delivered) => delivered,
            Err(_) => Err(Failure::passing(format!("it took more than {} s", hook.timeout.as_secs_f64()))),
        };
        delivered.map(|said| shortened(&said)).map_err(|failure| Failure { said: shortened(&failure.said), ..failure })
    }

    async fn attempt(&self, hook: &Hook, told: &Told) -> Result<String, Failure> {
        let message = told.message(&hook.name, &self.sender);
        let (content_type, body) = match &hook.body {
            Body::Whole => ("application/json", message.to_string()),
            Body::Json(template) => ("application/json", fill_json(template, &message).to_string()),
            Body::Text(template) => ("text/plain; charset=utf-8", fill(template, &message)),
        };
        match &hook.to {
            Target::Command(argv) => {
                // An argument ends where there is a NUL.
                let argument = |template: &String| fill(template, &message).replace('\0', "\\x00");
                let argv: Vec<String> = argv.iter().take(1).cloned().chain(argv.iter().skip(1).map(argument)).collect();
                // A line, for programs that read one.
                self.run(hook, &argv, format!("{body}\n").as_bytes()).await
            }
            Target::Http { url, headers } => {
                let (timeout, deadline) = (hook.timeout, Instant::now() + hook.timeout);
                let given: Vec<&Given> = std::iter::once(url).chain(headers.iter().map(|(_, value)| value)).collect();
                let mut values = self.values(hook, &given).await?.into_iter();
                let url = values.next().unwrap_or_default();
                let names = headers.iter().map(|(name, _)| name.clone());
                let is_secret = given.iter().any(|given| matches!(given, Given::Secret(_)));
                let headers = names.zip(values).collect();
                http::send(Post { url, headers, content_type, body: body.into_bytes(), timeout, deadline, is_secret })
                    .await
            }
        }
    }

    async fn run(&self, hook: &Hook, argv: &[String], input: &[u8]) -> Result<String, Failure> {
        let program = argv.first().map_or("", String::as_str);
        let ended = self.place().run(argv, input, hook.timeout).await;
        let ended = ended.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Failure::passing(error.to_string()),
            _ => Failure::passing(format!("`{program}` cannot be run: {error}")),
        })?;
        let how = ended.status.code().map_or_else(|| ended.status.to_string(), |code| format!("exit code {code}"));
        if ended.status.success() {
            return Ok(how);
        }
        Err(Failure::passing(match ended.last_line(SAID) {
            Some(line) => format!("{how}: {line}"),
            None => how,
        }))
    }

    fn place(&self) -> Place<'_> {
        Place { cwd: &self.home, environment: &self.environment }
    }

    /// The values, in their order; secrets are read now, by a process of its own.
    async fn values(&self, hook: &Hook, given: &[&Given]) -> Result<Vec<String>, Failure> {
        let wanted = given.iter().filter_map(|given| match given {
            Given::Plain(_) => None,
            Given::Secret(name) => {
                let source = self.secrets.get(name)?.clone();
                Some(Wanted { variable: String::new(), name: name.clone(), source })
            }
        });
        let wanted: Vec<Wanted> = wanted.collect();
        let mut read = Vec::new();
        if !wanted.is_empty() {
            let argv = [self.program.display().to_string(), "read-secrets".to_owned()];
            let ended = self.place().run(&argv, &secret::asked(&wanted), hook.timeout).await;
            let ended = ended.map_err(|error| Failure::passing(format!("the secrets were not read: {error}")))?;
            read = secret::answered(&ended.stdout).map_err(Failure::passing)?;
        }
        let mut read = read.into_iter();
        let value = |given: &&Given| match given {
            Given::Plain(text) => Ok(text.clone()),
            Given::Secret(name) => {
                let value = read.next().and_then(|value| String::from_utf8(value.bytes().to_vec()).ok());
                value.ok_or_else(|| Failure::lasting(format!("the secret `{name}` is no text")))
            }
        };
        given.iter().map(value).collect()
    }
}

fn shortened(said: &str) -> String {
    clipped(&visible_line(said.trim()), SAID).into_owned()
}
