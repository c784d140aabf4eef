//! Golden scripts: who gets what, in a form that people can read.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p corgi-bus` writes the outputs anew; read the difference.
//! Clients are prefixes, subscribers of `>[…]` speak RESP3. A batch lists its messages as
//! `channel=payload`, for a shard channel `s/channel=payload`, and its repliers as tags:
//! `batch a=x b=y [c1]`. `elsewhere 2 a=3 p/a*=1` is what node 2 says of its subscribers.

mod support;

use corgi_base::{ClientId, NodeId, Protocol, SubscriptionKind};
use corgi_bus::{Bus, Options};
use goldenscript::{Argument, ArgumentConsumer, Command, Context};
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write;
use support::Readable;

macro_rules! scripts {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                run(stringify!($name));
            }
        )*

        #[test]
        fn every_script_runs() {
            let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");
            let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name());
            let files: BTreeSet<String> = files.map(|file| file.into_string().unwrap()).collect();
            assert_eq!(files, BTreeSet::from([$(stringify!($name).to_owned()),*]));
        }
    };
}

scripts! {
    counts_and_questions
    cut_at_the_limit
    exact_before_patterns
    other_nodes_are_counted
    own_messages_follow_replies
    protocols_side_by_side
    shard_channels_are_apart
    slices_are_merged
    subscriptions_end
}

#[expect(
    clippy::unwrap_used,
    reason = "a helper of tests, whose panic is the failure"
)]
fn run(script: &str) {
    let options = Options {
        hash_seed: 1,
        client_batch_bytes_max: usize::MAX,
        elsewhere_bytes_max: 1 << 20,
    };
    let mut runner = Runner {
        bus: Bus::new(options),
    };
    let path = format!("{}/scripts/{script}", env!("CARGO_MANIFEST_DIR"));
    goldenscript::run(&mut runner, path).unwrap();
}

struct Runner {
    bus: Bus,
}

type Output = Result<String, Box<dyn Error>>;

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Output {
        let mut args = command.consume_args();
        if let Some(prefix) = &context.prefix {
            return self.client(client_id(prefix)?, &command.name, &mut args);
        }
        match command.name.as_str() {
            "limit" => {
                let max = args.next_pos().ok_or("no limit")?.parse()?;
                self.bus = Bus::new(Options {
                    hash_seed: 1,
                    client_batch_bytes_max: max,
                    elsewhere_bytes_max: 1 << 20,
                });
                Ok(String::new())
            }
            "batch" => self.batch(command, context),
            "channels" => {
                let pattern = args.next_pos().map(str::as_bytes);
                Ok(format!("{:?}\n", self.bus.channels(pattern)))
            }
            "numsub" => {
                let mut out = String::new();
                while let Some(channel) = args.next_pos() {
                    writeln!(out, "{channel} {}", self.bus.numsub(channel.as_bytes()))?;
                }
                Ok(out)
            }
            "shardchannels" => {
                let pattern = args.next_pos().map(str::as_bytes);
                Ok(format!("{:?}\n", self.bus.shard_channels(pattern)))
            }
            "shardnumsub" => {
                let mut out = String::new();
                while let Some(channel) = args.next_pos() {
                    writeln!(
                        out,
                        "{channel} {}",
                        self.bus.shard_numsub(channel.as_bytes())
                    )?;
                }
                Ok(out)
            }
            "elsewhere" => self.elsewhere(&mut args),
            "numpat" => Ok(format!("{}\n", self.bus.numpat())),
            name => Err(format!("unknown command {name}").into()),
        }
    }
}

impl Runner {
    /// What another node says: `elsewhere 2 begin|complete|forget`, `elsewhere 2 channel=N p/pattern=N s/shard=N`.
    fn elsewhere(&mut self, args: &mut ArgumentConsumer<'_>) -> Output {
        let node = args.next_pos().ok_or("which node?")?.parse()?;
        let node = NodeId::new(node).ok_or("nodes are 1, 2, …")?;
        match args.next_pos() {
            Some("begin") => self.bus.begin_node(node),
            Some("complete") => self.bus.complete_node(node),
            Some("forget") => self.bus.forget_node(node),
            Some(step) => return Err(format!("unknown step {step}").into()),
            None => {}
        }
        let mut out = String::new();
        while let Some((name, count)) = args.next_key() {
            let (kind, plain) = match name.split_at_checked(2) {
                Some(("p/", plain)) => (SubscriptionKind::Pattern, plain),
                Some(("s/", plain)) => (SubscriptionKind::Shard, plain),
                _ => (SubscriptionKind::Channel, name),
            };
            let bus = &mut self.bus;
            if !bus.count_elsewhere(node, kind, plain.as_bytes(), count.parse()?) {
                writeln!(out, "{name} is one too many")?;
            }
        }
        Ok(out)
    }

