//! Users of a cluster of processes: changed on one node, they count on all of them from one place of the log on.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use corgi_tests::raw::RawClient;
use corgi_tests::{Cluster, Node, ports, wait};
use std::net::TcpStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

fn client(node: &Node) -> RawClient {
    RawClient::connect(node.port, PATIENCE)
}

fn ask(client: &mut RawClient, line: &str) -> String {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    client.ask(&words)
}

/// Reads the rest of an array that `line` began.
fn bulks(client: &mut RawClient, line: &str) -> Vec<String> {
    let count: usize = line.strip_prefix('*').unwrap().parse().unwrap();
    let bulk = |_| {
        client.line();
        client.line()
    };
    (0..count).map(bulk).collect()
}

/// Returns a connection of alice that listens to `news`. The node may not have applied yet that she may.
fn listening(node: &Node) -> RawClient {
    wait::until(PATIENCE, "alice may listen", || {
        let mut ear = client(node);
        assert_eq!(ask(&mut ear, "AUTH alice pw"), "+OK");
        if ask(&mut ear, "SUBSCRIBE news").starts_with('-') {
            return None;
        }
        ear.skip_to(":1");
        Some(ear)
    })
}

/// SEC-10.
#[test]
fn no_message_behind_a_change_reaches_a_revoked_subscriber_on_any_node() {
    let cluster = Cluster::start(3);
    let nodes = &cluster.nodes;
    let mut admin = client(&nodes[0]);
    let rules = "ACL SETUSER alice on >pw +@pubsub +ping &news";
    assert_eq!(ask(&mut admin, rules), "+OK");
    let known = |node: &Node| ask(&mut client(node), "AUTH alice pw") == "+OK";
    for node in nodes {
        wait::until_true(PATIENCE, "alice is known", || known(node));
    }
    for round in 0..5 {
        let mut ears: Vec<RawClient> = nodes.iter().map(listening).collect();
        // A publisher on another node than the admin does not pause for the change.
        let mut others = client(&nodes[1 + round % 2]);
        assert!(ask(&mut others, "PUBLISH news before").starts_with(':'));
        assert_eq!(ask(&mut admin, "ACL SETUSER alice resetchannels"), "+OK");
        assert!(ask(&mut others, "PUBLISH news after").starts_with(':'));
        for ear in &mut ears {
            let rest = String::from_utf8(ear.until_closed()).unwrap();
            assert!(rest.contains("before"), "{rest:?}");
            assert!(!rest.contains("after"), "{rest:?}");
        }
        assert_eq!(ask(&mut admin, "ACL SETUSER alice &news"), "+OK");
    }
}

#[test]
fn users_and_limits_are_the_same_on_all_nodes_and_after_a_restart() {
    let mut cluster = Cluster::start(3);
    let mut admin = client(&cluster.nodes[2]);
    let rules = "ACL SETUSER bob on >pw ~* &a* +@pubsub -psubscribe +acl|whoami";
    assert_eq!(ask(&mut admin, rules), "+OK");
    assert_eq!(
        ask(&mut admin, "ACL SETUSER default resetpass >secret"),
        "+OK"
    );
    let check = |node: &Node| {
        let mut bob = client(node);
        let denied = "-NOAUTH Authentication required.";
        wait::until_true(PATIENCE, "the change is applied", || {
            ask(&mut client(node), "PING") == denied
        });
        assert_eq!(
            ask(&mut bob, "AUTH bob wrong").split(' ').next(),
            Some("-WRONGPASS")
        );
        assert_eq!(ask(&mut bob, "AUTH bob pw"), "+OK");
        assert!(ask(&mut bob, "PUBLISH abc x").starts_with(':'));
        let no_channel = "-NOPERM No permissions to access a channel";
        assert_eq!(ask(&mut bob, "PUBLISH b x"), no_channel);
        let no_command = "-NOPERM User bob has no permissions to run the 'psubscribe' command";
        assert_eq!(ask(&mut bob, "PSUBSCRIBE a*"), no_command);
        let mut own = client(node);
        assert_eq!(ask(&mut own, "AUTH secret"), "+OK");
        let head = ask(&mut own, "ACL USERS");
        assert_eq!(bulks(&mut own, &head), ["bob", "default"]);
    };
    cluster.nodes.iter().for_each(check);
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.spawn();
    }
    for node in &cluster.nodes {
        wait::until_true(PATIENCE, "the node listens", || {
            TcpStream::connect(("127.0.0.1", node.port)).is_ok()
        });
        wait::until_true(PATIENCE, "the node serves", || {
            let mut own = client(node);
            ask(&mut own, "AUTH secret") == "+OK" && ask(&mut own, "PUBLISH x y").starts_with(':')
        });
        check(node);
    }
}

#[test]
fn a_configuration_gives_the_first_users_and_is_not_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users.acl");
    std::fs::write(&users, "user alice on >pw +@all ~* &*\nuser default off\n").unwrap();
    let (port, peer_port) = (ports::free(), ports::free());
    let args = vec!["--aclfile".to_owned(), users.display().to_string()];
    let mut node = Node::new(1, port, peer_port, dir.path(), args);
    node.spawn();
    node.wait_log(&["ready to accept connections"]);
    wait::until_true(PATIENCE, "alice can publish", || {
        let mut alice = client(&node);
        ask(&mut alice, "AUTH alice pw") == "+OK" && ask(&mut alice, "PUBLISH a b").starts_with(':')
    });
    assert_eq!(
        ask(&mut client(&node), "PING"),
        "-NOAUTH Authentication required."
    );
    node.kill();
    std::fs::write(&users, "user alice on >other +@all ~* &*\n").unwrap();
    node.spawn();
    node.wait_log(&["the users of this node's configuration are not those of the cluster"]);
    let mut alice = client(&node);
    assert_eq!(
        ask(&mut alice, "AUTH alice other").split(' ').next(),
        Some("-WRONGPASS")
    );
    assert_eq!(ask(&mut alice, "AUTH alice pw"), "+OK");
    // Until it is told to.
    assert_eq!(ask(&mut alice, "ACL LOAD"), "+OK");
    assert_eq!(ask(&mut client(&node), "AUTH alice other"), "+OK");
    assert_eq!(ask(&mut client(&node), "PING"), "+PONG", "default is open");
    assert_eq!(ask(&mut alice, "ACL SETUSER bob on"), "+OK");
    assert_eq!(ask(&mut alice, "ACL SAVE"), "+OK");
    let saved = std::fs::read_to_string(&users).unwrap();
    assert!(
        saved.contains("user bob on resetchannels -@all\n"),
        "{saved}"
    );
    std::fs::write(&users, "user alice +nosuch\n").unwrap();
    let refused = ask(&mut alice, "ACL LOAD");
    assert!(
        refused.starts_with("-ERR ") && refused.contains("+nosuch"),
        "{refused}"
    );
    assert_eq!(ask(&mut client(&node), "AUTH alice other"), "+OK");
}
