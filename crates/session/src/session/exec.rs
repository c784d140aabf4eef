//! `EXEC`, as far as it concerns the order of replies and what the node is asked.

use super::{Barrier, Group, Session, Then};
use crate::ask::{Ask, Seq};
use crate::commands::Command;
use crate::transaction::{Exec, Item, Multi, Outcome};
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
        while let Some(item) = exec.next() {
            let outcome = match item {
                Item::Ran(outcome) => outcome,
                Item::Command(command) => {
                    let step = command.run(seq, &mut self.conn, &self.env);
                    exec.ran(step, self.conn.protocol)
                }
            };
            match outcome {
                Outcome::Answered(reply) => exec.answer(&reply, self.conn.protocol),
                Outcome::Written(written) => exec.written(written),
                Outcome::Ask(ask) => {
                    if place == Place::New {
                        self.replies.wait(seq, exec.bytes());
                    }
                    if !exec.group_due() {
                        return self.ask_alone(seq, ask, None, exec);
                    }
                    let protocol = self.conn.protocol;
                    let run = |command: Command| command.run(seq, &mut self.conn, &self.env);
                    exec.gather(run, protocol);
                    let ops = exec.take_group();
                    return self.ask_alone(seq, Ask::WriteAll { seq, ops }, Some(ask), exec);
                }
            }
        }
        self.decoder.set_authenticated(self.conn.may_run());
        if place == Place::New {
            self.replies.wait(seq, exec.bytes());
        }
        if !exec.group_due() {
            return self.end_exec(seq, exec);
        }
        let ops = exec.take_group();
        let ask = Ask::WriteAll { seq, ops };
        if place == Place::New {
            self.asks.push(ask);
            self.groups.insert(seq, Group::Exec(exec));
        } else {
            self.ask_alone(seq, ask, None, exec);
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

    /// Takes the node's answer to writes that were asked as one step.
    pub(super) fn group_written(&mut self, seq: Seq, group: Group, reply: Reply) {
        match group {
            // Nothing was written, or nobody knows. What the session did itself cannot be of use without it.
            _ if matches!(reply, Reply::Error(_)) => {
                self.replies.fulfil(seq, Some(&reply), self.conn.protocol);
            }
            Group::Script => {
                self.replies
                    .fulfil(seq, Some(&Reply::Null), self.conn.protocol);
            }
            Group::Exec(mut exec) => {
                exec.decide(reply);
                self.end_exec(seq, exec);
            }
        }
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
