//! TLS as people use it: redis-cli, redis-rs and openssl against real nodes, and nodes against each other.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use corgi_tests::check::{self, SubscriberHistory};
use corgi_tests::{
    Certificates, Cluster, Listener, Load, Node, PROTOCOLS, RawClient, Subscription, ports, wait,
};
use redis::{Connection, ProtocolVersion};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Longer than a stranger has for its handshake.
const STRANGER_GONE: Duration = Duration::from_secs(20);

/// A node with a plain port and a TLS port.
struct TlsNode {
    node: Node,
    tls_port: u16,
    certificates: Certificates,
}

fn start(args: &[&str]) -> TlsNode {
    let certificates = Certificates::make();
    let tls_port = ports::free();
    let port = tls_port.to_string();
    let options = certificates.options();
    let mut all = vec!["--tls-port", &port];
    all.extend(options.iter().map(String::as_str));
    all.extend(args);
    let mut node = Node::single(&all);
    node.start();
    TlsNode {
        node,
        tls_port,
        certificates,
    }
}

impl TlsNode {
    fn connect(&self, protocol: ProtocolVersion) -> Connection {
        let client = Some("client");
        let certificates = &self.certificates;
        certificates
            .connect(self.tls_port, protocol, client)
            .unwrap()
    }

    /// Asks by TLS, with the certificate `client` of `shown` if it shows one.
    fn ask(&self, shown: Option<&Certificates>) -> Result<String, String> {
        let mut cli = cli(self.tls_port, &self.certificates, shown);
        let output = cli.args(["ECHO", "hello"]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        let (said, errors) = (text(&output.stdout), text(&output.stderr));
        if said == "hello" {
            Ok(said)
        } else {
            Err(format!("{said} {errors}"))
        }
    }

    /// Runs openssl's client with `args` to the end of its handshake.
    fn s_client(&self, args: &[&str]) -> Output {
        let certificates = &self.certificates;
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect"])
            .arg(format!("127.0.0.1:{}", self.tls_port))
            .args(["-CAfile", &certificates.path("ca.crt")])
            .args(["-cert", &certificates.path("client.crt")])
            .args(["-key", &certificates.path("client.key")])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is installed (scripts/setup)");
        // It may have ended already.
        let _refused = child.stdin.take().unwrap().write_all(b"QUIT\r\n");
        child.wait_with_output().unwrap()
    }

    fn hang_up(&self) {
        let pid = Pid::from_raw(i32::try_from(self.node.pid()).unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
    }
}

fn cli(port: u16, trusts: &Certificates, shows: Option<&Certificates>) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "--tls"]);
    command.args(["--cacert", &trusts.path("ca.crt")]);
    if let Some(shown) = shows {
        command.args(["--cert", &shown.path("client.crt")]);
        command.args(["--key", &shown.path("client.key")]);
    }
    command
}

