//! Reply order: one slot a command, emptied from the front.
//!
//! ```text
//!   seq   head                              last
//!         ├ waiting ─ ready ─ ready ─ … ─ waiting     slots
//!         └─▶ a reply leaves when it is ready and at the front, with what must follow it
//! ```
//!
//! Invariants
//! - Replies leave in the order of their commands, each exactly once and whole.
//! - A delivery that was told after a reply leaves after that reply. (The node answers writes in
//!   log order, so that the reply is normally out already; if an earlier command still waits, the
//!   delivery waits with the reply.)
//! - What was told together with a reply leaves before replies that were only waiting for it.
//! - A reply is encoded when it becomes ready. That is right because the protocol version changes
//!   only in a barrier, and a barrier's slot is alone.

use crate::ask::Seq;
use crate::errors;
use crate::output::Output;
use bytes::{Bytes, BytesMut};
use corgi_base::Protocol;
use corgi_resp::{Reply, encode};
use std::collections::VecDeque;

#[derive(Debug)]
enum Slot {
    /// The node has not answered; holds the bytes of the command.
    Waiting {
        cost: usize,
        /// Its reply is not wanted (`CLIENT REPLY`).
        silent: bool,
    },
    /// Answered, behind one that waits.
    Ready {
        encoded: Bytes,
        /// Deliveries that must not overtake the reply.
        then: Vec<Bytes>,
    },
}

/// The replies of one connection, and what of them may leave.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    head: u64,
    slots: VecDeque<Slot>,
    /// Bytes of commands and replies in `slots`, deliveries that wait there included.
    held: usize,
    /// The last slot whose answer came from the node and has not left: deliveries follow it.
    fence: Option<Seq>,
    pub(crate) output: Output,
}

impl Replies {
    /// Returns how many commands have a reply that has not left.
    pub(crate) fn outstanding(&self) -> usize {
        self.slots.len()
    }

    /// Returns the bytes that wait, here and to be written.
    pub(crate) fn bytes(&self) -> usize {
        self.held + self.output.len()
    }

    /// Returns whether the reply of `seq` would leave at once.
    pub(crate) fn is_next(&self, seq: Seq) -> bool {
        self.head == seq.0
    }

    /// Opens the slot of a command that the node answers.
    pub(crate) fn wait(&mut self, seq: Seq, cost: usize, silent: bool) {
        debug_assert_eq!(
            seq.0,
            self.head + self.slots.len() as u64,
            "one slot a command"
        );
        self.held += cost;
        self.slots.push_back(Slot::Waiting { cost, silent });
    }

    /// Opens the slot of a command and fills it; `None` where no reply is wanted.
    pub(crate) fn answer(&mut self, seq: Seq, reply: Option<&Reply>, protocol: Protocol) {
        debug_assert_eq!(
            seq.0,
            self.head + self.slots.len() as u64,
            "one slot a command"
        );
        if self.slots.is_empty() {
            self.head += 1;
            if let Some(reply) = reply {
                self.output.write(|out| encode(reply, protocol, out));
            }
        } else {
            let encoded = reply
                .map(|reply| encoded(reply, protocol))
                .unwrap_or_default();
            self.held += encoded.len();
            self.slots.push_back(Slot::Ready {
                encoded,
                then: Vec::new(),
            });
        }
    }

    /// Fills the slot of a command that the node has answered; `None` where the answer has no bytes
    /// of its own.
    ///
    /// # Panics
    /// If that command does not wait: the node answers each ask once.
    pub(crate) fn fulfil(&mut self, seq: Seq, reply: Option<&Reply>, protocol: Protocol) {
        // A refused write is delivered to nobody, and refusals alone overtake: they need no fence.
        let fence = !matches!(reply, Some(Reply::Error(_)));
        let reply = reply.filter(|_| !self.silent(seq));
        if self.is_next(seq) {
            self.take_front(seq);
            if let Some(reply) = reply {
                self.output.write(|out| encode(reply, protocol, out));
            }
            return;
        }
        let encoded = reply
            .map(|reply| encoded(reply, protocol))
            .unwrap_or_default();
        self.fill(seq, encoded, fence);
    }

