//! What this node's clients ask about the cluster: `CLUSTER`, `ROLE`.
//!
//! Questions are answered from what this node has applied. Changes go to the leader, under a name that it does once,
//! and again to the next leader when that changes, until the leader answers or the time is up.

use crate::clients::Clients;
use crate::errors;
use crate::members::Change;
use crate::origin::Session;
use crate::peer::PeerMessage;
use crate::running::Running;
use crate::shared::Shared;
use bytes::Bytes;
use corgi_base::{Boot, ClientId, ClusterId, InstanceId, NodeId, Now, Term};
use corgi_consensus::storage::LogReader;
use corgi_session::{ClusterAsk, Reply, Seq};
use std::fmt::Write as _;

/// A request or its answer may get lost: ask again after this time, more than a round trip and a sync.
const RETRY_MS: u64 = 300;

/// A change that a client waits for.
#[derive(Debug)]
struct Request {
    client: ClientId,
    seq: Seq,
    number: u64,
    change: Change,
    deadline_ms: u64,
    /// To which leader it was sent last, and when.
    sent: Option<(NodeId, Term, u64)>,
    /// Whether an earlier leader was asked too, and may have begun it.
    repeated: bool,
}

/// The changes that this node's clients wait for.
#[derive(Debug)]
pub(crate) struct Admin {
    requests: Vec<Request>,
    next_number: u64,
}

impl Admin {
    pub(crate) fn new(boot: Boot) -> Self {
        Self {
            requests: Vec::new(),
            // A boot has a name for each of its requests that no other boot has.
            next_number: boot.0 << 32,
        }
    }

    fn ask(&mut self, client: ClientId, seq: Seq, change: Change, deadline_ms: u64) {
        let number = self.next_number;
        self.next_number += 1;
        self.requests.push(Request {
            client,
            seq,
            number,
            change,
            deadline_ms,
            sent: None,
            repeated: false,
        });
    }

    /// Takes the leader's answer.
    pub(crate) fn answered(
        &mut self,
        clients: &mut Clients,
        number: u64,
        result: Result<(), Bytes>,
    ) {
        let Some(at) = self.requests.iter().position(|r| r.number == number) else {
            return;
        };
        let request = self.requests.swap_remove(at);
        let reply = match result {
            Ok(()) => Reply::ok(),
            // Each leader speaks for itself.
            Err(text) if request.repeated && request.change != Change::Lead => {
                Reply::error(errors::change_refused_by_one(&text))
            }
            Err(text) => Reply::error(text),
        };
        clients.reply(request.client, request.seq, reply);
    }

    /// Answers those who wait for `node`, this one, to leave: it has.
    pub(crate) fn has_left(&mut self, clients: &mut Clients, node: NodeId) {
        let wanted = |request: &mut Request| request.change == Change::Forget(node);
        for done in self.requests.extract_if(.., wanted) {
            clients.reply(done.client, done.seq, Reply::ok());
        }
    }

    /// Tells those who have waited for too long.
    pub(crate) fn expire(&mut self, clients: &mut Clients, now: Now, wait_ms: u64) {
        for late in self
            .requests
            .extract_if(.., |r| now.mono_ms >= r.deadline_ms)
        {
            let text = match (&late.change, late.sent) {
                (_, None) => errors::cluster_down_write(wait_ms),
                (Change::Lead, Some(_)) => errors::no_failover(wait_ms),
                (_, Some(_)) => errors::change_unknown(wait_ms),
            };
            clients.error(late.client, late.seq, text);
        }
    }

    pub(crate) fn forget(&mut self, client: ClientId) {
        self.requests.retain(|request| request.client != client);
    }
}

/// How long a change may take: the time of a write for the change itself, and once more for a leader that has to be
/// found or to hand over.
pub(crate) fn wait_ms(shared: &Shared) -> u64 {
    2 * shared.config.timeouts.write_ms
}

