//! Streams (<https://redis.io/docs/latest/develop/data-types/streams/>). What concerns groups is in [`super::consumers`].

use super::strings::number;
use super::{Args, Command, required};
use crate::errors::{self, ErrorText};
use bytes::Bytes;
use corgi_base::streams::{
    After, Keep, Limits, NewId, Producer, Refs, StreamOp, Trim,
    id::{self, End},
};
use corgi_base::{KeyOp, MessageId};

/// How many entries `XINFO STREAM FULL` shows if it is not told.
const FULL_COUNT: u64 = 10;
/// The most that `XCFGSET` takes.
const DURATION_MAX: i64 = 86_400;
const ATTEMPTS_MAX: i64 = 10_000;

const XINFO_HELP: &[&str] = &[
    "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CONSUMERS <key> <groupname>",
    "    Show the consumers of a group.",
    "GROUPS <key>",
    "    Show the groups of a stream.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show a stream.",
];

pub(super) fn op(op: StreamOp) -> Result<Command, ErrorText> {
    Ok(Command::Keys(KeyOp::Stream(Box::new(op))))
}

pub(super) fn syntax<T>() -> Result<T, ErrorText> {
    Err(Bytes::from_static(errors::SYNTAX))
}

/// Whether an argument is this word, in any case.
pub(super) fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// Reads an id.
pub(super) fn strict_id(arg: &[u8]) -> Result<MessageId, ErrorText> {
    id::parse(arg, 0).ok_or(Bytes::from_static(errors::STREAM_ID))
}

/// Reads ids, all that are left.
pub(super) fn ids(args: &mut Args) -> Result<Vec<MessageId>, ErrorText> {
    args.map(|arg| strict_id(&arg)).collect()
}

/// Reads a number that may be absent, which a negative one means.
pub(super) fn count(arg: &Bytes) -> Result<u64, ErrorText> {
    Ok(u64::try_from(number(arg)?).unwrap_or(0))
}

/// Reads the start of a range.
pub(super) fn start(arg: &[u8]) -> Result<MessageId, ErrorText> {
    match id::parse_end(arg, 0).ok_or(Bytes::from_static(errors::STREAM_ID))? {
        End::Inclusive(id) => Ok(id),
        End::Exclusive(id) => id::next(id).ok_or(Bytes::from_static(errors::INTERVAL_START)),
    }
}

/// Reads the end of a range.
pub(super) fn end(arg: &[u8]) -> Result<MessageId, ErrorText> {
    match id::parse_end(arg, u64::MAX).ok_or(Bytes::from_static(errors::STREAM_ID))? {
        End::Inclusive(id) => Ok(id),
        End::Exclusive(id) => id::previous(id).ok_or(Bytes::from_static(errors::INTERVAL_END)),
    }
}

/// Reads what becomes of what groups remember; `None` for another word.
pub(super) fn refs(word: &[u8]) -> Option<Refs> {
    let words = [
        ("KEEPREF", Refs::Keep),
        ("DELREF", Refs::Delete),
        ("ACKED", Refs::Acked),
    ];
    let found = words.into_iter().find(|(name, _)| is(word, name));
    found.map(|(_, refs)| refs)
}

/// Reads `[KEEPREF|DELREF|ACKED] IDS n id …`, in any order of the two.
pub(super) fn refs_and_ids(args: &mut Args) -> Result<(Refs, Vec<MessageId>), ErrorText> {
    let (mut chosen, mut found) = (None, None);
    while let Some(arg) = args.next() {
        if let Some(refs) = refs(&arg).filter(|_| chosen.is_none()) {
            chosen = Some(refs);
        } else if is(&arg, "IDS") && found.is_none() && args.len() > 0 {
            found = Some(counted_ids(args)?);
        } else {
            return syntax();
        }
    }
    let Some(ids) = found else {
        return syntax();
    };
    Ok((chosen.unwrap_or_default(), ids))
}

/// Reads `n id …`.
pub(super) fn counted_ids(args: &mut Args) -> Result<Vec<MessageId>, ErrorText> {
    let wrong = || Bytes::from_static(errors::NUMBER_OF_IDS);
    let count = super::integer(&required(args)).ok_or_else(wrong)?;
    let count = usize::try_from(count).ok().filter(|count| *count > 0);
    let count = count.ok_or_else(wrong)?;
    if count > args.len() {
        return Err(Bytes::from_static(errors::NUMIDS));
    }
    args.take(count).map(|arg| strict_id(&arg)).collect()
}

/// What `XADD` and `XTRIM` have in common.
#[derive(Default)]
struct Options {
    existing: bool,
    producer: Option<Producer>,
    keep: Option<Keep>,
    approximate: bool,
    limit: Option<u64>,
    refs: Option<Refs>,
}

