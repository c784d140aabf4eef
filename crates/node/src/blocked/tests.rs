use super::*;
use corgi_base::MessageId;
use corgi_base::streams::{After, Limits};

const NEVER: u64 = u64::MAX;

fn key(name: &str) -> Watched {
    Watched::Key(0, Bytes::copy_from_slice(name.as_bytes()))
}

fn reader(client: u64, keys: &[&str], until_ms: u64) -> Reader {
    let after = After::Id(MessageId::default());
    let stream = |name: &&str| (Bytes::copy_from_slice(name.as_bytes()), after);
    let op = StreamOp::Read {
        streams: keys.iter().map(stream).collect(),
        limits: Limits::default(),
    };
    let wanted = Wanted::Streams {
        db: 0,
        op: Box::new(op),
    };
    Reader::new(ClientId(client), Seq(0), wanted, until_ms)
}

fn blocked(readers: impl IntoIterator<Item = Reader>) -> Blocked {
    let mut blocked = Blocked::new(10);
    for reader in readers {
        blocked.wait(reader).expect("there is room");
    }
    blocked
}

fn woken(blocked: &mut Blocked) -> Vec<(Watched, Vec<u64>)> {
    std::iter::from_fn(|| blocked.take_woken()).collect()
}

#[test]
fn only_what_is_watched_wakes_and_who_waits_longest_comes_first() {
    let mut all = blocked([
        reader(5, &["a", "b"], NEVER),
        reader(3, &["b"], NEVER),
        reader(9, &["c"], NEVER),
    ]);
    for name in ["x", "b", "b", "a"] {
        all.touch(key(name));
    }
    assert_eq!(
        woken(&mut all),
        [(key("a"), vec![0]), (key("b"), vec![0, 1])]
    );
    all.forget(ClientId(5));
    all.touch_all();
    assert_eq!(woken(&mut all), [(key("b"), vec![1]), (key("c"), vec![2])]);
}

#[test]
fn nothing_is_left_of_those_who_have_gone() {
    let mut all = blocked([reader(1, &["a", "b", "a"], NEVER), reader(2, &["a"], 5)]);
    assert_eq!(all.watched, 3, "a key that is named twice is watched once");
    all.forget(ClientId(1));
    all.forget(ClientId(1));
    assert_eq!(all.take_due(5).len(), 1);
    assert_eq!(
        (all.watched, all.watching.len(), all.deadlines.len()),
        (0, 0, 0)
    );
    assert_eq!(all.clients(), []);
}

#[test]
fn there_are_no_more_than_may_be() {
    let keys = ["a", "b", "c", "d", "e", "f"];
    let mut all = blocked([reader(1, &keys, NEVER)]);
    let refused = all.wait(reader(2, &keys, NEVER));
    let text = refused.expect_err("twelve are more than ten");
    assert!(text.starts_with(b"ERR not waiting: "), "{text:?}");
    assert!(all.wait(reader(2, &keys[..4], NEVER)).is_ok());
}

#[test]
fn time_ends_the_waiting_but_not_of_whom_something_is_on_its_way_to() {
    let mut all = blocked([
        reader(1, &["a"], 10),
        reader(2, &["a"], 20),
        reader(3, &["a"], NEVER),
    ]);
    assert!(all.take_due(9).is_empty());
    all.asked(0);
    let due = all.take_due(20);
    let due: Vec<_> = due
        .iter()
        .map(|(reader, reply)| (reader.client, reply))
        .collect();
    assert_eq!(due, [(ClientId(2), &Reply::NullArray)]);
    assert!(all.take_due(30).is_empty());
    // It was given nothing: now its time is up.
    let answered = all.answered(ClientId(1), Seq(0), Reply::NullArray);
    assert_eq!(answered, Some(Reply::NullArray));
    assert_eq!(all.clients(), [ClientId(3)]);
}

#[test]
fn who_was_given_nothing_waits_on_in_its_place() {
    let mut all = blocked([reader(1, &["a"], NEVER), reader(2, &["a"], NEVER)]);
    all.asked(0);
    assert_eq!(all.answered(ClientId(1), Seq(0), Reply::NullArray), None);
    // What came while it was under way is looked at again.
    assert_eq!(woken(&mut all), [(key("a"), vec![0, 1])]);
    all.asked(0);
    let some = Reply::Integer(1);
    assert_eq!(
        all.answered(ClientId(1), Seq(0), some.clone()),
        Some(some.clone())
    );
    assert_eq!(all.clients(), [ClientId(2)]);
    assert_eq!(all.answered(ClientId(7), Seq(0), some.clone()), Some(some));
}

#[test]
fn unblocking_ends_it_as_if_time_were_up_or_with_an_error() {
    let mut all = blocked([
        reader(1, &["a"], NEVER),
        reader(2, &["a"], NEVER),
        reader(3, &["a"], NEVER),
    ]);
    let error = Reply::error(errors::UNBLOCKED);
    assert!(!all.unblock(ClientId(9), true).0);
    let (waited, told) = all.unblock(ClientId(1), false);
    assert_eq!(
        (waited, told.map(|told| told.1)),
        (true, Some(Reply::NullArray))
    );
    let (waited, told) = all.unblock(ClientId(2), true);
    assert_eq!(
        (waited, told.map(|told| told.1)),
        (true, Some(error.clone()))
    );
    all.asked(2);
    let (waited, told) = all.unblock(ClientId(3), true);
    assert!(waited && told.is_none());
    assert_eq!(
        all.answered(ClientId(3), Seq(0), Reply::NullArray),
        Some(error)
    );
    assert_eq!(all.clients(), []);
}
