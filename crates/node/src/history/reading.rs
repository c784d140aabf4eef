//! Reading the history of channels.
//!
//! ```text
//!   query, at its read index ─▶ which operations of which entries ─▶ HistoryRead, off the node's lock
//!                                        ▲                               │ the log, or copies
//!                                        └──── something was missing ◀───┴─▶ HistoryFound ─▶ reply
//! ```
//!
//! What was kept when the query was answered may have passed while it was read. Then it is answered anew from the state
//! as it is by then: whoever reads on from an id hears that something has passed, and never gets an answer with a gap.

use crate::errors;
use crate::running::Running;
use crate::shared::Shared;
use bytes::Bytes;
use corgi_base::answer::Answer;
use corgi_base::streams::{After, Limits};
use corgi_base::{ClientId, LogIndex, MessageId, Op, glob};
use corgi_consensus::storage::{LogReader, ReadLogError};
use corgi_session::{HISTORY_PREFIX, HistoryQuery, Reply, Seq, reply_of};
use corgi_state::history::{History, Part, Passed};
use corgi_state::store::CopiedReader;
use corgi_state::{HISTORY_LEVEL, replay};
use std::collections::BTreeMap;

/// What is read at once must fit into what may wait for a client.
const BYTES_MAX: u64 = 32 << 20;
/// What is missing so often has not passed.
const TRIES_MAX: u32 = 5;

/// Before and after all ids.
const ALL: (MessageId, MessageId) = (
    MessageId { ms: 0, seq: 0 },
    MessageId {
        ms: u64::MAX,
        seq: u64::MAX,
    },
);

/// Who asked what.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) client: ClientId,
    pub(crate) seq: Seq,
    pub(crate) query: HistoryQuery,
    /// How often it was read.
    pub(crate) tries: u32,
}

impl Asked {
    pub(crate) fn new(client: ClientId, seq: Seq, query: HistoryQuery) -> Self {
        Self {
            client,
            seq,
            query,
            tries: 0,
        }
    }
}

/// A read of the history of channels, to be run off the node's lock.
#[derive(Debug)]
pub struct HistoryRead {
    asked: Asked,
    /// Which messages of which channels.
    wanted: Vec<(Bytes, Vec<Part>)>,
}

/// A message with its id.
type Message = (MessageId, Bytes);

/// What a [`HistoryRead`] gave.
#[derive(Debug)]
pub struct HistoryFound {
    asked: Asked,
    result: Result<Vec<(Bytes, Vec<Message>)>, Unread>,
}

/// Why messages are not there.
#[derive(Debug)]
enum Unread {
    /// Neither the log nor the copies have them: they have passed meanwhile.
    Missing(LogIndex),
    Failed(String),
}

impl HistoryRead {
    /// Reads. May wait for the disk.
    pub fn run(self, log: &impl LogReader, copies: &impl CopiedReader) -> HistoryFound {
        let result = self.read(log, copies);
        let asked = self.asked;
        HistoryFound { asked, result }
    }

    /// Each entry is read once, in log order, whoever needs it.
    fn read(
        &self,
        log: &impl LogReader,
        copies: &impl CopiedReader,
    ) -> Result<Vec<(Bytes, Vec<Message>)>, Unread> {
        let mut places: BTreeMap<LogIndex, Vec<(usize, usize)>> = BTreeMap::new();
        let mut found: Vec<Vec<Vec<Message>>> = Vec::new();
        for (at, (_, parts)) in self.wanted.iter().enumerate() {
            found.push(vec![Vec::new(); parts.len()]);
            for (k, part) in parts.iter().enumerate() {
                places.entry(part.index).or_default().push((at, k));
            }
        }
        for (index, places) in places {
            let ops = operations(log, index)?;
            for (at, k) in places {
                let (channel, parts) = &self.wanted[at];
                let part = &parts[k];
                found[at][k] = match &ops {
                    Some(ops) => from_log(ops, channel, part)?,
                    None => from_copies(copies, channel, part)?,
                };
            }
        }
        let channels = self.wanted.iter().map(|(channel, _)| channel.clone());
        Ok(channels
            .zip(found.into_iter().map(|parts| parts.concat()))
            .collect())
    }
}

/// Returns the operations of an entry; `None` if the log does not have it any more.
fn operations(log: &impl LogReader, index: LogIndex) -> Result<Option<Vec<Op>>, Unread> {
    let entry = match log.entries(index, index.next(), 0) {
        Ok(entries) => entries.into_iter().next(),
        Err(ReadLogError::Compacted { .. }) => return Ok(None),
        Err(error) => return Err(Unread::Failed(error.to_string())),
    };
    let replayed = entry.map(|entry| replay(entry.context, entry.data));
    let replayed = replayed.transpose();
    let replayed = replayed.map_err(|error| Unread::Failed(format!("entry {index}: {error}")))?;
    Ok(Some(
        replayed.flatten().map(|it| it.ops).unwrap_or_default(),
    ))
}

