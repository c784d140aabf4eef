//! Clients that end, hold up and watch each other.

use super::*;
use crate::interleavings::explore;
use shuttle::future::block_on;
use shuttle::thread;

fn enter(registry: &Registry, id: u64) -> (Arc<Outbox>, Arc<Entry>) {
    let outbox = Arc::<Outbox>::default();
    let entry = registry.enter(ClientId(id), Ends::default(), outbox.clone());
    (outbox, entry)
}

#[test]
fn a_client_that_is_ended_by_another_does_not_sleep_on() {
    explore(|| {
        let registry = Registry::new();
        let (outbox, entry) = enter(&registry, 1);
        let other = thread::spawn({
            let entry = entry.clone();
            move || entry.kill()
        });
        while !entry.killed() {
            block_on(outbox.news());
        }
        other.join().expect("it ends");
    });
}

#[test]
fn a_client_wakes_when_a_pause_ends_early_and_the_longest_of_two_holds() {
    explore(|| {
        let registry = Arc::new(Registry::new());
        let (outbox, _entry) = enter(&registry, 1);
        let now = Instant::now();
        let pause = |seconds: u64, what: Pause| {
            let registry = registry.clone();
            thread::spawn(move || registry.pause(Duration::from_secs(seconds), what, now))
        };
        let pausers = [pause(100, Pause::Writes), pause(50, Pause::All)];
        for pauser in pausers {
            pauser.join().expect("it ends");
        }
        let (what, until) = registry.paused(now);
        assert_eq!(what, Pause::All);
        assert!(until >= Some(now + Duration::from_secs(99)), "{until:?}");
        let unpauser = thread::spawn({
            let registry = registry.clone();
            move || registry.unpause()
        });
        while registry.paused(now).0 != Pause::No {
            block_on(outbox.news());
        }
        unpauser.join().expect("it ends");
    });
}

#[test]
fn a_monitor_is_shown_every_line_in_order() {
    explore(|| {
        let registry = Arc::new(Registry::new());
        let (outbox, entry) = enter(&registry, 1);
        registry.set_monitor(&entry, true);
        let shower = thread::spawn({
            let registry = registry.clone();
            move || {
                for n in 0..3 {
                    registry.show(&Bytes::copy_from_slice(&[n]), 1 << 20);
                }
            }
        });
        let mut shown = Vec::new();
        while shown.len() < 3 {
            shown.extend(entry.take_feed());
            if shown.len() < 3 && !entry.has_feed() {
                block_on(outbox.news());
            }
        }
        shower.join().expect("it ends");
        assert_eq!(shown, [&[0][..], &[1], &[2]]);
    });
}

#[test]
fn what_all_clients_hold_is_the_sum_of_what_each_holds() {
    explore(|| {
        let registry = Arc::new(Registry::new());
        registry.set_held_max(100);
        let client = |id: u64| {
            let registry = registry.clone();
            thread::spawn(move || {
                let (_outbox, entry) = enter(&registry, id);
                for bytes in [30, 60, 20] {
                    registry.holds(&entry, bytes);
                    // As a connection does, which goes at its next turn.
                    if entry.killed() {
                        break;
                    }
                }
                registry.leave(&entry);
            })
        };
        for client in [client(1), client(2), client(3)] {
            client.join().expect("it ends");
        }
        assert_eq!(registry.held.load(Ordering::Relaxed), 0);
    });
}
