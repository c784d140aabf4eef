//! Every error text that a session itself writes, in one place.
//!
//! Client libraries map errors to exceptions by their first word and some by parts of the text, so
//! the words are Redis' words for Redis' cases (compared with the replies of real servers). A text
//! is whole: the code, a space, the rest. Client bytes go into a text only through [`quoted`],
//! which keeps them short and free of line ends.

use crate::acl::Denied;
use bytes::Bytes;

/// How much of one client string an error repeats.
const QUOTED_MAX: usize = 128;

/// A whole error text, code first, without the leading `-`.
pub(crate) type ErrorText = Bytes;

pub(crate) const SYNTAX: &[u8] = b"ERR syntax error";
pub(crate) const NOT_AN_INTEGER: &[u8] = b"ERR value is not an integer or out of range";
pub(crate) const OUT_OF_INT_RANGE: &[u8] =
    b"ERR value is out of range, value must between -2147483648 and 2147483647";
pub(crate) const OFFSET: &[u8] = b"ERR offset is out of range";
pub(crate) const CURSOR: &[u8] = b"ERR invalid cursor";
pub(crate) const DECREMENT_OVERFLOW: &[u8] = b"ERR decrement would overflow";
pub(crate) const SAME_OBJECT: &[u8] = b"ERR source and destination objects are the same";
pub(crate) const FIRST_DATABASE: &[u8] = b"ERR invalid first DB index";
pub(crate) const SECOND_DATABASE: &[u8] = b"ERR invalid second DB index";
pub(crate) const EXPIRE_NX: &[u8] =
    b"ERR NX and XX, GT or LT options at the same time are not compatible";
pub(crate) const EXPIRE_GT_LT: &[u8] = b"ERR GT and LT options at the same time are not compatible";
pub(crate) const STREAM_ID: &[u8] = b"ERR Invalid stream ID specified as stream command argument";
pub(crate) const ZERO_ID: &[u8] = b"ERR The ID specified in XADD must be greater than 0-0";
pub(crate) const INTERVAL_START: &[u8] = b"ERR invalid start ID for the interval";
pub(crate) const INTERVAL_END: &[u8] = b"ERR invalid end ID for the interval";
pub(crate) const MAXLEN_ARGUMENT: &[u8] = b"ERR The MAXLEN argument must be >= 0.";
pub(crate) const LIMIT_ARGUMENT: &[u8] = b"ERR The LIMIT argument must be >= 0.";
pub(crate) const MAXLEN_AND_MINID: &[u8] =
    b"ERR syntax error, MAXLEN and MINID options at the same time are not compatible";
pub(crate) const LIMIT_WITHOUT_TRIM: &[u8] =
    b"ERR syntax error, LIMIT cannot be used without specifying a trimming strategy";
pub(crate) const LIMIT_WITHOUT_APPROXIMATE: &[u8] =
    b"ERR syntax error, LIMIT cannot be used without the special ~ option";
pub(crate) const XTRIM_WITHOUT_TRIM: &[u8] =
    b"ERR syntax error, XTRIM must be called with a trimming strategy";
pub(crate) const IDMP_EMPTY: &[u8] = b"ERR a producer and an attempt must not be empty";
pub(crate) const IDMP_NEEDS_AUTO: &[u8] = b"ERR IDMP and IDMPAUTO can be used only with the ID *";
pub(crate) const IDMP_DURATION: &[u8] = b"ERR IDMP-DURATION must be between 1 and 86400 seconds";
pub(crate) const IDMP_MAXSIZE: &[u8] = b"ERR IDMP-MAXSIZE must be between 1 and 10000";
pub(crate) const ENTRIES_ADDED: &[u8] = b"ERR entries_added must be positive";
pub(crate) const SET_ID_BELOW_GIVEN: &[u8] =
    b"ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id";
pub(crate) const ENTRIES_READ: &[u8] = b"ERR value for ENTRIESREAD must be positive or -1";
pub(crate) const NUMBER_OF_IDS: &[u8] = b"ERR Number of IDs must be a positive integer";
pub(crate) const NUMIDS: &[u8] = b"ERR The `numids` parameter must match the number of arguments";
pub(crate) const TIMEOUT_NEGATIVE: &[u8] = b"ERR timeout is negative";
pub(crate) const HISTORY_AND_STREAMS: &[u8] =
    b"ERR Streams and the history of channels cannot be read together";