impl<R: LogReader> Running<R> {
    /// Answers a question, or takes a change.
    pub(crate) fn cluster_asked(
        &mut self,
        shared: &mut Shared,
        now: Now,
        client: ClientId,
        seq: Seq,
        ask: &ClusterAsk,
    ) {
        let change = match ask {
            ClusterAsk::Info => Err(Reply::Verbatim(self.cluster_info(shared))),
            ClusterAsk::MyId => Err(Reply::Bulk(self.long_id(shared.config.id, shared).into())),
            ClusterAsk::Nodes => Err(Reply::Verbatim(self.cluster_nodes(shared))),
            ClusterAsk::Role => Err(self.role()),
            ClusterAsk::Wait { local } => Err(self.copies(*local)),
            ClusterAsk::Failover if self.leads() => Err(Reply::error(errors::FAILOVER_ON_LEADER)),
            ClusterAsk::Failover => Ok(Change::Lead),
            ClusterAsk::Forget(id) => self
                .find(id)
                .map(Change::Forget)
                .ok_or_else(|| Reply::error(errors::unknown_node(id))),
            ClusterAsk::Meet {
                addr,
                replaces: None,
            } => Ok(Change::Meet {
                addr: addr.clone(),
                replaces: None,
            }),
            ClusterAsk::Meet {
                addr,
                replaces: Some(old),
            } => self
                .find(old)
                .map(|old| Change::Meet {
                    addr: addr.clone(),
                    replaces: Some(old),
                })
                .ok_or_else(|| Reply::error(errors::unknown_node(old))),
        };
        match change {
            Ok(change) => {
                let deadline_ms = now.mono_ms + wait_ms(shared);
                shared.admin.ask(client, seq, change, deadline_ms);
            }
            Err(reply) => shared.clients.reply(client, seq, reply),
        }
    }

    /// Finds a node by its number or by the id that Redis' tools use; one that has left too.
    fn find(&self, id: &Bytes) -> Option<NodeId> {
        let text = std::str::from_utf8(id).ok()?;
        if let Some(node) = text.parse().ok().and_then(NodeId::new) {
            let known = self.state.member(node).is_some() || self.state.is_gone(node);
            return known.then_some(node);
        }
        let members = self
            .state
            .members()
            .map(|member| (member.id, member.instance));
        let mut known = members.chain(self.state.gone());
        let cluster = self.formation.cluster;
        known
            .find(|(id, instance)| long_id(cluster, *id, *instance).eq_ignore_ascii_case(text))
            .map(|(id, _)| id)
    }

    /// Sends what has not been sent to the present leader, or not lately.
    pub(crate) fn send_requests(&mut self, shared: &mut Shared, now: Now) {
        if self.leads() {
            let wanted = |r: &mut Request| r.change == Change::Lead;
            let done: Vec<Request> = shared.admin.requests.extract_if(.., wanted).collect();
            for request in done {
                shared
                    .clients
                    .reply(request.client, request.seq, Reply::ok());
            }
        }
        let Some((leader, term)) = self.route else {
            return;
        };
        // Until then a node may not know who the users are: whoever was let in by others is gone when it does.
        if shared.origin.session != Session::Open {
            return;
        }
        let mut due = Vec::new();
        for request in &mut shared.admin.requests {
            let lately = request.sent.is_some_and(|(to, at, ms)| {
                (to, at) == (leader, term) && now.mono_ms < ms + RETRY_MS
            });
            if !lately {
                let other = |(to, at, _)| (to, at) != (leader, term);
                request.repeated |= request.sent.is_some_and(other);
                request.sent = Some((leader, term, now.mono_ms));
                due.push((request.number, request.change.clone()));
            }
        }
        for (number, change) in due {
            if leader == shared.config.id {
                self.take_order(shared, now, leader, number, change);
            } else {
                let message = PeerMessage::Change {
                    term,
                    number,
                    change,
                };
                shared.out.send.push((leader, message));
            }
        }
    }

    /// On this surface every node looks like the one Redis that there is.
    fn role(&self) -> Reply {
        let applied = i64::try_from(self.state.applied().0).unwrap_or(i64::MAX);
        Reply::Array(vec![
            Reply::Bulk(Bytes::from_static(b"master")),
            Reply::Integer(applied),
            Reply::Array(Vec::new()),
        ])
    }

    /// A write that was acknowledged is on a majority of the voters; so many others have it at least.
    fn copies(&self, local: Option<i64>) -> Reply {
        let others = i64::try_from(self.state.voters().len() / 2).unwrap_or(i64::MAX);
        let others = Reply::Integer(others);
        match local {
            None => others,
            Some(own) => Reply::Array(vec![Reply::Integer(own), others]),
        }
    }

