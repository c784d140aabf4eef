//! The rows of streams.
//!
//! ```text
//! stream = ms:u64 seq:u64    id = ms:u64 seq:u64    bytes = len:u32 then as many    list = count:u32 (bytes)*
//! 0x0a stream                            head      last:id max_deleted:id added:u64 duration_s:u32 max:u32
//!                                                  tried:u64 again:u64
//! 0x0b stream id                         entry     fields:list                     (field, value, field, value, …)
//! 0x0c stream group:rest                 group     last:id counted:u8 read:u64
//! 0x0d stream group:bytes consumer:rest  consumer  seen:u64 was_active:u8 active:u64
//! 0x0e stream group:bytes id             pending   delivered:u64 count:u64 owned:u8 consumer:rest
//! 0x0f stream pid:bytes iid:rest         attempt   entry:id at:u64
//! ```
//!
//! Tag bytes are on disk: add, never reuse. Whoever reads rows in their order meets a stream's head first, and groups
//! before their consumers before what these have pending.

use bytes::{BufMut, Bytes};
use corgi_base::MessageId;
use corgi_base::codec::{DecodeError, Reader, put_bytes};
use std::cmp::Ordering;

const HEAD: u8 = 0x0a;
const ENTRY: u8 = 0x0b;
const GROUP: u8 = 0x0c;
const CONSUMER: u8 = 0x0d;
const PENDING: u8 = 0x0e;
const ATTEMPT: u8 = 0x0f;

/// Names a row of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// What there is once in each stream.
    Head,
    /// An entry.
    Entry(MessageId),
    /// A group.
    Group(Bytes),
    /// A consumer of a group.
    Consumer(Bytes, Bytes),
    /// A message that is pending in a group.
    Pending(Bytes, MessageId),
    /// An attempt of a producer: `pid`, `iid`.
    Attempt(Bytes, Bytes),
}

impl Row {
    fn tag(&self) -> u8 {
        match self {
            Self::Head => HEAD,
            Self::Entry(_) => ENTRY,
            Self::Group(_) => GROUP,
            Self::Consumer(..) => CONSUMER,
            Self::Pending(..) => PENDING,
            Self::Attempt(..) => ATTEMPT,
        }
    }
}

/// Names a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowKey {
    /// The id of the operation that made the stream.
    pub stream: MessageId,
    /// Which of its rows.
    pub row: Row,
}

impl RowKey {
    /// Returns the bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![self.row.tag()];
        put_id(&mut out, self.stream);
        match &self.row {
            Row::Head => {}
            Row::Entry(id) => put_id(&mut out, *id),
            Row::Group(group) => out.put_slice(group),
            Row::Consumer(first, second) | Row::Attempt(first, second) => {
                put_bytes(&mut out, first);
                out.put_slice(second);
            }
            Row::Pending(group, id) => {
                put_bytes(&mut out, group);
                put_id(&mut out, *id);
            }
        }
        out.into()
    }

    /// Returns whether rows with this tag are those of streams.
    pub fn is_tag(tag: u8) -> bool {
        (HEAD..=ATTEMPT).contains(&tag)
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`DecodeError`] if they are those of no row of a stream.
    pub fn decode(key: &Bytes) -> Result<Self, DecodeError> {
        // A copy: the row may share the buffer of a whole scan.
        let mut r = Reader::new(Bytes::copy_from_slice(key));
        let tag = r.u8("state key")?;
        let stream = read_id(&mut r, "stream")?;
        let row = match tag {
            HEAD => Row::Head,
            ENTRY => Row::Entry(read_id(&mut r, "entry")?),
            GROUP => {
                let row = Row::Group(r.rest());
                return Ok(Self { stream, row });
            }
            CONSUMER => {
                let row = Row::Consumer(r.bytes("group")?, r.rest());
                return Ok(Self { stream, row });
            }
            PENDING => Row::Pending(r.bytes("group")?, read_id(&mut r, "pending")?),
            ATTEMPT => {
                let row = Row::Attempt(r.bytes("producer")?, r.rest());
                return Ok(Self { stream, row });
            }
            tag => {
                return Err(DecodeError::Unknown {
                    field: "state key",
                    value: tag.into(),
                });
            }
        };
        r.finish()?;
        Ok(Self { stream, row })
    }
}