pub(crate) const GROUP_IN_XREAD: &[u8] =
    b"ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.";
pub(crate) const NOACK_IN_XREAD: &[u8] =
    b"ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.";
pub(crate) const NEW_IN_XREAD: &[u8] = b"ERR The > ID can be specified only when calling \
    XREADGROUP using the GROUP <group> <consumer> option.";
pub(crate) const TOP_IN_XREADGROUP: &[u8] = b"ERR The $ ID is meaningless in the context of \
    XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use \
    the > ID to get new messages. The $ ID would just return an empty result set.";
pub(crate) const LAST_IN_XREADGROUP: &[u8] = b"ERR The + ID is meaningless in the context of \
    XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use \
    the > ID to get new messages. The + ID would just return an empty result set.";
pub(crate) const MISSING_GROUP: &[u8] = b"ERR Missing GROUP option for XREADGROUP";
pub(crate) const MIN_IDLE: &[u8] = b"ERR min-idle-time must not be negative";
pub(crate) const MAXCOUNT_BELOW_COUNT: &[u8] = b"ERR MAXCOUNT must not be smaller than COUNT";
pub(crate) const RETRY_COUNT: &[u8] = b"ERR RETRYCOUNT must not be negative";
pub(crate) const XCLAIM_MIN_IDLE: &[u8] = b"ERR Invalid min-idle-time argument for XCLAIM";
pub(crate) const XCLAIM_IDLE: &[u8] = b"ERR Invalid IDLE option argument for XCLAIM";
pub(crate) const XCLAIM_TIME: &[u8] = b"ERR Invalid TIME option argument for XCLAIM";
pub(crate) const XCLAIM_RETRYCOUNT: &[u8] = b"ERR Invalid RETRYCOUNT option argument for XCLAIM";
pub(crate) const XAUTOCLAIM_MIN_IDLE: &[u8] = b"ERR Invalid min-idle-time argument for XAUTOCLAIM";
pub(crate) const XAUTOCLAIM_COUNT: &[u8] = b"ERR COUNT must be > 0";
pub(crate) const DATABASE_OUT_OF_RANGE: &[u8] = b"ERR DB index is out of range";
pub(crate) const NO_AUTH: &[u8] = b"NOAUTH Authentication required.";
pub(crate) const HELLO_NO_AUTH: &[u8] = b"NOAUTH HELLO must be called with the client already \
    authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to \
    authenticate the client and select the RESP protocol version at the same time";
pub(crate) const WRONG_PASS: &[u8] =
    b"WRONGPASS invalid username-password pair or user is disabled.";
pub(crate) const NO_PASSWORD_CONFIGURED: &[u8] =
    b"ERR AUTH <password> called without any password configured for the default user. \
    Are you sure your configuration is correct?";
pub(crate) const NO_PROTO: &[u8] = b"NOPROTO unsupported protocol version";
pub(crate) const PROTO_NOT_AN_INTEGER: &[u8] =
    b"ERR Protocol version is not an integer or out of range";
pub(crate) const FORCED_FAILOVER: &[u8] =
    b"ERR FORCE and TAKEOVER are not possible: a node leads only with a majority's votes";
pub(crate) const NOT_TRACKING: &[u8] =
    b"ERR CLIENT CACHING can be called only when the client is in tracking mode \
    with OPTIN or OPTOUT mode enabled";
pub(crate) const TRACKING: &[u8] =
    b"ERR CLIENT TRACKING ON is not possible: this server has no tracking of keys";
pub(crate) const SLOWLOG_COUNT: &[u8] = b"ERR count should be greater than or equal to -1";
pub(crate) const LOCAL_COUNT: &[u8] = b"ERR value is out of range, value must between 0 and 1";
pub(crate) const NOT_POSITIVE: &[u8] = b"ERR value is out of range, must be positive";
pub(crate) const NO_MODULES: &[u8] = b"ERR MODULE command not allowed: this server has no modules";
pub(crate) const REPLICAOF: &[u8] =
    b"ERR REPLICAOF is not possible: the nodes of a cluster copy each other by \
    themselves, see CLUSTER MEET";
pub(crate) const NOT_IN_MULTI: &[u8] = b"ERR Command not allowed inside a transaction";
pub(crate) const INVALID_COMMAND: &[u8] = b"ERR Invalid command specified";
pub(crate) const INVALID_ARGUMENT_COUNT: &[u8] =
    b"ERR Invalid number of arguments specified for command";
