//! `MEMORY STATS|DOCTOR`: what the process has from the system, and what its clients take of it.

use corgi_session::{MemoryAsk, Reply};

use super::{Local, number};

impl Local {
    pub(super) fn memory(&self, ask: MemoryAsk) -> Reply {
        let (now, peak, clients) = self.memory_bytes();
        match ask {
            MemoryAsk::Doctor => Reply::Verbatim(
                format!(
                    "The process has {now} bytes, and had {peak} at most. Of that {clients} bytes are buffers and states \
                     of clients. What waits for subscribers is bounded by maxmemory-clients, the rest does not grow \
                     with the messages that are kept: those are on disk.\n"
                )
                .into(),
            ),
            MemoryAsk::Stats => stats(now, peak, clients),
        }
    }
}

/// Redis' names, as far as they say something here; the others are those that dashboards read.
fn stats(now: u64, peak: u64, clients: u64) -> Reply {
    let numbers = [
        ("peak.allocated", peak),
        ("total.allocated", now),
        ("startup.allocated", 0),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", clients),
        ("cluster.links", 0),
        ("aof.buffer", 0),
        ("lua.caches", 0),
        ("functions.caches", 0),
        ("overhead.total", clients),
        ("keys.count", 0),
        ("keys.bytes-per-key", 0),
        ("dataset.bytes", now.saturating_sub(clients)),
    ];
    let mut pairs: Vec<_> = numbers
        .into_iter()
        .map(|(name, value)| (Reply::bulk(name), number(value)))
        .collect();
    let percent = 100.0 * now as f64 / peak.max(1) as f64;
    pairs.push((Reply::bulk("peak.percentage"), Reply::Double(percent)));
    pairs.push((Reply::bulk("fragmentation"), Reply::Double(1.0)));
    Reply::Map(pairs)
}
