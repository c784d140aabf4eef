//! Channels: `SUBSCRIBE` and its kin, `PUBLISH`, `PUBSUB`
//! (<https://redis.io/docs/latest/develop/pubsub/>).

use super::{Args, Command, Step, owned, required};
use crate::ask::{Ask, PubSubQuery, Seq};
use crate::connection::Connection;
use crate::env::Env;
use crate::errors::{self, ErrorText};
use bytes::Bytes;
use corgi_base::{Op, SubscriptionKind};
use corgi_resp::Reply;
use std::slice;

const HELP: &[&str] = &[
    "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CHANNELS [<pattern>]",
    "    Give the channels that have subscribers, all or those that match <pattern>.",
    "NUMPAT",
    "    Count the patterns that have subscribers.",
    "NUMSUB [<channel> ...]",
    "    Count the subscribers of channels, without those of patterns.",
    "SHARDCHANNELS [<pattern>]",
    "    Give the shard channels that have subscribers, all or those that match <pattern>.",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Count the subscribers of shard channels.",
];

/// `SUBSCRIBE channel [channel …]`, `PSUBSCRIBE pattern [pattern …]` and
/// `SSUBSCRIBE shardchannel [shardchannel …]`.
pub(crate) fn parse_subscribe(
    kind: SubscriptionKind,
    args: &mut Args,
) -> Result<Command, ErrorText> {
    Ok(Command::Subscribe {
        kind,
        names: names(args),
    })
}

/// `UNSUBSCRIBE [channel …]`, `PUNSUBSCRIBE [pattern …]` and `SUNSUBSCRIBE [shardchannel …]`.
pub(crate) fn parse_unsubscribe(
    kind: SubscriptionKind,
    args: &mut Args,
) -> Result<Command, ErrorText> {
    Ok(Command::Unsubscribe {
        kind,
        names: names(args),
    })
}

/// `PUBLISH channel message`.
pub(crate) fn parse_publish(args: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Write(Op::Publish {
        channel: required(args),
        payload: required(args),
    }))
}

/// `SPUBLISH shardchannel message`.
pub(crate) fn parse_spublish(args: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Write(Op::ShardPublish {
        channel: required(args),
        payload: required(args),
    }))
}

/// `PUBSUB CHANNELS [pattern]`.
pub(crate) fn parse_channels(args: &mut Args) -> Result<Command, ErrorText> {
    let pattern = optional_pattern(args, b"CHANNELS")?;
    Ok(Command::PubSub(PubSubQuery::Channels(pattern)))
}

pub(crate) fn parse_help(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Help(HELP))
}

/// `PUBSUB NUMPAT`.
pub(crate) fn parse_numpat(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::PubSub(PubSubQuery::NumPat))
}

/// `PUBSUB NUMSUB [channel …]`.
pub(crate) fn parse_numsub(args: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::PubSub(PubSubQuery::NumSub(args.collect())))
}

/// `PUBSUB SHARDCHANNELS [pattern]`.
pub(crate) fn parse_shardchannels(args: &mut Args) -> Result<Command, ErrorText> {
    let pattern = optional_pattern(args, b"SHARDCHANNELS")?;
    Ok(Command::PubSub(PubSubQuery::ShardChannels(pattern)))
}

/// `PUBSUB SHARDNUMSUB [channel …]`.
pub(crate) fn parse_shardnumsub(args: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::PubSub(PubSubQuery::ShardNumSub(args.collect())))
}

/// Subscribes, unless that could be more than a client may be subscribed to: then to nothing.
pub(crate) fn subscribe(
    seq: Seq,
    conn: &Connection,
    env: &Env,
    kind: SubscriptionKind,
    names: Vec<Bytes>,
) -> Step {
    let all = conn.subscriptions + conn.shard_subscriptions + names.len() as u64;
    if env.max_subscriptions > 0 && all > env.max_subscriptions {
        let text = errors::too_many_subscriptions(all, env.max_subscriptions);
        return Step::Answer(Reply::Error(text));
    }
    Step::Barrier(Ask::Subscribe { seq, kind, names })
}

/// Lets a step write its messages, unless they come faster than a client may publish: then none of them.
pub(crate) fn paced(conn: &mut Connection, env: &Env, step: Step) -> Step {
    let ops = match &step {
        Step::Write(op) => slice::from_ref(op),
        Step::Script(ops) => &ops[..],
        _ => return step,
    };
    if conn.pace.allows(ops, env.max_publish_rate, conn.now) {
        return step;
    }
    let text = errors::publishes_too_fast(env.max_publish_rate);
    Step::Answer(Reply::Error(text))
}

fn optional_pattern(args: &mut Args, subcommand: &[u8]) -> Result<Option<Bytes>, ErrorText> {
    let pattern = args.next();
    if args.next().is_some() {
        // Redis repeats the name as it was typed; in which case that was is gone by now.
        return Err(errors::subcommand_arguments("pubsub", subcommand));
    }
    Ok(pattern)
}

fn names(args: &mut Args) -> Vec<Bytes> {
    args.map(|name| owned(&name)).collect()
}
