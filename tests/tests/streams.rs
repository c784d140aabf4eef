//! Streams on three nodes: who waits on one is given what is added on another, once in a group, and nothing of it is
//! lost when all of them restart.

use corgi_tests::{Cluster, Node, RawClient, node, wait};

fn connect(node: &Node) -> RawClient {
    RawClient::connect(node.port, node::REPLY_TIMEOUT)
}

fn words(line: &str) -> Vec<&[u8]> {
    line.split(' ').map(str::as_bytes).collect()
}

fn ask(client: &mut RawClient, line: &str) -> String {
    client.ask(&words(line))
}

fn send(client: &mut RawClient, line: &str) {
    client
        .command(&words(line))
        .expect("the connection is open");
}

fn blocked(node: &Node, count: u64) {
    wait::until_true(wait::SOON, "so many clients wait", || {
        node.info("blocked_clients") == Some(count.to_string())
    });
}

/// One entry of one stream in RESP2.
fn entry(stream: &str, id: &str, value: &str) -> String {
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let (stream, id, value) = (bulk(stream), bulk(id), bulk(value));
    format!("*1\r\n*2\r\n{stream}*1\r\n*2\r\n{id}*2\r\n$1\r\nf\r\n{value}")
}

#[test]
fn readers_on_all_nodes_are_given_what_is_added_on_one() {
    let cluster = Cluster::start(3);
    let mut writer = connect(&cluster.nodes[0]);
    let mut readers: Vec<RawClient> = cluster.nodes.iter().map(connect).collect();
    assert_eq!(ask(&mut writer, "XADD s 1-0 f first"), "$3");
    writer.expect("1-0\r\n");
    for reader in &mut readers {
        send(reader, "XREAD BLOCK 0 STREAMS other s 0 1-0");
    }
    cluster.nodes.iter().for_each(|node| blocked(node, 1));
    assert_eq!(ask(&mut writer, "XADD s 1-1 f second"), "$3");
    for reader in &mut readers {
        reader.expect(&entry("s", "1-1", "second"));
        assert_eq!(ask(reader, "PING"), "+PONG");
    }
    let mut readers = readers.into_iter();
    let mut one = readers.next().expect("three readers");
    // Its time is up; it is told to; it leaves.
    assert_eq!(ask(&mut one, "XREAD BLOCK 20 STREAMS s $"), "*-1");
    let id = ask(&mut one, "CLIENT ID").replace(':', "");
    send(&mut one, "XREAD BLOCK 0 STREAMS s $");
    blocked(&cluster.nodes[0], 1);
    let mut admin = connect(&cluster.nodes[0]);
    assert_eq!(ask(&mut admin, &format!("CLIENT UNBLOCK {id} ERROR")), ":1");
    assert_eq!(one.line(), "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
    assert_eq!(ask(&mut admin, &format!("CLIENT UNBLOCK {id}")), ":0");
    send(&mut one, "XREAD BLOCK 0 STREAMS s $");
    blocked(&cluster.nodes[0], 1);
    drop(one);
    blocked(&cluster.nodes[0], 0);
}

#[test]
fn a_group_gives_each_entry_to_one_and_remembers_it_through_a_restart_of_all() {
    let mut cluster = Cluster::start(3);
    let mut writer = connect(&cluster.nodes[0]);
    assert_eq!(ask(&mut writer, "XGROUP CREATE s g $ MKSTREAM"), "+OK");
    let mut readers: Vec<RawClient> = cluster.nodes.iter().map(connect).collect();
    for (number, reader) in readers.iter_mut().enumerate() {
        let line = format!("XREADGROUP GROUP g c{number} COUNT 1 BLOCK 0 STREAMS s >");
        send(reader, &line);
        blocked(&cluster.nodes[number], 1);
    }
    for number in 1..4 {
        let line = format!("XADD s {number}-0 f v");
        assert_eq!(ask(&mut writer, &line), "$3");
        writer.line();
    }
    let mut given: Vec<String> = Vec::new();
    for reader in &mut readers {
        // *1 *2 $1 s *1 *2 $3 id …
        let lines: Vec<String> = (0..8).map(|_| reader.line()).collect();
        given.extend(lines.last().cloned());
    }
    given.sort_unstable();
    assert_eq!(given, ["1-0", "2-0", "3-0"]);

    cluster.nodes.iter_mut().for_each(Node::kill);
    cluster.nodes.iter_mut().for_each(Node::spawn);
    cluster.wait_ready();
    for node in &cluster.nodes {
        let mut client = connect(node);
        assert_eq!(ask(&mut client, "XLEN s"), ":3");
        // So many are pending, from the first to the last.
        assert_eq!(ask(&mut client, "XPENDING s g"), "*4");
        assert_eq!(client.line(), ":3");
    }
    let mut client = connect(&cluster.nodes[2]);
    assert_eq!(ask(&mut client, "XACK s g 1-0 2-0 3-0"), ":3");
    assert_eq!(ask(&mut client, "DEL s"), ":1");
}
