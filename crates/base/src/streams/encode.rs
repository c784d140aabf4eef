//! Operations on streams to bytes.

use super::tag;
use super::{
    After, Claim, Delivered, GroupStart, Keep, Limits, Nack, NewId, Producer, Refs, StreamOp, Trim,
};
use crate::codec::Put;
use crate::ids::MessageId;
use bytes::Bytes;

impl StreamOp {
    /// Puts the operation's bytes.
    pub fn put(&self, out: &mut impl Put) {
        match self {
            Self::Add {
                key,
                existing,
                producer,
                trim,
                refs,
                id,
                fields,
            } => {
                start(out, tag::ADD, key);
                out.u8((*existing).into());
                put_producer(out, producer.as_ref());
                put_trim(out, trim.as_ref());
                out.u8(refs_byte(*refs));
                put_new_id(out, *id);
                put_list(out, fields);
            }
            Self::Len(key) => start(out, tag::LEN, key),
            Self::Range {
                key,
                from,
                to,
                reverse,
                count,
            } => {
                start(out, tag::RANGE, key);
                put_id(out, *from);
                put_id(out, *to);
                out.u8((*reverse).into());
                put_maybe(out, *count);
            }
            Self::Read { streams, limits } => {
                out.u8(tag::READ);
                put_limits(out, *limits);
                put_count(out, streams.len());
                for (key, after) in streams {
                    out.bytes(key);
                    put_after(out, *after);
                }
            }
            Self::Del { key, ids } => {
                start(out, tag::DEL, key);
                put_ids(out, ids);
            }
            Self::DelEx { key, refs, ids } => {
                start(out, tag::DEL_EX, key);
                out.u8(refs_byte(*refs));
                put_ids(out, ids);
            }
            Self::Trim { key, trim, refs } => {
                start(out, tag::TRIM, key);
                put_trim(out, Some(trim));
                out.u8(refs_byte(*refs));
            }
            Self::SetId {
                key,
                last,
                added,
                max_deleted,
            } => {
                start(out, tag::SET_ID, key);
                put_id(out, *last);
                put_maybe(out, *added);
                put_maybe_id(out, *max_deleted);
            }
            Self::Configure {
                key,
                duration_s,
                max,
            } => {
                start(out, tag::CONFIGURE, key);
                put_maybe(out, *duration_s);
                put_maybe(out, *max);
            }
            Self::Info(key) => start(out, tag::INFO, key),
            Self::InfoFull { key, count } => {
                start(out, tag::INFO_FULL, key);
                out.u64(*count);
            }
            Self::InfoGroups(key) => start(out, tag::INFO_GROUPS, key),
            Self::InfoConsumers { key, group } => {
                start_group(out, tag::INFO_CONSUMERS, key, group);
            }
            Self::GroupCreate { .. }
            | Self::GroupSetId { .. }
            | Self::GroupDestroy { .. }
            | Self::ConsumerCreate { .. }
            | Self::ConsumerDelete { .. } => self.encode_group(out),
            Self::ReadGroup { .. }
            | Self::Ack { .. }
            | Self::AckDel { .. }
            | Self::Nack { .. }
            | Self::Pending { .. }
            | Self::PendingRange { .. }
            | Self::Claim { .. }
            | Self::AutoClaim { .. } => self.encode_pending(out),
        }
    }

    fn encode_group(&self, out: &mut impl Put) {
        match self {
            Self::GroupCreate {
                key,
                group,
                start,
                make,
            } => {
                start_group(out, tag::GROUP_CREATE, key, group);
                put_start(out, *start);
                out.u8((*make).into());
            }
            Self::GroupSetId { key, group, start } => {
                start_group(out, tag::GROUP_SET_ID, key, group);
                put_start(out, *start);
            }
            Self::GroupDestroy { key, group } => start_group(out, tag::GROUP_DESTROY, key, group),
            Self::ConsumerCreate {
                key,
                group,
                consumer,
            } => {
                start_group(out, tag::CONSUMER_CREATE, key, group);
                out.bytes(consumer);
            }
            Self::ConsumerDelete {
                key,
                group,
                consumer,
            } => {
                start_group(out, tag::CONSUMER_DELETE, key, group);
                out.bytes(consumer);
            }
            other => unreachable!("{other:?} is no operation on a group"),
        }
    }

