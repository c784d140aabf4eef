//! What a session asks of its node, and what the node tells it.
//!
//! The session decides syntax, order and mode; the node decides everything that others must agree with. A session has
//! at most one *barrier* ask in flight, and sends it only when all its earlier writes are answered: that is what makes
//! `SUBSCRIBE` a barrier (P4). Writes are pipelined.

use crate::history::HistoryQuery;
use bytes::Bytes;
use corgi_base::streams::StreamOp;
use corgi_base::{ClientId, KeyOp, MessageId, Op, Protocol, SubscriptionKind};
use corgi_resp::Reply;

/// The number of a command on its connection, counted from 0. Replies leave in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// Which counts `PUBSUB` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PubSubQuery {
    /// `PUBSUB CHANNELS [pattern]`.
    Channels(Option<Bytes>),
    /// `PUBSUB NUMSUB [channel …]`.
    NumSub(Vec<Bytes>),
    /// `PUBSUB NUMPAT`.
    NumPat,
    /// `PUBSUB SHARDCHANNELS [pattern]`.
    ShardChannels(Option<Bytes>),
    /// `PUBSUB SHARDNUMSUB [channel …]`.
    ShardNumSub(Vec<Bytes>),
}

/// What `CLUSTER` and `ROLE` ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterAsk {
    /// `CLUSTER FAILOVER`: lead.
    Failover,
    /// `CLUSTER FORGET id`: by number, or by 40 hexadecimal digits.
    Forget(Bytes),
    /// `CLUSTER INFO`.
    Info,
    /// `CLUSTER MEET host port [REPLACE id]`.
    Meet {
        /// `host:port` of the peer listener.
        addr: Bytes,
        /// The member that the new one takes the place of.
        replaces: Option<Bytes>,
    },
    /// `CLUSTER MYID`.
    MyId,
    /// `CLUSTER NODES`.
    Nodes,
    /// `ROLE`.
    Role,
    /// `WAIT` and `WAITAOF`: on how many other nodes all that was acknowledged is at least.
    Wait {
        /// For `WAITAOF`: on how many logs of this node.
        local: Option<i64>,
    },
}

/// What a session asks about keys without writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyQuery {
    /// An operation that only reads. Answered by [`Told::Reply`].
    Op {
        /// The database.
        db: u8,
        /// What is read.
        op: KeyOp,
    },
    /// `WATCH`: the versions of keys, each in its database. Answered by [`Told::Versions`].
    Versions(Vec<(u8, Bytes)>),
    /// About the history of channels. Answered by [`Told::Reply`].
    History(HistoryQuery),
}

/// A change of the cluster's users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsersAsk {
    /// `ACL SETUSER`: give a user, new or known, further rules. Answered by `OK`.
    Set {
        /// Whom.
        name: Bytes,
        /// In order; all of them, or none if one is wrong.
        rules: Vec<Bytes>,
    },
    /// `ACL DELUSER`. Answered by how many there were.
    Delete(Vec<Bytes>),
    /// `ACL LOAD`: there are only these users, by name and definition. Answered by `OK`.
    Replace(Vec<(Bytes, Bytes)>),
}

