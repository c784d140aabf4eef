//! Who belongs to the cluster, from its log (I17).

use crate::history::Violation;
use corgi_base::{EntryHead, InstanceId, LogIndex, Member, NodeId};
use corgi_consensus::MemberChange;
use corgi_consensus::inspect::change;
use corgi_consensus::storage::LogEntry;
use std::collections::{BTreeMap, BTreeSet};

/// The members as the entries of the canon say.
#[derive(Debug)]
pub(crate) struct Members {
    voters: BTreeSet<NodeId>,
    /// The voters before the last change: a leader that has not applied it counts these. Those of now, once nobody can
    /// lead who does.
    voters_before: BTreeSet<NodeId>,
    /// What the disk of each node says is committed.
    committed: BTreeMap<NodeId, LogIndex>,
    learners: BTreeSet<NodeId>,
    /// Who is to be replaced, by whom.
    heirs: BTreeMap<NodeId, NodeId>,
    /// The entry of the last change.
    changed: LogIndex,
    /// To which folder each id was ever bound.
    folders: BTreeMap<NodeId, InstanceId>,
    gone: BTreeSet<NodeId>,
    /// How often clients have asked for it and were not refused.
    may_leave: BTreeMap<NodeId, u32>,
    may_join: BTreeMap<NodeId, u32>,
    /// Nodes that have applied their own removal, and where it stands.
    resigned: BTreeMap<NodeId, LogIndex>,
    formed: bool,
    /// Who votes alone in a cluster that waits for no more first members, from which entry on.
    alone: BTreeMap<LogIndex, Option<NodeId>>,
}

impl Default for Members {
    /// The first node founds the cluster, and is its only voter before the first entry.
    fn default() -> Self {
        let founder = BTreeSet::from_iter(NodeId::new(1));
        Self {
            voters: founder.clone(),
            voters_before: founder,
            committed: BTreeMap::new(),
            learners: BTreeSet::new(),
            heirs: BTreeMap::new(),
            changed: LogIndex(0),
            folders: BTreeMap::new(),
            gone: BTreeSet::new(),
            may_leave: BTreeMap::new(),
            may_join: BTreeMap::new(),
            resigned: BTreeMap::new(),
            formed: false,
            alone: BTreeMap::new(),
        }
    }
}

fn broken<T>(text: String) -> Result<T, Violation> {
    Violation::of("I17", text)
}

impl Members {
    pub(crate) fn voters(&self) -> &BTreeSet<NodeId> {
        &self.voters
    }

    pub(crate) fn learners(&self) -> &BTreeSet<NodeId> {
        &self.learners
    }

    /// Whether nobody is on the way to a vote, or to be replaced.
    pub(crate) fn is_settled(&self) -> bool {
        self.learners.is_empty() && self.heirs.is_empty()
    }

    /// Returns where the last change stands.
    pub(crate) fn changed(&self) -> LogIndex {
        self.changed
    }

    pub(crate) fn has_left(&self, node: NodeId) -> bool {
        self.gone.contains(&node)
    }

    /// Whether a node that has applied the log up to an entry may lead it without anybody's vote, and does not wait for
    /// the others of a cluster that is being born.
    pub(crate) fn votes_alone(&self, node: NodeId, at: LogIndex) -> bool {
        let last = self.alone.range(..=at).next_back();
        last.is_some_and(|(_, alone)| *alone == Some(node))
    }

    /// Whether `disks` are a majority of those who vote, or of those who did before the last change.
    pub(crate) fn is_majority(&self, disks: &[NodeId]) -> bool {
        let majority = |voters: &BTreeSet<NodeId>| {
            let held = disks.iter().filter(|node| voters.contains(node)).count();
            held * 2 > voters.len()
        };
        majority(&self.voters) || majority(&self.voters_before)
    }

