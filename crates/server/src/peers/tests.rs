//! Whole transports on loopback: between each other, and against peers played by hand.

use super::frame::FrameReader;
use super::handshake::{Acceptor, Dialer, MESSAGE_BYTES_MAX};
use super::*;
use bytes::Bytes;
use corgi_base::InstanceId;
use corgi_node::{Lane, RefusalKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

mod tls;

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

fn node(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

fn hello(id: u64) -> PeerHello {
    PeerHello {
        id: node(id),
        instance: InstanceId(id.into()),
        boot: corgi_base::Boot(1),
        nonce: corgi_base::Nonce(1),
        formation: None,
    }
}

fn message(lane: Lane, bytes: impl Into<Bytes>) -> PeerMessage {
    PeerMessage::Raft {
        bulk: lane == Lane::Bulk,
        bytes: bytes.into(),
    }
}

#[derive(Debug, PartialEq)]
enum Event {
    Up(PeerHello),
    HungUp(NodeId),
    Probed(u64, Result<PeerHello, String>),
    Down(NodeId),
    Refused(NodeId, Refusal),
    Message(NodeId, PeerMessage),
    SendFailed(NodeId),
}

struct Recorder {
    hello: PeerHello,
    refuse: Mutex<Option<Refusal>>,
    checks: AtomicUsize,
    events: mpsc::UnboundedSender<Event>,
}

impl Recorder {
    fn note(&self, event: Event) {
        // A test that is over does not listen any more.
        let _over = self.events.send(event);
    }
}

impl PeerEvents for Recorder {
    fn hello(&self) -> PeerHello {
        self.hello
    }

    fn check(&self, _hello: &PeerHello) -> Result<(), Refusal> {
        self.checks.fetch_add(1, Ordering::SeqCst);
        self.refuse.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    fn up(&self, hello: PeerHello) {
        self.note(Event::Up(hello));
    }

    fn hung_up(&self, peer: NodeId) {
        self.note(Event::HungUp(peer));
    }

    fn down(&self, peer: NodeId) {
        self.note(Event::Down(peer));
    }

    fn refused(&self, peer: NodeId, refusal: Refusal) {
        self.note(Event::Refused(peer, refusal));
    }

    fn probed(&self, number: u64, answer: Result<PeerHello, String>) {
        self.note(Event::Probed(number, answer));
    }

    fn message(&self, from: NodeId, message: PeerMessage) {
        self.note(Event::Message(from, message));
    }

    fn send_failed(&self, peer: NodeId) {
        self.note(Event::SendFailed(peer));
    }
}

struct TestNode {
    peers: Peers,
    recorder: Arc<Recorder>,
    events: mpsc::UnboundedReceiver<Event>,
    addr: SocketAddr,
}

struct Options {
    id: u64,
    secret: &'static [u8],
    addr: SocketAddr,
    refuse: Option<Refusal>,
    tls: Option<Arc<Tls>>,
    change: fn(&mut PeerSettings),
}

impl Options {
    fn new(id: u64) -> Self {
        Self {
            id,
            secret: b"s",
            addr: "127.0.0.1:0".parse().unwrap(),
            refuse: None,
            tls: None,
            change: |_| {},
        }
    }

    fn start(self) -> TestNode {
        let deadline = Instant::now() + DEADLINE;
        let listener = loop {
            match std::net::TcpListener::bind(self.addr) {
                Ok(listener) => break listener,
                // The transport before has just let go of the port.
                Err(err) if err.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                    std::thread::yield_now();
                }
                Err(err) => panic!("{err}"),
            }
        };
        let addr = listener.local_addr().unwrap();
        let (tx, events) = mpsc::unbounded_channel();
        let recorder = Arc::new(Recorder {
            hello: hello(self.id),
            refuse: Mutex::new(self.refuse),
            checks: AtomicUsize::new(0),
            events: tx,
        });
        let mut settings = PeerSettings::new(node(self.id), Secret::new(self.secret), 4 << 20);
        settings.tls = self.tls;
        (self.change)(&mut settings);
        let events_of = Arc::clone(&recorder) as Arc<dyn PeerEvents>;
        let log = Logger::root(slog::Discard, o!());
        let peers = Peers::start(settings, vec![listener], events_of, &log).unwrap();
        TestNode {
            peers,
            recorder,
            events,
            addr,
        }
    }
}

fn start(id: u64) -> TestNode {
    Options::new(id).start()
}

impl TestNode {
    fn members(&self, members: &[(u64, SocketAddr)]) {
        let member = |(id, addr): &(u64, SocketAddr)| InitialMember {
            id: node(*id),
            addr: addr.to_string().into(),
        };
        self.peers.set_members(members.iter().map(member).collect());
    }

    async fn next(&mut self) -> Event {
        timeout(DEADLINE, self.events.recv())
            .await
            .expect("an event in time")
            .unwrap()
    }
}

/// One end of a connection that is played by hand.
struct ByHand {
    reader: FrameReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl ByHand {
    fn new(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self {
            reader: FrameReader::new(read, MESSAGE_BYTES_MAX),
            write,
        }
    }

    async fn say(&mut self, message: &[u8]) {
        self.write.write_all(&frame::encode(message)).await.unwrap();
    }

    async fn hear(&mut self) -> Bytes {
        timeout(DEADLINE, self.reader.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    }

    /// Calls `to` as node `id`.
    async fn dial(addr: SocketAddr, id: u64, to: u64, lane: Lane) -> Self {
        let mut this = Self::new(TcpStream::connect(addr).await.unwrap());
        let secret = Bytes::from_static(b"s");
        let (dialer, message) = Dialer::new(secret, &hello(id), node(to), lane, &nonce());
        this.say(&message).await;
        let (dialer, proof) = dialer.challenge(this.hear().await).ok().unwrap();
        this.say(&proof).await;
        let dialer = dialer.verdict(this.hear().await).ok().unwrap();
        this.say(&dialer.answer(&Ok(()))).await;
        this
    }

    /// Takes a call as node `id`.
    async fn accept(listener: &tokio::net::TcpListener, id: u64) -> (Self, Lane) {
        let (stream, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
        let mut this = Self::new(stream);
        let message = this.hear().await;
        let secret = Bytes::from_static(b"s");
        let (acceptor, challenge) = Acceptor::hello(secret, &hello(id), &nonce(), message)
            .ok()
            .unwrap();
        this.say(&challenge).await;
        let acceptor = acceptor.proof(this.hear().await).ok().unwrap();
        this.say(&acceptor.verdict(&Ok(()))).await;
        acceptor.answer(this.hear().await).unwrap();
        (this, acceptor.lane)
    }

    async fn closes(mut self) -> bool {
        let mut rest = Vec::new();
        let mut read = self.reader.into_inner();
        let end = timeout(DEADLINE, read.read_to_end(&mut rest))
            .await
            .expect("closed in time");
        drop(self.write.shutdown().await);
        // A reset is as good as an end.
        rest.is_empty() || end.is_err()
    }
}

#[tokio::test]
async fn messages_arrive_in_order_on_both_lanes() {
    in_order_on_both_lanes(start(1), start(2)).await;
}

async fn in_order_on_both_lanes(mut a: TestNode, mut b: TestNode) {
    const COUNT: u32 = 3000;
    assert!(
        !a.peers.send(node(2), message(Lane::Bulk, "early")),
        "there is no link yet"
    );
    a.members(&[(1, a.addr), (2, b.addr)]);
    b.members(&[(1, a.addr), (2, b.addr)]);
    assert_eq!(a.next().await, Event::Up(hello(2)));
    assert_eq!(b.next().await, Event::Up(hello(1)));
    for i in 0..COUNT {
        for lane in [Lane::Control, Lane::Bulk] {
            // Some are much larger than what is read or written at once.
            let len = if lane == Lane::Bulk && i % 1000 == 0 {
                3 << 20
            } else {
                0
            };
            let bytes = [&i.to_be_bytes()[..], &vec![7; len]].concat();
            while !a.peers.send(node(2), message(lane, bytes.clone())) {
                tokio::task::yield_now().await;
            }
        }
    }
    let mut expected = [0, 0];
    while expected != [COUNT, COUNT] {
        let Event::Message(from, PeerMessage::Raft { bulk, bytes }) = b.next().await else {
            panic!()
        };
        assert_eq!(from, node(1));
        let lane = usize::from(bulk);
        assert_eq!(bytes[..4], expected[lane].to_be_bytes());
        let large = bulk && expected[lane] % 1000 == 0;
        assert_eq!(bytes.len(), if large { 4 + (3 << 20) } else { 4 });
        expected[lane] += 1;
    }
    assert!(b.peers.send(
        node(1),
        PeerMessage::Formed(corgi_base::Formation {
            cluster: corgi_base::ClusterId(7),
            founder: node(1),
        })
    ));
    assert!(
        matches!(a.next().await, Event::Message(from, PeerMessage::Formed(_)) if from == node(2))
    );
}

#[tokio::test]
async fn another_secret_is_refused_on_both_sides() {
    let mut a = start(1);
    let mut b = Options {
        secret: b"other",
        ..Options::new(2)
    }
    .start();
    a.members(&[(2, b.addr)]);
    b.members(&[(1, a.addr)]);
    for (this, other) in [(&mut a, 2), (&mut b, 1)] {
        let Event::Refused(peer, refusal) = this.next().await else {
            panic!()
        };
        assert_eq!((peer, refusal.kind), (node(other), RefusalKind::Secret));
        assert!(!this.peers.send(node(other), message(Lane::Bulk, "x")));
        assert_eq!(
            this.recorder.checks.load(Ordering::SeqCst),
            0,
            "nothing was believed"
        );
    }
}

#[tokio::test]
async fn a_refusal_arrives_with_its_words() {
    let mut a = start(1);
    let refusal = Refusal {
        kind: RefusalKind::NotMember,
        text: "node 1 was removed".into(),
    };
    let b = Options {
        refuse: Some(refusal.clone()),
        ..Options::new(2)
    }
    .start();
    a.members(&[(2, b.addr)]);
    assert_eq!(a.next().await, Event::Refused(node(2), refusal));
}

#[tokio::test]
async fn a_node_that_is_called_by_another_id_refuses() {
    let (mut a, b) = (start(1), start(2));
    a.members(&[(3, b.addr)]);
    let Event::Refused(peer, refusal) = a.next().await else {
        panic!()
    };
    assert_eq!((peer, refusal.kind), (node(3), RefusalKind::WrongId));
    assert!(
        refusal
            .text
            .starts_with("node 3 was called, but node 2 answered"),
        "{refusal}"
    );
}

#[tokio::test]
async fn broken_frames_close_the_connection() {
    let mut a = start(1);
    let mut corrupt = frame::encode(b"\x01raft");
    *corrupt.last_mut().unwrap() ^= 1;
    let too_long = [&(5u32 << 20).to_be_bytes()[..], &[0; 4]].concat();
    let undecodable = frame::encode(b"\xffno message");
    for bytes in [corrupt, too_long, undecodable] {
        let mut peer = ByHand::dial(a.addr, 2, 1, Lane::Bulk).await;
        peer.write.write_all(&bytes).await.unwrap();
        assert!(peer.closes().await);
    }
    // A cut frame is no message, and the next connection works.
    let mut peer = ByHand::dial(a.addr, 2, 1, Lane::Bulk).await;
    peer.write
        .write_all(&frame::encode(b"\x01cut")[..9])
        .await
        .unwrap();
    peer.write.shutdown().await.unwrap();
    assert!(peer.closes().await);
    let mut peer = ByHand::dial(a.addr, 2, 1, Lane::Bulk).await;
    peer.say(b"\x01whole").await;
    assert_eq!(
        a.next().await,
        Event::Message(node(2), message(Lane::Bulk, "whole"))
    );
}

#[tokio::test]
async fn strangers_are_hung_up_on() {
    let a = Options {
        change: |settings| settings.handshake_timeout = Duration::from_millis(100),
        ..Options::new(1)
    };
    let mut a = a.start();
    let unproven = frame::encode(b"\x01raft");
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x00\x00\x08\x00\x00\x00\x00\x00",
        &unproven,
        b"",
    ] {
        let mut peer = ByHand::new(TcpStream::connect(a.addr).await.unwrap());
        peer.write.write_all(bytes).await.unwrap();
        assert!(peer.closes().await, "{bytes:?}");
    }
    assert!(a.events.try_recv().is_err(), "nothing came of it");
    assert_eq!(a.recorder.checks.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn strangers_who_say_nothing_keep_no_peer_out() {
    let mut a = start(1);
    let mut strangers = Vec::new();
    for _ in 0..100 {
        strangers.push(ByHand::new(TcpStream::connect(a.addr).await.unwrap()));
    }
    let mut peer = ByHand::dial(a.addr, 2, 1, Lane::Bulk).await;
    peer.say(b"\x01whole").await;
    assert_eq!(
        a.next().await,
        Event::Message(node(2), message(Lane::Bulk, "whole"))
    );
    let evicted = strangers.swap_remove(0);
    assert!(evicted.closes().await, "the oldest had to go");
}

#[tokio::test]
async fn who_is_found_out_when_the_members_change_is_disconnected_in_both_directions() {
    let (mut a, mut b) = (start(1), start(2));
    a.members(&[(2, b.addr)]);
    b.members(&[(1, a.addr)]);
    assert_eq!(a.next().await, Event::Up(hello(2)));
    assert_eq!(b.next().await, Event::Up(hello(1)));
    let refusal = Refusal {
        kind: RefusalKind::OtherInstance,
        text: "it is another's".to_owned(),
    };
    a.members(&[(2, b.addr)]);
    assert!(
        timeout(Duration::from_millis(200), a.events.recv())
            .await
            .is_err(),
        "who is who it should be stays"
    );
    *a.recorder.refuse.lock().unwrap() = Some(refusal.clone());
    a.members(&[(2, b.addr)]);
    assert_eq!(a.next().await, Event::Down(node(2)));
    assert_eq!(b.next().await, Event::HungUp(node(1)));
    assert_eq!(b.next().await, Event::Down(node(1)));
    assert_eq!(b.next().await, Event::Refused(node(1), refusal));
}

#[tokio::test]
async fn a_peer_that_does_not_read_fills_its_queue_and_no_more() {
    let a = Options {
        change: |settings| settings.bulk_queue_bytes_max = 1 << 20,
        ..Options::new(1)
    };
    let mut a = a.start();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    a.members(&[(2, listener.local_addr().unwrap())]);
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(ByHand::accept(&listener, 2).await);
    }
    let mut lanes: Vec<_> = connections.iter().map(|(_, lane)| *lane).collect();
    lanes.sort_unstable();
    let each = [Lane::Control, Lane::Bulk, Lane::Snapshot];
    assert_eq!(lanes, each, "one connection for each lane");
    assert_eq!(a.next().await, Event::Up(hello(2)));

    // What the system buffers is bounded, so an end comes.
    let payload = Bytes::from(vec![0; 128 << 10]);
    let mut sent = 0;
    let mut refused_in_a_row = 0;
    while refused_in_a_row < 1000 {
        if a.peers.send(node(2), message(Lane::Bulk, payload.clone())) {
            (sent, refused_in_a_row) = (sent + 1, 0);
            assert!(sent < 10_000, "the queue has no end");
        } else {
            refused_in_a_row += 1;
        }
        tokio::task::yield_now().await;
    }
    assert!(
        a.peers.send(node(2), message(Lane::Control, "beat")),
        "the other lane is free"
    );
    let too_long = vec![0; 5 << 20];
    assert!(
        !a.peers.send(node(2), message(Lane::Control, too_long)),
        "over the frame limit"
    );

    drop(connections);
    assert_eq!(a.next().await, Event::HungUp(node(2)));
    assert_eq!(a.next().await, Event::Down(node(2)));
    assert_eq!(a.next().await, Event::SendFailed(node(2)));
    assert!(!a.peers.send(node(2), message(Lane::Control, "beat")));
}

#[tokio::test]
async fn a_peer_that_restarts_is_connected_again() {
    let (mut a, b) = (start(1), start(2));
    a.members(&[(2, b.addr)]);
    assert_eq!(a.next().await, Event::Up(hello(2)));
    let addr = b.addr;
    drop(b);
    assert_eq!(a.next().await, Event::HungUp(node(2)));
    assert_eq!(a.next().await, Event::Down(node(2)));
    let mut b = Options {
        addr,
        ..Options::new(2)
    }
    .start();
    assert_eq!(a.next().await, Event::Up(hello(2)));
    assert!(a.peers.send(node(2), message(Lane::Control, "again")));
    assert_eq!(
        b.next().await,
        Event::Message(node(1), message(Lane::Control, "again"))
    );
}

#[tokio::test]
async fn links_follow_the_list_of_members() {
    let (mut a, b, moved) = (start(1), start(2), start(2));
    a.members(&[(2, b.addr)]);
    assert_eq!(a.next().await, Event::Up(hello(2)));
    a.members(&[(2, b.addr)]);
    a.members(&[(2, moved.addr)]);
    assert_eq!(a.next().await, Event::Down(node(2)));
    assert_eq!(a.next().await, Event::Up(hello(2)));
    a.members(&[]);
    assert_eq!(a.next().await, Event::Down(node(2)));
    assert!(!a.peers.send(node(2), message(Lane::Bulk, "x")));
    a.members(&[(2, b.addr)]);
    assert_eq!(a.next().await, Event::Up(hello(2)));
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older_of_its_lane() {
    let mut a = start(1);
    let older = ByHand::dial(a.addr, 2, 1, Lane::Bulk).await;
    let mut control = ByHand::dial(a.addr, 2, 1, Lane::Control).await;
    let mut newer = ByHand::dial(a.addr, 2, 1, Lane::Bulk).await;
    assert!(older.closes().await);
    for (peer, lane) in [(&mut control, Lane::Control), (&mut newer, Lane::Bulk)] {
        peer.say(b"\x01here").await;
        assert_eq!(
            a.next().await,
            Event::Message(node(2), message(lane, "here"))
        );
    }
}

#[tokio::test]
async fn a_peer_that_hangs_up_at_once_is_not_dialled_without_pause() {
    let mut a = start(1);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    a.members(&[(2, listener.local_addr().unwrap())]);
    let since = Instant::now();
    for _ in 0..4 {
        let lanes = (
            ByHand::accept(&listener, 2).await,
            ByHand::accept(&listener, 2).await,
            ByHand::accept(&listener, 2).await,
        );
        assert_eq!(a.next().await, Event::Up(hello(2)));
        drop(lanes);
        assert_eq!(a.next().await, Event::HungUp(node(2)));
        assert_eq!(a.next().await, Event::Down(node(2)));
    }
    // At least half of 50, 100 and 200 ms between the four.
    assert!(since.elapsed() >= Duration::from_millis(175));
}
