//! What clients do. What they make of the bytes that they read is in `reading`.

use crate::history::{ConnId, Micros, Outcome, Record, Topic, Violation};
use crate::membership::Errand;
use crate::resp::put_command;
use crate::rng::Rng;
use crate::scenario::{MS, SECOND};
use crate::world::{Event, World};
use bytes::{Bytes, BytesMut};
use corgi_base::SubscriptionKind;
use std::collections::VecDeque;

/// How much longer than `write-timeout` a node may take to answer: ticks, drifting clocks, the way.
const SLACK: Micros = 1500 * MS;

/// What kind of client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Publishes.
    Publisher,
    /// Subscribes, and stays.
    Subscriber,
    /// Subscribes and unsubscribes all the time.
    Churner,
    /// Publishes to itself.
    Echo,
    /// Publishes to one node until it succeeds, to see that the node works.
    Probe,
    /// Asks for changes of the members.
    Admin,
}

/// What a client waits for, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    Hello,
    Publish {
        payload: Bytes,
        sent: Micros,
    },
    /// One name of the command with this number.
    Listen {
        topic: Topic,
        command: u64,
    },
    Leave {
        topic: Topic,
    },
    /// An errand of somebody who runs the cluster.
    Errand(Errand),
}

/// One client, which outlives its connections.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) role: Role,
    rng: Rng,
    pub(crate) conn: Option<ConnId>,
    /// The node that it goes to next.
    pub(crate) node: usize,
    pub(crate) resp3: bool,
    depth: u64,
    /// Reads so many bytes at each of its turns, or at once when they arrive.
    pub(crate) chunk: Option<usize>,
    /// What a subscriber listens to.
    topics: Vec<Topic>,
    next: u64,
    commands: u64,
    pub(crate) pending: VecDeque<Pending>,
    /// When a subscription was last answered: what is sent behind one is taken up only then.
    pub(crate) unblocked: Micros,
    /// A probe that got its success.
    pub(crate) done: bool,
}

impl Client {
    fn new(role: Role, mut rng: Rng, world: &World) -> Self {
        let scenario = &world.scenario;
        let slow = role == Role::Subscriber && rng.chance(scenario.slow_percent);
        let chunk = slow.then(|| rng.pick(&[0, 50, 500]));
        let mut topics = Vec::new();
        if role == Role::Subscriber {
            for _ in 0..rng.between(1, 3) {
                topics.push(topic(&mut rng, scenario.channels));
            }
        }
        Self {
            role,
            node: rng.index(scenario.nodes),
            resp3: role != Role::Admin && (role == Role::Echo || rng.chance(50)),
            depth: rng.between(1, scenario.depth_max),
            chunk,
            topics,
            conn: None,
            next: 0,
            commands: 0,
            pending: VecDeque::new(),
            unblocked: 0,
            done: false,
            rng,
        }
    }

    /// Whether an answer is due.
    pub(crate) fn waits(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether it is connected, or done, and no answer is due.
    pub(crate) fn is_settled(&self) -> bool {
        !self.waits() && (self.conn.is_some() || self.done)
    }
}

fn channel(rng: &mut Rng, channels: u64) -> Bytes {
    Bytes::from(format!("ch{}", rng.below(channels)))
}

fn topic(rng: &mut Rng, channels: u64) -> Topic {
    let (kind, name) = match rng.below(6) {
        0 => (SubscriptionKind::Pattern, Bytes::from_static(b"ch*")),
        1 => (SubscriptionKind::Pattern, Bytes::from_static(b"*[02]")),
        _ => (SubscriptionKind::Channel, channel(rng, channels)),
    };
    Topic { kind, name }
}

impl World {
    pub(crate) fn make_clients(&mut self) {
        let counts = [
            (Role::Publisher, self.scenario.publishers),
            (Role::Subscriber, self.scenario.subscribers),
            (Role::Churner, self.scenario.churners),
            (Role::Echo, self.scenario.echoes),
            (Role::Admin, if self.members_change() { 2 } else { 0 }),
        ];
        for (role, count) in counts {
            for _ in 0..count {
                self.add_client(role, None);
            }
        }
    }

    pub(crate) fn add_client(&mut self, role: Role, node: Option<usize>) {
        let rng = self.rng.fork();
        let mut client = Client::new(role, rng, self);
        client.node = node.unwrap_or(client.node);
        self.clients.push(client);
        let wait = self.rng.below(SECOND);
        let client = self.clients.len() - 1;
        self.after(wait, Event::Client { client });
    }

