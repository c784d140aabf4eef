//! Keys that are the history of a channel: `__history__:` and the channel's name.
//!
//! What reads them is asked of the node as a question of its own; all other commands on them are refused before they
//! run. Who may listen to the channel may read its history, and nobody else: it is no matter of keys.

use crate::ask::{Ask, KeyQuery, Seq};
use crate::commands::Step;
use crate::connection::Connection;
use crate::errors::{self, ErrorText};
use crate::keys::{ChannelUse, KeyFlags};
use crate::table::Spec;
use bytes::Bytes;
use corgi_base::streams::{After, Limits, StreamOp};
use corgi_base::{KeyOp, MessageId};
use corgi_resp::Reply;

/// What a key, or a channel, begins with that is the history of the channel whose name follows.
pub const HISTORY_PREFIX: &[u8] = b"__history__:";

/// The commands that read such a key, in lower case.
const READERS: [&str; 6] = [
    "type",
    "xinfo|stream",
    "xlen",
    "xrange",
    "xread",
    "xrevrange",
];

/// What is asked about the history of channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryQuery {
    /// `XLEN`.
    Len(Bytes),
    /// `TYPE`.
    Type(Bytes),
    /// `XRANGE`, `XREVRANGE`.
    Range {
        /// Of which channel.
        channel: Bytes,
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
        /// Which channels, after what.
        channels: Vec<(Bytes, After)>,
        /// How much.
        limits: Limits,
    },
    /// `XINFO STREAM`.
    Info(Bytes),
    /// `KEYS`, `SCAN`: the keys that match.
    Keys {
        /// The pattern.
        pattern: Bytes,
        /// Answered as `SCAN` is, all at once.
        scan: bool,
    },
}

/// Returns the channel whose history a key is.
pub fn channel_of(key: &Bytes) -> Option<Bytes> {
    key.starts_with(HISTORY_PREFIX)
        .then(|| key.slice(HISTORY_PREFIX.len()..))
}

/// Puts the channel that delivers the history of a channel live into `name`.
pub fn live_channel(name: &mut Vec<u8>, channel: &[u8]) {
    name.clear();
    name.extend_from_slice(HISTORY_PREFIX);
    name.extend_from_slice(channel);
}

/// Returns what is delivered there: `<id> <payload>`.
pub fn live_payload(id: MessageId, payload: &[u8]) -> Vec<u8> {
    let mut text = id.to_string().into_bytes();
    text.push(b' ');
    text.extend_from_slice(payload);
    text
}

/// Returns why a request does not run, because of a key or a channel that is the history of one.
pub(crate) fn refusal(conn: &Connection, spec: &Spec, args: &[Bytes]) -> Option<ErrorText> {
    let is_history = |arg: &Bytes| arg.starts_with(HISTORY_PREFIX);
    if !args.iter().any(is_history) {
        return None;
    }
    if let Some(channels) = spec.channels
        && let Some(channel) = channels.find(args).iter().find(|arg| is_history(arg))
    {
        return match channels.used {
            ChannelUse::Publish => Some(errors::only_read(channel)),
            ChannelUse::SubscribePattern => Some(errors::history_by_pattern(channel)),
            ChannelUse::Subscribe => None,
        };
    }
    let keys = spec
        .keys
        .iter()
        .filter(|keys| !keys.flags.contains(KeyFlags::NOT_KEY));
    let found: Vec<&Bytes> = keys
        .flat_map(|keys| keys.find(args))
        .map(|at| &args[at])
        .collect();
    let key = found.iter().find(|key| is_history(key))?;
    if !READERS.contains(&spec.name) {
        return Some(errors::only_read(key));
    }
    if conn.multi.is_some() {
        return Some(errors::history_in_multi(key));
    }
    let mixed = !found.iter().all(|key| is_history(key));
    mixed.then(|| Bytes::from_static(errors::HISTORY_AND_STREAMS))
}

/// Turns a command on keys that is about history, which [`refusal`] has let through, into a question of its own.
pub(crate) fn turned(step: Step, seq: Seq) -> Step {
    let Step::Keys { op, block_ms, .. } = &step else {
        return step;
    };
    match question(op) {
        // The node knows what may wait by its keys.
        Ok(Some(_)) if block_ms.is_some() => step,
        Ok(None) => step,
        Ok(Some(query)) => {
            let query = KeyQuery::History(query);
            Step::Barrier(Ask::Read { seq, query })
        }
        Err(text) => Step::Answer(Reply::Error(text)),
    }
}

/// Returns the question that a command on keys is, if it is one about history.
fn question(op: &KeyOp) -> Result<Option<HistoryQuery>, ErrorText> {
    let pattern = match op {
        KeyOp::Type(key) => return Ok(channel_of(key).map(HistoryQuery::Type)),
        KeyOp::Stream(op) => return of_stream(op),
        KeyOp::Keys(pattern) => Some((pattern, false)),
        KeyOp::Scan { pattern, kind, .. } => {
            let streams = kind.as_ref().is_none_or(|kind| kind == "stream");
            pattern.as_ref().filter(|_| streams).map(|it| (it, true))
        }
        _ => None,
    };
    let pattern = pattern.filter(|(pattern, _)| pattern.starts_with(HISTORY_PREFIX));
    Ok(pattern.map(|(pattern, scan)| HistoryQuery::Keys {
        pattern: pattern.clone(),
        scan,
    }))
}

/// Returns what an operation on streams reads that may wait, if that is history.
pub fn waiting_for(op: &StreamOp) -> Option<HistoryQuery> {
    of_stream(op).ok().flatten()
}

fn of_stream(op: &StreamOp) -> Result<Option<HistoryQuery>, ErrorText> {
    Ok(match op {
        StreamOp::Len(key) => channel_of(key).map(HistoryQuery::Len),
        StreamOp::Info(key) => channel_of(key).map(HistoryQuery::Info),
        StreamOp::InfoFull { key, .. } if channel_of(key).is_some() => {
            return Err(errors::history_not_full(key));
        }
        StreamOp::Range {
            key,
            from,
            to,
            reverse,
            count,
        } => channel_of(key).map(|channel| HistoryQuery::Range {
            channel,
            from: *from,
            to: *to,
            reverse: *reverse,
            count: *count,
        }),
        StreamOp::Read { streams, limits } => {
            let channel = |(key, after): &(Bytes, After)| Some((channel_of(key)?, *after));
            let channels: Option<Vec<_>> = streams.iter().map(channel).collect();
            channels.map(|channels| HistoryQuery::Read {
                channels,
                limits: *limits,
            })
        }
        _ => None,
    })
}