#[test]
fn redis_cli_talks_tls_beside_the_plain_port() {
    let tls = start(&[]);
    let mut subscriber = cli(tls.tls_port, &tls.certificates, Some(&tls.certificates))
        .args(["SUBSCRIBE", "news"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(subscriber.stdout.take().unwrap()).lines();
    let mut three = || -> Vec<String> { lines.by_ref().take(3).map(Result::unwrap).collect() };
    assert_eq!(three(), ["subscribe", "news", "1"]);
    let mut plain = tls.node.connect(PROTOCOLS[0]).unwrap();
    let counted: i64 = redis::cmd("PUBLISH")
        .arg(&["news", "from the plain port"])
        .query(&mut plain)
        .unwrap();
    assert_eq!(counted, 1);
    assert_eq!(three(), ["message", "news", "from the plain port"]);
    let published = cli(tls.tls_port, &tls.certificates, Some(&tls.certificates))
        .args(["PUBLISH", "news", "by TLS"])
        .output()
        .unwrap();
    assert_eq!(published.stdout, b"1\n");
    assert_eq!(three(), ["message", "news", "by TLS"]);
    subscriber.kill().unwrap();
    subscriber.wait().unwrap();
}

#[test]
fn redis_rs_publishes_and_listens_by_tls_alone() {
    let certificates = Certificates::make();
    let tls_port = ports::free();
    let port = tls_port.to_string();
    let options = certificates.options();
    let mut args = vec!["--tls-port", &port, "--port", "0"];
    args.extend(options.iter().map(String::as_str));
    let mut node = Node::single(&args);
    node.spawn();
    let connect = |protocol| certificates.connect(tls_port, protocol, Some("client"));
    for protocol in PROTOCOLS {
        let mut publisher = wait::until(wait::SOON, "the TLS port is served", || {
            connect(protocol).ok()
        });
        let mut subscriber = connect(protocol).unwrap();
        let large = "x".repeat(3_000_000);
        let mut pubsub = subscriber.as_pubsub();
        pubsub.subscribe("news").unwrap();
        for payload in ["small", large.as_str()] {
            let publish = redis::cmd("PUBLISH").arg(&["news", payload]).clone();
            wait::until_true(wait::SOON, "a publish is acknowledged", || {
                publish.query::<i64>(&mut publisher).is_ok()
            });
            let got: String = pubsub.get_message().unwrap().get_payload().unwrap();
            assert!(got == payload, "{} bytes came", got.len());
        }
    }
    let info: String = redis::cmd("INFO")
        .arg("server")
        .query(&mut connect(PROTOCOLS[0]).unwrap())
        .unwrap();
    assert!(info.contains(&format!("tcp_port:{tls_port}\r\n")), "{info}");
}

#[test]
fn old_versions_of_tls_are_refused() {
    let tls = start(&[]);
    // A client that is willing to.
    let old = ["-cipher", "DEFAULT@SECLEVEL=0"];
    for version in ["-tls1", "-tls1_1"] {
        let output = tls.s_client(&[&[version][..], &old].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{version} {said}");
        assert!(said.contains("alert"), "the server has refused it: {said}");
    }
    tls.node
        .wait_log(&["refused a client on tls-port", "127.0.0.1"]);
    for version in ["-tls1_2", "-tls1_3"] {
        let output = tls.s_client(&[version]);
        assert!(output.status.success(), "{version} {output:?}");
    }
    let tls = start(&["--tls-protocols", "TLSv1.3"]);
    assert!(!tls.s_client(&["-tls1_2"]).status.success());
    assert!(tls.s_client(&["-tls1_3"]).status.success());
}

#[test]
fn only_good_certificates_of_the_authority_are_let_in() {
    let stranger = Certificates::make();
    let tls = start(&[]);
    let ours = &tls.certificates;
    assert_eq!(tls.ask(Some(ours)), Ok("hello".to_owned()));
    let cases = [
        (None, "no certificates"),
        (Some(&stranger), "invalid peer certificate"),
    ];
    for (shown, why) in cases {
        // For one line a minute of each address.
        let tls = start(&[]);
        let error = tls.ask(shown).unwrap_err();
        assert!(!error.contains("hello"), "{error}");
        tls.node
            .wait_log(&["refused a client on tls-port", "127.0.0.1", why]);
    }
    ours.expire();
    tls.ask(Some(ours)).unwrap_err();
    tls.node
        .wait_log(&["refused a client on tls-port", "expired"]);

    let optional = start(&["--tls-auth-clients", "optional"]);
    assert!(optional.ask(None).is_ok());
    assert!(optional.ask(Some(&optional.certificates)).is_ok());
    assert!(optional.ask(Some(&stranger)).is_err());
    let anybody = start(&["--tls-auth-clients", "no"]);
    assert!(anybody.ask(None).is_ok());
}

#[test]
fn a_certificate_says_who_its_client_is() {
    let node = start(&[
        "--tls-auth-clients",
        "optional",
        "--tls-auth-clients-user",
        "CN",
    ]);
    let mut admin = node.node.connect(PROTOCOLS[0]).unwrap();
    let mut admin = |command: &str| -> redis::Value {
        let mut words = command.split(' ');
        let mut name = redis::cmd(words.next().unwrap());
        name.arg(words.collect::<Vec<_>>())
            .query(&mut admin)
            .unwrap()
    };
    let certificates = &node.certificates;
    let who = |shown: Option<&str>| -> String {
        let connection = certificates.connect(node.tls_port, PROTOCOLS[0], shown);
        let mut whoami = redis::cmd("ACL");
        whoami
            .arg("WHOAMI")
            .query(&mut connection.unwrap())
            .unwrap()
    };
    // Nobody has this name, then one who is switched off; `ACL LOG` says so.
    assert_eq!(who(Some("client")), "default");
    admin("ACL SETUSER client off resetpass +acl|whoami +client");
    assert_eq!(who(Some("client")), "default");
    let log = format!("{:?}", admin("ACL LOG"));
    assert!(log.contains("tls-cert") && log.contains("client"), "{log}");
    // Without a password, which nobody could show.
    admin("ACL SETUSER client on");
    assert_eq!(who(Some("client")), "client");
    assert_eq!(who(None), "default");
    // The name holds where `default` may do nothing.
    admin("ACL SETUSER other on nopass +@all");
    let mut known = certificates
        .connect(node.tls_port, PROTOCOLS[1], Some("client"))
        .unwrap();
    admin("ACL SETUSER default resetpass");
    assert_eq!(who(Some("client")), "client");
    let mut stranger = certificates.connect(node.tls_port, PROTOCOLS[0], None);
    let refused = redis::cmd("ACL")
        .arg("WHOAMI")
        .exec(stranger.as_mut().unwrap());
    assert_eq!(refused.unwrap_err().code(), Some("NOAUTH"));
    // Whoever is removed is closed, however it came.
    admin("ACL DELUSER client");
    wait::until_true(wait::SOON, "the client is closed", || {
        redis::cmd("ACL").arg("WHOAMI").exec(&mut known).is_err()
    });
}

#[test]
fn the_wrong_port_is_a_clean_end_and_a_line_in_the_log() {
    let tls = start(&[]);
    let mut plain = RawClient::connect(tls.tls_port, wait::SOON);
    plain.command(&[b"PUBLISH", b"news", b"x"]).unwrap();
    assert_eq!(plain.until_closed(), b"");
    tls.node
        .wait_log(&["refused a client on tls-port", "does not speak TLS"]);

    let mut to_plain = cli(tls.node.port, &tls.certificates, Some(&tls.certificates));
    let output = to_plain.arg("PING").output().unwrap();
    assert!(!output.status.success());
    tls.node
        .wait_log(&["speaks TLS on the plain port", "127.0.0.1"]);
    assert!(tls.ask(Some(&tls.certificates)).is_ok());
}

#[test]
fn a_handshake_that_is_never_finished_is_ended_after_the_time_of_a_stranger() {
    let tls = start(&[]);
    let mut stranger = RawClient::connect(tls.tls_port, STRANGER_GONE);
    // The head of a ClientHello, and nothing behind it.
    stranger.send(&[0x16, 3, 1, 0, 0xfa, 1]).unwrap();
    assert_eq!(stranger.until_closed(), b"");
    assert!(tls.ask(Some(&tls.certificates)).is_ok());
}

#[test]
fn new_certificates_are_used_after_sighup_and_nobody_is_disconnected() {
    let tls = start(&[]);
    let old = Certificates::make();
    old.replace(&tls.certificates, &["ca.crt", "client.crt", "client.key"]);
    let mut before = tls.connect(PROTOCOLS[0]);
    let mut before = before.as_pubsub();
    before.subscribe("news").unwrap();

    // Half of a change: refused as a whole.
    let new = Certificates::make();
    tls.certificates.replace(&new, &["node.crt"]);
    tls.hang_up();
    tls.node
        .wait_log(&["SIGHUP", "tls-key-file", "is not the key of"]);
    let with_old = |port| old.connect(port, PROTOCOLS[0], Some("client"));
    with_old(tls.tls_port).unwrap();

    let rest = ["node.key", "ca.crt", "client.crt", "client.key"];
    tls.certificates.replace(&new, &rest);
    tls.hang_up();
    tls.node.wait_log(&["SIGHUP", "files as they are now"]);
    assert!(with_old(tls.tls_port).is_err(), "another authority now");
    let mut after = tls.connect(PROTOCOLS[0]);
    let counted: i64 = redis::cmd("PUBLISH")
        .arg(&["news", "still here"])
        .query(&mut after)
        .unwrap();
    assert_eq!(counted, 1);
    let got: String = before.get_message().unwrap().get_payload().unwrap();
    assert_eq!(got, "still here");
}

#[test]
fn config_set_takes_other_files_all_together_or_none() {
    let tls = start(&[]);
    let new = Certificates::make();
    let mut admin = tls.node.connect(PROTOCOLS[0]).unwrap();
    let mut set = |words: &[&str]| {
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg(words);
        command.query::<String>(&mut admin)
    };
    let mut before = tls.connect(PROTOCOLS[0]);
    let (cert, key, ca) = (
        new.path("node.crt"),
        new.path("node.key"),
        new.path("ca.crt"),
    );
    for (words, why) in [
        (vec!["tls-cert-file", &*cert], "is not the key of"),
        (vec!["tls-key-file", "/nowhere"], "cannot read /nowhere"),
        (vec!["tls-ca-cert-file", &*key], "has no certificate"),
        (
            vec!["tls-cert-file", &*cert, "tls-key-file", ""],
            "tls-key-file: must name",
        ),
    ] {
        let error = set(&words).unwrap_err().to_string();
        let begins = "CONFIG SET failed (possibly related to argument 'tls-";
        assert!(error.contains(begins), "{error}");
        assert!(
            error.contains("Unable to update TLS configuration"),
            "{error}"
        );
        assert!(error.contains(why), "{error}");
    }
    let by_new = || new.connect(tls.tls_port, PROTOCOLS[0], Some("client"));
    assert!(by_new().is_err() && tls.ask(Some(&tls.certificates)).is_ok());

    let all = [
        "tls-cert-file",
        &*cert,
        "timeout",
        "0",
        "tls-key-file",
        &*key,
        "tls-ca-cert-file",
        &*ca,
    ];
    set(&all).unwrap();
    by_new().unwrap();
    assert!(
        tls.ask(Some(&tls.certificates)).is_err(),
        "another authority"
    );
    redis::cmd("PING").exec(&mut before).unwrap();
    let shown: Vec<String> = redis::cmd("CONFIG")
        .arg(&["GET", "tls-cert-file"])
        .query(&mut tls.node.connect(PROTOCOLS[0]).unwrap())
        .unwrap();
    assert_eq!(shown, ["tls-cert-file", &cert]);
    tls.hang_up();
    tls.node.wait_log(&["SIGHUP", "files as they are now"]);
    by_new().unwrap();
    set(&["tls-auth-clients", "no", "tls-protocols", "TLSv1.3"]).unwrap();
    assert!(!tls.s_client(&["-tls1_2"]).status.success());
    set(&["tls-protocols", "TLSv1.2 TLSv1.3"]).unwrap();
    assert!(tls.s_client(&["-tls1_2"]).status.success());
    let mut anybody = cli(tls.tls_port, &new, None);
    assert_eq!(anybody.arg("PING").output().unwrap().stdout, b"PONG\n");
}

#[test]
fn a_signal_to_read_files_again_does_not_end_a_process_that_starts() {
    let mut node = Node::single(&[]);
    node.spawn();
    node.wait_log(&["starting"]);
    let pid = Pid::from_raw(i32::try_from(node.pid()).unwrap()).unwrap();
    for _ in 0..3 {
        kill_process(pid, Signal::HUP).unwrap();
    }
    node.wait_ready();
    node.wait_log(&["SIGHUP", "there is no TLS"]);
}

#[test]
fn files_that_cannot_be_used_keep_a_node_from_starting() {
    let (certificates, other) = (Certificates::make(), Certificates::make());
    let refused = |args: &[&str]| {
        let output = Node::single(args).command().output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = refused(&["--tls-port", "1"]);
    for option in ["tls-cert-file", "tls-key-file", "tls-ca-cert-file"] {
        assert!(text.contains(&format!("{option}: must name")), "{text}");
    }
    let (node, key, ca) = (
        certificates.path("node.crt"),
        other.path("node.key"),
        certificates.path("ca.crt"),
    );
    let text = refused(&[
        "--tls-port",
        "1",
        "--tls-cert-file",
        &node,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-protocols",
        "TLSv1.1 TLSv1.2",
    ]);
    assert!(text.contains("--tls-key-file"), "{text}");
    assert!(text.contains(&format!("{key} is not the key of")), "{text}");
    assert!(text.contains("'TLSv1.1' is not safe"), "{text}");
}

/// Three nodes that talk TLS to each other and to clients.
fn tls_cluster(certificates: &Certificates) -> Cluster {
    let mut args = vec!["--tls-cluster", "yes"];
    let options = certificates.options();
    args.extend(options.iter().map(String::as_str));
    Cluster::start_with(3, &args)
}

fn newcomer(cluster: &Cluster, id: u64, args: &[String]) -> Node {
    let dir = cluster.folder().join(format!("n{id}-{}", args.len()));
    std::fs::create_dir(&dir).unwrap();
    let join = [
        "--cluster-join",
        "yes",
        "--cluster-secret",
        "a secret of the tests",
    ];
    let mut all: Vec<String> = join.iter().map(|arg| (*arg).to_owned()).collect();
    all.extend_from_slice(args);
    let mut node = Node::joining(id, ports::free(), ports::free(), &dir, all);
    node.spawn();
    node.wait_log(&["waits to be let into a cluster"]);
    node
}

#[test]
fn nodes_that_talk_tls_fail_over_and_let_in_only_their_like() {
    let certificates = Certificates::make();
    let mut cluster = tls_cluster(&certificates);
    let leader = cluster.leader();
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    let subscription = Subscription::Channel("load".to_owned());
    let heard = Listener::start(cluster.nodes[others[0]].port, PROTOCOLS[0], subscription).unwrap();
    let ports: Vec<u16> = others.iter().map(|at| cluster.nodes[*at].port).collect();
    let load = Load::start(&ports, "load");
    load.wait_more(&[0, 1], 300);
    cluster.nodes[leader].kill();
    load.wait_more(&[0, 1], 300);
    cluster.nodes[leader].start();
    load.wait_more(&[0, 1], 300);
    let publishers = load.stop();
    redis::cmd("PUBLISH")
        .arg(&["load", "the end"])
        .exec(&mut cluster.nodes[others[1]].connect(PROTOCOLS[0]).unwrap())
        .unwrap();
    heard.wait_for("the end");
    let mut received = heard.payloads();
    received.truncate(
        received
            .iter()
            .position(|payload| payload == "the end")
            .unwrap(),
    );
    let heard = SubscriberHistory {
        name: "listener".to_owned(),
        received,
        complete: true,
    };
    check::assert_kept(&publishers, &[heard]);

    let meet = |port: u16| {
        let mut connection = cluster.nodes[others[0]].connect(PROTOCOLS[0]).unwrap();
        let port = port.to_string();
        redis::cmd("CLUSTER")
            .arg(&["MEET", "127.0.0.1", &port])
            .query::<String>(&mut connection)
    };
    let plain = newcomer(&cluster, 4, &[]);
    let error = meet(plain.peer_port).unwrap_err().to_string();
    assert!(
        error.contains("tls-cluster must be the same on all nodes"),
        "{error}"
    );
    let with = |certificates: &Certificates| {
        let mut args = vec!["--tls-cluster".to_owned(), "yes".to_owned()];
        args.extend(certificates.options());
        args
    };
    let stranger = newcomer(&cluster, 4, &with(&Certificates::make()));
    let error = meet(stranger.peer_port).unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
    let mut friend = newcomer(
        &cluster,
        4,
        &[with(&certificates), with(&certificates)].concat(),
    );
    wait::until_true(wait::SOON, "the node is let in", || {
        meet(friend.peer_port).is_ok()
    });
    friend.wait_ready();

    // A stranger without TLS on the peer port of a member.
    let member = &cluster.nodes[others[0]];
    let mut stranger = RawClient::connect(member.peer_port, wait::SOON);
    stranger
        .send(&[0, 0, 0, 4, 0, 0, 0, 0, 1, 2, 3, 4])
        .unwrap();
    let said = stranger.until_closed();
    // At most a refusal in words of TLS.
    assert!(said.is_empty() || said[0] == 0x15, "{said:?}");
    member.wait_log(&["refused a peer connection", "does not speak TLS"]);
}

#[test]
fn nodes_take_new_certificates_one_after_the_other() {
    let certificates = Certificates::make();
    let mut cluster = tls_cluster(&certificates);
    let leader = cluster.leader();
    // From the same authority, so that nodes with the old and with the new one know each other.
    let old = std::fs::read(certificates.path("node.crt")).unwrap();
    for name in ["node.crt", "node.key"] {
        std::fs::remove_file(certificates.path(name)).unwrap();
    }
    certificates.complete();
    assert_ne!(old, std::fs::read(certificates.path("node.crt")).unwrap());
    for node in &mut cluster.nodes {
        let pid = Pid::from_raw(i32::try_from(node.pid()).unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
        node.wait_log(&["SIGHUP", "files as they are now"]);
        node.wait_ready();
    }
    assert_eq!(cluster.leader(), leader, "nobody has lost anybody");
    // It connects with the new one to nodes that have the new one.
    cluster.nodes[leader].kill();
    cluster.nodes[leader].start();
    cluster.wait_ready();
}
