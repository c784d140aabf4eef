//! Runs a script against one server.
//!
//! After each line every connection is asked for a sign (a `PING` with a number) and read up to it: what the line
//! caused anywhere has arrived then. Within `MULTI` a sign would be queued, and with `CLIENT REPLY OFF` it would not
//! come: a connection in such a state is read up to the replies that are known to come, and brought to rest later.
//!
//! A command with `BLOCK` is answered at once, or the server lists its connection as one that waits. What it is
//! answered then counts, not when: it is read before the next line of that connection. If nothing has come by then,
//! the waiting is ended by `CLIENT UNBLOCK`, which shows that it was one.

use super::script::{CONNECTIONS, Line, Script};
use super::wire::{NoValue, Value, Wire};
use crate::raw::encode;
use std::fmt;
use std::time::Duration;

/// Longer than any server needs on a busy machine; only a script that waits in vain takes so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked whether a command waits.
const LOOK: Duration = Duration::from_millis(2);
/// Longer than it takes until whoever waits has what another connection was told to have added.
const SERVED: Duration = Duration::from_millis(400);

/// What was sent and what came on one connection, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A line of the script.
    Sent(Line),
    /// A reply or a push.
    Came(Value),
    /// The server closed; what is sent afterwards goes over a new connection.
    Closed,
    /// What had to come did not.
    Silence,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(line) => write!(f, "{line}"),
            Self::Came(value) => write!(f, "   {value}"),
            Self::Closed => f.write_str("   closed"),
            Self::Silence => f.write_str("   silence"),
        }
    }
}

/// What happened on each connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript(pub [Vec<Item>; CONNECTIONS]);

/// What decides how many replies a line gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Normal,
    /// Between `MULTI` and its end.
    Queuing,
    /// After `CLIENT REPLY OFF`.
    Mute,
}

#[derive(Debug)]
struct Client {
    port: u16,
    wire: Wire,
    mode: Mode,
    /// After `CLIENT REPLY SKIP`: the next command is not answered.
    skips: bool,
    signs: u64,
    /// The number of this connection on the server, while a command waits.
    waits: Option<Vec<u8>>,
    items: Vec<Item>,
}

impl Client {
    fn new(port: u16) -> Self {
        Self {
            port,
            wire: connect(port),
            mode: Mode::Normal,
            skips: false,
            signs: 0,
            waits: None,
            items: Vec::new(),
        }
    }

    fn reopen(&mut self) {
        self.items.push(Item::Closed);
        self.wire = connect(self.port);
        self.mode = Mode::Normal;
        self.skips = false;
    }

    fn say(&mut self, line: &Line) {
        self.end_waiting();
        let blocks = may_block(line) && self.mode == Mode::Normal && !self.skips;
        let id = blocks.then(|| self.id());
        self.items.push(Item::Sent(line.clone()));
        let args: Vec<&[u8]> = line.args.iter().map(Vec::as_slice).collect();
        self.wire.send(&encode(&args));
        if let Some(id) = id {
            return self.wait(id);
        }
        let (name, sub) = (line.name(), line.subcommand());
        let is = |wanted: &str| name == wanted.as_bytes();
        let client_reply = is("CLIENT") && sub == b"REPLY" && line.args.len() == 3;
        let reply = line.args.get(2).map(|arg| arg.to_ascii_uppercase());
        if client_reply && self.mode != Mode::Queuing {
            match reply.as_deref() {
                Some(b"OFF") => {
                    self.mode = Mode::Mute;
                    self.skips = false;
                    return;
                }
                Some(b"SKIP") if self.mode == Mode::Normal => {
                    self.skips = true;
                    return;
                }
                Some(b"ON") => self.mode = Mode::Normal,
                _ => {}
            }
        }
        let skipped = std::mem::take(&mut self.skips);
        if self.mode == Mode::Mute && !is("RESET") && !is("QUIT") {
            return;
        }
        if self.mode == Mode::Queuing && !skipped {
            // One answer each, and no sign can be asked for.
            let answer = self.take();
            let ended = is("EXEC") || is("DISCARD") || is("RESET") || is("QUIT");
            if ended && line.args.len() == 1 && answer.is_some() {
                self.mode = Mode::Normal;
                self.rest();
            }
            return;
        }
        if self.mode == Mode::Mute {
            // RESET ends that mode; QUIT ends everything.
            self.mode = Mode::Normal;
        }
        if is("MULTI") && line.args.len() == 1 && !skipped {
            let answer = self.take();
            if answer == Some(Value::Line(b'+', b"OK".to_vec())) {
                self.mode = Mode::Queuing;
                return;
            }
        }
        self.rest();
    }

    fn id(&mut self) -> Vec<u8> {
        self.wire.send(&encode(&[b"CLIENT", b"ID"]));
        match self.wire.read() {
            Ok(Value::Line(b':', id)) => id,
            other => panic!("CLIENT ID is a number, not {other:?}"),
        }
    }

