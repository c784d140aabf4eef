//! Connections of clients, as the server has them: a real session, fed with bytes in any pieces, and
//! output that leaves as the client makes room.

use crate::history::{ConnId, Micros, Record, Topic, Violation};
use crate::scenario::SECOND;
use crate::world::{Event, World};
use bytes::{Bytes, BytesMut};
use corgi_base::{ClientId, Op};
use corgi_node::QueuedBytes;
use corgi_session::{Ask, Env, Reply, Seq, Session, Told};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How long a client may take to read what it gets before its connection is closed.
const CLOSING_MAX: Micros = 5 * SECOND;

/// One connection, both ends.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) client: usize,
    pub(crate) node: usize,
    server: Option<Server>,
    pub(crate) client_open: bool,
    /// What the client has not read yet.
    pub(crate) unread: BytesMut,
    /// When the last bytes arrive at either end.
    up_last: Micros,
    down_last: Micros,
    /// The node's end died and took what was under way with it.
    lost: bool,
    /// Bytes of an incomplete frame that the client has taken out of its buffers already.
    taken: usize,
}

impl Conn {
    /// Whether the process that took the connection lives.
    pub(crate) fn is_served(&self) -> bool {
        self.server.is_some()
    }

    /// Returns how many bytes the node's end holds for the client.
    pub(crate) fn held_bytes(&mut self) -> u64 {
        let Some(server) = &mut self.server else {
            return 0;
        };
        let told = server.told.iter().map(|told| match told {
            Told::Deliver(bytes) => bytes.len(),
            Told::Reply { .. }
            | Told::Subscription { .. }
            | Told::Versions { .. }
            | Told::Done { .. }
            | Told::Close { .. } => 0,
        });
        told.sum::<usize>() as u64 + server.session.output().len() as u64
    }

    /// Notes that the client has read frames of `read` bytes in all, and, if `all`, has taken out
    /// the incomplete frame that is left. Returns for how many more bytes there is room.
    pub(crate) fn taken(&mut self, read: usize, all: bool) -> usize {
        let before = self.taken;
        let taken = if all {
            read + self.unread.len()
        } else {
            read.max(before)
        };
        self.taken = taken - read;
        taken.saturating_sub(before)
    }
}

/// The node's end.
#[derive(Debug)]
struct Server {
    client: ClientId,
    session: Session,
    input: BytesMut,
    told: VecDeque<Told>,
    queued: QueuedBytes,
    /// Ends of counted pieces in the stream of output, each with its count.
    ends: VecDeque<(u64, u64)>,
    written: u64,
    /// Bytes that the client's side takes before it must read.
    window: usize,
    /// What the session has asked and has no answer to.
    writes: BTreeMap<Seq, Vec<Bytes>>,
    subscribes: BTreeMap<Seq, Vec<Topic>>,
    /// This connection is having its turn.
    busy: bool,
    closing: bool,
}