/// Payloads are copies: a slice would keep the whole entry in memory.
fn from_log(ops: &[Op], channel: &Bytes, part: &Part) -> Result<Vec<Message>, Unread> {
    let message = |(id, k): &(MessageId, u32)| match ops.get(*k as usize) {
        Some(Op::Publish {
            channel: of,
            payload,
        }) if of == channel => Ok((*id, Bytes::copy_from_slice(payload))),
        _ => Err(Unread::Failed(format!(
            "entry {} holds no message of the channel at {k}",
            part.index
        ))),
    };
    part.messages.iter().map(message).collect()
}

fn from_copies(
    copies: &impl CopiedReader,
    channel: &Bytes,
    part: &Part,
) -> Result<Vec<Message>, Unread> {
    let copied = copies.copied(part.index, channel);
    let copied = copied.map_err(|error| Unread::Failed(error.to_string()))?;
    let copied = copied.ok_or(Unread::Missing(part.index))?;
    let message = |(id, k): &(MessageId, u32)| {
        let payload = copied.get(*k).ok_or(Unread::Missing(part.index))?;
        Ok((*id, payload.clone()))
    };
    part.messages.iter().map(message).collect()
}

/// Returns the id that follows.
fn after(id: MessageId) -> MessageId {
    match id.seq.checked_add(1) {
        Some(seq) => MessageId { seq, ..id },
        None => MessageId {
            ms: id.ms.saturating_add(1),
            seq: 0,
        },
    }
}

fn number(n: u64) -> Reply {
    Reply::Integer(i64::try_from(n).unwrap_or(i64::MAX))
}

fn limit(count: Option<u64>) -> usize {
    usize::try_from(count.unwrap_or(u64::MAX)).unwrap_or(usize::MAX)
}

fn key(channel: &[u8]) -> Bytes {
    [HISTORY_PREFIX, channel].concat().into()
}

impl<R: LogReader> Running<R> {
    /// Answers a question about history from the state as it is, or has read what is needed for it.
    pub(crate) fn answer_history(&self, shared: &mut Shared, asked: Asked) {
        let level = self.state.feature_level();
        let answered = if level < HISTORY_LEVEL {
            Err(errors::no_history_yet(level, HISTORY_LEVEL))
        } else {
            answer(self.state.history(), &asked.query)
        };
        let (client, seq) = (asked.client, asked.seq);
        match answered {
            Ok(Answered::Reply(reply)) => shared.clients.reply(client, seq, reply),
            Ok(Answered::Needs(wanted)) => {
                shared.out.history.push(HistoryRead { asked, wanted });
            }
            Err(text) => shared.clients.error(client, seq, text),
        }
    }

    /// Says what the end is of channels that are read from there.
    pub(crate) fn settled(&self, query: HistoryQuery) -> HistoryQuery {
        let HistoryQuery::Read {
            mut channels,
            limits,
        } = query
        else {
            return query;
        };
        for (_, from) in &mut channels {
            if *from == After::Top {
                *from = After::Id(self.state.last_id());
            }
        }
        HistoryQuery::Read { channels, limits }
    }

    /// Whether there is nothing yet of what is asked for.
    pub(crate) fn history_waits(&self, query: &HistoryQuery) -> bool {
        let history = self.state.history();
        self.state.feature_level() >= HISTORY_LEVEL
            && matches!(
                answer(history, query),
                Ok(Answered::Reply(Reply::NullArray))
            )
    }

    /// Takes what was read.
    pub(crate) fn history_read(&self, shared: &mut Shared, found: HistoryFound) {
        let HistoryFound { mut asked, result } = found;
        let (client, seq) = (asked.client, asked.seq);
        match result {
            Ok(found) => {
                let reply = reply(self.state.history(), &asked.query, found);
                shared.clients.reply(client, seq, reply);
            }
            Err(Unread::Missing(_)) if asked.tries < TRIES_MAX => {
                asked.tries += 1;
                self.answer_history(shared, asked);
            }
            Err(Unread::Missing(index)) => {
                let what = format!("the messages of entry {index} are not there");
                shared.clients.error(client, seq, errors::unreadable(&what));
            }
            Err(Unread::Failed(what)) => {
                shared.fail(format!("read the history of a channel: {what}"));
            }
        }
    }
}

enum Answered {
    Reply(Reply),
    /// Once these are read.
    Needs(Vec<(Bytes, Vec<Part>)>),
}

fn answer(history: &History, query: &HistoryQuery) -> Result<Answered, Bytes> {
    let reply = match query {
        HistoryQuery::Len(channel) => number(history.len(channel)),
        HistoryQuery::Type(channel) => {
            let kind = if history.len(channel) > 0 {
                "stream"
            } else {
                "none"
            };
            Reply::Simple(Bytes::from_static(kind.as_bytes()))
        }
        HistoryQuery::Keys { pattern, scan } => {
            let names = history.names().map(|channel| key(channel));
            let names = names.filter(|key| glob::matches(pattern, key));
            let keys = Reply::Array(names.map(Reply::Bulk).collect());
            match scan {
                true => Reply::Array(vec![Reply::Bulk(Bytes::from_static(b"0")), keys]),
                false => keys,
            }
        }
        HistoryQuery::Info(channel) if history.len(channel) == 0 => {
            return Err(Bytes::from_static(errors::NO_SUCH_KEY));
        }
        HistoryQuery::Info(channel) => {
            let end = |newest| range(history, channel, ALL, 1, newest);
            return needs(vec![
                (channel.clone(), end(false)?),
                (channel.clone(), end(true)?),
            ]);
        }
        HistoryQuery::Range {
            channel,
            from,
            to,
            reverse,
            count,
        } => {
            let parts = range(history, channel, (*from, *to), limit(*count), *reverse)?;
            return needs(vec![(channel.clone(), parts)]);
        }
        HistoryQuery::Read { channels, limits } => return read(history, channels, limits),
    };
    Ok(Answered::Reply(reply))
}

