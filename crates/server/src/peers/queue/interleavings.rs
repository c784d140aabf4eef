//! A lane between the node, which fills it, and the task that writes to the peer.

use super::*;
use crate::interleavings::explore;
use shuttle::future::block_on;
use shuttle::thread;
use std::sync::Arc;

fn message(n: u8) -> Outgoing {
    Outgoing {
        head: vec![n],
        payload: Bytes::new(),
    }
}

#[test]
fn a_lane_sends_what_it_has_taken_in() {
    explore(|| {
        let lane = Arc::new(LaneQueue::new(1 << 20));
        lane.open();
        let pusher = thread::spawn({
            let lane = lane.clone();
            move || {
                (0..4)
                    .filter(|n| lane.push(message(*n)))
                    .collect::<Vec<_>>()
            }
        });
        let mut sent = Vec::new();
        let mut batch = Vec::new();
        block_on(lane.take(&mut batch));
        lane.written(&batch);
        sent.append(&mut batch);
        // The connection ends, and another one begins.
        lane.close();
        lane.open();
        let taken_in = pusher.join().expect("it ends");
        let last = thread::spawn({
            let lane = lane.clone();
            move || assert!(lane.push(message(9)))
        });
        while sent.last().is_none_or(|last| last.head != [9]) {
            block_on(lane.take(&mut batch));
            lane.written(&batch);
            sent.append(&mut batch);
        }
        last.join().expect("it ends");
        let sent: Vec<u8> = sent.iter().map(|out| out.head[0]).collect();
        assert!(sent.is_sorted(), "{sent:?}");
        assert!(sent[..sent.len() - 1].iter().all(|n| taken_in.contains(n)));
        assert!(!lane.close(), "nothing is left");
    });
}
