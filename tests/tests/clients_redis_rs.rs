//! redis-rs, unmodified, on three nodes: publish on one, receive on all, in order.

use corgi_tests::{Cluster, Listener, Node, PROTOCOLS, RawClient, Subscription, node};
use redis::{ConnectionLike, Msg, ProtocolVersion, PushInfo, PushKind, Value};
use std::sync::mpsc;

const PIPELINED: usize = 10_000;

fn channel(name: &str) -> Subscription {
    Subscription::Channel(name.to_owned())
}

fn pattern(name: &str) -> Subscription {
    Subscription::Pattern(name.to_owned())
}

#[test]
fn a_message_reaches_channel_and_pattern_subscribers_on_every_node() {
    let cluster = Cluster::start(3);
    for protocol in PROTOCOLS {
        let topic = format!("news.{protocol:?}");
        let listeners: Vec<(Listener, Listener)> = cluster
            .nodes
            .iter()
            .map(|node| {
                let by_channel = Listener::start(node.port, protocol, channel(&topic)).unwrap();
                let by_pattern =
                    Listener::start(node.port, protocol, pattern(&format!("*{protocol:?}")));
                (by_channel, by_pattern.unwrap())
            })
            .collect();
        for node in &cluster.nodes {
            let mut connection = node.connect(protocol).unwrap();
            let payload = format!("from {}", node.id);
            redis::cmd("PUBLISH")
                .arg(&topic)
                .arg(payload)
                .exec(&mut connection)
                .unwrap();
        }
        for (by_channel, by_pattern) in &listeners {
            let received = by_channel.wait_count(3);
            assert_eq!(by_channel.payloads(), ["from 1", "from 2", "from 3"]);
            assert!(
                received
                    .iter()
                    .all(|m| m.channel == topic && m.pattern.is_none())
            );
            let received = by_pattern.wait_count(3);
            assert_eq!(by_pattern.payloads(), ["from 1", "from 2", "from 3"]);
            let expected = format!("*{protocol:?}");
            assert!(
                received
                    .iter()
                    .all(|m| m.pattern.as_deref() == Some(&expected))
            );
        }
    }
}

#[test]
fn ten_thousand_pipelined_messages_arrive_in_order_on_every_node() {
    let cluster = Cluster::start(3);
    for (at, protocol) in PROTOCOLS.into_iter().enumerate() {
        let topic = format!("pipelined.{protocol:?}");
        let listeners: Vec<Listener> = cluster
            .nodes
            .iter()
            .map(|node| Listener::start(node.port, protocol, channel(&topic)).unwrap())
            .collect();
        let payloads: Vec<String> = (0..PIPELINED).map(|n| format!("{n:05}")).collect();
        let mut pipeline = redis::pipe();
        for payload in &payloads {
            pipeline.cmd("PUBLISH").arg(&topic).arg(payload);
        }
        let mut connection = cluster.nodes[at].connect(protocol).unwrap();
        let replies: Vec<i64> = pipeline.query(&mut connection).unwrap();
        assert_eq!(replies.len(), PIPELINED);
        for (node, listener) in cluster.nodes.iter().zip(&listeners) {
            listener.wait_count(PIPELINED);
            assert!(
                listener.payloads() == payloads,
                "another order on node {}",
                node.id
            );
        }
    }
}

#[test]
fn a_subscriber_that_unsubscribes_receives_no_more() {
    let mut node = Node::single(&[]);
    node.start();
    for protocol in PROTOCOLS {
        let mut connection = node.connect(protocol).unwrap();
        let other = Listener::start(node.port, protocol, channel("left")).unwrap();
        let (pushes, pushed) = mpsc::channel();
        if protocol == ProtocolVersion::RESP3 {
            connection.set_push_sender(pushes);
            connection.subscribe_resp3("left").unwrap();
            connection.unsubscribe_resp3("left").unwrap();
        } else {
            let mut pubsub = connection.as_pubsub();
            pubsub.subscribe("left").unwrap();
            pubsub.unsubscribe("left").unwrap();
        }
        redis::cmd("PUBLISH")
            .arg("left")
            .arg("late")
            .exec(&mut connection)
            .unwrap();
        other.wait_for("late");
        redis::cmd("PING").exec(&mut connection).unwrap();
        let late: Vec<PushInfo> = pushed
            .try_iter()
            .filter(|push| push.kind == PushKind::Message)
            .collect();
        assert!(late.is_empty(), "{late:?}");
    }
}

