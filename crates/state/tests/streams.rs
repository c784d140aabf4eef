//! Streams by example: what Redis 8.2 answers to the same commands.

use bytes::Bytes;
use corgi_base::MessageId;
use corgi_base::answer::{Answer, KeyError};
use corgi_base::streams::{
    After, Claim, Delivered, GroupStart, Keep, Limits, Nack, NewId, Producer, Refs, StreamOp, Trim,
    id,
};
use corgi_state::streams::{At, RowKey, Streams};

fn b(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn at(text: &str) -> MessageId {
    id::parse(text.as_bytes(), 0).expect("an id")
}

fn ids(texts: &[&str]) -> Vec<MessageId> {
    texts.iter().map(|text| at(text)).collect()
}

/// Answers in one line: `-` nil, `_` nil where a list would be.
fn show(answer: &Answer) -> String {
    let list = |parts: Vec<String>| format!("[{}]", parts.join(" "));
    match answer {
        Answer::Ok => "OK".into(),
        Answer::Status(text) => (*text).into(),
        Answer::Nil => "-".into(),
        Answer::NilArray => "_".into(),
        Answer::Int(number) => number.to_string(),
        Answer::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Answer::Array(each) => list(each.iter().map(show).collect()),
        Answer::Map(pairs) => list(
            pairs
                .iter()
                .map(|(name, value)| format!("{}={}", show(name), show(value)))
                .collect(),
        ),
        Answer::Streams(pairs) => list(
            pairs
                .iter()
                .map(|(key, value)| format!("{}:{}", String::from_utf8_lossy(key), show(value)))
                .collect(),
        ),
        Answer::Error(error) => error.to_string(),
    }
}

/// The streams with one key, `s`.
struct One {
    streams: Streams,
    stream: Option<MessageId>,
    now_ms: u64,
    seq: u64,
}

impl One {
    fn new() -> Self {
        Self {
            streams: Streams::default(),
            stream: None,
            now_ms: 1000,
            seq: 0,
        }
    }

    fn run(&mut self, op: StreamOp) -> String {
        self.seq += 1;
        let id = MessageId {
            ms: self.now_ms,
            seq: self.seq,
        };
        let now_ms = self.now_ms;
        let stream = self.stream;
        let find = |key: &Bytes| match &key[..] {
            b"s" => Ok(stream),
            b"string" => Err(KeyError::WrongType),
            _ => Ok(None),
        };
        let done = self.streams.execute(&op, &find, At { now_ms, id });
        if done.made.is_some() {
            self.stream = Some(id);
        }
        show(&done.answer)
    }

    fn add(&mut self, id: &str) -> String {
        self.run(add_op(id::parse_new(id.as_bytes()).expect("an id")))
    }

    fn add_all(&mut self, ids: &[&str]) {
        for id in ids {
            assert_eq!(self.add(id), *id);
        }
    }

    fn group(&mut self) -> String {
        let (after, entries_read) = (Some(at("0")), None);
        self.run(StreamOp::GroupCreate {
            key: b("s"),
            group: b("g"),
            start: GroupStart {
                after,
                entries_read,
            },
            make: true,
        })
    }

    fn read(&mut self, consumer: &str, after: Option<&str>, claim_ms: Option<u64>) -> String {
        self.run(StreamOp::ReadGroup {
            group: b("g"),
            consumer: b(consumer),
            streams: vec![(b("s"), after.map(at))],
            limits: Limits::default(),
            no_ack: false,
            claim_ms,
        })
    }

    fn pending(&mut self) -> String {
        self.run(StreamOp::PendingRange {
            key: b("s"),
            group: b("g"),
            min_idle_ms: 0,
            from: MessageId::default(),
            to: id::MAX,
            count: 100,
            consumer: None,
        })
    }
}

fn add_op(id: NewId) -> StreamOp {
    StreamOp::Add {
        key: b("s"),
        existing: false,
        producer: None,
        trim: None,
        refs: Refs::Keep,
        id,
        fields: vec![b("f"), b("v")],
    }
}

#[test]
fn ids_grow_and_those_that_do_not_are_refused() {
    let mut one = One::new();
    assert_eq!(one.add("5-1"), "5-1");
    assert_eq!(
        one.add("5-1"),
        "ERR The ID specified in XADD is equal or smaller than the target stream top item"
    );
    assert_eq!(one.add("5-*"), "5-2");
    assert!(one.add("4-*").starts_with("ERR The ID specified"));
    // The operation's own id, as long as that is larger than the last.
    assert_eq!(one.add("*"), "1000-5");
    assert_eq!(one.add("2000-7"), "2000-7");
    assert_eq!(one.add("*"), "2000-8");
    assert_eq!(
        one.add("18446744073709551615-18446744073709551615").len(),
        41
    );
    assert!(one.add("*").contains("exhausted the last possible ID"));
}

#[test]
fn a_refused_first_id_makes_no_stream() {
    let mut one = One::new();
    let no = StreamOp::Add {
        key: b("s"),
        existing: true,
        producer: None,
        trim: None,
        refs: Refs::Keep,
        id: NewId::Auto,
        fields: vec![b("f"), b("v")],
    };
    assert_eq!(one.run(no), "-");
    assert_eq!(one.add("0-*"), "0-1");
    let wrong = StreamOp::Len(b("string"));
    assert!(one.run(wrong).starts_with("WRONGTYPE"));
}

#[test]
fn reading_after_an_id_the_top_and_all_but_the_last() {
    let mut one = One::new();
    one.add_all(&["1-1", "1-2", "1-3"]);
    let read = |after, count, max_count, max_bytes| StreamOp::Read {
        streams: vec![(b("s"), after), (b("none"), After::ButLast)],
        limits: Limits {
            count,
            max_count,
            max_bytes,
        },
    };
    let after = After::Id(at("1-1"));
    assert_eq!(
        one.run(read(after, None, None, None)),
        "[s:[[1-2 [f v]] [1-3 [f v]]]]"
    );
    assert_eq!(
        one.run(read(after, Some(1), None, None)),
        "[s:[[1-2 [f v]]]]"
    );
    assert_eq!(
        one.run(read(after, None, Some(1), None)),
        "[s:[[1-2 [f v]]]]"
    );
    // One entry is given whatever its size.
    assert_eq!(
        one.run(read(after, None, None, Some(1))),
        "[s:[[1-2 [f v]]]]"
    );
    assert_eq!(one.run(read(After::Top, None, None, None)), "_");
    assert_eq!(
        one.run(read(After::ButLast, None, None, None)),
        "[s:[[1-3 [f v]]]]"
    );
}

#[test]
fn a_group_gives_each_entry_once_and_remembers_it() {
    let mut one = One::new();
    assert_eq!(one.group(), "OK");
    assert!(one.group().starts_with("BUSYGROUP"));
    one.add_all(&["1-1", "1-2"]);
    assert_eq!(one.read("a", None, None), "[s:[[1-1 [f v]] [1-2 [f v]]]]");
    assert_eq!(one.read("b", None, None), "_");
    assert_eq!(one.read("b", Some("0"), None), "[s:[]]");
    let (key, group) = (b("s"), b("g"));
    let ack = StreamOp::Ack {
        key: key.clone(),
        group: group.clone(),
        ids: ids(&["1-1", "9-9"]),
    };
    assert_eq!(one.run(ack), "1");
    one.now_ms += 10;
    assert_eq!(one.pending(), "[[1-2 a 10 1]]");
    // Reading what is pending delivers it once more; what is deleted has no fields.
    assert_eq!(one.read("a", Some("0"), None), "[s:[[1-2 [f v]]]]");
    assert_eq!(one.pending(), "[[1-2 a 0 2]]");
    let del = StreamOp::Del {
        key: key.clone(),
        ids: ids(&["1-2"]),
    };
    assert_eq!(one.run(del), "1");
    assert_eq!(one.read("a", Some("0"), None), "[s:[[1-2 _]]]");
    let summary = StreamOp::Pending { key, group };
    assert_eq!(one.run(summary), "[1 1-2 1-2 [[a 1]]]");
    assert_eq!(
        one.run(StreamOp::InfoGroups(b("s"))),
        "[[name=g consumers=2 pending=1 last-delivered-id=1-2 entries-read=2 lag=0]]"
    );
}

#[test]
fn what_was_trimmed_away_unread_is_no_lag() {
    let mut one = One::new();
    one.run(StreamOp::GroupCreate {
        key: b("s"),
        group: b("g"),
        start: GroupStart {
            after: Some(at("0")),
            entries_read: Some(0),
        },
        make: true,
    });
    one.add_all(&["1-1", "1-2", "1-3"]);
    let trim = StreamOp::Trim {
        key: b("s"),
        trim: Trim {
            keep: Keep::Newest(1),
            limit: None,
        },
        refs: Refs::Keep,
    };
    assert_eq!(one.run(trim), "2");
    one.read("a", None, None);
    assert_eq!(
        one.run(StreamOp::InfoGroups(b("s"))),
        "[[name=g consumers=1 pending=1 last-delivered-id=1-3 entries-read=3 lag=0]]"
    );
}

#[test]
fn claims_move_what_is_idle_and_drop_what_is_deleted() {
    let mut one = One::new();
    one.group();
    one.add_all(&["1-1", "1-2", "1-3"]);
    one.read("a", None, None);
    one.now_ms += 100;
    let claim = |id: &str, min_idle_ms, force, just_id| StreamOp::Claim {
        key: b("s"),
        group: b("g"),
        consumer: b("b"),
        ids: ids(&[id]),
        claim: Claim {
            min_idle_ms,
            delivered: Delivered::Now,
            retry_count: None,
            force,
            just_id,
            last_id: None,
        },
    };
    assert_eq!(one.run(claim("1-1", 101, false, false)), "[]");
    assert_eq!(one.run(claim("1-1", 100, false, false)), "[[1-1 [f v]]]");
    assert_eq!(one.run(claim("1-2", 0, false, true)), "[1-2]");
    assert_eq!(one.pending(), "[[1-1 b 0 2] [1-2 b 0 1] [1-3 a 100 1]]");
    let del = StreamOp::Del {
        key: b("s"),
        ids: ids(&["1-3"]),
    };
    one.run(del);
    let auto = StreamOp::AutoClaim {
        key: b("s"),
        group: b("g"),
        consumer: b("c"),
        min_idle_ms: 50,
        from: MessageId::default(),
        count: 10,
        just_id: false,
    };
    assert_eq!(one.run(auto), "[0-0 [] [1-3]]");
    let ack = StreamOp::Ack {
        key: b("s"),
        group: b("g"),
        ids: ids(&["1-1", "1-2"]),
    };
    assert_eq!(one.run(ack), "2");
    // Not pending, but there: FORCE, and counted as Redis counts it.
    assert_eq!(one.run(claim("1-1", 0, true, false)), "[[1-1 [f v]]]");
    assert_eq!(one.pending(), "[[1-1 b 0 2]]");
}

#[test]
fn what_is_given_back_comes_first() {
    let mut one = One::new();
    one.group();
    one.add_all(&["1-1", "1-2"]);
    one.read("a", None, None);
    one.add("1-3");
    let nack = |what, retry_count| StreamOp::Nack {
        key: b("s"),
        group: b("g"),
        what,
        ids: ids(&["1-2", "7-7"]),
        retry_count,
        force: false,
    };
    assert_eq!(one.run(nack(Nack::Fatal, None)), "1");
    assert_eq!(
        one.pending().split(' ').next_back(),
        Some("9223372036854775807]]")
    );
    assert_eq!(one.run(nack(Nack::Fail, Some(4))), "1");
    assert_eq!(one.run(nack(Nack::Silent, None)), "1");
    one.now_ms += 20;
    // Given back, then idle, then new: each with its idle time and its deliveries so far.
    assert_eq!(
        one.read("b", None, Some(20)),
        "[s:[[1-2 [f v] 1020 3] [1-1 [f v] 20 1] [1-3 [f v] 0 0]]]"
    );
    assert_eq!(one.pending(), "[[1-1 b 0 2] [1-2 b 0 4] [1-3 b 0 1]]");
}

#[test]
fn deleting_looks_at_what_groups_need_if_asked_to() {
    let mut one = One::new();
    one.group();
    one.add_all(&["1-1", "1-2", "1-3"]);
    let del = |refs| StreamOp::DelEx {
        key: b("s"),
        refs,
        ids: ids(&["1-1", "9-9"]),
    };
    // Not given out yet.
    assert_eq!(one.run(del(Refs::Acked)), "[2 2]");
    one.read("a", None, None);
    assert_eq!(one.run(del(Refs::Acked)), "[2 2]");
    assert_eq!(one.run(del(Refs::Delete)), "[1 -1]");
    assert_eq!(one.pending(), "[[1-2 a 0 1] [1-3 a 0 1]]");
    let ack = |group: &str, refs| StreamOp::AckDel {
        key: b("s"),
        group: b(group),
        refs,
        ids: ids(&["1-2", "9-9"]),
    };
    assert_eq!(one.run(ack("none", Refs::Keep)), "[-1 -1]");
    assert_eq!(one.run(ack("g", Refs::Acked)), "[1 -1]");
    let trim = |refs| StreamOp::Trim {
        key: b("s"),
        trim: Trim {
            keep: Keep::Newest(0),
            limit: None,
        },
        refs,
    };
    assert_eq!(one.run(trim(Refs::Acked)), "0");
    assert_eq!(one.run(trim(Refs::Keep)), "1");
    assert_eq!(one.run(StreamOp::Len(b("s"))), "0");
}

#[test]
fn a_second_attempt_is_answered_with_the_first_entry() {
    let mut one = One::new();
    let add = |iid: Option<&str>, value: &str| StreamOp::Add {
        key: b("s"),
        existing: false,
        producer: Some(Producer {
            pid: b("p"),
            iid: iid.map(b),
        }),
        trim: None,
        refs: Refs::Keep,
        id: NewId::Auto,
        fields: vec![b("f"), b(value)],
    };
    let first = one.run(add(Some("1"), "x"));
    assert_eq!(one.run(add(Some("1"), "y")), first);
    assert_ne!(one.run(add(Some("2"), "x")), first);
    let by_content = one.run(add(None, "z"));
    assert_eq!(one.run(add(None, "z")), by_content);
    // What was deleted meanwhile has been there: the attempt is known all the same.
    let del = StreamOp::Del {
        key: b("s"),
        ids: vec![at(&first)],
    };
    assert_eq!(one.run(del), "1");
    assert_eq!(one.run(add(Some("1"), "x")), first);
    let info = one.run(StreamOp::Info(b("s")));
    assert!(
        info.contains("iids-tracked=3 iids-added=3 iids-duplicates=3"),
        "{info}"
    );
    // By log time, and not longer.
    one.now_ms += 100_001;
    assert_ne!(one.run(add(Some("1"), "x")), first);
    let configure = StreamOp::Configure {
        key: b("s"),
        duration_s: None,
        max: Some(1),
    };
    assert_eq!(one.run(configure), "OK");
    let a = one.run(add(Some("a"), "x"));
    one.run(add(Some("b"), "x"));
    assert_ne!(
        one.run(add(Some("a"), "x")),
        a,
        "only the last one is known"
    );
}

#[test]
fn two_attempts_may_have_the_same_entry_where_ids_were_set_back() {
    let mut one = One::new();
    one.add("99999999999999-0");
    let add = |iid: &str| StreamOp::Add {
        key: b("s"),
        existing: false,
        producer: Some(Producer {
            pid: b("p"),
            iid: Some(b(iid)),
        }),
        trim: None,
        refs: Refs::Keep,
        id: NewId::Auto,
        fields: vec![b("f"), b("v")],
    };
    let id = one.run(add("b"));
    let del = StreamOp::Del {
        key: b("s"),
        ids: vec![at(&id)],
    };
    assert_eq!(one.run(del), "1");
    let back = |max_deleted| StreamOp::SetId {
        key: b("s"),
        last: at(&id),
        added: None,
        max_deleted,
    };
    assert_eq!(one.run(back(Some(at("0-1")))), "OK");
    let set = StreamOp::SetId {
        key: b("s"),
        last: at("99999999999999-0"),
        added: None,
        max_deleted: None,
    };
    assert_eq!(one.run(set), "OK");
    assert_eq!(one.run(add("a")), id);
    assert_eq!((one.run(add("a")), one.run(add("b"))), (id.clone(), id));
    let mut restored = Streams::default();
    for key in one.streams.rows() {
        let row = one.streams.row(&key).expect("a row that there is");
        restored.restore(key, row).expect("a row of this build");
    }
    restored.restored();
    one.streams.take_changed();
    assert_eq!(restored, one.streams);
}

#[test]
fn what_is_not_there_is_answered_in_the_words_of_redis() {
    let mut one = One::new();
    assert_eq!(
        one.read("a", None, None),
        "NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option"
    );
    let (key, group) = (b("s"), b("g"));
    let destroy = StreamOp::GroupDestroy { key, group };
    assert!(
        one.run(destroy.clone())
            .starts_with("ERR The XGROUP subcommand requires the key")
    );
    assert_eq!(one.run(StreamOp::Info(b("s"))), "ERR no such key");
    one.add("1-1");
    assert_eq!(one.run(destroy.clone()), "0");
    let (key, group) = (b("s"), b("g"));
    let pending = StreamOp::Pending { key, group };
    assert_eq!(
        one.run(pending),
        "NOGROUP No such key 's' or consumer group 'g'"
    );
    let consumer = StreamOp::ConsumerCreate {
        key: b("s"),
        group: b("g"),
        consumer: b("c"),
    };
    assert_eq!(
        one.run(consumer.clone()),
        "NOGROUP No such consumer group 'g' for key name 's'"
    );
    one.group();
    assert_eq!(one.run(consumer.clone()), "1");
    assert_eq!(one.run(consumer), "0");
    assert_eq!(one.run(destroy), "1");
    let set = |last: &str, added| StreamOp::SetId {
        key: b("s"),
        last: at(last),
        added,
        max_deleted: None,
    };
    assert_eq!(
        one.run(set("1-0", None)),
        "ERR The ID specified in XSETID is smaller than the target stream top item"
    );
    assert_eq!(
        one.run(set("2-0", Some(0))),
        "ERR The entries_added specified in XSETID is smaller than the target stream length"
    );
    assert_eq!(one.run(set("2-0", Some(7))), "OK");
    assert!(one.add("2-0").starts_with("ERR The ID specified"));
}

#[test]
fn adding_writes_the_entry_and_the_head_and_a_removed_stream_leaves_no_row() {
    let mut one = One::new();
    one.group();
    for ms in 1..50 {
        one.add(&format!("{ms}-0"));
    }
    one.read("a", None, None);
    one.streams.take_changed();
    one.add("60-0");
    let changed: Vec<RowKey> = one.streams.take_changed().into_iter().collect();
    assert_eq!(changed.len(), 2, "{changed:?}");
    let before = one.streams.memory();
    let stream = one.stream.take().unwrap();
    let copy = MessageId { ms: 9000, seq: 0 };
    one.streams.copy(stream, copy);
    let rows = one.streams.rows().len();
    assert_eq!(one.streams.take_changed().len(), rows / 2);
    assert!(one.streams.memory() > before);
    one.streams.remove(stream);
    let removed = one.streams.take_changed();
    assert_eq!(removed.len(), rows / 2);
    assert!(removed.iter().all(|key| one.streams.row(key).is_none()));
    one.streams.remove(copy);
    assert_eq!(one.streams.rows().len(), 0);
}
