//! Connections that have not proven yet who they are: few, so that strangers hold few files, and the newest, so that
//! strangers do not keep peers out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Enough for every node of a large cluster to come at once, with all its lanes.
const PENDING_MAX: usize = 32;
/// Of one address, which may be that of all nodes of a small cluster.
const PENDING_OF_ADDRESS_MAX: usize = 24;

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// The oldest first.
    tickets: BTreeMap<u64, (IpAddr, Arc<Notify>)>,
}

/// The connections of a listener that shake hands.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<Waiting>);

/// A place among them, until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    evicted: Arc<Notify>,
    pending: Arc<Pending>,
}

impl Pending {
    /// Takes a connection in. If there are too many, of its address or altogether, the oldest of them has to go: a peer
    /// is done within a few round trips, so that the oldest is hardly one.
    pub(super) fn enter(self: &Arc<Self>, addr: IpAddr) -> Ticket {
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
        }
    }

    /// Held for a few instructions only.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn is_evicted(ticket: &Ticket) -> bool {
        let waiting = ticket.pending.lock();
        !waiting.tickets.contains_key(&ticket.number)
    }

    #[test]
    fn the_oldest_of_an_address_makes_room_for_its_newest() {
        let pending = Arc::<Pending>::default();
        let other = pending.enter(address(1));
        let strangers: Vec<_> = (0..PENDING_OF_ADDRESS_MAX + 3)
            .map(|_| pending.enter(address(2)))
            .collect();
        let evicted: Vec<_> = strangers.iter().map(is_evicted).collect();
        assert!(evicted[..3].iter().all(|gone| *gone) && !evicted[3..].contains(&true));
        assert!(!is_evicted(&other), "it is older, but of another address");
    }

    #[test]
    fn the_oldest_of_all_makes_room_when_there_are_too_many() {
        let pending = Arc::<Pending>::default();
        let tickets: Vec<_> = (0..=PENDING_MAX)
            .map(|k| pending.enter(address(u8::try_from(k).expect("few"))))
            .collect();
        assert!(is_evicted(&tickets[0]) && !is_evicted(&tickets[1]));
    }

    #[test]
    fn who_is_done_leaves_its_place() {
        let pending = Arc::<Pending>::default();
        let first = pending.enter(address(1));
        for _ in 0..10 * PENDING_MAX {
            drop(pending.enter(address(1)));
        }
        assert!(!is_evicted(&first));
    }

    #[tokio::test]
    async fn who_is_evicted_hears_of_it_also_later() {
        let pending = Arc::<Pending>::default();
        let oldest = pending.enter(address(1));
        let _others: Vec<_> = (0..PENDING_OF_ADDRESS_MAX)
            .map(|_| pending.enter(address(1)))
            .collect();
        oldest.evicted().await;
    }
}