    pub(crate) fn client_turn(&mut self, id: usize) -> Result<(), Violation> {
        // Followers that are far behind must be able to catch up under the tightest limits.
        let healed = self.now >= self.scenario.heal_at;
        let think = self.scenario.think.max(if healed { SECOND } else { 0 });
        let client = &mut self.clients[id];
        let wait = match client.role {
            Role::Publisher | Role::Echo | Role::Churner => {
                client.rng.between(think / 2, think * 2)
            }
            Role::Subscriber => client.rng.between(20 * MS, 200 * MS),
            Role::Probe => 500 * MS,
            Role::Admin => client.rng.between(20 * MS, 300 * MS),
        };
        if client.role == Role::Probe && client.done {
            return Ok(());
        }
        self.after(wait, Event::Client { client: id });
        if self.clients[id].role == Role::Admin {
            return if self.impatient(id) {
                self.client_leaves(id)
            } else {
                self.run_errand(id)
            };
        }
        let Some(conn) = self.clients[id].conn else {
            self.client_connects(id);
            return Ok(());
        };
        if self.impatient(id) {
            return self.client_leaves(id);
        }
        if let Some(chunk) = self.clients[id].chunk {
            self.client_reads(id, if self.draining { usize::MAX } else { chunk })?;
            // Reading may have ended the connection.
            if self.clients[id].conn != Some(conn) {
                return Ok(());
            }
        }
        match self.clients[id].role {
            Role::Publisher | Role::Echo => self.publish_some(id, conn),
            Role::Probe => self.publish_some(id, conn),
            Role::Churner => self.churn(id, conn),
            // Done above.
            Role::Admin => Ok(()),
            Role::Subscriber => {
                let tired = !self.draining && self.clients[id].rng.below(400) == 0;
                if tired {
                    self.client_leaves(id)
                } else {
                    Ok(())
                }
            }
        }
    }

    fn client_connects(&mut self, id: usize) {
        let nodes = self.machines.len();
        let client = &mut self.clients[id];
        let node = client.node;
        if client.role != Role::Probe {
            client.node = client.rng.index(nodes);
        }
        let conn = self.connect(id, node);
        self.clients[id].conn = Some(conn);
        let client = &mut self.clients[id];
        if client.resp3 {
            client.pending.push_back(Pending::Hello);
            let mut out = BytesMut::new();
            put_command(&[b"HELLO", b"3"], &mut out);
            self.client_sends(conn, out.freeze());
        }
        let client = &mut self.clients[id];
        let mut topics = client.topics.clone();
        if client.role == Role::Echo {
            let name = Bytes::from(format!("own{id}"));
            topics.push(Topic {
                kind: SubscriptionKind::Channel,
                name,
            });
        }
        for kind in [SubscriptionKind::Channel, SubscriptionKind::Pattern] {
            let of_kind = topics.iter().filter(|topic| topic.kind == kind).cloned();
            let names = of_kind.collect();
            self.listen(id, conn, kind, names);
        }
    }

    /// Subscribes to some names of a kind with one command.
    fn listen(&mut self, id: usize, conn: ConnId, kind: SubscriptionKind, topics: Vec<Topic>) {
        if topics.is_empty() {
            return;
        }
        let client = &mut self.clients[id];
        client.commands += 1;
        let command = client.commands;
        let mut args: Vec<&[u8]> = vec![match kind {
            SubscriptionKind::Channel => b"SUBSCRIBE",
            SubscriptionKind::Pattern => b"psubscribe",
            SubscriptionKind::Shard => b"SSUBSCRIBE",
        }];
        args.extend(topics.iter().map(|topic| &topic.name[..]));
        let mut out = BytesMut::new();
        put_command(&args, &mut out);
        for topic in &topics {
            client.pending.push_back(Pending::Listen {
                topic: topic.clone(),
                command,
            });
        }
        for topic in topics {
            let asked = self.record(&Record::Asked { conn, topic });
            asked.expect("a question breaks no promise");
        }
        self.client_sends(conn, out.freeze());
    }

    fn churn(&mut self, id: usize, conn: ConnId) -> Result<(), Violation> {
        let channels = self.scenario.channels;
        let client = &mut self.clients[id];
        if client.pending.len() >= 8 || self.draining {
            return Ok(());
        }
        let chosen = topic(&mut client.rng, channels);
        if client.rng.chance(55) {
            self.listen(id, conn, chosen.kind, vec![chosen]);
            return Ok(());
        }
        let mut out = BytesMut::new();
        let name: &[u8] = match chosen.kind {
            SubscriptionKind::Channel => b"UNSUBSCRIBE",
            SubscriptionKind::Pattern => b"PUNSUBSCRIBE",
            SubscriptionKind::Shard => b"SUNSUBSCRIBE",
        };
        put_command(&[name, &chosen.name], &mut out);
        client.pending.push_back(Pending::Leave { topic: chosen });
        self.client_sends(conn, out.freeze());
        Ok(())
    }