    /// Takes what a disk says is committed. When all voters have it for good that the last change is, whoever leads
    /// them counts as it says.
    pub(crate) fn committed(&mut self, node: NodeId, commit: LogIndex) {
        self.committed.insert(node, commit);
        let knows = |voter| {
            self.committed
                .get(voter)
                .is_some_and(|it| *it >= self.changed)
        };
        if self.voters_before != self.voters && self.voters.iter().all(knows) {
            self.voters_before = self.voters.clone();
        }
    }

    pub(crate) fn asked(&mut self, leaves: Option<NodeId>, joins: Option<NodeId>) {
        for (asked, node) in [(&mut self.may_leave, leaves), (&mut self.may_join, joins)] {
            if let Some(node) = node {
                *asked.entry(node).or_default() += 1;
            }
        }
    }

    /// Takes a refusal that a client was told of: what it asked for must not happen any more, unless another asks too.
    pub(crate) fn refused(&mut self, leaves: Option<NodeId>, joins: Option<NodeId>) {
        for (asked, node) in [(&mut self.may_leave, leaves), (&mut self.may_join, joins)] {
            if let Some(count) = node.and_then(|node| asked.get_mut(&node)) {
                *count = count.saturating_sub(1);
            }
        }
    }

    /// Whether a member may leave at any time: somebody asks for it, or has asked and does not know what became of it.
    pub(crate) fn may_leave(&self, node: NodeId) -> bool {
        self.may_leave.get(&node).is_some_and(|count| *count > 0)
    }

