//! A client: bytes in and out of a real session.

use crate::show;
use bytes::BytesMut;
use corgi_base::ClientId;
use corgi_node::QueuedBytes;
use corgi_session::{Ask, Env, Session, Told};
use std::sync::Arc;

/// One connection and what stands between it and its client.
pub(crate) struct Client {
    pub(crate) id: ClientId,
    pub(crate) process: String,
    pub(crate) queued: QueuedBytes,
    /// The client does not read.
    pub(crate) stalled: bool,
    session: Session,
    input: BytesMut,
    /// Bytes of messages that are told and not written.
    unwritten: u64,
}

impl Client {
    /// Connects to a process.
    pub(crate) fn new(id: ClientId, process: &str) -> Self {
        Self {
            id,
            process: process.to_owned(),
            queued: QueuedBytes::default(),
            stalled: false,
            session: Session::new(id, Arc::new(Env::default())),
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

    /// Writes to the client if it reads; returns what it sees, and whether the connection is over.
    pub(crate) fn write(&mut self) -> (Vec<String>, bool) {
        if self.stalled && !self.session.closing() {
            return (Vec::new(), false);
        }
        let bytes: Vec<u8> = self.session.output().take().into_iter().flatten().collect();
        self.queued.sub(std::mem::take(&mut self.unwritten));
        (show::frames(&bytes), self.session.closing())
    }
}
