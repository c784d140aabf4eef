//! `ACL` (<https://redis.io/docs/latest/commands/acl/>): users, and what they may do.

use super::{Args, Command, integer, owned, required};
use crate::acl::{CATEGORIES, User, hex, in_category};
use crate::ask::{Seq, UsersAsk};
use crate::connection::Connection;
use crate::dispatch;
use crate::env::Env;
use crate::errors::{self, ErrorText};
use crate::local::{AclLogAsk, LocalAsk};
use bytes::Bytes;
use corgi_resp::Reply;
use sha2::{Digest, Sha256};

/// How many bits a password has if nothing is said.
const GENPASS_BITS: i64 = 256;

/// How many entries `ACL LOG` gives if nothing is said.
const LOG_ENTRIES: u64 = 10;

/// What the session answers by itself, from the users as it knows them.
#[derive(Debug, PartialEq)]
pub(crate) enum AclCommand {
    Cat(Option<Bytes>),
    DryRun {
        user: Bytes,
        /// With the command's name.
        args: Vec<Bytes>,
    },
    GenPass {
        bits: u32,
    },
    GetUser(Bytes),
    List,
    Users,
    WhoAmI,
}

/// A change, which the node makes.
fn users(ask: UsersAsk) -> Result<Command, ErrorText> {
    Ok(Command::Users(ask))
}

const HELP: &[&str] = &[
    "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CAT [<category>]",
    "    Give all categories, or the commands of one.",
    "DELUSER <username> [<username> ...]",
    "    Remove users, and close their connections on all nodes.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Tell whether a user could execute a command.",
    "GENPASS [<bits>]",
    "    Make a password of 256 bits, or as many as asked for.",
    "GETUSER <username>",
    "    Describe a user.",
    "LIST",
    "    Give all users with their rules, as an ACL file has them.",
    "LOAD",
    "    Take on the users of this node's ACL file, and no others.",
    "LOG [<count> | RESET]",
    "    Give what was denied lately by this node, or forget it.",
    "SAVE",
    "    Write all users to this node's ACL file.",
    "SETUSER <username> [<rule> ...]",
    "    Give a user, new or known, further rules.",
    "USERS",
    "    Give the names of all users.",
    "WHOAMI",
    "    Give the name of this connection's user.",
];

/// `ACL CAT [category]`.
pub(crate) fn parse_cat(args: &mut Args) -> Result<Command, ErrorText> {
    let category = args.next();
    if args.next().is_some() {
        return Err(errors::subcommand_arguments("acl", b"CAT"));
    }
    Ok(Command::Acl(AclCommand::Cat(category)))
}

/// `ACL DELUSER username [username …]`.
pub(crate) fn parse_deluser(args: &mut Args) -> Result<Command, ErrorText> {
    users(UsersAsk::Delete(args.map(|name| owned(&name)).collect()))
}

/// `ACL DRYRUN username command [arg …]`.
pub(crate) fn parse_dryrun(args: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Acl(AclCommand::DryRun {
        user: required(args),
        args: args.collect(),
    }))
}

/// `ACL GENPASS [bits]`.
pub(crate) fn parse_genpass(args: &mut Args) -> Result<Command, ErrorText> {
    let bits = match args.next() {
        Some(bits) => integer(&bits).ok_or(Bytes::from_static(errors::NOT_AN_INTEGER))?,
        None => GENPASS_BITS,
    };
    if args.next().is_some() {
        return Err(errors::subcommand_arguments("acl", b"GENPASS"));
    }
    match u32::try_from(bits) {
        Ok(bits @ 1..=4096) => Ok(Command::Acl(AclCommand::GenPass { bits })),
        _ => Err(Bytes::from_static(errors::ACL_GENPASS)),
    }
}

/// `ACL GETUSER username`.
pub(crate) fn parse_getuser(args: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Acl(AclCommand::GetUser(required(args))))
}

/// `ACL LOG [count | RESET]`: ten entries if no number is given.
pub(crate) fn parse_log(args: &mut Args) -> Result<Command, ErrorText> {
    let what = args.next();
    if args.next().is_some() {
        return Err(errors::subcommand_arguments("acl", b"LOG"));
    }
    let ask = match what {
        None => AclLogAsk::Get(LOG_ENTRIES),
        Some(word) if word.eq_ignore_ascii_case(b"reset") => AclLogAsk::Reset,
        Some(count) => {
            let count = integer(&count).ok_or(Bytes::from_static(errors::NOT_AN_INTEGER))?;
            // Fewer than none are none.
            AclLogAsk::Get(u64::try_from(count).unwrap_or(0))
        }
    };
    Ok(Command::Local(LocalAsk::AclLog(ask)))
}

pub(crate) fn parse_help(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Help(HELP))
}

/// `ACL LIST`.
pub(crate) fn parse_list(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Acl(AclCommand::List))
}

