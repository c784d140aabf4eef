//! What nodes do with disks that break their word (I18, I19, I24).

use crate::history::Violation;
use corgi_base::{Boot, InstanceId, LogIndex, NodeId, Term};
use corgi_consensus::inspect::Promise;
use corgi_consensus::storage::{HardState, LogBounds, LogEntry};
use std::collections::{BTreeMap, BTreeSet};

/// What a disk had when it was last seen.
#[derive(Debug, Default)]
struct Disk {
    instance: Option<InstanceId>,
    boot: Boot,
    last: (LogIndex, Term),
    hard_state: HardState,
}

/// All disks of a run, remembered apart from them.
#[derive(Debug, Default)]
pub(crate) struct Disks {
    disks: BTreeMap<NodeId, Disk>,
    /// Those that something was done to.
    harmed: BTreeSet<NodeId>,
    /// Processes that run on a disk which has lost what it had: what it lacks.
    outcasts: BTreeMap<NodeId, String>,
    /// Processes whose disk has failed to sync.
    failed: BTreeSet<NodeId>,
}

impl Disks {
    pub(crate) fn is_outcast(&self, node: NodeId) -> bool {
        self.outcasts.contains_key(&node)
    }

    /// Whether the disk of a node has had an entry, or another in its place: what it has now may be harmed.
    pub(crate) fn has_had(&self, node: NodeId, index: LogIndex, term: Term) -> bool {
        let last = self.disks.get(&node).map(|disk| disk.last);
        last.is_some_and(|last| last.0 >= index && last.1 >= term)
    }

    pub(crate) fn harmed(&mut self, node: NodeId) {
        self.harmed.insert(node);
    }

    pub(crate) fn wrote(&mut self, node: NodeId, entries: &[LogEntry]) {
        if let Some(last) = entries.last() {
            self.disks.entry(node).or_default().last = (last.index, last.term);
        }
    }

    /// A log was reset to a snapshot. Entries behind it that fit to it may have been counted for a majority.
    pub(crate) fn reset(
        &mut self,
        node: NodeId,
        snapshot: (LogIndex, Term),
        drops: bool,
    ) -> Result<(), Violation> {
        let disk = self.disks.entry(node).or_default();
        let (before, (index, term)) = (disk.last, snapshot);
        disk.last = snapshot;
        if drops {
            let text = format!(
                "{node:?} drops entries up to {before:?} for a snapshot of entry {index} of term {term}, which it had"
            );
            return Violation::of("I18", text);
        }
        Ok(())
    }

    pub(crate) fn voted(&mut self, node: NodeId, hard_state: HardState) {
        self.disks.entry(node).or_default().hard_state = hard_state;
    }

    /// Takes a start: whoever has less than its disk has had is not who it was.
    pub(crate) fn started(
        &mut self,
        node: NodeId,
        instance: InstanceId,
        boot: Boot,
        bounds: &LogBounds,
    ) {
        self.failed.remove(&node);
        let disk = self.disks.entry(node).or_default();
        let first = *disk.instance.get_or_insert(instance);
        let lacks = if first != instance {
            Some("its folder is another one".to_owned())
        } else if boot <= disk.boot {
            Some(format!("boot {boot} comes after boot {}", disk.boot))
        } else if (bounds.last_term, bounds.last_index) < (disk.last.1, disk.last.0)
            || bounds.hard_state.term < disk.hard_state.term
        {
            Some(format!(
                "it has {bounds:?}, but has had entry {:?} and {:?}",
                disk.last, disk.hard_state
            ))
        } else {
            None
        };
        disk.boot = disk.boot.max(boot);
        match lacks {
            Some(lacks) => drop(self.outcasts.insert(node, lacks)),
            None => drop(self.outcasts.remove(&node)),
        }
    }

    /// Takes a message that left a node.
    pub(crate) fn promised(&self, node: NodeId, promise: Promise) -> Result<(), Violation> {
        let binds = match promise {
            Promise::Vote { .. } | Promise::Append { .. } => true,
            Promise::Term(_) | Promise::Nothing => false,
        };
        if let Some(lacks) = self.outcasts.get(&node).filter(|_| binds) {
            let text =
                format!("{node:?} says {promise:?} with a disk that has lost what it had: {lacks}");
            return Violation::of("I18", text);
        }
        self.acts(node, "promises")
    }

