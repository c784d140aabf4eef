//! Ports that belong to one test for as long as its process lives.
//!
//! A node is killed and started again on the same port. So the port must not be one that the kernel may give to a
//! client socket in between (those start at 32768), and no other test may take it: a lock on a file of that number,
//! held until the process ends, keeps it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::ops::Range;
use std::path::PathBuf;
use std::process;
use std::sync::Mutex;

/// Above what services and the other languages' tests take, below what the kernel gives to clients.
const RANGE: Range<u16> = 26_000..32_000;

static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Returns a free port, which stays this process' own until it ends.
///
/// # Panics
/// If the folder for the locks cannot be written, or no port is free.
pub fn free() -> u16 {
    let folder = lock_folder();
    fs::create_dir_all(&folder).expect("the temporary folder can be written");
    let count = RANGE.len();
    // Processes start looking at different places, so that they seldom meet.
    let first = (process::id() as usize * 97) % count;
    for step in 0..count {
        let port = RANGE.start + u16::try_from((first + step) % count).expect("within the range");
        let path = folder.join(port.to_string());
        let Ok(file) = File::options().create(true).append(true).open(path) else {
            continue;
        };
        if file.try_lock().is_ok() && bindable(port) {
            HELD.lock().expect("no holder panics").push(file);
            return port;
        }
    }
    panic!("no port of {RANGE:?} is free");
}

fn bindable(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn lock_folder() -> PathBuf {
    std::env::temp_dir().join("corgi-test-ports")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ports_are_never_given_twice() {
        let ports: Vec<u16> = (0..20).map(|_| free()).collect();
        let distinct: HashSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), ports.len());
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }
}
