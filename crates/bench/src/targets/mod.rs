//! The servers that are measured, each started in a temporary folder on free ports, and ended by its process id.
//!
//! A set-up says which server, how many nodes, and what an acknowledgement of it is worth. A server that is not on this
//! machine is named as missing: no figure is better than one of something else.

mod corgi;
mod nats;
mod node;
mod redis;

pub use node::Node;

use crate::client::Client;
use crate::process::{self, Memory};
use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a server may take to serve.
pub const SERVES_WITHIN: Duration = Duration::from_secs(60);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Server {
    /// This repository's.
    Corgi,
    /// `redis-server`.
    Redis,
    /// `valkey-server`.
    Valkey,
    /// `nats-server`, with JetStream.
    Nats,
}

impl Server {
    /// Returns the name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Corgi => "Corgi",
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
            Self::Nats => "NATS JetStream",
        }
    }

    /// Returns the name of its binary.
    pub const fn binary(self) -> &'static str {
        match self {
            Self::Corgi => "corgi-server",
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
            Self::Nats => "nats-server",
        }
    }
}

/// When a server syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sync {
    /// Keeps nothing on disk (Redis, Valkey).
    Nothing,
    /// Its default, where that writes but does not sync before it acknowledges (NATS).
    Default,
    /// Before it acknowledges: `appendfsync always`, `sync_interval: always`.
    Always,
}

/// A server as it is measured.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which.
    pub server: Server,
    /// One, or three with replication.
    pub nodes: usize,
    /// What its acknowledgement is worth.
    pub sync: Sync,
    /// Further options, as on its command line.
    pub options: Vec<String>,
}

impl Setup {
    /// One Corgi.
    pub const CORGI: Self = Self::new(Server::Corgi, 1, Sync::Always);
    /// Three Corgis.
    pub const CORGI_3: Self = Self::new(Server::Corgi, 3, Sync::Always);

    /// Returns a set-up without further options.
    pub const fn new(server: Server, nodes: usize, sync: Sync) -> Self {
        Self {
            server,
            nodes,
            sync,
            options: Vec::new(),
        }
    }

    /// Returns it with further options.
    pub fn with(mut self, options: &[&str]) -> Self {
        self.options
            .extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// If it is missing, or does not serve in time.
    pub fn start(&self, binaries: &Binaries) -> Result<Running> {
        let binary = &binaries.get(self.server)?;
        // The ports were free when the system gave them; another process may have been quicker.
        let mut tried = Err(anyhow!("not tried"));
        for _ in 0..3 {
            tried = match self.server {
                Server::Corgi => corgi::start(self, binary),
                Server::Redis | Server::Valkey => redis::start(self, binary),
                Server::Nats => nats::start(self, binary),
            };
            if tried.is_ok() {
                break;
            }
        }
        tried.with_context(|| format!("start {} ({} nodes)", self.server.name(), self.nodes))
    }
}

/// Where the binaries are.
#[derive(Clone, Debug, Default)]
pub struct Binaries {
    /// What was said by options, which counts more than what is on the `PATH`.
    pub given: Vec<(Server, PathBuf)>,
}

impl Binaries {
    /// Returns the binary of a server.
    ///
    /// # Errors
    /// If it is neither given, nor beside this program (Corgi), nor on the `PATH`.
    pub fn get(&self, server: Server) -> Result<PathBuf> {
        let given = self.given.iter().find(|(whose, _)| *whose == server);
        if let Some((_, path)) = given {
            ensure!(
                path.is_file(),
                "{} is missing: {} is no file",
                server.name(),
                path.display()
            );
            return Ok(path.clone());
        }
        let beside = std::env::current_exe()
            .ok()
            .and_then(|own| own.parent().map(Path::to_owned));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = beside
            .into_iter()
            .filter(|_| server == Server::Corgi)
            .chain(std::env::split_paths(&path));
        let mut files = folders.map(|folder| folder.join(server.binary()));
        files.find(|file| file.is_file()).with_context(|| {
            let (name, binary) = (server.name(), server.binary());
            format!("{name} is missing: no {binary} on the PATH; name it with --{binary} PATH")
        })
    }
}

/// A server that runs until this is dropped.
#[derive(Debug)]
pub struct Running {
    /// Which.
    pub server: Server,
    /// Its processes; for Redis and Valkey the first is the one that is written to.
    pub nodes: Vec<Node>,
    /// Which of them leads, or is written to.
    pub leader: usize,
    /// What it calls its version.
    pub version: String,
}

impl Running {
    /// Returns the port for clients of the node that leads.
    pub fn port(&self) -> u16 {
        self.nodes[self.leader].port
    }

    /// Returns the processor time that all its processes have used.
    ///
    /// # Errors
    /// If one is gone.
    pub fn cpu(&self) -> Result<Duration> {
        self.nodes.iter().map(|node| process::cpu(node.pid())).sum()
    }

    /// Returns the memory of all its processes.
    ///
    /// # Errors
    /// If one is gone.
    pub fn memory(&self) -> Result<Memory> {
        self.nodes.iter().try_fold(Memory::default(), |sum, node| {
            let one = process::memory(node.pid())?;
            Ok(Memory {
                rss: sum.rss + one.rss,
                pss: sum.pss + one.pss,
            })
        })
    }

    /// Returns the command of the first process, without what differs from run to run.
    pub fn command(&self) -> &str {
        &self.nodes[0].command
    }

    /// Returns the first word that follows one of `names` in `INFO server`.
    fn version(port: u16, names: &[&str]) -> Result<String> {
        let info = Client::connect(port)?.ask(&["INFO", "server"])?;
        let mut fields = info.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(name, _)| names.contains(name));
        let (_, version) = found.with_context(|| format!("INFO server has none of {names:?}"))?;
        Ok(version.trim().to_owned())
    }
}
