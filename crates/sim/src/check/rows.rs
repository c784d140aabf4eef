//! Equal state at equal index.

use crate::history::Violation;
use corgi_base::{LogIndex, NodeId};
use std::collections::BTreeMap;

/// The hash of the rows at each index, and who had it first.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    seen: BTreeMap<LogIndex, (NodeId, u64)>,
}

impl Rows {
    pub(crate) fn rows(
        &mut self,
        node: NodeId,
        applied: LogIndex,
        hash: u64,
    ) -> Result<(), Violation> {
        self.compare("I16", node, applied, hash)
    }

    /// Takes the rows that a node has from a snapshot.
    pub(crate) fn installed(
        &mut self,
        node: NodeId,
        applied: LogIndex,
        hash: u64,
    ) -> Result<(), Violation> {
        if !self.seen.contains_key(&applied) {
            let text =
                format!("{node:?} installs a state at entry {applied}, which nobody had there");
            return Violation::of("I15", text);
        }
        self.compare("I15", node, applied, hash)
    }

    fn compare(
        &mut self,
        invariant: &'static str,
        node: NodeId,
        applied: LogIndex,
        hash: u64,
    ) -> Result<(), Violation> {
        let (first, known) = *self.seen.entry(applied).or_insert((node, hash));
        if known == hash {
            return Ok(());
        }
        let text = format!("{first:?} and {node:?} have different rows at entry {applied}");
        Violation::of(invariant, text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::canon::tests::node;
    use super::*;

    #[test]
    fn different_rows_at_one_index_are_caught() {
        let mut rows = Rows::default();
        rows.rows(node(1), LogIndex(1), 7).unwrap();
        rows.rows(node(2), LogIndex(1), 7).unwrap();
        rows.rows(node(2), LogIndex(2), 8).unwrap();
        let broken = rows.rows(node(3), LogIndex(1), 8).unwrap_err();
        assert_eq!(broken.invariant, "I16");
    }

    #[test]
    fn a_snapshot_of_what_nobody_had_is_caught() {
        let mut rows = Rows::default();
        rows.rows(node(1), LogIndex(4), 7).unwrap();
        rows.installed(node(2), LogIndex(4), 7).unwrap();
        for (applied, hash) in [(4, 8), (3, 7)] {
            let broken = rows.installed(node(2), LogIndex(applied), hash);
            assert_eq!(broken.unwrap_err().invariant, "I15");
        }
    }
}