pub(crate) const INVALID_ARGUMENTS: &[u8] = b"ERR Invalid arguments specified for command";
pub(crate) const NO_KEY_ARGUMENTS: &[u8] = b"ERR The command has no key arguments";
pub(crate) const NO_SHUTDOWN: &[u8] = b"ERR No shutdown in progress.";
pub(crate) const INVALID_MASTER_PORT: &[u8] = b"ERR Invalid master port";
pub(crate) const CLIENT_ID: &[u8] = b"ERR Invalid client ID";
pub(crate) const CLIENT_ID_POSITIVE: &[u8] = b"ERR client-id should be greater than 0";
pub(crate) const PAUSE_MODE: &[u8] = b"ERR CLIENT PAUSE mode must be WRITE or ALL";
pub(crate) const TIMEOUT_NOT_AN_INTEGER: &[u8] = b"ERR timeout is not an integer or out of range";
pub(crate) const UNBLOCK_REASON: &[u8] = b"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
pub(crate) const CLIENT_NAME: &[u8] =
    b"ERR Client names cannot contain spaces, newlines or special characters.";

pub(crate) const ACL_USER_NAME: &[u8] = b"ERR Usernames can't contain spaces or null characters";
pub(crate) const ACL_GENPASS: &[u8] =
    b"ERR ACL GENPASS argument must be the number of bits for the output password, a positive number \
    up to 4096";
pub(crate) const MULTI_NESTED: &[u8] = b"ERR MULTI calls can not be nested";
pub(crate) const EXEC_WITHOUT_MULTI: &[u8] = b"ERR EXEC without MULTI";
pub(crate) const DISCARD_WITHOUT_MULTI: &[u8] = b"ERR DISCARD without MULTI";
pub(crate) const WATCH_IN_MULTI: &[u8] = b"ERR WATCH inside MULTI is not allowed";
pub(crate) const EXEC_ABORTED: &[u8] =
    b"EXECABORT Transaction discarded because of previous errors.";
pub(crate) const MONITOR_IN_EXEC: &[u8] = b"ERR MONITOR isn't allowed for DENY BLOCKING client";
pub(crate) const SSUBSCRIBE_IN_EXEC: &[u8] =
    b"ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client";
pub(crate) const WRITES_DECIDED: &[u8] =
    b"ERR not run, because the other writes of this EXEC were decided before";

pub(crate) const NEGATIVE_KEYS: &[u8] = b"ERR Number of keys can't be negative";
pub(crate) const TOO_MANY_KEYS: &[u8] = b"ERR Number of keys can't be greater than number of args";
pub(crate) const NO_SCRIPT: &[u8] = b"NOSCRIPT No matching script. Please use EVAL.";
pub(crate) const SCRIPT_FLUSH: &[u8] = b"ERR SCRIPT FLUSH only support SYNC|ASYNC option";
pub(crate) const NO_LUA: &[u8] = b"ERR Corgi does not run Lua: the only script it knows is the loop of \
    redis.call('publish', ARGV[i], ARGV[1]) that Laravel sends. Use MULTI and EXEC for what must happen together";

/// The fate of a write is unknown because its connection ends first (P5). Not a code that client
/// libraries retry on.
pub(crate) const CLOSED_BEFORE_OUTCOME: &[u8] =
    b"INDETERMINATE the connection was closed before the outcome of the write was known";

/// No row of the table has that name.
pub(crate) fn unknown_command(args: &[Bytes]) -> ErrorText {
    let (name, rest) = args
        .split_first()
        .map_or((&b""[..], &[][..]), |(n, r)| (&n[..], r));
    let mut shown = Vec::new();
    for arg in rest {
        if shown.len() >= QUOTED_MAX {
            break;
        }
        let left = QUOTED_MAX - shown.len();
        shown.push(b'\'');
        shown.extend_from_slice(&quoted(arg, left));
        shown.extend_from_slice(b"' ");
    }
    let name = quoted(name, QUOTED_MAX);
    text(&[
        b"ERR unknown command '",
        &name,
        b"', with args beginning with: ",
        &shown,
    ])
}

/// The command is known, its subcommand is not.
pub(crate) fn unknown_subcommand(command: &str, subcommand: &[u8]) -> ErrorText {
    let help = command.to_ascii_uppercase();
    let shown = quoted(subcommand, QUOTED_MAX);
    text(&[
        b"ERR unknown subcommand '",
        &shown,
        b"'. Try ",
        help.as_bytes(),
        b" HELP.",
    ])
}

