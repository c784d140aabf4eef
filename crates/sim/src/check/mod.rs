//! The checkers: apart from the nodes, they read one record after the other.
//!
//! The yardstick is the [`Canon`]: the log as the first node to apply each entry had it. Every other
//! node must apply the same, every acknowledged write must be in it, and every subscriber must hear
//! a stretch of it without gaps.
//!
//! | module | invariants of the list in `docs/simulation.md` |
//! |---|---|
//! | `canon` | I04, I13 (state-machine safety, commit only with a majority on disk), I23 |
//! | `raft` | I13 (one leader a term, log matching, term and vote never go back) |
//! | `writes` | I01, I02, I03, I07, I12, I14, I21 |
//! | `listening` | I02, I05, I06, I08 |
//! | `rows` | I15, I16 |
//! | `members` | I17 |
//! | `disks` | I18, I19, I24 |
//!
//! I22 is a comparison of each amount that is measured with its limit.

mod canon;
mod disks;
mod listening;
pub(crate) mod members;
mod raft;
mod rows;
mod writes;

pub use canon::{Canon, CanonOp};

use crate::history::{ConnId, Record, Topic, Violation};
use bytes::Bytes;
use corgi_base::{LogIndex, NodeId, Term};
use std::collections::BTreeMap;

/// All checkers of a run.
#[derive(Debug, Default)]
pub struct Checks {
    canon: Canon,
    raft: raft::Raft,
    writes: writes::Writes,
    listening: listening::Listening,
    rows: rows::Rows,
    members: members::Members,
    disks: disks::Disks,
}

impl Checks {
    /// Returns no expectations, and an empty canon.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a record.
    ///
    /// # Errors
    /// [`Violation`] if it breaks a promise.
    pub fn observe(&mut self, record: &Record) -> Result<(), Violation> {
        match record {
            Record::Applied { node, entry, disks } => {
                let (last, before) = (self.canon.last(), self.canon.ops().len());
                self.canon.applied(*node, entry, disks, &self.members)?;
                if entry.index > last {
                    self.members.appeared(entry)?;
                }
                self.members.applied(*node, entry);
                self.writes.node_applied(*node, entry.index);
                for position in before..self.canon.ops().len() {
                    self.writes.appeared(position, &self.canon)?;
                }
                Ok(())
            }
            Record::Leads { node, term } => {
                self.members.acts(*node, "leads", None)?;
                self.raft.leads(*node, *term)
            }
            Record::Wrote { node, entries } => {
                self.disks.wrote(*node, entries);
                self.raft.wrote(*node, entries)
            }
            // An outcast's disk says nothing of the node that had its id.
            Record::Voted { node, .. } if self.disks.is_outcast(*node) => Ok(()),
            Record::Voted { node, hard_state } => {
                self.members.committed(*node, hard_state.commit);
                self.disks.voted(*node, *hard_state);
                self.raft.voted(*node, *hard_state)
            }
            Record::Started {
                node,
                instance,
                boot,
                bounds,
            } => {
                self.disks.started(*node, *instance, *boot, bounds);
                self.writes.node_started(*node);
                Ok(())
            }
            Record::Promised { node, promise } => self.disks.promised(*node, *promise),
            Record::Harmed { node } => {
                self.disks.harmed(*node);
                Ok(())
            }
            Record::SyncFailed { node } => {
                self.disks.sync_failed(*node);
                Ok(())
            }
            Record::GaveUp { node, text } => self.disks.gave_up(*node, text),
            Record::Removed { node } => self.members.removed(*node),
            Record::ChangeAsked { leaves, joins } => {
                self.members.asked(*leaves, *joins);
                Ok(())
            }
            Record::ChangeMade { leaves, joins } => self.members.made(*leaves, *joins),
            Record::ChangeRefused { leaves, joins } => {
                self.members.refused(*leaves, *joins);
                Ok(())
            }
            Record::Held {
                node,
                what,
                amount,
                max,
            } if amount > max => {
                let text = format!("{node:?} holds {amount} {what}, more than {max}");
                Violation::of("I22", text)
            }
            Record::Held { .. } => Ok(()),
            Record::Rows {
                node,
                applied,
                hash,
            } => self.rows.rows(*node, *applied, *hash),
            Record::Reset {
                node,
                index,
                term,
                drops,
            } => self.disks.reset(*node, (*index, *term), *drops),
            Record::InstalledRows {
                node,
                applied,
                hash,
            } => self.rows.installed(*node, *applied, *hash),
            Record::Invoked {
                conn,
                channel,
                payload,
            } => self.writes.invoked(*conn, channel, payload),
            Record::Acked { node, payload } => {
                self.disks.acts(*node, "acknowledges a write")?;
                let position = self.canon.position(payload);
                let index = position.map(|position| self.canon.ops()[position].index);
                self.members.acts(*node, "acknowledges a write", index)?;
                self.writes.acked(*node, payload, &self.canon)
            }
            Record::Returned { payload, outcome } => {
                self.writes.returned(payload, outcome, &self.canon)
            }
            Record::Asked { conn, topic } => {
                let floor = self.writes.acked_below();
                self.listening.asked(*conn, topic, floor);
                Ok(())
            }
            Record::Confirmed { conn, topic } => {
                self.listening
                    .confirmed(*conn, topic, self.canon.ops().len())
            }
            Record::Listens { conn, topic } => self.listening.listens(*conn, topic),
            Record::Refused { conn, topic } => {
                self.listening.refused(*conn, topic);
                Ok(())
            }
            Record::Stopped { conn, topic } => {
                self.listening.stopped(*conn, topic);
                Ok(())
            }
            Record::Heard {
                conn,
                topic,
                channel,
                payload,
            } => self
                .listening
                .heard(*conn, topic, channel, payload, &self.canon),
            Record::Closed { conn } => {
                self.listening.closed(*conn);
                Ok(())
            }
        }
    }

    /// Checks what a node holds at the end, read anew from its disk: the payloads in log order.
    ///
    /// # Errors
    /// I01 for an acknowledged write that is not there.
    pub fn drained(
        &self,
        node: NodeId,
        truncated: LogIndex,
        payloads: &[Bytes],
    ) -> Result<(), Violation> {
        self.writes.drained(node, truncated, payloads, &self.canon)
    }

    /// Returns a subscription that has not heard all it should have, if there is one.
    pub fn behind(&self) -> Option<(ConnId, Topic, Bytes)> {
        self.listening.behind(&self.canon)
    }

    /// How many subscribers of each name a node counts, when nobody comes or goes (P6).
    ///
    /// # Errors
    /// The difference from what clients listen to.
    pub fn counted(&self, node: NodeId, counted: &BTreeMap<Topic, u64>) -> Result<(), Violation> {
        self.listening.counted(node, counted)
    }

    /// Whether the disk of a node has had an entry: one that was harmed does not show it any more.
    pub(crate) fn has_had(&self, node: NodeId, index: LogIndex, term: Term) -> bool {
        self.disks.has_had(node, index, term)
    }

    /// Returns the members as far as anybody has applied the log.
    pub(crate) fn members(&self) -> &members::Members {
        &self.members
    }

    /// Returns the canon.
    pub fn canon(&self) -> &Canon {
        &self.canon
    }

    /// Returns how many deliveries were checked.
    pub fn deliveries(&self) -> u64 {
        self.listening.deliveries()
    }

    /// Returns how many writes were sent, acknowledged, refused, and of unknown fate.
    pub fn counts(&self) -> [u64; 4] {
        self.writes.counts()
    }
}
