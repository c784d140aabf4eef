//! How much waits, measured from outside: nothing may grow without bound (I22).

use crate::history::{Record, Violation};
use crate::world::World;

/// What a limit may be passed by: a message that began below it, in all its copies, and replies.
const SLACK: u64 = 256 << 10;

impl World {
    /// Shows the checkers what waits on a node.
    pub(crate) fn measure(&mut self, node: usize) -> Result<(), Violation> {
        let id = self.machines[node].id;
        let limits = self.scenario.limits;
        let mut records = Vec::new();
        let mut held = |what, amount, max| {
            records.push(Record::Held {
                node: id,
                what,
                amount,
                max,
            });
        };
        let mut all = 0;
        let mut conns = 0;
        for conn in self.conns.values_mut().filter(|conn| conn.node == node) {
            let bytes = conn.held_bytes();
            all += bytes;
            conns += 1;
            held(
                "bytes for a client",
                bytes,
                limits.client_queue_bytes_max + SLACK,
            );
        }
        let max = limits.clients_queue_bytes_max + conns * SLACK;
        held("bytes for all clients", all, max);
        if let Some(process) = &self.machines[node].process {
            let load = process.node.load();
            let max = limits.pending_bytes_max as u64 + SLACK;
            held(
                "bytes of writes without a number",
                load.pending_bytes as u64,
                max,
            );
            let max = limits.batches_in_flight_max as u64;
            held("batches under way", load.batches_in_flight as u64, max);
        }
        records.iter().try_for_each(|record| self.record(record))
    }
}
