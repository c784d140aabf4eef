//! Connections over real sockets, with a node that says what the test wants.

use super::place::Host;
use super::*;
use crate::config::PubsubOutput;
use crate::local::Local;
use bytes::Bytes;
use corgi_base::ClientId;
use corgi_node::{Facts, QueuedBytes};
use corgi_resp::Reply;
use corgi_session::{Acl, Ask, Env, Seq, Told, Users, require_pass};
use slog::{Discard, Logger, o};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

mod pressing;
mod tls;

/// Long enough that only a fault takes so long.
const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Seen {
    open: HashMap<ClientId, (Arc<Outbox>, QueuedBytes)>,
    asks: Vec<(ClientId, Ask)>,
    closed: Vec<ClientId>,
}

/// A node that does nothing by itself.
struct Script {
    seen: Mutex<Seen>,
    news: watch::Sender<()>,
}

impl Script {
    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap());
        self.news.send_replace(());
    }

    /// Waits until `check` finds something.
    async fn until<T>(&self, mut check: impl FnMut(&Seen) -> Option<T>) -> T {
        let mut news = self.news.subscribe();
        let found = async {
            loop {
                news.borrow_and_update();
                if let Some(found) = check(&self.seen.lock().unwrap()) {
                    return found;
                }
                news.changed().await.unwrap();
            }
        };
        timeout(DEADLINE, found).await.expect("it happens in time")
    }

    async fn asked(&self, count: usize) -> Vec<(ClientId, Ask)> {
        self.until(|seen| (seen.asks.len() >= count).then(|| seen.asks.clone()))
            .await
    }

    async fn closed(&self, count: usize) -> Vec<ClientId> {
        self.until(|seen| (seen.closed.len() >= count).then(|| seen.closed.clone()))
            .await
    }

    fn tell(&self, client: ClientId, told: Vec<Told>) {
        let (outbox, queued) = self.seen.lock().unwrap().open[&client].clone();
        for told in &told {
            if let Told::Deliver(bytes) = told {
                queued.add(bytes.len() as u64);
            }
        }
        if outbox.push(told) {
            outbox.wake();
        }
    }
}

impl Host for Script {
    fn opened(&self, client: ClientId, outbox: Arc<Outbox>, queued: QueuedBytes) {
        self.change(|seen| {
            seen.open.insert(client, (outbox, queued));
        });
    }

    fn ask(&self, client: ClientId, asks: Vec<Ask>) {
        self.change(|seen| seen.asks.extend(asks.into_iter().map(|ask| (client, ask))));
    }

    fn drained(&self, _: ClientId) {}

    fn closed(&self, client: ClientId) {
        self.change(|seen| seen.closed.push(client));
    }

    fn set_facts(&self, _: Facts) {}

    fn set_output_limits(&self, _: PubsubOutput, _: u64) {}
}

struct Server {
    addr: SocketAddr,
    script: Arc<Script>,
    clients: Clients,
    local: Arc<Local>,
}

fn settings() -> Settings {
    Settings {
        clients_max: 100,
        idle_max: Duration::ZERO,
        keepalive: Duration::from_secs(300),
        protected: false,
        env: Arc::new(Env::default()),
    }
}

fn start(settings: Settings) -> Server {
    let listener = listen::bind_tcp("127.0.0.1:0".parse().unwrap(), 128).unwrap();
    let addr = listener.local_addr().unwrap();
    start_on(listen::Bound::Tcp(listener), addr, settings)
}

fn start_on(socket: listen::Bound, addr: SocketAddr, settings: Settings) -> Server {
    let script = Arc::new(Script {
        seen: Mutex::default(),
        news: watch::channel(()).0,
    });
    let local = Arc::<Local>::default();
    let listeners = vec![socket.watched().unwrap()];
    let log = Logger::root(Discard, o!());
    let clients = Clients::start(listeners, settings, script.clone(), local.clone(), &log);
    Server {
        addr,
        script,
        clients,
        local,
    }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }
}

async fn expect(stream: &mut (impl AsyncRead + Unpin), expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    let read = timeout(DEADLINE, stream.read_exact(&mut got))
        .await
        .expect("an answer in time");
    read.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&got),
        String::from_utf8_lossy(expected)
    );
}

async fn expect_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut rest))
        .await
        .expect("an end in time")
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

