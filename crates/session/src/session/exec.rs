//! `EXEC`, as far as it concerns the order of replies and what the node is asked.

use super::{Barrier, Session, Then};
use crate::ask::{Ask, Seq};
use crate::commands::Step;
use crate::transaction::{Exec, Multi};
use corgi_resp::Reply;

/// Where an `EXEC` stands among the commands of its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It has no slot among the replies yet.
    New,
    /// It runs alone: nothing that came later runs before it ends.
    Alone,
}

impl Session {
    /// Runs the commands of a transaction.
    pub(super) fn exec(&mut self, seq: Seq, multi: Multi) {
        match multi.exec(&self.conn.user, self.env.limits.max_request_bytes) {
            Ok(exec) => self.advance(seq, exec, Place::New),
            Err(text) => self
                .replies
                .answer(seq, &Reply::Error(text), self.conn.protocol),
        }
    }

    /// Goes on with a transaction that runs alone, and whose command is done.
    pub(super) fn exec_goes_on(&mut self, seq: Seq, exec: Exec) {
        self.advance(seq, exec, Place::Alone);
    }

    fn advance(&mut self, seq: Seq, mut exec: Exec, place: Place) {
        while let Some(command) = exec.next() {
            let step = match command {
                Ok(command) => command.run(seq, &mut self.conn, &self.env),
                Err(text) => Step::Answer(Reply::Error(text)),
            };
            match step {
                Step::Answer(reply) | Step::Leave(reply) => {
                    exec.answer(&reply, self.conn.protocol);
                }
                Step::Write(_) => exec.written(),
                Step::Barrier(ask) => {
                    if place == Place::New {
                        self.replies.wait(seq, exec.bytes());
                    }
                    let (first, behind) = match exec.take_group() {
                        Some(ops) => (Ask::WriteAll { seq, ops }, Some(ask)),
                        None => (ask, None),
                    };
                    return self.ask_alone(seq, first, behind, exec);
                }
            }
        }
        self.decoder.set_authenticated(self.conn.may_run());
        match (exec.take_group(), place) {
            (Some(ops), Place::New) => {
                self.replies.wait(seq, exec.bytes());
                self.asks.push(Ask::WriteAll { seq, ops });
                self.execs.insert(seq, exec);
            }
            (Some(ops), Place::Alone) => {
                self.ask_alone(seq, Ask::WriteAll { seq, ops }, None, exec);
            }
            (None, place) => {
                if place == Place::New {
                    self.replies.wait(seq, exec.bytes());
                }
                self.end_exec(seq, exec);
            }
        }
    }

    fn ask_alone(&mut self, seq: Seq, ask: Ask, behind: Option<Ask>, exec: Exec) {
        self.barrier = Some(Barrier {
            seq,
            then: Then::of(&ask),
            ask: Some(ask),
            behind,
            exec: Some(Box::new(exec)),
        });
        self.send_barrier();
    }

    /// Takes the node's answer to the command with which a transaction that runs alone waits, or to its group of writes.
    pub(super) fn exec_answered(
        &mut self,
        seq: Seq,
        behind: Option<Ask>,
        mut exec: Exec,
        reply: Reply,
    ) {
        if exec.group_asked() {
            exec.decide(reply);
        } else {
            exec.answer(&reply, self.conn.protocol);
        }
        match behind {
            Some(ask) => self.ask_alone(seq, ask, None, exec),
            None => self.exec_goes_on(seq, exec),
        }
    }

    /// Takes the node's answer to the writes of a transaction that did not run alone.
    pub(super) fn exec_written(&mut self, seq: Seq, mut exec: Exec, reply: Reply) {
        if matches!(reply, Reply::Error(_)) {
            // Nothing was written, or nobody knows. What the session did itself cannot be of use without it.
            self.replies.fulfil(seq, Some(&reply), self.conn.protocol);
            return;
        }
        exec.decide(reply);
        self.end_exec(seq, exec);
    }

    fn end_exec(&mut self, seq: Seq, exec: Exec) {
        // What was written is known to others too, and their messages may be on their way.
        let fence = exec.group_decided();
        let (array, messages) = exec.finish();
        self.replies.fulfil_encoded(seq, array, fence);
        for message in messages {
            self.replies.deliver(message);
        }
    }
}
