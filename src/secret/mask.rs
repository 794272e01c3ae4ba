//! Masking: a stream without the values that it must not show, however it is cut into reads.
//!
//! Every byte of every occurrence goes; each run of them becomes `***`. What may be the beginning of a value is held
//! back until the next read tells. Pure.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Value;

/// What stands for a value.
const SHOWN: &[u8] = b"***";

/// Values that are not shown, in the forms in which programs write them.
#[derive(Clone, Serialize, Deserialize)]
pub struct Mask {
    patterns: Vec<Pattern>,
    /// For each byte, whether a pattern begins with it.
    begins: Vec<bool>,
}

/// One form of one value, for the search of Knuth, Morris and Pratt.
#[derive(Clone, Serialize, Deserialize)]
struct Pattern {
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    /// For each length of a match, the length of the longest shorter match within it.
    shorter: Vec<u32>,
}

/// A stream on its way through a mask.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Masked {
    /// For each pattern, how much of it the stream ends with.
    matched: Vec<u32>,
    /// What the stream ends with that may be a value's beginning.
    #[serde(with = "serde_bytes")]
    held: Vec<u8>,
    /// The parts of `held` that are values, in order and apart.
    hidden: VecDeque<Range<usize>>,
    /// The last that came out was a value.
    hiding: bool,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mask({})", self.patterns.len())
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masked")
    }
}

impl Mask {
    /// A mask of these values, none of them empty.
    pub fn new(values: &[Value]) -> Self {
        let mut forms: Vec<Vec<u8>> = values.iter().flat_map(|value| forms(value.bytes())).collect();
        forms.sort_unstable();
        forms.dedup();
        let mut begins = vec![false; 256];
        for first in forms.iter().filter_map(|form| form.first()) {
            begins[usize::from(*first)] = true;
        }
        Self { patterns: forms.into_iter().map(Pattern::new).collect(), begins }
    }

    /// A text without the values.
    pub fn text(&self, text: &str) -> String {
        let (mut stream, mut shown) = (Masked::default(), Vec::new());
        stream.push(self, text.as_bytes(), &mut shown);
        stream.finish(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    }
}

/// A value as it is and as JSON has it: plain, ASCII only (Python), with `\/` (PHP), without `<`, `>` and `&` (Go).
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![value.to_vec()];
    if let Ok(text) = std::str::from_utf8(value) {
        let quoted = serde_json::Value::from(text).to_string();
        let plain = &quoted[1..quoted.len() - 1];
        let ascii = escaped(plain, |c| !c.is_ascii());
        forms.extend(
            [ascii.replace('/', "\\/"), escaped(plain, |c| "<>&".contains(c)), ascii, plain.to_owned()]
                .map(String::into_bytes),
        );
    }
    forms
}

/// The text with the chosen characters as `\u0000`.
fn escaped(text: &str, chosen: impl Fn(char) -> bool) -> String {
    let mut units = [0; 2];
    text.chars()
        .map(|c| match chosen(c) {
            true => c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
            false => c.to_string(),
        })
        .collect()
}

impl Pattern {
    fn new(bytes: Vec<u8>) -> Self {
        let mut pattern = Self { shorter: vec![0, 0], bytes };
        for at in 1..pattern.bytes.len() {
            let length = pattern.step(pattern.shorter[at], pattern.bytes[at]);
            pattern.shorter.push(length);
        }
        pattern
    }

    /// The length of the match after one more byte.
    fn step(&self, mut matched: u32, byte: u8) -> u32 {
        while self.bytes.get(matched as usize) != Some(&byte) {
            if matched == 0 {
                return 0;
            }
            matched = self.shorter[matched as usize];
        }
        matched + 1
    }
}

impl Masked {
    /// Takes the next bytes and gives what can be shown so far.
    pub fn push(&mut self, mask: &Mask, bytes: &[u8], shown: &mut Vec<u8>) {
        self.matched.resize(mask.patterns.len(), 0);
        let (mut at, mut open) = (self.held.len(), self.held.len());
        self.held.extend_from_slice(bytes);
        while at < self.held.len() {
            if open == 0 {
                let rest = &self.held[at..];
                at += rest.iter().position(|byte| mask.begins[usize::from(*byte)]).unwrap_or(rest.len());
            }
            let Some(byte) = self.held.get(at).copied() else { break };
            at += 1;
            open = 0;
            for (pattern, matched) in mask.patterns.iter().zip(&mut self.matched) {
                *matched = pattern.step(*matched, byte);
                let length = *matched as usize;
                if length == pattern.bytes.len() {
                    hide(&mut self.hidden, at - length..at);
                }
                open = open.max(length);
            }
        }
        let upto = self.held.len() - open;
        self.show(upto, shown);
    }

    /// Gives what was held back: the stream has ended.
    pub fn finish(&mut self, shown: &mut Vec<u8>) {
        self.show(self.held.len(), shown);
        self.matched.clear();
    }

    fn show(&mut self, upto: usize, shown: &mut Vec<u8>) {
        let mut at = 0;
        while at < upto {
            let next = self.hidden.front().cloned().unwrap_or(upto..upto);
            if at < next.start {
                let plain = next.start.min(upto);
                shown.extend_from_slice(&self.held[at..plain]);
                self.hiding = false;
                at = plain;
            } else {
                if !self.hiding {
                    shown.extend_from_slice(SHOWN);
                    self.hiding = true;
                }
                at = next.end.min(upto);
                if at == next.end {
                    self.hidden.pop_front();
                }
            }
        }
        self.held.drain(..upto);
        for range in &mut self.hidden {
            *range = range.start.saturating_sub(upto)..range.end - upto;
        }
    }
}

