//! The crates depend on each other in one direction, and the pure ones on no runtime and no storage engine.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Which of our crates each crate may use, normal and build dependencies, beside `corgi-base`, which all may use.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("corgi-base", &[]),
    ("corgi-resp", &[]),
    ("corgi-session", &["corgi-resp"]),
    ("corgi-bus", &[]),
    ("corgi-state", &[]),
    ("corgi-consensus", &[]),
    (
        "corgi-node",
        &[
            "corgi-session",
            "corgi-bus",
            "corgi-state",
            "corgi-consensus",
        ],
    ),
    ("corgi-log", &["corgi-state", "corgi-consensus"]),
    (
        "corgi-server",
        // The last three are what the API of corgi-node is made of.
        &[
            "corgi-node",
            "corgi-log",
            "corgi-resp",
            "corgi-session",
            "corgi-state",
            "corgi-consensus",
        ],
    ),
    (
        "corgi-sim",
        &[
            "corgi-node",
            "corgi-resp",
            "corgi-session",
            "corgi-state",
            "corgi-consensus",
        ],
    ),
    // Sees Corgi only through sockets, as it does those that it is compared with.
    ("corgi-bench", &[]),
    ("corgi-tests", &[]),
];

/// The crates that read no clock, draw no randomness, and do no I/O.
const PURE: [&str; 7] = [
    "corgi-base",
    "corgi-resp",
    "corgi-session",
    "corgi-bus",
    "corgi-state",
    "corgi-consensus",
    "corgi-node",
];

/// What a pure crate must not pull in, however indirectly.
const IMPURE: [&str; 4] = ["tokio", "rocksdb", "librocksdb-sys", "socket2"];

/// Each type of these libraries stays inside the one crate that owns it.
const OWNERS: [(&str, &str); 3] = [
    ("raft", "corgi-consensus"),
    ("rocksdb", "corgi-log"),
    ("redis-protocol", "corgi-resp"),
];

/// The graph of a build for this machine: packages for other platforms are not even downloaded.
fn metadata() -> Value {
    let host = host();
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            &host,
        ])
        .current_dir(corgi_tests::binary::repository())
        .output()
        .expect("cargo can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {errors}");
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn host() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .expect("rustc can be run");
    let text = String::from_utf8(output.stdout).expect("rustc prints text");
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc knows its host").to_owned()
}

/// Package id to name.
fn names(metadata: &Value) -> BTreeMap<&str, &str> {
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|p| (text(&p["id"]), text(&p["name"])))
        .collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// Package id to the ids of its dependencies that take part in a build of it, so not the ones of its tests.
fn graph(metadata: &Value) -> BTreeMap<&str, BTreeSet<&str>> {
    let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes");
    let builds = |dependency: &&Value| {
        let kinds = dependency["dep_kinds"].as_array().expect("kinds");
        kinds
            .iter()
            .any(|kind| kind["kind"].as_str() != Some("dev"))
    };
    let mut graph = BTreeMap::new();
    for node in nodes {
        let dependencies = node["deps"].as_array().expect("deps").iter().filter(builds);
        graph.insert(
            text(&node["id"]),
            dependencies.map(|d| text(&d["pkg"])).collect(),
        );
    }
    graph
}

#[test]
fn crates_depend_on_each_other_in_one_direction() {
    let metadata = metadata();
    let (names, graph) = (names(&metadata), graph(&metadata));
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    for member in metadata["workspace_members"]
        .as_array()
        .expect("members")
        .iter()
        .map(text)
    {
        let name = names[member];
        let Some(may) = allowed.get(name) else {
            panic!("{name} is new: say in this test which of our crates it may use");
        };
        for used in graph[member]
            .iter()
            .map(|id| names[id])
            .filter(|n| n.starts_with("corgi-"))
        {
            let base = used == "corgi-base" && !["corgi-base", "corgi-bench"].contains(&name);
            let fine = may.contains(&used) || base;
            assert!(fine, "{name} must not depend on {used}");
        }
    }
}

#[test]
fn pure_crates_pull_in_neither_runtime_nor_storage_engine() {
    let metadata = metadata();
    let (names, graph) = (names(&metadata), graph(&metadata));
    for (&id, &name) in names.iter().filter(|(_, name)| PURE.contains(name)) {
        let mut seen = BTreeSet::from([id]);
        let mut open = vec![id];
        while let Some(next) = open.pop() {
            let pulled = names[next];
            assert!(!IMPURE.contains(&pulled), "{name} pulls in {pulled}");
            open.extend(graph[next].iter().filter(|id| seen.insert(**id)));
        }
    }
}

#[test]
fn each_foreign_engine_is_known_to_one_crate_only() {
    let metadata = metadata();
    let (names, graph) = (names(&metadata), graph(&metadata));
    for (&id, &name) in names.iter().filter(|(_, name)| name.starts_with("corgi-")) {
        for used in graph[id].iter().map(|id| names[id]) {
            let owner = OWNERS
                .iter()
                .find(|(library, _)| *library == used)
                .map(|(_, o)| *o);
            assert!(
                owner.is_none_or(|owner| owner == name),
                "{name} must not know {used}"
            );
        }
    }
}
