//! Reading the files again, or others, while the process runs: at `SIGHUP` and `CONFIG SET`.

use std::io;
use std::sync::Arc;

use slog::{Logger, error, info, warn};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Tls, TlsError, TlsOptions};

/// Changes what new connections are made with, and says so in the log.
#[derive(Clone, Debug)]
pub(crate) struct Reload {
    tls: Option<Arc<Tls>>,
    log: Logger,
}

impl Reload {
    pub(crate) fn new(tls: Option<Arc<Tls>>, log: &Logger) -> Self {
        let log = log.clone();
        Self { tls, log }
    }

    /// Listens for `SIGHUP`, which would end the process otherwise, as long as the process lives: on a thread of its
    /// own, because it begins before anything else of a start, and a file may be on a slow disk.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub(crate) fn at_hangup(&self) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let hangups = {
            let _on_its_runtime = runtime.enter();
            signal(SignalKind::hangup())?
        };
        let listen = self.clone().listen(hangups);
        let thread = std::thread::Builder::new().name("hangup".to_owned());
        thread.spawn(move || runtime.block_on(listen))?;
        Ok(())
    }

    async fn listen(self, mut hangups: Signal) {
        while hangups.recv().await.is_some() {
            self.again();
        }
    }

    fn again(&self) {
        let Some(tls) = &self.tls else {
            info!(
                self.log,
                "SIGHUP: there is no TLS whose files would be read again"
            );
            return;
        };
        match tls.reload() {
            Ok(()) => {
                info!(
                    self.log,
                    "SIGHUP: new TLS connections are made with the files as they are now"
                );
                self.warn_of_key(tls);
            }
            Err(error) => error!(self.log, "SIGHUP: the files of TLS cannot be used; what was \
                read before stays in use, correct them and send it again"; "error" => %error),
        }
    }

    /// Goes by other options; nothing is done if there is no TLS.
    ///
    /// # Errors
    /// As [`Tls::replace`]; then nothing has changed.
    pub(crate) fn set(&self, options: Option<TlsOptions>) -> Result<(), TlsError> {
        if let (Some(tls), Some(options)) = (&self.tls, options) {
            tls.replace(options)?;
            info!(
                self.log,
                "CONFIG SET: new TLS connections are made with other files or settings"
            );
            self.warn_of_key(tls);
        }
        Ok(())
    }

    fn warn_of_key(&self, tls: &Tls) {
        if let Some(warning) = tls.key_warning() {
            warn!(self.log, "about the files of TLS"; "warning" => warning);
        }
    }
}
