//! All clients of the process, as others may see and end them.
//!
//! Each connection writes down at the end of each of its turns what is known of it; whoever asks reads that. So a list
//! of all clients stops neither the node nor any of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corgi_base::ClientId;
use corgi_session::{ClientFilter, Pause, View};

use super::line;
use crate::clients::Outbox;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

const UNPOISONED: &str = "a panic ends the process, so nobody sees a poisoned lock";

/// What all clients together may hold that have not shown a password yet: whoever reaches the port can be many of them.
const STRANGERS_HELD_MAX: u64 = 32 << 20;

/// Where a connection comes from and goes to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    /// The client's side, as Redis writes it.
    pub(crate) addr: String,
    /// This side.
    pub(crate) local_addr: String,
    /// Over a Unix socket.
    pub(crate) unix: bool,
    /// The number of the socket in this process.
    pub(crate) fd: i32,
}

impl Ends {
    /// Returns the client's address; there is none over a Unix socket.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        let addr = self.addr.parse::<SocketAddr>();
        addr.ok().filter(|_| !self.unix).map(|addr| addr.ip())
    }

    /// Whether the client is on this machine.
    pub(crate) fn of_this_machine(&self) -> bool {
        let loopback = |addr: SocketAddr| addr.ip().to_canonical().is_loopback();
        self.unix || self.addr.parse().is_ok_and(loopback)
    }
}

/// What a connection last wrote down.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// What its session knows.
    pub(crate) view: View,
    /// When the client last sent something.
    pub(crate) last_input: Instant,
    /// Bytes that were read and not yet executed.
    pub(crate) input: usize,
    /// Bytes that the buffer for input could hold.
    pub(crate) input_capacity: usize,
    /// Bytes read from it.
    pub(crate) bytes_in: u64,
    /// Bytes written to it.
    pub(crate) bytes_out: u64,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: ClientId,
    pub(crate) ends: Ends,
    pub(crate) since: Instant,
    seen: Mutex<Option<Seen>>,
    killed: AtomicBool,
    /// What it last said that it holds.
    held: AtomicHolding,
    outbox: Arc<Outbox>,
    feed: Mutex<Feed>,
}

/// What a client has sent and is not executed. Of a stranger, who has not shown a password that is needed, what it does
/// not read counts too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Holding {
    bytes: u64,
    stranger: bool,
}

/// A [`Holding`] that is exchanged as a whole: its bytes, twice, plus whether it is a stranger's.
#[derive(Debug, Default)]
struct AtomicHolding(AtomicU64);

impl AtomicHolding {
    fn get(&self) -> Holding {
        Self::unpack(self.0.load(Ordering::Relaxed))
    }

    fn swap(&self, new: Holding) -> Holding {
        let new = (new.bytes << 1) | u64::from(new.stranger);
        Self::unpack(self.0.swap(new, Ordering::Relaxed))
    }

    fn unpack(packed: u64) -> Holding {
        Holding {
            bytes: packed >> 1,
            stranger: packed & 1 == 1,
        }
    }
}

/// Lines that a monitor has not taken yet.
#[derive(Debug, Default)]
struct Feed {
    lines: Vec<Bytes>,
    bytes: usize,
}

impl Entry {
    /// Writes down how the client is.
    pub(crate) fn see(&self, seen: Seen) {
        *self.seen.lock().expect(UNPOISONED) = Some(seen);
    }

    /// Returns what was written down last; `None` before the first turn.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.seen.lock().expect(UNPOISONED).clone()
    }

    /// What it holds if it has sent so much that is not executed.
    fn holding(&self, bytes: u64) -> Holding {
        let seen = self.seen.lock().expect(UNPOISONED);
        let view = seen.as_ref().map(|seen| &seen.view);
        match view.filter(|view| !view.authenticated) {
            Some(view) => Holding {
                bytes: bytes.saturating_add(view.output as u64),
                stranger: true,
            },
            None => Holding {
                bytes,
                stranger: false,
            },
        }
    }

    /// Whether the connection is to end at once.
    pub(crate) fn killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    /// Ends the connection at its next turn, which is now.
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Lets the connection have a turn.
    pub(crate) fn wake(&self) {
        self.outbox.wake();
    }

    /// Takes the lines of other clients that a monitor shows.
    pub(crate) fn take_feed(&self) -> Vec<Bytes> {
        let mut feed = self.feed.lock().expect(UNPOISONED);
        feed.bytes = 0;
        std::mem::take(&mut feed.lines)
    }

    /// Whether there are lines to take.
    pub(crate) fn has_feed(&self) -> bool {
        self.feed.lock().expect(UNPOISONED).bytes > 0
    }

    fn feed(&self, line: Bytes, bytes_max: u64) {
        let mut feed = self.feed.lock().expect(UNPOISONED);
        feed.bytes += line.len();
        feed.lines.push(line);
        let too_many = feed.bytes as u64 > bytes_max;
        drop(feed);
        if too_many {
            self.killed.store(true, Ordering::Relaxed);
        }
        self.outbox.wake();
    }
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Registry {
    clients: Mutex<BTreeMap<ClientId, Arc<Entry>>>,
    monitors: Mutex<Vec<Arc<Entry>>>,
    monitoring: AtomicUsize,
    started: Instant,
    /// The end of the pause in microseconds since the start, twice, plus whether all commands wait; 0 for none.
    pause: AtomicU64,
    /// What all hold, how much of it strangers do, and how much all may hold.
    held: AtomicU64,
    held_by_strangers: AtomicU64,
    held_max: AtomicU64,
    evicted: AtomicU64,
}

