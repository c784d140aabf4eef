//! Operations on streams, as the log records them: after the parser, so that no syntax error can reach the log.
//!
//! Ids are [`MessageId`]s. Bounds of ranges are inclusive by then: what `(`, `-`, `+` and a missing sequence mean is
//! the parser's ([`id`]).
//!
//! ```text
//! stream operation = tag:u8 fields
//! (id = ms:u64 seq:u64; bytes = len:u32 then as many; list = count:u32 then as many; x? = 0x00 | 0x01 x)
//! 0x01 add              key:bytes existing:u8 producer trim refs:u8 new_id fields:list
//! 0x02 length           key:bytes
//! 0x03 range            key:bytes from:id to:id reverse:u8 count:u64?
//! 0x04 read             limits streams:list of (key:bytes after)
//! 0x05 delete           key:bytes ids:list
//! 0x06 delete ex        key:bytes refs:u8 ids:list
//! 0x07 trim             key:bytes trim refs:u8
//! 0x08 set id           key:bytes last:id added:u64? max_deleted:id?
//! 0x09 configure        key:bytes duration_s:u64? max:u64?
//! 0x0a info             key:bytes
//! 0x0b info full        key:bytes count:u64
//! 0x0c info groups      key:bytes
//! 0x0d info consumers   key:bytes group:bytes
//! 0x20 group create     key:bytes group:bytes after:id? read:u64? make:u8
//! 0x21 group set id     key:bytes group:bytes after:id? read:u64?
//! 0x22 group destroy    key:bytes group:bytes
//! 0x23 consumer create  key:bytes group:bytes consumer:bytes
//! 0x24 consumer delete  key:bytes group:bytes consumer:bytes
//! 0x30 read group       group:bytes consumer:bytes limits no_ack:u8 claim_ms:u64?
//!                       streams:list of (key:bytes after:id?)
//! 0x31 ack              key:bytes group:bytes ids:list
//! 0x32 ack delete       key:bytes group:bytes refs:u8 ids:list
//! 0x33 nack             key:bytes group:bytes what:u8 retry_count:u64? force:u8 ids:list
//! 0x34 pending          key:bytes group:bytes
//! 0x35 pending range    key:bytes group:bytes min_idle_ms:u64 from:id to:id count:u64 consumer:bytes?
//! 0x36 claim            key:bytes group:bytes consumer:bytes claim ids:list
//! 0x37 auto claim       key:bytes group:bytes consumer:bytes min_idle_ms:u64 from:id count:u64 just_id:u8
//!
//! producer = 0x00 | 0x01 pid:bytes iid:bytes?
//! trim     = 0x00 | 0x01 newest:u64 limit:u64? | 0x02 from:id limit:u64?
//! new_id   = 0x00 (*) | 0x01 ms:u64 | 0x02 id
//! after    = 0x00 id | 0x01 ($) | 0x02 (+)
//! limits   = count:u64? max_count:u64? max_bytes:u64?
//! claim    = min_idle_ms:u64 (0x00 | 0x01 ago:i64 | 0x02 at:i64) retry_count:u64? force:u8 just_id:u8 last_id:id?
//! ```
//!
//! Tag bytes are on disk: add, never reuse.

mod decode;
mod encode;
pub mod error;
pub mod id;
mod show;
mod tag;

pub use error::StreamError;

use crate::ids::MessageId;
use bytes::Bytes;

/// The id of an entry to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// `*`: the operation's own id, or the one after the stream's last if that is larger.
    Auto,
    /// `ms-*`: the next one in that millisecond.
    AutoSeq(u64),
    /// As given.
    Exact(MessageId),
}

/// What happens to what groups remember of an entry that is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refs {
    /// It stays: `KEEPREF`.
    #[default]
    Keep,
    /// It goes as well: `DELREF`.
    Delete,
    /// Only entries are deleted that every group has been given and has acknowledged: `ACKED`.
    Acked,
}

/// Up to where a stream is trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The newest so many: `MAXLEN`.
    Newest(u64),
    /// From an id on: `MINID`.
    From(MessageId),
}

/// How a stream is trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// What is kept.
    pub keep: Keep,
    /// At most how many are deleted at once: `LIMIT`; `None` for all.
    pub limit: Option<u64>,
}

/// Who produces an entry, so that a second attempt is known as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The producer.
    pub pid: Bytes,
    /// The attempt: `IDMP`; without one, the fields and values are it: `IDMPAUTO`.
    pub iid: Option<Bytes>,
}

/// After what is read by `XREAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// An id.
    Id(MessageId),
    /// What there is now: `$`.
    Top,
    /// All but the last entry: `+`.
    ButLast,
}

/// How much is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// At most so many entries of each stream: `COUNT`.
    pub count: Option<u64>,
    /// At most so many entries of all streams: `MAXCOUNT`.
    pub max_count: Option<u64>,
    /// At most so many bytes of all streams, but one entry in any case: `MAXSIZE`.
    pub max_bytes: Option<u64>,
}

