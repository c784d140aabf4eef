//! Finds the server binary that the tests run.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// How to get the binary, for error texts.
const HOW: &str = "build it with `cargo build --release -p corgi-server` (scripts/test does), or set \
     CORGI_SERVER to the binary to test";

/// Returns the server binary: `CORGI_SERVER` if set, else the one of the release profile in cargo's target folder.
///
/// # Panics
/// If there is none, or if one of the sources that it was built from has changed since: a test must not pass because of
/// code that is no longer there. `CORGI_SERVER` is taken as it is.
pub fn server() -> &'static Path {
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    SERVER.get_or_init(|| find().unwrap_or_else(|error| panic!("{error:#}")))
}

/// Returns the root of the repository.
///
/// Cargo says at run time where that is. What it said when this was compiled may be another checkout that shares the
/// target folder.
///
/// # Panics
/// Never: this crate is in a folder of the repository.
pub fn repository() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let here = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        here.parent()
            .expect("the tests are a folder of the repository")
            .to_owned()
    })
}

fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CORGI_SERVER") {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("CORGI_SERVER names {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| repository().join("target"), |dir| repository().join(dir));
    let path = target.join("release/corgi-server");
    if !path.is_file() {
        bail!("there is no server at {}: {HOW}", path.display());
    }
    let dependencies = path.with_extension("d");
    let listed = fs::read_to_string(&dependencies)
        .with_context(|| format!("read {}: {HOW}", dependencies.display()))?;
    if !sources(&listed)
        .iter()
        .any(|source| source.starts_with(repository()))
    {
        bail!("{} was built from another checkout: {HOW}", path.display());
    }
    let built = fs::metadata(&path)?.modified()?;
    for source in sources(&listed) {
        let changed = fs::metadata(&source).and_then(|meta| meta.modified());
        if changed.is_err() || changed.is_ok_and(|time| time > built) {
            bail!(
                "{} is older than {}: {HOW}",
                path.display(),
                source.display()
            );
        }
    }
    Ok(path)
}

/// Reads cargo's list of the files that went into a binary: `binary: file file …`, spaces in names escaped.
fn sources(listed: &str) -> Vec<PathBuf> {
    let after = listed
        .split_once(": ")
        .map_or("", |(_, files)| files.trim_end());
    let mut files = Vec::new();
    let mut name = String::new();
    let mut chars = after.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => name.extend(chars.next()),
            c if c.is_whitespace() => files.extend(take_name(&mut name)),
            c => name.push(c),
        }
    }
    files.extend(take_name(&mut name));
    files
}

fn take_name(name: &mut String) -> Option<PathBuf> {
    (!name.is_empty()).then(|| PathBuf::from(std::mem::take(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_sources_is_split_at_unescaped_spaces() {
        let files = sources("/t/release/x: /a/main.rs /b\\ c/lib.rs\n");
        assert_eq!(
            files,
            [PathBuf::from("/a/main.rs"), PathBuf::from("/b c/lib.rs")]
        );
        assert!(sources("").is_empty());
    }
}