/// Redis sends a client's own message after the reply to its PUBLISH since 7.2.
#[test]
fn a_clients_own_message_follows_its_reply() {
    let cluster = Cluster::start(3);
    for node in &cluster.nodes {
        let mut client = RawClient::connect(node.port, node::REPLY_TIMEOUT);
        client.command(&[b"HELLO", b"3"]).unwrap();
        client.command(&[b"SUBSCRIBE", b"own"]).unwrap();
        client.command(&[b"PUBLISH", b"own", b"first"]).unwrap();
        client.command(&[b"PUBLISH", b"own", b"second"]).unwrap();
        client.skip_to("subscribe");
        // The count of the confirmation is an integer, as the replies are.
        assert_eq!(
            [client.line(), client.line(), client.line()],
            ["$3", "own", ":1"]
        );
        assert_eq!(
            own_messages(&mut client),
            ["reply", "first", "reply", "second"]
        );
    }
}

/// Reads two replies and two messages, in whatever order they come.
fn own_messages(client: &mut RawClient) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < 4 {
        match client.line().as_str() {
            line if line.starts_with(':') => seen.push("reply".to_owned()),
            line @ ("first" | "second") => seen.push(line.to_owned()),
            _ => {}
        }
    }
    seen
}

/// A subscription takes effect after all earlier writes of its connection and before all later ones.
#[test]
fn subscribe_is_a_barrier_in_the_pipeline_of_its_connection() {
    let cluster = Cluster::start(3);
    for node in &cluster.nodes {
        let mut connection = node.connect(ProtocolVersion::RESP3).unwrap();
        let (pushes, pushed) = mpsc::channel();
        connection.set_push_sender(pushes);
        let topic = format!("barrier.{}", node.id);
        let mut pipeline = redis::pipe();
        for n in 0..500 {
            pipeline
                .cmd("PUBLISH")
                .arg(&topic)
                .arg(format!("before {n}"));
        }
        let mut bytes = pipeline.get_packed_pipeline();
        bytes.extend(redis::cmd("SUBSCRIBE").arg(&topic).get_packed_command());
        let mut pipeline = redis::pipe();
        for n in 0..500 {
            pipeline
                .cmd("PUBLISH")
                .arg(&topic)
                .arg(format!("after {n}"));
        }
        bytes.extend(pipeline.get_packed_pipeline());
        let replies = connection.req_packed_commands(&bytes, 0, 1000).unwrap();
        assert!(
            replies.iter().all(|reply| matches!(reply, Value::Int(_))),
            "{replies:?}"
        );
        redis::cmd("PING").exec(&mut connection).unwrap();
        let pushes: Vec<PushInfo> = pushed.try_iter().collect();
        assert_eq!(pushes[0].kind, PushKind::Subscribe);
        let payloads: Vec<String> = pushes[1..]
            .iter()
            .cloned()
            .filter_map(Msg::from_push_info)
            .map(|message| message.get_payload().unwrap())
            .collect();
        let expected: Vec<String> = (0..500).map(|n| format!("after {n}")).collect();
        assert!(
            payloads == expected,
            "got {} messages: {:?} …",
            payloads.len(),
            payloads.first()
        );
    }
}

/// A subscription on a follower that lags behind must not deliver what was acknowledged before it was asked for.
#[test]
fn a_new_subscriber_gets_nothing_that_was_acknowledged_before() {
    let cluster = Cluster::start(3);
    let mut publishers: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| node.connect(PROTOCOLS[0]).unwrap())
        .collect();
    for round in 0..60 {
        let topic = format!("fresh.{round}");
        let publisher = &mut publishers[round % 3];
        let mut publish = |payload: &str| {
            redis::cmd("PUBLISH")
                .arg(&topic)
                .arg(payload)
                .exec(publisher)
                .unwrap();
        };
        publish("before");
        // Every pair of nodes and both protocols come up.
        let (node, protocol) = (&cluster.nodes[round / 3 % 3], PROTOCOLS[round / 9 % 2]);
        let listener = Listener::start(node.port, protocol, channel(&topic)).unwrap();
        publish("after");
        listener.wait_for("after");
        assert_eq!(listener.payloads(), ["after"], "round {round}");
    }
}

#[test]
fn binary_channels_and_payloads_arrive_as_they_were_sent() {
    let cluster = Cluster::start(3);
    let name: Vec<u8> = (0..=255).collect();
    let payload: Vec<u8> = (0..=255).rev().chain(*b"\r\n").collect();
    for protocol in PROTOCOLS {
        let mut subscriber = cluster.nodes[0].connect(ProtocolVersion::RESP2).unwrap();
        let mut pubsub = subscriber.as_pubsub();
        pubsub.subscribe(&name[..]).unwrap();
        let mut publisher = cluster.nodes[2].connect(protocol).unwrap();
        redis::cmd("PUBLISH")
            .arg(&name[..])
            .arg(&payload[..])
            .exec(&mut publisher)
            .unwrap();
        let message = pubsub.get_message().unwrap();
        assert_eq!(message.get_channel::<Vec<u8>>().unwrap(), name);
        assert_eq!(message.get_payload_bytes(), payload);
    }
}