/// A subcommand that checks its own arguments got too many.
pub(crate) fn subcommand_arguments(command: &str, subcommand: &[u8]) -> ErrorText {
    let help = command.to_ascii_uppercase();
    let shown = quoted(subcommand, QUOTED_MAX);
    text(&[
        b"ERR unknown subcommand or wrong number of arguments for '",
        &shown,
        b"'. Try ",
        help.as_bytes(),
        b" HELP.",
    ])
}

/// `CLUSTER MEET` with something that is no address.
pub(crate) fn invalid_address(host: &[u8], port: &[u8]) -> ErrorText {
    text(&[
        b"ERR Invalid node address specified: ",
        &quoted(host, QUOTED_MAX),
        b":",
        &quoted(port, QUOTED_MAX),
    ])
}

/// A time that cannot be one of an expiry.
pub(crate) fn invalid_expire(command: &str) -> ErrorText {
    text(&[
        b"ERR invalid expire time in '",
        command.as_bytes(),
        b"' command",
    ])
}

pub(crate) fn unsupported_option(option: &[u8]) -> ErrorText {
    text(&[b"ERR Unsupported option ", &quoted(option, QUOTED_MAX)])
}

/// `XREAD` and `XREADGROUP` with more keys than ids, or fewer.
pub(crate) fn unbalanced_streams(in_group: bool) -> ErrorText {
    let (command, ids): (&[u8], &[u8]) = if in_group {
        (b"xreadgroup", b"an ID or '>'")
    } else {
        (b"xread", b"an ID, '+', or '$'")
    };
    text(&[
        b"ERR Unbalanced '",
        command,
        b"' list of streams: for each stream key ",
        ids,
        b" must be specified.",
    ])
}

/// `XCLAIM` with something that is no id and no option.
pub(crate) fn xclaim_option(option: &[u8]) -> ErrorText {
    text(&[
        b"ERR Unrecognized XCLAIM option '",
        &quoted(option, QUOTED_MAX),
        b"'",
    ])
}

/// Too few or too many arguments; `name` is the full one, as in `client|id`.
pub(crate) fn wrong_arity(name: &str) -> ErrorText {
    text(&[
        b"ERR wrong number of arguments for '",
        name.as_bytes(),
        b"' command",
    ])
}

/// A command that RESP2's subscribed mode refuses, because its reply could not be told from a
/// message.
pub(crate) fn subscribed_mode(name: &str) -> ErrorText {
    text(&[
        b"ERR Can't execute '",
        name.as_bytes(),
        b"': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed \
        in this context",
    ])
}

/// `HELLO` with an option that does not exist or lacks its values.
pub(crate) fn hello_option(option: &[u8]) -> ErrorText {
    text(&[
        b"ERR Syntax error in HELLO option '",
        &quoted(option, QUOTED_MAX),
        b"'",
    ])
}

/// `CLIENT SETINFO` with an attribute that does not exist.
pub(crate) fn unrecognized_option(option: &[u8]) -> ErrorText {
    text(&[
        b"ERR Unrecognized option '",
        &quoted(option, QUOTED_MAX),
        b"'",
    ])
}

/// `CLIENT SETINFO` with a value that could not be shown in a list of clients.
pub(crate) fn client_attribute(option: &[u8]) -> ErrorText {
    let shown = quoted(option, QUOTED_MAX);
    text(&[
        b"ERR ",
        &shown,
        b" cannot contain spaces, newlines or special characters.",
    ])
}

/// What a user may not do, as a reply. Keys and channels are not repeated, as in Redis.
pub(crate) fn no_permission(denied: &Denied, user: &[u8], command: &str) -> ErrorText {
    match denied {
        Denied::Command => {
            let why = denial(denied, user, command);
            text(&[b"NOPERM ", &why])
        }
        Denied::Key { .. } => Bytes::from_static(b"NOPERM No permissions to access a key"),
        Denied::Channel { .. } => Bytes::from_static(b"NOPERM No permissions to access a channel"),
    }
}

/// A user who was permitted to queue a command may not run it when `EXEC` comes.
pub(crate) fn no_permission_any_more(denied: &Denied) -> ErrorText {
    let reason: &[u8] = match denied {
        Denied::Command => b"no permission to execute the command or subcommand",
        Denied::Key { .. } => b"no permission to touch the specified keys",
        Denied::Channel { .. } => {
            b"no permission to access one of the channels used as arguments to the command"
        }
    };
    text(&[
        b"NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is \
          no longer allowed for the following reason: ",
        reason,
    ])
}

