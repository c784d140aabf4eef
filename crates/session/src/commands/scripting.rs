//! `EVAL`, `EVALSHA`, `SCRIPT` for the one script that is known ([`crate::scripts`]): it is not interpreted, but does
//! what it says as one step (<https://redis.io/docs/latest/commands/eval/>).

use super::{Args, Command, Step, integer, required};
use crate::acl::Context;
use crate::connection::Connection;
use crate::env::Env;
use crate::errors::{self, ErrorText};
use crate::scripts;
use bytes::Bytes;
use corgi_base::Op;
use corgi_resp::Reply;

const HELP: &[&str] = &[
    "SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "EXISTS <sha1> [<sha1> ...]",
    "    Tell which scripts are in the script cache of this node.",
    "FLUSH [ASYNC|SYNC]",
    "    Empty the script cache of this node.",
    "LOAD <script>",
    "    Put a script into the script cache of this node without running it.",
];

/// Which script is to run.
#[derive(Debug, PartialEq)]
pub(crate) enum Script {
    /// This one.
    Text(Bytes),
    /// The one of this name.
    Sha(Bytes),
}

/// `EVAL script numkeys [key …] [arg …]`.
pub(crate) fn parse_eval(args: &mut Args) -> Result<Command, ErrorText> {
    let script = Script::Text(required(args));
    parse_arguments(script, args)
}

/// `EVALSHA sha1 numkeys [key …] [arg …]`.
pub(crate) fn parse_evalsha(args: &mut Args) -> Result<Command, ErrorText> {
    let script = Script::Sha(required(args));
    parse_arguments(script, args)
}

fn parse_arguments(script: Script, args: &mut Args) -> Result<Command, ErrorText> {
    let Some(keys) = integer(&required(args)) else {
        return Err(Bytes::from_static(errors::NOT_AN_INTEGER));
    };
    let Ok(keys) = usize::try_from(keys) else {
        return Err(Bytes::from_static(errors::NEGATIVE_KEYS));
    };
    if keys > args.len() {
        return Err(Bytes::from_static(errors::TOO_MANY_KEYS));
    }
    Ok(Command::Eval {
        script,
        arguments: args.skip(keys).collect(),
    })
}

/// `SCRIPT EXISTS sha1 [sha1 …]`.
pub(crate) fn parse_exists(args: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::ScriptExists(args.collect()))
}

/// `SCRIPT FLUSH [ASYNC|SYNC]`.
pub(crate) fn parse_flush(args: &mut Args) -> Result<Command, ErrorText> {
    let how = args.next();
    let right = how
        .is_none_or(|how| how.eq_ignore_ascii_case(b"sync") || how.eq_ignore_ascii_case(b"async"));
    if !right || args.next().is_some() {
        return Err(Bytes::from_static(errors::SCRIPT_FLUSH));
    }
    Ok(Command::ScriptFlush)
}

pub(crate) fn parse_help(_: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::Help(HELP))
}

/// `SCRIPT LOAD script`.
pub(crate) fn parse_load(args: &mut Args) -> Result<Command, ErrorText> {
    Ok(Command::ScriptLoad(required(args)))
}

/// Runs the loop: publishes argument 1 to the channels that are the other arguments.
pub(crate) fn eval(
    conn: &mut Connection,
    env: &Env,
    script: &Script,
    arguments: Vec<Bytes>,
) -> Step {
    let found = match script {
        Script::Text(text) => load(env, text).map(drop),
        Script::Sha(name) => match scripts::sha(name) {
            Some(sha) if env.scripts.has(&sha) => Ok(()),
            Some(_) | None => Err(Bytes::from_static(errors::NO_SCRIPT)),
        },
    };
    match found.and_then(|()| publishes(conn, env, arguments)) {
        Ok(ops) if ops.is_empty() => Step::Answer(Reply::Null),
        Ok(ops) => Step::Script(ops),
        Err(text) => Step::Answer(Reply::Error(text)),
    }
}

fn publishes(
    conn: &mut Connection,
    env: &Env,
    arguments: Vec<Bytes>,
) -> Result<Vec<Op>, ErrorText> {
    let mut arguments = arguments.into_iter();
    let Some(payload) = arguments.next() else {
        return Ok(Vec::new());
    };
    let publish = |channel| Op::Publish {
        channel,
        payload: payload.clone(),
    };
    let ops: Vec<Op> = arguments.map(publish).collect();
    // The payload is in each of them: a request within its limit may ask for far more than that.
    let bytes_max = env.limits.max_request_bytes;
    if ops.iter().map(Op::encoded_len).sum::<usize>() > bytes_max {
        return Err(errors::transaction_too_large(bytes_max));
    }
    for op in &ops {
        if let Err(denied) = conn.user.allows_op(op) {
            let (context, user) = (Context::Script, conn.user.name());
            conn.denials.note(&denied, context, "publish", user);
            return Err(errors::denied_in_script(&denied, conn.user.name()));
        }
    }
    Ok(ops)
}

/// Returns which of the scripts are there: 1, or 0.
pub(crate) fn exists(env: &Env, names: &[Bytes]) -> Reply {
    let there = |name: &Bytes| scripts::sha(name).is_some_and(|sha| env.scripts.has(&sha));
    let answers = names.iter().map(|name| Reply::Integer(there(name).into()));
    Reply::Array(answers.collect())
}

/// Takes a script in. Returns its name.
pub(crate) fn load(env: &Env, script: &[u8]) -> Result<Reply, ErrorText> {
    let Some(sha) = scripts::known(script) else {
        return Err(Bytes::from_static(errors::NO_LUA));
    };
    env.scripts.add(sha);
    let digits: String = sha.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Reply::bulk(digits))
}
