//! Redis and Valkey: one, or one with two replicas.

use super::node::{Node, folder, free_ports};
use super::{Running, SERVES_WITHIN, Server, Setup, Sync};
use crate::client::Client;
use anyhow::Result;
use std::path::Path;

pub(super) fn start(setup: &Setup, binary: &Path) -> Result<Running> {
    let ports = free_ports(setup.nodes)?;
    let mut nodes = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        let folder = folder()?;
        let mut words = vec![
            "--port".to_owned(),
            port.to_string(),
            "--bind".to_owned(),
            "127.0.0.1".to_owned(),
            "--dir".to_owned(),
            folder.path().display().to_string(),
            "--save".to_owned(),
            String::new(),
        ];
        let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        if setup.sync == Sync::Always {
            option("appendonly", "yes".to_owned());
            option("appendfsync", "always".to_owned());
        }
        if at > 0 {
            option("replicaof", format!("127.0.0.1 {}", ports[0]));
        }
        words.extend(setup.options.iter().cloned());
        let mut node = Node::start(binary, &words, *port, &ports, folder)?;
        node.wait(SERVES_WITHIN, "it answers PING", |port| {
            ask(port, &["PING"]).is_some_and(|reply| reply == "PONG")
        })?;
        nodes.push(node);
    }
    let replicas = setup.nodes - 1;
    nodes[0].wait(SERVES_WITHIN, "all replicas are online", |port| {
        let info = ask(port, &["INFO", "replication"]).unwrap_or_default();
        info.matches("state=online").count() == replicas
    })?;
    let names: &[&str] = match setup.server {
        Server::Valkey => &["valkey_version"],
        _ => &["redis_version"],
    };
    Ok(Running {
        server: setup.server,
        version: Running::version(ports[0], names)?,
        nodes,
        leader: 0,
    })
}

fn ask(port: u16, words: &[&str]) -> Option<String> {
    Client::connect(port).ok()?.ask(words).ok()
}
