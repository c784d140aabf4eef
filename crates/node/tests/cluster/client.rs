//! A client: bytes in and out of a real session.

use crate::show;
use bytes::BytesMut;
use corgi_base::ClientId;
use corgi_node::QueuedBytes;
use corgi_session::{Ask, Env, Session, Told, Users};
use std::sync::Arc;

/// One connection and what stands between it and its client.
pub(crate) struct Client {
    pub(crate) id: ClientId,
    pub(crate) process: String,
    pub(crate) queued: QueuedBytes,
    /// The client does not read.
    pub(crate) stalled: bool,
    /// It reads so many frames nevertheless.
    pub(crate) sips: usize,
    /// Written to the socket, but not yet read.
    unread: Vec<u8>,
    session: Session,
    input: BytesMut,
    /// Bytes of messages that are told and not written.
    unwritten: u64,
}

impl Client {
    /// Connects to a process.
    pub(crate) fn new(id: ClientId, process: &str, users: Users) -> Self {
        let env = Env {
            users,
            ..Env::default()
        };
        Self {
            id,
            process: process.to_owned(),
            queued: QueuedBytes::default(),
            stalled: false,
            sips: 0,
            unread: Vec::new(),
            session: Session::new(id, Arc::new(env)),
            input: BytesMut::new(),
            unwritten: 0,
        }
    }

    /// Sends inline requests in one piece.
    pub(crate) fn send(&mut self, requests: &[&str]) {
        for request in requests {
            self.input.extend_from_slice(request.as_bytes());
            self.input.extend_from_slice(b"\r\n");
        }
    }

    /// Gives the session what the node says, and returns what the session asks.
    pub(crate) fn hear(&mut self, told: Vec<Told>) -> Vec<Ask> {
        for told in told {
            if let Told::Deliver(bytes) = &told {
                self.unwritten += bytes.len() as u64;
            }
            self.session.tell(told);
        }
        self.session.read(&mut self.input);
        self.session.take_asks()
    }

    /// Writes to the client if it reads; returns what it sees, whether the node must hear that it has room, and whether
    /// the connection is over.
    pub(crate) fn write(&mut self) -> (Vec<String>, bool, bool) {
        let closing = self.session.closing();
        let mut lines = Vec::new();
        let all = !self.stalled || closing;
        if all || self.sips > 0 {
            let output = self.session.output().take().into_iter().flatten();
            self.unread.extend(output);
            let before = self.unread.len();
            let mut rest = &self.unread[..];
            while !rest.is_empty() && (all || self.sips > 0) {
                lines.push(show::frame(&mut rest));
                self.sips = self.sips.saturating_sub(1);
            }
            let read = before - rest.len();
            self.unread.drain(..read);
            let counted = if self.unread.is_empty() {
                self.unwritten
            } else {
                self.unwritten.min(read as u64)
            };
            self.unwritten -= counted;
            let drained = self.queued.sub(counted);
            return (lines, drained, closing && self.unread.is_empty());
        }
        (lines, false, closing)
    }
}
