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

const HEAD: u8 = 0x0a;
const ENTRY: u8 = 0x0b;
const GROUP: u8 = 0x0c;
const CONSUMER: u8 = 0x0d;
const PENDING: u8 = 0x0e;
const ATTEMPT: u8 = 0x0f;

/// Names a row of one stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
        let tag = match &self.row {
            Row::Head => HEAD,
            Row::Entry(_) => ENTRY,
            Row::Group(_) => GROUP,
            Row::Consumer(..) => CONSUMER,
            Row::Pending(..) => PENDING,
            Row::Attempt(..) => ATTEMPT,
        };
        let mut out = vec![tag];
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
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.encode().cmp(&other.encode())
    }
}

impl PartialOrd for RowKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
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