fn integer(ask: &Ask, n: i64) -> Told {
    let Ask::Write { seq, .. } = ask else {
        panic!("{ask:?} is no write")
    };
    Told::Reply {
        seq: *seq,
        reply: Reply::Integer(n),
    }
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_order_across_the_node() {
    let server = start(settings());
    let mut client = server.connect().await;
    client
        .write_all(b"PUBLISH a b\r\nPING\r\nPUBLISH a c\r\n")
        .await
        .unwrap();
    let asks = server.script.asked(2).await;
    let id = asks[0].0;
    assert_eq!(id, ClientId(1), "ids count from 1");
    server.script.tell(id, vec![integer(&asks[0].1, 5)]);
    expect(&mut client, b":5\r\n+PONG\r\n").await;
    server.script.tell(id, vec![integer(&asks[1].1, 6)]);
    expect(&mut client, b":6\r\n").await;
}

#[tokio::test]
async fn deliveries_are_written_and_given_back_to_the_count() {
    let server = start(settings());
    let mut client = server.connect().await;
    let id = server
        .script
        .until(|seen| seen.open.keys().next().copied())
        .await;
    let queued = server.script.seen.lock().unwrap().open[&id].1.clone();
    // Much more than the sockets hold, so that writes are cut anywhere.
    let large = Bytes::from(vec![b'x'; 8 << 20]);
    let small = Bytes::from_static(b"small");
    let told = [&large, &small, &large].map(|bytes| Told::Deliver(bytes.clone()));
    server.script.tell(id, told.to_vec());
    expect(&mut client, &large).await;
    assert!(
        queued.get() > 0,
        "the last message cannot have left entirely"
    );
    expect(&mut client, &small).await;
    expect(&mut client, &large).await;
    client.write_all(b"PING\r\n").await.unwrap();
    expect(&mut client, b"+PONG\r\n").await;
    assert_eq!(queued.get(), 0);
}

#[tokio::test]
async fn a_client_that_is_ahead_is_not_read_until_the_node_has_answered() {
    let env = Env {
        max_outstanding_commands: 4,
        ..Env::default()
    };
    let server = start(Settings {
        env: Arc::new(env),
        ..settings()
    });
    let (mut reading, mut writing) = server.connect().await.into_split();
    const COMMANDS: usize = 200_000;
    let writer = tokio::spawn(async move {
        let batch = b"PUBLISH channel payload\r\n".repeat(1000);
        for _ in 0..COMMANDS / 1000 {
            writing.write_all(&batch).await.unwrap();
        }
        writing
    });
    let asks = server.script.asked(4).await;
    assert_eq!(asks.len(), 4, "no more than may be outstanding");
    let (read, _) = server.local.counters.bytes();
    assert!(
        read <= 64 << 10,
        "{read} bytes were read although 4 commands may be outstanding"
    );
    assert!(!writer.is_finished(), "TCP slows the client down");

    let mut answered = 0;
    while answered < 1000 {
        let news =
            |seen: &Seen| (seen.asks.len() > answered).then(|| seen.asks[answered..].to_vec());
        let asks = server.script.until(news).await;
        answered += asks.len();
        server.script.tell(
            asks[0].0,
            asks.iter().map(|(_, ask)| integer(ask, 0)).collect(),
        );
    }
    expect(&mut reading, &b":0\r\n".repeat(1000)).await;
    writer.abort();
}

#[tokio::test]
async fn a_protocol_error_ends_only_its_connection_and_is_read_by_a_client_that_goes_on_sending() {
    let server = start(settings());
    let mut good = server.connect().await;
    let mut bad = server.connect().await;
    bad.write_all(b"PING\r\n*1\r\n$99999999999\r\n")
        .await
        .unwrap();
    // On its way already; a reset would take the error away from the client.
    bad.write_all(&[b'x'; 100_000]).await.unwrap();
    expect(
        &mut bad,
        b"+PONG\r\n-ERR Protocol error: invalid bulk length\r\n",
    )
    .await;
    expect_end(&mut bad).await;
    assert_eq!(server.script.closed(1).await, [ClientId(2)]);
    good.write_all(b"PING\r\n").await.unwrap();
    expect(&mut good, b"+PONG\r\n").await;
}

#[tokio::test]
async fn a_client_too_many_is_told_and_a_place_is_free_again_when_another_leaves() {
    let server = start(Settings {
        clients_max: 1,
        ..settings()
    });
    let mut first = server.connect().await;
    first.write_all(b"PING\r\n").await.unwrap();
    expect(&mut first, b"+PONG\r\n").await;
    let mut second = server.connect().await;
    second.write_all(b"PING\r\n").await.unwrap();
    expect(&mut second, b"-ERR max number of clients reached\r\n").await;
    expect_end(&mut second).await;
    assert_eq!(
        (
            server.local.counters.connected(),
            server.local.counters.rejected()
        ),
        (1, 1)
    );
    drop(first);
    server.script.closed(1).await;
    let admitted = async {
        loop {
            let mut third = server.connect().await;
            third.write_all(b"PING\r\n").await.unwrap();
            let mut first_byte = [0];
            // The count falls just after the node was told.
            if third.read_exact(&mut first_byte).await.is_ok() && first_byte == *b"+" {
                return;
            }
        }
    };
    timeout(DEADLINE, admitted).await.expect("a place in time");
}

#[tokio::test]
async fn the_node_hears_once_of_each_client_that_leaves() {
    let server = start(settings());
    let mut quits = server.connect().await;
    quits.write_all(b"QUIT\r\n").await.unwrap();
    expect(&mut quits, b"+OK\r\n").await;
    expect_end(&mut quits).await;
    assert_eq!(server.script.closed(1).await, [ClientId(1)]);

    drop(server.connect().await);
    assert_eq!(server.script.closed(2).await, [ClientId(1), ClientId(2)]);

    let mut told = server.connect().await;
    server
        .script
        .until(|seen| seen.open.contains_key(&ClientId(3)).then_some(()))
        .await;
    let error = Some(Bytes::from_static(b"LAGGED too slow"));
    server.script.tell(ClientId(3), vec![Told::Close { error }]);
    expect(&mut told, b"-LAGGED too slow\r\n").await;
    expect_end(&mut told).await;
    assert_eq!(
        server.script.closed(3).await,
        [ClientId(1), ClientId(2), ClientId(3)]
    );
    assert_eq!(server.local.counters.received(), 3);
}

#[tokio::test]
async fn a_client_that_sends_no_more_still_gets_its_answers() {
    let server = start(settings());
    let mut client = server.connect().await;
    client.write_all(b"PUBLISH a b\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    let asks = server.script.asked(1).await;
    server.script.tell(asks[0].0, vec![integer(&asks[0].1, 1)]);
    expect(&mut client, b":1\r\n").await;
    expect_end(&mut client).await;
}

#[tokio::test]
async fn an_idle_client_is_closed_but_not_a_subscriber() {
    let server = start(Settings {
        idle_max: Duration::from_millis(50),
        ..settings()
    });
    let mut subscriber = server.connect().await;
    subscriber.write_all(b"SUBSCRIBE a\r\n").await.unwrap();
    let asks = server.script.asked(1).await;
    let Ask::Subscribe {
        kind, ref names, ..
    } = asks[0].1
    else {
        panic!("{:?}", asks[0])
    };
    let confirmed = Told::Subscription {
        on: true,
        kind,
        name: Some(names[0].clone()),
        count: 1,
    };
    server
        .script
        .tell(asks[0].0, vec![confirmed, Told::Done { seq: Seq(0) }]);
    expect(
        &mut subscriber,
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
    )
    .await;

    let mut idle = server.connect().await;
    expect_end(&mut idle).await;
    subscriber.write_all(b"PING\r\n").await.unwrap();
    expect(&mut subscriber, b"*2\r\n$4\r\npong\r\n$0\r\n\r\n").await;
}

#[tokio::test]
async fn a_client_that_waited_for_its_answer_is_not_idle_when_it_comes() {
    let idle_max = Duration::from_millis(300);
    let server = start(Settings {
        idle_max,
        ..settings()
    });
    let mut client = server.connect().await;
    client.write_all(b"PUBLISH a b\r\n").await.unwrap();
    let asks = server.script.asked(1).await;
    // Another that comes now and asks nothing is closed: so long has the first waited.
    expect_end(&mut server.connect().await).await;
    server.script.tell(asks[0].0, vec![integer(&asks[0].1, 1)]);
    expect(&mut client, b":1\r\n").await;
    client.write_all(b"PING\r\n").await.unwrap();
    expect(&mut client, b"+PONG\r\n").await;
    expect_end(&mut client).await;
}

#[tokio::test]
async fn a_client_keeps_its_place_until_its_socket_is_closed() {
    let server = start(Settings {
        clients_max: 1,
        ..settings()
    });
    let mut bad = server.connect().await;
    bad.write_all(b"*1\r\n$-2\r\n").await.unwrap();
    expect(&mut bad, b"-ERR Protocol error: invalid bulk length\r\n").await;
    // The node has forgotten it, but its socket is open as long as it may still be sending.
    server.script.closed(1).await;
    let mut late = server.connect().await;
    expect(&mut late, b"-ERR max number of clients reached\r\n").await;
    drop(bad);
    let free = async {
        while server.local.counters.connected() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, free).await.expect("a place in time");
}

#[tokio::test]
async fn stopping_waits_for_the_answers_that_are_due() {
    let server = start(settings());
    let mut waits = server.connect().await;
    waits.write_all(b"PUBLISH a b\r\n").await.unwrap();
    let asks = server.script.asked(1).await;
    let mut idle = server.connect().await;
    idle.write_all(b"PING\r\n").await.unwrap();
    expect(&mut idle, b"+PONG\r\n").await;

    let stopping = tokio::spawn(server.clients.stop());
    expect_end(&mut idle).await;
    assert!(!stopping.is_finished());
    server.script.tell(asks[0].0, vec![integer(&asks[0].1, 1)]);
    expect(&mut waits, b":1\r\n").await;
    expect_end(&mut waits).await;
    timeout(DEADLINE, stopping)
        .await
        .expect("an end in time")
        .unwrap();
    assert!(
        TcpStream::connect(server.addr).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("corgi.sock");
    let socket = listen::bind_unix(&path, Some(0o600)).unwrap();
    let nowhere = "127.0.0.1:0".parse().unwrap();
    let _server = start_on(
        socket,
        nowhere,
        Settings {
            protected: true,
            ..settings()
        },
    );
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(b"PING\r\n").await.unwrap();
    expect(&mut client, b"+PONG\r\n").await;
}

/// What ten thousand waiting connections cost is ten thousand times this, and the session's state.
#[tokio::test]
async fn a_waiting_connection_is_small() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let _client = TcpStream::connect(addr).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let script = Arc::new(Script {
        seen: Mutex::default(),
        news: watch::channel(()).0,
    });
    let place = place::Place::take(script, Arc::default(), Default::default(), 1).unwrap();
    let session = corgi_session::Session::new(place.client(), Arc::default());
    let patience = deadlines::Patience::new(Duration::ZERO);
    let (_stop, stopped) = watch::channel(false);
    let (hold, _open) = tokio::sync::mpsc::channel(1);
    let stream = stream::Stream::Tcp(stream);
    let task = connection::serve(stream, session, place, patience, silent(), stopped, hold);
    let bytes = size_of_val(&task);
    assert!(bytes <= 4 << 10, "a connection's task holds {bytes} bytes");
}

/// Nobody reads this log.
fn silent() -> Arc<troubles::Troubles> {
    Arc::new(troubles::Troubles::new(&Logger::root(Discard, o!())))
}

/// A connection by itself, with bounds of its own.
async fn serve_one(patience: deadlines::Patience, env: Env) -> (TcpStream, Arc<Script>) {
    serve_one_as(stream::Stream::Tcp, patience, env).await
}

async fn serve_one_as(
    as_stream: impl FnOnce(TcpStream) -> stream::Stream,
    patience: deadlines::Patience,
    env: Env,
) -> (TcpStream, Arc<Script>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let script = Arc::new(Script {
        seen: Mutex::default(),
        news: watch::channel(()).0,
    });
    let place = place::Place::take(script.clone(), Arc::default(), Default::default(), 1).unwrap();
    let session = corgi_session::Session::new(place.client(), Arc::new(env));
    let (stop, stopped) = watch::channel(false);
    let (hold, _open) = tokio::sync::mpsc::channel(1);
    let stream = as_stream(stream);
    let task = connection::serve(stream, session, place, patience, silent(), stopped, hold);
    tokio::spawn(async move {
        task.await;
        drop(stop);
    });
    (client, script)
}

#[tokio::test]
async fn a_request_that_comes_too_slowly_ends_its_connection() {
    let patience = deadlines::Patience {
        request: Duration::from_millis(300),
        ..deadlines::Patience::new(Duration::ZERO)
    };
    let (mut client, _script) = serve_one(patience, Env::default()).await;
    client.write_all(b"PING\r\n*1\r\n$4\r\nPI").await.unwrap();
    expect(&mut client, b"+PONG\r\n").await;
    client.write_all(b"N").await.unwrap();
    expect_end(&mut client).await;
}

#[tokio::test]
async fn a_stranger_is_not_waited_for_and_a_client_that_has_shown_its_password_is() {
    let patience = deadlines::Patience {
        stranger: Duration::from_millis(500),
        ..deadlines::Patience::new(Duration::ZERO)
    };
    let env = || Env {
        users: Users::new(Acl::stored(0, require_pass(b"s").into_iter())),
        ..Env::default()
    };
    let (mut stranger, _script) = serve_one(patience, env()).await;
    let (mut friend, _script) = serve_one(patience, env()).await;
    friend.write_all(b"AUTH s\r\n").await.unwrap();
    expect(&mut friend, b"+OK\r\n").await;
    stranger.write_all(b"PING\r\n").await.unwrap();
    expect(&mut stranger, b"-NOAUTH Authentication required.\r\n").await;
    expect_end(&mut stranger).await;
    friend.write_all(b"PING\r\n").await.unwrap();
    expect(&mut friend, b"+PONG\r\n").await;
}
