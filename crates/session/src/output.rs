//! Bytes on their way out: few large pieces, and nothing large copied.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;

/// Up to this size a copy is cheaper than one more piece in a vectored write.
const COALESCE_MAX: usize = 1024;

/// What a session has to write, in order. Replies collect in one growing buffer; large deliveries
/// stay slices of the buffer that all subscribers share.
///
/// A caller either takes everything ([`Output::take`]), or looks at the pieces
/// ([`Output::chunks`]), writes what the socket accepts, and says how much that was
/// ([`Output::consume`]).
#[derive(Debug, Default)]
pub struct Output {
    chunks: VecDeque<Bytes>,
    open: BytesMut,
    len: usize,
}

impl Output {
    /// Returns how many bytes wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns all that waits, as pieces to be written in this order. None of them is empty.
    pub fn chunks(&mut self) -> &VecDeque<Bytes> {
        self.seal();
        &self.chunks
    }

    /// Forgets the first `written` bytes.
    ///
    /// # Panics
    /// If that is more than [`Output::chunks`] held.
    pub fn consume(&mut self, mut written: usize) {
        self.len = self
            .len
            .checked_sub(written)
            .expect("no more is consumed than was there");
        if self.len == 0 {
            // What has grown for many replies is not kept by one that waits for a client to say more.
            *self = Self::default();
            return;
        }
        self.seal();
        while written > 0 {
            let front = self.chunks.front_mut().expect("len counts the chunks");
            if front.len() > written {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.chunks.pop_front();
        }
    }

    /// Takes all that waits.
    pub fn take(&mut self) -> VecDeque<Bytes> {
        self.seal();
        self.len = 0;
        std::mem::take(&mut self.chunks)
    }

    /// Lets `encode` append to the open buffer.
    pub(crate) fn write(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let before = self.open.len();
        encode(&mut self.open);
        self.len += self.open.len() - before;
    }

    /// Appends bytes that may be shared with others.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= COALESCE_MAX {
            self.write(|out| out.extend_from_slice(&bytes));
        } else {
            self.seal();
            self.len += bytes.len();
            self.chunks.push_back(bytes);
        }
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.chunks.push_back(self.open.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_coalesce_and_large_ones_are_shared() {
        let large = Bytes::from(vec![b'x'; COALESCE_MAX + 1]);
        let mut output = Output::default();
        output.push(Bytes::from_static(b"a"));
        output.write(|out| out.extend_from_slice(b"b"));
        output.push(large.clone());
        output.push(Bytes::from_static(b"c"));
        assert_eq!(output.len(), large.len() + 3);
        let chunks = output.take();
        assert_eq!(chunks.len(), 3);
        assert_eq!(chunks[0], "ab");
        assert_eq!(chunks[1].as_ptr(), large.as_ptr(), "not copied");
        assert_eq!(chunks[2], "c");
        assert!(output.is_empty());
    }

    #[test]
    fn what_is_empty_holds_no_memory() {
        let mut output = Output::default();
        for _ in 0..1000 {
            output.push(Bytes::from_static(b"a reply"));
        }
        let all = output.chunks().iter().map(Bytes::len).sum();
        output.consume(all);
        assert!(output.is_empty() && output.chunks().is_empty());
        assert_eq!((output.open.capacity(), output.chunks.capacity()), (0, 0));
    }

    #[test]
    fn consume_forgets_across_pieces() {
        let mut output = Output::default();
        output.push(Bytes::from_static(b"abc"));
        output.push(Bytes::from(vec![b'x'; COALESCE_MAX + 1]));
        output.consume(2);
        assert_eq!(output.chunks()[0], "c");
        output.consume(3);
        assert_eq!(output.len(), COALESCE_MAX - 1);
        assert_eq!(output.chunks().len(), 1);
        output.consume(COALESCE_MAX - 1);
        assert!(output.is_empty() && output.chunks().is_empty());
    }
}
