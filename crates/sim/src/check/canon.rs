//! The log as the first node to apply each entry had it.

use super::members::Members;
use crate::history::Violation;
use bytes::Bytes;
use corgi_base::op::decode_ops;
use corgi_base::{BatchHead, BatchNumber, Boot, EntryHead, LogIndex, MessageId, NodeId, Op, Term};
use corgi_consensus::storage::LogEntry;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// One operation that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonOp {
    /// Its entry.
    pub index: LogIndex,
    /// Its id.
    pub id: MessageId,
    /// Where it was published.
    pub channel: Bytes,
    /// What was published, unique.
    pub payload: Bytes,
}

/// What is committed, for ever.
#[derive(Debug, Default)]
pub struct Canon {
    /// Term and hash of entry `k + 1`.
    entries: Vec<(Term, u64)>,
    ops: Vec<CanonOp>,
    positions: BTreeMap<Bytes, usize>,
    numbers: BTreeMap<(NodeId, Boot), BatchNumber>,
    sessions: BTreeMap<(NodeId, Boot), LogIndex>,
    formed: bool,
    /// How often the users have changed.
    acl: u64,
}

/// Returns a hash over all that an entry is.
pub(crate) fn entry_hash(entry: &LogEntry) -> u64 {
    let mut hasher = DefaultHasher::new();
    entry.index.hash(&mut hasher);
    entry.term.hash(&mut hasher);
    (entry.entry_type as u8).hash(&mut hasher);
    entry.context.hash(&mut hasher);
    entry.data.hash(&mut hasher);
    hasher.finish()
}

impl Canon {
    /// Returns the operations in log order.
    pub fn ops(&self) -> &[CanonOp] {
        &self.ops
    }

    /// Returns the last entry.
    pub fn last(&self) -> LogIndex {
        LogIndex(self.entries.len() as u64)
    }

    /// Returns where a write stands among the operations.
    pub fn position(&self, payload: &[u8]) -> Option<usize> {
        self.positions.get(payload).copied()
    }

    /// Returns the entry in which a boot of a node opened its session.
    pub(crate) fn session(&self, node: NodeId, boot: Boot) -> Option<LogIndex> {
        self.sessions.get(&(node, boot)).copied()
    }

    /// Returns whether the cluster is complete, so that clients are served.
    pub fn formed(&self) -> bool {
        self.formed
    }

    /// Takes an entry that a node applied.
    pub(crate) fn applied(
        &mut self,
        node: NodeId,
        entry: &LogEntry,
        disks: &[NodeId],
        members: &Members,
    ) -> Result<(), Violation> {
        let hash = entry_hash(entry);
        let at = usize::try_from(entry.index.0 - 1).expect("logs in memory are short");
        if let Some((term, known)) = self.entries.get(at) {
            if *known != hash {
                let text = format!(
                    "{node:?} applied {entry:?}, but another node applied an entry of term {term} there"
                );
                return Violation::of("I13", text);
            }
            return Ok(());
        }
        if at != self.entries.len() {
            let text =
                format!("{node:?} applied {entry:?}, but nobody has applied what precedes it");
            return Violation::of("I13", text);
        }
        self.entries.push((entry.term, hash));
        self.take_content(node, entry)?;
        // While the cluster is born its majority changes with the entries themselves.
        if self.formed && !members.is_majority(disks) {
            let voters = members.voters();
            let text = format!(
                "{node:?} applied {entry:?}, which only {disks:?} have on disk, but {voters:?} vote"
            );
            return Violation::of("I14", text);
        }
        Ok(())
    }

    fn take_content(&mut self, node: NodeId, entry: &LogEntry) -> Result<(), Violation> {
        match EntryHead::decode(entry.context.clone()) {
            Ok(EntryHead::Batch(head)) => self.take_batch(entry, head),
            Ok(EntryHead::Formed) => {
                self.formed = true;
                Ok(())
            }
            Ok(EntryHead::Users(_)) => {
                self.acl = self.acl.max(1);
                Ok(())
            }
            Ok(EntryHead::OpenSession { node, boot, .. }) => {
                self.sessions.insert((node, boot), entry.index);
                Ok(())
            }
            Ok(
                EntryHead::Bootstrap { .. }
                | EntryHead::History(_)
                | EntryHead::Join { .. }
                | EntryHead::Leave { .. }
                | EntryHead::Time { .. }
                | EntryHead::Feature { .. },
            ) => Ok(()),
            // A new leader's entry and a change of members have no head of ours.
            Err(_) if entry.context.is_empty() => Ok(()),
            Err(error) => Violation::of("I18", format!("{node:?} applied {entry:?}: {error}")),
        }
    }

