//! The loop that accepts clients.
//!
//! It ends only when the server stops. An error of accept says something about one connection that
//! is gone, or about this process being out of file descriptors: neither is a reason to leave the
//! clients that are there.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corgi_session::{Env, Session};
use slog::{Logger, debug, warn};
use tokio::io::Interest;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::connection;
use super::deadlines::Patience;
use super::listen::Listener;
use super::place::{Host, Place};
use super::stream::{Stream, close_gently};
use super::troubles::Troubles;
use crate::local::Local;

/// What a client reads when `maxclients` are connected; Redis' words, because clients match on
/// them.
const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";
/// What a client reads whose address has passed `auth-failures-limit`.
const GUESSED: &[u8] =
    b"-ERR too many wrong passwords came from this address: try again in a minute\r\n";
/// What a client from elsewhere reads when there is no password. Redis' code, and a way out.
const PROTECTED: &[u8] = b"-DENIED Corgi is in protected mode: it has no password and so serves \
only clients on its own machine. To let others in, set requirepass (and give clients the \
password), or set protected-mode no if everybody who can reach this port may use it, and start it \
again.\r\n";
/// Connections that are listened to while they are turned away. The others are told too, but may not get to read it.
const FAREWELLS_MAX: usize = 16;
/// How long and for how many bytes a turned-away client is listened to, so that it reads the
/// reason.
const FAREWELL_MAX: Duration = Duration::from_secs(1);
const FAREWELL_BYTES_MAX: usize = 64 << 10;
/// Waits after an error that the next accept would meet too.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// One line in this time says that accepting fails; a flood of clients must not become a flood of
/// lines.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// What the configuration says about clients.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `maxclients`.
    pub(crate) clients_max: u64,
    /// `timeout`; zero for none.
    pub(crate) idle_max: Duration,
    /// `tcp-keepalive`; zero for none.
    pub(crate) keepalive: Duration,
    /// `protected-mode`: only clients of this machine are let in as long as nobody needs a password.
    pub(crate) protected: bool,
    /// What all sessions share.
    pub(crate) env: Arc<Env>,
}

/// All clients of this process.
#[derive(Debug)]
pub(crate) struct Clients {
    shared: Arc<Shared>,
    accepting: Vec<JoinHandle<()>>,
    stop_connections: watch::Sender<bool>,
    /// Nothing is ever sent: it ends when no connection holds a sender any more.
    open: mpsc::Receiver<Infallible>,
}

struct Shared {
    host: Arc<dyn Host>,
    local: Arc<Local>,
    settings: Settings,
    farewells: Arc<Semaphore>,
    troubles: Arc<Troubles>,
    log: Logger,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Clients {
    /// Starts to accept from `listeners`, on the runtime that this is called on.
    pub(crate) fn start(
        listeners: Vec<Listener>,
        settings: Settings,
        host: Arc<dyn Host>,
        local: Arc<Local>,
        log: &Logger,
    ) -> Self {
        local.live.begin(&settings);
        let shared = Arc::new(Shared {
            host,
            local,
            settings,
            farewells: Arc::new(Semaphore::new(FAREWELLS_MAX)),
            troubles: Arc::new(Troubles::new(log)),
            log: log.clone(),
        });
        let (stop_connections, stop) = watch::channel(false);
        let (hold, open) = mpsc::channel(1);
        let accepting = listeners
            .into_iter()
            .map(|listener| {
                let task = accept(listener, shared.clone(), stop.clone(), hold.clone());
                tokio::spawn(task)
            })
            .collect();
        Self {
            shared,
            accepting,
            stop_connections,
            open,
        }
    }

    /// Accepts no more clients; those that are here stay.
    pub(crate) fn stop_accepting(&mut self) {
        for task in self.accepting.drain(..) {
            task.abort();
        }
    }

    /// Ends all connections, each after the answers that are due, and returns when none is left.
    /// Takes no longer than a connection's closing may take.
    pub(crate) async fn stop(mut self) {
        self.stop_accepting();
        let open = self.shared.local.counters.connected();
        if open > 0 {
            debug!(self.shared.log, "closing client connections"; "clients" => open);
        }
        self.stop_connections.send_replace(true);
        while self.open.recv().await.is_some() {}
    }
}

async fn accept(
    listener: Listener,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
    hold: mpsc::Sender<Infallible>,
) {
    let mut backoff = Backoff::default();
    loop {
        match listener.accept().await {
            Ok((stream, local)) => {
                backoff.reset();
                shared.welcome(stream, local, &stop, &hold);
            }
            Err(error) => backoff.after(&error, &listener, &shared.log).await,
        }
    }
}

impl Shared {
    /// Whether a client may do anything without a password.
    fn open_to_all(&self) -> bool {
        let users = self.settings.env.users.load();
        users.default_user().open_to_all()
    }

