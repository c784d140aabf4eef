//! Golden scripts: one behaviour a file in `scripts/`, named for it.
//!
//! | command | does |
//! |---|---|
//! | `open [requirepass=…] [commands=…] [bytes=…] [request=…] ["user rule …" …]` | accepts client 7, with limits and users |
//! | `send WORD…` | the client sends one request; every word is one argument |
//! | `pipeline "WORD …"…` | the client sends several requests in one piece |
//! | `raw TEXT…` | the client sends these bytes |
//! | `tell reply SEQ REPLY` | the node answers; `+`, `-`, `:`, `$` or `*` says with what |
//! | `tell deliver CHANNEL PAYLOAD` | the node delivers a message |
//! | `tell subscribed\|unsubscribed KIND NAME COUNT` | it confirms; KIND: `channel`, `pattern`, `shard` |
//! | `tell done SEQ` | the node is done with a barrier |
//! | `tell close [TEXT]` | the node ends the connection |
//! | `pause no\|writes\|all` | commands must wait, or no longer |
//! | `stall`, `drain` | the client stops reading what the session writes, and reads again |
//! | `denials` | prints what the client was denied since the last time |
//! | `state` | prints what the session knows about its client |
//!
//! Output: `ask` is what the session asks of the node, `out` the bytes that leave, and a line where
//! the session stops wanting input, wants it again, or wants to be closed.

use bytes::{Bytes, BytesMut};
use corgi_base::{ClientId, MessageId, Op, SubscriptionKind, Via};
use corgi_resp::{Reply, encode_message};
use corgi_session::{Acl, Ask, Env, Pause, Seq, Session, Told, Users, define, require_pass};
use goldenscript::{Command, Context, Runner};
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

macro_rules! scripts {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() -> std::io::Result<()> {
                let path = concat!("tests/scripts/", stringify!($name));
                goldenscript::run(&mut Client::default(), path)
            }
        )*

        #[test]
        fn every_script_is_listed() {
            let mut listed = vec![$(stringify!($name).to_owned()),*];
            let mut found: Vec<_> = std::fs::read_dir("tests/scripts")
                .expect("the scripts are in the checkout")
                .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
                .collect();
            listed.sort();
            found.sort();
            assert_eq!(found, listed);
        }
    };
}

scripts! {
    keys_are_read_and_written
    watch_guards_what_exec_writes
    acl_changes_are_made_by_the_node
    acl_describes_users
    admin_asks_the_process
    acl_limits_a_user
    acl_log_tells_what_was_denied
    auth_opens_the_session
    client_names_itself
    client_reply_off_and_skip
    client_tracking_is_off
    clients_are_asked_of_the_process
    pause_holds_commands_back
    close_by_the_node_says_what_is_unknown
    cluster_asks_the_node
    eval_knows_one_script
    exec_is_one_step
    exec_runs_commands_of_the_node_in_their_order
    exec_that_is_refused_or_lost
    command_describes_the_table
    full_output_holds_commands_back
    hello_answers_at_once_without_a_change
    hello_changes_protocol_after_earlier_replies
    hello_refuses_what_it_does_not_know
    help_texts
    http_executes_nothing
    multi_queues_and_discards
    multi_memory_is_bounded
    info_and_pubsub_see_earlier_commands
    limits_of_subscriptions_and_publishing
    noauth_limits
    own_message_follows_publish_reply
    ping_and_echo_in_every_mode
    protocol_error_after_due_replies
    publishes_are_pipelined_up_to_the_limit
    quit_answers_then_closes
    replies_keep_request_order
    reset_forgets_everything
    resp2_subscribed_mode_refuses_publish
    resp3_subscriber_may_do_anything
    select_checks_the_index
    shard_channels_count_by_themselves
    streams_are_read_and_written
    the_history_of_channels_is_read_by_few_commands
    subscribe_refused_by_the_node
    subscribe_waits_for_earlier_publishes
    unknown_command_text
    unsubscribe_all_without_subscriptions
    wrong_arity_text
}

/// One connection and what stands between it and its client.
#[derive(Default)]
struct Client {
    session: Option<Session>,
    input: BytesMut,
    stalled: bool,
    wanted_input: bool,
    was_closing: bool,
}

