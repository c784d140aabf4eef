//! The dump of a stopped node's log.
use std::fs;

use crate::common::{batch_entry, batch_write, node, open_dir};
use bytes::Bytes;
use corgi_base::{BatchHead, BatchNumber, Boot, ClusterId, EntryHead, Formation, InstanceId};
use corgi_base::{LogIndex, Member, MessageId, Nonce, Op, Term};
use corgi_consensus::storage::{EntryType, HardState, LogEntry, LogWrite, LogWriter as _};
use corgi_log::{DumpError, OpenError, dump_log};
use corgi_state::store::{StateStore as _, StateWrite};
use tempfile::TempDir;

fn entry(index: u64, term: u64, head: Option<EntryHead>, data: Vec<u8>) -> LogEntry {
    LogEntry {
        index: LogIndex(index),
        term: Term(term),
        entry_type: EntryType::Normal,
        context: head.map(|head| head.encode()).unwrap_or_default(),
        data: data.into(),
    }
}

/// Returns one entry of each kind.
fn one_of_each() -> Vec<LogEntry> {
    let addr = Bytes::from_static(b"127.0.0.1:16379");
    let members = [1, 2].map(|id| Member {
        id: node(id),
        instance: InstanceId(id.into()),
        addr: addr.clone(),
    });
    let bootstrap = EntryHead::Bootstrap {
        cluster: ClusterId(0xc0),
        members: members.into(),
    };
    let session = EntryHead::OpenSession {
        node: node(1),
        instance: InstanceId(1),
        boot: Boot(1),
        nonce: Nonce(0xff),
    };
    let batch = EntryHead::Batch(BatchHead {
        origin: node(1),
        boot: Boot(1),
        number: BatchNumber(1),
        ops: 2,
        stamp: MessageId { ms: 1000, seq: 5 },
        acl: 0,
    });
    let mut ops = Vec::new();
    for payload in ["hello", "a \"quoted\" word\n\0\u{e9}"] {
        let (channel, payload) = ("news".into(), Bytes::copy_from_slice(payload.as_bytes()));
        Op::Publish { channel, payload }.encode(&mut ops);
    }
    let mut change = entry(6, 2, None, b"change".to_vec());
    change.entry_type = EntryType::ConfChange;
    change.context = EntryHead::Leave { node: node(2) }.encode();
    vec![
        entry(1, 1, Some(bootstrap), Vec::new()),
        entry(2, 1, None, Vec::new()),
        entry(3, 1, Some(session), Vec::new()),
        entry(4, 1, Some(EntryHead::Formed), Vec::new()),
        entry(5, 2, Some(batch), ops),
        change,
    ]
}

fn dump(root: &TempDir) -> (String, Result<corgi_log::DumpSummary, DumpError>) {
    let mut out = Vec::new();
    let summary = dump_log(root.path(), &mut out);
    (String::from_utf8(out).unwrap(), summary)
}

#[test]
fn every_kind_of_entry_has_its_line() {
    let root = TempDir::new().unwrap();
    let mut dir = open_dir(root.path()).unwrap();
    let mut stores = dir.open_stores().unwrap();
    dir.form(Formation {
        cluster: ClusterId(0xc0),
        founder: node(1),
    })
    .unwrap();
    let hard_state = HardState {
        term: Term(2),
        vote: Some(node(1)),
        commit: LogIndex(5),
    };
    let write = LogWrite {
        entries: one_of_each(),
        hard_state: Some(hard_state),
    };
    stores.writer.write(&[write]).unwrap();
    let applied = StateWrite {
        applied: LogIndex(5),
        ..StateWrite::default()
    };
    stores.state.write(&applied).unwrap();
    stores.state.flush().unwrap();
    let (_, locked) = dump(&root);
    assert!(matches!(
        locked,
        Err(DumpError::Open(OpenError::Locked { .. }))
    ));
    drop((dir, stores));

    let (text, summary) = dump(&root);
    let zeros = "0".repeat(30);
    let expected = format!(
        r#"identity node=1 boot=1 instance={zeros}4d cluster={zeros}c0 founder=1 floor=0@0
hard-state term=2 vote=1 commit=5
bounds truncated=0@0 last=6@2
state applied=5
entry 1@1 normal bootstrap cluster={zeros}c0 members=1,2
entry 2@1 normal empty
entry 3@1 normal open-session node=1 boot=1 instance={zeros}01 nonce={zeros}ff
entry 4@1 normal formed
entry 5@2 normal batch origin=1 boot=1 number=1 ops=2 stamp=1000-5
1000-5 publish "news" "hello"
1000-6 publish "news" "a \"quoted\" word\n\x00\xc3\xa9"
entry 6@2 conf-change context=10 data=6 leave node=2
end entries=6 operations=2
"#
    );
    assert_eq!(text, expected);
    let summary = summary.unwrap();
    assert_eq!((summary.entries, summary.operations), (6, 2));
    assert_eq!(summary.applied, Some(LogIndex(5)));
    assert_eq!(summary.bounds.last_index, LogIndex(6));
    assert_eq!(dump(&root).0, expected, "a dump changes nothing");
}

#[test]
fn a_folder_without_a_node_is_refused() {
    let root = TempDir::new().unwrap();
    assert!(matches!(dump(&root).1, Err(DumpError::NoNode { .. })));
    assert_eq!(
        fs::read_dir(root.path()).unwrap().count(),
        0,
        "nothing is created"
    );
}

#[test]
fn a_node_that_never_got_a_vote_is_shown() {
    let root = TempDir::new().unwrap();
    drop(open_dir(root.path()).unwrap().open_stores().unwrap());
    let (text, summary) = dump(&root);
    assert!(
        text.contains("cluster=- founder=- floor=0@0\nhard-state term=0 vote=- commit=0\n"),
        "{text}"
    );
    assert_eq!(summary.unwrap().entries, 0);
}

#[test]
fn a_lost_or_damaged_state_does_not_hide_the_log() {
    let root = TempDir::new().unwrap();
    let mut stores = open_dir(root.path()).unwrap().open_stores().unwrap();
    stores.writer.write(&[batch_write(1..=3, 1, 3)]).unwrap();
    drop(stores);
    fs::write(root.path().join("state/CURRENT"), "MANIFEST-999999\n").unwrap();
    let (text, summary) = dump(&root);
    assert!(text.contains("state damaged: "), "{text}");
    assert_eq!(
        (summary.unwrap().entries, text.matches(" publish ").count()),
        (3, 3)
    );
    fs::remove_dir_all(root.path().join("state")).unwrap();
    let (text, summary) = dump(&root);
    assert!(text.contains("state missing\n"), "{text}");
    assert_eq!(summary.unwrap().applied, None);
}

#[test]
fn an_entry_of_the_future_is_named() {
    let root = TempDir::new().unwrap();
    let mut stores = open_dir(root.path()).unwrap().open_stores().unwrap();
    let mut write = batch_write(1..=2, 1, 2);
    write.entries[1] = LogEntry {
        context: Bytes::from_static(&[1, 0xee]),
        ..batch_entry(2, 1)
    };
    stores.writer.write(&[write]).unwrap();
    drop(stores);
    let (text, summary) = dump(&root);
    let error = summary.unwrap_err();
    assert!(
        matches!(
            error,
            DumpError::Decode {
                index: LogIndex(2),
                ..
            }
        ),
        "{error}"
    );
    assert!(!text.contains("end entries"), "{text}");
}
