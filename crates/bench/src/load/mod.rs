//! The load generator: publishers and subscribers against one server, and what they saw.
//!
//! [`closed`] sends as fast as it is answered, from one thread that waits for many sockets. [`open`] sends at a fixed
//! rate, whatever the server does, from a thread for each of its few sockets, and counts from the time that a message
//! was due. Both check order, loss and doubles of every message. [`failover`] goes on while a node dies; [`hold`] and
//! [`fill`] bring a server into a state.

pub mod closed;
mod connection;
pub mod failover;
pub mod fill;
pub mod hold;
pub mod open;
mod publisher;
mod timing;

pub use timing::Latency;

use crate::targets::Server;
use crate::wire::{Command, NatsReader, Reader, RespReader};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a run measured, by name. The name ends with the unit.
pub type Figures = BTreeMap<String, f64>;

/// How a message is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `PUBLISH`.
    Publish,
    /// `SPUBLISH`.
    ShardPublish,
    /// `XADD` to the stream of the channel's name.
    StreamAdd,
    /// `PUB` of NATS to a subject of the stream, acknowledged by the stream.
    JetStream,
}

impl Verb {
    /// Returns its name in the protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "PUBLISH",
            Self::ShardPublish => "SPUBLISH",
            Self::StreamAdd => "XADD",
            Self::JetStream => "PUB",
        }
    }

    /// Encodes it for a publisher.
    fn command(self, channel: usize, publisher: usize, payload: usize) -> Command {
        let name = channel_name(channel);
        match self {
            Self::Publish | Self::ShardPublish => Command::resp(&[self.name(), &name], payload),
            Self::StreamAdd => Command::resp(&["XADD", &name, "*", "message"], payload),
            Self::JetStream => Command::nats(
                &format!("bench.{channel:04}"),
                &format!("_INBOX.p{publisher}"),
                payload,
            ),
        }
    }
}

/// How subscribers ask for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `SUBSCRIBE`.
    Exact,
    /// `PSUBSCRIBE` to a pattern that matches one channel.
    Pattern,
    /// `SSUBSCRIBE`.
    Sharded,
}

impl Listen {
    /// Returns the command for a channel.
    pub fn words(self, channel: usize) -> [String; 2] {
        let name = channel_name(channel);
        match self {
            Self::Exact => ["SUBSCRIBE".to_owned(), name],
            Self::Pattern => ["PSUBSCRIBE".to_owned(), format!("{name}*")],
            Self::Sharded => ["SSUBSCRIBE".to_owned(), name],
        }
    }
}

/// Without any sign of the server for so long a run has failed.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// So much is read from a socket at once.
const READ_LEN: usize = 256 * 1024;

fn channel_name(channel: usize) -> String {
    format!("bench:{channel:04}")
}

fn reader(server: Server) -> Reader {
    match server {
        Server::Nats => Reader::Nats(NatsReader::default()),
        Server::Corgi | Server::Redis | Server::Valkey => Reader::Resp(RespReader::new()),
    }
}

/// What a publisher must say before it may publish.
fn hello(server: Server, publisher: usize) -> Vec<u8> {
    match server {
        Server::Nats => {
            let text = crate::client::NATS_HELLO;
            format!("{text}SUB _INBOX.p{publisher} 1\r\nPING\r\n").into_bytes()
        }
        Server::Corgi | Server::Redis | Server::Valkey => Vec::new(),
    }
}
