//! How a cluster comes to be.
//!
//! ```text
//!   all nodes empty ── each hears of all others, none has a cluster ──▶ the lowest id founds: alone, random cluster id
//!   founder ── Formed, once it is on disk ──▶ the others take the cluster on, as followers of the founder
//!   leader: Bootstrap (binds ids to data folders) → one by one: learner, then voter → Formed: clients are served
//! ```
//!
//! The first configuration, "the founder alone votes, before the first entry", is the same on all members by
//! construction; every later one is an entry of the log. If the leader dies on the way, the next one goes on: what has
//! been done is in the log. Until the last step clients are refused, because until then a majority is fewer nodes than
//! were configured.

use crate::config::{InitialMember, NodeConfig};
use crate::peer::{PeerHello, Refusal, RefusalKind};
use bytes::Bytes;
use corgi_base::{EntryHead, Formation, InstanceId, LogIndex, Member, NodeId};
use corgi_consensus::MemberChange;
use corgi_state::State;
use std::collections::BTreeMap;

/// What a node without a cluster has heard of the other first members.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    instances: BTreeMap<NodeId, InstanceId>,
}

impl Heard {
    pub(crate) fn insert(&mut self, hello: &PeerHello) {
        self.instances.insert(hello.id, hello.instance);
    }

    pub(crate) fn remove(&mut self, peer: NodeId) {
        self.instances.remove(&peer);
    }

    /// Returns the first members with their data folders, if this node is to found the cluster now.
    pub(crate) fn founding_members(&self, config: &NodeConfig) -> Option<Vec<Member>> {
        let lowest = config
            .initial_members
            .iter()
            .map(|member| member.id)
            .min()?;
        if lowest != config.id {
            return None;
        }
        let bind = |member: &InitialMember| {
            let instance = match self.instances.get(&member.id) {
                _ if member.id == config.id => config.instance,
                Some(instance) => *instance,
                None => return None,
            };
            Some(Member {
                id: member.id,
                instance,
                addr: member.addr.clone(),
            })
        };
        config.initial_members.iter().map(bind).collect()
    }
}

/// What a leader appends next to complete the birth.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// The first entry, or the last one.
    Append(EntryHead),
    /// A member takes a step towards a vote.
    Change(MemberChange),
    /// A learner has to catch up first.
    Wait,
}

/// A learner this close to the end of the log may vote: the rest arrives within a round trip.
const CAUGHT_UP_ENTRIES: u64 = 100;

/// Whether a learner has all but what arrives within a round trip.
pub(crate) fn caught_up(learner: NodeId, matched: &[(NodeId, LogIndex)], last: LogIndex) -> bool {
    let close =
        |index: &LogIndex| index.0 > 0 && index.0.saturating_add(CAUGHT_UP_ENTRIES) >= last.0;
    matched
        .iter()
        .any(|(node, index)| *node == learner && close(index))
}

/// Returns what a leader of a cluster that is not complete does next. `members` are the first members as the founder
/// bound them; only the founder knows them, and only it can lead before they are in the log.
pub(crate) fn next_step(
    state: &State,
    formation: Formation,
    members: Option<&[Member]>,
    matched: &[(NodeId, LogIndex)],
    last: LogIndex,
) -> NextStep {
    if state.cluster().is_none() {
        return match members {
            Some(members) => NextStep::Append(EntryHead::Bootstrap {
                cluster: formation.cluster,
                members: members.to_vec(),
            }),
            None => NextStep::Wait,
        };
    }
    for member in state.members() {
        if state.voters().contains(&member.id) {
            continue;
        }
        if !state.learners().contains(&member.id) {
            return NextStep::Change(MemberChange::AddLearner(member.id));
        }
        return if caught_up(member.id, matched, last) {
            NextStep::Change(MemberChange::AddVoter(member.id))
        } else {
            NextStep::Wait
        };
    }
    NextStep::Append(EntryHead::Formed)
}

