//! How scripts show what happens, in the notation of Corgi's logs: `n1` a node, `17@3` entry 17 of term 3.

use bytes::Bytes;
use corgi_base::op::decode_ops;
use corgi_base::{EntryHead, Op, SubscriptionKind, UserChanges};
use corgi_consensus::storage::{EntryType, LogEntry};
use corgi_node::{NameCount, PeerMessage};

/// Returns operations as scripts show them: one word each, `channel:payload`.
pub(crate) fn operations(count: u32, data: &Bytes) -> String {
    let Ok(ops) = decode_ops(count, data.clone()) else {
        return "malformed".to_owned();
    };
    let show = |op: &Op| {
        let (kind, channel, payload) = match op {
            Op::Publish { channel, payload } => ("", channel, payload),
            Op::ShardPublish { channel, payload } => ("shard ", channel, payload),
            Op::Key { op, .. } => {
                let words: Vec<_> = op.request().iter().map(|word| text(word)).collect();
                return words.join(" ");
            }
            Op::Guard { ops, watched } => {
                let watched = watched
                    .iter()
                    .map(|w| format!("{}@{}", text(&w.key), w.version));
                return format!("guard {ops} {}", watched.collect::<Vec<_>>().join(" "));
            }
            Op::Users(changes) => return users(changes),
            Op::HistoryRules(change) => return change.to_string(),
        };
        format!("{kind}{}:{}", text(channel), text(payload))
    };
    format!("[{}]", ops.iter().map(show).collect::<Vec<_>>().join(" "))
}

/// Returns a change of users.
fn users(changes: &UserChanges) -> String {
    let show = |(name, definition): &(Bytes, Option<Bytes>)| {
        let definition = definition.as_ref();
        let definition = definition.map_or_else(|| "gone".to_owned(), |it| text(it));
        format!("{}={definition}", text(name))
    };
    let shown: Vec<_> = changes.changes.iter().map(show).collect();
    let kind = if changes.replace { "only" } else { "users" };
    format!("{kind} {}", shown.join(", "))
}

/// Returns the revision of the users that a batch was checked against, if there is one.
fn checked(acl: u64) -> String {
    match acl {
        0 => String::new(),
        acl => format!(" acl={acl}"),
    }
}

/// Returns a message between nodes; `None` for Raft's own, of which there are many.
pub(crate) fn message(message: &PeerMessage) -> Option<String> {
    match message {
        PeerMessage::Raft { .. }
        | PeerMessage::Contacts(_)
        | PeerMessage::Vitals(_)
        | PeerMessage::StateHash { .. }
        | PeerMessage::Counts { .. }
        | PeerMessage::CountsTaken { .. }
        | PeerMessage::Recount => None,
        PeerMessage::Forward {
            boot,
            number,
            ops,
            data,
            acl,
        } => {
            let (ops, checked) = (operations(*ops, data), checked(*acl));
            Some(format!(
                "forward boot={boot} number={number}{checked} {ops}"
            ))
        }
        PeerMessage::Expect { boot, number } => Some(format!("expect boot={boot} number={number}")),
        PeerMessage::OpenSession { boot, .. } => Some(format!("open session boot={boot}")),
        PeerMessage::Change { change, .. } => Some(format!("change {change:?}")),
        PeerMessage::Changed { result, .. } => Some(match result {
            Ok(()) => "changed".to_owned(),
            Err(error) => format!("not changed: {}", text(error)),
        }),
        PeerMessage::SnapshotFetch { file, offset, .. } => {
            Some(format!("fetch snapshot of {} at {offset}", file.index))
        }
        PeerMessage::SnapshotChunk {
            file,
            offset,
            bytes,
        } => {
            let end = offset + bytes.len() as u64;
            Some(format!(
                "snapshot of {} {offset}..{end} of {}",
                file.index, file.bytes
            ))
        }
        PeerMessage::SnapshotGone(file) => Some(format!("snapshot of {} is gone", file.index)),
        PeerMessage::Formed(formation) => Some(format!("formed by {:?}", formation.founder)),
    }
}

