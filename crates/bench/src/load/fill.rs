//! Publishes a given number of messages as fast as one connection does, to bring a server into a state.

use super::{READ_LEN, SILENCE_MAX, Verb};
use crate::client;
use crate::wire::{Kind, RespReader};
use anyhow::{Context, Result, bail, ensure};
use std::io::{Read as _, Write as _};

/// Messages that are sent at once; as many again wait for their replies meanwhile.
const GROUP: u64 = 512;

/// Publishes `count` messages of `payload` bytes to the first channel and waits until all are acknowledged.
///
/// # Errors
/// If one is refused or the server falls silent.
pub fn fill(port: u16, count: u64, payload: usize) -> Result<()> {
    let mut stream = client::open(port)?;
    stream
        .set_read_timeout(Some(SILENCE_MAX))
        .context("set the time for reading")?;
    let command = Verb::Publish.command(0, 0, payload);
    let mut reader = RespReader::new();
    let mut buffer = vec![0; READ_LEN];
    let mut out = Vec::new();
    let (mut sent, mut acknowledged) = (0, 0);
    while acknowledged < count {
        if sent < count && sent - acknowledged <= GROUP {
            out.clear();
            let end = count.min(sent + GROUP);
            for sequence in sent..end {
                command.write(&mut out, 0, sequence);
            }
            stream.write_all(&out).context("send messages")?;
            sent = end;
            continue;
        }
        let read = stream.read(&mut buffer).context("wait for replies")?;
        ensure!(read > 0, "the server closed a connection");
        let mut refused = None;
        reader.feed(&buffer[..read], |frame| match frame.kind {
            Kind::Error => refused = Some(frame.last),
            Kind::Ok | Kind::Message | Kind::Subscribed | Kind::Ping => acknowledged += 1,
        })?;
        if let Some(text) = refused {
            bail!("a publish failed: {text:?}");
        }
    }
    Ok(())
}
