//! How a cluster comes about and what its nodes tell each other of it: its birth, its feature level, where members are.

use super::Running;
use crate::birth::{self, NextStep};
use crate::config::InitialMember;
use crate::leading::BirthStep;
use crate::peer::PeerMessage;
use crate::shared::Shared;
use bytes::Bytes;
use corgi_base::{EntryHead, LogIndex, NodeId};
use corgi_consensus::storage::LogReader;
use slog::debug;

impl<R: LogReader> Running<R> {
    /// Whether the cluster is on this node's disk, so that others may hear of it from here. A founder that told them
    /// first, crashed, and founded another one would divide them. Its identity is written before its first entry, and
    /// that is applied only when it is synced. The others only repeat what the founder has said.
    pub(crate) fn may_announce(&self, own: NodeId) -> bool {
        let began = self.state.applied() > LogIndex(0) || self.group.state_lost();
        self.formation.founder != own || began
    }

    /// Takes the cluster to the feature level that all its members can apply, if this node leads.
    pub(super) fn raise_level(&mut self, shared: &Shared) {
        if self.state.formed() {
            self.raise_to_common(shared);
        }
    }

    fn raise_to_common(&mut self, shared: &Shared) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        let voters = self.state.voters().iter();
        let members = voters.chain(self.state.learners()).copied();
        let (own, known) = (shared.config.id, shared.config.feature_level);
        if known <= leading.proposed_level {
            return;
        }
        let common = shared.vitals.common_level(own, known, members);
        if let Some(level) = common.filter(|level| *level > leading.proposed_level) {
            let head = EntryHead::Feature { level };
            if self.group.propose(head.encode(), Bytes::new()).is_ok() {
                leading.proposed_level = level;
            }
        }
    }

    /// Gives a cluster that has no users those of this node's configuration, if this node leads.
    pub(super) fn seed_users(&mut self, shared: &Shared) {
        let Some(leading) = &mut self.leading else {
            return;
        };
        if !leading.seeded
            && let Some(changes) = shared.access.seed(&self.state)
        {
            let head = EntryHead::Users(changes);
            leading.seeded = self.group.propose(head.encode(), Bytes::new()).is_ok();
        }
    }

    /// Brings a cluster that is not complete one step further, if this node leads.
    pub(super) fn give_birth(&mut self, shared: &mut Shared) {
        if self.state.formed() || self.leading.is_none() {
            return;
        }
        if !self.announced && self.formation.founder == shared.config.id {
            if self.state.applied() == LogIndex(0) {
                return;
            }
            self.announced = true;
            let tell = |peer: &NodeId| (*peer, PeerMessage::Formed(self.formation));
            shared.out.send.extend(shared.peers_up.iter().map(tell));
        }
        let members = shared.heard.founding_members(&shared.config);
        let last = self.group.status().last_index;
        let matched = self.group.matched();
        let next = birth::next_step(
            &self.state,
            self.formation,
            members.as_deref(),
            &matched,
            last,
        );
        if next == NextStep::Append(EntryHead::Formed) {
            // Nobody is served before the users are known.
            self.seed_users(shared);
            // Or at a lower level than need be.
            self.raise_to_common(shared);
        }
        let Some(leading) = &mut self.leading else {
            return;
        };
        match next {
            NextStep::Append(head) => {
                let step = match head {
                    EntryHead::Formed => BirthStep::Formed,
                    EntryHead::Bootstrap { .. }
                    | EntryHead::Feature { .. }
                    | EntryHead::Batch(_)
                    | EntryHead::Users(_)
                    | EntryHead::History(_)
                    | EntryHead::OpenSession { .. }
                    | EntryHead::Join { .. }
                    | EntryHead::Time { .. }
                    | EntryHead::Leave { .. } => BirthStep::Bootstrap,
                };
                if leading.birth_step != Some(step)
                    && self.group.propose(head.encode(), Bytes::new()).is_ok()
                {
                    leading.birth_step = Some(step);
                }
            }
            NextStep::Change(change) => {
                if let Err(error) = self.group.propose_change(change, Bytes::new()) {
                    // An earlier change is not applied yet; the next pump tries again.
                    debug!(shared.log, "change waits"; "change" => ?change, "error" => %error);
                }
            }
            NextStep::Wait => {}
        }
    }

    /// Says which connections to keep.
    pub(crate) fn tell_peers(&mut self, shared: &mut Shared) {
        let known = |contact: &InitialMember| self.state.member(contact.id).is_some();
        self.contacts.retain(|contact| !known(contact));
        let peers = birth::others(&shared.config, Some(&self.state), &self.contacts);
        shared.out.peers = Some(peers);
    }

    /// Tells a peer where the members are.
    pub(crate) fn introduce(&self, shared: &mut Shared, peer: NodeId) {
        let members = self.state.members().map(|member| InitialMember {
            id: member.id,
            addr: member.addr.clone(),
        });
        let members: Vec<InitialMember> = members.collect();
        if !members.is_empty() {
            shared.out.send.push((peer, PeerMessage::Contacts(members)));
        }
    }
}