    fn welcome(
        self: &Arc<Self>,
        stream: Stream,
        local: bool,
        stop: &watch::Receiver<bool>,
        hold: &mpsc::Sender<Infallible>,
    ) {
        if let Err(error) = stream.prepare(self.local.live.keepalive()) {
            debug!(self.log, "a client left while it was accepted"; "error" => %error);
            return;
        }
        if self.local.live.protected() && !local && self.open_to_all() {
            self.local.counters.reject();
            self.turn_away(stream, PROTECTED);
            return;
        }
        let ends = stream.ends();
        if ends.ip().is_some_and(|ip| self.local.guessed_too_often(ip)) {
            self.local.counters.reject();
            self.turn_away(stream, GUESSED);
            return;
        }
        let max = self.local.live.clients_max();
        let (host, local) = (self.host.clone(), self.local.clone());
        let Some(place) = Place::take(host, local, ends, max) else {
            self.turn_away(stream, TOO_MANY);
            return;
        };
        let session = Session::new(place.client(), self.settings.env.clone());
        let patience = Patience::new(self.local.live.idle_max());
        let troubles = self.troubles.clone();
        let (stop, hold) = (stop.clone(), hold.clone());
        tokio::spawn(connection::serve(
            stream, session, place, patience, troubles, stop, hold,
        ));
    }

    fn turn_away(&self, mut stream: Stream, why: &'static [u8]) {
        let Ok(permit) = self.farewells.clone().try_acquire_owned() else {
            // A file more, held for a stranger, is one that the node may need.
            stream.say(why);
            return;
        };
        tokio::spawn(async move {
            let why = Bytes::from_static(why);
            let ready = async {
                stream.established().await?;
                stream.ready(Some(Interest::WRITABLE)).await
            };
            // A socket that was just accepted takes one line at once, or its client is gone.
            if tokio::time::timeout(FAREWELL_MAX, ready)
                .await
                .is_ok_and(|ready| ready.is_ok())
                && stream.try_write(&[io::IoSlice::new(&why)]).is_ok()
            {
                close_gently(stream, FAREWELL_MAX, FAREWELL_BYTES_MAX).await;
            }
            drop(permit);
        });
    }
}

/// How long to wait after errors of accept, and how often to speak of them.
#[derive(Debug)]
struct Backoff {
    next: Duration,
    complained: Option<Instant>,
    unreported: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            next: BACKOFF_MIN,
            complained: None,
            unreported: 0,
        }
    }
}

impl Backoff {
    fn reset(&mut self) {
        self.next = BACKOFF_MIN;
    }

    async fn after(&mut self, error: &io::Error, listener: &Listener, log: &Logger) {
        if of_one_connection(error) {
            debug!(log, "a client left before it was accepted"; "error" => %error);
            return;
        }
        self.unreported += 1;
        let due = self
            .complained
            .is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY);
        if due {
            warn!(log, "cannot accept clients, will try again: raise the limit of open files \
                if that is the cause"; "addr" => %listener, "error" => %error,
                "times" => self.unreported);
            self.complained = Some(Instant::now());
            self.unreported = 0;
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(BACKOFF_MAX);
    }
}

/// Returns whether an error of accept concerns only the connection that was to be accepted
/// (accept(2)).
fn of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::Outbox;
    use crate::config::PubsubOutput;
    use corgi_base::ClientId;
    use corgi_node::{Facts, QueuedBytes};
    use corgi_session::Ask;
    use slog::{Discard, o};
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    struct Nobody;

    impl Host for Nobody {
        fn opened(&self, client: ClientId, _: Arc<Outbox>, _: QueuedBytes) {
            panic!("{client:?} was let in");
        }

        fn ask(&self, _: ClientId, _: Vec<Ask>) {}

        fn drained(&self, _: ClientId) {}

        fn closed(&self, _: ClientId) {}

        fn set_facts(&self, _: Facts) {}

        fn set_output_limits(&self, _: PubsubOutput, _: u64) {}
    }

    #[test]
    fn only_errors_of_the_process_are_waited_out() {
        assert!(of_one_connection(&io::ErrorKind::ConnectionAborted.into()));
        let out_of_files = io::Error::from_raw_os_error(24);
        assert!(!of_one_connection(&out_of_files));
    }

    #[tokio::test]
    async fn protected_mode_tells_clients_of_other_machines_why() {
        let settings = Settings {
            clients_max: 10,
            idle_max: Duration::ZERO,
            keepalive: Duration::ZERO,
            protected: true,
            env: Arc::default(),
        };
        let local = Arc::<Local>::default();
        local.live.begin(&settings);
        let shared = Arc::new(Shared {
            host: Arc::new(Nobody),
            local,
            settings,
            farewells: Arc::new(Semaphore::new(FAREWELLS_MAX)),
            troubles: Arc::new(Troubles::new(&Logger::root(Discard, o!()))),
            log: Logger::root(Discard, o!()),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let mut client = TcpStream::connect(addr).await.expect("a connection");
        let (stream, _) = listener.accept().await.expect("a client");
        let (_stop, stop) = watch::channel(false);
        let (hold, _open) = mpsc::channel(1);
        // As if it came from elsewhere: a test machine need not have another address than loopback.
        shared.welcome(Stream::Tcp(stream), false, &stop, &hold);
        let mut said = String::new();
        client
            .read_to_string(&mut said)
            .await
            .expect("a text and an end");
        assert!(
            said.starts_with("-DENIED ") && said.ends_with("\r\n"),
            "{said:?}"
        );
        assert_eq!(said.matches('\n').count(), 1);
        assert_eq!(shared.local.counters.rejected(), 1);
    }
}
