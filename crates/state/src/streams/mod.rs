//! Streams, their groups and consumers, and what is pending there.
//!
//! ```text
//!   StreamOp ──▶ Streams::execute ──▶ Answer          key ──(who keeps the keys)──▶ id of the stream
//!                     │ take_changed
//!                     ▼
//!   rows: one for each stream, entry, group, consumer, pending message, known attempt of a producer
//! ```
//!
//! Invariants
//! - Deterministic: time is the log's, the id of `XADD *` is the operation's.
//! - A stream is named by the id of the operation that made it, not by its key: who renames, moves or swaps keys writes
//!   no row here.
//! - An operation changes the rows that it must: `XADD` writes the entry and the stream's head.
//! - What a consumer has pending and what its group has pending are the same messages, each with one owner or, after
//!   `XNACK`, none.
//!
//! Not here: keys, their types and expiry ([`Find`] asks for them); who waits for an entry.
//!
//! `MAXLEN ~` and `MINID ~` trim exactly, as Redis permits.
//!
//! An attempt of a producer (`IDMP`) is known for its time whether or not its entry was deleted meanwhile: a second
//! attempt is answered with the id of the first entry, as in Redis, and counted in `iids-duplicates`.
//!
//! Tests: `tests/streams.rs` by example, `tests/streams_model.rs` against a naive model.

mod attempts;
mod execute;
mod group;
mod groups;
mod info;
mod pending;
mod read;
mod rows;
mod stream;

pub use execute::{At, Executed, Find};
pub use rows::{Row, RowKey};
pub use stream::Stream;

use bytes::Bytes;
use corgi_base::MessageId;
use corgi_base::codec::DecodeError;
use std::collections::{BTreeMap, BTreeSet};

/// All streams, by the id of the operation that made them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    streams: BTreeMap<MessageId, Stream>,
    changed: BTreeSet<RowKey>,
    /// What they take, each as it was counted last.
    bytes: usize,
}

impl Streams {
    /// Returns a stream.
    pub fn get(&self, stream: MessageId) -> Option<&Stream> {
        self.streams.get(&stream)
    }

    /// Removes a stream and all that belongs to it.
    pub fn remove(&mut self, stream: MessageId) {
        if let Some(removed) = self.streams.remove(&stream) {
            self.bytes -= removed.counted;
            self.changed
                .extend(removed.rows().map(|row| RowKey { stream, row }));
        }
    }

    /// Makes a copy of a stream under another id.
    pub fn copy(&mut self, from: MessageId, to: MessageId) {
        if let Some(mut copy) = self.streams.get(&from).cloned() {
            copy.take_changed();
            let rows = copy.rows();
            self.changed
                .extend(rows.map(|row| RowKey { stream: to, row }));
            self.bytes += copy.counted;
            self.streams.insert(to, copy);
        }
    }

    /// Returns about how many bytes of memory the streams take.
    pub fn memory(&self) -> usize {
        self.bytes
    }

    /// Counts what each stream takes, once all rows are here.
    pub fn restored(&mut self) {
        for stream in self.streams.values_mut() {
            stream.take_changed();
            stream.counted = stream.memory();
        }
        self.bytes = self.streams.values().map(|stream| stream.counted).sum();
    }

    /// Returns the rows that have changed since the last call, ascending.
    pub fn take_changed(&mut self) -> BTreeSet<RowKey> {
        std::mem::take(&mut self.changed)
    }

    /// Returns a row as it is now; `None` if there is none any more.
    pub fn row(&self, key: &RowKey) -> Option<Bytes> {
        self.streams.get(&key.stream)?.row(&key.row)
    }

    /// Returns the names of all rows, those of one kind one after the other.
    pub fn rows(&self) -> BTreeSet<RowKey> {
        let of = |(stream, kept): (&MessageId, &Stream)| {
            let stream = *stream;
            let rows = kept.rows().collect::<Vec<_>>();
            rows.into_iter().map(move |row| RowKey { stream, row })
        };
        self.streams.iter().flat_map(of).collect()
    }

    /// Takes a row that was stored; rows come in their order.
    ///
    /// # Errors
    /// [`DecodeError`] if the row does not hold what it should, or belongs to none that came before.
    pub fn restore(&mut self, key: RowKey, value: Bytes) -> Result<(), DecodeError> {
        let field = "stream of a row";
        match &key.row {
            Row::Head => {
                let stream = Stream::restore(value)?;
                self.streams.insert(key.stream, stream);
                Ok(())
            }
            row => self
                .streams
                .get_mut(&key.stream)
                .ok_or(DecodeError::Invalid { field })?
                .restore_row(row, value),
        }
    }
}