/// A script would do what its user may not.
pub(crate) fn denied_in_script(denied: &Denied, user: &[u8]) -> ErrorText {
    let why = no_permission(denied, user, "publish");
    let why = why.strip_prefix(b"NOPERM ").unwrap_or(&why);
    text(&[b"ERR ACL failure in script: ", why])
}

/// What a user may not do, in full, without a code.
pub(crate) fn denial(denied: &Denied, user: &[u8], command: &str) -> ErrorText {
    let user = quoted(user, QUOTED_MAX);
    match denied {
        Denied::Command => text(&[
            b"User ",
            &user,
            b" has no permissions to run the '",
            command.as_bytes(),
            b"' command",
        ]),
        Denied::Key { name, .. } => text(&[
            b"User ",
            &user,
            b" has no permissions to access the '",
            name,
            b"' key",
        ]),
        Denied::Channel { name, .. } => text(&[
            b"User ",
            &user,
            b" has no permissions to access the '",
            name,
            b"' channel",
        ]),
    }
}

/// `ACL SETUSER` with a rule that is wrong.
pub(crate) fn acl_modifier(rule: &[u8], why: &str) -> ErrorText {
    text(&[
        b"ERR Error in ACL SETUSER modifier '",
        &quoted(rule, QUOTED_MAX),
        b"': ",
        why.as_bytes(),
    ])
}

/// A selector that is not closed.
pub(crate) fn acl_unmatched(open: &[u8]) -> ErrorText {
    text(&[
        b"ERR Unmatched parenthesis in acl selector starting at '",
        &quoted(open, QUOTED_MAX),
        b"'.",
    ])
}

/// `ACL DRYRUN` for a user that does not exist.
pub(crate) fn acl_no_user(name: &[u8]) -> ErrorText {
    text(&[b"ERR User '", &quoted(name, QUOTED_MAX), b"' not found"])
}

/// `ACL DRYRUN` of a command that does not exist.
pub(crate) fn acl_no_command(name: &[u8]) -> ErrorText {
    text(&[b"ERR Command '", &quoted(name, QUOTED_MAX), b"' not found"])
}

/// `ACL CAT` of a category that does not exist.
pub(crate) fn acl_no_category(name: &[u8]) -> ErrorText {
    text(&[b"ERR Unknown category '", &quoted(name, QUOTED_MAX), b"'"])
}

/// An option of `CLIENT LIST` that must be a whole number above 0 is none, or is not.
pub(crate) fn client_number(option: &str, is_number: bool) -> ErrorText {
    let wrong = if is_number {
        " should be greater than 0"
    } else {
        " is not an integer or out of range"
    };
    text(&[b"ERR ", option.as_bytes(), wrong.as_bytes()])
}

/// `CLIENT LIST TYPE` with a kind that does not exist.
pub(crate) fn client_type(kind: &[u8]) -> ErrorText {
    let kind = quoted(kind, QUOTED_MAX);
    text(&[b"ERR Unknown client type '", &kind, b"'"])
}

/// `CLIENT KILL USER` with a user that does not exist.
pub(crate) fn no_such_user(name: &[u8]) -> ErrorText {
    let name = quoted(name, QUOTED_MAX);
    text(&[b"ERR No such user '", &name, b"'"])
}

/// `CLIENT LIST FLAGS` with letters that are no flags.
pub(crate) fn client_flags(flags: &[u8]) -> ErrorText {
    let flags = quoted(flags, QUOTED_MAX);
    text(&[b"ERR Unknown flags found in the provided filter: ", &flags])
}

/// Bytes that are not a request; `reason` starts with `Protocol error:`.
pub(crate) fn protocol(reason: &str) -> ErrorText {
    text(&[b"ERR ", reason.as_bytes()])
}

/// `EXEC` itself was refused, and with it the transaction.
pub(crate) fn exec_refused(text: &[u8]) -> ErrorText {
    let reason = text.strip_prefix(b"ERR ").unwrap_or(text);
    self::text(&[b"EXECABORT Transaction discarded because of: ", reason])
}

