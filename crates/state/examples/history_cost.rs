//! What history adds to the application of a PUBLISH: `cargo run --release -p corgi-state --example history_cost`.

use bytes::Bytes;
use corgi_base::{
    BatchHead, BatchNumber, Boot, ClusterId, EntryHead, InstanceId, LogIndex, Member, MessageId,
    NodeId, Nonce, Op, Term,
};
use corgi_state::State;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

const MESSAGES: u64 = 1_000_000;
const PAYLOAD: [u8; 100] = [b'x'; 100];

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let what =
        "per message, 100 B each: apply and rows, without history, with it; then what it has";
    writeln!(out, "{what}")?;
    for ops in [1, 16, 64] {
        for channels in [1, 10, 10_000, 1_000_000] {
            let (without, _) = run(2, ops, channels);
            let (with, totals) = run(3, ops, channels);
            writeln!(
                out,
                "{ops:2} an entry, {channels:7} channels: {without:5} ns, {with:5} ns, {totals:?}"
            )?;
        }
    }
    Ok(())
}

fn run(level: u32, ops: u64, channels: u64) -> (u128, corgi_state::history::Totals) {
    let node = NodeId::new(1).expect("not 0");
    let mut state = State::new(node);
    let mut index = LogIndex(0);
    let mut apply = |state: &mut State, head: &EntryHead, data: Bytes| {
        index = index.next();
        let applied = state.apply(index, Term(1), head.encode(), data);
        drop(applied.expect("a good entry"));
        drop(state.take_write());
    };
    let member = Member {
        id: node,
        instance: InstanceId(1),
        addr: Bytes::new(),
    };
    let first = [
        EntryHead::Bootstrap {
            cluster: ClusterId(1),
            members: vec![member],
        },
        EntryHead::Feature { level },
        EntryHead::OpenSession {
            node,
            instance: InstanceId(1),
            boot: Boot(1),
            nonce: Nonce(1),
        },
    ];
    for head in first {
        apply(&mut state, &head, Bytes::new());
    }
    let names: Vec<Bytes> = (0..channels.min(MESSAGES))
        .map(|k| Bytes::from(format!("channel:{k}")))
        .collect();
    let mut random = 1_u64;
    let mut spent = Duration::ZERO;
    for number in 1..=MESSAGES / ops {
        let mut data = Vec::new();
        for _ in 0..ops {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
            let at = (random >> 33) % names.len() as u64;
            let op = Op::Publish {
                channel: names[usize::try_from(at).expect("small")].clone(),
                payload: Bytes::from_static(&PAYLOAD),
            };
            op.encode(&mut data);
        }
        let head = EntryHead::Batch(BatchHead {
            origin: node,
            boot: Boot(1),
            number: BatchNumber(number),
            ops: u32::try_from(ops).expect("few"),
            // A million messages in ten seconds.
            stamp: MessageId {
                ms: 1 + number * ops / 100,
                seq: number * ops,
            },
            acl: 0,
        });
        let started = Instant::now();
        apply(&mut state, &head, data.into());
        spent += started.elapsed();
    }
    (
        spent.as_nanos() / u128::from(MESSAGES),
        state.history().totals(),
    )
}
