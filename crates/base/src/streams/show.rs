//! Operations on streams as the commands that they come from: to be checked again, and to be shown.

use super::{After, StreamOp};
use crate::ids::MessageId;
use bytes::Bytes;

impl StreamOp {
    /// Returns the name of the command, in lower case.
    pub fn command(&self) -> &'static str {
        self.words().0
    }

    /// Returns the command and its subcommand, if it has one.
    fn words(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Add { .. } => ("xadd", None),
            Self::Len(_) => ("xlen", None),
            Self::Range { reverse: false, .. } => ("xrange", None),
            Self::Range { reverse: true, .. } => ("xrevrange", None),
            Self::Read { .. } => ("xread", None),
            Self::Del { .. } => ("xdel", None),
            Self::DelEx { .. } => ("xdelex", None),
            Self::Trim { .. } => ("xtrim", None),
            Self::SetId { .. } => ("xsetid", None),
            Self::Configure { .. } => ("xcfgset", None),
            Self::Info(_) | Self::InfoFull { .. } => ("xinfo", Some("stream")),
            Self::InfoGroups(_) => ("xinfo", Some("groups")),
            Self::InfoConsumers { .. } => ("xinfo", Some("consumers")),
            Self::GroupCreate { .. } => ("xgroup", Some("create")),
            Self::GroupSetId { .. } => ("xgroup", Some("setid")),
            Self::GroupDestroy { .. } => ("xgroup", Some("destroy")),
            Self::ConsumerCreate { .. } => ("xgroup", Some("createconsumer")),
            Self::ConsumerDelete { .. } => ("xgroup", Some("delconsumer")),
            Self::ReadGroup { .. } => ("xreadgroup", None),
            Self::Ack { .. } => ("xack", None),
            Self::AckDel { .. } => ("xackdel", None),
            Self::Nack { .. } => ("xnack", None),
            Self::Pending { .. } | Self::PendingRange { .. } => ("xpending", None),
            Self::Claim { .. } => ("xclaim", None),
            Self::AutoClaim { .. } => ("xautoclaim", None),
        }
    }

    /// Returns the command with the arguments that name keys where the command has them, and what else is short. It is
    /// enough to check whether a user may run it, and to recognise it; options are left out.
    pub fn request(&self) -> Vec<Bytes> {
        let word = |text: &'static str| Bytes::from_static(text.as_bytes());
        let (command, subcommand) = self.words();
        let mut args = vec![word(command)];
        args.extend(subcommand.map(word));
        match self {
            Self::Read { streams, .. } => {
                args.push(word("streams"));
                args.extend(streams.iter().map(|(key, _)| key.clone()));
                args.extend(streams.iter().map(|(_, after)| match after {
                    After::Id(id) => text(*id),
                    After::Top => word("$"),
                    After::ButLast => word("+"),
                }));
            }
            Self::ReadGroup {
                group,
                consumer,
                streams,
                ..
            } => {
                args.extend([word("group"), group.clone(), consumer.clone()]);
                args.push(word("streams"));
                args.extend(streams.iter().map(|(key, _)| key.clone()));
                let after = |(_, after): &(Bytes, Option<MessageId>)| after.map_or(word(">"), text);
                args.extend(streams.iter().map(after));
            }
            Self::Add { key, fields, .. } => {
                args.extend([key.clone(), word("*")]);
                args.extend(fields.iter().cloned());
            }
            Self::Range { key, from, to, .. } => {
                args.extend([key.clone(), text(*from), text(*to)]);
            }
            Self::Len(key)
            | Self::DelEx { key, .. }
            | Self::Trim { key, .. }
            | Self::Configure { key, .. }
            | Self::Info(key)
            | Self::InfoFull { key, .. }
            | Self::InfoGroups(key) => args.push(key.clone()),
            Self::SetId { key, last, .. } => args.extend([key.clone(), text(*last)]),
            Self::Del { key, ids } => {
                args.push(key.clone());
                args.extend(ids.iter().copied().map(text));
            }
            Self::InfoConsumers { key, group }
            | Self::GroupCreate { key, group, .. }
            | Self::GroupSetId { key, group, .. }
            | Self::GroupDestroy { key, group }
            | Self::AckDel { key, group, .. }
            | Self::Nack { key, group, .. }
            | Self::Pending { key, group }
            | Self::PendingRange { key, group, .. } => args.extend([key.clone(), group.clone()]),
            Self::Ack { key, group, ids } => {
                args.extend([key.clone(), group.clone()]);
                args.extend(ids.iter().copied().map(text));
            }
            Self::ConsumerCreate {
                key,
                group,
                consumer,
            }
            | Self::ConsumerDelete {
                key,
                group,
                consumer,
            }
            | Self::Claim {
                key,
                group,
                consumer,
                ..
            }
            | Self::AutoClaim {
                key,
                group,
                consumer,
                ..
            } => args.extend([key.clone(), group.clone(), consumer.clone()]),
        }
        args
    }
}

fn text(id: MessageId) -> Bytes {
    id.to_string().into()
}