    /// Waits until a command is answered, or waits itself.
    fn wait(&mut self, id: Vec<u8>) {
        let mut others = connect(self.port);
        loop {
            if let Some(value) = self.read_soon(LOOK) {
                self.items.push(value);
                return self.rest();
            }
            others.send(&encode(&[b"CLIENT", b"LIST", b"ID", &id]));
            let line = match others.read() {
                Ok(Value::Bytes(_, line)) => String::from_utf8_lossy(&line).into_owned(),
                other => panic!("CLIENT LIST is a text, not {other:?}"),
            };
            let flags = line
                .split(' ')
                .find_map(|field| field.strip_prefix("flags="));
            if flags.is_some_and(|flags| flags.contains('b')) {
                self.waits = Some(id);
                return;
            }
        }
    }

    fn read_soon(&mut self, time: Duration) -> Option<Item> {
        match self.wire.read_within(time) {
            Ok(value) => Some(Item::Came(value)),
            Err(NoValue::Silence) => None,
            Err(NoValue::Closed) => Some(Item::Closed),
        }
    }

    /// Takes what a command was given that waited; if nothing, it has waited for long enough.
    fn end_waiting(&mut self) {
        let Some(id) = self.waits.take() else {
            return;
        };
        if let Some(item) = self.read_soon(SERVED) {
            self.items.push(item);
        } else {
            let mut others = connect(self.port);
            others.send(&encode(&[b"CLIENT", b"UNBLOCK", &id, b"ERROR"]));
            others.read().expect("the server answers");
            self.take();
        }
        self.rest();
    }

    /// Reads one answer, and the pushes before it.
    fn take(&mut self) -> Option<Value> {
        loop {
            match self.wire.read() {
                Ok(value) => {
                    self.items.push(Item::Came(value.clone()));
                    if !is_push(&value) {
                        return Some(value);
                    }
                }
                Err(error) => {
                    self.failed(error);
                    return None;
                }
            }
        }
    }

    /// Asks for a sign and reads up to it.
    fn rest(&mut self) {
        if self.mode != Mode::Normal || self.skips || self.waits.is_some() {
            return;
        }
        self.signs += 1;
        let sign = format!("sign {}", self.signs).into_bytes();
        self.wire.send(&encode(&[b"PING", &sign]));
        loop {
            match self.wire.read() {
                Ok(value) if is_sign(&value, &sign) => return,
                Ok(value) => self.items.push(Item::Came(value)),
                Err(error) => return self.failed(error),
            }
        }
    }

    fn failed(&mut self, error: NoValue) {
        match error {
            NoValue::Closed => self.reopen(),
            NoValue::Silence => {
                self.items.push(Item::Silence);
                self.reopen();
            }
        }
    }

    /// Leaves nothing behind for the next script: `RESET` ends every mode, and is never queued.
    fn end(mut self) -> Vec<Item> {
        self.end_waiting();
        self.wire.send(&encode(&[b"RESET"]));
        while let Ok(value) = self.wire.read() {
            if value == Value::Line(b'+', b"RESET".to_vec()) {
                break;
            }
            self.items.push(Item::Came(value));
        }
        self.items
    }
}

/// Whether a command may wait for what others add.
fn may_block(line: &Line) -> bool {
    let reads = [&b"XREAD"[..], b"XREADGROUP"].contains(&&line.name()[..]);
    reads
        && line
            .args
            .iter()
            .any(|arg| arg.eq_ignore_ascii_case(b"BLOCK"))
}

fn connect(port: u16) -> Wire {
    Wire::connect(port, PATIENCE).expect("the server takes connections")
}

/// Whether a value came by itself; in RESP2 a message, which looks like a reply.
pub(super) fn is_push(value: &Value) -> bool {
    const NAMES: [&[u8]; 3] = [b"message", b"pmessage", b"smessage"];
    let name = value.push_name();
    matches!(value, Value::List(b'>', _)) || name.is_some_and(|name| NAMES.contains(&name))
}

/// A `PING`'s answer: its text, or in RESP2's subscribed mode a list that ends with it.
fn is_sign(value: &Value, sign: &[u8]) -> bool {
    match value {
        Value::Bytes(b'$', text) => text == sign,
        Value::List(b'*', items) => match items.as_slice() {
            [Value::Bytes(b'$', pong), Value::Bytes(b'$', text)] => pong == b"pong" && text == sign,
            _ => false,
        },
        _ => false,
    }
}

/// Runs a script over new connections to a port of this machine.
///
/// # Panics
/// If the server takes no connections or sends what is no reply.
pub fn run(script: &Script, port: u16) -> Transcript {
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::new(port)).collect();
    for line in &script.0 {
        clients[line.connection].say(line);
        for (number, client) in clients.iter_mut().enumerate() {
            if number != line.connection {
                client.rest();
            }
        }
    }
    let mut transcript = Transcript::default();
    for (client, items) in clients.into_iter().zip(&mut transcript.0) {
        *items = client.end();
    }
    transcript
}
