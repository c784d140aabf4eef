//! Measures Corgi against what its users would pick instead, in one run, on one machine, with one tool that treats all
//! of them alike.
//!
//! ```text
//!   comparisons ─ what is compared, and the budget of each
//!        │ rounds: A B C A B C …
//!   work ─ one run of one workload on one set-up
//!        ├ targets ─ starts servers in temporary folders, ends them by process id
//!        ├ load ─ publishers and subscribers; wire (bytes), order (nothing lost, doubled, reordered)
//!        └ process ─ processor time and memory of the servers, from /proc
//!   results ─ one JSON file for each comparison
//!   report ─ docs/performance.md and its plots, from those files
//! ```
//!
//! It knows Corgi only through sockets, as it does the others: none of our crates is used here.
//!
//! Invariants
//! - Who is compared runs in turns, on the same machine, driven by the same code with the same bytes.
//! - A run in which a message was lost, doubled or out of order has no figure: it is an error.
//! - A server is not measured by how much it can put off: see [`load`] for what a closed loop waits for.
//! - A server that is missing is named; no figure stands in for it.
//!
//! Not here: judgement of a figure beyond its budget; measurements inside of Corgi.

pub mod cli;
mod client;
pub mod comparisons;
pub mod load;
pub mod machine;
pub mod order;
pub mod process;
pub mod report;
pub mod results;
pub mod rounds;
pub mod stats;
pub mod targets;
pub mod wire;
pub mod work;
