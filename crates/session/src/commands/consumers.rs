//! Groups of consumers of streams (<https://redis.io/docs/latest/develop/data-types/streams/#consumer-groups>).

use super::streams::{self, Reading, count, counted_ids, ids, is, op, strict_id, syntax};
use super::strings::number;
use super::{Args, Command, required};
use crate::errors::{self, ErrorText};
use bytes::Bytes;
use corgi_base::MessageId;
use corgi_base::streams::{
    Claim, Delivered, GroupStart, Nack, StreamOp,
    id::{self, End},
};

/// How many messages `XAUTOCLAIM` claims if it is not told, and the most that it takes.
const AUTO_CLAIM_COUNT: u64 = 100;
const AUTO_CLAIM_COUNT_MAX: i64 = i64::MAX / 16;

const XGROUP_HELP: &[&str] = &[
    "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CREATE <key> <groupname> <id|$> [option]",
    "    Make a group. Options are:",
    "    * MKSTREAM",
    "      Make the stream if it is not there.",
    "    * ENTRIESREAD entries_read",
    "      How many entries the group counts as read.",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Make a consumer in a group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove a consumer from a group.",
    "DESTROY <key> <groupname>",
    "    Remove a group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set what a group has been given.",
];

/// `XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD n]`.
pub(crate) fn parse_xgroup_create(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, group, after) = (required(args), required(args), required(args));
    let (make, entries_read) = group_options(args, "CREATE", true)?;
    let after = match &after[..] {
        b"$" => None,
        id => Some(strict_id(id)?),
    };
    let start = GroupStart {
        after,
        entries_read,
    };
    op(StreamOp::GroupCreate {
        key,
        group,
        start,
        make,
    })
}

/// `XGROUP SETID key group id|$ [ENTRIESREAD n]`.
pub(crate) fn parse_xgroup_setid(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, group, after) = (required(args), required(args), required(args));
    let (_, entries_read) = group_options(args, "SETID", false)?;
    let after = match &after[..] {
        b"$" => None,
        id => match id::parse_end(id, 0) {
            Some(End::Inclusive(id)) => Some(id),
            Some(End::Exclusive(_)) | None => return Err(Bytes::from_static(errors::STREAM_ID)),
        },
    };
    let start = GroupStart {
        after,
        entries_read,
    };
    op(StreamOp::GroupSetId { key, group, start })
}

fn group_options(
    args: &mut Args,
    subcommand: &str,
    creates: bool,
) -> Result<(bool, Option<u64>), ErrorText> {
    let (mut make, mut entries_read) = (false, None);
    while let Some(arg) = args.next() {
        if creates && is(&arg, "MKSTREAM") {
            make = true;
        } else if is(&arg, "ENTRIESREAD") && args.len() > 0 {
            entries_read = match number(&required(args))? {
                -1 => None,
                entries => {
                    let entries = u64::try_from(entries);
                    let entries =
                        entries.map_err(|_negative| Bytes::from_static(errors::ENTRIES_READ))?;
                    Some(entries)
                }
            };
        } else {
            return Err(errors::subcommand_arguments(
                "xgroup",
                subcommand.as_bytes(),
            ));
        }
    }
    Ok((make, entries_read))
}

/// `XGROUP DESTROY key group`.
pub(crate) fn parse_xgroup_destroy(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, group) = (required(args), required(args));
    op(StreamOp::GroupDestroy { key, group })
}

/// `XGROUP CREATECONSUMER key group consumer`.
pub(crate) fn parse_xgroup_createconsumer(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, group, consumer) = (required(args), required(args), required(args));
    op(StreamOp::ConsumerCreate {
        key,
        group,
        consumer,
    })
}

/// `XGROUP DELCONSUMER key group consumer`.
pub(crate) fn parse_xgroup_delconsumer(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, group, consumer) = (required(args), required(args), required(args));
    op(StreamOp::ConsumerDelete {
        key,
        group,
        consumer,
    })
}

pub(crate) fn parse_xgroup_help(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Help(XGROUP_HELP))
}

/// `XREADGROUP GROUP group consumer [COUNT n] [MAXCOUNT n] [MAXSIZE n] [BLOCK ms] [CLAIM ms] [NOACK] STREAMS key …
/// id …`.
pub(crate) fn parse_xreadgroup(args: &mut Args) -> Result<Command, ErrorText> {
    let reading = Reading::read(args, true)?;
    let Some((group, consumer)) = reading.group else {
        return Err(Bytes::from_static(errors::MISSING_GROUP));
    };
    let after = |(key, after): (Bytes, Bytes)| {
        let after = match &after[..] {
            b">" => None,
            b"$" => return Err(Bytes::from_static(errors::TOP_IN_XREADGROUP)),
            b"+" => return Err(Bytes::from_static(errors::LAST_IN_XREADGROUP)),
            id => Some(strict_id(id)?),
        };
        Ok((key, after))
    };
    let streams: Result<Vec<_>, ErrorText> = reading.streams.into_iter().map(after).collect();
    let read = StreamOp::ReadGroup {
        group,
        consumer,
        streams: streams?,
        limits: reading.limits,
        no_ack: reading.no_ack,
        claim_ms: reading.claim_ms,
    };
    streams::maybe_wait(read, reading.block_ms)
}

/// `XACK key group id …`.
pub(crate) fn parse_xack(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, group, ids) = (required(args), required(args), ids(args)?);
    op(StreamOp::Ack { key, group, ids })
}

