//! What clients were denied: `ACL LOG` (<https://redis.io/docs/latest/commands/acl-log/>).

use std::collections::VecDeque;
use std::sync::Mutex;

use corgi_session::{AclLogAsk, Denial, Reply};

const UNPOISONED: &str = "a panic ends the process, so nobody sees a poisoned lock";
/// The same again within this time is counted, if it is among the last few; as in Redis.
const GROUP_MS: u64 = 60_000;
const GROUP_ENTRIES: usize = 10;

/// The last denials.
#[derive(Debug, Default)]
pub(super) struct AclLog(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    next: i64,
    /// The last one first.
    list: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: i64,
    denial: Denial,
    count: u64,
    /// The client as a line, when it was last denied this.
    client: String,
    /// In milliseconds since 1970.
    created: u64,
    updated: u64,
}

impl AclLog {
    /// Keeps what a client was denied so many times, and no more than `max` entries.
    pub(super) fn add(&self, denial: Denial, times: u64, client: &str, now_ms: u64, max: usize) {
        let mut kept = self.0.lock().expect(UNPOISONED);
        let same = |entry: &Entry| {
            entry.denial == denial && now_ms.saturating_sub(entry.updated) <= GROUP_MS
        };
        let mut last = kept.list.iter().take(GROUP_ENTRIES);
        if let Some(at) = last.position(same)
            && let Some(mut entry) = kept.list.remove(at)
        {
            entry.count += times;
            client.clone_into(&mut entry.client);
            entry.updated = now_ms;
            kept.list.push_front(entry);
        } else {
            let entry = Entry {
                id: kept.next,
                denial,
                count: times,
                client: client.to_owned(),
                created: now_ms,
                updated: now_ms,
            };
            kept.next += 1;
            kept.list.push_front(entry);
        }
        kept.list.truncate(max);
    }

    /// Answers a client.
    pub(super) fn answer(&self, ask: AclLogAsk, now_ms: u64) -> Reply {
        let mut kept = self.0.lock().expect(UNPOISONED);
        match ask {
            AclLogAsk::Get(count) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                let entries = kept.list.iter().take(count);
                Reply::Array(entries.map(|entry| shown(entry, now_ms)).collect())
            }
            AclLogAsk::Reset => {
                kept.list.clear();
                Reply::ok()
            }
        }
    }
}

fn shown(entry: &Entry, now_ms: u64) -> Reply {
    let number = |n: u64| Reply::Integer(i64::try_from(n).unwrap_or(i64::MAX));
    let denial = &entry.denial;
    let age_s = now_ms.saturating_sub(entry.updated) as f64 / 1000.0;
    let pairs = [
        ("count", number(entry.count)),
        ("reason", Reply::bulk(denial.reason.name())),
        ("context", Reply::bulk(denial.context.name())),
        ("object", Reply::Bulk(denial.object.clone())),
        ("username", Reply::Bulk(denial.user.clone())),
        ("age-seconds", Reply::Double(age_s)),
        ("client-info", Reply::bulk(entry.client.clone())),
        ("entry-id", Reply::Integer(entry.id)),
        ("timestamp-created", number(entry.created)),
        ("timestamp-last-updated", number(entry.updated)),
    ];
    let pairs = pairs.into_iter();
    Reply::Map(
        pairs
            .map(|(name, value)| (Reply::bulk(name), value))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use corgi_session::{Context, Reason};

    fn denial(object: &'static str) -> Denial {
        Denial {
            reason: Reason::Channel,
            context: Context::TopLevel,
            object: Bytes::from_static(object.as_bytes()),
            user: Bytes::from_static(b"alice"),
        }
    }

    /// Objects, counts and ids, the last one first.
    fn entries(log: &AclLog) -> Vec<(String, u64, i64)> {
        let kept = log.0.lock().unwrap();
        let text = |entry: &Entry| String::from_utf8_lossy(&entry.denial.object).into_owned();
        let entries = kept.list.iter();
        entries
            .map(|entry| (text(entry), entry.count, entry.id))
            .collect()
    }

    #[test]
    fn the_same_within_a_minute_is_one_entry_and_comes_first() {
        let log = AclLog::default();
        log.add(denial("a"), 1, "id=1", 1000, 10);
        log.add(denial("b"), 2, "id=1", 2000, 10);
        log.add(denial("a"), 1, "id=2", 61_000, 10);
        let a = ("a".to_owned(), 2, 0);
        assert_eq!(entries(&log), [a.clone(), ("b".to_owned(), 2, 1)]);
        log.add(denial("b"), 1, "id=2", 62_001, 10);
        assert_eq!(entries(&log)[0], ("b".to_owned(), 1, 2), "too late for it");
        let Reply::Array(shown) = log.answer(AclLogAsk::Get(2), 62_501) else {
            panic!("an array");
        };
        assert_eq!(shown.len(), 2);
        let Reply::Map(pairs) = &shown[1] else {
            panic!("a map: {shown:?}");
        };
        assert_eq!(pairs[5].1, Reply::Double(1.501));
        assert_eq!(pairs[6].1, Reply::bulk("id=2"));
    }

    #[test]
    fn no_more_are_kept_than_shall_be() {
        let log = AclLog::default();
        for object in ["a", "b", "c"] {
            log.add(denial(object), 1, "", 0, 2);
        }
        assert_eq!(entries(&log).len(), 2);
        assert_eq!(log.answer(AclLogAsk::Reset, 0), Reply::ok());
        assert_eq!(entries(&log), []);
    }
}
