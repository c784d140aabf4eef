//! A subscriber: redis-rs on a thread that notes what arrives.

use crate::{node, wait};
use redis::{Connection, Msg, ProtocolVersion, PushKind, RedisResult, Value};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long the thread waits for a message before it looks whether it should stop.
const GLANCE: Duration = Duration::from_millis(100);

/// What to subscribe to.
#[derive(Clone, Debug)]
pub enum Subscription {
    /// `SUBSCRIBE`.
    Channel(String),
    /// `PSUBSCRIBE`.
    Pattern(String),
}

/// A message as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The pattern that it matched, if it came by one.
    pub pattern: Option<String>,
    /// Its channel.
    pub channel: String,
    /// What it says.
    pub payload: String,
}

#[derive(Debug, Default)]
struct Heard {
    messages: Vec<Message>,
    /// Why the connection ended, if it has.
    ended: Option<String>,
}

/// A confirmed subscription.
#[derive(Debug)]
pub struct Listener {
    heard: Arc<Mutex<Heard>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Subscribes, and returns when the node has confirmed.
    ///
    /// # Errors
    /// What the node or the network said instead.
    pub fn start(
        port: u16,
        protocol: ProtocolVersion,
        subscription: Subscription,
    ) -> RedisResult<Self> {
        let connection = node::connect(port, protocol)?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (confirm, confirmed) = mpsc::channel();
        let (heard_there, stop_there) = (Arc::clone(&heard), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let listen = match protocol {
                ProtocolVersion::RESP3 => listen_resp3,
                _ => listen_resp2,
            };
            let end = listen(
                connection,
                &subscription,
                &confirm,
                &heard_there,
                &stop_there,
            );
            if let Err(error) = end {
                lock(&heard_there).ended = Some(error.to_string());
                // Nobody waits for it any more once the subscription was confirmed.
                let _confirmed_before = confirm.send(Err(error));
            }
        });
        let listener = Self {
            heard,
            stop,
            thread: Some(thread),
        };
        confirmed
            .recv()
            .expect("the thread confirms or says why not")?;
        Ok(listener)
    }

    /// What has arrived so far.
    pub fn messages(&self) -> Vec<Message> {
        lock(&self.heard).messages.clone()
    }

    /// The payloads that have arrived so far.
    pub fn payloads(&self) -> Vec<String> {
        lock(&self.heard)
            .messages
            .iter()
            .map(|message| message.payload.clone())
            .collect()
    }

    /// How many messages have arrived so far.
    pub fn count(&self) -> usize {
        lock(&self.heard).messages.len()
    }

    /// Why the connection ended, if it has.
    pub fn ended(&self) -> Option<String> {
        lock(&self.heard).ended.clone()
    }

    /// Waits until `payload` has arrived.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn wait_for(&self, payload: &str) {
        let what = format!(
            "{payload:?} is received (connection ended: {:?})",
            self.ended()
        );
        wait::until_true(wait::SOON, &what, || {
            // What is waited for comes last, so looking from the end costs little.
            lock(&self.heard)
                .messages
                .iter()
                .rev()
                .take(64)
                .any(|m| m.payload == payload)
        });
    }

    /// Waits until `count` messages have arrived, and returns them.
    ///
    /// # Panics
    /// If they do not in time.
    pub fn wait_count(&self, count: usize) -> Vec<Message> {
        let what = format!("{count} messages are received");
        wait::until_true(wait::SOON, &what, || self.count() >= count);
        self.messages()
    }

    /// Waits until the connection ends, and returns why.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn wait_end(&self) -> String {
        wait::until(wait::SOON, "the subscriber's connection ends", || {
            self.ended()
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

type Confirm = mpsc::Sender<RedisResult<()>>;

fn listen_resp2(
    mut connection: Connection,
    subscription: &Subscription,
    confirm: &Confirm,
    heard: &Mutex<Heard>,
    stop: &AtomicBool,
) -> RedisResult<()> {
    let mut pubsub = connection.as_pubsub();
    match subscription {
        Subscription::Channel(channel) => pubsub.subscribe(channel)?,
        Subscription::Pattern(pattern) => pubsub.psubscribe(pattern)?,
    }
    pubsub.set_read_timeout(Some(GLANCE))?;
    let _given_up = confirm.send(Ok(()));
    while !stop.load(Ordering::Relaxed) {
        match pubsub.get_message() {
            Ok(message) => note(heard, &message),
            Err(error) if error.is_timeout() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn listen_resp3(
    mut connection: Connection,
    subscription: &Subscription,
    confirm: &Confirm,
    heard: &Mutex<Heard>,
    stop: &AtomicBool,
) -> RedisResult<()> {
    let (pushes, pushed) = mpsc::channel();
    connection.set_push_sender(pushes);
    match subscription {
        Subscription::Channel(channel) => connection.subscribe_resp3(channel)?,
        Subscription::Pattern(pattern) => connection.psubscribe_resp3(pattern)?,
    }
    // Commands take effect in order: after the answer to this one the subscription is confirmed.
    redis::cmd("PING").exec(&mut connection)?;
    let first = pushed.try_iter().next();
    assert!(
        first.as_ref().is_some_and(|push| {
            matches!(push.kind, PushKind::Subscribe | PushKind::PSubscribe)
        }),
        "the confirmation comes first, not {first:?}"
    );
    connection.set_read_timeout(Some(GLANCE))?;
    let _given_up = confirm.send(Ok(()));
    while !stop.load(Ordering::Relaxed) {
        match connection.recv_response() {
            Ok(Value::Push { .. }) => {
                pushed
                    .try_iter()
                    .filter_map(Msg::from_push_info)
                    .for_each(|m| note(heard, &m));
            }
            Ok(other) => panic!("a subscriber asked nothing and was answered {other:?}"),
            Err(error) if error.is_timeout() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn note(heard: &Mutex<Heard>, message: &Msg) {
    let message = Message {
        pattern: message.from_pattern().then(|| {
            message
                .get_pattern()
                .expect("patterns of the tests are text")
        }),
        channel: message.get_channel_name().to_owned(),
        payload: message
            .get_payload()
            .expect("payloads of the tests are text"),
    };
    lock(heard).messages.push(message);
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().expect("no holder panics")
}
