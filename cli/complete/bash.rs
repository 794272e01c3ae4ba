//! Bash: it shows no descriptions, breaks words at `=`, and is the only one that can quote the names of its files.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use clap::Command;
use clap_complete::engine::complete;
use clap_complete::env::EnvCompleter;

/// Offered where files go, which are Bash's own to offer.
pub const FILES: &str = "//files//";
/// The variable that says which word is typed.
pub const INDEX: &str = "BATCH_EXECUTOR_COMPLETE_INDEX";

const SCRIPT: &str = r#"_batch_executor() {
    local words=("${COMP_WORDS[@]}")
    [[ ${words[COMP_CWORD]} == = ]] || words[COMP_CWORD]=$2
    mapfile -t COMPREPLY < <(VARIABLE=bash INDEX=$COMP_CWORD COMPLETER -- "${words[@]}" 2>/dev/null)
    if [[ ${COMPREPLY[0]} == FILES ]]; then
        COMPREPLY=()
        compopt -o default
    fi
}
complete -o nosort -F _batch_executor PROGRAM"#;

/// The adapter.
pub struct Bash;

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn is(&self, name: &str) -> bool {
        name == "bash"
    }

    fn write_registration(
        &self,
        variable: &str,
        _name: &str,
        program: &str,
        completer: &str,
        script: &mut dyn Write,
    ) -> io::Result<()> {
        let filled = SCRIPT.replace("INDEX", INDEX).replace("VARIABLE", variable).replace("FILES", FILES);
        writeln!(script, "{}", filled.replace("COMPLETER", completer).replace("PROGRAM", program))
    }

    fn write_complete(
        &self,
        command: &mut Command,
        words: Vec<OsString>,
        folder: Option<&Path>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let at = std::env::var(INDEX).ok().and_then(|index| index.parse().ok()).unwrap_or(0);
        let (words, at, kept) = joined(words, at);
        for candidate in complete(command, words, at, folder)? {
            let value = candidate.get_value().to_string_lossy();
            writeln!(out, "{}", value.strip_prefix(&*kept).unwrap_or(&value))?;
        }
        Ok(())
    }
}

/// The words with `--flag`, `=`, `value` as one again, the place of the typed one, and what of it Bash takes for words of their own.
fn joined(words: Vec<OsString>, at: usize) -> (Vec<OsString>, usize, String) {
    let (mut whole, mut place, mut kept) = (Vec::<OsString>::new(), 0, String::new());
    let mut after_equals = false;
    for (index, word) in words.into_iter().enumerate() {
        let is_equals = word == "=" && whole.last().is_some_and(|last| last.as_encoded_bytes().starts_with(b"--"));
        match whole.last_mut() {
            Some(flag) if is_equals || after_equals => {
                if index == at {
                    kept = flag.to_string_lossy().into_owned() + if is_equals { "=" } else { "" };
                }
                flag.push(word);
            }
            _ => whole.push(word),
        }
        after_equals = is_equals;
        if index == at {
            place = whole.len().saturating_sub(1);
        }
    }
    (whole, place, kept)
}

#[cfg(test)]
mod tests {
    use super::joined;

    fn of(words: &[&str], at: usize) -> (String, usize, String) {
        let (words, place, kept) = joined(words.iter().map(Into::into).collect(), at);
        (words.join(" ".as_ref()).into_string().expect("text"), place, kept)
    }

    #[test]
    fn a_flag_and_its_value_are_one_word() {
        assert_eq!(of(&["b", "show", "1"], 2), ("b show 1".into(), 2, String::new()));
        assert_eq!(of(&["b", "--home", "=", "x", "show", ""], 5), ("b --home=x show ".into(), 3, String::new()));
        assert_eq!(of(&["b", "wait", "--batch-id", "="], 3), ("b wait --batch-id=".into(), 2, "--batch-id=".into()));
        assert_eq!(of(&["b", "--batch-id", "=", "4"], 3), ("b --batch-id=4".into(), 1, "--batch-id=".into()));
    }
}