/// Decides whether a peer may talk to this node. `state` is `None` before this node has a cluster.
pub(crate) fn check_peer(
    config: &NodeConfig,
    formation: Option<Formation>,
    state: Option<&State>,
    hello: &PeerHello,
) -> Result<(), Refusal> {
    let id = hello.id;
    if id == config.id {
        return refuse(
            RefusalKind::SameId,
            format!(
                "node id {id} is used twice: this node has it too. Give each node its own node-id, as in initial-cluster."
            ),
        );
    }
    if let (Some(ours), Some(theirs)) = (formation, hello.formation)
        && ours != theirs
    {
        return refuse(
            RefusalKind::OtherCluster,
            format!(
                "node {id} belongs to cluster {}, this node to cluster {}. If node {id} is to join, start it with an empty dir \
             and a new node-id; if this is a wrong address, correct initial-cluster.",
                theirs.cluster, ours.cluster
            ),
        );
    }
    if state.is_some_and(|state| state.is_gone(id)) {
        return refuse(
            RefusalKind::Removed,
            format!(
                "node {id} was removed from this cluster. An id that has left is not used again: to add the machine, start it \
                 with an empty dir and cluster-join yes, and send CLUSTER MEET to a member."
            ),
        );
    }
    if let Some(member) = state.and_then(|state| state.member(id)) {
        if member.instance != hello.instance {
            return refuse(
                RefusalKind::OtherInstance,
                format!(
                    "node id {id} is bound to the data folder with instance {}, but this one has instance {}: it was emptied, \
                 or it is another node's. A node that lost its data must not return under its old id, because it may have \
                 voted: restore the folder, or replace the node by one with a new node-id.",
                    member.instance, hello.instance
                ),
            );
        }
        return check_start(state, hello);
    }
    // It has joined, and this node has not applied the entry yet: only a member can have told it of the cluster.
    if formation.is_some() && hello.formation == formation {
        return Ok(());
    }
    let known = state.is_some_and(|state| state.cluster().is_some());
    if known || !config.initial_members.iter().any(|member| member.id == id) {
        return refuse(
            RefusalKind::NotMember,
            format!(
                "node {id} is not a member of this cluster. Before the first start, add it to initial-cluster of all nodes; \
                 later, start it with cluster-join yes and send CLUSTER MEET to a member."
            ),
        );
    }
    Ok(())
}

/// Whoever runs on an old copy of its folder has forgotten what it appended and voted since. Each start of a folder has
/// a higher boot, and of two processes with the same boot only one has its session in the log.
fn check_start(state: Option<&State>, hello: &PeerHello) -> Result<(), Refusal> {
    let PeerHello {
        id, boot, nonce, ..
    } = *hello;
    match state.and_then(|state| state.session(id)) {
        Some((known, process)) if boot < known || (boot == known && nonce != process) => refuse(
            RefusalKind::OldFolder,
            format!(
                "boot {boot} of node {id} is not its last: boot {known} of its data folder has been seen from another process. \
                 The folder is an old copy, or two processes use copies of it. A node must not return with what it had \
                 before, because it may have voted since: stop the other process, or restore the latest folder, or replace \
                 the node by one with an empty folder and a new node-id."
            ),
        ),
        _ => Ok(()),
    }
}

fn refuse(kind: RefusalKind, text: String) -> Result<(), Refusal> {
    Err(Refusal { kind, text })
}

/// Returns the other members to keep connections with: as bound in the log, or as configured before that, and those
/// that peers have named and the log does not know yet.
pub(crate) fn others(
    config: &NodeConfig,
    state: Option<&State>,
    contacts: &[InitialMember],
) -> Vec<InitialMember> {
    let bound: Vec<InitialMember> = state
        .into_iter()
        .flat_map(State::members)
        .map(|member| InitialMember {
            id: member.id,
            addr: Bytes::clone(&member.addr),
        })
        .collect();
    let mut others = if bound.is_empty() {
        config.initial_members.clone()
    } else {
        bound
    };
    for contact in contacts {
        let gone = state.is_some_and(|state| state.is_gone(contact.id));
        if !gone && !others.iter().any(|member| member.id == contact.id) {
            others.push(contact.clone());
        }
    }
    others.retain(|member| member.id != config.id);
    others
}

#[cfg(test)]
mod tests;
