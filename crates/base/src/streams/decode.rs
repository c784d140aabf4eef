//! Bytes to operations on streams.

use super::tag;
use super::{
    After, Claim, Delivered, GroupStart, Keep, Limits, Nack, NewId, Producer, Refs, StreamOp, Trim,
};
use crate::codec::{DecodeError, Reader};
use crate::ids::MessageId;
use bytes::Bytes;

impl StreamOp {
    /// Reads one operation; names and values share the buffer.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not one that this build knows.
    pub fn decode(r: &mut Reader) -> Result<Self, DecodeError> {
        let tag = r.u8("stream operation tag")?;
        if tag == tag::READ {
            let limits = limits(r)?;
            let streams = list(r, |r| Ok((r.bytes("key")?, after(r)?)))?;
            return Ok(Self::Read { streams, limits });
        }
        if tag == tag::READ_GROUP {
            return read_group(r);
        }
        let key = r.bytes("key")?;
        Ok(match tag {
            tag::ADD => Self::Add {
                key,
                existing: flag(r, "existing")?,
                producer: producer(r)?,
                trim: trim(r)?,
                refs: refs(r)?,
                id: new_id(r)?,
                fields: fields(r)?,
            },
            tag::LEN => Self::Len(key),
            tag::RANGE => Self::Range {
                key,
                from: id(r)?,
                to: id(r)?,
                reverse: flag(r, "reverse")?,
                count: maybe(r)?,
            },
            tag::DEL => Self::Del {
                key,
                ids: list(r, id)?,
            },
            tag::DEL_EX => Self::DelEx {
                key,
                refs: refs(r)?,
                ids: list(r, id)?,
            },
            tag::TRIM => Self::Trim {
                key,
                trim: trim(r)?.ok_or(DecodeError::Invalid { field: "trim" })?,
                refs: refs(r)?,
            },
            tag::SET_ID => Self::SetId {
                key,
                last: id(r)?,
                added: maybe(r)?,
                max_deleted: maybe_id(r)?,
            },
            tag::CONFIGURE => Self::Configure {
                key,
                duration_s: maybe(r)?,
                max: maybe(r)?,
            },
            tag::INFO => Self::Info(key),
            tag::INFO_FULL => Self::InfoFull {
                key,
                count: r.u64("count")?,
            },
            tag::INFO_GROUPS => Self::InfoGroups(key),
            _ => return in_group(tag, key, r),
        })
    }
}

fn read_group(r: &mut Reader) -> Result<StreamOp, DecodeError> {
    let (group, consumer) = (r.bytes("group")?, r.bytes("consumer")?);
    let limits = limits(r)?;
    let no_ack = flag(r, "no ack")?;
    let claim_ms = maybe(r)?;
    let streams = list(r, |r| Ok((r.bytes("key")?, maybe_id(r)?)))?;
    Ok(StreamOp::ReadGroup {
        group,
        consumer,
        streams,
        limits,
        no_ack,
        claim_ms,
    })
}

fn in_group(tag: u8, key: Bytes, r: &mut Reader) -> Result<StreamOp, DecodeError> {
    if !(tag == tag::INFO_CONSUMERS
        || (tag::GROUP_CREATE..=tag::CONSUMER_DELETE).contains(&tag)
        || (tag::ACK..=tag::AUTO_CLAIM).contains(&tag))
    {
        return unknown("stream operation tag", tag);
    }
    let group = r.bytes("group")?;
    Ok(match tag {
        tag::INFO_CONSUMERS => StreamOp::InfoConsumers { key, group },
        tag::GROUP_CREATE => StreamOp::GroupCreate {
            key,
            group,
            start: start(r)?,
            make: flag(r, "make")?,
        },
        tag::GROUP_SET_ID => StreamOp::GroupSetId {
            key,
            group,
            start: start(r)?,
        },
        tag::GROUP_DESTROY => StreamOp::GroupDestroy { key, group },
        tag::CONSUMER_CREATE => StreamOp::ConsumerCreate {
            key,
            group,
            consumer: r.bytes("consumer")?,
        },
        tag::CONSUMER_DELETE => StreamOp::ConsumerDelete {
            key,
            group,
            consumer: r.bytes("consumer")?,
        },
        tag::ACK => StreamOp::Ack {
            key,
            group,
            ids: list(r, id)?,
        },
        tag::ACK_DEL => StreamOp::AckDel {
            key,
            group,
            refs: refs(r)?,
            ids: list(r, id)?,
        },
        tag::NACK => StreamOp::Nack {
            key,
            group,
            what: match r.u8("nack")? {
                0 => Nack::Silent,
                1 => Nack::Fail,
                2 => Nack::Fatal,
                other => return unknown("nack", other),
            },
            retry_count: maybe(r)?,
            force: flag(r, "force")?,
            ids: list(r, id)?,
        },
        tag::PENDING => StreamOp::Pending { key, group },
        tag::PENDING_RANGE => StreamOp::PendingRange {
            key,
            group,
            min_idle_ms: r.u64("min idle")?,
            from: id(r)?,
            to: id(r)?,
            count: r.u64("count")?,
            consumer: maybe_bytes(r)?,
        },
        tag::CLAIM => StreamOp::Claim {
            key,
            group,
            consumer: r.bytes("consumer")?,
            claim: claim(r)?,
            ids: list(r, id)?,
        },
        tag::AUTO_CLAIM => StreamOp::AutoClaim {
            key,
            group,
            consumer: r.bytes("consumer")?,
            min_idle_ms: r.u64("min idle")?,
            from: id(r)?,
            count: r.u64("count")?,
            just_id: flag(r, "just id")?,
        },
        other => return unknown("stream operation tag", other),
    })
}

