//! redis-cli, unmodified: what the README tells people to type.

use corgi_tests::{Cluster, PROTOCOLS, wait};
use redis::ProtocolVersion;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

/// A redis-cli that was given its commands on standard input or as arguments, and prints replies line by line.
struct Cli {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Cli {
    fn command(port: u16, protocol: ProtocolVersion) -> Command {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        command.arg(if protocol == ProtocolVersion::RESP3 {
            "-3"
        } else {
            "-2"
        });
        command
    }

    /// Runs to its end with commands on standard input, and returns the lines printed.
    fn pipe(port: u16, protocol: ProtocolVersion, commands: &str) -> Vec<String> {
        let mut child = Self::command(port, protocol)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-cli is installed (scripts/setup)");
        let mut input = child.stdin.take().expect("piped");
        let commands = commands.to_owned();
        // redis-cli answers while it reads: writing from here could wait for its output to be read.
        let writer = thread::spawn(move || input.write_all(commands.as_bytes()));
        let output = child.wait_with_output().expect("redis-cli ends");
        writer
            .join()
            .expect("no panic")
            .expect("redis-cli reads its input");
        let text = String::from_utf8(output.stdout).expect("redis-cli prints text");
        text.lines().map(str::to_owned).collect()
    }

    fn run(port: u16, protocol: ProtocolVersion, args: &[&str]) -> String {
        let output = Self::command(port, protocol)
            .args(args)
            .output()
            .expect("redis-cli is installed (scripts/setup)");
        String::from_utf8(output.stdout)
            .expect("redis-cli prints text")
            .trim_end()
            .to_owned()
    }

    /// Subscribes, and returns once redis-cli has printed the confirmation.
    fn subscribe(port: u16, protocol: ProtocolVersion, args: &[&str]) -> Self {
        let mut child = Self::command(port, protocol)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-cli is installed (scripts/setup)");
        let output = child.stdout.take().expect("piped");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let there = Arc::clone(&lines);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                there.lock().expect("no holder panics").push(line);
            }
        });
        let cli = Self { child, lines };
        let confirmation = args[0].to_lowercase();
        wait::until_true(wait::SOON, "redis-cli prints the confirmation", || {
            let lines = cli.lines();
            lines.iter().any(|line| line.contains(&confirmation)) && lines.len() >= 3
        });
        cli
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no holder panics").clone()
    }

    /// The numbered payloads that it has printed so far, in order.
    fn payloads(&self) -> Vec<String> {
        let numbered = |line: &String| {
            let word = line
                .rsplit(' ')
                .next()
                .unwrap_or_default()
                .trim_matches('"');
            word.strip_prefix("msg-").map(str::to_owned)
        };
        self.lines().iter().filter_map(numbered).collect()
    }
}

impl Drop for Cli {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn redis_cli_publishes_and_subscribes_on_different_nodes() {
    let cluster = Cluster::start(3);
    for protocol in PROTOCOLS {
        let topic = format!("cli.{protocol:?}");
        let pattern = format!("cl[h-j].*{protocol:?}");
        let by_channel = Cli::subscribe(cluster.nodes[1].port, protocol, &["SUBSCRIBE", &topic]);
        let by_pattern = Cli::subscribe(cluster.nodes[2].port, protocol, &["PSUBSCRIBE", &pattern]);
        let reply = Cli::run(
            cluster.nodes[0].port,
            protocol,
            &["PUBLISH", &topic, "msg-one"],
        );
        assert!(
            reply
                .trim_start_matches("(integer) ")
                .parse::<i64>()
                .is_ok(),
            "{reply:?}"
        );
        for cli in [&by_channel, &by_pattern] {
            wait::until_true(wait::SOON, "redis-cli prints the message", || {
                cli.payloads() == ["one"]
            });
        }
    }
}

#[test]
fn ten_thousand_messages_through_redis_cli_arrive_in_order() {
    let cluster = Cluster::start(3);
    for protocol in PROTOCOLS {
        let topic = format!("many.{protocol:?}");
        let subscribers: Vec<Cli> = cluster
            .nodes
            .iter()
            .map(|node| Cli::subscribe(node.port, protocol, &["SUBSCRIBE", &topic]))
            .collect();
        let bytes: Vec<u8> = (0..10_000)
            .flat_map(|n| {
                let payload = format!("msg-{n:05}");
                corgi_tests::raw::encode(&[b"PUBLISH", topic.as_bytes(), payload.as_bytes()])
            })
            .collect();
        let mut child = Cli::command(cluster.nodes[0].port, protocol)
            .arg("--pipe")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-cli is installed (scripts/setup)");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(&bytes)
            .expect("redis-cli reads its input");
        let output = child.wait_with_output().expect("redis-cli ends");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("errors: 0, replies: 10000"), "{text}");
        let expected: Vec<String> = (0..10_000).map(|n| format!("{n:05}")).collect();
        for cli in &subscribers {
            wait::until_true(wait::SOON, "redis-cli prints all messages", || {
                cli.lines().iter().any(|line| line.contains("msg-09999"))
            });
            assert!(
                cli.payloads() == expected,
                "another order: {:?} …",
                cli.payloads().first()
            );
        }
    }
}

#[test]
fn redis_cli_sees_the_replies_that_redis_gives() {
    let cluster = Cluster::start(3);
    let port = cluster.nodes[1].port;
    for protocol in PROTOCOLS {
        assert_eq!(Cli::run(port, protocol, &["PING"]), "PONG");
        assert_eq!(Cli::run(port, protocol, &["ECHO", "hello"]), "hello");
        assert_eq!(
            Cli::run(port, protocol, &["PUBLISH", "only-a-channel"]),
            "ERR wrong number of arguments for 'publish' command"
        );
        let unknown = Cli::run(port, protocol, &["FLIBBLE", "a"]);
        assert!(
            unknown.starts_with("ERR unknown command 'FLIBBLE'"),
            "{unknown}"
        );
        let session = "CLIENT SETNAME me\nCLIENT GETNAME\nSELECT 3\nSELECT 99\nRESET\nPING again\n";
        let replies = Cli::pipe(port, protocol, session);
        assert_eq!(replies[..3], ["OK", "me", "OK"]);
        assert!(
            replies[3].starts_with("ERR DB index is out of range"),
            "{replies:?}"
        );
        let left: Vec<&String> = replies[4..]
            .iter()
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(left, ["RESET", "again"]);
    }
}
