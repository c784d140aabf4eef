//! One publisher of the closed loop.

use super::closed::{Closed, Group};
use super::connection::Connection;
use super::timing::Latency;
use crate::targets::Server;
use crate::wire::{Command, Frame, Kind, encode};
use anyhow::{Result, bail, ensure};
use std::collections::VecDeque;
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) connection: Connection,
    index: u32,
    depth: usize,
    /// One for each channel, used in turns.
    commands: Vec<Command>,
    /// The number of the next message to each channel.
    next: Vec<u64>,
    turn: usize,
    group: Option<(Group, Vec<u8>)>,
    pub(super) waits: Waits,
}

/// What a publisher waits for.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Replies that have not come.
    replies: usize,
    /// When which messages were sent.
    sent: VecDeque<(Instant, usize)>,
    /// Messages that were acknowledged.
    pub(super) acknowledged: u64,
    /// How many replies make a group, and what the last of them must say at least.
    group: Option<(usize, i64)>,
    /// The server asked for a sign of life.
    pinged: bool,
    failed: Option<String>,
}

impl Waits {
    /// Takes a frame that came `now`.
    pub(super) fn take(&mut self, frame: &Frame, now: Instant, latency: &mut Latency) {
        match frame.kind {
            Kind::Ok => {}
            Kind::Ping => {
                self.pinged = true;
                return;
            }
            Kind::Subscribed => return,
            Kind::Error | Kind::Message => {
                let text = String::from_utf8_lossy(frame.last.bytes()).into_owned();
                self.failed.get_or_insert(text);
                return;
            }
        }
        let Some(left) = self.replies.checked_sub(1) else {
            self.failed
                .get_or_insert_with(|| "more replies came than commands were sent".to_owned());
            return;
        };
        self.replies = left;
        match self.group {
            None => self.acknowledge(1, now, latency),
            Some((size, least)) if left == 0 => {
                if frame.number < least {
                    let says = format!("a group was confirmed by {} others", frame.number);
                    self.failed.get_or_insert(says);
                }
                self.acknowledge(size, now, latency);
            }
            Some(_) => {}
        }
    }

    fn acknowledge(&mut self, mut count: usize, now: Instant, latency: &mut Latency) {
        self.acknowledged += count as u64;
        while count > 0
            && let Some((at, waiting)) = self.sent.front_mut()
        {
            let these = count.min(*waiting);
            latency.add(now.saturating_duration_since(*at), these as u64);
            *waiting -= these;
            count -= these;
            if *waiting == 0 {
                self.sent.pop_front();
            }
        }
    }

    /// Whether all was acknowledged.
    pub(super) const fn is_idle(&self) -> bool {
        self.replies == 0
    }
}

impl Publisher {
    pub(super) fn new(
        plan: &Closed,
        server: Server,
        index: usize,
        connection: Connection,
    ) -> Result<Self> {
        ensure!(plan.channels > 0, "there are no channels");
        let commands = (0..plan.channels)
            .map(|channel| plan.verb.command(channel, index, plan.payload))
            .collect();
        let group = plan.group.map(|group| (group, encode(group.words)));
        let mut publisher = Self {
            connection,
            index: u32::try_from(index)?,
            depth: plan.depth,
            commands,
            next: vec![0; plan.channels],
            turn: index % plan.channels,
            waits: Waits {
                group: group
                    .as_ref()
                    .map(|(group, _)| (plan.depth, group.at_least)),
                ..Waits::default()
            },
            group,
        };
        let hello = super::hello(server, index);
        publisher.connection.out().extend_from_slice(&hello);
        Ok(publisher)
    }

    /// How many messages it may send now, as far as replies go.
    pub(super) const fn room(&self) -> usize {
        match &self.group {
            Some(_) if self.waits.replies > 0 => 0,
            _ => self.depth.saturating_sub(self.waits.replies),
        }
    }

    /// Sends `count` messages.
    pub(super) fn publish(&mut self, count: usize, now: Instant) {
        let out = self.connection.out();
        for _ in 0..count {
            self.commands[self.turn].write(out, self.index, self.next[self.turn]);
            self.next[self.turn] += 1;
            self.turn += 1;
            if self.turn == self.commands.len() {
                self.turn = 0;
            }
        }
        if let Some((_, last)) = &self.group {
            out.extend_from_slice(last);
            self.waits.replies += 1;
        }
        self.waits.replies += count;
        self.waits.sent.push_back((now, count));
    }

    /// Sends what waits.
    pub(super) fn flush(&mut self) -> Result<()> {
        if let Some(text) = &self.waits.failed {
            bail!("a publish failed: {text}");
        }
        if std::mem::take(&mut self.waits.pinged) {
            self.connection.out().extend_from_slice(b"PONG\r\n");
        }
        self.connection.flush()
    }
}