impl Options {
    /// Reads options, up to the id if there is to be one.
    fn read(args: &mut Args, adds: bool) -> Result<(Self, Option<NewId>), ErrorText> {
        let mut options = Self::default();
        let mut id = None;
        while let Some(arg) = args.next() {
            let more = args.len();
            match &arg.to_ascii_uppercase()[..] {
                b"*" if adds => {
                    id = Some(NewId::Auto);
                    break;
                }
                b"MAXLEN" if more > 0 => options.read_keep(args, true)?,
                b"MINID" if more > 0 => options.read_keep(args, false)?,
                b"LIMIT" if more > 0 => {
                    let limit = u64::try_from(number(&required(args))?);
                    let limit =
                        limit.map_err(|_negative| Bytes::from_static(errors::LIMIT_ARGUMENT))?;
                    options.limit = Some(limit);
                }
                b"NOMKSTREAM" if adds => options.existing = true,
                b"IDMPAUTO" if adds && more > 0 => {
                    let pid = required(args);
                    options.set_producer(pid, None)?;
                }
                b"IDMP" if adds && more > 1 => {
                    let (pid, iid) = (required(args), required(args));
                    options.set_producer(pid, Some(iid))?;
                }
                // As in Redis a second one is taken for the id.
                word if refs(word).is_some() && options.refs.is_none() => {
                    options.refs = refs(word);
                }
                _ if adds => {
                    let new = id::parse_new(&arg);
                    id = Some(new.ok_or(Bytes::from_static(errors::STREAM_ID))?);
                    break;
                }
                _ => return syntax(),
            }
        }
        Ok((options, id))
    }

    fn read_keep(&mut self, args: &mut Args, by_length: bool) -> Result<(), ErrorText> {
        if self.keep.is_some() {
            return Err(Bytes::from_static(errors::MAXLEN_AND_MINID));
        }
        let mut value = required(args);
        self.approximate = false;
        if matches!(&value[..], b"~" | b"=") && args.len() > 0 {
            self.approximate = value == "~";
            value = required(args);
        }
        self.keep = Some(if by_length {
            let newest = u64::try_from(number(&value)?);
            Keep::Newest(newest.map_err(|_negative| Bytes::from_static(errors::MAXLEN_ARGUMENT))?)
        } else {
            Keep::From(strict_id(&value)?)
        });
        Ok(())
    }

    fn set_producer(&mut self, pid: Bytes, iid: Option<Bytes>) -> Result<(), ErrorText> {
        if self.producer.is_some() {
            return syntax();
        }
        if pid.is_empty() || iid.as_ref().is_some_and(Bytes::is_empty) {
            return Err(Bytes::from_static(errors::IDMP_EMPTY));
        }
        self.producer = Some(Producer { pid, iid });
        Ok(())
    }

    /// Returns how to trim; what contradicts itself is refused.
    fn trim(&self) -> Result<Option<Trim>, ErrorText> {
        let limit = self.limit.filter(|limit| *limit > 0);
        let Some(keep) = self.keep else {
            return match limit {
                Some(_) => Err(Bytes::from_static(errors::LIMIT_WITHOUT_TRIM)),
                None => Ok(None),
            };
        };
        if self.limit.is_some() && !self.approximate {
            return Err(Bytes::from_static(errors::LIMIT_WITHOUT_APPROXIMATE));
        }
        Ok(Some(Trim { keep, limit }))
    }
}

/// `XADD key [NOMKSTREAM] [KEEPREF|DELREF|ACKED] [IDMPAUTO pid|IDMP pid iid] [MAXLEN|MINID [=|~] threshold [LIMIT n]]
/// *|id field value …`.
pub(crate) fn parse_xadd(args: &mut Args) -> Result<Command, ErrorText> {
    let key = required(args);
    let (options, id) = Options::read(args, true)?;
    let trim = options.trim()?;
    let fields: Vec<Bytes> = args.collect();
    let Some(id) = id.filter(|_| !fields.is_empty() && fields.len().is_multiple_of(2)) else {
        return Err(errors::wrong_arity("xadd"));
    };
    if id == NewId::Exact(MessageId::default()) {
        return Err(Bytes::from_static(errors::ZERO_ID));
    }
    if options.producer.is_some() && id != NewId::Auto {
        return Err(Bytes::from_static(errors::IDMP_NEEDS_AUTO));
    }
    op(StreamOp::Add {
        key,
        existing: options.existing,
        producer: options.producer,
        trim,
        refs: options.refs.unwrap_or_default(),
        id,
        fields,
    })
}

/// `XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT n] [KEEPREF|DELREF|ACKED]`.
pub(crate) fn parse_xtrim(args: &mut Args) -> Result<Command, ErrorText> {
    let key = required(args);
    let (options, _) = Options::read(args, false)?;
    let trim = options.trim()?;
    let trim = trim.ok_or(Bytes::from_static(errors::XTRIM_WITHOUT_TRIM))?;
    let refs = options.refs.unwrap_or_default();
    op(StreamOp::Trim { key, trim, refs })
}

