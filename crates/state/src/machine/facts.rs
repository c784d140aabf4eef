//! What the state says of itself.

use super::State;
use crate::history::History;
use crate::keys::Keyspace;
use bytes::Bytes;
use corgi_base::{
    BatchNumber, Boot, ClusterId, InstanceId, LogIndex, Member, MessageId, NodeId, Nonce, Term,
};

impl State {
    /// Returns the last entry that is applied, 0 before the first.
    pub fn applied(&self) -> LogIndex {
        self.meta.applied
    }

    /// Returns the term of the last entry that is applied.
    pub fn applied_term(&self) -> Term {
        self.meta.applied_term
    }

    /// Returns who votes, ascending.
    pub fn voters(&self) -> &[NodeId] {
        &self.meta.voters
    }

    /// Returns who only receives, ascending.
    pub fn learners(&self) -> &[NodeId] {
        &self.meta.learners
    }

    /// Returns the cluster's name, once its first entry is applied.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.meta.cluster
    }

    /// Returns whether all first members vote, so that clients are served.
    pub fn formed(&self) -> bool {
        self.meta.formed
    }

    /// Returns the id of the last operation that took effect.
    pub fn last_id(&self) -> MessageId {
        self.meta.last_id
    }

    /// Returns the keys of all databases.
    pub fn keys(&self) -> &Keyspace {
        &self.keys
    }

    /// Returns the history of all channels.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Returns the hash over all that was applied and what came of it: equal on all nodes that have applied as much.
    pub fn hash(&self) -> u64 {
        self.meta.hash
    }

    /// Returns the feature level that all members can apply.
    pub fn feature_level(&self) -> u32 {
        self.meta.feature_level
    }

    /// Returns how often the users have changed; 0 as long as each node goes by its own configuration.
    pub fn users_revision(&self) -> u64 {
        self.acl
    }

    /// Returns the users with their definitions, by name.
    pub fn users(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.users.iter()
    }

    /// Returns the boot and the process that have a node's session, if it has one.
    pub fn session(&self, node: NodeId) -> Option<(Boot, Nonce)> {
        self.origins.get(&node).map(|row| (row.boot, row.nonce))
    }

    /// Returns the members that are bound to a data folder, ascending.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Returns one member.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    /// Returns whether a node has been a member and has left: its id is not used again.
    pub fn is_gone(&self, node: NodeId) -> bool {
        self.gone.contains_key(&node)
    }

    /// Returns those that have left, and the data folders that they were bound to.
    pub fn gone(&self) -> impl Iterator<Item = (NodeId, InstanceId)> {
        self.gone.iter().map(|(node, instance)| (*node, *instance))
    }

    /// Returns who has been bound to a data folder, a member or one that has left.
    pub fn bound_to(&self, instance: InstanceId) -> Option<NodeId> {
        let members = self.members.values().map(|m| (&m.id, &m.instance));
        members
            .chain(&self.gone)
            .find(|(_, bound)| **bound == instance)
            .map(|(node, _)| *node)
    }

    /// Returns the lowest id above all that have ever been used.
    pub fn next_node_id(&self) -> NodeId {
        let used = self.members.keys().chain(self.gone.keys());
        let highest = used.max().map_or(0, |node| node.get());
        NodeId::new(highest.saturating_add(1)).expect("at least 1")
    }

    /// Returns whom a new member replaces once it has caught up.
    pub fn replaced_by(&self, heir: NodeId) -> Option<NodeId> {
        self.heirs.get(&heir).copied()
    }

    /// Returns for each node that has a session its boot and the number of its last batch, ascending by node.
    pub fn sessions(&self) -> impl Iterator<Item = (NodeId, Boot, BatchNumber)> {
        self.origins
            .iter()
            .map(|(node, row)| (*node, row.boot, row.last))
    }
}