fn read(
    history: &History,
    channels: &[(Bytes, After)],
    limits: &Limits,
) -> Result<Answered, Bytes> {
    if limits.max_bytes.is_some() {
        return Err(Bytes::from_static(errors::NO_MAXSIZE));
    }
    let mut left = limit(limits.max_count);
    let mut wanted = Vec::new();
    for (channel, after_what) in channels {
        let count = limit(limits.count).min(left);
        let parts = match after_what {
            After::Top => Vec::new(),
            After::ButLast => range(history, channel, ALL, count.min(1), true)?,
            After::Id(id) => {
                // Nothing has the smallest id of all: after it is from what there is.
                let from = if *id == ALL.0 { ALL.0 } else { after(*id) };
                range(history, channel, (from, ALL.1), count, false)?
            }
        };
        left -= parts.iter().map(|part| part.messages.len()).sum::<usize>();
        if !parts.is_empty() {
            wanted.push((channel.clone(), parts));
        }
    }
    if wanted.is_empty() {
        return Ok(Answered::Reply(Reply::NullArray));
    }
    needs(wanted)
}

fn range(
    history: &History,
    channel: &[u8],
    (from, to): (MessageId, MessageId),
    count: usize,
    newest_first: bool,
) -> Result<Vec<Part>, Bytes> {
    history
        .range(channel, from, to, count, newest_first)
        .map_err(|Passed { first }| errors::passed(first))
}

/// Bounds what is read.
fn needs(wanted: Vec<(Bytes, Vec<Part>)>) -> Result<Answered, Bytes> {
    let parts = || wanted.iter().flat_map(|(_, parts)| parts);
    let bytes: u64 = parts().map(|part| part.bytes).sum();
    let messages: usize = parts().map(|part| part.messages.len()).sum();
    if bytes > BYTES_MAX && messages > 1 {
        return Err(errors::too_much_history(bytes, BYTES_MAX));
    }
    Ok(Answered::Needs(wanted))
}

fn entry((id, payload): Message) -> Answer {
    let fields = vec![
        Answer::Bulk(Bytes::from_static(b"message")),
        Answer::Bulk(payload),
    ];
    Answer::Array(vec![
        Answer::Bulk(id.to_string().into()),
        Answer::Array(fields),
    ])
}

fn entries(messages: Vec<Message>) -> Answer {
    Answer::Array(messages.into_iter().map(entry).collect())
}

fn reply(history: &History, query: &HistoryQuery, found: Vec<(Bytes, Vec<Message>)>) -> Reply {
    let mut found = found.into_iter();
    let answer = match query {
        HistoryQuery::Read { .. } => {
            let stream =
                |(channel, messages): (Bytes, Vec<Message>)| (key(&channel), entries(messages));
            Answer::Streams(found.map(stream).collect())
        }
        HistoryQuery::Info(channel) => info(history, channel, found.map(|(_, messages)| messages)),
        _ => entries(
            found
                .next()
                .map(|(_, messages)| messages)
                .unwrap_or_default(),
        ),
    };
    reply_of(answer)
}

/// `XINFO STREAM`, with the fields that it has for a stream.
fn info(history: &History, channel: &[u8], mut ends: impl Iterator<Item = Vec<Message>>) -> Answer {
    let mut end = || ends.next().and_then(|messages| messages.into_iter().next());
    let (first, last) = (end(), end());
    let id = |id: MessageId| Answer::Bulk(id.to_string().into());
    let of = |message: &Option<Message>| id(message.as_ref().map_or(ALL.0, |(id, _)| *id));
    let count = || Answer::Int(i64::try_from(history.len(channel)).unwrap_or(i64::MAX));
    let fields = [
        ("length", count()),
        ("radix-tree-keys", Answer::Int(1)),
        ("radix-tree-nodes", Answer::Int(2)),
        ("last-generated-id", of(&last)),
        ("max-deleted-entry-id", id(history.passed(channel))),
        ("entries-added", count()),
        ("recorded-first-entry-id", of(&first)),
        ("groups", Answer::Int(0)),
        ("first-entry", first.map_or(Answer::Nil, entry)),
        ("last-entry", last.map_or(Answer::Nil, entry)),
    ];
    let pair = |(name, value): (&'static str, Answer)| {
        (Answer::Bulk(Bytes::from_static(name.as_bytes())), value)
    };
    Answer::Map(fields.map(pair).into())
}
