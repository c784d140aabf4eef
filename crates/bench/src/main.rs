//! `corgi-bench`: measures Corgi beside Redis, Valkey and NATS.

use corgi_bench::cli::{self, Usage};
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(std::env::args().skip(1), &mut std::io::stdout()) {
        Ok(true) => ExitCode::SUCCESS,
        // A budget that is not met is for people to look at.
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            // Whoever closed the pipe has seen enough.
            drop(writeln!(std::io::stderr(), "corgi-bench: {error:#}"));
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}