/// `XLEN key`.
pub(crate) fn parse_xlen(args: &mut Args) -> Result<Command, ErrorText> {
    op(StreamOp::Len(required(args)))
}

/// `XRANGE key start end [COUNT n]`, `XREVRANGE key end start [COUNT n]`.
pub(crate) fn parse_xrange(args: &mut Args, reverse: bool) -> Result<Command, ErrorText> {
    let (key, first, second) = (required(args), required(args), required(args));
    let (from, to) = if reverse {
        (second, first)
    } else {
        (first, second)
    };
    let (from, to) = (start(&from)?, end(&to)?);
    let mut limit = None;
    while let Some(arg) = args.next() {
        match args.next() {
            Some(value) if is(&arg, "COUNT") => limit = Some(count(&value)?),
            _ => return syntax(),
        }
    }
    op(StreamOp::Range {
        key,
        from,
        to,
        reverse,
        count: limit,
    })
}

/// What `XREAD` and `XREADGROUP` have in common, up to the keys.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) limits: Limits,
    pub(super) block_ms: Option<u64>,
    pub(super) group: Option<(Bytes, Bytes)>,
    pub(super) no_ack: bool,
    pub(super) claim_ms: Option<u64>,
    pub(super) streams: Vec<(Bytes, Bytes)>,
}

impl Reading {
    /// Reads all arguments.
    pub(super) fn read(args: &mut Args, in_group: bool) -> Result<Self, ErrorText> {
        let mut reading = Self::default();
        // Redis: a count of 0 is none.
        let some = |count: u64| Some(count).filter(|count| *count > 0);
        while let Some(arg) = args.next() {
            let more = args.len();
            match &arg.to_ascii_uppercase()[..] {
                b"BLOCK" if more > 0 => reading.block_ms = Some(timeout(&required(args))?),
                b"COUNT" if more > 0 => reading.limits.count = some(count(&required(args))?),
                b"MAXCOUNT" if more > 0 => reading.limits.max_count = some(count(&required(args))?),
                b"MAXSIZE" if more > 0 => reading.limits.max_bytes = some(count(&required(args))?),
                b"STREAMS" if more > 0 => {
                    reading.streams = streams(args, in_group)?;
                    break;
                }
                b"GROUP" if more > 1 => {
                    if !in_group {
                        return Err(Bytes::from_static(errors::GROUP_IN_XREAD));
                    }
                    reading.group = Some((required(args), required(args)));
                }
                b"NOACK" => {
                    if !in_group {
                        return Err(Bytes::from_static(errors::NOACK_IN_XREAD));
                    }
                    reading.no_ack = true;
                }
                b"CLAIM" if in_group && more > 0 => {
                    let idle = u64::try_from(number(&required(args))?);
                    let idle = idle.map_err(|_negative| Bytes::from_static(errors::MIN_IDLE))?;
                    reading.claim_ms = Some(idle);
                }
                _ => return syntax(),
            }
        }
        if reading.streams.is_empty() {
            return syntax();
        }
        let limits = reading.limits;
        if let (Some(count), Some(max)) = (limits.count, limits.max_count)
            && max < count
        {
            return Err(Bytes::from_static(errors::MAXCOUNT_BELOW_COUNT));
        }
        Ok(reading)
    }
}

/// Reads a timeout in milliseconds; 0 is none.
fn timeout(arg: &Bytes) -> Result<u64, ErrorText> {
    let ms = super::integer(arg).ok_or(Bytes::from_static(errors::TIMEOUT_NOT_AN_INTEGER))?;
    u64::try_from(ms).map_err(|_negative| Bytes::from_static(errors::TIMEOUT_NEGATIVE))
}

/// Reads keys, then as many ids.
fn streams(args: &mut Args, in_group: bool) -> Result<Vec<(Bytes, Bytes)>, ErrorText> {
    let mut keys: Vec<Bytes> = args.collect();
    if !keys.len().is_multiple_of(2) {
        return Err(errors::unbalanced_streams(in_group));
    }
    let ids = keys.split_off(keys.len() / 2);
    Ok(keys.into_iter().zip(ids).collect())
}

/// `XREAD [COUNT n] [MAXCOUNT n] [MAXSIZE n] [BLOCK ms] STREAMS key … id …`.
pub(crate) fn parse_xread(args: &mut Args) -> Result<Command, ErrorText> {
    let reading = Reading::read(args, false)?;
    let after = |(key, after): (Bytes, Bytes)| {
        let after = match &after[..] {
            b"$" => After::Top,
            b"+" => After::ButLast,
            b">" => return Err(Bytes::from_static(errors::NEW_IN_XREAD)),
            id => After::Id(strict_id(id)?),
        };
        Ok((key, after))
    };
    let streams: Result<_, ErrorText> = reading.streams.into_iter().map(after).collect();
    let read = StreamOp::Read {
        streams: streams?,
        limits: reading.limits,
    };
    maybe_wait(read, reading.block_ms)
}