impl Registry {
    /// Starts with no clients.
    pub(crate) fn new() -> Self {
        Self {
            clients: Mutex::default(),
            monitors: Mutex::default(),
            monitoring: AtomicUsize::new(0),
            started: Instant::now(),
            pause: AtomicU64::new(0),
            held: AtomicU64::new(0),
            held_by_strangers: AtomicU64::new(0),
            held_max: AtomicU64::new(u64::MAX),
            evicted: AtomicU64::new(0),
        }
    }

    /// Takes in a client.
    pub(crate) fn enter(&self, id: ClientId, ends: Ends, outbox: Arc<Outbox>) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            id,
            ends,
            since: Instant::now(),
            seen: Mutex::default(),
            killed: AtomicBool::new(false),
            held: AtomicHolding::default(),
            outbox,
            feed: Mutex::default(),
        });
        self.lock().insert(id, entry.clone());
        entry
    }

    /// Forgets a client.
    pub(crate) fn leave(&self, entry: &Arc<Entry>) {
        self.lock().remove(&entry.id);
        self.change_held(entry, Holding::default());
        self.set_monitor(entry, false);
    }

    /// Says how much all clients together may have sent that is not executed: `maxmemory-clients`.
    pub(crate) fn set_held_max(&self, bytes: u64) {
        self.held_max.store(bytes, Ordering::Relaxed);
    }

    /// Returns how many clients were closed because all together held too much.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Takes note of what a client has sent and is not executed. If all together hold too much, those that hold most
    /// are closed, as in Redis, but for those with `CLIENT NO-EVICT ON`; and strangers go before anybody who has shown
    /// a password. Strangers are closed too when they alone hold more than [`STRANGERS_HELD_MAX`].
    pub(crate) fn holds(&self, entry: &Entry, bytes: u64) {
        if entry.killed() || !self.change_held(entry, entry.holding(bytes)) {
            return;
        }
        let beyond = |held: &AtomicU64, max| held.load(Ordering::Relaxed) > max;
        while beyond(&self.held_by_strangers, STRANGERS_HELD_MAX) {
            if !self.evict_largest(true) {
                break;
            }
        }
        while beyond(&self.held, self.held_max.load(Ordering::Relaxed)) {
            if !self.evict_largest(true) && !self.evict_largest(false) {
                break;
            }
        }
    }

    /// Closes the client that holds most, among the strangers or among the others; false if none of them may go.
    fn evict_largest(&self, strangers: bool) -> bool {
        let protected = |entry: &Entry| entry.seen().is_some_and(|seen| seen.view.no_evict);
        let all = self
            .all()
            .into_iter()
            .map(|entry| (entry.held.get(), entry));
        let largest = all
            .filter(|(held, entry)| held.stranger == strangers && held.bytes > 0 && !entry.killed())
            .filter(|(_, entry)| strangers || !protected(entry))
            .max_by_key(|(held, _)| held.bytes);
        let Some((_, largest)) = largest else {
            return false;
        };
        largest.kill();
        self.change_held(&largest, Holding::default());
        self.evicted.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Returns whether it has become more, in the whole or as a stranger's.
    fn change_held(&self, entry: &Entry, new: Holding) -> bool {
        let before = entry.held.swap(new);
        if new == before {
            return false;
        }
        let change = |sum: &AtomicU64, before: u64, now: u64| {
            sum.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
            now > before
        };
        let strangers = |held: Holding| if held.stranger { held.bytes } else { 0 };
        let more = change(&self.held, before.bytes, new.bytes);
        change(&self.held_by_strangers, strangers(before), strangers(new)) || more
    }

    /// Returns all clients, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.lock().values().cloned().collect()
    }

    /// Returns the clients that a filter lets through, each with what is known of it.
    pub(crate) fn select(&self, filter: &ClientFilter, now: Instant) -> Vec<(Arc<Entry>, Seen)> {
        self.all()
            .into_iter()
            .filter_map(|entry| Some((entry.seen()?, entry)))
            .filter(|(seen, entry)| line::fits(filter, entry, seen, now))
            .map(|(seen, entry)| (entry, seen))
            .collect()
    }

    /// Lets a client see what others send, or no longer.
    pub(crate) fn set_monitor(&self, entry: &Arc<Entry>, on: bool) {
        let mut monitors = self.monitors.lock().expect(UNPOISONED);
        monitors.retain(|other| other.id != entry.id);
        // What is left from another time is not for now.
        entry.take_feed();
        if on {
            monitors.push(entry.clone());
        }
        self.monitoring.store(monitors.len(), Ordering::Relaxed);
    }

    /// Whether anybody monitors.
    pub(crate) fn observed(&self) -> bool {
        self.monitoring.load(Ordering::Relaxed) > 0
    }

    /// Shows a line to all monitors. One that has more than `bytes_max` to read is closed.
    pub(crate) fn show(&self, line: &Bytes, bytes_max: u64) {
        let monitors = self.monitors.lock().expect(UNPOISONED).clone();
        monitors
            .iter()
            .for_each(|entry| entry.feed(line.clone(), bytes_max));
    }

    /// Lets commands wait for so long. A pause that holds is made no shorter and no milder by it, as in Redis.
    pub(crate) fn pause(&self, length: Duration, pause: Pause, now: Instant) {
        let end = self.micros(now.checked_add(length).unwrap_or(now));
        let new = (end << 1) | u64::from(pause == Pause::All);
        let now = self.micros(now);
        let longest = |held: u64| {
            let held = if held >> 1 > now { held } else { 0 };
            Some((new & !1).max(held & !1) | ((new | held) & 1))
        };
        let _held_before = self
            .pause
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, longest);
        self.wake_all();
    }

    /// Ends the pause.
    pub(crate) fn unpause(&self) {
        self.pause.store(0, Ordering::Relaxed);
        self.wake_all();
    }

    /// Returns what waits now, and until when.
    pub(crate) fn paused(&self, now: Instant) -> (Pause, Option<Instant>) {
        let pause = self.pause.load(Ordering::Relaxed);
        if pause == 0 || pause >> 1 <= self.micros(now) {
            return (Pause::No, None);
        }
        let what = if pause & 1 == 1 {
            Pause::All
        } else {
            Pause::Writes
        };
        (what, Some(self.started + Duration::from_micros(pause >> 1)))
    }

    fn micros(&self, at: Instant) -> u64 {
        let micros = at.saturating_duration_since(self.started).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX).min(u64::MAX >> 1)
    }

    fn wake_all(&self) {
        self.all().iter().for_each(|entry| entry.outbox.wake());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClientId, Arc<Entry>>> {
        self.clients.lock().expect(UNPOISONED)
    }
}

