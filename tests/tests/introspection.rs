//! Who is connected and what they do, as a real process tells it: `CLIENT`, `MONITOR`, `INFO`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use corgi_tests::{Node, RawClient, node, wait};
use redis::{Commands, Connection, ProtocolVersion, Value, cmd};
use std::time::{Duration, Instant};

fn start(args: &[&str]) -> Node {
    let mut node = Node::single(args);
    node.start();
    node
}

fn connect(node: &Node) -> Connection {
    node.connect(ProtocolVersion::RESP2).unwrap()
}

fn raw(node: &Node) -> RawClient {
    RawClient::connect(node.port, node::REPLY_TIMEOUT)
}

fn ask(connection: &mut Connection, words: &str) -> String {
    let mut words = words.split(' ');
    let mut command = cmd(words.next().unwrap());
    words.for_each(|word| {
        command.arg(word);
    });
    command.query(connection).unwrap()
}

fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let prefix = format!("{name}=");
    let mut fields = line.split_whitespace();
    fields
        .find_map(|field| field.strip_prefix(&prefix))
        .unwrap()
}

#[test]
fn client_list_shows_all_and_kill_closes_some() {
    let node = start(&[]);
    let (mut asking, mut listening) = (connect(&node), raw(&node));
    listening.command(&[b"CLIENT", b"SETNAME", b"ear"]).unwrap();
    assert_eq!(listening.line(), "+OK");
    listening.command(&[b"PSUBSCRIBE", b"a*"]).unwrap();
    listening.skip_to(":1");
    // The one that saw that the server is ready may still be closing.
    wait::until_true(wait::SOON, "the two clients are listed", || {
        ask(&mut asking, "CLIENT LIST").lines().count() == 2
    });
    let ear = ask(&mut asking, "CLIENT LIST TYPE pubsub");
    assert_eq!(
        (
            field(&ear, "name"),
            field(&ear, "psub"),
            field(&ear, "flags")
        ),
        ("ear", "1", "P")
    );
    assert_eq!(field(&ear, "cmd"), "psubscribe");
    assert!(field(&ear, "laddr").ends_with(&format!(":{}", node.port)));
    let me = ask(&mut asking, "CLIENT INFO");
    assert_eq!(
        (field(&me, "cmd"), field(&me, "resp")),
        ("client|info", "2")
    );

    let addr = field(&ear, "addr").to_owned();
    let killed: i64 = cmd("CLIENT")
        .arg(&["KILL", "TYPE", "pubsub", "ADDR", &addr])
        .query(&mut asking)
        .unwrap();
    assert_eq!(killed, 1);
    listening.until_closed();
    let error = cmd("CLIENT")
        .arg(&["KILL", &addr])
        .exec(&mut asking)
        .unwrap_err();
    assert_eq!(error.detail(), Some("No such client"));

    // One that closes itself gets its reply first.
    let mut leaving = raw(&node);
    leaving
        .command(&[
            b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"no", b"MAXAGE", b"100000",
        ])
        .unwrap();
    assert_eq!(leaving.line(), ":0");
    let id = leaving.ask(&[b"CLIENT", b"ID"]);
    leaving
        .command(&[
            b"CLIENT",
            b"KILL",
            b"ID",
            &id.as_bytes()[1..],
            b"SKIPME",
            b"no",
        ])
        .unwrap();
    assert_eq!(leaving.line(), ":1");
    assert!(leaving.until_closed().is_empty());
}

#[test]
fn a_pause_holds_writes_back_and_ends_in_time_or_at_once() {
    let node = start(&[]);
    let (mut admin, mut writer) = (connect(&node), raw(&node));
    assert_eq!(ask(&mut admin, "CLIENT PAUSE 60000 WRITE"), "OK");
    writer.command(&[b"PING"]).unwrap();
    assert_eq!(writer.line(), "+PONG");
    writer.command(&[b"PUBLISH", b"a", b"b"]).unwrap();
    wait::until(node::REPLY_TIMEOUT, "the writer waits", || {
        let line = ask(&mut admin, "CLIENT LIST FLAGS b");
        (!line.is_empty()).then_some(line)
    });
    assert_eq!(node.info("blocked_clients").as_deref(), Some("1"));
    assert_eq!(ask(&mut admin, "CLIENT UNPAUSE"), "OK");
    assert_eq!(writer.line(), ":0");

    let began = Instant::now();
    assert_eq!(ask(&mut admin, "CLIENT PAUSE 300"), "OK");
    writer.command(&[b"PING"]).unwrap();
    assert_eq!(writer.line(), "+PONG");
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_monitor_sees_what_others_send_but_no_passwords() {
    let node = start(&[]);
    let (mut monitor, mut other) = (raw(&node), raw(&node));
    monitor.command(&[b"MONITOR"]).unwrap();
    assert_eq!(monitor.line(), "+OK");
    other.command(&[b"AUTH", b"user", b"secret"]).unwrap();
    other.line();
    other.command(&[b"PUBLISH", b"a\"", b"\x00"]).unwrap();
    assert_eq!(other.line(), ":0");
    let line = monitor.line();
    assert!(
        line.ends_with("\"AUTH\" \"(redacted)\" \"(redacted)\""),
        "{line}"
    );
    assert!(line.contains(" [0 127.0.0.1:"), "{line}");
    let line = monitor.line();
    assert!(line.ends_with(r#""PUBLISH" "a\"" "\x00""#), "{line}");
    monitor.command(&[b"RESET"]).unwrap();
    monitor.skip_to("+RESET");
    other.command(&[b"PING"]).unwrap();
    other.line();
    monitor.command(&[b"ECHO", b"done"]).unwrap();
    assert_eq!(monitor.line(), "$4", "nothing but the reply after RESET");
}

#[test]
fn info_counts_commands_and_errors() {
    let node = start(&[]);
    let mut connection = connect(&node);
    for _ in 0..3 {
        let _nobody: i64 = connection.publish("a", "b").unwrap();
    }
    cmd("NOSUCH").exec(&mut connection).unwrap_err();
    cmd("PUBLISH").exec(&mut connection).unwrap_err();
    let text: String = cmd("INFO")
        .arg("everything")
        .query(&mut connection)
        .unwrap();
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    let publish = line("cmdstat_publish:");
    let calls = publish.split(['=', ',']).nth(1).unwrap();
    assert!(calls.parse::<u64>().unwrap() >= 3, "{publish}");
    assert!(
        publish.contains(",rejected_calls=1,failed_calls=0"),
        "{publish}"
    );
    assert_eq!(line("errorstat_ERR"), "errorstat_ERR:count=2");
    assert!(line("latency_percentiles_usec_publish:p50=").contains(",p99.9="));
    let value: Value = cmd("INFO").arg("nosuch").query(&mut connection).unwrap();
    assert_eq!(value, Value::BulkString(Vec::new()));
}
