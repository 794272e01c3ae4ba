//! What comes into the program is what `deny.toml` allows: the same lists that `make deny` gives to cargo-deny, which takes
//! minutes to build, held against `cargo metadata`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array_mut().map(std::mem::take).expect("a list")
}

fn rules() -> toml::Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    std::fs::read_to_string(path).expect("the lists").parse().expect("TOML")
}

fn list<'t>(rules: &'t toml::Table, section: &str, name: &str) -> Vec<&'t toml::Value> {
    rules[section][name].as_array().expect("a list").iter().collect()
}

/// Whether one of the licences that are offered together (OR) has all its parts (AND) allowed; the SPDX words as crates use
/// them, `/` for OR included.
fn is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let parts = expression.replace('/', " OR ").replace(['(', ')'], "");
    parts.split(" AND ").all(|part| part.split(" OR ").any(|licence| allowed.contains(licence.trim())))
}

#[test]
fn every_licence_is_allowed_and_every_source_known() {
    let rules = rules();
    let allowed: BTreeSet<_> = list(&rules, "licenses", "allow").into_iter().filter_map(toml::Value::as_str).collect();
    let sources: BTreeSet<_> =
        list(&rules, "sources", "allow-registry").into_iter().filter_map(toml::Value::as_str).collect();
    let mut wrong = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        let licence = package["license"].as_str().unwrap_or_default();
        if !is_allowed(licence, &allowed) {
            wrong.push(format!("{name}: licence {licence:?}"));
        }
        // The package itself has none.
        let source = package["source"].as_str().map(|source| source.trim_start_matches("registry+"));
        if source.is_some_and(|source| !sources.contains(source)) {
            wrong.push(format!("{name}: source {source:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_comes_in_that_is_banned() {
    let rules = rules();
    let packages = packages();
    for banned in list(&rules, "bans", "deny") {
        let banned = banned["crate"].as_str().expect("a crate");
        let (name, below) = banned.split_once(":<").map_or((banned, None), |(name, below)| (name, Some(below)));
        let numbers = |version: &str| version.split('.').map(|n| n.parse::<u64>().unwrap_or(0)).collect::<Vec<_>>();
        for package in packages.iter().filter(|package| package["name"] == name) {
            let version = package["version"].as_str().expect("a version");
            let is_newer = below.is_some_and(|below| numbers(version) >= numbers(below));
            assert!(is_newer, "{name} {version} is banned: {banned}");
        }
    }
}

#[test]
fn an_expression_is_read_as_it_is_meant() {
    let allowed: BTreeSet<_> = ["MIT", "Unicode-3.0"].into();
    for good in ["MIT", "Apache-2.0 OR MIT", "Unlicense/MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["", "Apache-2.0", "GPL-3.0 AND MIT", "(MIT OR Apache-2.0) AND Zlib"] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}