    fn client(&mut self, client: ClientId, name: &str, args: &mut ArgumentConsumer<'_>) -> Output {
        let mut out = String::new();
        let mut protocol = || match args.next_pos() {
            None | Some("resp2") => Protocol::Resp2,
            Some(_) => Protocol::Resp3,
        };
        let (kind, subscribe) = match name {
            "open" => {
                self.bus.open(client, protocol());
                return Ok(out);
            }
            "hello" => {
                self.bus.set_protocol(client, protocol());
                return Ok(out);
            }
            "close" => {
                self.bus.close(client);
                return Ok(out);
            }
            "reset" => {
                self.bus.reset(client);
                return Ok(out);
            }
            "names" => {
                writeln!(
                    out,
                    "channels {:?}",
                    self.bus.names(client, SubscriptionKind::Channel)
                )?;
                writeln!(
                    out,
                    "patterns {:?}",
                    self.bus.names(client, SubscriptionKind::Pattern)
                )?;
                let shards = self.bus.names(client, SubscriptionKind::Shard);
                if !shards.is_empty() {
                    writeln!(out, "shards {shards:?}")?;
                }
                return Ok(out);
            }
            "subscribe" => (SubscriptionKind::Channel, true),
            "psubscribe" => (SubscriptionKind::Pattern, true),
            "ssubscribe" => (SubscriptionKind::Shard, true),
            "sunsubscribe" => (SubscriptionKind::Shard, false),
            "unsubscribe" => (SubscriptionKind::Channel, false),
            "punsubscribe" => (SubscriptionKind::Pattern, false),
            name => return Err(format!("unknown command {name}").into()),
        };
        while let Some(name) = args.next_pos() {
            let count = match subscribe {
                true => self.bus.subscribe(client, kind, name.as_bytes()),
                false => self.bus.unsubscribe(client, kind, name.as_bytes()),
            };
            writeln!(out, "{name} {count}")?;
        }
        Ok(out)
    }

    fn batch(&mut self, command: &Command, context: &Context) -> Output {
        let mut out = String::new();
        let repliers: Result<_, _> = context.tags.iter().map(|tag| client_id(tag)).collect();
        let (encoder, repliers) = (Readable::default(), repliers?);
        let mut fan = self.bus.fan_out(&encoder, &repliers);
        for (op, argument) in (0..).zip(&command.args) {
            let Argument::KeyValue(channel, payload) = argument else {
                return Err("a message is channel=payload".into());
            };
            let payload = payload.as_bytes();
            let receivers = match channel.strip_prefix("s/") {
                Some(shard) => fan.publish_shard(op, shard.as_bytes(), payload),
                None => fan.publish(op, channel.as_bytes(), payload),
            };
            writeln!(out, "op {op}: {receivers} receivers")?;
        }
        for delivery in fan.finish() {
            for piece in delivery.pieces {
                let frames = piece.bytes.escape_ascii();
                writeln!(out, "{:?} from op {}: {frames}", delivery.client, piece.op)?;
            }
            if delivery.cut {
                writeln!(out, "{:?} cut", delivery.client)?;
            }
        }
        writeln!(out, "encoded {}", encoder.frames.get())?;
        Ok(out)
    }
}

fn client_id(name: &str) -> Result<ClientId, Box<dyn Error>> {
    Ok(ClientId(
        name.strip_prefix('c')
            .ok_or("clients are c1, c2, …")?
            .parse()?,
    ))
}

#[test]
fn a_detached_client_counts_and_is_left_out_until_it_is_attached() {
    let mut bus = Bus::new(Options {
        hash_seed: 1,
        client_batch_bytes_max: usize::MAX,
        elsewhere_bytes_max: 1 << 20,
    });
    let (slow, fast) = (ClientId(1), ClientId(2));
    for client in [slow, fast] {
        bus.open(client, Protocol::Resp2);
        bus.subscribe(client, SubscriptionKind::Channel, b"a");
        bus.subscribe(client, SubscriptionKind::Pattern, b"*");
    }
    let publish = |bus: &mut Bus| {
        let (encoder, nobody) = (Readable::default(), BTreeSet::new());
        let mut fan = bus.fan_out(&encoder, &nobody);
        assert_eq!(
            fan.publish(0, b"a", b"x"),
            4,
            "whoever is fed later receives too"
        );
        assert_eq!(fan.publish(1, b"a", b"y"), 4);
        let deliveries = fan.finish();
        deliveries.iter().map(|d| d.client).collect::<Vec<_>>()
    };
    assert_eq!(publish(&mut bus), [slow, fast]);
    bus.detach(slow);
    assert_eq!(publish(&mut bus), [fast]);
    bus.attach(slow);
    assert_eq!(publish(&mut bus), [slow, fast]);
    bus.detach(slow);
    bus.reset(slow);
    bus.subscribe(slow, SubscriptionKind::Channel, b"a");
    bus.subscribe(slow, SubscriptionKind::Pattern, b"*");
    assert_eq!(
        publish(&mut bus),
        [slow, fast],
        "a reset leaves nothing to be fed"
    );
}

#[test]
fn what_is_not_wanted_is_left_out_of_a_replay() {
    let mut bus = Bus::new(Options {
        hash_seed: 1,
        client_batch_bytes_max: usize::MAX,
        elsewhere_bytes_max: 1 << 20,
    });
    let client = ClientId(1);
    bus.open(client, Protocol::Resp3);
    bus.subscribe(client, SubscriptionKind::Channel, b"a");
    bus.subscribe(client, SubscriptionKind::Pattern, b"a*");
    bus.subscribe(client, SubscriptionKind::Pattern, b"*");
    let encoder = Readable::default();
    let mut replay = bus.replay(&encoder, client, 1000);
    let wanted = |_, name: &[u8]| name != b"a*";
    assert!(replay.publish(b"a", b"x", &mut None, wanted));
    assert_eq!(replay.finish(), ">[message a x]>[pmessage * a x]");
    let replay = bus.replay(&encoder, ClientId(9), 1000);
    assert_eq!(replay.finish(), "", "who is not there gets nothing");
}
