//! What one client gets of messages that were published before.

use super::{Bus, Client, Route};
use crate::Encoder;
use crate::bus::{Channels, PatternTopics};
use bytes::{Bytes, BytesMut};
use corgi_base::{ClientId, SubscriptionKind, Via};
use std::fmt;

/// Publishes messages again, for one client, from [`Bus::replay`].
///
/// The frames of one operation have an order: the exact channel, then the patterns by their bytes.
/// So a position between two of them is the name of the last one, which stays right when names come
/// and go meanwhile; and an operation that matches thousands of patterns need not be given at once.
pub struct Replay<'b, E: ?Sized> {
    client: Option<&'b Client>,
    channels: &'b Channels,
    patterns: &'b mut PatternTopics,
    route: &'b mut Route,
    encoder: &'b E,
    bytes_max: usize,
    out: BytesMut,
}

impl Bus {
    /// Starts to publish messages again, for one client. Once there are `bytes_max` bytes or more,
    /// nothing is added; one frame always fits.
    pub fn replay<'b, E: Encoder + ?Sized>(
        &'b mut self,
        encoder: &'b E,
        client: ClientId,
        bytes_max: usize,
    ) -> Replay<'b, E> {
        let at = self.by_id.get(&client);
        Replay {
            client: at.and_then(|at| self.clients[*at as usize].as_ref()),
            channels: &self.channels,
            patterns: &mut self.patterns,
            route: &mut self.route,
            encoder,
            bytes_max: bytes_max.max(1),
            out: BytesMut::new(),
        }
    }
}

impl<E: Encoder + ?Sized> Replay<'_, E> {
    /// Adds the frames of one message that come after the subscription `after`, for those names
    /// that are `wanted`. Returns whether that was all; if not, `after` is where to go on.
    pub fn publish(
        &mut self,
        channel: &[u8],
        payload: &[u8],
        after: &mut Option<(SubscriptionKind, Bytes)>,
        wanted: impl Fn(SubscriptionKind, &[u8]) -> bool,
    ) -> bool {
        let Some(client) = self.client else {
            return true;
        };
        let exact = SubscriptionKind::Channel;
        if let Some((name, _)) = client.channels.get_key_value(channel)
            && after.is_none()
            && wanted(exact, name)
            && !self.frame(
                client,
                Via::Channel,
                channel,
                payload,
                || (exact, name.clone()),
                after,
            )
        {
            return false;
        }
        if client.patterns.is_empty() {
            *after = None;
            return true;
        }
        let kind = SubscriptionKind::Pattern;
        self.route.find(channel, self.channels, self.patterns);
        for at in 0..self.route.patterns.len() {
            let name = self.patterns.topics.name(self.route.patterns[at]).clone();
            let done = after
                .as_ref()
                .is_some_and(|(at, last)| *at == kind && name <= *last);
            if done || !client.patterns.contains_key(&name) || !wanted(kind, &name) {
                continue;
            }
            let position = || (kind, name.clone());
            if !self.frame(
                client,
                Via::Pattern(&name),
                channel,
                payload,
                position,
                after,
            ) {
                return false;
            }
        }
        *after = None;
        true
    }

    /// Adds the frame of one message that is only for those on the channel itself, after all others of its operation:
    /// [`Replay::publish`] has said that it gave them, or `after` is what this gave for want of room. `payload` is
    /// called if the client is on it. Returns whether that was all.
    pub fn publish_exact(
        &mut self,
        channel: &[u8],
        payload: impl FnOnce() -> Vec<u8>,
        after: &mut Option<(SubscriptionKind, Bytes)>,
        wanted: impl Fn(SubscriptionKind, &[u8]) -> bool,
    ) -> bool {
        let named = self
            .client
            .and_then(|client| Some((client, client.channels.get_key_value(channel)?.0)));
        if let Some((client, name)) = named
            && wanted(SubscriptionKind::Channel, name)
        {
            if self.out.len() >= self.bytes_max {
                *after = Some(Self::ONLY_EXACT);
                return false;
            }
            let out = &mut self.out;
            let payload = payload();
            self.encoder
                .message(client.protocol, Via::Channel, channel, &payload, out);
        }
        *after = None;
        true
    }

    /// Whether of an operation only what [`Replay::publish_exact`] gives is left.
    pub fn is_only_exact(&self, after: &Option<(SubscriptionKind, Bytes)>) -> bool {
        *after == Some(Self::ONLY_EXACT)
    }

    /// No operation has frames for patterns and for shard channels.
    const ONLY_EXACT: (SubscriptionKind, Bytes) = (SubscriptionKind::Shard, Bytes::new());

    /// Adds the frame of one message to a shard channel, as [`Replay::publish`] does for others.
    pub fn publish_shard(
        &mut self,
        channel: &[u8],
        payload: &[u8],
        after: &mut Option<(SubscriptionKind, Bytes)>,
        wanted: impl Fn(SubscriptionKind, &[u8]) -> bool,
    ) -> bool {
        let kind = SubscriptionKind::Shard;
        if let Some(client) = self.client
            && let Some((name, _)) = client.shards.get_key_value(channel)
            && after.is_none()
            && wanted(kind, name)
            && !self.frame(
                client,
                Via::Shard,
                channel,
                payload,
                || (kind, name.clone()),
                after,
            )
        {
            return false;
        }
        *after = None;
        true
    }

    /// Adds one frame, if there is room.
    fn frame(
        &mut self,
        client: &Client,
        via: Via<'_>,
        channel: &[u8],
        payload: &[u8],
        position: impl Fn() -> (SubscriptionKind, Bytes),
        after: &mut Option<(SubscriptionKind, Bytes)>,
    ) -> bool {
        if self.out.len() >= self.bytes_max {
            return false;
        }
        self.encoder
            .message(client.protocol, via, channel, payload, &mut self.out);
        if self.out.len() >= self.bytes_max {
            *after = Some(position());
        }
        true
    }

    /// Returns the frames.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.out.freeze()
    }
}

impl<E: ?Sized> fmt::Debug for Replay<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("bytes", &self.out.len())
            .finish_non_exhaustive()
    }
}
