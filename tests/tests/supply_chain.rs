//! deny.toml holds: what `cargo deny check licenses bans sources` says, without that tool and without a network, for
//! every change. Advisories need the database of `cargo deny check advisories`; here only those that are excused are
//! looked at.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use corgi_tests::binary;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Whom each excused advisory is about. An excuse for what is not there any more must go.
const EXCUSED: [(&str, &str, &str); 3] = [
    ("RUSTSEC-2024-0437", "protobuf", "2."),
    ("RUSTSEC-2025-0057", "fxhash", "0."),
    ("RUSTSEC-2026-0097", "rand", "0.8."),
];

struct Package {
    name: String,
    version: String,
    license: String,
    source: Option<String>,
}

/// Returns all packages of Cargo.lock, also those for other systems and for tests.
fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(binary::repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {output:?}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| Package {
            name: text(&package["name"]).unwrap(),
            version: text(&package["version"]).unwrap(),
            license: text(&package["license"]).unwrap_or_default(),
            source: text(&package["source"]),
        })
        .collect()
}

fn deny() -> String {
    fs::read_to_string(binary::repository().join("deny.toml")).unwrap()
}

/// Returns the strings in the lines of a list, `name = [` to `]`.
fn list(text: &str, name: &str) -> BTreeSet<String> {
    let (_, rest) = text.split_once(&format!("\n{name} = [\n")).unwrap();
    let (items, _) = rest.split_once("\n]").unwrap();
    let lines = items.lines().map(str::trim);
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split('"').nth(1))
        .map(str::to_owned)
        .collect()
}

/// Whether an SPDX expression can be met by licences of which all are in `allowed`.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    any(&mut rest, allowed) && rest.is_empty()
}

fn any(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = all(words, allowed);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        met |= all(words, allowed);
    }
    met
}

fn all(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, allowed);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let met = any(words, allowed);
            *words = words.strip_prefix(&[")"]).unwrap_or(&["unbalanced"]);
            met
        }
        // With an exception it is another licence.
        [name, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(&format!("{name} WITH {exception}"))
        }
        [name, rest @ ..] => {
            *words = rest;
            allowed.contains(*name)
        }
        [] => false,
    }
}

#[test]
fn every_licence_is_one_that_deny_toml_allows() {
    let allowed = list(&deny(), "allow");
    assert!(allowed.contains("MIT"), "{allowed:?}");
    let (ours, theirs): (Vec<_>, Vec<_>) = packages().into_iter().partition(|p| p.source.is_none());
    assert!(ours.iter().any(|p| p.name == "corgi-server"));
    let refused: Vec<_> = theirs
        .iter()
        .filter(|p| !is_met(&p.license, &allowed))
        .map(|p| format!("{} {}: {}", p.name, p.version, p.license))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn everything_comes_from_the_registry_and_nothing_is_banned() {
    let text = deny();
    let (_, bans) = text.split_once("[bans]").unwrap();
    let banned = list(bans, "deny");
    assert!(banned.contains("openssl-sys"), "{banned:?}");
    for package in packages() {
        let from = package.source.as_deref();
        assert!(
            from.is_none_or(|from| from == REGISTRY),
            "{} {from:?}",
            package.name
        );
        assert!(!banned.contains(&package.name), "{}", package.name);
    }
}

#[test]
fn what_is_excused_is_still_there() {
    let text = deny();
    let excused = list(&text, "ignore");
    let known = EXCUSED.map(|(id, ..)| id.to_owned());
    assert_eq!(excused, BTreeSet::from(known));
    let packages = packages();
    for (id, name, version) in EXCUSED {
        let found = packages
            .iter()
            .any(|p| p.name == name && p.version.starts_with(version));
        assert!(found, "{id} is about {name} {version}, which is gone");
    }
}

#[test]
fn expressions_mean_what_spdx_says() {
    let allowed = ["MIT", "ISC"].map(str::to_owned).into();
    for met in [
        "MIT",
        "MIT/Zlib",
        "Zlib OR MIT",
        "(MIT OR X) AND ISC",
        "MIT AND ISC OR X",
    ] {
        assert!(is_met(met, &allowed), "{met}");
    }
    for not in [
        "",
        "Zlib",
        "MIT AND Zlib",
        "MIT WITH X",
        "(MIT OR X) AND Y",
        "(MIT",
        "MIT ISC",
    ] {
        assert!(!is_met(not, &allowed), "{not}");
    }
}