fn unknown<T>(field: &'static str, value: u8) -> Result<T, DecodeError> {
    let value = value.into();
    Err(DecodeError::Unknown { field, value })
}

fn flag(r: &mut Reader, field: &'static str) -> Result<bool, DecodeError> {
    match r.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Invalid { field }),
    }
}

fn id(r: &mut Reader) -> Result<MessageId, DecodeError> {
    Ok(MessageId {
        ms: r.u64("id ms")?,
        seq: r.u64("id seq")?,
    })
}

fn maybe(r: &mut Reader) -> Result<Option<u64>, DecodeError> {
    flag(r, "has number")?.then(|| r.u64("number")).transpose()
}

fn maybe_id(r: &mut Reader) -> Result<Option<MessageId>, DecodeError> {
    flag(r, "has id")?.then(|| id(r)).transpose()
}

fn maybe_bytes(r: &mut Reader) -> Result<Option<Bytes>, DecodeError> {
    flag(r, "has bytes")?.then(|| r.bytes("bytes")).transpose()
}

/// Reads a `u32` count and as many; no more is allocated than what is read.
fn list<T>(
    r: &mut Reader,
    one: impl Fn(&mut Reader) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = r.u32("count")?;
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(one(r)?);
    }
    Ok(list)
}

fn fields(r: &mut Reader) -> Result<Vec<Bytes>, DecodeError> {
    let fields = list(r, |r| r.bytes("field"))?;
    if fields.is_empty() || fields.len() % 2 != 0 {
        return Err(DecodeError::Invalid { field: "fields" });
    }
    Ok(fields)
}

fn refs(r: &mut Reader) -> Result<Refs, DecodeError> {
    match r.u8("refs")? {
        0 => Ok(Refs::Keep),
        1 => Ok(Refs::Delete),
        2 => Ok(Refs::Acked),
        other => unknown("refs", other),
    }
}

fn producer(r: &mut Reader) -> Result<Option<Producer>, DecodeError> {
    let Some(pid) = maybe_bytes(r)? else {
        return Ok(None);
    };
    let iid = maybe_bytes(r)?;
    Ok(Some(Producer { pid, iid }))
}

fn trim(r: &mut Reader) -> Result<Option<Trim>, DecodeError> {
    let keep = match r.u8("trim")? {
        0 => return Ok(None),
        1 => Keep::Newest(r.u64("newest")?),
        2 => Keep::From(id(r)?),
        other => return unknown("trim", other),
    };
    let limit = maybe(r)?;
    Ok(Some(Trim { keep, limit }))
}

fn new_id(r: &mut Reader) -> Result<NewId, DecodeError> {
    match r.u8("new id")? {
        0 => Ok(NewId::Auto),
        1 => Ok(NewId::AutoSeq(r.u64("id ms")?)),
        2 => Ok(NewId::Exact(id(r)?)),
        other => unknown("new id", other),
    }
}

fn after(r: &mut Reader) -> Result<After, DecodeError> {
    match r.u8("after")? {
        0 => Ok(After::Id(id(r)?)),
        1 => Ok(After::Top),
        2 => Ok(After::ButLast),
        other => unknown("after", other),
    }
}

fn limits(r: &mut Reader) -> Result<Limits, DecodeError> {
    Ok(Limits {
        count: maybe(r)?,
        max_count: maybe(r)?,
        max_bytes: maybe(r)?,
    })
}

fn start(r: &mut Reader) -> Result<GroupStart, DecodeError> {
    Ok(GroupStart {
        after: maybe_id(r)?,
        entries_read: maybe(r)?,
    })
}

fn claim(r: &mut Reader) -> Result<Claim, DecodeError> {
    Ok(Claim {
        min_idle_ms: r.u64("min idle")?,
        delivered: match r.u8("delivered")? {
            0 => Delivered::Now,
            1 => Delivered::Ago(r.u64("ago")?.cast_signed()),
            2 => Delivered::At(r.u64("at")?.cast_signed()),
            other => return unknown("delivered", other),
        },
        retry_count: maybe(r)?,
        force: flag(r, "force")?,
        just_id: flag(r, "just id")?,
        last_id: maybe_id(r)?,
    })
}