/// Adds a range that ends where the stream does now.
fn hide(hidden: &mut VecDeque<Range<usize>>, new: Range<usize>) {
    let mut start = new.start;
    while let Some(last) = hidden.pop_back_if(|last| last.end >= start) {
        start = start.min(last.start);
    }
    hidden.push_back(start..new.end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mask(values: &[&str]) -> Mask {
        Mask::new(&values.iter().map(|value| Value::from(value.as_bytes())).collect::<Vec<_>>())
    }

    /// What is shown of a text that comes in pieces.
    fn shown(mask: &Mask, pieces: &[&[u8]]) -> Vec<u8> {
        let (mut stream, mut shown) = (Masked::default(), Vec::new());
        for piece in pieces {
            stream.push(mask, piece, &mut shown);
        }
        stream.finish(&mut shown);
        shown
    }

    /// The same by the definition: every byte of every occurrence goes, each run of them is `***`.
    fn defined(mask: &Mask, text: &[u8]) -> Vec<u8> {
        let mut hidden = vec![false; text.len()];
        for pattern in &mask.patterns {
            for at in 0..text.len() {
                if text[at..].starts_with(&pattern.bytes) {
                    hidden[at..at + pattern.bytes.len()].fill(true);
                }
            }
        }
        let mut shown = Vec::new();
        for (at, byte) in text.iter().enumerate() {
            match hidden[at] {
                false => shown.push(*byte),
                true if at > 0 && hidden[at - 1] => {}
                true => shown.extend(SHOWN),
            }
        }
        shown
    }

    #[test]
    fn a_value_goes_however_it_is_cut() {
        let mask = mask(&["s3cr3t"]);
        assert_eq!(shown(&mask, &[b"a s3cr3t!"]), b"a ***!");
        assert_eq!(shown(&mask, &[b"a s3", b"cr", b"3t!"]), b"a ***!");
        assert_eq!(shown(&mask, &[b"s3crs3cr3t", b"s3cr3t"]), b"s3cr***");
        assert_eq!(shown(&mask, &[b"s3cr3"]), b"s3cr3", "not the value");
        assert_eq!(mask.text("no s3cr3t here"), "no *** here");
        assert_eq!(format!("{mask:?}"), "Mask(1)");
    }

    #[test]
    fn what_overlaps_goes_whole() {
        assert_eq!(shown(&mask(&["abcd", "cdef"]), &[b"xabcdefx"]), b"x***x");
        assert_eq!(shown(&mask(&["abcdefgh", "cde"]), &[b"abcdex abc", b"defgh"]), b"ab***x ***");
        assert_eq!(shown(&mask(&["aaaa"]), &[&[b'a'; 1000], b"aaab"]), b"***b");
    }

    #[test]
    fn only_what_may_become_a_value_is_held_back() {
        let mask = mask(&["s3cr3t"]);
        let (mut stream, mut shown) = (Masked::default(), Vec::new());
        stream.push(&mask, b"ready\n", &mut shown);
        assert_eq!(shown, b"ready\n");
        stream.push(&mask, b"go s3c", &mut shown);
        assert_eq!(shown, b"ready\ngo ");
        stream.push(&mask, b"\n", &mut shown);
        assert_eq!(shown, b"ready\ngo s3c\n");
    }

    #[test]
    fn a_stream_goes_on_after_it_was_stored() {
        let mask = mask(&["s3cr3t"]);
        let (mut stream, mut shown) = (Masked::default(), Vec::new());
        stream.push(&mask, b"x s3cr3ts3c", &mut shown);
        let stored = rmp_serde::to_vec_named(&(mask, stream)).expect("stored");
        let (mask, mut stream): (Mask, Masked) = rmp_serde::from_slice(&stored).expect("read");
        stream.push(&mask, b"r3t y", &mut shown);
        assert_eq!(shown, b"x *** y");
    }

    #[test]
    fn the_forms_that_json_gives_a_value_go_too() {
        let mask = mask(&["é/\"<&\n9"]);
        for form in [r#"é/\"<&\n9"#, r#"\u00e9/\"<&\n9"#, r#"\u00e9\/\"<&\n9"#, r#"é/\"\u003c\u0026\n9"#] {
            assert_eq!(mask.text(&format!("[\"{form}\"]")), "[\"***\"]");
        }
    }

    proptest! {
        // Few letters, so that values overlap each other and themselves.
        #[test]
        fn any_text_in_any_pieces_is_masked_as_defined(
            values in proptest::collection::vec("[abc]{1,7}", 1..4),
            text in "[abc.]{0,200}",
            cuts in proptest::collection::vec(0_usize..201, 0..12),
        ) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let mask = mask(&values);
            let text = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            let shown = shown(&mask, &pieces);
            prop_assert_eq!(&shown, &defined(&mask, text));
            for value in values {
                prop_assert!(!shown.windows(value.len()).any(|part| part == value.as_bytes()));
            }
        }
    }
}