/// What became of a message that is given back: `XNACK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nack {
    /// It was not tried: the delivery does not count.
    Silent,
    /// It failed.
    Fail,
    /// It will always fail.
    Fatal,
}

/// What a group begins with, or is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupStart {
    /// After which id; `None` for the stream's last: `$`.
    pub after: Option<MessageId>,
    /// How many entries it counts as read: `ENTRIESREAD`.
    pub entries_read: Option<u64>,
}

/// How pending messages are claimed: `XCLAIM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Only what has been pending for so many milliseconds.
    pub min_idle_ms: u64,
    /// When it was delivered.
    pub delivered: Delivered,
    /// How often it was delivered: `RETRYCOUNT`.
    pub retry_count: Option<u64>,
    /// Also what is not pending: `FORCE`.
    pub force: bool,
    /// Answer with ids, and do not count it as a delivery: `JUSTID`.
    pub just_id: bool,
    /// What the group has been given at least: `LASTID`.
    pub last_id: Option<MessageId>,
}

/// When a claimed message counts as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// Now.
    Now,
    /// So many milliseconds ago: `IDLE`.
    Ago(i64),
    /// At that time: `TIME`.
    At(i64),
}

/// One operation on streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamOp {
    /// `XADD`.
    Add {
        /// Which stream.
        key: Bytes,
        /// Not if there is none: `NOMKSTREAM`.
        existing: bool,
        /// Who produces it, for the second attempt.
        producer: Option<Producer>,
        /// What is kept of the stream.
        trim: Option<Trim>,
        /// What trimming does to groups.
        refs: Refs,
        /// Its id.
        id: NewId,
        /// Field, value, field, value, …
        fields: Vec<Bytes>,
    },
    /// `XLEN`.
    Len(Bytes),
    /// `XRANGE`, `XREVRANGE`.
    Range {
        /// Which stream.
        key: Bytes,
        /// From, the smaller id.
        from: MessageId,
        /// To, the larger id.
        to: MessageId,
        /// From the end.
        reverse: bool,
        /// At most so many.
        count: Option<u64>,
    },
    /// `XREAD`.
    Read {
        /// Which streams, after what.
        streams: Vec<(Bytes, After)>,
        /// How much.
        limits: Limits,
    },
    /// `XDEL`.
    Del {
        /// Which stream.
        key: Bytes,
        /// Which entries.
        ids: Vec<MessageId>,
    },
    /// `XDELEX`.
    DelEx {
        /// Which stream.
        key: Bytes,
        /// What happens to groups.
        refs: Refs,
        /// Which entries.
        ids: Vec<MessageId>,
    },
    /// `XTRIM`.
    Trim {
        /// Which stream.
        key: Bytes,
        /// To what.
        trim: Trim,
        /// What happens to groups.
        refs: Refs,
    },
    /// `XSETID`.
    SetId {
        /// Which stream.
        key: Bytes,
        /// Its last id.
        last: MessageId,
        /// How many entries it has ever had.
        added: Option<u64>,
        /// The largest id that was deleted.
        max_deleted: Option<MessageId>,
    },
    /// `XCFGSET`.
    Configure {
        /// Which stream.
        key: Bytes,
        /// For how many seconds a second attempt is known: `IDMP-DURATION`.
        duration_s: Option<u64>,
        /// Of how many entries of each producer: `IDMP-MAXSIZE`.
        max: Option<u64>,
    },
    /// `XINFO STREAM`.
    Info(Bytes),
    /// `XINFO STREAM FULL`.
    InfoFull {
        /// Which stream.
        key: Bytes,
        /// At most so many entries and pending messages of each list; 0 for all.
        count: u64,
    },
    /// `XINFO GROUPS`.
    InfoGroups(Bytes),
    /// `XINFO CONSUMERS`.
    InfoConsumers {
        /// Which stream.
        key: Bytes,
        /// Which group.
        group: Bytes,
    },
    /// `XGROUP CREATE`.
    GroupCreate {
        /// Which stream.
        key: Bytes,
        /// Which group.
        group: Bytes,
        /// With what it begins.
        start: GroupStart,
        /// With the stream, if there is none: `MKSTREAM`.
        make: bool,
    },
    /// `XGROUP SETID`.
    GroupSetId {
        /// Which stream.
        key: Bytes,
        /// Which group.
        group: Bytes,
        /// With what it goes on.
        start: GroupStart,
    },
    /// `XGROUP DESTROY`.
    GroupDestroy {
        /// Which stream.
        key: Bytes,
        /// Which group.
        group: Bytes,
    },
    /// `XGROUP CREATECONSUMER`.
    ConsumerCreate {
        /// Which stream.
        key: Bytes,
        /// Which group.
        group: Bytes,
        /// Which consumer.
        consumer: Bytes,
    },
    /// `XGROUP DELCONSUMER`.
    ConsumerDelete {
        /// Which stream.
        key: Bytes,
        /// Which group.
        group: Bytes,
        /// Which consumer.
        consumer: Bytes,
    },
    /// `XREADGROUP`.
    ReadGroup {
        /// In which group, that each stream must have.
        group: Bytes,
        /// For which consumer.
        consumer: Bytes,
        /// Which streams: what is new (`>`), or what the consumer has pending after an id.
        streams: Vec<(Bytes, Option<MessageId>)>,
        /// How much.
        limits: Limits,
        /// What is new is not pending afterwards: `NOACK`.
        no_ack: bool,
        /// First what has been pending for so many milliseconds: `CLAIM`.
        claim_ms: Option<u64>,
    },
    /// `XACK`.
    Ack {
        /// Which stream.
        key: Bytes,
        /// Which group.
        group: Bytes,
        /// Which messages.
        ids: Vec<MessageId>,
    },
    /// `XACKDEL`.
    AckDel {
        /// Which stream.
        key: Bytes,
        /// Which group.
        group: Bytes,
        /// What happens to the other groups.
        refs: Refs,
        /// Which messages.
        ids: Vec<MessageId>,
    },
    /// `XNACK`.
    Nack {
        /// Which stream.
        key: Bytes,
        /// Which group.
        group: Bytes,
        /// What became of them.
        what: Nack,
        /// Which messages.
        ids: Vec<MessageId>,
        /// How often they were delivered: `RETRYCOUNT`.
        retry_count: Option<u64>,
        /// Also what is not pending: `FORCE`.
        force: bool,
    },
    /// `XPENDING` without a range.
    Pending {
        /// Which stream.
        key: Bytes,
        /// Which group.
        group: Bytes,
    },
    /// `XPENDING` with a range.
    PendingRange {
        /// Which stream.
        key: Bytes,
        /// Which group.
        group: Bytes,
        /// Only what has been pending for so many milliseconds: `IDLE`.
        min_idle_ms: u64,
        /// From.
        from: MessageId,
        /// To.
        to: MessageId,
        /// At most so many.
        count: u64,
        /// Of that consumer only.
        consumer: Option<Bytes>,
    },
    /// `XCLAIM`.
    Claim {
        /// Which stream.
        key: Bytes,
        /// Which group.
        group: Bytes,
        /// For which consumer.
        consumer: Bytes,
        /// Which messages.
        ids: Vec<MessageId>,
        /// How.
        claim: Claim,
    },
    /// `XAUTOCLAIM`.
    AutoClaim {
        /// Which stream.
        key: Bytes,
        /// Which group.
        group: Bytes,
        /// For which consumer.
        consumer: Bytes,
        /// Only what has been pending for so many milliseconds.
        min_idle_ms: u64,
        /// From.
        from: MessageId,
        /// At most so many.
        count: u64,
        /// Answer with ids, and do not count it as a delivery.
        just_id: bool,
    },
}

