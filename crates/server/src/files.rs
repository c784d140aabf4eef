//! How many files the process may have open, and who gets them.
//!
//! A log that gets no new file is a disk error, which ends the process. So the process' own files are kept free
//! whatever clients do: there are as many clients at most as the system's limit leaves room for (redis-server does the
//! same).

use std::io;

use anyhow::bail;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use slog::{Logger, info, warn};

/// What a node of a small cluster opens itself: the files of two databases (`corgi-log` bounds them), a few connections
/// for each peer and those that may become peers, clients that are told why they are turned away, listeners, timers.
const OWN_FILES_MIN: u64 = 160;
/// With so many a large cluster has room too.
const OWN_FILES: u64 = 512;

/// Asks the system for as many files as `clients` clients need, and returns how many clients there may be.
///
/// # Errors
/// If there is no room for clients at all.
pub(crate) fn room_for_clients(clients: u64, log: &Logger) -> anyhow::Result<u64> {
    let before = getrlimit(Resource::Nofile);
    let wanted = clients.saturating_add(OWN_FILES);
    let Some(limit) = before.current.filter(|limit| *limit < wanted) else {
        return Ok(clients);
    };
    let raised = raise(before, wanted);
    let limit_now = raised.as_ref().map_or(limit, |raised| *raised);
    if limit_now > limit {
        info!(log, "raised the maximum number of open files"; "from" => limit, "to" => limit_now);
    }
    let room = clients_within(limit_now, clients);
    if room == 0 {
        bail!(
            "the limit of open files (ulimit -n) is {limit_now}, which is not enough for the server to start: raise it to \
             at least {}",
            OWN_FILES_MIN + 32
        );
    }
    if room < clients {
        let why = raised
            .err()
            .map_or_else(String::new, |error| error.to_string());
        warn!(log, "maxclients has been reduced, because the limit of open files is too low for it: raise it \
            (ulimit -n)"; "maxclients" => room, "requested" => clients, "open_files" => limit_now, "needed" => wanted,
            "error" => why);
    }
    Ok(room)
}

/// Asks the system for as many files as `clients` clients need, and returns for how many of them there is room.
pub(crate) fn room(clients: u64) -> u64 {
    let before = getrlimit(Resource::Nofile);
    let wanted = clients.saturating_add(OWN_FILES);
    let Some(limit) = before.current.filter(|limit| *limit < wanted) else {
        return clients;
    };
    clients_within(raise(before, wanted).unwrap_or(limit), clients)
}

/// Returns how many of `wanted` clients there is room for.
fn clients_within(limit: u64, wanted: u64) -> u64 {
    // Of a low limit the node gets what it cannot do without; of a high one what it may need.
    let own = (limit / 4).clamp(OWN_FILES_MIN, OWN_FILES);
    limit.saturating_sub(own).min(wanted)
}

/// Raises the soft limit, and the hard one where this process may; returns the new soft limit.
fn raise(before: Rlimit, wanted: u64) -> io::Result<u64> {
    let hard = before.maximum.unwrap_or(u64::MAX);
    let set = |current: u64, maximum: u64| {
        let limit = Rlimit {
            current: Some(current),
            maximum: before.maximum.map(|_| maximum),
        };
        setrlimit(Resource::Nofile, limit).map(|()| current)
    };
    if wanted > hard
        && let Ok(raised) = set(wanted, wanted)
    {
        return Ok(raised);
    }
    Ok(set(wanted.min(hard), hard)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slog::{Discard, o};

    #[test]
    fn the_node_keeps_what_it_needs_and_clients_get_the_rest() {
        for (limit, room) in [(100, 0), (160, 0), (200, 40), (1024, 768), (4096, 3584)] {
            assert_eq!(clients_within(limit, 10_000), room, "of {limit}");
        }
        assert_eq!(clients_within(10_512, 10_000), 10_000);
        assert_eq!(clients_within(1 << 20, 10_000), 10_000);
    }

    #[test]
    fn the_limit_is_raised_as_far_as_the_system_lets_it() {
        let log = Logger::root(Discard, o!());
        let room = room_for_clients(32, &log).expect("test machines have more files");
        assert_eq!(room, 32);
        let limit = getrlimit(Resource::Nofile).current;
        assert!(
            limit.is_none_or(|limit| limit >= 32 + OWN_FILES),
            "{limit:?}"
        );
    }
}
