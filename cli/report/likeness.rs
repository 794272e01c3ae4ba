//! Failures grouped by likeness: the same function, and the same last line of the error but for numbers, paths and quoted text.

use std::collections::HashMap;

use batch_executor::task::TaskId;
use batch_executor::visible::telling_line;

use super::plain::{self, Tail};

/// The most groups; what comes after them is counted together.
const MOST_GROUPS: usize = 500;
/// The most ids that a group keeps.
const MOST_IDS: usize = 100;
/// The longest line that is shown of a group, in characters.
const LINE: usize = 200;

/// Failures that are alike.
#[derive(Debug)]
pub struct Group {
    pub function: usize,
    /// The last line of the first one's error.
    pub line: String,
    pub count: u64,
    /// The first ones.
    pub ids: Vec<TaskId>,
    /// The end of the first one's error, and of what it wrote.
    pub error: String,
    pub example: Tail,
}

/// The failures of a report.
#[derive(Debug, Default)]
pub struct Groups {
    places: HashMap<(usize, String), usize>,
    groups: Vec<Group>,
    /// Failures that are in no group, for there are too many groups.
    pub others: u64,
}

impl Groups {
    /// Adds a failure; of the first of its kind `example` is asked for what it wrote.
    pub fn add(&mut self, task: TaskId, function: usize, error: &str, example: impl FnOnce() -> Tail) {
        let last = last_line(error);
        let key = (function, normalised(last));
        if let Some(&place) = self.places.get(&key) {
            let group = &mut self.groups[place];
            group.count += 1;
            if group.ids.len() < MOST_IDS {
                group.ids.push(task);
            }
        } else if self.groups.len() == MOST_GROUPS {
            self.others += 1;
        } else {
            self.places.insert(key, self.groups.len());
            let line = plain::line(last, LINE);
            let error = plain::tail(error, 2000).text;
            self.groups.push(Group { function, line, count: 1, ids: vec![task], error, example: example() });
        }
    }

    /// The largest first; those of the same size in the order of their first task.
    pub fn by_size(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        groups
    }
}

/// The line that says what it was.
pub fn last_line(error: &str) -> &str {
    Some(telling_line(error)).filter(|line| !line.is_empty()).unwrap_or("no error was told")
}

/// Without what differs between failures of one kind: quoted text, paths, hexadecimal and other numbers.
pub fn normalised(line: &str) -> String {
    let mut result = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let before = result.chars().next_back();
        let begins = before.is_none_or(|c| !c.is_alphanumeric());
        let quoted = matches!(first, '\'' | '"' | '`') && begins;
        let word = rest.find(|c: char| c.is_whitespace() || ",;()[]{}<>\"'`".contains(c)).unwrap_or(rest.len());
        let word = rest[..word].trim_end_matches([':', '.']).len();
        let length = if let Some(end) = rest[first.len_utf8()..].find(first).filter(|_| quoted) {
            result.push('“');
            end + 2 * first.len_utf8()
        } else if begins && rest[..word].contains('/') {
            result.push('/');
            word
        } else if begins && word >= 6 && is_hexadecimal(&rest[..word]) {
            result.push('#');
            word
        } else if first.is_ascii_digit() {
            result.push('#');
            number(rest)
        } else {
            result.push(first);
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    result
}

/// A hash, a UUID, an address.
fn is_hexadecimal(word: &str) -> bool {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    digits.chars().all(|c| c.is_ascii_hexdigit() || c == '-') && digits.contains(|c: char| c.is_ascii_digit())
}

/// The length of a number with its points, colons and commas: a time and a version are one each.
fn number(text: &str) -> usize {
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ',' | ':' | '_')).unwrap_or(text.len());
    text[..end].trim_end_matches(['.', ',', ':', '_']).len().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_between_failures_of_a_kind_is_left_out() {
        let alike = [
            ("KeyError: 'user_17'", "KeyError: 'x'"),
            ("cannot open /tmp/a/1.txt: No such file", "cannot open ./other: No such file"),
            ("timed out after 30 s", "timed out after 1.5 s"),
            ("object at 0x7f3a99 is gone", "object at 0x1234abcd is gone"),
            ("commit 3f2a9c1d not found", "commit 00aa11bb not found"),
            ("GET https://a.example/1?x=2 failed: 503", "GET https://b.example failed: 503"),
            ("line 12:34: syntax", "line 1:2: syntax"),
        ];
        for (one, other) in alike {
            assert_eq!(normalised(one), normalised(other));
        }
        let unlike = [("KeyError: 'a'", "ValueError: 'a'"), ("it can't be", "it won't be"), ("exit ä", "exit ö")];
        for (one, other) in unlike {
            assert_ne!(normalised(one), normalised(other));
        }
        assert_eq!(normalised("it can't, 'a' and 'b'"), "it can't, “ and “");
        assert_eq!(normalised("unfinished 'quote 5"), "unfinished 'quote #");
    }

    #[test]
    fn groups_by_function_and_line() {
        let mut groups = Groups::default();
        let none = Tail::default;
        groups.add(1, 0, "exit code 1\nTraceback\nKeyError: 'a'\n", none);
        groups.add(2, 0, "KeyError: 'b'", none);
        groups.add(3, 1, "KeyError: 'b'", none);
        groups.add(4, 0, "", none);
        let found: Vec<_> = groups.by_size().iter().map(|g| (g.count, g.ids.clone(), g.line.clone())).collect();
        assert_eq!(
            found,
            [
                (2, vec![1, 2], "KeyError: 'a'".to_owned()),
                (1, vec![3], "KeyError: 'b'".to_owned()),
                (1, vec![4], "no error was told".to_owned())
            ]
        );
    }
}