impl StreamOp {
    /// Returns whether it changes nothing, whatever there is: it can be answered without the log.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::Len(_)
                | Self::Range { .. }
                | Self::Read { .. }
                | Self::Info(_)
                | Self::InfoFull { .. }
                | Self::InfoGroups(_)
                | Self::InfoConsumers { .. }
                | Self::Pending { .. }
                | Self::PendingRange { .. }
        )
    }

    /// Returns whether it may make streams larger: what `maxmemory` refuses.
    pub fn may_grow(&self) -> bool {
        matches!(
            self,
            Self::Add { .. }
                | Self::GroupCreate { .. }
                | Self::ConsumerCreate { .. }
                | Self::ReadGroup { .. }
                | Self::Claim { .. }
                | Self::AutoClaim { .. }
        )
    }

    /// Returns the key; `None` for a read of several streams.
    pub fn key(&self) -> Option<&Bytes> {
        match self {
            Self::Add { key, .. }
            | Self::Len(key)
            | Self::Range { key, .. }
            | Self::Del { key, .. }
            | Self::DelEx { key, .. }
            | Self::Trim { key, .. }
            | Self::SetId { key, .. }
            | Self::Configure { key, .. }
            | Self::Info(key)
            | Self::InfoFull { key, .. }
            | Self::InfoGroups(key)
            | Self::InfoConsumers { key, .. }
            | Self::GroupCreate { key, .. }
            | Self::GroupSetId { key, .. }
            | Self::GroupDestroy { key, .. }
            | Self::ConsumerCreate { key, .. }
            | Self::ConsumerDelete { key, .. }
            | Self::Ack { key, .. }
            | Self::AckDel { key, .. }
            | Self::Nack { key, .. }
            | Self::Pending { key, .. }
            | Self::PendingRange { key, .. }
            | Self::Claim { key, .. }
            | Self::AutoClaim { key, .. } => Some(key),
            Self::Read { .. } | Self::ReadGroup { .. } => None,
        }
    }
}
