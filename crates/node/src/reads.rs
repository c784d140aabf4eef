//! Reads that must not be older than what was acknowledged before they were asked (P3).
//!
//! One question to the leader is under way at a time, and serves all reads that were asked before it left; those that
//! come later wait for the next one. A question may get lost anywhere, so it is asked again under a new id; an answer
//! to any of its ids counts, or a round trip that takes longer than the wait would never be answered in time.
//!
//! A question is also asked when nobody reads, now and then: its answer is the proof that a majority still answers
//! (P8).

use crate::counts::Until;
use bytes::Bytes;
use corgi_base::{Boot, ClientId, LogIndex, NodeId, SubscriptionKind};
use corgi_consensus::{ReadGrant, ReadId};
use corgi_session::{KeyQuery, Seq};
use std::collections::VecDeque;

/// An answer that comes after so many further questions is of no use.
const ASKED_MAX: usize = 64;

/// A subscription that waits for its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) client: ClientId,
    pub(crate) seq: Seq,
    pub(crate) kind: SubscriptionKind,
    pub(crate) names: Vec<Bytes>,
    pub(crate) deadline_ms: u64,
    /// The names that the others have been told of, because the client does not listen to them yet.
    pub(crate) announced: Vec<Bytes>,
    /// How far the others must have heard.
    pub(crate) told: Until,
}

/// A read of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRead {
    pub(crate) client: ClientId,
    pub(crate) seq: Seq,
    pub(crate) query: KeyQuery,
    pub(crate) deadline_ms: u64,
    /// Until when it waits for something if there is nothing; `None` for not at all.
    pub(crate) until_ms: Option<u64>,
}

/// What waits for its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    Subscription(Read),
    Keys(KeyRead),
}

impl Waiting {
    pub(crate) fn client(&self) -> ClientId {
        match self {
            Self::Subscription(read) => read.client,
            Self::Keys(read) => read.client,
        }
    }

    fn deadline_ms(&self) -> u64 {
        match self {
            Self::Subscription(read) => read.deadline_ms,
            Self::Keys(read) => read.deadline_ms,
        }
    }
}

#[derive(Debug)]
struct Question {
    /// The ids under which it was asked, and when; the last ones of many.
    asked: VecDeque<(ReadId, u64)>,
    reads: Vec<Waiting>,
}

/// All reads of a node.
#[derive(Debug)]
pub(crate) struct Reads {
    node: NodeId,
    boot: Boot,
    retry_ms: u64,
    /// A question is asked at least this often.
    probe_ms: u64,
    /// When the last question was asked, and when the last one that was answered had been.
    asked_ms: Option<u64>,
    confirmed_ms: Option<u64>,
    count: u64,
    waiting: Vec<Waiting>,
    question: Option<Question>,
    granted: VecDeque<(LogIndex, Vec<Waiting>)>,
}

impl Reads {
    pub(crate) fn new(node: NodeId, boot: Boot, retry_ms: u64, probe_ms: u64) -> Self {
        Self {
            node,
            boot,
            retry_ms,
            probe_ms,
            asked_ms: None,
            confirmed_ms: None,
            count: 0,
            waiting: Vec::new(),
            question: None,
            granted: VecDeque::new(),
        }
    }

    /// Takes a read.
    pub(crate) fn ask(&mut self, read: Waiting) {
        self.waiting.push(read);
    }

    /// Returns the id of a question that should be asked now, if any.
    pub(crate) fn wants_question(&mut self, now_ms: u64) -> Option<ReadId> {
        let due = |asked: u64, wait: u64| now_ms >= asked + wait;
        let wants = match &self.question {
            Some(_) => self.asked_ms.is_none_or(|asked| due(asked, self.retry_ms)),
            None => {
                let probe = self.asked_ms.is_none_or(|asked| due(asked, self.probe_ms));
                probe || !self.waiting.is_empty()
            }
        };
        if !wants {
            return None;
        }
        Some(ReadId {
            node: self.node,
            boot: self.boot.0,
            count: self.count + 1,
        })
    }

    /// Notes that the question is on its way.
    pub(crate) fn asked(&mut self, now_ms: u64, id: ReadId) {
        self.count = id.count;
        self.asked_ms = Some(now_ms);
        let question = self.question.get_or_insert_with(|| Question {
            asked: VecDeque::new(),
            reads: std::mem::take(&mut self.waiting),
        });
        if question.asked.len() == ASKED_MAX {
            question.asked.pop_front();
        }
        question.asked.push_back((id, now_ms));
    }

    /// Takes an answer.
    pub(crate) fn grant(&mut self, grant: ReadGrant) {
        // Another id is that of a question that was answered under a later one.
        let asked = self.question.as_ref().and_then(|question| {
            let asked = question.asked.iter().find(|(id, _)| *id == grant.id);
            asked.map(|(_, at_ms)| *at_ms)
        });
        if let Some(asked_ms) = asked
            && let Some(question) = self.question.take()
        {
            self.confirmed_ms = Some(asked_ms);
            if !question.reads.is_empty() {
                self.granted.push_back((grant.index, question.reads));
            }
        }
    }

    /// Returns when the last question was asked that a majority has answered.
    pub(crate) fn confirmed_ms(&self) -> Option<u64> {
        self.confirmed_ms
    }

    /// Removes and returns the reads that have no position yet: no majority answers.
    pub(crate) fn give_up(&mut self) -> Vec<Waiting> {
        let mut reads = std::mem::take(&mut self.waiting);
        if let Some(question) = &mut self.question {
            reads.append(&mut question.reads);
        }
        reads
    }

    /// Returns the reads whose position is applied.
    pub(crate) fn take_ready(&mut self, applied: LogIndex) -> Vec<Waiting> {
        let mut ready = Vec::new();
        while self
            .granted
            .front()
            .is_some_and(|(index, _)| *index <= applied)
        {
            ready.extend(
                self.granted
                    .pop_front()
                    .map(|(_, reads)| reads)
                    .unwrap_or_default(),
            );
        }
        ready
    }

    /// Removes and returns the reads that have waited for too long.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<Waiting> {
        self.extract(|read| now_ms >= read.deadline_ms())
    }

    /// Removes and returns the reads of a client that is gone.
    pub(crate) fn forget(&mut self, client: ClientId) -> Vec<Waiting> {
        self.extract(|read| read.client() == client)
    }

    /// Removes and returns what a client reads that would wait if there is nothing. Whoever does so is blocked already.
    pub(crate) fn take_waiting(&mut self, client: ClientId) -> Option<Seq> {
        let waits = |read: &Waiting| match read {
            Waiting::Keys(read) => read.client == client && read.until_ms.is_some(),
            Waiting::Subscription(_) => false,
        };
        match self.extract(waits).pop()? {
            Waiting::Keys(read) => Some(read.seq),
            Waiting::Subscription(_) => None,
        }
    }

    fn extract(&mut self, which: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let mut reads: Vec<Waiting> = self.waiting.extract_if(.., |r| which(r)).collect();
        if let Some(question) = &mut self.question {
            reads.extend(question.reads.extract_if(.., |r| which(r)));
        }
        for (_, granted) in &mut self.granted {
            reads.extend(granted.extract_if(.., |r| which(r)));
        }
        reads
    }
}

#[cfg(test)]
mod tests;