/// Returns a message that is about counts.
pub(crate) fn counts(message: &PeerMessage) -> Option<String> {
    match message {
        PeerMessage::Counts {
            stream,
            seq,
            complete,
            counts,
            ..
        } => {
            let shown: Vec<_> = counts.iter().map(count).collect();
            let all = if *complete { " complete" } else { "" };
            let shown = shown.join(" ");
            Some(format!("counts {stream}.{seq} [{shown}]{all}"))
        }
        PeerMessage::CountsTaken { stream, next, .. } => {
            Some(format!("counts taken {stream}.{next}"))
        }
        PeerMessage::Recount => Some("recount".to_owned()),
        _ => None,
    }
}

fn count(count: &NameCount) -> String {
    let kind = match count.kind {
        SubscriptionKind::Channel => "",
        SubscriptionKind::Pattern => "p/",
        SubscriptionKind::Shard => "s/",
    };
    format!("{kind}{}={}", text(&count.name), count.count)
}

/// Returns an entry of the log.
pub(crate) fn entry(entry: &LogEntry) -> String {
    let at = format!("{}@{}", entry.index, entry.term);
    if entry.entry_type != EntryType::Normal {
        return match EntryHead::decode(entry.context.clone()) {
            Ok(EntryHead::Join { member, replaces }) => {
                let of = replaces.map_or_else(String::new, |node| format!(" for {node:?}"));
                format!("{at} join {:?}{of}", member.id)
            }
            Ok(EntryHead::Leave { node }) => format!("{at} leave {node:?}"),
            _ => format!("{at} change of members"),
        };
    }
    if entry.payload_bytes() == 0 {
        return format!("{at} empty");
    }
    match EntryHead::decode(entry.context.clone()) {
        Ok(EntryHead::Batch(head)) => format!(
            "{at} batch {:?} boot={} number={} id={}{} {}",
            head.origin,
            head.boot,
            head.number,
            head.stamp,
            checked(head.acl),
            operations(head.ops, &entry.data)
        ),
        Ok(EntryHead::OpenSession { node, boot, .. }) => {
            format!("{at} session {node:?} boot={boot}")
        }
        Ok(EntryHead::Bootstrap { members, .. }) => {
            let ids: Vec<_> = members.iter().map(|member| member.id).collect();
            format!("{at} bootstrap {ids:?}")
        }
        Ok(EntryHead::Formed) => format!("{at} formed"),
        Ok(EntryHead::Join { .. } | EntryHead::Leave { .. }) => {
            format!("{at} out of place: on a proposal")
        }
        Ok(EntryHead::Users(changes)) => format!("{at} {}", users(&changes)),
        Ok(EntryHead::History(rules)) => format!("{at} {rules}"),
        Ok(EntryHead::Time { stamp }) => format!("{at} time {stamp}"),
        Ok(EntryHead::Feature { level }) => format!("{at} feature level {level}"),
        Err(error) => format!("{at} unreadable: {error}"),
    }
}

/// Takes one reply or push off what a client reads, which must be whole frames.
pub(crate) fn frame(rest: &mut &[u8]) -> String {
    let line = line(rest);
    let (kind, value) = line.split_at(1);
    let count = || value.parse::<usize>().expect("a length");
    match kind {
        "$" | "*" if value == "-1" => "nil".to_owned(),
        "$" => {
            let (body, after) = rest.split_at(count());
            *rest = &after[2..];
            text(body)
        }
        "_" => "nil".to_owned(),
        "*" => format!("[{}]", items(rest, count())),
        ">" => format!("push [{}]", items(rest, count())),
        "%" => format!("map [{}]", items(rest, count() * 2)),
        _ => line,
    }
}

fn items(rest: &mut &[u8], count: usize) -> String {
    let items: Vec<_> = (0..count).map(|_| frame(rest)).collect();
    items.join(" ")
}

fn line(rest: &mut &[u8]) -> String {
    let end = rest
        .windows(2)
        .position(|pair| pair == b"\r\n")
        .expect("frames are whole");
    let line = text(&rest[..end]);
    *rest = &rest[end + 2..];
    line
}

/// Payloads made large to reach a limit are shown by their size.
fn text(bytes: &[u8]) -> String {
    let repeated = bytes.len() > 40 && bytes.iter().all(|byte| *byte == bytes[0]);
    if repeated {
        return format!("<{} bytes>", bytes.len());
    }
    String::from_utf8_lossy(bytes).into_owned()
}