impl World {
    /// A client calls a node.
    pub(crate) fn connect(&mut self, client: usize, node: usize) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let at = self.now + self.client_delay();
        let new = Conn {
            client,
            node,
            server: None,
            client_open: true,
            unread: BytesMut::new(),
            up_last: at,
            down_last: self.now,
            lost: false,
            taken: 0,
        };
        self.conns.insert(conn, new);
        self.schedule(at, Event::Accept { conn });
        conn
    }

    fn client_delay(&mut self) -> Micros {
        self.rng.between(50, 2000)
    }

    /// A client sends bytes, which arrive in pieces.
    pub(crate) fn client_sends(&mut self, id: ConnId, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let cut = if self.rng.chance(20) {
                1 + self.rng.index(bytes.len())
            } else {
                bytes.len()
            };
            let bytes = bytes.split_to(cut);
            let wait = self.client_delay();
            let Some(conn) = self.conns.get_mut(&id) else {
                return;
            };
            conn.up_last = conn.up_last.max(self.now + wait);
            let at = conn.up_last;
            self.schedule(at, Event::Up { conn: id, bytes });
        }
    }

    /// A client ends its connection.
    pub(crate) fn client_closes(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.client_open = false;
            let at = conn.up_last;
            self.schedule(at, Event::UpClosed { conn: id });
        }
    }

    pub(crate) fn accept(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let node = self.machines[conn.node].id;
        self.trace.say(|| format!("{id:?} calls {node:?}"));
        let Some(process) = &mut self.machines[conn.node].process else {
            let wait = self.client_delay();
            self.after(wait, Event::DownClosed { conn: id });
            return;
        };
        let client = ClientId(process.next_client);
        process.next_client += 1;
        process.conns.insert(client, id);
        let queued = QueuedBytes::default();
        process.node.client_opened(client, queued.clone());
        conn.server = Some(Server {
            client,
            session: Session::new(client, Arc::new(Env::default())),
            input: BytesMut::new(),
            told: VecDeque::new(),
            queued,
            ends: VecDeque::new(),
            written: 0,
            window: self.scenario.window,
            writes: BTreeMap::new(),
            subscribes: BTreeMap::new(),
            busy: false,
            closing: false,
        });
    }

    fn server(&mut self, id: ConnId) -> Option<&mut Server> {
        self.conns.get_mut(&id)?.server.as_mut()
    }

    pub(crate) fn up(&mut self, id: ConnId, bytes: &Bytes) -> Result<(), Violation> {
        self.trace.mix_bytes(bytes);
        self.trace
            .say(|| format!("{id:?} sends {:?}", shown(bytes)));
        let Some(server) = self.server(id) else {
            return Ok(());
        };
        server.input.extend_from_slice(bytes);
        self.converse(id)
    }

    pub(crate) fn up_closed(&mut self, id: ConnId) -> Result<(), Violation> {
        let Some(conn) = self.conns.get_mut(&id) else {
            return Ok(());
        };
        let node = conn.node;
        self.close_server(id);
        self.conns.remove(&id);
        self.drain(node)
    }

    pub(crate) fn room(&mut self, id: ConnId, bytes: usize) -> Result<(), Violation> {
        if let Some(server) = self.server(id) {
            server.window += bytes;
        }
        self.converse(id)
    }

    /// Takes what the node tells a connection, and shows the checkers what that means.
    pub(crate) fn hear(&mut self, id: ConnId, told: Told) -> Result<(), Violation> {
        let Some(conn) = self.conns.get_mut(&id) else {
            return Ok(());
        };
        let (open, node) = (conn.client_open, conn.node);
        let Some(server) = &mut conn.server else {
            return Ok(());
        };
        let mut records = Vec::new();
        match &told {
            Told::Reply { seq, reply } => {
                let refused = matches!(reply, Reply::Error(_));
                if let Some(payloads) = server.writes.remove(seq)
                    && !refused
                {
                    let node = self.machines[node].id;
                    let acked = |payload| Record::Acked { node, payload };
                    records.extend(payloads.into_iter().map(acked));
                }
                for topic in server.subscribes.remove(seq).unwrap_or_default() {
                    if open {
                        records.push(Record::Refused { conn: id, topic });
                    }
                }
            }
            Told::Subscription {
                on: true,
                kind,
                name: Some(name),
                ..
            } if open => {
                let topic = Topic {
                    kind: *kind,
                    name: name.clone(),
                };
                records.push(Record::Confirmed { conn: id, topic });
            }
            Told::Done { seq } => {
                server.subscribes.remove(seq);
            }
            Told::Deliver(_)
            | Told::Versions { .. }
            | Told::Subscription { .. }
            | Told::Close { .. } => {}
        }
        server.told.push_back(told);
        for record in records {
            self.record(&record)?;
        }
        Ok(())
    }

    /// Lets a session and its node talk until neither has anything to say.
    pub(crate) fn converse(&mut self, id: ConnId) -> Result<(), Violation> {
        match self.server(id) {
            // Whoever has its turn hears the news before it ends.
            Some(server) if !server.busy => server.busy = true,
            _ => return Ok(()),
        }
        loop {
            let Some(server) = self.server(id) else {
                return Ok(());
            };
            server.listen();
            server.session.read(&mut server.input);
            let asks = server.session.take_asks();
            if !asks.is_empty() {
                self.ask(id, asks)?;
            } else if !self.write_out(id) {
                break;
            }
        }
        if let Some(server) = self.server(id) {
            server.busy = false;
        }
        self.close_if_done(id)
    }

    fn ask(&mut self, id: ConnId, asks: Vec<Ask>) -> Result<(), Violation> {
        let Some(conn) = self.conns.get_mut(&id) else {
            return Ok(());
        };
        let node = conn.node;
        let Some(server) = &mut conn.server else {
            return Ok(());
        };
        for ask in &asks {
            server.note(ask);
        }
        let machine = &mut self.machines[node];
        if let Some(process) = &mut machine.process {
            let now = machine.clock.now(self.now);
            process.node.client_asks(now, server.client, asks);
        }
        self.drain(node)
    }

    /// Sends what the client has room for. Returns whether commands may run that were held back.
    fn write_out(&mut self, id: ConnId) -> bool {
        let wait = self.client_delay();
        let Some(conn) = self.conns.get_mut(&id) else {
            return false;
        };
        let Some(server) = &mut conn.server else {
            return false;
        };
        let (bytes, drained) = server.take_output();
        if bytes.is_empty() {
            return false;
        }
        let more = !server.input.is_empty();
        if drained {
            self.after(0, Event::Drained { conn: id });
        }
        let Some(conn) = self.conns.get_mut(&id) else {
            return false;
        };
        if !conn.lost {
            conn.down_last = conn.down_last.max(self.now + wait);
            let at = conn.down_last;
            self.schedule(at, Event::Down { conn: id, bytes });
        }
        more
    }

    /// A subscriber that is fed from the log has as much to read as the log holds, and the narrowest pipes would take
    /// hours.
    pub(crate) fn widen_pipes(&mut self) {
        let servers = self
            .conns
            .values_mut()
            .filter_map(|conn| conn.server.as_mut());
        for server in servers {
            server.window += 16 << 20;
        }
    }

    /// A subscriber that is fed from the log has room for more.
    pub(crate) fn drained(&mut self, id: ConnId) -> Result<(), Violation> {
        let Some(conn) = self.conns.get(&id) else {
            return Ok(());
        };
        let (node, client) = (conn.node, conn.server.as_ref().map(|server| server.client));
        let machine = &mut self.machines[node];
        if let (Some(process), Some(client)) = (&mut machine.process, client) {
            let now = machine.clock.now(self.now);
            process.node.client_drained(now, client);
        }
        self.drain(node)
    }

    fn close_if_done(&mut self, id: ConnId) -> Result<(), Violation> {
        let Some(conn) = self.conns.get_mut(&id) else {
            return Ok(());
        };
        let Some(server) = &mut conn.server else {
            return Ok(());
        };
        if !server.session.closing() {
            return Ok(());
        }
        if !server.session.output().is_empty() {
            if !server.closing {
                server.closing = true;
                self.after(CLOSING_MAX, Event::CloseLate { conn: id });
            }
            return Ok(());
        }
        let node = conn.node;
        self.close_late(id);
        self.drain(node)
    }

    pub(crate) fn close_late(&mut self, id: ConnId) {
        self.close_server(id);
        if let Some(conn) = self.conns.get(&id) {
            let at = conn.down_last;
            self.schedule(at, Event::DownClosed { conn: id });
        }
    }

    fn close_server(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let Some(server) = conn.server.take() else {
            return;
        };
        if let Some(process) = &mut self.machines[conn.node].process {
            process.conns.remove(&server.client);
            process.node.client_closed(server.client);
        }
    }

    /// A process has died with all its connections.
    pub(crate) fn drop_conns(&mut self, node: usize, power: bool) {
        let dead: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.node == node && conn.server.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in dead {
            let lost = power || self.rng.chance(50);
            let wait = if power {
                self.rng.between(SECOND, 3 * SECOND)
            } else {
                self.client_delay()
            };
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.server = None;
                conn.lost = lost;
                let at = conn.down_last.max(self.now + wait);
                self.schedule(at, Event::DownClosed { conn: id });
            }
        }
    }

    /// Bytes arrive at a client; `None` for what a dead node took with it.
    pub(crate) fn arrived(&mut self, id: ConnId, bytes: &Bytes) -> Option<usize> {
        let conn = self.conns.get_mut(&id)?;
        if !conn.client_open || conn.lost {
            return None;
        }
        conn.unread.extend_from_slice(bytes);
        Some(conn.client)
    }
}

