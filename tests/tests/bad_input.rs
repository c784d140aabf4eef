//! Input that no client sends: each is answered with a clear error, and the node goes on.

use corgi_tests::node::has_all;
use corgi_tests::{Cluster, Node, PROTOCOLS, RawClient, node, ports, raw};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

fn started() -> Node {
    let mut node = Node::single(&[]);
    node.start();
    node
}

fn client(node: &Node) -> RawClient {
    RawClient::connect(node.port, node::REPLY_TIMEOUT)
}

/// Sends `bytes` on a connection of their own and returns all that comes until the node closes it.
fn closed_after(node: &Node, bytes: &[u8]) -> String {
    let mut client = client(node);
    // The node may close before it has taken everything.
    let _all_taken = client.send(bytes);
    String::from_utf8_lossy(&client.until_closed()).into_owned()
}

fn assert_alive(node: &mut Node) {
    assert!(node.runs());
    assert_eq!(client(node).ask(&[b"PING"]), "+PONG");
    assert!(
        client(node)
            .ask(&[b"PUBLISH", b"alive", b"x"])
            .starts_with(':')
    );
}

#[test]
fn broken_frames_are_answered_with_redis_texts_and_close_one_connection_only() {
    let mut node = started();
    let mut bystander = client(&node);
    assert_eq!(bystander.ask(&[b"PING"]), "+PONG");
    for (bytes, expected) in [
        (
            &b"*2147483648\r\n"[..],
            "-ERR Protocol error: invalid multibulk length\r\n",
        ),
        (
            b"*1x\r\n",
            "-ERR Protocol error: invalid multibulk length\r\n",
        ),
        (
            b"*1\r\n$-2\r\n",
            "-ERR Protocol error: invalid bulk length\r\n",
        ),
        (
            b"*1\r\n$99999999999999999999\r\n",
            "-ERR Protocol error: invalid bulk length\r\n",
        ),
        (
            b"*1\r\n+PING\r\n",
            "-ERR Protocol error: expected '$', got '+'\r\n",
        ),
        (
            b"*1\r\n:1\r\n",
            "-ERR Protocol error: expected '$', got ':'\r\n",
        ),
        (
            b"PING \"unbalanced\r\n",
            "-ERR Protocol error: unbalanced quotes in request\r\n",
        ),
    ] {
        let reply = closed_after(&node, bytes);
        assert_eq!(reply, expected, "for {:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(bystander.ask(&[b"PING"]), "+PONG");
    assert_alive(&mut node);
}

#[test]
fn replies_that_are_due_come_before_the_protocol_error() {
    let node = started();
    let mut bytes = raw::encode(&[b"ECHO", b"one"]);
    bytes.extend(raw::encode(&[b"PUBLISH", b"due", b"x"]));
    bytes.extend(b"*1\r\n$-2\r\n");
    let reply = closed_after(&node, &bytes);
    assert_eq!(
        reply,
        "$3\r\none\r\n:0\r\n-ERR Protocol error: invalid bulk length\r\n"
    );
}

/// As in Redis: an array of no or fewer elements is nothing at all.
#[test]
fn empty_and_negative_arrays_are_skipped() {
    let node = started();
    let mut client = client(&node);
    client.send(b"*-5\r\n*0\r\n*-1\r\n\r\nPING\r\n").unwrap();
    assert_eq!(client.line(), "+PONG");
}

#[test]
fn arrays_nested_a_hundred_thousand_deep_are_refused() {
    let mut node = started();
    let reply = closed_after(&node, &b"*1\r\n".repeat(100_000));
    assert_eq!(reply, "-ERR Protocol error: expected '$', got '*'\r\n");
    assert_alive(&mut node);
}

#[test]
fn http_is_hung_up_on_and_nothing_in_it_is_executed() {
    let mut node = started();
    let mut subscriber = client(&node);
    subscriber.command(&[b"SUBSCRIBE", b"http"]).unwrap();
    subscriber.skip_to(":1");
    for request in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18\r\n\r\nPUBLISH http evil\r\n",
        b"PUBLISH http evil\r\nHost: localhost\r\n",
    ] {
        let reply = closed_after(&node, request);
        assert!(
            !reply.contains(':'),
            "{reply:?} looks like an executed PUBLISH"
        );
    }
    assert!(
        client(&node)
            .ask(&[b"PUBLISH", b"http", b"good"])
            .starts_with(':')
    );
    subscriber.skip_to("http");
    assert_eq!([subscriber.line(), subscriber.line()], ["$4", "good"]);
    assert_alive(&mut node);
}

#[test]
fn an_oversized_payload_is_refused_before_it_is_sent() {
    let mut node = Node::single(&["--proto-max-bulk-len", "1mb"]);
    node.start();
    let reply = closed_after(&node, b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$1048577\r\n");
    assert_eq!(reply, "-ERR Protocol error: invalid bulk length\r\n");
    let largest = vec![b'x'; 1024 * 1024];
    assert!(
        client(&node)
            .ask(&[b"PUBLISH", b"c", &largest])
            .starts_with(':')
    );
    assert_alive(&mut node);
}

#[test]
fn the_largest_payload_passes_through_every_node() {
    // However slow the machine is.
    let cluster = Cluster::start_with(3, &["--write-timeout", "60000"]);
    let largest = vec![b'x'; 16 * 1024 * 1024];
    let mut subscriber = cluster.nodes[2].connect(PROTOCOLS[0]).unwrap();
    let mut pubsub = subscriber.as_pubsub();
    pubsub.subscribe("large").unwrap();
    for node in &cluster.nodes {
        let reply = client(node).ask(&[b"PUBLISH", b"large", &largest]);
        assert!(reply.starts_with(':'), "{reply:?}");
        let received = pubsub.get_message().unwrap();
        assert!(
            received.get_payload_bytes() == largest,
            "another payload arrived"
        );
    }
}

#[test]
fn commands_that_redis_refuses_are_refused_in_its_words() {
    let node = started();
    let mut client = client(&node);
    for (args, expected) in [
        (
            &[&b"PUBLISH"[..], b"c"][..],
            "-ERR wrong number of arguments for 'publish' command",
        ),
        (
            &[b"SUBSCRIBE"],
            "-ERR wrong number of arguments for 'subscribe' command",
        ),
        (
            &[b"NOSUCH", b"x"],
            "-ERR unknown command 'NOSUCH', with args beginning with: 'x' ",
        ),
        (&[b"HELLO", b"9"], "-NOPROTO unsupported protocol version"),
        (&[b"SELECT", b"99"], "-ERR DB index is out of range"),
    ] {
        assert_eq!(client.ask(args), expected);
    }
    let reply = client.ask(&[b"CLIENT", b"NOSUCH"]);
    assert!(
        reply.starts_with("-ERR unknown subcommand 'NOSUCH'."),
        "{reply:?}"
    );
    client.command(&[b"SUBSCRIBE", b"c"]).unwrap();
    client.skip_to(":1");
    assert_eq!(
        client.ask(&[b"PUBLISH", b"c", b"x"]),
        "-ERR Can't execute 'publish': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
         RESET are allowed in this context"
    );
}

#[test]
fn garbage_and_cut_frames_on_the_peer_port_end_no_node() {
    let mut cluster = Cluster::start(3);
    for node in &cluster.nodes {
        for bytes in [
            &b""[..],
            b"\x00\x00",
            b"\x00\x00\x00\x10\x00\x00\x00\x00cut",
            b"\xff\xff\xff\xff\x00\x00\x00\x00",
            b"*1\r\n$4\r\nPING\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            &[0xa5; 8192],
        ] {
            let mut peer = RawClient::connect(node.peer_port, node::REPLY_TIMEOUT);
            let _all_taken = peer.send(bytes);
            peer.finish();
            peer.until_closed();
        }
    }
    cluster.nodes.iter_mut().for_each(assert_alive);
}

/// Runs the server with arguments that it must refuse, and returns how it ended.
fn refused(args: &[&str]) -> Output {
    let temp = TempDir::new().expect("the temporary folder can be written");
    let dir = temp.path().display().to_string();
    let (port, peer_port) = (ports::free().to_string(), ports::free().to_string());
    Command::new(corgi_tests::binary::server())
        .args(args)
        .args(["--dir", &dir, "--port", &port, "--peer-port", &peer_port])
        .stdin(Stdio::null())
        .output()
        .expect("the server binary can be run")
}

fn assert_usage_error(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.lines().any(|line| has_all(line, words)),
        "{words:?} in: {text}"
    );
}

#[test]
fn an_unreadable_configuration_is_named_with_the_reason() {
    assert_usage_error(
        &refused(&["/nonexistent/corgi.conf"]),
        &["/nonexistent/corgi.conf"],
    );
    let temp = TempDir::new().unwrap();
    assert_usage_error(&refused(&[text(temp.path())]), &[text(temp.path())]);
    let path = temp.path().join("corgi.conf");
    fs::write(&path, "port 7000\nprot 7001\n").unwrap();
    assert_usage_error(&refused(&[text(&path)]), &["corgi.conf", "prot"]);
    // Root reads everything, whatever the mode says.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_err() {
        assert_usage_error(
            &refused(&[text(&path)]),
            &["corgi.conf", "permission denied"],
        );
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

#[test]
fn unknown_options_and_wrong_values_are_named() {
    assert_usage_error(
        &refused(&["--requirepas", "x"]),
        &["requirepas", "requirepass"],
    );
    assert_usage_error(&refused(&["--maxclients", "many"]), &["maxclients", "many"]);
    assert_usage_error(&refused(&["--node-id", "0"]), &["node-id"]);
    assert_usage_error(
        &refused(&[
            "--node-id",
            "4",
            "--initial-cluster",
            "1=127.0.0.1:1,2=127.0.0.1:2",
        ]),
        &["node-id", "initial-cluster"],
    );
}

#[test]
fn a_port_that_is_taken_is_named() {
    let node = started();
    let temp = TempDir::new().unwrap();
    let mut second = Node::new(1, node.port, ports::free(), temp.path(), Vec::new());
    second.spawn();
    assert_eq!(second.wait_exit().code(), Some(1));
    let log = second.log();
    assert!(
        log.lines()
            .any(|line| has_all(line, &[&node.port.to_string(), "in use"])),
        "{log}"
    );
}
