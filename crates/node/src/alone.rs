//! A node that votes alone asks those whom it knows before it leads.
//!
//! The others tell a node that its folder is an old copy before they vote for it ([`crate::birth::check_peer`]). Nobody
//! tells a node that needs no other vote: started on a copy from before the others voted, it would lead and write
//! beside the cluster that grew from it. So it holds back until each of the others that it knows has let it in.
//!
//! While a cluster is born this takes nothing away: it cannot be completed before all its first members are there.
//! Later a learner may be gone for good, and must not keep its cluster from being led; then the wait has an end.

use crate::birth;
use crate::running::Running;
use crate::shared::Shared;
use corgi_base::{NodeId, Now};
use corgi_consensus::storage::LogReader;
use slog::{info, warn};
use std::collections::BTreeSet;

/// Election timeouts that a node of a complete cluster waits for those that it knows: enough to call them, and to be
/// called.
const ELECTIONS: u64 = 5;

/// Whom a node has asked since it was started.
#[derive(Debug)]
pub(crate) struct Inquiry {
    let_in_by: BTreeSet<NodeId>,
    until_ms: Option<u64>,
    done: bool,
}

impl Inquiry {
    /// Begins with those who have let this node in already, when it founds its cluster.
    pub(crate) fn new(peers_up: impl Iterator<Item = NodeId>) -> Self {
        Self {
            let_in_by: peers_up.collect(),
            until_ms: None,
            done: false,
        }
    }

    /// Takes note that a peer has let this node in.
    pub(crate) fn let_in(&mut self, peer: NodeId) {
        if !self.done {
            self.let_in_by.insert(peer);
        }
    }
}

impl<R: LogReader> Running<R> {
    /// Lets this node lead where it votes alone, once it may.
    pub(super) fn ask_first(&mut self, shared: &Shared, now: Now) {
        // Who votes, and who else there is, is said by what is committed.
        if self.inquiry.done || self.state.applied() < self.group.status().commit_index {
            return;
        }
        let election_ms = shared.config.timeouts.election_ms;
        let first = self.inquiry.until_ms.is_none();
        let until_ms = *self
            .inquiry
            .until_ms
            .get_or_insert(now.mono_ms + ELECTIONS * election_ms);
        if self.state.voters() == [shared.config.id] {
            let others = birth::others(&shared.config, Some(&self.state), &[]);
            let silent = others.iter().map(|other| other.id);
            let silent: Vec<u64> = silent
                .filter(|id| !self.inquiry.let_in_by.contains(id))
                .map(NodeId::get)
                .collect();
            let waits = !silent.is_empty() && (!self.state.formed() || now.mono_ms < until_ms);
            if waits {
                if first {
                    info!(shared.log, "votes alone, and asks the others that it knows before it leads";
                        "others" => ?silent);
                }
                return;
            }
            if !silent.is_empty() {
                warn!(shared.log, "leads alone: nobody can say whether this data folder is an old copy";
                    "unreachable" => ?silent);
            }
        }
        self.inquiry.done = true;
        self.group.lead_alone();
    }
}
