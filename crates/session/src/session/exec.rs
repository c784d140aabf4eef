//! `EXEC`, as far as it concerns the order of replies and what the node is asked.

use super::{Group, Question, Session};
use crate::ask::{Ask, Seq};
use crate::transaction::{Exec, Item, Multi, Outcome};
use corgi_resp::Reply;

/// Where an `EXEC` stands among the commands of its connection.
#[derive(Clone, Copy)]
enum Place {
    /// It has no slot among the replies yet.
    New {
        /// Its reply is not wanted.
        silent: bool,
    },
    /// It runs alone: nothing that came later runs before it ends.
    Alone,
}

impl Session {
    /// Runs the commands of a transaction.
    pub(super) fn exec(&mut self, seq: Seq, multi: Multi, silent: bool) {
        for spec in multi.specs() {
            let begun = self.tally.begin(spec, None);
            self.tally.end(begun, None);
        }
        let watched = std::mem::take(&mut self.conn.watched);
        let database = self.conn.database;
        match multi.exec(watched, database, self.env.limits.max_request_bytes) {
            Ok(mut exec) if exec.is_guarded() => {
                self.replies.wait(seq, exec.bytes(), silent);
                exec.gather(seq, &mut self.conn, &self.env);
                let ops = exec.take_group();
                let ask = Ask::WriteAll { seq, ops };
                self.set_barrier(seq, Question::Node(ask), None, Some(exec));
            }
            Ok(exec) => {
                self.advance(seq, exec, Place::New { silent });
                self.identify_another();
            }
            Err(text) => {
                let reply = Reply::Error(text);
                self.tally.replied(seq, Some(&reply));
                self.answer(seq, reply, silent);
            }
        }
    }

    /// Goes on with a transaction that runs alone, and whose command is done.
    pub(super) fn exec_goes_on(&mut self, seq: Seq, exec: Exec) {
        self.advance(seq, exec, Place::Alone);
        self.identify_another();
    }

    fn advance(&mut self, seq: Seq, mut exec: Exec, place: Place) {
        while let Some(item) = exec.next(&mut self.conn) {
            let outcome = match item {
                Item::Queued(_) => unreachable!("next() has checked it"),
                Item::Ran(outcome) => outcome,
                Item::Command(command) => {
                    let step = command.run(seq, &mut self.conn, &self.env);
                    exec.ran(step)
                }
            };
            match outcome {
                Outcome::Answered(reply) => exec.answer(&reply, self.conn.protocol),
                Outcome::Written(written) => exec.written(written, self.conn.protocol),
                Outcome::Ask(question) => {
                    if let Place::New { silent } = place {
                        self.replies.wait(seq, exec.bytes(), silent);
                    }
                    if !exec.group_due() {
                        return self.set_barrier(seq, question, None, Some(exec));
                    }
                    exec.gather(seq, &mut self.conn, &self.env);
                    let ops = exec.take_group();
                    let first = Question::Node(Ask::WriteAll { seq, ops });
                    return self.set_barrier(seq, first, Some(question), Some(exec));
                }
            }
        }
        self.decoder.set_authenticated(self.conn.may_run());
        if let Place::New { silent } = place {
            self.replies.wait(seq, exec.bytes(), silent);
        }
        if !exec.group_due() {
            return self.end_exec(seq, exec);
        }
        let ops = exec.take_group();
        let ask = Ask::WriteAll { seq, ops };
        match place {
            Place::New { .. } => {
                self.asks.push(ask);
                self.groups.insert(seq, Group::Exec(exec));
            }
            Place::Alone => self.set_barrier(seq, Question::Node(ask), None, Some(exec)),
        }
    }

    /// Takes the node's answer to the command for which a transaction that runs alone waits, or to its writes.
    pub(super) fn exec_answered(
        &mut self,
        seq: Seq,
        behind: Option<Question>,
        mut exec: Exec,
        reply: Reply,
    ) {
        if exec.group_asked() {
            if !matches!(reply, Reply::Array(_)) && exec.came_first() {
                // A watched key has changed, or nothing was written.
                self.conn.database = exec.database();
                self.tally.replied(seq, Some(&reply));
                self.replies.fulfil(seq, Some(&reply), self.conn.protocol);
                return;
            }
            exec.decide(reply);
        } else {
            exec.answer(&reply, self.conn.protocol);
            // What it has changed of the users holds from here on. A client whose user is gone ends after its reply.
            let _there = self.conn.refresh(&self.env);
        }
        match behind {
            Some(question) => self.set_barrier(seq, question, None, Some(exec)),
            None => self.exec_goes_on(seq, exec),
        }
    }

    /// Takes the node's answer to writes that were asked as one step.
    pub(super) fn group_written(&mut self, seq: Seq, group: Group, reply: Reply) {
        match group {
            // Nothing was written, or nobody knows. What the session did itself cannot be of use without it.
            _ if matches!(reply, Reply::Error(_)) => {
                self.tally.replied(seq, Some(&reply));
                self.replies.fulfil(seq, Some(&reply), self.conn.protocol);
            }
            Group::Script => {
                self.tally.replied(seq, None);
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
        self.tally.replied(seq, None);
        let fence = exec.group_decided();
        let (array, messages) = exec.finish();
        self.replies.fulfil_encoded(seq, array, fence);
        for message in messages {
            self.replies.deliver(message);
        }
    }
}
