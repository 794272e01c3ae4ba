//! A command line as a person could type it.

/// The words in one line, quoted for a shell where that is needed.
pub fn command_line(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::command_line;

    #[test]
    fn only_what_needs_quotes_has_them() {
        let line = |words: &[&str]| command_line(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(line(&["echo", "hi there"]), "echo 'hi there'");
        assert_eq!(line(&["a/b", "--x=1", ""]), "a/b --x=1 ''");
        assert_eq!(line(&["it's", "$HOME"]), r"'it'\''s' '$HOME'");
    }
}