/// Commands of one transaction, or what they write, take more than one request may.
pub(crate) fn transaction_too_large(bytes_max: usize) -> ErrorText {
    format!(
        "ERR the transaction is too large: its commands and what they write may hold {bytes_max} bytes, which follows from \
         proto-max-bulk-len. Nothing was written; send it in parts"
    )
    .into()
}

/// The keys of `WATCH` take more than one request may.
pub(crate) fn too_many_watched(bytes_max: usize) -> ErrorText {
    format!(
        "ERR the watched keys may take {bytes_max} bytes, which follows from proto-max-bulk-len; UNWATCH forgets \
         them"
    )
    .into()
}

/// The replies of a transaction take more than one request may, so that a command of it did not run.
pub(crate) fn too_many_subscriptions(wanted: u64, max: u64) -> ErrorText {
    format!(
        "ERR not subscribed: that could be {wanted} channels and patterns for this client, and \
         client-subscriptions-limit is {max}"
    )
    .into()
}

pub(crate) fn publishes_too_fast(max: u64) -> ErrorText {
    format!(
        "TRYAGAIN not published: this client publishes faster than client-publish-rate-limit, which is {max} a second"
    )
    .into()
}

pub(crate) fn exec_replies_too_large(bytes_max: usize) -> ErrorText {
    format!(
        "ERR not run, because the replies of this EXEC take more than {bytes_max} bytes already"
    )
    .into()
}

/// What an error may repeat of a client's string: as in Redis it ends at a zero byte or after `max`
/// bytes, and line ends become spaces, because they would end the reply.
fn quoted(bytes: &[u8], max: usize) -> Vec<u8> {
    let end = bytes
        .iter()
        .position(|b| *b == 0)
        .unwrap_or(bytes.len())
        .min(max);
    bytes[..end]
        .iter()
        .map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b })
        .collect()
}

fn text(parts: &[&[u8]]) -> ErrorText {
    parts.concat().into()
}

fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(&quoted(key, QUOTED_MAX)).into_owned()
}

/// The history of a channel is written by `PUBLISH` and nothing else, and read by few commands.
pub(crate) fn only_read(key: &[u8]) -> ErrorText {
    let key = shown(key);
    format!(
        "ERR {key} is the history of a channel: it is written by PUBLISH to the channel alone, and read by XRANGE, \
         XREVRANGE, XREAD, XLEN, XINFO STREAM and TYPE"
    )
    .into()
}

/// What is in the log, and what is read beside it, cannot be one step.
pub(crate) fn history_in_multi(key: &[u8]) -> ErrorText {
    let key = shown(key);
    format!("ERR {key} is the history of a channel, which is not read within a transaction").into()
}

/// Whoever wants to read on needs each channel's last id.
pub(crate) fn history_by_pattern(pattern: &[u8]) -> ErrorText {
    let pattern = shown(pattern);
    format!("ERR {pattern} names the history of channels, to which only SUBSCRIBE listens").into()
}

/// There are no groups, and all entries at once are too many.
pub(crate) fn history_not_full(key: &[u8]) -> ErrorText {
    let key = shown(key);
    format!("ERR {key} is the history of a channel, of which XINFO STREAM knows no FULL").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Vec<Bytes> {
        words
            .iter()
            .map(|w| Bytes::copy_from_slice(w.as_bytes()))
            .collect()
    }

    #[test]
    fn unknown_command_repeats_the_name_and_the_first_arguments() {
        assert_eq!(
            unknown_command(&args(&["foo", "a", "b"])),
            "ERR unknown command 'foo', with args beginning with: 'a' 'b' "
        );
        assert_eq!(
            unknown_command(&args(&["FoO"])),
            "ERR unknown command 'FoO', with args beginning with: "
        );
    }

    #[test]
    fn unknown_command_cuts_at_128_bytes() {
        // As redis-server 7.0.15 answers: the quotes and the space of the first argument count.
        let first = "a".repeat(120);
        let expected = format!(
            "ERR unknown command '{}', with args beginning with: '{first}' 'ccccc' ",
            "n".repeat(128)
        );
        assert_eq!(
            unknown_command(&args(&[&"n".repeat(140), &first, "cccccccccc", "dddd"])),
            expected
        );
    }

    #[test]
    fn client_bytes_cannot_end_the_line() {
        assert_eq!(
            unknown_command(&args(&["a\r\nb\0c", "z\0yy", "\r\n"])),
            "ERR unknown command 'a  b', with args beginning with: 'z' '  ' "
        );
    }
}
