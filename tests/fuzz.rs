//! What comes from a socket, a file or a task may be any bytes: no panic, no hang, no growth. Each target runs over its
//! corpus (`fuzz/corpus/TARGET`) and what is near it; `TORTURE=full` tries a hundred times as much, `FUZZ_SEED=N` the same again.

#[path = "fuzz/targets.rs"]
mod targets;

use std::panic::catch_unwind;
use std::path::Path;

use targets::TARGETS;

/// How many inputs beside the corpus.
const TRIES: usize = 3_000;
/// No input grows longer.
const LONGEST: usize = 16 * 1024;
/// What parsers trip over.
const WORDS: &[&[u8]] = &[
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff\xff\xff\xff",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"\\u0000",
    b",",
    b":",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"0.1",
    b"\"\"\"",
    b"''",
    b"[functions.x]\n",
    b"=",
    b"\xef\xbb\xbf",
    b"\xf0\x9f\x98\x80",
    b"tasks",
    b"name",
    b"function",
    b"action",
    b"task_id",
    b"params",
    b"\x01\x05\0\0\0",
    b"\xff\x08\0\0\0",
    b"\xdd\xff\xff\xff\xff",
];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut names: Vec<_> =
        std::fs::read_dir(folder).expect("a corpus").map(|entry| entry.expect("a file").path()).collect();
    names.sort();
    names.iter().map(|name| std::fs::read(name).expect("a file")).collect()
}

fn near(random: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = random.choice(corpus).cloned().unwrap_or_default();
    for _ in 0..random.usize(1..8) {
        let at = random.usize(0..=bytes.len());
        let upto = random.usize(at..=bytes.len().min(at + 32));
        let put: Vec<u8> = match random.u8(0..6) {
            0 => vec![random.u8(..)],
            1 => Vec::new(),
            2 => random.choice(WORDS).copied().unwrap_or_default().to_vec(),
            3 => bytes[at..upto].repeat(random.usize(2..40)),
            4 => (0..random.usize(0..16)).map(|_| random.u8(..)).collect(),
            _ => random.choice(corpus).map(|other| other[random.usize(0..=other.len())..].to_vec()).unwrap_or_default(),
        };
        bytes.splice(at..upto, put);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn try_near_the_corpus(name: &str) {
    let (_, target) = TARGETS.iter().find(|(of, _)| *of == name).expect("a target");
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "no corpus of {name}");
    let seed = std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("{name}: FUZZ_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let tries = if std::env::var("TORTURE").is_ok_and(|how| how == "full") { TRIES * 100 } else { TRIES };
    let others = std::iter::repeat_with(|| near(&mut random, &corpus)).take(tries);
    for input in corpus.iter().cloned().chain(others) {
        let held = catch_unwind(|| target(&input));
        assert!(held.is_ok(), "{name}, FUZZ_SEED={seed}: b\"{}\"", input.escape_ascii());
    }
}

#[test]
fn requests() {
    try_near_the_corpus("request");
}

#[test]
fn files_of_tasks() {
    try_near_the_corpus("tasks");
}

#[test]
fn configurations() {
    try_near_the_corpus("config");
}

#[test]
fn messages_of_daemon_and_keeper() {
    try_near_the_corpus("keeper");
}

#[test]
fn logs() {
    try_near_the_corpus("logs");
}
