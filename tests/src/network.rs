//! The network between nodes, through which a node can be cut off: nothing comes through then, and nothing ends.
//!
//! Each node has a door, a port that passes on to its peer port, and nodes know each other only by their doors. A node
//! is cut off when nothing goes through its door, nor from it through the doors of the others. As on a network whose
//! packets are lost, nobody is told: connections stay open, also those that a side has ended, new ones are taken and
//! silent, and what was sent comes when the network is whole again.

use crate::ports;
use std::collections::HashSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

const UNPOISONED: &str = "nobody panics while holding it";
const BUFFER_BYTES: usize = 64 << 10;

/// A node that is cut off.
#[derive(Debug)]
struct Cut {
    door: u16,
    pid: u32,
    /// The ports from which its process calls others.
    callers: HashSet<u16>,
}

#[derive(Debug, Default)]
struct Shared {
    cut: Mutex<Option<Cut>>,
    whole_again: Condvar,
}

/// The doors of all nodes.
#[derive(Debug, Default)]
pub struct Network {
    shared: Arc<Shared>,
}

/// One connection through a door.
#[derive(Clone, Debug)]
struct Passage {
    door: u16,
    /// The port of the node that called.
    caller: u16,
    shared: Arc<Shared>,
}

impl Network {
    /// Opens a door to a peer port, and returns its port. It is open as long as the process lives.
    ///
    /// # Panics
    /// If the system gives no port or thread.
    pub fn door(&self, peer_port: u16) -> u16 {
        let door = ports::free();
        let listener = TcpListener::bind(("127.0.0.1", door)).expect("the port is ours");
        let shared = Arc::clone(&self.shared);
        thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                // A caller that is gone has no address, and nothing to say.
                let Ok(addr) = caller.peer_addr() else {
                    continue;
                };
                let passage = Passage {
                    door,
                    caller: addr.port(),
                    shared: Arc::clone(&shared),
                };
                thread::spawn(move || passage.open(&caller, peer_port));
            }
        });
        door
    }

    /// Cuts the node off whose door this is and whose process has this id, until [`Network::mend`].
    pub fn cut(&self, door: u16, pid: u32) {
        let callers = ports_of(pid);
        *self.shared.lock() = Some(Cut { door, pid, callers });
    }

    /// Lets everything through again.
    pub fn mend(&self) {
        *self.shared.lock() = None;
        self.shared.whole_again.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Cut>> {
        self.cut.lock().expect(UNPOISONED)
    }
}

impl Passage {
    /// Calls the node behind the door and passes on in both directions until both have ended.
    fn open(self, caller: &TcpStream, peer_port: u16) {
        if let Some(cut) = self.shared.lock().as_mut()
            && ports_of(cut.pid).contains(&self.caller)
        {
            cut.callers.insert(self.caller);
        }
        self.wait_whole();
        // A node that is down refuses; then the caller learns it too, because its connection ends.
        let Ok(called) = TcpStream::connect(("127.0.0.1", peer_port)) else {
            return;
        };
        thread::scope(|scope| {
            scope.spawn(|| self.pass(caller, &called));
            scope.spawn(|| self.pass(&called, caller));
        });
    }

    /// Passes on what `from` says to `to`, and at last that it has ended.
    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream) {
        for stream in [from, to] {
            stream.set_nodelay(true).expect("a TCP socket");
        }
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = from.read(&mut buffer).unwrap_or(0);
            self.wait_whole();
            if read == 0 || to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        // Either may be gone already.
        let _gone = (from.shutdown(Shutdown::Read), to.shutdown(Shutdown::Write));
    }

    /// Waits until neither end of it is cut off.
    fn wait_whole(&self) {
        let mut cut = self.shared.lock();
        let here = |cut: &mut Cut| cut.door == self.door || cut.callers.contains(&self.caller);
        while cut.as_mut().is_some_and(here) {
            cut = self.shared.whole_again.wait(cut).expect(UNPOISONED);
        }
    }
}

/// The local TCP ports of a process.
fn ports_of(pid: u32) -> HashSet<u16> {
    let files = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten();
    let targets = files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok());
    let sockets: HashSet<String> = targets
        .filter_map(|target| {
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            Some(inode.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    table
        .lines()
        .filter_map(|line| {
            // sl local_address rem_address st queues timer retransmits uid timeout inode
            let words: Vec<&str> = line.split_whitespace().collect();
            let port = words.get(1)?.split_once(':')?.1;
            let ours = sockets.contains(*words.get(9)?);
            ours.then(|| u16::from_str_radix(port, 16).ok())?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Far more than a byte takes through a door.
    const A_WHILE: Duration = Duration::from_millis(300);

    fn says(stream: &mut TcpStream) -> Option<u8> {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok().map(|()| byte[0])
    }

    #[test]
    fn nothing_passes_a_cut_in_either_direction_and_nothing_is_lost() {
        let network = Network::default();
        let node = TcpListener::bind("127.0.0.1:0").expect("a port");
        let door = network.door(node.local_addr().expect("bound").port());
        let call = || {
            let mut caller = TcpStream::connect(("127.0.0.1", door)).expect("it is open");
            caller.write_all(b"c").expect("sent");
            let (mut called, _) = node.accept().expect("passed on");
            assert_eq!(says(&mut called), Some(b'c'));
            for stream in [&caller, &called] {
                stream.set_read_timeout(Some(A_WHILE)).expect("not zero");
            }
            (caller, called)
        };
        // By its door, and by the process of whoever called: here both are of this one.
        for (cut_door, pid) in [(door, 0), (0, std::process::id())] {
            let (mut caller, mut called) = call();
            network.cut(cut_door, pid);
            caller.write_all(b"1").expect("sent");
            called.write_all(b"2").expect("sent");
            assert_eq!((says(&mut caller), says(&mut called)), (None, None));
            network.mend();
            assert_eq!(
                (says(&mut caller), says(&mut called)),
                (Some(b'2'), Some(b'1'))
            );
            drop(caller);
            assert_eq!(called.read(&mut [0]).expect("the end"), 0);
        }
        network.cut(0, 0);
        let (mut caller, mut called) = call();
        caller.write_all(b"1").expect("sent");
        assert_eq!(says(&mut called), Some(b'1'), "nobody here is cut off");
    }
}
