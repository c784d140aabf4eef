//! Corgi: one node, or three that form a cluster.

use super::node::{Node, folder, free_ports};
use super::{Binaries, Running, SERVES_WITHIN, Server, Setup};
use crate::client::Client;
use anyhow::{Context, Result};
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) fn start(setup: &Setup, binary: &Path) -> Result<Running> {
    let count = setup.nodes;
    let ports = free_ports(count)?;
    let peers = free_ports(count)?;
    let members: Vec<String> = (1..)
        .zip(&peers)
        .map(|(id, port)| format!("{id}=127.0.0.1:{port}"))
        .collect();
    let all = [&ports[..], &peers[..]].concat();
    let mut nodes = Vec::new();
    for at in 0..count {
        let folder = folder()?;
        let mut words = one(folder.path(), ports[at]);
        if count > 1 {
            let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
            option("node-id", (at + 1).to_string());
            option("peer-port", peers[at].to_string());
            option("initial-cluster", members.join(","));
            // On loopback, for a minute: it keeps nobody out who could read it here.
            option("cluster-secret", "a-secret-for-this-measurement".to_owned());
        }
        words.extend(setup.options.iter().cloned());
        nodes.push(Node::start(binary, &words, ports[at], &all, folder)?);
    }
    for node in &mut nodes {
        node.wait(SERVES_WITHIN, "it acknowledges a PUBLISH", acknowledges)?;
    }
    let mut leader = 0;
    if count > 1 {
        let found = nodes.iter().position(|node| leads(node.port));
        leader = found.context("no node says that it leads")?;
    }
    Ok(Running {
        server: Server::Corgi,
        version: Running::version(ports[0], &["corgi_version"])?,
        nodes,
        leader,
    })
}

/// What one node alone is told; `appendfsync always` is its default and only value.
fn one(folder: &Path, port: u16) -> Vec<String> {
    let mut words = Vec::new();
    let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    option("port", port.to_string());
    option("peer-port", "0".to_owned());
    option("dir", folder.join("data").display().to_string());
    words
}

fn acknowledges(port: u16) -> bool {
    let reply = Client::connect(port).and_then(|mut client| client.ask(&["PUBLISH", "ready", "?"]));
    reply.is_ok_and(|reply| reply.parse::<u64>().is_ok())
}

/// Whether the node says that it leads.
fn leads(port: u16) -> bool {
    let info = Client::connect(port).and_then(|mut client| client.ask(&["INFO", "raft"]));
    info.is_ok_and(|info| info.lines().any(|line| line.trim() == "raft_role:leader"))
}

impl Running {
    /// Kills the one node of a Corgi, starts it again, and returns how long after the start a publish was acknowledged.
    ///
    /// # Errors
    /// If it does not serve in time.
    pub fn restart(&mut self, setup: &Setup, binaries: &Binaries) -> Result<Duration> {
        let binary = binaries.get(Server::Corgi)?;
        let node = &mut self.nodes[0];
        node.kill();
        let port = free_ports(1)?[0];
        let mut words = one(node.folder(), port);
        words.extend(setup.options.iter().cloned());
        let begun = Instant::now();
        node.start_again(&binary, &words, port)?;
        node.wait(SERVES_WITHIN, "it acknowledges a PUBLISH", acknowledges)?;
        Ok(begun.elapsed())
    }
}