impl Runner for Client {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String> {
        match command.name.as_str() {
            "open" => self.open(command)?,
            "send" => self.input.extend_from_slice(&request(&positional(command))),
            "pipeline" => {
                for line in positional(command) {
                    let words = line.split(' ').map(str::to_owned).collect::<Vec<_>>();
                    self.input.extend_from_slice(&request(&words));
                }
            }
            "raw" => {
                positional(command)
                    .iter()
                    .for_each(|t| self.input.extend_from_slice(&bytes(t)));
            }
            "tell" => {
                let told = self.told(&positional(command))?;
                self.session()?.tell(told);
            }
            "pause" => {
                let pause = match positional(command).join(" ").as_str() {
                    "no" => Pause::No,
                    "writes" => Pause::Writes,
                    "all" => Pause::All,
                    other => return Err(format!("unknown pause {other}").into()),
                };
                self.session()?.set_pause(pause);
            }
            "stall" => self.stalled = true,
            "drain" => self.stalled = false,
            "denials" => return self.denials(),
            "state" => return self.state(),
            name => return Err(format!("unknown command {name}").into()),
        }
        self.progress()
    }
}

impl Client {
    fn open(&mut self, command: &Command) -> Result<()> {
        let mut args = command.consume_args();
        let mut env = Env::default();
        let mut users = Vec::new();
        if let Some(secret) = args.take_key("requirepass") {
            users.extend(require_pass(secret.as_bytes()));
        }
        if let Some(count) = args.take_key("request") {
            env.limits.max_request_bytes = count.parse()?;
        }
        if let Some(count) = args.take_key("subscriptions") {
            env.max_subscriptions = count.parse()?;
        }
        if let Some(count) = args.take_key("rate") {
            env.max_publish_rate = count.parse()?;
        }
        if let Some(count) = args.take_key("commands") {
            env.max_outstanding_commands = count.parse()?;
        }
        if let Some(count) = args.take_key("bytes") {
            env.max_outstanding_bytes = count.parse()?;
        }
        while let Some(rest) = args.next_pos() {
            let words: Vec<Bytes> = rest.split(' ').map(|word| word.to_owned().into()).collect();
            let (name, rules) = words.split_first().ok_or("a user needs a name")?;
            users.push((name.clone(), define(name, rules, false)?));
        }
        env.users = Users::new(Acl::stored(0, users.into_iter()));
        let session = Session::new(ClientId(7), Arc::new(env));
        *self = Self {
            session: Some(session),
            wanted_input: true,
            ..Self::default()
        };
        Ok(())
    }

    fn session(&mut self) -> Result<&mut Session> {
        self.session
            .as_mut()
            .ok_or_else(|| "open a connection first".into())
    }

    fn told(&mut self, words: &[String]) -> Result<Told> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let seq = |text: &str| text.parse().map(Seq);
        Ok(match words[..] {
            ["reply", number, text] => Told::Reply {
                seq: seq(number)?,
                reply: reply(text)?,
            },
            ["deliver", channel, payload] => {
                let protocol = self.session()?.protocol();
                let mut message = BytesMut::new();
                encode_message(
                    Via::Channel,
                    &bytes(channel),
                    &bytes(payload),
                    protocol,
                    &mut message,
                );
                Told::Deliver(message.freeze())
            }
            [what @ ("subscribed" | "unsubscribed"), kind, name, count] => Told::Subscription {
                on: what == "subscribed",
                kind: match kind {
                    "channel" => SubscriptionKind::Channel,
                    "pattern" => SubscriptionKind::Pattern,
                    "shard" => SubscriptionKind::Shard,
                    kind => return Err(format!("unknown kind {kind}").into()),
                },
                name: (name != "none").then(|| bytes(name)),
                count: count.parse()?,
            },
            ["done", number] => Told::Done { seq: seq(number)? },
            ["versions", number, ref ids @ ..] => Told::Versions {
                seq: seq(number)?,
                versions: ids.iter().copied().map(version).collect::<Result<_>>()?,
            },
            ["close"] => Told::Close { error: None },
            ["close", text] => Told::Close {
                error: Some(bytes(text)),
            },
            _ => return Err(format!("cannot tell {words:?}").into()),
        })
    }

    /// Lets the session read, and shows what comes of it.
    fn progress(&mut self) -> Result<String> {
        let mut shown = String::new();
        let stalled = self.stalled;
        let mut input = std::mem::take(&mut self.input);
        let session = self.session()?;
        loop {
            session.read(&mut input);
            for ask in session.take_asks() {
                writeln!(shown, "ask {}", show(&ask))?;
            }
            if let Some((seq, ask)) = session.take_local_ask() {
                writeln!(shown, "ask the process {} {ask:?}", seq.0)?;
            }
            if stalled || session.output().is_empty() {
                break;
            }
            let written: Vec<u8> = session.output().take().into_iter().flatten().collect();
            writeln!(shown, "out {}", escaped(&written))?;
        }
        let (wants_input, closing) = (session.wants_input(), session.closing());
        if closing && !self.was_closing {
            writeln!(shown, "closing")?;
        } else if wants_input != self.wanted_input && !closing {
            writeln!(
                shown,
                "{}",
                if wants_input {
                    "reads on"
                } else {
                    "stops reading"
                }
            )?;
        }
        (self.wanted_input, self.was_closing, self.input) = (wants_input, closing, input);
        Ok(shown)
    }

    fn denials(&mut self) -> Result<String> {
        let mut out = self.progress()?;
        for (denial, times) in self.session()?.take_denials() {
            let (reason, context) = (denial.reason.name(), denial.context.name());
            let (object, user) = (escaped(&denial.object), escaped(&denial.user));
            writeln!(out, "{times} x {reason} {context} {object} of {user}")?;
        }
        Ok(out)
    }

    fn state(&mut self) -> Result<String> {
        let session = self.session()?;
        let text = |value: Option<&Bytes>| value.map_or_else(|| "none".to_owned(), |v| escaped(v));
        let view = session.view();
        let mut multi = String::new();
        if let Some(queued) = view.multi {
            write!(multi, " multi={queued}/{}", view.multi_bytes)?;
        }
        if view.watched > 0 {
            write!(multi, " watch={}", view.watched)?;
        }
        Ok(format!(
            "{:?} {:?} authenticated={} db={} channels={} patterns={} shards={} name={} lib={} {}{multi}\n",
            session.id(),
            session.protocol(),
            session.authenticated(),
            view.database,
            view.channels,
            view.patterns,
            view.shard_channels,
            text(view.name.as_ref()),
            text(view.lib_name.as_ref()),
            text(view.lib_ver.as_ref()),
        ))
    }
}

