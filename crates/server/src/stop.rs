//! How the process ends: asked to, because the node gave up, or at once.
//!
//! | cause | what happens | exit code |
//! |---|---|---|
//! | `SIGTERM`, `SIGINT` | leadership is handed over, due replies leave, state is flushed | 0 |
//! | the node was removed from its cluster | its clients are told, due replies leave, state is flushed | 0 |
//! | a second such signal, however far the stop is | nothing more | 1 |
//! | the node cannot go on, also while it stops in order | connections close, what it decided before is written | 1 |
//! | a failed write, a panic | one line says why | `SIGABRT` |
//! | `SIGHUP`, at any time | the files of TLS are read again (`tls`) | it goes on |
//! | a write that does not return | one line says why, connections close | `SIGABRT` |
//!
//! Killing the process is always safe too; what the orderly way saves is the election and the
//! replies under way.

use std::io;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use slog::{Logger, crit};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// How long a process whose disk hangs may take to close its sockets; usually it has ended before that.
const CLOSED_WITHIN: Duration = Duration::from_secs(8);
/// Between two looks whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why the process is to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Somebody asked.
    Signal(&'static str),
    /// The node has left its cluster.
    Removed(String),
    /// The node cannot go on, for the reason given.
    Fatal(String),
    /// The disk does not finish a write; the log says so already.
    Hangs,
}

/// Asks the process to stop, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Stop(mpsc::UnboundedSender<StopReason>);

impl Stop {
    /// Makes the asking side, and the side that is asked.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<StopReason>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Whether the asked side has done all that it can do.
    fn is_over(&self) -> bool {
        self.0.is_closed()
    }

    /// Asks. Only the first reason counts.
    pub(crate) fn request(&self, reason: StopReason) {
        // If nobody listens any more, the process is stopping already.
        let _stopping = self.0.send(reason);
    }
}

/// The signals that ask for an orderly end.
#[derive(Debug)]
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Takes the signals over from the system's default, which would end the process at once.
    ///
    /// # Errors
    /// If the system does not allow it.
    fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one and returns its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// Listens for signals as long as the process lives: the first one asks it to stop, the second ends it at once. On a
/// thread of its own, because all others end, or wait for the disk, while it stops.
pub(crate) fn watch_signals(stop: Stop, log: &Logger) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("listen for signals")?;
    let signals = {
        let _on_its_runtime = runtime.enter();
        Signals::new().context("listen for signals")?
    };
    let log = log.clone();
    let listen = async move {
        let mut signals = signals;
        stop.request(StopReason::Signal(signals.next().await));
        exit_at_once(&log, signals.next().await)
    };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let thread = thread.spawn(move || runtime.block_on(listen));
    thread.context("start the signal thread")?;
    Ok(())
}

/// Ends the process because of a failed write: every further step would be a danger to data. `dir`
/// is where.
///
/// A critical line is written before the call that logs it returns, so this one is not lost.
pub(crate) fn disk_failed(log: &Logger, dir: &Path, error: &anyhow::Error) -> ! {
    crit!(log, "cannot write to the data folder; stopping at once, because what is on disk is \
        unknown. Check the disk and its free space, then start again: nothing that was \
        acknowledged is lost"; "dir" => %dir.display(), "error" => format!("{error:#}"));
    std::process::abort();
}

/// Ends the process because a step of the disk has taken longer than `limit`.
///
/// The system keeps the sockets of a process open as long as one of its threads waits for the disk, whatever ends the
/// process. So they are closed first, or clients and peers would listen to one that is silent for ever; those to peers
/// before those to clients, because others may have to be elected.
pub(crate) fn disk_hangs(log: &Logger, stop: &Stop, dir: &Path, limit: Duration) -> ! {
    let (log, dir) = (log.clone(), dir.to_owned());
    stop.request(StopReason::Hangs);
    // On a thread of its own: the log may be on the same disk.
    let say = move || {
        crit!(log, "the disk of the data folder hangs; stopping at once, because nothing can be \
        acknowledged here. Check the disk, then start again: nothing that was acknowledged is lost";
        "dir" => %dir.display(), "ms" => u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    };
    let says = std::thread::Builder::new().spawn(say);
    let said = || says.as_ref().map_or(true, JoinHandle::is_finished);
    let since = Instant::now();
    while !(stop.is_over() && said()) && since.elapsed() < CLOSED_WITHIN {
        std::thread::sleep(LOOK_EVERY);
    }
    std::process::abort();
}

/// Ends the process because of a second signal, in the middle of stopping.
fn exit_at_once(log: &Logger, signal: &str) -> ! {
    crit!(log, "stopping at once, although not all is done"; "signal" => signal);
    std::process::exit(1);
}
