//! The connections of redis-rs that come back by themselves, with which services use it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use corgi_tests::{Cluster, Node, PROTOCOLS, node, wait};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{FromRedisValue, ProtocolVersion, PushInfo, PushKind, Value};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

fn managed(
    runtime: &Runtime,
    node: &Node,
    protocol: ProtocolVersion,
) -> (ConnectionManager, Receiver<PushInfo>) {
    let (pushes, pushed) = channel();
    let mut config = ConnectionManagerConfig::new().set_max_delay(Duration::from_millis(100));
    if protocol == ProtocolVersion::RESP3 {
        config = config
            .set_push_sender(pushes)
            .set_automatic_resubscription();
    }
    let client = node::client(node.port, protocol).unwrap();
    let manager = runtime.block_on(client.get_connection_manager_with_config(config));
    (manager.unwrap(), pushed)
}

fn ask<T: FromRedisValue>(node: &Node, command: &[&str]) -> T {
    let mut connection = node.connect(PROTOCOLS[0]).unwrap();
    redis::cmd(command[0])
        .arg(&command[1..])
        .query(&mut connection)
        .unwrap()
}

/// Returns the next payloads that came, by channel and by pattern.
fn payloads(pushed: &Receiver<PushInfo>, count: usize) -> Vec<String> {
    let messages = std::iter::repeat_with(|| pushed.recv_timeout(wait::SOON).unwrap())
        .filter(|push| matches!(push.kind, PushKind::Message | PushKind::PMessage));
    messages
        .take(count)
        .map(|push| match push.data.last() {
            Some(Value::BulkString(text)) => String::from_utf8_lossy(text).into_owned(),
            other => panic!("a payload, not {other:?}"),
        })
        .collect()
}

#[test]
fn a_subscriber_is_subscribed_again_when_its_node_is_back() {
    let mut cluster = Cluster::start(3);
    let runtime = runtime();
    let (mut manager, pushed) = managed(&runtime, &cluster.nodes[2], ProtocolVersion::RESP3);
    runtime.block_on(manager.subscribe("managed")).unwrap();
    runtime.block_on(manager.psubscribe("man*")).unwrap();
    assert_eq!(
        ask::<u64>(&cluster.nodes[0], &["PUBLISH", "managed", "before"]),
        2
    );
    assert_eq!(payloads(&pushed, 2), ["before", "before"]);
    cluster.nodes[2].kill();
    cluster.nodes[2].start();
    cluster.wait_ready();
    wait::until_true(wait::SOON, "it has subscribed to both again", || {
        ask::<u64>(&cluster.nodes[0], &["PUBLISH", "managed", "after"]) == 2
    });
    // What was published before both were there reached one of them, or none.
    let after = payloads(&pushed, 2);
    assert_eq!(after, ["after", "after"]);
}

#[test]
fn commands_go_on_when_the_node_is_back() {
    let mut cluster = Cluster::start(3);
    let runtime = runtime();
    for protocol in PROTOCOLS {
        let (mut manager, _pushed) = managed(&runtime, &cluster.nodes[1], protocol);
        let mut publish = |channel: &str| {
            let mut command = redis::cmd("PUBLISH");
            command.arg(channel).arg("x");
            runtime.block_on(command.query_async::<u64>(&mut manager))
        };
        assert_eq!(publish("a"), Ok(0));
        cluster.nodes[1].kill();
        cluster.nodes[1].start();
        cluster.wait_ready();
        wait::until_true(wait::SOON, "it publishes again", || publish("a").is_ok());
    }
}