/// `XACKDEL key group [KEEPREF|DELREF|ACKED] IDS n id …`.
pub(crate) fn parse_xackdel(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, group) = (required(args), required(args));
    let (refs, ids) = streams::refs_and_ids(args)?;
    op(StreamOp::AckDel {
        key,
        group,
        refs,
        ids,
    })
}

/// `XNACK key group SILENT|FAIL|FATAL IDS n id … [RETRYCOUNT n] [FORCE]`.
pub(crate) fn parse_xnack(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, group, word) = (required(args), required(args), required(args));
    let what = match &word.to_ascii_uppercase()[..] {
        b"SILENT" => Nack::Silent,
        b"FAIL" => Nack::Fail,
        b"FATAL" => Nack::Fatal,
        _ => return syntax(),
    };
    let (mut found, mut retry_count, mut force) = (None, None, false);
    while let Some(arg) = args.next() {
        if is(&arg, "IDS") && found.is_none() && args.len() > 0 {
            found = Some(counted_ids(args)?);
        } else if is(&arg, "RETRYCOUNT") && args.len() > 0 {
            let count = u64::try_from(number(&required(args))?);
            let count = count.map_err(|_negative| Bytes::from_static(errors::RETRY_COUNT))?;
            retry_count = Some(count);
        } else if is(&arg, "FORCE") {
            force = true;
        } else {
            return syntax();
        }
    }
    let Some(ids) = found else {
        return syntax();
    };
    op(StreamOp::Nack {
        key,
        group,
        what,
        ids,
        retry_count,
        force,
    })
}

/// `XPENDING key group [[IDLE ms] start end count [consumer]]`.
pub(crate) fn parse_xpending(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, group) = (required(args), required(args));
    let rest = args.len();
    if rest == 0 {
        return op(StreamOp::Pending { key, group });
    }
    if !(3..=6).contains(&rest) {
        return syntax();
    }
    let mut first = required(args);
    let mut min_idle_ms = 0;
    if is(&first, "IDLE") {
        min_idle_ms = count(&required(args))?;
        if rest < 5 {
            return syntax();
        }
        first = required(args);
    }
    let (last, most) = (required(args), count(&required(args))?);
    let (from, to) = (streams::start(&first)?, streams::end(&last)?);
    op(StreamOp::PendingRange {
        key,
        group,
        min_idle_ms,
        from,
        to,
        count: most,
        consumer: args.next(),
    })
}

/// Reads a number for which there is an error of its own.
fn option(arg: &[u8], error: &'static [u8]) -> Result<i64, ErrorText> {
    super::integer(arg).ok_or_else(|| Bytes::from_static(error))
}

/// `XCLAIM key group consumer min-idle-time id … [IDLE ms] [TIME ms] [RETRYCOUNT n] [FORCE] [JUSTID] [LASTID id]`.
pub(crate) fn parse_xclaim(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, group, consumer) = (required(args), required(args), required(args));
    let min_idle = option(&required(args), errors::XCLAIM_MIN_IDLE)?;
    let mut claim = Claim {
        min_idle_ms: u64::try_from(min_idle).unwrap_or(0),
        delivered: Delivered::Now,
        retry_count: None,
        force: false,
        just_id: false,
        last_id: None,
    };
    let mut ids: Vec<MessageId> = Vec::new();
    // Ids come first: what is none begins the options.
    while let Some(id) = args.as_slice().first().and_then(|arg| id::parse(arg, 0)) {
        args.next();
        ids.push(id);
    }
    while let Some(arg) = args.next() {
        let more = args.len() > 0;
        let mut value = || required(args);
        match &arg.to_ascii_uppercase()[..] {
            b"FORCE" => claim.force = true,
            b"JUSTID" => claim.just_id = true,
            b"IDLE" if more => {
                claim.delivered = Delivered::Ago(option(&value(), errors::XCLAIM_IDLE)?);
            }
            b"TIME" if more => {
                claim.delivered = Delivered::At(option(&value(), errors::XCLAIM_TIME)?);
            }
            b"RETRYCOUNT" if more => {
                let count = option(&value(), errors::XCLAIM_RETRYCOUNT)?;
                claim.retry_count = u64::try_from(count).ok();
            }
            b"LASTID" if more => claim.last_id = Some(strict_id(&value())?),
            _ => return Err(errors::xclaim_option(&arg)),
        }
    }
    op(StreamOp::Claim {
        key,
        group,
        consumer,
        ids,
        claim,
    })
}

/// `XAUTOCLAIM key group consumer min-idle-time start [COUNT n] [JUSTID]`.
pub(crate) fn parse_xautoclaim(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, group, consumer) = (required(args), required(args), required(args));
    let min_idle = option(&required(args), errors::XAUTOCLAIM_MIN_IDLE)?;
    let from = streams::start(&required(args))?;
    let (mut most, mut just_id) = (AUTO_CLAIM_COUNT, false);
    while let Some(arg) = args.next() {
        if is(&arg, "COUNT") && args.len() > 0 {
            let count = super::integer(&required(args));
            let count = count.filter(|count| (1..=AUTO_CLAIM_COUNT_MAX).contains(count));
            let count = count.ok_or(Bytes::from_static(errors::XAUTOCLAIM_COUNT))?;
            most = count.unsigned_abs();
        } else if is(&arg, "JUSTID") {
            just_id = true;
        } else {
            return syntax();
        }
    }
    op(StreamOp::AutoClaim {
        key,
        group,
        consumer,
        min_idle_ms: u64::try_from(min_idle).unwrap_or(0),
        from,
        count: most,
        just_id,
    })
}
