//! NATS with JetStream: a stream `BENCH` of the subjects `bench.>`, on files, with as many replicas as nodes.

use super::node::{Node, accepts, folder, free_ports};
use super::{Running, SERVES_WITHIN, Server, Setup, Sync};
use crate::client::{NatsClient, json_field};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

pub(super) fn start(setup: &Setup, binary: &Path) -> Result<Running> {
    let count = setup.nodes;
    let ports = free_ports(count)?;
    let routes = free_ports(count)?;
    let addresses: Vec<String> = routes
        .iter()
        .map(|port| format!("nats://127.0.0.1:{port}"))
        .collect();
    let mut nodes = Vec::new();
    for at in 0..count {
        let folder = folder()?;
        let store = folder.path().join("store");
        let sync = match setup.sync {
            Sync::Always => "  sync_interval: always\n",
            Sync::Nothing | Sync::Default => "",
        };
        let mut text = format!(
            "listen: \"127.0.0.1:{}\"\nserver_name: n{at}\njetstream {{\n  store_dir: \"{}\"\n{sync}}}\n",
            ports[at],
            store.display(),
        );
        if count > 1 {
            text.push_str(&format!(
                "cluster {{\n  name: bench\n  listen: \"127.0.0.1:{}\"\n  routes: [{}]\n}}\n",
                routes[at],
                addresses.join(", ")
            ));
        }
        let config = folder.path().join("nats.conf");
        fs::write(&config, text).context("write the configuration of NATS")?;
        let words = ["-c".to_owned(), config.display().to_string()];
        let mut node = Node::start(binary, &words, ports[at], &ports, folder)?;
        if setup.sync == Sync::Always {
            node.command.push_str(" (sync_interval: always)");
        }
        nodes.push(node);
    }
    for node in &mut nodes {
        node.wait(SERVES_WITHIN, "it accepts connections", accepts)?;
    }
    let mut created = String::new();
    nodes[0].wait(SERVES_WITHIN, "the stream is made", |port| {
        created = create_stream(port, count).unwrap_or_default();
        created.contains("\"created\"")
    })?;
    let leader = json_field(&created, "leader").and_then(|name| name.strip_prefix('n'));
    let leader = leader.and_then(|number| number.parse().ok()).unwrap_or(0);
    let (_, version) = NatsClient::connect(ports[0])?;
    Ok(Running {
        server: Server::Nats,
        version,
        nodes,
        leader,
    })
}

fn create_stream(port: u16, replicas: usize) -> Result<String> {
    let (mut client, _) = NatsClient::connect(port)?;
    client.request(
        "$JS.API.STREAM.CREATE.BENCH",
        &format!(
            "{{\"name\":\"BENCH\",\"subjects\":[\"bench.>\"],\"storage\":\"file\",\"num_replicas\":{replicas}}}"
        ),
    )
}