    /// Fills the slot of a command with a reply that is encoded already. Messages that are told later must not overtake
    /// it if it is a `fence`.
    ///
    /// # Panics
    /// If that command does not wait.
    pub(crate) fn fulfil_encoded(&mut self, seq: Seq, encoded: Bytes, fence: bool) {
        let encoded = if self.silent(seq) {
            Bytes::new()
        } else {
            encoded
        };
        if self.is_next(seq) {
            self.take_front(seq);
            self.output.push(encoded);
        } else {
            self.fill(seq, encoded, fence);
        }
    }

    fn index(&self, seq: Seq) -> Option<usize> {
        let distance = seq.0.checked_sub(self.head)?;
        usize::try_from(distance).ok()
    }

    /// Returns whether a command that waits gets no reply.
    fn silent(&self, seq: Seq) -> bool {
        let slot = self.index(seq).and_then(|idx| self.slots.get(idx));
        matches!(slot, Some(Slot::Waiting { silent: true, .. }))
    }

    /// Returns the slot of a command, and what the command holds.
    fn waiting(&mut self, seq: Seq) -> (&mut Slot, usize) {
        let slot = self.index(seq).and_then(|idx| self.slots.get_mut(idx));
        let cost = match &slot {
            Some(Slot::Waiting { cost, .. }) => Some(*cost),
            Some(Slot::Ready { .. }) | None => None,
        };
        slot.zip(cost)
            .unwrap_or_else(|| panic!("the node answered {seq:?} twice or without being asked"))
    }

    fn take_front(&mut self, seq: Seq) {
        let (_, cost) = self.waiting(seq);
        self.held -= cost;
        self.slots.pop_front();
        self.head += 1;
    }

    fn fill(&mut self, seq: Seq, encoded: Bytes, fence: bool) {
        let bytes = encoded.len();
        let (slot, cost) = self.waiting(seq);
        *slot = Slot::Ready {
            encoded,
            then: Vec::new(),
        };
        self.held = self.held - cost + bytes;
        if fence {
            self.fence = self.fence.max(Some(seq));
        }
    }

    /// Appends bytes that are not a reply: messages or a confirmation, whole.
    pub(crate) fn deliver(&mut self, bytes: Bytes) {
        let fence = self.fence.and_then(|seq| seq.0.checked_sub(self.head));
        let slot = fence
            .and_then(|n| usize::try_from(n).ok())
            .and_then(|n| self.slots.get_mut(n));
        if let Some(Slot::Ready { then, .. }) = slot {
            self.held += bytes.len();
            then.push(bytes);
        } else {
            self.output.push(bytes);
        }
    }

    /// Empties all slots because the connection ends: writes get an error that says that their fate
    /// is unknown. The last `unanswered` commands get none, because the caller has one for them, or
    /// no outcome can matter.
    pub(crate) fn abandon(&mut self, unanswered: usize) {
        let answered = self.slots.len().saturating_sub(unanswered);
        let unknown = Reply::Error(Bytes::from_static(errors::CLOSED_BEFORE_OUTCOME));
        for slot in self.slots.drain(..).take(answered) {
            match slot {
                // An error is the same in both protocol versions.
                Slot::Waiting { silent: true, .. } => {}
                Slot::Waiting { .. } => {
                    self.output
                        .write(|out| encode(&unknown, Protocol::Resp2, out));
                }
                Slot::Ready { encoded, then } => {
                    self.output.push(encoded);
                    then.into_iter().for_each(|bytes| self.output.push(bytes));
                }
            }
        }
        self.held = 0;
    }

    /// Lets replies leave that were ready and had to wait for others. Once the node has said all that it had to say:
    /// the messages that came with the answer to a write stand before the replies of later commands, as in Redis.
    pub(crate) fn settle(&mut self) {
        while matches!(self.slots.front(), Some(Slot::Ready { .. })) {
            if let Some(Slot::Ready { encoded, then }) = self.slots.pop_front() {
                self.head += 1;
                self.held -= encoded.len();
                self.output.push(encoded);
                for bytes in then {
                    self.held -= bytes.len();
                    self.output.push(bytes);
                }
            }
        }
        if self.fence.is_some_and(|seq| seq.0 < self.head) {
            self.fence = None;
        }
    }
}