/// What a session asks of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What follows is asked by this user, and was checked against this revision of the users. Until it is first said:
    /// by `default`, against the first one. Not answered.
    As {
        /// Its name.
        user: Bytes,
        /// See [`crate::Acl::revision`].
        revision: u64,
    },
    /// Change the cluster's users. A barrier, answered by [`Told::Reply`].
    Users {
        /// The command.
        seq: Seq,
        /// The change.
        ask: UsersAsk,
    },
    /// Record an operation. Answered by [`Told::Reply`]; pipelined.
    Write {
        /// The command.
        seq: Seq,
        /// What to record.
        op: Op,
    },
    /// Record several operations as one step: nothing comes between them, and all of them happen or none. Pipelined.
    /// Answered by [`Told::Reply`] with an array of their replies, or with one error for all. The first may be an
    /// [`Op::Guard`] for the others: that is not answered, but if it fails, null is the answer for all.
    WriteAll {
        /// The command.
        seq: Seq,
        /// What to record, in this order; at least one.
        ops: Vec<Op>,
    },
    /// Read keys as they are now, or later. A barrier.
    Read {
        /// The command.
        seq: Seq,
        /// What to read.
        query: KeyQuery,
    },
    /// Read streams, and if there is nothing wait for it. A barrier. Answered by [`Told::Reply`].
    Wait {
        /// The command.
        seq: Seq,
        /// The database.
        db: u8,
        /// What is read: [`StreamOp::Read`] or [`StreamOp::ReadGroup`].
        op: Box<StreamOp>,
        /// For how many milliseconds; 0 for as long as it takes.
        block_ms: u64,
    },
    /// End the waiting of another client. A barrier. Answered by [`Told::Reply`] with 1, or 0 if it does not wait.
    Unblock {
        /// The command.
        seq: Seq,
        /// Who waits.
        client: ClientId,
        /// With an error rather than as if its time were up.
        error: bool,
    },
    /// Listen. A barrier; answered by one [`Told::Subscription`] a name and [`Told::Done`], or by [`Told::Reply`] with
    /// an error and nothing else.
    Subscribe {
        /// The command.
        seq: Seq,
        /// Channels, patterns or shard channels.
        kind: SubscriptionKind,
        /// In the order given, repetitions included.
        names: Vec<Bytes>,
    },
    /// Stop listening. A barrier; answered like [`Ask::Subscribe`]. No names means all of the kind, and then one
    /// confirmation without a name if there were none.
    Unsubscribe {
        /// The command.
        seq: Seq,
        /// Channels, patterns or shard channels.
        kind: SubscriptionKind,
        /// In the order given; empty for all.
        names: Vec<Bytes>,
    },
    /// Deliver in another protocol version from here on. A barrier; answered by [`Told::Done`].
    SetProtocol {
        /// The command.
        seq: Seq,
        /// The version.
        protocol: Protocol,
    },
    /// Forget all subscriptions without confirmations and deliver in RESP2: what `RESET` does. A barrier; answered by
    /// [`Told::Done`].
    Reset {
        /// The command.
        seq: Seq,
    },
    /// Count subscribers. A barrier, because it must see the connection's own earlier commands; answered by
    /// [`Told::Reply`].
    PubSub {
        /// The command.
        seq: Seq,
        /// What to count.
        query: PubSubQuery,
    },
    /// Describe or change the cluster. A barrier; answered by [`Told::Reply`].
    Cluster {
        /// The command.
        seq: Seq,
        /// What it wants.
        ask: ClusterAsk,
    },
    /// Describe the node. A barrier; answered by [`Told::Reply`].
    Info {
        /// The command.
        seq: Seq,
        /// Lower-case section names as given; empty for the default ones.
        sections: Vec<Bytes>,
    },
}

impl Ask {
    /// Whether the node answers it.
    pub fn is_answered(&self) -> bool {
        !matches!(self, Self::As { .. })
    }
}

/// What the node tells a session, in the order in which it must reach the client.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// The answer to one ask.
    Reply {
        /// The command.
        seq: Seq,
        /// Its answer.
        reply: Reply,
    },
    /// The versions of watched keys, in the order asked.
    Versions {
        /// The command.
        seq: Seq,
        /// One for each key, 0-0 where there is none.
        versions: Vec<MessageId>,
    },
    /// Whole messages, encoded in the connection's protocol version and shared with other subscribers.
    Deliver(Bytes),
    /// One name of a (un)subscription has taken effect. What is told afterwards is under the new state.
    Subscription {
        /// True for subscribed, false for unsubscribed.
        on: bool,
        /// Channel, pattern or shard channel.
        kind: SubscriptionKind,
        /// The name; `None` only where "all" were to be unsubscribed and there were none.
        name: Option<Bytes>,
        /// How many channels and patterns, or shard channels, the connection now has.
        count: u64,
    },
    /// A barrier ask is complete; its confirmations, if any, were told before.
    Done {
        /// The command.
        seq: Seq,
    },
    /// The connection must end; the text, if any, is sent as an error first (as a push has no place for one, it is sent
    /// as a plain error line), then the connection is closed.
    Close {
        /// A whole error text, code first.
        error: Option<Bytes>,
    },
}