/// Returns a read that is answered at once, or may wait until there is something.
pub(super) fn maybe_wait(read: StreamOp, block_ms: Option<u64>) -> Result<Command, ErrorText> {
    let op = Box::new(read);
    Ok(match block_ms {
        None => Command::Keys(KeyOp::Stream(op)),
        Some(block_ms) => Command::Wait { op, block_ms },
    })
}

/// `XDEL key id …`.
pub(crate) fn parse_xdel(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, ids) = (required(args), ids(args)?);
    op(StreamOp::Del { key, ids })
}

/// `XDELEX key [KEEPREF|DELREF|ACKED] IDS n id …`.
pub(crate) fn parse_xdelex(args: &mut Args) -> Result<Command, ErrorText> {
    let key = required(args);
    let (refs, ids) = refs_and_ids(args)?;
    op(StreamOp::DelEx { key, refs, ids })
}

/// `XSETID key last-id [ENTRIESADDED n] [MAXDELETEDID id]`.
pub(crate) fn parse_xsetid(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, last) = (required(args), strict_id(&required(args))?);
    let (mut added, mut max_deleted) = (None, None);
    while let Some(arg) = args.next() {
        match args.next() {
            Some(value) if is(&arg, "ENTRIESADDED") => {
                let entries = u64::try_from(number(&value)?);
                let entries =
                    entries.map_err(|_negative| Bytes::from_static(errors::ENTRIES_ADDED))?;
                added = Some(entries);
            }
            Some(value) if is(&arg, "MAXDELETEDID") => {
                let id = strict_id(&value)?;
                if last < id {
                    return Err(Bytes::from_static(errors::SET_ID_BELOW_GIVEN));
                }
                max_deleted = Some(id);
            }
            _ => return syntax(),
        }
    }
    op(StreamOp::SetId {
        key,
        last,
        added,
        max_deleted,
    })
}

/// `XCFGSET key [IDMP-DURATION seconds] [IDMP-MAXSIZE n]`.
pub(crate) fn parse_xcfgset(args: &mut Args) -> Result<Command, ErrorText> {
    let key = required(args);
    let (mut duration_s, mut max) = (None, None);
    let bounded = |value: &Bytes, most: i64, error: &'static [u8]| {
        let value = number(value)?;
        let value = u64::try_from(value)
            .ok()
            .filter(|_| (1..=most).contains(&value));
        value.ok_or_else(|| Bytes::from_static(error))
    };
    while let Some(arg) = args.next() {
        match args.next() {
            Some(value) if is(&arg, "IDMP-DURATION") => {
                duration_s = Some(bounded(&value, DURATION_MAX, errors::IDMP_DURATION)?);
            }
            Some(value) if is(&arg, "IDMP-MAXSIZE") => {
                max = Some(bounded(&value, ATTEMPTS_MAX, errors::IDMP_MAXSIZE)?);
            }
            _ => return syntax(),
        }
    }
    if duration_s.is_none() && max.is_none() {
        return syntax();
    }
    op(StreamOp::Configure {
        key,
        duration_s,
        max,
    })
}

/// `XINFO STREAM key [FULL [COUNT n]]`.
pub(crate) fn parse_xinfo_stream(args: &mut Args) -> Result<Command, ErrorText> {
    let key = required(args);
    let wrong = || Err(errors::subcommand_arguments("xinfo", b"STREAM"));
    let options: Vec<Bytes> = args.collect();
    let count = match &options[..] {
        [] => return op(StreamOp::Info(key)),
        [full] if is(full, "FULL") => FULL_COUNT,
        [full, word, n] if is(full, "FULL") && is(word, "COUNT") => {
            u64::try_from(number(n)?).unwrap_or(FULL_COUNT)
        }
        _ => return wrong(),
    };
    op(StreamOp::InfoFull { key, count })
}

/// `XINFO GROUPS key`.
pub(crate) fn parse_xinfo_groups(args: &mut Args) -> Result<Command, ErrorText> {
    op(StreamOp::InfoGroups(required(args)))
}

/// `XINFO CONSUMERS key group`.
pub(crate) fn parse_xinfo_consumers(args: &mut Args) -> Result<Command, ErrorText> {
    let (key, group) = (required(args), required(args));
    op(StreamOp::InfoConsumers { key, group })
}

pub(crate) fn parse_xinfo_help(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Help(XINFO_HELP))
}
