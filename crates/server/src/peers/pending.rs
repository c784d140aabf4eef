//! Connections that have not proven yet who they are: few, so that strangers hold few files, and the newest, so that
//! strangers do not keep peers out.
//!
//! One that has to go is closed only when its task runs next. So each has a [`Room`] too, taken before the accept and
//! held until its socket is closed: there are never more sockets than rooms, and the others wait in the system's queue.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Enough for every node of a large cluster to come at once, with all its lanes.
const PENDING_MAX: usize = 32;
/// Of one address, which may be that of all nodes of a small cluster.
const PENDING_OF_ADDRESS_MAX: usize = 24;
/// Those, and some that have to go and are not gone.
const ROOMS: usize = PENDING_MAX + 8;

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// The oldest first.
    tickets: BTreeMap<u64, (IpAddr, Arc<Notify>)>,
}

/// The connections of all listeners that shake hands.
#[derive(Debug)]
pub(super) struct Pending {
    waiting: Mutex<Waiting>,
    rooms: Arc<Semaphore>,
}

/// A file that a connection may have open.
pub(super) type Room = OwnedSemaphorePermit;

/// A place among them, until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    evicted: Arc<Notify>,
    pending: Arc<Pending>,
    _room: Room,
}

impl Pending {
    /// `listeners` will accept, each of which holds a room while it waits.
    pub(super) fn new(listeners: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            rooms: Arc::new(Semaphore::new(ROOMS + listeners)),
        }
    }

    /// Waits until one more connection may be open.
    pub(super) async fn room(&self) -> Room {
        let room = Arc::clone(&self.rooms).acquire_owned().await;
        room.expect("it is never closed")
    }

    /// Takes a connection in. If there are too many, of its address or altogether, the oldest of them has to go: a peer
    /// is done within a few round trips, so that the oldest is hardly one. The ticket must outlive the socket.
    pub(super) fn enter(self: &Arc<Self>, addr: IpAddr, room: Room) -> Ticket {
        let mut waiting = self.lock();
        let of_address = |(_, (other, _)): &(&u64, &(IpAddr, Arc<Notify>))| *other == addr;
        let same = waiting.tickets.iter().filter(of_address);
        let oldest = if same.clone().count() >= PENDING_OF_ADDRESS_MAX {
            same.map(|(number, _)| *number).next()
        } else if waiting.tickets.len() >= PENDING_MAX {
            waiting.tickets.keys().next().copied()
        } else {
            None
        };
        if let Some((_, evicted)) = oldest.and_then(|number| waiting.tickets.remove(&number)) {
            evicted.notify_one();
        }
        let number = waiting.next;
        waiting.next += 1;
        let evicted = Arc::new(Notify::new());
        waiting.tickets.insert(number, (addr, Arc::clone(&evicted)));
        Ticket {
            number,
            evicted,
            pending: Arc::clone(self),
            _room: room,
        }
    }

    /// Held for a few instructions only.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Returns when the connection has to go.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.pending.lock().tickets.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(k: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, k).into()
    }

    fn pending() -> Arc<Pending> {
        Arc::new(Pending::new(1))
    }

    /// As if there were rooms without end.
    fn enter(pending: &Arc<Pending>, addr: IpAddr) -> Ticket {
        pending.rooms.add_permits(1);
        let room = Arc::clone(&pending.rooms).try_acquire_owned();
        pending.enter(addr, room.expect("one was added"))
    }

    fn is_evicted(ticket: &Ticket) -> bool {
        let waiting = ticket.pending.lock();
        !waiting.tickets.contains_key(&ticket.number)
    }

    #[test]
    fn the_oldest_of_an_address_makes_room_for_its_newest() {
        let pending = pending();
        let other = enter(&pending, address(1));
        let strangers: Vec<_> = (0..PENDING_OF_ADDRESS_MAX + 3)
            .map(|_| enter(&pending, address(2)))
            .collect();
        let evicted: Vec<_> = strangers.iter().map(is_evicted).collect();
        assert!(evicted[..3].iter().all(|gone| *gone) && !evicted[3..].contains(&true));
        assert!(!is_evicted(&other), "it is older, but of another address");
    }

    #[test]
    fn the_oldest_of_all_makes_room_when_there_are_too_many() {
        let pending = pending();
        let tickets: Vec<_> = (0..=PENDING_MAX)
            .map(|k| enter(&pending, address(u8::try_from(k).expect("few"))))
            .collect();
        assert!(is_evicted(&tickets[0]) && !is_evicted(&tickets[1]));
    }

    #[test]
    fn who_is_done_leaves_its_place() {
        let pending = pending();
        let first = enter(&pending, address(1));
        for _ in 0..10 * PENDING_MAX {
            drop(enter(&pending, address(1)));
        }
        assert!(!is_evicted(&first));
    }

    #[tokio::test]
    async fn who_is_evicted_hears_of_it_also_later() {
        let pending = pending();
        let oldest = enter(&pending, address(1));
        let _others: Vec<_> = (0..PENDING_OF_ADDRESS_MAX)
            .map(|_| enter(&pending, address(1)))
            .collect();
        oldest.evicted().await;
    }

    #[tokio::test]
    async fn one_that_has_to_go_keeps_its_room_until_it_is_gone() {
        let pending = pending();
        let mut tickets = Vec::new();
        for _ in 0..=ROOMS {
            tickets.push(pending.enter(address(1), pending.room().await));
        }
        assert!(is_evicted(&tickets[0]));
        assert_eq!(pending.rooms.available_permits(), 0);
        drop(tickets.remove(0));
        assert_eq!(pending.rooms.available_permits(), 1);
        drop(pending.room().await);
    }
}