impl Server {
    /// Gives the session what the node has told.
    fn listen(&mut self) {
        while let Some(told) = self.told.pop_front() {
            let counted = match &told {
                Told::Deliver(bytes) => Some(bytes.len() as u64),
                Told::Reply { .. }
                | Told::Subscription { .. }
                | Told::Versions { .. }
                | Told::Done { .. }
                | Told::Close { .. } => None,
            };
            self.session.tell(told);
            if let Some(counted) = counted {
                let end = self.written + self.session.unwritten() as u64;
                self.ends.push_back((end, counted));
            }
        }
    }

    fn note(&mut self, ask: &Ask) {
        match ask {
            Ask::Write { seq, op } => drop(self.writes.insert(*seq, vec![payload(op)])),
            Ask::WriteAll { seq, ops } => {
                self.writes.insert(*seq, ops.iter().map(payload).collect());
            }
            Ask::Subscribe { seq, kind, names } => {
                let topic = |name: &Bytes| Topic {
                    kind: *kind,
                    name: name.clone(),
                };
                let topics = names.iter().map(topic).collect();
                self.subscribes.insert(*seq, topics);
            }
            Ask::Read { .. }
            | Ask::Wait { .. }
            | Ask::Unblock { .. }
            | Ask::Unsubscribe { .. }
            | Ask::SetProtocol { .. }
            | Ask::Reset { .. }
            | Ask::PubSub { .. }
            | Ask::Cluster { .. }
            | Ask::As { .. }
            | Ask::Users { .. }
            | Ask::Info { .. } => {}
        }
    }

    /// Returns what the client has room for, and whether the node must hear of it.
    fn take_output(&mut self) -> (Bytes, bool) {
        let take = self.window.min(self.session.output().len());
        let mut bytes = BytesMut::with_capacity(take);
        for chunk in self.session.output().chunks() {
            let room = take - bytes.len();
            bytes.extend_from_slice(&chunk[..room.min(chunk.len())]);
        }
        self.session.output().consume(take);
        self.window -= take;
        self.written += take as u64;
        let mut drained = false;
        while let Some((_, counted)) = self.ends.pop_front_if(|(end, _)| *end <= self.written) {
            drained |= self.queued.sub(counted);
        }
        (bytes.freeze(), drained)
    }
}

fn payload(op: &Op) -> Bytes {
    match op {
        Op::Publish { payload, .. } | Op::ShardPublish { payload, .. } => payload.clone(),
        Op::Key { .. } | Op::Guard { .. } | Op::Users(_) | Op::HistoryRules(_) => Bytes::new(),
    }
}

/// What the trace shows of bytes: enough to recognise them.
pub(crate) fn shown(bytes: &Bytes) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned();
    text.replace("xxxx", "")
}
