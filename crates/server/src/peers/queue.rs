//! What waits to be sent on one lane to one peer, and how it is written.

use super::frame::{self, HEAD_BYTES};
use crate::sync::{Mutex, MutexGuard};
use bytes::Bytes;
use corgi_node::PeerMessage;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::PoisonError;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

/// Three slices each, so that a batch stays below the 1024 that the system takes in one call.
const BATCH_FRAMES_MAX: usize = 256;
/// More in one call would only hold up the next look at the other lane.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Bounds what the queue itself costs when messages are tiny.
const QUEUE_FRAMES_MAX: usize = 64 << 10;

/// A message in the two parts in which it was given. The payload is shared, not copied.
#[derive(Debug)]
pub(super) struct Outgoing {
    head: Vec<u8>,
    payload: Bytes,
}

impl Outgoing {
    pub(super) fn new(message: &PeerMessage) -> Self {
        let (head, payload) = message.encode();
        Self { head, payload }
    }

    /// Returns the bytes of the frame's payload.
    pub(super) fn payload_bytes(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    fn wire_bytes(&self) -> usize {
        HEAD_BYTES + self.payload_bytes()
    }
}

#[derive(Debug, Default)]
struct Waiting {
    open: bool,
    frames: VecDeque<Outgoing>,
    /// Of the frames, and of those that are being written.
    bytes: usize,
}

/// A bounded queue that is filled from any thread and emptied by the lane's writer. Closed, it
/// takes nothing.
#[derive(Debug)]
pub(super) struct LaneQueue {
    bytes_max: usize,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

impl LaneQueue {
    /// Returns a closed queue.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            waiting: Mutex::default(),
            filled: Notify::new(),
        }
    }

    /// Held for a few instructions only, and never while calling out.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to take messages.
    pub(super) fn open(&self) {
        self.lock().open = true;
    }

    /// Drops what waits, takes nothing more, and returns whether anything was lost.
    pub(super) fn close(&self) -> bool {
        let mut waiting = self.lock();
        let lost = waiting.bytes > 0;
        *waiting = Waiting::default();
        lost
    }

    /// Queues a message, or returns false if the queue is closed or full. An empty queue takes a
    /// message of any size.
    pub(super) fn push(&self, message: Outgoing) -> bool {
        let bytes = message.wire_bytes();
        let mut waiting = self.lock();
        let full = waiting.bytes > 0 && waiting.bytes + bytes > self.bytes_max;
        if !waiting.open || full || waiting.frames.len() >= QUEUE_FRAMES_MAX {
            return false;
        }
        waiting.bytes += bytes;
        waiting.frames.push_back(message);
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// Waits for messages and takes as many as one write should carry.
    async fn take(&self, batch: &mut Vec<Outgoing>) {
        loop {
            if self.take_waiting(batch) {
                return;
            }
            self.filled.notified().await;
        }
    }

    fn take_waiting(&self, batch: &mut Vec<Outgoing>) -> bool {
        let mut waiting = self.lock();
        let mut bytes = 0;
        while batch.len() < BATCH_FRAMES_MAX && bytes < BATCH_BYTES_MAX {
            let Some(frame) = waiting.frames.pop_front() else {
                break;
            };
            bytes += frame.wire_bytes();
            batch.push(frame);
        }
        !batch.is_empty()
    }

    /// Frees the room of frames that were taken. What is being written counts as waiting, so that
    /// a peer that does not read fills the queue and not the memory.
    fn written(&self, batch: &[Outgoing]) {
        let bytes: usize = batch.iter().map(Outgoing::wire_bytes).sum();
        self.lock().bytes -= bytes;
    }

    /// Writes what is queued, for ever.
    ///
    /// # Errors
    /// The first error of the connection.
    pub(super) async fn write_to<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut W,
    ) -> io::Result<std::convert::Infallible> {
        let mut batch = Vec::new();
        loop {
            self.take(&mut batch).await;
            write_batch(writer, &batch).await?;
            self.written(&batch);
            batch.clear();
        }
    }
}

async fn write_batch<W: AsyncWrite + Unpin>(writer: &mut W, batch: &[Outgoing]) -> io::Result<()> {
    // The checksums are made here and not in `push`, which is called under the node's lock.
    let heads: Vec<_> = batch
        .iter()
        .map(|out| frame::head(&out.head, &out.payload))
        .collect();
    let mut slices = Vec::with_capacity(3 * batch.len());
    for (head, out) in heads.iter().zip(batch) {
        let parts = [&head[..], &out.head, &out.payload];
        slices.extend(
            parts
                .into_iter()
                .filter(|part| !part.is_empty())
                .map(IoSlice::new),
        );
    }
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        match writer.write_vectored(rest).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut rest, written),
        }
    }
    // With TLS, what was written may wait for this.
    writer.flush().await
}

#[cfg(all(test, feature = "shuttle"))]
mod interleavings;