/// `ACL SETUSER username [rule …]`.
pub(crate) fn parse_setuser(args: &mut Args) -> Result<Command, ErrorText> {
    users(UsersAsk::Set {
        name: owned(&required(args)),
        rules: args.map(|rule| owned(&rule)).collect(),
    })
}

/// `ACL LOAD`.
pub(crate) fn parse_load(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Local(LocalAsk::LoadUsers))
}

/// `ACL SAVE`.
pub(crate) fn parse_save(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Local(LocalAsk::SaveUsers))
}

/// `ACL USERS`.
pub(crate) fn parse_users(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Acl(AclCommand::Users))
}

/// `ACL WHOAMI`.
pub(crate) fn parse_whoami(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Acl(AclCommand::WhoAmI))
}

impl AclCommand {
    pub(crate) fn run(self, seq: Seq, conn: &Connection, env: &Env) -> Result<Reply, ErrorText> {
        match self {
            Self::Cat(category) => cat(category.as_ref()),
            Self::DryRun { user, args } => dry_run(conn, &user, &args),
            Self::GenPass { bits } => Ok(Reply::bulk(generate(seq, conn, env, bits))),
            Self::GetUser(name) => Ok(conn
                .acl
                .user(&name)
                .map_or(Reply::Null, |user| describe(user))),
            Self::List => {
                let line = |user: &User| {
                    let parts = [b"user ", &user.name()[..], b" ", &user.definition()];
                    Reply::Bulk(parts.concat().into())
                };
                let lines = conn.acl.users().map(|user| line(user));
                Ok(Reply::Array(lines.collect()))
            }
            Self::Users => {
                let names = conn
                    .acl
                    .users()
                    .map(|user| Reply::Bulk(user.name().clone()));
                Ok(Reply::Array(names.collect()))
            }
            Self::WhoAmI => Ok(Reply::Bulk(conn.user.name().clone())),
        }
    }
}

fn cat(category: Option<&Bytes>) -> Result<Reply, ErrorText> {
    let Some(category) = category else {
        let names = CATEGORIES.iter().copied().map(Reply::bulk);
        return Ok(Reply::Array(names.collect()));
    };
    let name = category.to_ascii_lowercase();
    match CATEGORIES.iter().find(|known| known.as_bytes() == name) {
        Some(known) => {
            let names = in_category(known).map(|row| Reply::bulk(row.name));
            Ok(Reply::Array(names.collect()))
        }
        None => Err(errors::acl_no_category(category)),
    }
}

fn dry_run(conn: &Connection, user: &Bytes, args: &[Bytes]) -> Result<Reply, ErrorText> {
    let user = conn
        .acl
        .user(user)
        .ok_or_else(|| errors::acl_no_user(user))?;
    let name = args.first().cloned().unwrap_or_default();
    let (row, _) = dispatch::lookup(args).map_err(|_unknown| errors::acl_no_command(&name))?;
    if !row.accepts(args.len()) {
        return Err(errors::wrong_arity(row.name));
    }
    Ok(match user.check(row, args) {
        Ok(()) => Reply::ok(),
        Err(denied) => Reply::Bulk(errors::denial(&denied, user.name(), row.name)),
    })
}

/// Returns hexadecimal digits that nobody can guess: digests of a secret and of a number that is never used again.
fn generate(seq: Seq, conn: &Connection, env: &Env, bits: u32) -> String {
    let digits = bits.div_ceil(4) as usize;
    let mut text = String::new();
    for block in 0u32.. {
        if text.len() >= digits {
            break;
        }
        let mut digest = Sha256::new();
        digest.update(env.secret.0);
        for number in [conn.id.0, seq.0, block.into()] {
            digest.update(number.to_be_bytes());
        }
        text.push_str(&hex(&digest.finalize()));
    }
    text.truncate(digits);
    text
}

fn describe(user: &User) -> Reply {
    let [root, selectors @ ..] = &user.shown()[..] else {
        return Reply::Null;
    };
    let field = |name: &'static str, value| (Reply::bulk(name), value);
    let rules = |selector: &[Bytes; 3]| {
        let [commands, keys, channels] = selector.clone();
        [
            field("commands", Reply::Bulk(commands)),
            field("keys", Reply::Bulk(keys)),
            field("channels", Reply::Bulk(channels)),
        ]
    };
    let selectors = selectors
        .iter()
        .map(|selector| Reply::Map(rules(selector).into()));
    let flags = user.flags().into_iter().map(Reply::bulk).collect();
    let passwords = user.password_hashes().map(Reply::bulk).collect();
    let mut fields = vec![
        field("flags", Reply::Set(flags)),
        field("passwords", Reply::Array(passwords)),
    ];
    fields.extend(rules(root));
    fields.push(field("selectors", Reply::Array(selectors.collect())));
    Reply::Map(fields)
}
