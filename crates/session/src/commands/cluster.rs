//! `CLUSTER` and `ROLE`: the members of the cluster and who leads it
//! (<https://redis.io/docs/latest/commands/cluster/>).

use super::{Args, Command, integer, required};
use crate::ask::ClusterAsk;
use crate::errors::{self, ErrorText};
use bytes::Bytes;

const HELP: &[&str] = &[
    "CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "FAILOVER",
    "    Make this node the leader.",
    "FORGET <node-id>",
    "    Remove a node, by its number or its 40 digits, for ever.",
    "INFO",
    "    Describe the cluster.",
    "MEET <host> <peer-port> [REPLACE <node-id>]",
    "    Let a node join that was started with cluster-join yes, in the place of another one or",
    "    as one more.",
    "MYID",
    "    Give the 40 digits of this node.",
    "NODES",
    "    List the members.",
];

fn ask(ask: ClusterAsk) -> Result<Command, ErrorText> {
    Ok(Command::Cluster(ask))
}

/// `CLUSTER FAILOVER`. Redis' options let a replica take over although it may lack messages, which
/// is not possible here.
pub(crate) fn parse_failover(args: &mut Args) -> Result<Command, ErrorText> {
    match args.next() {
        None => ask(ClusterAsk::Failover),
        Some(option)
            if args.len() == 0
                && (option.eq_ignore_ascii_case(b"force")
                    || option.eq_ignore_ascii_case(b"takeover")) =>
        {
            Err(Bytes::from_static(errors::FORCED_FAILOVER))
        }
        Some(_) => Err(Bytes::from_static(errors::SYNTAX)),
    }
}

/// `CLUSTER FORGET id`.
pub(crate) fn parse_forget(args: &mut Args) -> Result<Command, ErrorText> {
    ask(ClusterAsk::Forget(required(args)))
}

pub(crate) fn parse_help(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Help(HELP))
}

pub(crate) fn parse_info(_: &mut Args) -> Result<Command, ErrorText> {
    ask(ClusterAsk::Info)
}

/// `CLUSTER MEET host port [peer-port] [REPLACE id]`. The port is that of the peer listener; where
/// Redis' tools give the port of clients and then that of the bus, the second one counts.
pub(crate) fn parse_meet(args: &mut Args) -> Result<Command, ErrorText> {
    let host = required(args);
    let mut port = required(args);
    let mut option = args.next();
    if let Some(bus) = option.take_if(|word| integer(word).is_some()) {
        port = bus;
        option = args.next();
    }
    let replaces = match option {
        None => None,
        Some(word) if word.eq_ignore_ascii_case(b"replace") => match args.next() {
            Some(id) => Some(id),
            None => return Err(Bytes::from_static(errors::SYNTAX)),
        },
        Some(_) => return Err(Bytes::from_static(errors::SYNTAX)),
    };
    if args.len() > 0 {
        return Err(Bytes::from_static(errors::SYNTAX));
    }
    let addr = address(&host, &port).ok_or_else(|| errors::invalid_address(&host, &port))?;
    ask(ClusterAsk::Meet { addr, replaces })
}

/// Returns `host:port`, with brackets around an address of IPv6.
fn address(host: &Bytes, port: &Bytes) -> Option<Bytes> {
    let number = integer(port).filter(|port| (1..=65535).contains(port))?;
    let host = std::str::from_utf8(host).ok()?;
    let sound = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    if host.is_empty() || host.len() > 255 || !host.chars().all(sound) {
        return None;
    }
    let text = if host.contains(':') {
        format!("[{host}]:{number}")
    } else {
        format!("{host}:{number}")
    };
    Some(text.into())
}

pub(crate) fn parse_myid(_: &mut Args) -> Result<Command, ErrorText> {
    ask(ClusterAsk::MyId)
}

pub(crate) fn parse_nodes(_: &mut Args) -> Result<Command, ErrorText> {
    ask(ClusterAsk::Nodes)
}

pub(crate) fn parse_role(_: &mut Args) -> Result<Command, ErrorText> {
    ask(ClusterAsk::Role)
}