    /// Takes a success that a client was told of.
    pub(crate) fn made(
        &self,
        leaves: Option<NodeId>,
        joins: Option<NodeId>,
    ) -> Result<(), Violation> {
        if let Some(node) = leaves.filter(|node| joins.is_none() && !self.gone.contains(node)) {
            return broken(format!(
                "a client was told that {node:?} has left, but nobody has applied that"
            ));
        }
        match joins {
            Some(node) if !self.folders.contains_key(&node) => broken(format!(
                "a client was told that {node:?} has joined, but nobody has applied that"
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes an entry that was applied for the first time.
    pub(crate) fn appeared(&mut self, entry: &LogEntry) -> Result<(), Violation> {
        let head = EntryHead::decode(entry.context.clone()).ok();
        let taken = self.take(entry, head.as_ref());
        if self.formed {
            let mut voters = self.voters.iter().copied();
            let alone = voters.next().filter(|_| voters.next().is_none());
            self.alone.insert(entry.index, alone);
        }
        taken
    }

    fn take(&mut self, entry: &LogEntry, head: Option<&EntryHead>) -> Result<(), Violation> {
        if let Some(EntryHead::Bootstrap { members, .. }) = head {
            if let [only] = members.as_slice() {
                self.alone.insert(LogIndex(0), Some(only.id));
            }
            for member in members {
                self.bind(member)?;
                self.asked(None, Some(member.id));
            }
        }
        self.formed |= head == Some(&EntryHead::Formed);
        let Some(change) = change(entry) else {
            return Ok(());
        };
        if let Some(EntryHead::Join { member, replaces }) = head {
            self.bind(member)?;
            self.heirs.extend(replaces.map(|old| (member.id, old)));
        }
        self.voters_before = self.voters.clone();
        self.changed = entry.index;
        match change {
            MemberChange::AddLearner(node) => {
                if self.may_join.get(&node).is_none_or(|count| *count == 0) {
                    return broken(format!(
                        "{node:?} joins, which nobody has asked for and not been refused"
                    ));
                }
                self.learners.insert(node);
                self.come(node)
            }
            MemberChange::AddVoter(node) => {
                let learned = self.learners.remove(&node);
                self.voters.insert(node);
                if !learned {
                    return broken(format!("{node:?} votes without having learned"));
                }
                self.come(node)
            }
            MemberChange::Remove(node) => {
                if !self.may_leave(node) {
                    return broken(format!(
                        "{node:?} leaves, which nobody has asked for and not been refused"
                    ));
                }
                let was = self.voters.remove(&node) | self.learners.remove(&node);
                self.gone.insert(node);
                self.heirs.retain(|heir, old| *heir != node && *old != node);
                if !was || self.voters.is_empty() {
                    return broken(format!("{node:?} leaves, and {:?} are left", self.voters));
                }
                Ok(())
            }
        }
    }

    fn bind(&mut self, member: &Member) -> Result<(), Violation> {
        let Member { id, instance, .. } = *member;
        let used = self.folders.iter().find(|(_, bound)| **bound == instance);
        if let Some((other, _)) = used.filter(|(other, _)| **other != id) {
            return broken(format!("the folder of {other:?} joins again as {id:?}"));
        }
        match self.folders.insert(id, instance) {
            Some(before) if before != instance => {
                broken(format!("{id:?} is bound to a second folder"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Ids are never used again.
    fn come(&self, node: NodeId) -> Result<(), Violation> {
        if self.gone.contains(&node) {
            return broken(format!("{node:?} has left, and is a member again"));
        }
        Ok(())
    }

    /// Takes an entry that a node applied: its own removal ends its part.
    pub(crate) fn applied(&mut self, node: NodeId, entry: &LogEntry) {
        if change(entry) == Some(MemberChange::Remove(node)) {
            self.resigned.insert(node, entry.index);
        }
    }

    /// Takes the word of a node that it was removed.
    pub(crate) fn removed(&self, node: NodeId) -> Result<(), Violation> {
        if self.gone.contains(&node) {
            return Ok(());
        }
        broken(format!(
            "{node:?} stops as if it had been removed, but it was not"
        ))
    }

    /// Takes an act of a node that only a member may do; about an entry, if it is about one.
    pub(crate) fn acts(
        &self,
        node: NodeId,
        act: &str,
        about: Option<LogIndex>,
    ) -> Result<(), Violation> {
        let resigned = self.resigned.get(&node);
        if resigned.is_some_and(|removal| about.is_none_or(|about| about > *removal)) {
            return broken(format!("{node:?} {act} after it has applied its removal"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::canon::tests::{batch, member_change, node};
    use super::*;
    use bytes::Bytes;
    use corgi_base::ClusterId;
    use corgi_consensus::storage::EntryType;

    fn member(id: u64) -> Member {
        Member {
            id: node(id),
            instance: InstanceId(u128::from(id)),
            addr: Bytes::new(),
        }
    }

    fn join(id: u64) -> LogEntry {
        let head = EntryHead::Join {
            member: member(id),
            replaces: None,
        };
        member_change(MemberChange::AddLearner(node(id)), head.encode())
    }

    fn leave(id: u64) -> LogEntry {
        let head = EntryHead::Leave { node: node(id) };
        member_change(MemberChange::Remove(node(id)), head.encode())
    }

    fn vote(id: u64) -> LogEntry {
        member_change(MemberChange::AddVoter(node(id)), Bytes::new())
    }

    fn of_two() -> Members {
        let mut members = Members::default();
        members.asked(None, Some(node(2)));
        members.appeared(&join(2)).unwrap();
        members.made(None, Some(node(2))).unwrap();
        members.appeared(&vote(2)).unwrap();
        members
    }

    #[test]
    fn members_come_and_go_when_asked() {
        let mut members = of_two();
        assert_eq!(members.voters().len(), 2);
        members.asked(Some(node(1)), None);
        assert!(members.made(Some(node(1)), None).is_err(), "not yet");
        members.appeared(&leave(1)).unwrap();
        members.made(Some(node(1)), None).unwrap();
        assert!(members.has_left(node(1)));
        members.removed(node(1)).unwrap();
        assert!(members.removed(node(2)).is_err());
    }

    #[test]
    fn who_votes_alone_is_known_for_each_entry() {
        let at = |index: u64, entry: LogEntry| LogEntry {
            index: LogIndex(index),
            ..entry
        };
        let head = |head: EntryHead| LogEntry {
            entry_type: EntryType::Normal,
            context: head.encode(),
            ..join(1)
        };
        let bootstrap = |ids: &[u64]| {
            head(EntryHead::Bootstrap {
                cluster: ClusterId(7),
                members: ids.iter().copied().map(member).collect(),
            })
        };
        let grows = |first: &[u64]| {
            let mut members = Members::default();
            members.asked(None, Some(node(2)));
            members.appeared(&at(2, bootstrap(first))).unwrap();
            let mut tail = vec![head(EntryHead::Formed), join(2), vote(2)];
            if first.len() > 1 {
                tail.rotate_left(1);
            }
            for (index, entry) in (3..).zip(tail) {
                members.appeared(&at(index, entry)).unwrap();
            }
            let alone = |index: &u64| members.votes_alone(node(1), LogIndex(*index));
            (0..=6).filter(alone).collect::<Vec<u64>>()
        };
        assert_eq!(grows(&[1]), [0, 1, 2, 3, 4], "it has always led alone");
        assert_eq!(grows(&[1, 2]), [0; 0], "it waits for the other");
    }

    #[test]
    fn what_was_refused_is_caught_unless_somebody_else_asks() {
        for (again, caught) in [(false, true), (true, false)] {
            let mut members = of_two();
            members.asked(Some(node(2)), None);
            if again {
                members.asked(Some(node(2)), None);
            }
            members.refused(Some(node(2)), None);
            assert_eq!(members.appeared(&leave(2)).is_err(), caught);
        }
        let mut members = Members::default();
        members.asked(None, Some(node(2)));
        members.refused(None, Some(node(2)));
        assert!(members.appeared(&join(2)).is_err());
    }

    #[test]
    fn what_nobody_asked_for_is_caught() {
        assert!(Members::default().appeared(&join(2)).is_err());
        assert!(of_two().appeared(&leave(1)).is_err());
        assert!(Members::default().made(None, Some(node(2))).is_err());
    }

    #[test]
    fn an_id_or_a_folder_that_comes_again_is_caught() {
        let mut members = of_two();
        members.asked(Some(node(2)), Some(node(3)));
        members.appeared(&leave(2)).unwrap();
        assert!(members.appeared(&join(2)).is_err());
        let head = EntryHead::Join {
            member: Member {
                instance: InstanceId(2),
                ..member(3)
            },
            replaces: None,
        };
        let again = member_change(MemberChange::AddLearner(node(3)), head.encode());
        assert!(members.appeared(&again).is_err());
    }

    #[test]
    fn a_vote_without_learning_and_a_cluster_of_nobody_are_caught() {
        assert!(Members::default().appeared(&vote(2)).is_err());
        let mut members = Members::default();
        members.asked(Some(node(1)), None);
        assert!(members.appeared(&leave(1)).is_err());
    }

    #[test]
    fn who_has_applied_its_removal_acts_no_more() {
        let mut members = of_two();
        members.applied(node(2), &batch(1, 1, "a", "x"));
        members.applied(node(2), &leave(1));
        members.acts(node(2), "leads", None).unwrap();
        members.applied(node(2), &leave(2));
        assert!(members.acts(node(2), "leads", None).is_err());
        let acks = |about| members.acts(node(2), "acknowledges", Some(LogIndex(about)));
        assert!(acks(1).is_ok() && acks(2).is_err());
    }

    #[test]
    fn a_majority_is_one_of_now_or_until_all_know_of_before_the_last_change() {
        let mut members = of_two();
        members.changed = LogIndex(7);
        assert!(members.is_majority(&[node(1)]), "of before");
        assert!(!members.is_majority(&[node(2)]) && members.is_majority(&[node(1), node(2)]));
        members.committed(node(1), LogIndex(9));
        members.committed(node(2), LogIndex(6));
        assert!(
            members.is_majority(&[node(1)]),
            "the other may lead and not know"
        );
        members.committed(node(2), LogIndex(7));
        assert!(!members.is_majority(&[node(1)]), "all know");
    }
}
