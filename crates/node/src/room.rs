//! When the disk is too full for new writes (P10).
//!
//! A log that cannot be written ends its process, so writes are refused while there still is room
//! for what is under way. Reads, subscriptions and what has a number already go on. Writes are
//! taken again when a fifth more than the least is free, so that a disk at the edge does not
//! flutter.

/// What the file system of the data folder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that this process may still write.
    pub free: u64,
    /// Bytes altogether.
    pub total: u64,
}

/// This node's own disk.
#[derive(Debug)]
pub(crate) struct Room {
    bytes_min: u64,
    percent_min: u64,
    space: Option<DiskSpace>,
    low: bool,
}

impl Room {
    /// There is room until the contrary is known.
    pub(crate) fn new(bytes_min: u64, percent_min: u64) -> Self {
        Self {
            bytes_min,
            percent_min,
            space: None,
            low: false,
        }
    }

    /// Takes what was found; returns whether writes are now refused that were not before, or the other way round.
    pub(crate) fn set(&mut self, space: DiskSpace) -> bool {
        self.space = Some(space);
        let min = self.bytes_needed();
        let min = if self.low {
            min.saturating_add(min / 5)
        } else {
            min
        };
        let low = space.free < min;
        std::mem::replace(&mut self.low, low) != low
    }

    /// Whether too little is free.
    pub(crate) fn is_low(&self) -> bool {
        self.low
    }

    /// Returns how much is free, 0 before it is known.
    pub(crate) fn bytes_free(&self) -> u64 {
        self.space.map_or(0, |space| space.free)
    }

    /// Returns how much must be free.
    pub(crate) fn bytes_needed(&self) -> u64 {
        let total = self.space.map_or(0, |space| space.total);
        self.bytes_min.max(total / 100 * self.percent_min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(room: &mut Room, free: u64) -> (bool, bool) {
        let changed = room.set(DiskSpace {
            free,
            total: 10_000,
        });
        (changed, room.is_low())
    }

    #[test]
    fn writes_come_back_when_a_fifth_more_is_free() {
        let mut room = Room::new(1000, 5);
        assert!(!room.is_low(), "nothing is known yet");
        assert_eq!(set(&mut room, 1000), (false, false));
        assert_eq!(set(&mut room, 999), (true, true));
        assert_eq!(set(&mut room, 1199), (false, true));
        assert_eq!(set(&mut room, 1200), (true, false));
        assert_eq!(set(&mut room, 1000), (false, false));
    }

    #[test]
    fn the_larger_of_bytes_and_share_counts() {
        let mut room = Room::new(100, 5);
        assert_eq!(set(&mut room, 499), (true, true));
        assert_eq!(room.bytes_needed(), 500);
    }
}
