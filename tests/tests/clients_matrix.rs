//! redis-rs and redis-benchmark, unmodified, as the matrix of docs/clients.md has it: on the plain port, by TLS, and as
//! a user with a password who may use channels of one pattern; publisher and subscriber on different nodes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use corgi_tests::{
    Certificates, Cluster, Listener, Node, PROTOCOLS, Subscription, node, ports, wait,
};
use redis::{Client, Connection, ConnectionAddr, IntoConnectionInfo, ProtocolVersion};
use redis::{RedisConnectionInfo, RedisResult};
use std::process::Command;

const USER: &str = "alice";
const PASSWORD: &str = "a secret of the tests";
/// What a client needs that only sends messages, on channels of one pattern.
const RULES: [&str; 6] = [
    "on",
    "resetchannels",
    "&matrix.*",
    "+@pubsub",
    "+@transaction",
    "+@connection",
];
const WAYS: [Way; 3] = [Way::Plain, Way::Tls, Way::User];
/// What redis-benchmark publishes.
const MESSAGES: usize = 2000;

/// How a client comes to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plain,
    Tls,
    User,
}

/// Three nodes that know the user, each with a TLS port.
struct Matrix {
    cluster: Cluster,
    certificates: Certificates,
    tls_ports: [u16; 3],
}

impl Matrix {
    fn start() -> Self {
        let certificates = Certificates::make();
        let tls_ports = [ports::free(), ports::free(), ports::free()];
        let mut cluster = Cluster::prepare(3, |id| {
            let port = tls_ports[usize::try_from(id).unwrap() - 1].to_string();
            let own = ["--tls-port", &port, "--cluster-secret", PASSWORD];
            let own = own.iter().map(|word| (*word).to_owned());
            own.chain(certificates.options()).collect()
        });
        cluster.nodes.iter_mut().for_each(Node::spawn);
        cluster.wait_ready();
        redis::cmd("ACL")
            .arg(&["SETUSER", USER, &format!(">{PASSWORD}")])
            .arg(&RULES)
            .exec(&mut cluster.nodes[0].connect(PROTOCOLS[0]).unwrap())
            .unwrap();
        let matrix = Self {
            cluster,
            certificates,
            tls_ports,
        };
        for at in 0..3 {
            wait::until_true(wait::SOON, "the node knows the user", || {
                matrix.connect(Way::User, PROTOCOLS[0], at).is_ok()
            });
        }
        matrix
    }

    fn port(&self, way: Way, at: usize) -> u16 {
        match way {
            Way::Tls => self.tls_ports[at],
            Way::Plain | Way::User => self.cluster.nodes[at].port,
        }
    }

    fn connect(&self, way: Way, protocol: ProtocolVersion, at: usize) -> RedisResult<Connection> {
        let port = self.port(way, at);
        match way {
            Way::Plain => node::connect(port, protocol),
            Way::Tls => self.certificates.connect(port, protocol, Some("client")),
            Way::User => {
                let settings = RedisConnectionInfo::default()
                    .set_protocol(protocol)
                    .set_username(USER)
                    .set_password(PASSWORD);
                let address = ConnectionAddr::Tcp("127.0.0.1".to_owned(), port);
                let info = address.into_connection_info()?;
                let connection =
                    Client::open(info.set_redis_settings(settings))?.get_connection()?;
                connection.set_read_timeout(Some(node::REPLY_TIMEOUT))?;
                Ok(connection)
            }
        }
    }

    /// Publishes to a channel as often as [`MESSAGES`] says, and returns what redis-benchmark says.
    fn benchmark(&self, way: Way, protocol: ProtocolVersion, channel: &str) -> String {
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &self.port(way, 0).to_string()]);
        command.args(["-n", &MESSAGES.to_string(), "-c", "10", "-P", "16"]);
        if protocol == ProtocolVersion::RESP3 {
            command.arg("-3");
        }
        match way {
            Way::Plain => {}
            Way::Tls => {
                let path = |name| self.certificates.path(name);
                command.args(["--tls", "--cacert", &path("ca.crt")]);
                command.args(["--cert", &path("client.crt"), "--key", &path("client.key")]);
            }
            Way::User => {
                command.args(["--user", USER, "-a", PASSWORD]);
            }
        }
        let output = command.args(["PUBLISH", channel, "x"]).output();
        let output = output.expect("redis-benchmark is installed (scripts/setup)");
        [output.stdout, output.stderr]
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .concat()
    }
}

#[test]
fn redis_rs_in_every_way() {
    let matrix = Matrix::start();
    for (way, protocol) in WAYS.into_iter().flat_map(|way| PROTOCOLS.map(|p| (way, p))) {
        let channel = format!("matrix.{way:?}.{protocol:?}");
        let mut publisher = matrix.connect(way, protocol, 0).unwrap();
        let publish = |connection: &mut Connection, channel: &str| {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(channel).arg("x").query::<i64>(connection)
        };
        let mut subscriber = matrix.connect(way, protocol, 1).unwrap();
        let mut pubsub = subscriber.as_pubsub();
        pubsub.subscribe(&channel).unwrap();
        pubsub.psubscribe("matrix.*").unwrap();
        let mut both = redis::pipe();
        both.atomic();
        for payload in ["one", "two"] {
            both.cmd("PUBLISH").arg(&channel).arg(payload);
        }
        let counts: Vec<i64> = both.query(&mut publisher).unwrap();
        assert_eq!(counts, [2, 2], "{channel}");
        let got: Vec<(bool, String)> = (0..4)
            .map(|_| pubsub.get_message().unwrap())
            .map(|message| (message.from_pattern(), message.get_payload().unwrap()))
            .collect();
        let of = |payload: &str| [(false, payload.to_owned()), (true, payload.to_owned())];
        assert_eq!(got, [of("one"), of("two")].concat(), "{channel}");
        pubsub.unsubscribe(&channel).unwrap();
        pubsub.punsubscribe("matrix.*").unwrap();
        assert_eq!(publish(&mut publisher, &channel), Ok(0), "{channel}");
        if way == Way::User {
            // By hand: as_pubsub() of redis-rs does not tell of a refusal.
            let refused = redis::cmd("SUBSCRIBE")
                .arg("elsewhere")
                .exec(&mut publisher);
            let error = refused.unwrap_err();
            assert_eq!(error.code(), Some("NOPERM"), "{error}");
            let error = publish(&mut publisher, "elsewhere").unwrap_err();
            assert_eq!(error.code(), Some("NOPERM"), "{error}");
            assert_eq!(publish(&mut publisher, &channel), Ok(0), "it is still good");
        }
    }
}

#[test]
fn redis_benchmark_in_every_way() {
    let matrix = Matrix::start();
    for (way, protocol) in WAYS.into_iter().flat_map(|way| PROTOCOLS.map(|p| (way, p))) {
        let channel = format!("matrix.{way:?}.{protocol:?}");
        let port = matrix.cluster.nodes[2].port;
        let heard = Subscription::Channel(channel.clone());
        let heard = Listener::start(port, protocol, heard).unwrap();
        let said = matrix.benchmark(way, protocol, &channel);
        assert!(said.contains("requests completed"), "{said}");
        assert!(heard.wait_count(MESSAGES).len() == MESSAGES, "{said}");
        if way == Way::User {
            let said = matrix.benchmark(way, protocol, "elsewhere");
            assert!(said.contains("NOPERM"), "{said}");
        }
    }
}