fn encoded(reply: &Reply, protocol: Protocol) -> Bytes {
    let mut out = BytesMut::new();
    encode(reply, protocol, &mut out);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(replies: &mut Replies) -> String {
        replies.settle();
        let bytes: Vec<u8> = replies.output.take().into_iter().flatten().collect();
        String::from_utf8(bytes)
            .expect("the tests write text")
            .replace("\r\n", " ")
    }

    fn fulfil(replies: &mut Replies, seq: u64, n: i64) {
        replies.fulfil(Seq(seq), Some(&Reply::Integer(n)), Protocol::Resp2);
    }

    #[test]
    fn replies_leave_from_the_front_whatever_the_order_of_answers() {
        let mut replies = Replies::default();
        replies.wait(Seq(0), 10, false);
        replies.wait(Seq(1), 10, false);
        replies.answer(Seq(2), Some(&Reply::ok()), Protocol::Resp2);
        fulfil(&mut replies, 1, 1);
        assert_eq!(written(&mut replies), "");
        fulfil(&mut replies, 0, 0);
        assert_eq!(written(&mut replies), ":0 :1 +OK ");
        assert_eq!((replies.outstanding(), replies.bytes()), (0, 0));
    }

    #[test]
    fn a_delivery_does_not_overtake_a_reply_told_before_it() {
        let mut replies = Replies::default();
        replies.wait(Seq(0), 10, false);
        replies.wait(Seq(1), 10, false);
        replies.deliver(Bytes::from_static(b"early "));
        fulfil(&mut replies, 1, 1);
        replies.deliver(Bytes::from_static(b"late "));
        assert_eq!(written(&mut replies), "early ");
        fulfil(&mut replies, 0, 0);
        replies.deliver(Bytes::from_static(b"last "));
        assert_eq!(written(&mut replies), ":0 :1 late last ");
        assert_eq!(replies.bytes(), 0);
    }

    #[test]
    fn what_comes_with_an_answer_stands_before_replies_that_waited_for_it() {
        let mut replies = Replies::default();
        replies.wait(Seq(0), 10, false);
        replies.answer(Seq(1), Some(&Reply::ok()), Protocol::Resp2);
        fulfil(&mut replies, 0, 0);
        replies.deliver(Bytes::from_static(b"own "));
        assert_eq!(written(&mut replies), ":0 own +OK ");
    }

    #[test]
    fn a_refusal_told_early_holds_no_delivery_back() {
        let mut replies = Replies::default();
        replies.wait(Seq(0), 10, false);
        replies.wait(Seq(1), 10, false);
        replies.fulfil(
            Seq(1),
            Some(&Reply::error("TRYAGAIN busy")),
            Protocol::Resp2,
        );
        replies.deliver(Bytes::from_static(b"message "));
        assert_eq!(written(&mut replies), "message ");
    }

    #[test]
    fn a_reply_that_is_not_wanted_leaves_nothing_and_holds_nothing_up() {
        let mut replies = Replies::default();
        replies.wait(Seq(0), 10, true);
        replies.wait(Seq(1), 10, false);
        replies.answer(Seq(2), None, Protocol::Resp2);
        fulfil(&mut replies, 1, 1);
        fulfil(&mut replies, 0, 0);
        assert_eq!(written(&mut replies), ":1 ");
        assert_eq!((replies.outstanding(), replies.bytes()), (0, 0));
    }

    #[test]
    #[should_panic(expected = "twice or without being asked")]
    fn a_second_answer_is_a_fault_of_the_node() {
        let mut replies = Replies::default();
        replies.wait(Seq(0), 10, false);
        fulfil(&mut replies, 0, 0);
        fulfil(&mut replies, 0, 0);
    }
}
