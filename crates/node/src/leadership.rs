//! When leadership is given away, and what follows when a leader is gone.
//!
//! | reason | to whom |
//! |---|---|
//! | this node stops | the voter whose log is the longest of those that are up |
//! | its disk stalls | the same, if one has all but what was appended during the last round trip |
//! | it leaves the cluster | the same |
//! | `CLUSTER FAILOVER` | the node that was asked |
//!
//! While leadership is on its way nothing is appended: batches wait at their origins, and go to the next leader. So it
//! is asked again soon, of another heir if there is one: the word to take over may be lost, or the target may be slow.
//! Raft itself would give up only after an election timeout.

use crate::errors;
use crate::running::Running;
use crate::shared::Shared;
use crate::stalls::DiskWatch;
use crate::succession::{Succession, rank};
use bytes::Bytes;
use corgi_base::{LogIndex, NodeId, Now};
use corgi_consensus::storage::LogReader;
use slog::{info, warn};

/// A follower this close to the end of the log has it all within a round trip.
const CLOSE_ENTRIES: u64 = 1000;

/// Long enough for a target that is close to catch up, campaign and win, on a busy machine.
const AGAIN_MS: u64 = 150;

/// What a member remembers of leadership.
#[derive(Debug, Default)]
pub(crate) struct Leadership {
    /// To whom it is on its way, and when it is asked again.
    transfer: Option<(NodeId, u64)>,
    pub(crate) disk: DiskWatch,
    succession: Succession,
}

impl Leadership {
    /// Takes note that this node does not lead.
    pub(crate) fn lost(&mut self) {
        if self.transfer.take().is_some() {
            self.disk.forgive();
        }
    }
}

impl<R: LogReader> Running<R> {
    /// Takes note that a peer's process is gone.
    pub(crate) fn hung_up(&mut self, shared: &Shared, now: Now, peer: NodeId) {
        let status = self.group.status();
        if status.leader != Some(peer) {
            return;
        }
        let Some(rank) = rank(self.state.voters(), peer, shared.config.id) else {
            return;
        };
        info!(shared.log, "the leader's process is gone"; "leader" => peer.get(), "term" => status.term.0);
        self.group.forget_leader();
        let election_ms = shared.config.timeouts.election_ms;
        let succession = &mut self.leadership.succession;
        succession.begin(now.mono_ms, election_ms, status.term, rank);
    }

    /// Campaigns if it is this node's turn to follow a leader that is gone.
    pub(crate) fn succeed(&mut self, now: Now) {
        let status = self.group.status();
        let succession = &mut self.leadership.succession;
        if succession.is_due(now.mono_ms, status.term, status.leader) {
            self.group.campaign();
        }
    }

    /// Gives leadership away if there is a reason to.
    pub(crate) fn hand_over(&mut self, shared: &Shared, now: Now) {
        if self.leading.is_none() || self.on_its_way(shared, now) {
            return;
        }
        let stalls = self.leadership.disk.stalls(now.mono_ms);
        if !shared.stopping && !stalls {
            return;
        }
        let Some((to, matched)) = self.heir(shared) else {
            return;
        };
        // A node that stops cannot wait; one whose disk stalls had better lead than nobody.
        let close = matched.0 + CLOSE_ENTRIES >= self.group.status().last_index.0;
        if !shared.stopping && !close {
            return;
        }
        if stalls {
            warn!(shared.log, "the disk stalls, gives leadership away"; "to" => to.get());
        }
        self.transfer(shared, now, to);
    }

    /// Gives leadership to the best heir, unless it is on its way already; `false` if there is nobody.
    pub(crate) fn hands_over(&mut self, shared: &Shared, now: Now) -> bool {
        if self.on_its_way(shared, now) {
            return true;
        }
        let Some((to, _)) = self.heir(shared) else {
            return false;
        };
        self.transfer(shared, now, to);
        true
    }

    /// Gives leadership to a node that asks for it.
    pub(crate) fn give_to(&mut self, shared: &Shared, now: Now, to: NodeId) -> Result<(), Bytes> {
        if self.on_its_way(shared, now) {
            return Ok(());
        }
        if !self.state.voters().contains(&to) {
            return Err(errors::change_refused("this node does not vote yet"));
        }
        if !shared.peers_up.contains(&to) {
            return Err(errors::change_refused("the leader cannot reach this node"));
        }
        self.transfer(shared, now, to);
        Ok(())
    }

    /// Whether this node and those that are up are a majority.
    pub(crate) fn has_majority(&self, shared: &Shared) -> bool {
        let here = |node: &&NodeId| **node == shared.config.id || shared.peers_up.contains(node);
        let voters = self.state.voters();
        voters.iter().filter(here).count() * 2 > voters.len()
    }

    fn on_its_way(&self, shared: &Shared, now: Now) -> bool {
        self.leadership
            .transfer
            .is_some_and(|(to, until)| now.mono_ms < until && shared.peers_up.contains(&to))
    }

    /// Returns the voter with the longest log of those that are up; one that has been asked in vain only if there is no
    /// other.
    fn heir(&self, shared: &Shared) -> Option<(NodeId, LogIndex)> {
        let fit =
            |node: &NodeId| shared.peers_up.contains(node) && self.state.voters().contains(node);
        let asked = self.leadership.transfer.map(|(to, _)| to);
        let all = self.group.matched().into_iter();
        all.filter(|(node, _)| fit(node))
            .max_by_key(|(node, matched)| (asked != Some(*node), *matched))
    }

    fn transfer(&mut self, shared: &Shared, now: Now, to: NodeId) {
        info!(shared.log, "hands over leadership"; "to" => to.get());
        self.leadership.transfer = Some((to, now.mono_ms + AGAIN_MS));
        self.group.transfer_leader(to);
    }
}
