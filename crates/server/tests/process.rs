//! The real binary: serving, stopping, starting again, and what it says when it cannot start.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(
    clippy::print_stdout,
    reason = "the log of a node, for whoever reads why a test failed"
)]

mod common;

use common::{Client, Node, free_port, run, until};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder for one node, in a folder that vanishes after the test.
fn data() -> (TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    (parent, dir)
}

fn dump(dir: &Path) -> String {
    let (code, out, err) = run(&["--dump-log", dir.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{err}");
    out
}

#[test]
fn one_node_publishes_to_its_subscribers() {
    let (_parent, dir) = data();
    let node = Node::start(&dir, &[]);
    let mut subscriber = node.connect();
    subscriber.send("SUBSCRIBE a\r\nPSUBSCRIBE a*\r\n");
    subscriber.expect("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    subscriber.expect("*3\r\n$10\r\npsubscribe\r\n$2\r\na*\r\n:2\r\n");
    let mut publisher = node.connect();
    publisher.send("PING\r\nPUBLISH a hello\r\nPUBLISH b nobody\r\nPING again\r\n");
    publisher.expect("+PONG\r\n:2\r\n:0\r\n$5\r\nagain\r\n");
    subscriber.expect("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n");
    subscriber.expect("*4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$1\r\na\r\n$5\r\nhello\r\n");
}

#[test]
fn ten_thousand_pipelined_messages_arrive_in_order() {
    const MESSAGES: usize = 10_000;
    let (_parent, dir) = data();
    let node = Node::start(&dir, &[]);
    let mut subscriber = node.connect();
    subscriber.send("SUBSCRIBE n\r\n");
    subscriber.expect("*3\r\n$9\r\nsubscribe\r\n$1\r\nn\r\n:1\r\n");
    let mut publisher = node.connect();
    let commands: String = (0..MESSAGES)
        .map(|n| format!("PUBLISH n {n:05}\r\n"))
        .collect();
    publisher.send(commands);
    let messages: String = (0..MESSAGES)
        .map(|n| format!("*3\r\n$7\r\nmessage\r\n$1\r\nn\r\n$5\r\n{n:05}\r\n"))
        .collect();
    subscriber.expect(messages);
    publisher.expect(":1\r\n".repeat(MESSAGES));
}

#[test]
fn sigterm_ends_it_in_order() {
    let (_parent, dir) = data();
    let mut node = Node::start(&dir, &[]);
    let mut subscriber = node.connect();
    subscriber.send("SUBSCRIBE a\r\n");
    subscriber.expect("*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    node.signal("TERM");
    assert_eq!(
        subscriber.rest(),
        "",
        "its clients are told by the end of the connection"
    );
    assert_eq!(node.ended().code(), Some(0));
    let log = node.log();
    for line in ["ready to accept connections", "stopping", "stopped"] {
        assert!(log.contains(line), "no line {line:?} in:\n{log}");
    }
    assert!(Client::try_connect(node.port).is_none());
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged_and_each_start_is_a_new_boot() {
    let (_parent, dir) = data();
    let mut acknowledged = Vec::new();
    for boot in 1..=3 {
        let mut node = Node::start(&dir, &[]);
        let mut client = node.connect();
        for n in 0..20 {
            let payload = format!("boot-{boot}-message-{n}");
            client.send(format!("PUBLISH kept {payload}\r\n"));
            client.expect(":0\r\n");
            acknowledged.push(payload);
        }
        // Under way, so that the kill can hit it in the middle.
        client.send("PUBLISH maybe x\r\n".repeat(1000));
        node.signal("KILL");
        node.ended();
        let text = dump(&dir);
        let identity = text.lines().next().unwrap();
        assert!(identity.contains(&format!(" boot={boot} ")), "{identity}");
        let kept: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("publish \"kept\""))
            .map(|line| line.rsplit('"').nth(1).unwrap())
            .collect();
        assert_eq!(kept, acknowledged);
    }
}

#[test]
fn a_failed_write_ends_the_process_with_one_line_and_loses_nothing_acknowledged() {
    let (_parent, dir) = data();
    let mut node = Node::spawn_with_small_files(&dir, 4 << 11);
    node.wait_until_it_serves();
    let mut client = node.connect();
    let mut acknowledged = 0;
    let payload = "x".repeat(64 << 10);
    loop {
        let number = format!("{acknowledged:06}");
        let length = number.len() + payload.len();
        let command =
            format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nkept\r\n${length}\r\n{number}{payload}\r\n");
        if !client.try_send(command) {
            break;
        }
        match client.try_line().as_deref() {
            Some(":0") => acknowledged += 1,
            None => break,
            other => panic!("{other:?} is neither an acknowledgement nor the end"),
        }
        assert!(
            acknowledged < 10_000,
            "it wrote more than its files can hold"
        );
    }
    let status = node.ended();
    assert_eq!(status.signal(), Some(6), "{status}: it aborts");
    let log = node.log();
    let line = log.lines().last().unwrap();
    assert!(
        line.contains("CRIT") && line.contains("cannot write to the data folder"),
        "{log}"
    );
    assert!(
        line.contains(dir.to_str().unwrap()) && line.contains("File too large"),
        "{line}"
    );
    assert!(acknowledged > 0);

    let mut again = Node::start(&dir, &[]);
    again.signal("TERM");
    assert_eq!(again.ended().code(), Some(0));
    let text = dump(&dir);
    for number in 0..acknowledged {
        let start = format!("publish \"kept\" \"{number:06}x");
        assert_eq!(
            text.matches(&start).count(),
            1,
            "message {number} of {acknowledged}"
        );
    }
}

#[test]
fn a_protocol_error_ends_only_its_own_connection() {
    let (_parent, dir) = data();
    let node = Node::start(&dir, &[]);
    let mut good = node.connect();
    let mut bad = node.connect();
    bad.send("PING\r\n*1\r\n:5\r\n");
    bad.expect("+PONG\r\n-ERR Protocol error: expected '$', got ':'\r\n");
    assert_eq!(bad.rest(), "");
    let mut browser = node.connect();
    browser.send("POST / HTTP/1.1\r\nHost: x\r\n\r\nPUBLISH a b\r\n");
    assert_eq!(browser.rest(), "");
    good.send("PING\r\n");
    good.expect("+PONG\r\n");
}

#[test]
fn one_client_too_many_is_told() {
    let (_parent, dir) = data();
    let node = Node::start(&dir, &["--maxclients", "2"]);
    let mut here = Vec::new();
    // The connection that found the node ready may not be forgotten yet.
    until("two places", || {
        let mut client = Client::try_connect(node.port)?;
        client.send("PING\r\n");
        if client.try_line()? == "+PONG" {
            here.push(client);
        }
        (here.len() == 2).then_some(())
    });
    let mut late = node.connect();
    assert_eq!(late.rest(), "-ERR max number of clients reached\r\n");
    here[0].send("PING\r\n");
    here[0].expect("+PONG\r\n");
}

#[test]
fn with_few_files_there_are_few_clients_and_the_node_goes_on() {
    const CONNECTIONS: usize = 400;
    let (_parent, dir) = data();
    let mut node = Node::spawn_with_few_files(&dir, 200);
    node.wait_until_it_serves();
    assert!(node.log().contains("maxclients has been reduced"));
    let (mut served, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        let mut client = node.connect();
        match client.try_ask("PING\r\n").as_deref() {
            Some("+PONG") => served.push(client),
            None | Some("-ERR max number of clients reached") => refused.push(client),
            other => panic!("{other:?}"),
        }
    }
    assert!(served.len() >= 30, "{} of 200 files", served.len());
    assert!(!refused.is_empty());
    // Enough for new files of the log.
    let payload = "x".repeat(1 << 20);
    let publish = format!(
        "*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n${}\r\n{payload}\r\n",
        payload.len()
    );
    for _ in 0..150 {
        assert_eq!(served[0].try_ask(&publish).as_deref(), Some(":0"));
    }
    for client in &mut served {
        assert_eq!(client.try_ask("PING\r\n").as_deref(), Some("+PONG"));
    }
    drop((served, refused));
    until("a place for a new client", || {
        let mut client = node.connect();
        client.try_ask("PING\r\n").filter(|line| line == "+PONG")
    });
    node.signal("TERM");
    assert_eq!(node.ended().code(), Some(0));
}

#[test]
fn a_flood_of_the_peer_port_takes_no_files_from_the_log() {
    const CONNECTIONS: usize = 300;
    let (_parent, dir) = data();
    let mut node = Node::spawn_with_few_files(&dir, 200);
    node.wait_until_it_serves();
    let mut clients: Vec<Client> = (0..30).map(|_| node.connect()).collect();
    let payload = "x".repeat(1 << 20);
    let publish = format!(
        "*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n${}\r\n{payload}\r\n",
        payload.len()
    );
    for _ in 0..10 {
        // All are there when it goes on: nothing that they wait for comes between two accepts.
        node.signal("STOP");
        let strangers: Vec<_> = (0..CONNECTIONS)
            .filter_map(|_| Client::try_connect(node.peer_port))
            .collect();
        assert!(strangers.len() > 200, "{}", strangers.len());
        node.signal("CONT");
        // Enough for new files of the log.
        for _ in 0..15 {
            assert_eq!(clients[0].try_ask(&publish).as_deref(), Some(":0"));
        }
    }
    for client in &mut clients {
        assert_eq!(client.try_ask("PING\r\n").as_deref(), Some("+PONG"));
    }
    assert!(!node.log().contains("cannot accept"), "{}", node.log());
    node.signal("TERM");
    assert_eq!(node.ended().code(), Some(0));
}

#[test]
fn too_few_files_for_any_client_are_refused_at_the_start() {
    let (_parent, dir) = data();
    let mut node = Node::spawn_with_few_files(&dir, 100);
    assert_eq!(node.ended().code(), Some(1));
    let said = node.log();
    assert!(said.contains("ulimit -n") && said.contains("100"), "{said}");
}

#[test]
fn clients_that_send_much_and_finish_nothing_are_closed_before_memory_is_short() {
    const PAYLOAD: usize = 4 << 20;
    let (_parent, dir) = data();
    let node = Node::start(&dir, &["--maxmemory-clients", "16mb"]);
    let mut good = node.connect();
    assert_eq!(good.try_ask("PING\r\n").as_deref(), Some("+PONG"));
    let mut greedy = Vec::new();
    for _ in 0..10 {
        let mut client = node.connect();
        let begin = format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n${}\r\n", PAYLOAD + 1);
        client.send(begin);
        // It may be closed while it sends.
        client.try_send("x".repeat(PAYLOAD));
        greedy.push(client);
    }
    until("some are closed", || {
        let info = good.text("INFO");
        let evicted = info.split("evicted_clients:").nth(1)?.lines().next()?;
        evicted.parse::<u32>().ok().filter(|evicted| *evicted >= 5)
    });
    assert_eq!(good.try_ask("PUBLISH a b\r\n").as_deref(), Some(":0"));
}

#[test]
fn a_password_is_asked_for() {
    let (_parent, dir) = data();
    let mut node = Node::spawn(&dir, &["--requirepass", "s3cret"]);
    let mut client = node.connect();
    client.send("PING\r\nAUTH wrong\r\nAUTH s3cret\r\nPING\r\n");
    client.expect("-NOAUTH Authentication required.\r\n");
    client.expect(
        "-WRONGPASS invalid username-password pair or user is disabled.\r\n+OK\r\n+PONG\r\n",
    );
    node.signal("INT");
    assert_eq!(node.ended().code(), Some(0));
    assert!(
        !node.log().contains("s3cret"),
        "secrets stay out of the log"
    );
}

#[test]
fn info_describes_the_process() {
    let (_parent, dir) = data();
    let node = Node::start(&dir, &[]);
    let mut client = node.connect();
    let pid = format!("process_id:{}\r\n", node.pid());
    // Read anew about once a second.
    let info = until("facts in INFO", || {
        Some(client.text("INFO")).filter(|info| info.contains(&pid))
    });
    for line in [
        "redis_mode:standalone\r\n".to_owned(),
        format!("tcp_port:{}\r\n", node.port),
        "maxclients:10000\r\n".to_owned(),
        "loading:0\r\n".to_owned(),
    ] {
        assert!(info.contains(&line), "no {line:?} in:\n{info}");
    }
    let run_id = info
        .split("run_id:")
        .nth(1)
        .expect("a run id")
        .lines()
        .next()
        .unwrap();
    assert!(
        run_id.len() == 40 && run_id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{run_id}"
    );
}

#[test]
fn a_folder_in_use_is_refused_and_its_owner_undisturbed() {
    let (_parent, dir) = data();
    let owner = Node::start(&dir, &[]);
    let mut second = Node::spawn(&dir, &[]);
    assert_eq!(second.ended().code(), Some(1));
    let said = second.log();
    assert!(said.contains("in use by another process"), "{said}");
    assert!(
        said.contains(dir.to_str().unwrap()),
        "it names the folder: {said}"
    );
    let mut client = owner.connect();
    client.send("PING\r\n");
    client.expect("+PONG\r\n");
}

#[test]
fn a_port_in_use_is_refused_by_address() {
    let (_parent, dir) = data();
    let first = Node::start(&dir, &[]);
    for (port, peer_port) in [(first.port, free_port()), (free_port(), first.peer_port)] {
        let (_parent, dir) = data();
        let mut second = Node::spawn_on(&dir, port, peer_port, &[]);
        assert_eq!(second.ended().code(), Some(1));
        let said = second.log();
        let taken = if port == first.port { port } else { peer_port };
        assert!(
            said.contains(&format!("127.0.0.1:{taken}")) && said.contains("in use"),
            "{said}"
        );
    }
}

#[test]
fn the_folder_of_another_node_is_refused() {
    let (_parent, dir) = data();
    let mut node = Node::start(&dir, &[]);
    node.signal("TERM");
    node.ended();
    let mut other = Node::spawn(&dir, &["--node-id", "2"]);
    assert_eq!(other.ended().code(), Some(1));
    assert!(other.log().contains("belongs to node 1"), "{}", other.log());
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_with_all_that_is_wrong() {
    let (code, _, err) = run(&["--prot", "7000", "--maxclients", "many"]);
    assert_eq!(code, Some(2));
    assert!(
        err.contains("prot") && err.contains("port"),
        "the nearest name is offered: {err}"
    );
    assert!(err.contains("maxclients"), "{err}");

    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("corgi.conf");
    let missing = file.to_str().unwrap();
    let (code, _, err) = run(&[missing]);
    assert_eq!(code, Some(2));
    assert!(err.contains(missing), "{err}");

    fs::write(&file, "port 7000\nmaxclients 5\n").unwrap();
    let (code, out, err) = run(&["--check-config", missing]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    fs::write(&file, "port seven\n").unwrap();
    let (code, _, err) = run(&["--check-config", missing]);
    assert_eq!(code, Some(2));
    assert!(err.contains("corgi.conf:1"), "the line is named: {err}");
}

#[test]
fn help_and_version_are_printed() {
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("--port"), "{out}");
    let (code, out, _) = run(&["--version"]);
    assert_eq!(code, Some(0));
    assert!(out.contains(env!("CARGO_PKG_VERSION")), "{out}");
}

#[test]
fn a_log_is_not_dumped_while_its_node_runs_nor_from_elsewhere() {
    let (parent, dir) = data();
    let node = Node::start(&dir, &[]);
    let (code, _, err) = run(&["--dump-log", dir.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(err.contains("in use"), "{err}");
    drop(node);
    let nothing = parent.path().join("nothing");
    let (code, _, err) = run(&["--dump-log", nothing.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(err.contains("nothing"), "{err}");
}