    fn long_id(&self, node: NodeId, shared: &Shared) -> String {
        let bound = self.state.member(node).map(|member| member.instance);
        let instance = bound.unwrap_or(shared.config.instance);
        long_id(self.formation.cluster, node, instance)
    }

    fn cluster_info(&self, shared: &Shared) -> Bytes {
        let status = self.group.status();
        let members = self.state.members().count();
        let state = if self.serves() { "ok" } else { "fail" };
        let voters = self.state.voters().len();
        let mut out = String::new();
        for (name, value) in [
            ("cluster_enabled", "1".to_owned()),
            ("cluster_state", state.to_owned()),
            ("cluster_slots_assigned", "16384".to_owned()),
            ("cluster_slots_ok", "16384".to_owned()),
            ("cluster_slots_pfail", "0".to_owned()),
            ("cluster_slots_fail", "0".to_owned()),
            ("cluster_known_nodes", members.to_string()),
            ("cluster_size", voters.to_string()),
            ("cluster_current_epoch", status.term.to_string()),
            ("cluster_my_epoch", status.term.to_string()),
            ("cluster_node_id", shared.config.id.to_string()),
            (
                "cluster_leader_id",
                status.leader.map_or(0, NodeId::get).to_string(),
            ),
        ] {
            write!(out, "{name}:{value}\r\n").expect("a string takes all that is written to it");
        }
        out.into()
    }

    /// One line a member, as Redis has them. The leader is the master and the other voters its replicas; one that does
    /// not vote yet is in the handshake. The port of clients is not known of other nodes and is 0.
    fn cluster_nodes(&self, shared: &Shared) -> Bytes {
        let status = self.group.status();
        let own = shared.config.id;
        let leader = status
            .leader
            .map_or_else(|| "-".to_owned(), |l| self.long_id(l, shared));
        let mut out = String::new();
        for member in self.state.members() {
            let node = member.id;
            let leads = status.leader == Some(node);
            let votes = self.state.voters().contains(&node);
            let up = node == own || shared.peers_up.contains(&node);
            let mut flags = Vec::new();
            if node == own {
                flags.push("myself");
            }
            flags.push(match (leads, votes) {
                (true, _) => "master",
                (false, true) => "slave",
                (false, false) => "handshake",
            });
            if !up {
                flags.push("fail?");
            }
            let addr = String::from_utf8_lossy(&member.addr);
            let (host, port) = addr.rsplit_once(':').unwrap_or((&addr, "0"));
            writeln!(
                out,
                "{} {host}:0@{port},,node-id={node} {} {} 0 0 {} {}{}",
                self.long_id(node, shared),
                flags.join(","),
                if leads { "-" } else { &leader },
                status.term,
                if up { "connected" } else { "disconnected" },
                if leads { " 0-16383" } else { "" },
            )
            .expect("a string takes all that is written to it");
        }
        out.into()
    }
}

/// Returns the 40 hexadecimal digits by which Redis' tools know a node: of its cluster, its number and its data folder.
pub(crate) fn long_id(cluster: ClusterId, node: NodeId, instance: InstanceId) -> String {
    let words = [
        (cluster.0 >> 64) as u64,
        cluster.0 as u64,
        node.get(),
        (instance.0 >> 64) as u64,
        instance.0 as u64,
    ];
    let word = |salt: u64| words.iter().fold(mix(salt), |sum, word| mix(sum ^ word));
    format!("{:016x}{:016x}{:08x}", word(1), word(2), word(3) as u32)
}

/// Spreads the bits of a number over all 64 (the finalizer of SplitMix64).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_are_stable_and_differ_in_every_part() {
        let n = |id| NodeId::new(id).expect("not 0");
        let id = long_id(ClusterId(1), n(2), InstanceId(3));
        assert_eq!(id.len(), 40);
        assert_eq!(id, long_id(ClusterId(1), n(2), InstanceId(3)));
        for other in [
            long_id(ClusterId(2), n(2), InstanceId(3)),
            long_id(ClusterId(1), n(3), InstanceId(3)),
            long_id(ClusterId(1), n(2), InstanceId(3 << 64)),
        ] {
            assert_ne!(id, other);
        }
    }
}