    fn publish_some(&mut self, id: usize, conn: ConnId) -> Result<(), Violation> {
        let client = &mut self.clients[id];
        let room = client.depth.saturating_sub(client.pending.len() as u64);
        if room == 0 || (self.draining && client.role != Role::Probe) {
            return Ok(());
        }
        let (count, echo, probe) = match client.role {
            Role::Probe => (1, false, true),
            role => {
                let most = if self.now < self.scenario.heal_at {
                    room
                } else {
                    1
                };
                (client.rng.between(1, most), role == Role::Echo, false)
            }
        };
        let mut out = BytesMut::new();
        for _ in 0..count {
            let (payload_max, channels) = (self.scenario.payload_max, self.scenario.channels);
            let client = &mut self.clients[id];
            client.next += 1;
            let padding = client.rng.below(payload_max + 1);
            let padding = "x".repeat(usize::try_from(padding).unwrap_or(0));
            let payload = Bytes::from(format!("c{id}-{}:{padding}", client.next));
            let channel = if echo {
                Bytes::from(format!("own{id}"))
            } else if probe {
                Bytes::from_static(b"probe")
            } else {
                channel(&mut client.rng, channels)
            };
            put_command(&[b"PUBLISH", &channel, &payload], &mut out);
            client.pending.push_back(Pending::Publish {
                payload: payload.clone(),
                sent: self.now,
            });
            self.record(&Record::Invoked {
                conn,
                channel,
                payload,
            })?;
        }
        self.client_sends(conn, out.freeze());
        Ok(())
    }

    /// Whether a client has waited for longer than any node may take.
    fn impatient(&self, id: usize) -> bool {
        let max = self.scenario.timeouts.write_ms * MS * 5 / 4 + SLACK;
        match self.clients[id].pending.front() {
            Some(Pending::Publish { sent, .. }) => {
                self.now > self.clients[id].unblocked.max(*sent) + max
            }
            Some(Pending::Errand(_)) => {
                let since = self.clients[id].unblocked;
                self.now > since + 3 * self.scenario.timeouts.write_ms * MS
            }
            Some(Pending::Hello | Pending::Listen { .. } | Pending::Leave { .. }) | None => {
                // A connection that never speaks is given up with the publish behind it.
                let sent = self.clients[id]
                    .pending
                    .iter()
                    .find_map(|pending| match pending {
                        Pending::Publish { sent, .. } => Some(*sent),
                        Pending::Hello
                        | Pending::Listen { .. }
                        | Pending::Leave { .. }
                        | Pending::Errand(_) => None,
                    });
                sent.is_some_and(|sent| self.now > sent + 2 * max)
            }
        }
    }

    /// A client ends its connection, in the middle of whatever it does.
    pub(crate) fn client_leaves(&mut self, id: usize) -> Result<(), Violation> {
        let Some(conn) = self.clients[id].conn else {
            return Ok(());
        };
        let silent = self.impatient(id);
        self.client_closes(conn);
        self.client_gone(id, conn, silent)
    }

    /// The node has ended a connection.
    pub(crate) fn client_lost(&mut self, conn: ConnId) -> Result<(), Violation> {
        let Some(found) = self.conns.get(&conn) else {
            return Ok(());
        };
        let (id, open) = (found.client, found.client_open);
        if open {
            self.client_reads(id, usize::MAX)?;
            if self.clients[id].conn == Some(conn) {
                self.client_gone(id, conn, false)?;
            }
        }
        self.conns.remove(&conn);
        Ok(())
    }

    fn client_gone(&mut self, id: usize, conn: ConnId, silent: bool) -> Result<(), Violation> {
        let client = &mut self.clients[id];
        client.conn = None;
        let pending = std::mem::take(&mut client.pending);
        let served = self.conns.get(&conn).filter(|conn| conn.is_served());
        let node = served.map(|conn| conn.node);
        let answerable_since = node.map_or(Micros::MAX, |n| self.machines[n].answerable_since);
        self.record(&Record::Closed { conn })?;
        let mut first = silent;
        for pending in pending {
            let (payload, sent) = match pending {
                Pending::Publish { payload, sent } => (payload, sent),
                Pending::Errand(errand) => {
                    self.errand_ended(errand, Outcome::Unknown)?;
                    continue;
                }
                Pending::Hello | Pending::Listen { .. } | Pending::Leave { .. } => continue,
            };
            // Only the first must have been answered by now.
            let outcome = if first {
                Outcome::Silence {
                    answerable_since,
                    sent,
                }
            } else {
                Outcome::Unknown
            };
            first = false;
            self.record(&Record::Returned { payload, outcome })?;
        }
        Ok(())
    }
}
