//! The tables `[secrets.NAME]` of the configuration.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::secret::{DEFAULT_TIMEOUT_MS, Source};

/// One table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretTable {
    file: Option<PathBuf>,
    command: Option<Vec<String>>,
    timeout: Option<f64>,
}

impl SecretTable {
    /// Where the value comes from; the error completes "`secrets.NAME` …".
    pub(super) fn source(self) -> Result<Source, &'static str> {
        match (self.file, self.command, self.timeout) {
            (Some(path), None, None) if path.is_absolute() => Ok(Source::File { path }),
            (Some(_), None, None) => Err("has a `file` that is not an absolute path"),
            (Some(_), None, Some(_)) => Err("has a `timeout`, which is for a `command` alone"),
            (None, Some(argv), timeout) => {
                if argv.first().is_none_or(String::is_empty) {
                    return Err("needs a `command` that is a list of texts, the program first");
                }
                let timeout_ms = match timeout {
                    None => DEFAULT_TIMEOUT_MS,
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 3,600,000")]
                    Some(seconds) if seconds > 0.0 && seconds <= 3600.0 => (seconds * 1000.0).ceil() as u64,
                    Some(_) => return Err("has a `timeout` that is not above 0 and at most 3600 seconds"),
                };
                Ok(Source::Command { argv, timeout_ms })
            }
            (None, None, _) | (Some(_), Some(_), _) => Err("needs either a `file` or a `command`"),
        }
    }
}

/// The source, for `config`.
pub(super) fn shown(source: &Source) -> Value {
    match source {
        Source::File { path } => json!(path),
        Source::Command { argv, .. } => json!(argv),
    }
}