    fn take_batch(&mut self, entry: &LogEntry, head: BatchHead) -> Result<(), Violation> {
        let BatchHead {
            origin,
            boot,
            number,
            ops,
            stamp,
            acl,
        } = head;
        let last = self.numbers.insert((origin, boot), number);
        if last.is_some_and(|last| number <= last) {
            let text = format!("{entry:?} is batch {number} of {origin:?} boot {boot} again");
            return Violation::of("I23", text);
        }
        let Ok(ops) = decode_ops(ops, entry.data.clone()) else {
            return Violation::of("I18", format!("{entry:?} holds no {ops} operations"));
        };
        if acl < self.acl {
            // Checked against users that have changed since.
            return Ok(());
        }
        for (k, op) in (0u64..).zip(ops) {
            let (channel, payload) = match op {
                Op::Publish { channel, payload } | Op::ShardPublish { channel, payload } => {
                    (channel, payload)
                }
                Op::Users(_) => {
                    self.acl += 1;
                    continue;
                }
                // Deliver nothing.
                Op::Key { .. } | Op::Guard { .. } | Op::HistoryRules(_) => continue,
            };
            let id = MessageId {
                ms: stamp.ms,
                seq: stamp.seq + k,
            };
            if let Some(last) = self.ops.last()
                && id <= last.id
            {
                let text = format!("{entry:?} gives the id {id} after {}", last.id);
                return Violation::of("I04", text);
            }
            if let Some(first) = self.positions.get(&payload) {
                let (label, first) = (crate::history::label(&payload), &self.ops[*first]);
                let text = format!("{label} is in entries {} and {}", first.index, entry.index);
                return Violation::of("I12", text);
            }
            self.positions.insert(payload.clone(), self.ops.len());
            self.ops.push(CanonOp {
                index: entry.index,
                id,
                channel,
                payload,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use corgi_consensus::MemberChange;
    use corgi_consensus::inspect::encode_change;
    use corgi_consensus::storage::EntryType;

    pub(crate) fn node(id: u64) -> NodeId {
        NodeId::new(id).unwrap()
    }

    /// A batch of one write in entry `index`.
    pub(crate) fn batch(index: u64, number: u64, channel: &str, payload: &str) -> LogEntry {
        let mut data = Vec::new();
        let op = Op::Publish {
            channel: Bytes::copy_from_slice(channel.as_bytes()),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        };
        op.encode(&mut data);
        let head = BatchHead {
            origin: node(1),
            boot: Boot(1),
            number: BatchNumber(number),
            ops: 1,
            stamp: MessageId { ms: index, seq: 0 },
            acl: 0,
        };
        LogEntry {
            index: LogIndex(index),
            term: Term(1),
            entry_type: EntryType::Normal,
            context: EntryHead::Batch(head).encode(),
            data: data.into(),
        }
    }

    /// A change of one member.
    pub(crate) fn member_change(change: MemberChange, context: Bytes) -> LogEntry {
        LogEntry {
            entry_type: EntryType::ConfChange,
            context,
            data: encode_change(change),
            ..batch(1, 0, "", "")
        }
    }

    /// Lets a node apply an entry that the only voter has.
    fn applied(canon: &mut Canon, id: u64, entry: &LogEntry) -> Result<(), Violation> {
        canon.applied(node(id), entry, &[node(1)], &Members::default())
    }

    fn formed(index: u64) -> LogEntry {
        LogEntry {
            context: EntryHead::Formed.encode(),
            data: Bytes::new(),
            ..batch(index, 0, "", "")
        }
    }

    fn broken(result: Result<(), Violation>) -> &'static str {
        result.expect_err("a violation").invariant
    }

    #[test]
    fn equal_logs_on_all_nodes_are_fine() {
        let mut canon = Canon::default();
        for id in 1..=3 {
            applied(&mut canon, id, &formed(1)).unwrap();
            applied(&mut canon, id, &batch(2, 1, "a", "x")).unwrap();
        }
        assert_eq!((canon.last(), canon.position(b"x")), (LogIndex(2), Some(0)));
    }

    #[test]
    fn another_entry_at_an_applied_index_is_caught() {
        let mut canon = Canon::default();
        applied(&mut canon, 1, &batch(1, 1, "a", "x")).unwrap();
        let other = applied(&mut canon, 2, &batch(1, 1, "a", "y"));
        assert_eq!(broken(other), "I13");
    }

    #[test]
    fn a_hole_is_caught() {
        let mut canon = Canon::default();
        let hole = applied(&mut canon, 1, &batch(2, 1, "a", "x"));
        assert_eq!(broken(hole), "I13");
    }

    #[test]
    fn a_minority_on_disk_is_caught() {
        let mut canon = Canon::default();
        applied(&mut canon, 1, &formed(1)).unwrap();
        let members = Members::default();
        let early = canon.applied(node(1), &batch(2, 1, "a", "x"), &[], &members);
        assert_eq!(broken(early), "I14");
    }

    #[test]
    fn a_batch_number_or_a_write_twice_is_caught() {
        let mut canon = Canon::default();
        applied(&mut canon, 1, &batch(1, 1, "a", "x")).unwrap();
        assert_eq!(
            broken(applied(&mut canon, 1, &batch(2, 1, "a", "y"))),
            "I23"
        );
        let mut canon = Canon::default();
        applied(&mut canon, 1, &batch(1, 1, "a", "x")).unwrap();
        assert_eq!(
            broken(applied(&mut canon, 1, &batch(2, 2, "a", "x"))),
            "I12"
        );
    }

    #[test]
    fn an_id_that_does_not_grow_is_caught() {
        let mut canon = Canon::default();
        applied(&mut canon, 1, &batch(1, 1, "a", "x")).unwrap();
        let mut late = batch(1, 2, "a", "y");
        late.index = LogIndex(2);
        assert_eq!(broken(applied(&mut canon, 1, &late)), "I04");
    }
}
