//! A quick election after the leader's process is gone.
//!
//! A process that dies has its sockets closed by the system: its followers know within a round trip, and need not wait
//! for the election timeout, which is there for leaders that fall silent. Each follower that sees it forgets the
//! leader, so that it may vote, and asks for a pre-vote after a short wait. The waits differ by rank, so that the first
//! has won before the second asks. No term is raised unless a majority has lost the leader too: those that still hear
//! it do not answer. docs/adr/0005-quick-succession.md says why this is safe.

use corgi_base::{NodeId, Term};

/// Until the others have seen it too: a round trip, and a busy machine's wait for a processor.
const FIRST_MS: u64 = 20;
/// Between two ranks: a won pre-vote, and the vote request that follows it.
const RANK_MS: u64 = 30;
/// Before the next attempt, when the one before has not led to a leader: the votes have to reach two disks.
const AGAIN_MS: u64 = 150;

/// What follows when the leader is gone.
#[derive(Debug, Default)]
pub(crate) struct Succession {
    attempt: Option<Attempt>,
}

#[derive(Debug)]
struct Attempt {
    term: Term,
    rank: u64,
    at_ms: u64,
    /// From then on the ordinary election timeout is enough.
    until_ms: u64,
}

impl Succession {
    /// Takes note that the leader of `term` is gone. `rank` differs between the followers.
    pub(crate) fn begin(&mut self, now_ms: u64, election_ms: u64, term: Term, rank: u64) {
        self.attempt = Some(Attempt {
            term,
            rank,
            at_ms: now_ms + FIRST_MS + rank * RANK_MS,
            until_ms: now_ms + 2 * election_ms,
        });
    }

    /// Whether to campaign now.
    pub(crate) fn is_due(&mut self, now_ms: u64, term: Term, leader: Option<NodeId>) -> bool {
        let Some(attempt) = &mut self.attempt else {
            return false;
        };
        if leader.is_some() || now_ms >= attempt.until_ms {
            self.attempt = None;
            return false;
        }
        let again = AGAIN_MS + attempt.rank * RANK_MS;
        if attempt.term != term {
            // Somebody has won a pre-vote and asks for votes: wait for the outcome.
            attempt.term = term;
            attempt.at_ms = now_ms + again;
        }
        let due = now_ms >= attempt.at_ms;
        if due {
            attempt.at_ms = now_ms + again;
        }
        due
    }
}

/// Returns a voter's rank among those who may follow `leader`, or `None` if it does not vote.
pub(crate) fn rank(voters: &[NodeId], leader: NodeId, own: NodeId) -> Option<u64> {
    let heirs = voters.iter().filter(|node| **node != leader);
    (0..)
        .zip(heirs)
        .find(|(_, node)| **node == own)
        .map(|(k, _)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(id: u64) -> NodeId {
        NodeId::new(id).expect("not 0")
    }

    #[test]
    fn ranks_leave_the_lost_leader_out() {
        let voters = [n(1), n(2), n(5)];
        assert_eq!(rank(&voters, n(1), n(2)), Some(0));
        assert_eq!(rank(&voters, n(1), n(5)), Some(1));
        assert_eq!(rank(&voters, n(2), n(5)), Some(1));
        assert_eq!(rank(&voters, n(2), n(7)), None);
    }

    #[test]
    fn campaigns_by_rank_and_again_until_there_is_a_leader() {
        let mut second = Succession::default();
        assert!(!second.is_due(0, Term(3), None), "nothing is lost yet");
        second.begin(1000, 600, Term(3), 1);
        assert!(!second.is_due(1049, Term(3), None));
        assert!(second.is_due(1050, Term(3), None));
        assert!(!second.is_due(1229, Term(3), None));
        assert!(second.is_due(1230, Term(3), None));
        assert!(!second.is_due(1300, Term(4), Some(n(2))));
        assert!(!second.is_due(1500, Term(4), None), "a leader was found");
    }

    #[test]
    fn a_candidate_of_a_later_term_gets_its_time() {
        let mut second = Succession::default();
        second.begin(0, 600, Term(3), 1);
        assert!(
            !second.is_due(50, Term(4), None),
            "the first asks for votes"
        );
        assert!(!second.is_due(229, Term(4), None));
        assert!(second.is_due(230, Term(4), None));
    }

    #[test]
    fn after_the_election_timeout_raft_goes_on_by_itself() {
        let mut first = Succession::default();
        first.begin(0, 600, Term(3), 0);
        assert!(!first.is_due(1200, Term(3), None));
        assert!(!first.is_due(1201, Term(3), None));
    }
}
