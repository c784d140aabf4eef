//! Raft's own promises (Raft, figure 3), from what leaders say and disks hold.

use super::canon::entry_hash;
use crate::history::Violation;
use corgi_base::{LogIndex, NodeId, Term};
use corgi_consensus::storage::{HardState, LogEntry};
use std::collections::BTreeMap;

/// What is known of terms, votes and entries.
#[derive(Debug, Default)]
pub(crate) struct Raft {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<NodeId, HardState>,
    entries: BTreeMap<(LogIndex, Term), u64>,
}

impl Raft {
    /// Election safety: at most one leader a term.
    pub(crate) fn leads(&mut self, node: NodeId, term: Term) -> Result<(), Violation> {
        let first = *self.leaders.entry(term).or_insert(node);
        if first == node {
            return Ok(());
        }
        Violation::of(
            "I13",
            format!("both {first:?} and {node:?} lead term {term}"),
        )
    }

    /// Term, vote and commit never go back on a disk.
    pub(crate) fn voted(&mut self, node: NodeId, now: HardState) -> Result<(), Violation> {
        let Some(before) = self.votes.insert(node, now) else {
            return Ok(());
        };
        let revoted = now.term == before.term && before.vote.is_some() && now.vote != before.vote;
        if now.term < before.term || revoted || now.commit < before.commit {
            let text = format!("the disk of {node:?} went from {before:?} to {now:?}");
            return Violation::of("I13", text);
        }
        Ok(())
    }

    /// Log matching: index and term name one entry.
    pub(crate) fn wrote(&mut self, node: NodeId, entries: &[LogEntry]) -> Result<(), Violation> {
        for entry in entries {
            let hash = entry_hash(entry);
            let first = *self
                .entries
                .entry((entry.index, entry.term))
                .or_insert(hash);
            if first != hash {
                let text = format!("{node:?} wrote another entry as {entry:?} than others have");
                return Violation::of("I13", text);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::canon::tests::{batch, node};
    use super::*;

    fn state(term: u64, vote: Option<u64>, commit: u64) -> HardState {
        HardState {
            term: Term(term),
            vote: vote.map(node),
            commit: LogIndex(commit),
        }
    }

    #[test]
    fn one_leader_a_term() {
        let mut raft = Raft::default();
        raft.leads(node(1), Term(1)).unwrap();
        raft.leads(node(1), Term(1)).unwrap();
        raft.leads(node(2), Term(2)).unwrap();
        assert!(raft.leads(node(2), Term(1)).is_err());
    }

    #[test]
    fn disks_do_not_go_back() {
        let from = state(3, Some(1), 5);
        for (to, fine) in [
            (state(3, Some(1), 6), true),
            (state(4, None, 5), true),
            (state(2, None, 5), false),
            (state(3, Some(2), 5), false),
            (state(3, None, 5), false),
            (state(3, Some(1), 4), false),
        ] {
            let mut raft = Raft::default();
            raft.voted(node(1), from).unwrap();
            assert_eq!(raft.voted(node(1), to).is_ok(), fine, "{to:?}");
        }
    }

    #[test]
    fn index_and_term_name_one_entry() {
        let mut raft = Raft::default();
        raft.wrote(node(1), &[batch(1, 1, "a", "x")]).unwrap();
        raft.wrote(node(2), &[batch(1, 1, "a", "x")]).unwrap();
        assert!(raft.wrote(node(3), &[batch(1, 1, "a", "y")]).is_err());
        let mut later = batch(1, 1, "a", "y");
        later.term = Term(2);
        raft.wrote(node(3), &[later]).unwrap();
    }
}