#[cfg(all(test, feature = "shuttle"))]
mod interleavings;

#[cfg(test)]
mod tests {
    use super::*;
    use corgi_session::{Env, Session};

    /// Whether the client of this number has shown a password, and how much output it leaves unread.
    fn seen(entry: &Entry, authenticated: bool, output: usize) {
        let mut view = Session::new(entry.id, Arc::new(Env::default())).view();
        view.authenticated = authenticated;
        view.output = output;
        entry.see(Seen {
            view,
            last_input: entry.since,
            input: 0,
            input_capacity: 0,
            bytes_in: 0,
            bytes_out: 0,
        });
    }

    #[test]
    fn a_pause_is_made_no_shorter_and_no_milder_while_it_holds() {
        let registry = Registry::new();
        let now = registry.started;
        let after = |ms| now + Duration::from_millis(ms);
        let ms = Duration::from_millis;
        assert_eq!(registry.paused(now), (Pause::No, None));
        registry.pause(ms(100), Pause::All, now);
        registry.pause(ms(10), Pause::Writes, now);
        assert_eq!(registry.paused(after(99)), (Pause::All, Some(after(100))));
        assert_eq!(registry.paused(after(100)), (Pause::No, None));
        registry.pause(ms(50), Pause::Writes, after(100));
        assert_eq!(
            registry.paused(after(120)),
            (Pause::Writes, Some(after(150)))
        );
        registry.unpause();
        assert_eq!(registry.paused(after(120)), (Pause::No, None));
        registry.pause(Duration::from_millis(u64::MAX), Pause::All, now);
        registry.paused(after(1));
    }

