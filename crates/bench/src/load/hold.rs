//! Connections that are subscribed and then only held: idle ones, stalled ones, one with very many channels.

use super::READ_LEN;
use crate::client;
use crate::wire::{Kind, RespReader, encode};
use anyhow::{Context, Result, bail, ensure};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// So many names are asked for in one command.
const NAMES_PER_COMMAND: usize = 1000;

/// How long the confirmations of one command may take.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(60);

/// Subscribes one connection to `names` with `command`, and returns it when all are confirmed.
///
/// # Errors
/// If one is refused, or not confirmed in time.
pub fn subscribe(
    port: u16,
    command: &str,
    names: impl IntoIterator<Item = String>,
) -> Result<TcpStream> {
    let mut stream = client::open(port)?;
    stream
        .set_read_timeout(Some(CONFIRMED_WITHIN))
        .context("set the time for a confirmation")?;
    let mut reader = RespReader::new();
    let mut buffer = vec![0; READ_LEN];
    let mut words = vec![command.to_owned()];
    let mut names = names.into_iter().peekable();
    while names.peek().is_some() {
        words.truncate(1);
        words.extend(names.by_ref().take(NAMES_PER_COMMAND));
        stream
            .write_all(&encode(&words))
            .context("send a subscription")?;
        let mut missing = words.len() - 1;
        let mut refused = None;
        while missing > 0 {
            let read = stream.read(&mut buffer).context("read a confirmation")?;
            ensure!(read > 0, "the server closed a connection that subscribed");
            reader.feed(&buffer[..read], |frame| match frame.kind {
                Kind::Subscribed => missing = missing.saturating_sub(1),
                Kind::Error => refused = Some(frame.last),
                Kind::Message | Kind::Ok | Kind::Ping => {}
            })?;
            if let Some(text) = refused {
                bail!("{command} was refused: {text:?}");
            }
        }
    }
    Ok(stream)
}