    fn encode_pending(&self, out: &mut impl Put) {
        match self {
            Self::ReadGroup {
                group,
                consumer,
                streams,
                limits,
                no_ack,
                claim_ms,
            } => {
                start_group(out, tag::READ_GROUP, group, consumer);
                put_limits(out, *limits);
                out.u8((*no_ack).into());
                put_maybe(out, *claim_ms);
                put_count(out, streams.len());
                for (key, after) in streams {
                    out.bytes(key);
                    put_maybe_id(out, *after);
                }
            }
            Self::Ack { key, group, ids } => {
                start_group(out, tag::ACK, key, group);
                put_ids(out, ids);
            }
            Self::AckDel {
                key,
                group,
                refs,
                ids,
            } => {
                start_group(out, tag::ACK_DEL, key, group);
                out.u8(refs_byte(*refs));
                put_ids(out, ids);
            }
            Self::Nack {
                key,
                group,
                what,
                ids,
                retry_count,
                force,
            } => {
                start_group(out, tag::NACK, key, group);
                out.u8(match what {
                    Nack::Silent => 0,
                    Nack::Fail => 1,
                    Nack::Fatal => 2,
                });
                put_maybe(out, *retry_count);
                out.u8((*force).into());
                put_ids(out, ids);
            }
            Self::Pending { key, group } => start_group(out, tag::PENDING, key, group),
            Self::PendingRange {
                key,
                group,
                min_idle_ms,
                from,
                to,
                count,
                consumer,
            } => {
                start_group(out, tag::PENDING_RANGE, key, group);
                out.u64(*min_idle_ms);
                put_id(out, *from);
                put_id(out, *to);
                out.u64(*count);
                put_maybe_bytes(out, consumer.as_ref());
            }
            Self::Claim {
                key,
                group,
                consumer,
                ids,
                claim,
            } => {
                start_group(out, tag::CLAIM, key, group);
                out.bytes(consumer);
                put_claim(out, claim);
                put_ids(out, ids);
            }
            Self::AutoClaim {
                key,
                group,
                consumer,
                min_idle_ms,
                from,
                count,
                just_id,
            } => {
                start_group(out, tag::AUTO_CLAIM, key, group);
                out.bytes(consumer);
                out.u64(*min_idle_ms);
                put_id(out, *from);
                out.u64(*count);
                out.u8((*just_id).into());
            }
            other => unreachable!("{other:?} is no operation on what is pending"),
        }
    }
}

fn start(out: &mut impl Put, tag: u8, key: &[u8]) {
    out.u8(tag);
    out.bytes(key);
}

fn start_group(out: &mut impl Put, tag: u8, first: &[u8], second: &[u8]) {
    start(out, tag, first);
    out.bytes(second);
}

fn put_id(out: &mut impl Put, id: MessageId) {
    out.u64(id.ms);
    out.u64(id.seq);
}

fn put_count(out: &mut impl Put, count: usize) {
    out.u32(u32::try_from(count).expect("limits keep every list short"));
}

fn put_ids(out: &mut impl Put, ids: &[MessageId]) {
    put_count(out, ids.len());
    ids.iter().for_each(|id| put_id(out, *id));
}

fn put_list(out: &mut impl Put, list: &[Bytes]) {
    put_count(out, list.len());
    list.iter().for_each(|bytes| out.bytes(bytes));
}

fn put_maybe(out: &mut impl Put, number: Option<u64>) {
    out.u8(number.is_some().into());
    if let Some(number) = number {
        out.u64(number);
    }
}

fn put_maybe_id(out: &mut impl Put, id: Option<MessageId>) {
    out.u8(id.is_some().into());
    if let Some(id) = id {
        put_id(out, id);
    }
}

fn put_maybe_bytes(out: &mut impl Put, bytes: Option<&Bytes>) {
    out.u8(bytes.is_some().into());
    if let Some(bytes) = bytes {
        out.bytes(bytes);
    }
}

fn refs_byte(refs: Refs) -> u8 {
    match refs {
        Refs::Keep => 0,
        Refs::Delete => 1,
        Refs::Acked => 2,
    }
}

fn put_producer(out: &mut impl Put, producer: Option<&Producer>) {
    put_maybe_bytes(out, producer.map(|producer| &producer.pid));
    if let Some(producer) = producer {
        put_maybe_bytes(out, producer.iid.as_ref());
    }
}

fn put_trim(out: &mut impl Put, trim: Option<&Trim>) {
    match trim.map(|trim| trim.keep) {
        None => return out.u8(0),
        Some(Keep::Newest(count)) => {
            out.u8(1);
            out.u64(count);
        }
        Some(Keep::From(id)) => {
            out.u8(2);
            put_id(out, id);
        }
    }
    put_maybe(out, trim.and_then(|trim| trim.limit));
}

fn put_new_id(out: &mut impl Put, id: NewId) {
    match id {
        NewId::Auto => out.u8(0),
        NewId::AutoSeq(ms) => {
            out.u8(1);
            out.u64(ms);
        }
        NewId::Exact(id) => {
            out.u8(2);
            put_id(out, id);
        }
    }
}

fn put_after(out: &mut impl Put, after: After) {
    match after {
        After::Id(id) => {
            out.u8(0);
            put_id(out, id);
        }
        After::Top => out.u8(1),
        After::ButLast => out.u8(2),
    }
}

fn put_limits(out: &mut impl Put, limits: Limits) {
    put_maybe(out, limits.count);
    put_maybe(out, limits.max_count);
    put_maybe(out, limits.max_bytes);
}

fn put_start(out: &mut impl Put, start: GroupStart) {
    put_maybe_id(out, start.after);
    put_maybe(out, start.entries_read);
}

fn put_claim(out: &mut impl Put, claim: &Claim) {
    out.u64(claim.min_idle_ms);
    match claim.delivered {
        Delivered::Now => out.u8(0),
        Delivered::Ago(ms) => {
            out.u8(1);
            out.i64(ms);
        }
        Delivered::At(ms) => {
            out.u8(2);
            out.i64(ms);
        }
    }
    put_maybe(out, claim.retry_count);
    out.u8(claim.force.into());
    out.u8(claim.just_id.into());
    put_maybe_id(out, claim.last_id);
}
