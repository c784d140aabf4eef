//! Reading the files again when the process is told to, by `SIGHUP`.

use super::Tls;
use slog::{Logger, error, info};
use std::io;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for `SIGHUP` on the current runtime, which would end the process otherwise, as long as that runs.
///
/// # Errors
/// If the system does not allow it.
pub(crate) fn at_hangup(tls: Option<Arc<Tls>>, log: &Logger) -> io::Result<()> {
    let hangups = signal(SignalKind::hangup())?;
    tokio::spawn(listen(hangups, tls, log.clone()));
    Ok(())
}

async fn listen(mut hangups: Signal, tls: Option<Arc<Tls>>, log: Logger) {
    while hangups.recv().await.is_some() {
        let Some(tls) = tls.clone() else {
            info!(
                log,
                "SIGHUP: there is no TLS whose files would be read again"
            );
            continue;
        };
        // A file may be on a slow disk.
        let read = tokio::task::spawn_blocking(move || tls.reload()).await;
        match read.expect("a panic ends the process") {
            Ok(()) => info!(
                log,
                "SIGHUP: new TLS connections are made with the files as they are now"
            ),
            Err(error) => error!(log, "SIGHUP: the files of TLS cannot be used; what was read \
                before stays in use, correct them and send it again"; "error" => %error),
        }
    }
}