    #[test]
    fn of_pauses_at_the_same_time_the_longest_holds() {
        let registry = Registry::new();
        let now = registry.started;
        let pause = |first: u64| {
            for k in 0..20_000 {
                let length = Duration::from_millis(1_000 + 2 * k + first);
                registry.pause(length, Pause::Writes, now);
                let (_, end) = registry.paused(now);
                assert!(end >= Some(now + length), "{end:?} for {length:?}");
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| pause(0));
            scope.spawn(|| pause(1));
        });
    }

    #[test]
    fn those_that_hold_most_are_closed_when_all_hold_too_much() {
        let registry = Registry::new();
        registry.set_held_max(100);
        let enter = |id| registry.enter(ClientId(id), Ends::default(), Arc::default());
        let (small, large, larger) = (enter(1), enter(2), enter(3));
        registry.holds(&large, 50);
        registry.holds(&larger, 50);
        registry.holds(&larger, 60);
        assert!(larger.killed() && !large.killed());
        // It says so once more before it is gone.
        registry.holds(&larger, 60);
        registry.holds(&small, 40);
        assert!(!large.killed() && !small.killed());
        registry.leave(&larger);
        registry.leave(&large);
        registry.holds(&small, 100);
        assert!(!small.killed(), "no more than it may be");
        registry.holds(&small, 101);
        assert!(small.killed());
        assert_eq!(registry.evicted(), 2);
        assert_eq!(registry.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn strangers_are_closed_before_anybody_with_a_password() {
        let registry = Registry::new();
        registry.set_held_max(100);
        let enter = |id| registry.enter(ClientId(id), Ends::default(), Arc::default());
        let (publisher, stranger, other) = (enter(1), enter(2), enter(3));
        seen(&publisher, true, 1000);
        seen(&stranger, false, 5);
        seen(&other, false, 0);
        registry.holds(&publisher, 80);
        registry.holds(&stranger, 10);
        registry.holds(&other, 5);
        assert_eq!(registry.held.load(Ordering::Relaxed), 100);
        registry.holds(&publisher, 81);
        assert!(stranger.killed() && !other.killed() && !publisher.killed());
        registry.holds(&publisher, 95);
        assert!(!other.killed());
        registry.holds(&other, 6);
        assert!(other.killed() && !publisher.killed());
        registry.holds(&publisher, 101);
        assert!(publisher.killed(), "nobody else is left");
    }

    #[test]
    fn all_strangers_together_hold_little() {
        let registry = Registry::new();
        let enter = |id| registry.enter(ClientId(id), Ends::default(), Arc::default());
        let publisher = enter(0);
        seen(&publisher, true, 0);
        registry.holds(&publisher, 10 * STRANGERS_HELD_MAX);
        let strangers: Vec<_> = (1..=5000).map(enter).collect();
        let held = || registry.held_by_strangers.load(Ordering::Relaxed);
        for stranger in &strangers {
            seen(stranger, false, 0);
            registry.holds(stranger, 160 << 10);
            assert!(held() <= STRANGERS_HELD_MAX);
        }
        assert!(held() > STRANGERS_HELD_MAX / 2 && !publisher.killed());
        let mut left = strangers.iter().filter(|entry| !entry.killed());
        let known = left.next().expect("not all are closed");
        seen(known, true, 0);
        registry.holds(known, 2 * STRANGERS_HELD_MAX);
        assert!(!known.killed(), "it is none any more");
        strangers.iter().for_each(|entry| registry.leave(entry));
        assert_eq!(held(), 0);
    }

    #[test]
    fn monitors_are_told_and_a_slow_one_is_closed() {
        let registry = Registry::new();
        let slow = registry.enter(ClientId(1), Ends::default(), Arc::default());
        let quick = registry.enter(ClientId(2), Ends::default(), Arc::default());
        assert!(!registry.observed());
        registry.set_monitor(&slow, true);
        registry.set_monitor(&slow, true);
        registry.set_monitor(&quick, true);
        assert!(registry.observed());
        let line = Bytes::from_static(b"0123456789");
        for _ in 0..2 {
            registry.show(&line, 15);
            assert_eq!(quick.take_feed(), std::slice::from_ref(&line));
        }
        assert_eq!((slow.killed(), quick.killed()), (true, false));
        registry.leave(&slow);
        registry.set_monitor(&quick, false);
        assert!(!registry.observed());
        assert_eq!(registry.all().len(), 1);
    }
}