    /// Takes an act of a node for others to rely on.
    pub(crate) fn acts(&self, node: NodeId, act: &str) -> Result<(), Violation> {
        if self.failed.contains(&node) {
            return Violation::of(
                "I19",
                format!("{node:?} {act} after its disk failed to sync"),
            );
        }
        Ok(())
    }

    pub(crate) fn sync_failed(&mut self, node: NodeId) {
        self.failed.insert(node);
    }

    /// Takes the end of a node in its own words: only a harmed disk is a reason.
    pub(crate) fn gave_up(&self, node: NodeId, text: &str) -> Result<(), Violation> {
        if self.harmed.contains(&node) {
            return Ok(());
        }
        Violation::of(
            "I24",
            format!("{node:?} gives up although nothing was done to its disk: {text}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::canon::tests::{batch, node};
    use super::*;

    fn bounds(term: u64, last: u64) -> LogBounds {
        LogBounds {
            hard_state: HardState {
                term: Term(term),
                ..HardState::default()
            },
            last_index: LogIndex(last),
            last_term: Term(1),
            ..LogBounds::default()
        }
    }

    fn vote() -> Promise {
        Promise::Vote {
            term: Term(2),
            candidate: node(1),
        }
    }

    /// A node that has written an entry in term 2 and stopped.
    fn seen() -> Disks {
        let mut disks = Disks::default();
        disks.started(node(1), InstanceId(1), Boot(1), &LogBounds::default());
        disks.wrote(node(1), &[batch(1, 1, "a", "x")]);
        disks.voted(node(1), bounds(2, 1).hard_state);
        disks
    }

    #[test]
    fn a_disk_that_has_everything_may_go_on() {
        let mut disks = seen();
        disks.started(node(1), InstanceId(1), Boot(2), &bounds(2, 1));
        disks.promised(node(1), vote()).unwrap();
        disks.started(node(1), InstanceId(1), Boot(3), &bounds(3, 4));
        disks.promised(node(1), vote()).unwrap();
    }

    #[test]
    fn a_disk_that_has_lost_something_must_not_take_part() {
        for (instance, boot, bounds) in [
            (2, 1, bounds(0, 0)),
            (1, 1, bounds(2, 1)),
            (1, 2, bounds(2, 0)),
            (1, 2, bounds(1, 1)),
        ] {
            let mut disks = seen();
            disks.started(node(1), InstanceId(instance), Boot(boot), &bounds);
            disks.promised(node(1), Promise::Term(Term(2))).unwrap();
            let broken = disks.promised(node(1), vote()).unwrap_err();
            assert_eq!(broken.invariant, "I18");
        }
    }

    #[test]
    fn a_harmed_disk_has_had_what_it_had_and_no_more() {
        let disks = seen();
        assert!(disks.has_had(node(1), LogIndex(1), Term(1)));
        assert!(!disks.has_had(node(1), LogIndex(2), Term(1)));
        assert!(!disks.has_had(node(1), LogIndex(1), Term(2)));
        assert!(!disks.has_had(node(2), LogIndex(1), Term(1)));
    }

    #[test]
    fn nothing_is_promised_after_a_failed_sync() {
        let mut disks = seen();
        disks.acts(node(1), "acknowledges").unwrap();
        disks.sync_failed(node(1));
        assert_eq!(
            disks.acts(node(1), "acknowledges").unwrap_err().invariant,
            "I19"
        );
        assert!(disks.promised(node(1), vote()).is_err());
        disks.started(node(1), InstanceId(1), Boot(2), &bounds(2, 1));
        disks.acts(node(1), "acknowledges").unwrap();
    }

    #[test]
    fn a_snapshot_that_takes_entries_away_is_caught() {
        let mut disks = seen();
        disks.reset(node(1), (LogIndex(5), Term(2)), false).unwrap();
        let dropped = disks.reset(node(1), (LogIndex(4), Term(2)), true);
        assert_eq!(dropped.unwrap_err().invariant, "I18");
    }

    #[test]
    fn only_a_harmed_node_may_give_up() {
        let mut disks = seen();
        assert_eq!(disks.gave_up(node(1), "no").unwrap_err().invariant, "I24");
        disks.harmed(node(1));
        disks.gave_up(node(1), "no").unwrap();
    }
}