/// In the order of the bytes.
impl Ord for RowKey {
    fn cmp(&self, other: &Self) -> Ordering {
        // A name in front of something else is behind its length.
        let by_length = |one: &Bytes, other: &Bytes| (one.len(), one).cmp(&(other.len(), other));
        let (one, another) = (&self.row, &other.row);
        let tags = (one.tag(), self.stream).cmp(&(another.tag(), other.stream));
        tags.then_with(|| match (one, another) {
            (Row::Entry(one), Row::Entry(other)) => one.cmp(other),
            (Row::Group(one), Row::Group(other)) => one.cmp(other),
            (Row::Consumer(one, a), Row::Consumer(other, b))
            | (Row::Attempt(one, a), Row::Attempt(other, b)) => {
                by_length(one, other).then_with(|| a.cmp(b))
            }
            (Row::Pending(one, a), Row::Pending(other, b)) => {
                by_length(one, other).then_with(|| a.cmp(b))
            }
            _ => Ordering::Equal,
        })
    }
}

impl PartialOrd for RowKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

pub(super) fn put_id(out: &mut Vec<u8>, id: MessageId) {
    out.put_u64(id.ms);
    out.put_u64(id.seq);
}

pub(super) fn read_id(r: &mut Reader, field: &'static str) -> Result<MessageId, DecodeError> {
    Ok(MessageId {
        ms: r.u64(field)?,
        seq: r.u64(field)?,
    })
}

/// A number that may be absent: a flag and the number, 0 without one.
pub(super) fn put_maybe(out: &mut Vec<u8>, number: Option<u64>) {
    out.put_u8(number.is_some().into());
    out.put_u64(number.unwrap_or(0));
}

pub(super) fn read_maybe(r: &mut Reader, field: &'static str) -> Result<Option<u64>, DecodeError> {
    let there = match r.u8(field)? {
        0 => false,
        1 => true,
        _ => return Err(DecodeError::Invalid { field }),
    };
    let number = r.u64(field)?;
    Ok(there.then_some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rows_are_in_the_order_of_their_bytes() {
        let names = ["", "a", "b", "aa", "ab", "zzz"].map(|name| Bytes::from(name.as_bytes()));
        let ids = [(0, 0), (0, 1), (1, 0), (256, 3)].map(|(ms, seq)| MessageId { ms, seq });
        let mut rows = vec![Row::Head];
        for (name, other) in names.iter().flat_map(|a| names.iter().map(move |b| (a, b))) {
            rows.push(Row::Consumer(name.clone(), other.clone()));
            rows.push(Row::Attempt(name.clone(), other.clone()));
        }
        for (name, id) in names.iter().flat_map(|a| ids.iter().map(move |b| (a, *b))) {
            rows.extend([
                Row::Entry(id),
                Row::Group(name.clone()),
                Row::Pending(name.clone(), id),
            ]);
        }
        let of = |stream| {
            move |row: &Row| RowKey {
                stream,
                row: row.clone(),
            }
        };
        let keys: Vec<RowKey> = ids.iter().flat_map(|id| rows.iter().map(of(*id))).collect();
        for (one, other) in keys.iter().flat_map(|a| keys.iter().map(move |b| (a, b))) {
            assert_eq!(
                one.cmp(other),
                one.encode().cmp(&other.encode()),
                "{one:?} {other:?}"
            );
        }
        let read: Result<Vec<RowKey>, DecodeError> = keys
            .iter()
            .map(|key| RowKey::decode(&key.encode()))
            .collect();
        assert_eq!(read, Ok(keys));
    }
}
