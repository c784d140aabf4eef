//! Which of the bytes that leave a connection were counted by the node.
//!
//! The node counts the messages that it hands to a connection; replies it does not count. Both
//! leave through one stream of output, so this remembers up to which position of that stream each
//! counted piece reaches.

use corgi_node::QueuedBytes;
use std::collections::VecDeque;

/// Gives back to the node's count what has left.
#[derive(Debug)]
pub(crate) struct Ledger {
    queued: QueuedBytes,
    /// Bytes of output that have left.
    written: u64,
    /// Ends of counted pieces in the stream of output, ascending, each with its count.
    ends: VecDeque<(u64, u64)>,
}

impl Ledger {
    /// Starts with nothing written.
    pub(crate) fn new(queued: QueuedBytes) -> Self {
        Self {
            queued,
            written: 0,
            ends: VecDeque::new(),
        }
    }

    /// Notes that a piece of `counted` bytes is the last of the `waiting` bytes of output.
    pub(crate) fn counted(&mut self, counted: usize, waiting: usize) {
        let end = self.written + waiting as u64;
        match self.ends.back_mut() {
            // Many small pieces that went into one buffer are one line here.
            Some((last, sum)) if *last == end => *sum += counted as u64,
            _ => self.ends.push_back((end, counted as u64)),
        }
    }

    /// Notes that the next `bytes` of output have left. Returns whether the node must hear that the
    /// queue has drained.
    #[must_use]
    pub(crate) fn left(&mut self, bytes: usize) -> bool {
        let mut drained = false;
        self.written += bytes as u64;
        while let Some((_, counted)) = self.ends.pop_front_if(|(end, _)| *end <= self.written) {
            drained |= self.queued.sub(counted);
        }
        if self.ends.is_empty() {
            // Idle connections hold nothing.
            self.ends = VecDeque::new();
        }
        drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(counted_by_node: u64) -> (QueuedBytes, Ledger) {
        let queued = QueuedBytes::default();
        queued.add(counted_by_node);
        (queued.clone(), Ledger::new(queued))
    }

    #[test]
    fn a_message_is_given_back_when_its_last_byte_has_left() {
        let (queued, mut ledger) = ledger(10);
        ledger.counted(10, 13); // Three bytes of a reply wait before it.
        assert!(!ledger.left(12));
        assert_eq!(queued.get(), 10);
        assert!(!ledger.left(1), "no node waits for it");
        assert_eq!(queued.get(), 0);
    }

    #[test]
    fn replies_are_not_given_back() {
        let (queued, mut ledger) = ledger(4);
        for (counted, written) in [(0, 100), (4, 4), (0, 100)] {
            ledger.counted(counted, counted);
            assert!(!ledger.left(written));
        }
        assert_eq!(queued.get(), 0);
    }

    #[test]
    fn one_write_can_carry_several_messages_and_half_of_the_next() {
        let (queued, mut ledger) = ledger(30);
        for waiting in [10, 20, 30] {
            ledger.counted(10, waiting);
        }
        assert!(!ledger.left(25));
        assert_eq!(queued.get(), 10);
        assert!(!ledger.left(5));
        assert_eq!(queued.get(), 0);
    }

    #[test]
    fn a_message_that_a_closing_session_dropped_is_given_back_with_what_stands_before_it() {
        let (queued, mut ledger) = ledger(7);
        ledger.counted(7, 0);
        assert!(!ledger.left(0));
        assert_eq!(queued.get(), 0);
    }
}
