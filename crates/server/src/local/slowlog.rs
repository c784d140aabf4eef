//! Commands that took long: `SLOWLOG` (<https://redis.io/docs/latest/commands/slowlog/>).

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use corgi_session::{Reply, SlowLogAsk};

const UNPOISONED: &str = "a panic ends the process, so nobody sees a poisoned lock";
/// Of more words than this, and of longer words, only the beginning is kept, as in Redis.
const WORDS_MAX: usize = 32;
const WORD_BYTES_MAX: usize = 128;

/// One of them.
#[derive(Debug)]
pub(crate) struct Slow {
    /// When it ended, in seconds since 1970.
    pub(crate) at: u64,
    pub(crate) micros: u64,
    /// What was sent.
    pub(crate) args: Vec<Bytes>,
    /// By whom.
    pub(crate) addr: String,
    pub(crate) name: Bytes,
}

/// The last of them.
#[derive(Debug, Default)]
pub(crate) struct SlowLog(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    next: i64,
    /// The last one first.
    list: VecDeque<(i64, Slow)>,
}

impl SlowLog {
    /// Keeps one more, and no more than `max`.
    pub(crate) fn add(&self, mut slow: Slow, max: usize) {
        slow.args = trimmed(&slow.args);
        let mut kept = self.0.lock().expect(UNPOISONED);
        let id = kept.next;
        kept.next += 1;
        kept.list.push_front((id, slow));
        kept.list.truncate(max);
    }

    /// Answers a client.
    pub(crate) fn answer(&self, ask: SlowLogAsk) -> Reply {
        let mut kept = self.0.lock().expect(UNPOISONED);
        match ask {
            SlowLogAsk::Get(count) => {
                let count = count.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
                Reply::Array(kept.list.iter().take(count).map(shown).collect())
            }
            SlowLogAsk::Len => Reply::Integer(kept.list.len() as i64),
            SlowLogAsk::Reset => {
                kept.list.clear();
                Reply::ok()
            }
        }
    }
}

fn shown((id, slow): &(i64, Slow)) -> Reply {
    let number = |n: u64| Reply::Integer(i64::try_from(n).unwrap_or(i64::MAX));
    Reply::Array(vec![
        Reply::Integer(*id),
        number(slow.at),
        number(slow.micros),
        Reply::Array(slow.args.iter().cloned().map(Reply::Bulk).collect()),
        Reply::bulk(slow.addr.clone()),
        Reply::Bulk(slow.name.clone()),
    ])
}

fn trimmed(args: &[Bytes]) -> Vec<Bytes> {
    let keep = if args.len() > WORDS_MAX {
        WORDS_MAX - 1
    } else {
        args.len()
    };
    let mut words: Vec<Bytes> = args[..keep].iter().map(|word| shortened(word)).collect();
    if keep < args.len() {
        words.push(format!("... ({} more arguments)", args.len() - keep).into());
    }
    words
}

/// Copies, because a slice would keep a whole read buffer alive.
fn shortened(word: &[u8]) -> Bytes {
    if word.len() <= WORD_BYTES_MAX {
        return Bytes::copy_from_slice(word);
    }
    let more = word.len() - WORD_BYTES_MAX;
    let mut short = word[..WORD_BYTES_MAX].to_vec();
    short.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
    short.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(args: Vec<Bytes>) -> Slow {
        Slow {
            at: 1,
            micros: 2,
            args,
            addr: "a:1".to_owned(),
            name: Bytes::new(),
        }
    }

    #[test]
    fn the_last_come_first_and_the_oldest_go() {
        let log = SlowLog::default();
        for _ in 0..4 {
            log.add(slow(Vec::new()), 3);
        }
        assert_eq!(log.answer(SlowLogAsk::Len), Reply::Integer(3));
        let Reply::Array(all) = log.answer(SlowLogAsk::Get(Some(2))) else {
            panic!("an array");
        };
        let ids: Vec<_> = all
            .iter()
            .map(|one| match one {
                Reply::Array(fields) => fields[0].clone(),
                _ => panic!("an array"),
            })
            .collect();
        assert_eq!(ids, [Reply::Integer(3), Reply::Integer(2)]);
        assert_eq!(log.answer(SlowLogAsk::Reset), Reply::ok());
        assert_eq!(log.answer(SlowLogAsk::Get(None)), Reply::Array(Vec::new()));
    }

    #[test]
    fn long_requests_are_kept_in_part() {
        let args = vec![Bytes::from(vec![b'x'; 130]); 40];
        let kept = trimmed(&args);
        assert_eq!(kept.len(), 32);
        assert!(kept[0].ends_with(b"x... (2 more bytes)"));
        assert_eq!(kept[31], "... (9 more arguments)");
        assert_eq!(trimmed(&args[..32]).len(), 32);
    }
}