/// Shows bytes on one line; only quotes need no escape here.
fn escaped(bytes: &[u8]) -> String {
    bytes
        .escape_ascii()
        .to_string()
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}

fn positional(command: &Command) -> Vec<String> {
    let mut args = command.consume_args();
    let mut words = Vec::new();
    while let Some(word) = args.next_pos() {
        words.push(word.to_owned());
    }
    words
}

/// Scripts write bytes as the characters of the same number.
fn bytes(text: &str) -> Bytes {
    text.chars()
        .map(|c| u8::try_from(c).expect("scripts stay below U+0100"))
        .collect()
}

fn request(words: &[String]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words.iter().map(|word| bytes(word)) {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(&word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn reply(text: &str) -> Result<Reply> {
    let rest = bytes(text.get(1..).ok_or("a reply has a type")?);
    Ok(match text.as_bytes()[0] {
        b'*' => {
            let items = text[1..].split_whitespace().map(reply);
            Reply::Array(items.collect::<Result<_>>()?)
        }
        b'0' => Reply::NullArray,
        b'+' => Reply::Simple(rest),
        b'-' => Reply::Error(rest),
        b'$' => Reply::Bulk(rest),
        b':' => Reply::Integer(text[1..].parse()?),
        _ => return Err("a reply starts with +, -, :, $ or *".into()),
    })
}

fn version(id: &str) -> Result<MessageId> {
    let (ms, seq) = id.split_once('-').ok_or("an id is ms-seq")?;
    let (ms, seq) = (ms.parse()?, seq.parse()?);
    Ok(MessageId { ms, seq })
}

fn show(ask: &Ask) -> String {
    match ask {
        Ask::Write {
            seq,
            op: Op::Publish { channel, payload },
        } => {
            format!("{} publish {channel:?} {payload:?}", seq.0)
        }
        Ask::Write {
            seq,
            op: Op::ShardPublish { channel, payload },
        } => format!("{} spublish {channel:?} {payload:?}", seq.0),
        Ask::WriteAll { seq, ops } => format!("{} all {ops:?}", seq.0),
        Ask::Write { seq, op } => format!("{} {op:?}", seq.0),
        Ask::Read { seq, query } => format!("{} read {query:?}", seq.0),
        Ask::Wait {
            seq,
            db,
            op,
            block_ms,
        } => format!("{} wait {block_ms} ms in {db} for {op:?}", seq.0),
        Ask::Unblock { seq, client, error } => {
            format!("{} unblock {client:?}, with an error: {error}", seq.0)
        }
        Ask::As { user, revision } => format!("as {user:?} at revision {revision}"),
        Ask::Users { seq, ask } => format!("{} {ask:?}", seq.0),
        Ask::Subscribe { seq, kind, names } => {
            format!("{} subscribe {kind:?} {names:?}", seq.0)
        }
        Ask::Unsubscribe { seq, kind, names } => {
            format!("{} unsubscribe {kind:?} {names:?}", seq.0)
        }
        Ask::SetProtocol { seq, protocol } => format!("{} set protocol {protocol:?}", seq.0),
        Ask::Reset { seq } => format!("{} reset", seq.0),
        Ask::PubSub { seq, query } => format!("{} pubsub {query:?}", seq.0),
        Ask::Cluster { seq, ask } => format!("{} cluster {ask:?}", seq.0),
        Ask::Info { seq, sections } => format!("{} info {sections:?}", seq.0),
    }
}
