//! What a publish looks at, encodes and copies, counted and not timed.

mod support;

use bytes::Bytes;
use corgi_base::{ClientId, Protocol, SubscriptionKind};
use corgi_bus::{Bus, Options};
use std::collections::BTreeSet;
use support::Readable;

fn bus() -> Bus {
    Bus::new(Options {
        hash_seed: 1,
        client_batch_bytes_max: usize::MAX,
        elsewhere_bytes_max: 1 << 20,
    })
}

#[test]
fn patterns_with_other_prefixes_are_not_visited() {
    let mut bus = bus();
    bus.open(ClientId(1), Protocol::Resp2);
    for user in 0..100_000 {
        let pattern = format!("user:{user:06}:*");
        bus.subscribe(ClientId(1), SubscriptionKind::Pattern, pattern.as_bytes());
    }
    bus.subscribe(ClientId(1), SubscriptionKind::Pattern, b"room:*");
    assert_eq!(bus.numpat(), 100_001);

    let encoder = Readable::default();
    let repliers = BTreeSet::new();
    for (channel, receivers) in [
        (&b"room:7"[..], 1),
        (b"user:050000:chat", 1),
        (b"user:05000", 0),
        (b"user:999999:chat", 0),
        (b"zzz", 0),
        (b"", 0),
    ] {
        let before = bus.patterns_visited();
        let mut fan = bus.fan_out(&encoder, &repliers);
        assert_eq!(fan.publish(0, channel, b"x"), receivers);
        drop(fan);
        let visited = bus.patterns_visited() - before;
        assert!(
            visited <= 16,
            "{visited} visited for {}",
            channel.escape_ascii()
        );
    }
}

#[test]
fn publishing_to_one_channel_again_looks_nothing_up() {
    let mut bus = bus();
    bus.open(ClientId(1), Protocol::Resp2);
    bus.subscribe(ClientId(1), SubscriptionKind::Pattern, b"a*");
    let (encoder, repliers) = (Readable::default(), BTreeSet::new());
    for _ in 0..3 {
        let mut fan = bus.fan_out(&encoder, &repliers);
        assert_eq!(fan.publish(0, b"ab", b"x"), 1);
        assert_eq!(fan.publish(1, b"ab", b"y"), 1);
    }
    assert_eq!(bus.patterns_visited(), 2, "one prefix and one pattern");
}

#[test]
fn a_thousand_subscribers_share_the_bytes_of_a_batch() {
    let mut bus = bus();
    for client in 0..1_000 {
        let protocol = if client % 2 == 0 {
            Protocol::Resp2
        } else {
            Protocol::Resp3
        };
        bus.open(ClientId(client), protocol);
        bus.subscribe(ClientId(client), SubscriptionKind::Channel, b"news");
    }
    let (encoder, repliers) = (Readable::default(), BTreeSet::new());
    let mut fan = bus.fan_out(&encoder, &repliers);
    for op in 0..50 {
        assert_eq!(fan.publish(op, b"news", b"payload"), 1_000);
    }
    let deliveries = fan.finish();
    assert_eq!(
        encoder.frames.get(),
        2 * 50,
        "each message once per protocol"
    );
    for delivery in &deliveries {
        let [piece] = delivery.pieces.as_slice() else {
            panic!("more than one piece")
        };
        let first = &deliveries[(delivery.client.0 % 2) as usize].pieces[0];
        assert_eq!(piece.bytes.as_ptr_range(), first.bytes.as_ptr_range());
    }
}

#[test]
fn nothing_is_encoded_for_a_protocol_that_nobody_speaks() {
    let mut bus = bus();
    bus.open(ClientId(1), Protocol::Resp3);
    bus.subscribe(ClientId(1), SubscriptionKind::Channel, b"a");
    let (encoder, repliers) = (Readable::default(), BTreeSet::new());
    let mut fan = bus.fan_out(&encoder, &repliers);
    fan.publish(0, b"a", b"x");
    fan.publish(1, b"nobody", b"x");
    assert_eq!(fan.finish()[0].pieces[0].bytes, ">[message a x]");
    assert_eq!(encoder.frames.get(), 1);
}

#[test]
fn a_client_with_many_patterns_makes_the_bus_encode_no_more_than_its_limit() {
    let mut bus = Bus::new(Options {
        hash_seed: 1,
        client_batch_bytes_max: 10_000,
        elsewhere_bytes_max: 1 << 20,
    });
    bus.open(ClientId(1), Protocol::Resp2);
    for stars in 1..=1_000 {
        let pattern = b"*".repeat(stars);
        bus.subscribe(ClientId(1), SubscriptionKind::Pattern, &pattern);
    }
    let (encoder, repliers) = (Readable::default(), BTreeSet::new());
    let mut fan = bus.fan_out(&encoder, &repliers);
    assert_eq!(
        fan.publish(0, b"a", &[b'x'; 6_000]),
        1_000,
        "all count as receivers"
    );
    let deliveries = fan.finish();
    assert_eq!(encoder.frames.get(), 2);
    assert!(deliveries[0].cut);
}

#[test]
fn names_are_copied_out_of_the_buffer_they_came_in() {
    let mut bus = bus();
    bus.open(ClientId(1), Protocol::Resp2);
    let read = Bytes::from(vec![b'n'; 1_000]);
    let held = read.as_ptr_range();
    bus.subscribe(ClientId(1), SubscriptionKind::Channel, &read.slice(..4));
    let name = bus.names(ClientId(1), SubscriptionKind::Channel).remove(0);
    assert!(!held.contains(&name.as_ptr()));
    let channel = bus.channels(None).remove(0);
    assert_eq!(
        channel.as_ptr(),
        name.as_ptr(),
        "one copy for the channel and all its clients"
    );
}

#[test]
fn a_dropped_fan_out_leaves_nothing_behind() {
    let mut bus = bus();
    bus.open(ClientId(1), Protocol::Resp2);
    bus.subscribe(ClientId(1), SubscriptionKind::Channel, b"a");
    let (encoder, repliers) = (Readable::default(), BTreeSet::new());
    bus.fan_out(&encoder, &repliers).publish(0, b"a", b"lost");
    let mut fan = bus.fan_out(&encoder, &repliers);
    fan.publish(0, b"a", b"x");
    assert_eq!(fan.finish()[0].pieces[0].bytes, "[message a x]");
}

#[test]
#[should_panic(expected = "operation 1 after 2")]
fn messages_out_of_log_order_are_refused() {
    let mut bus = bus();
    let (encoder, repliers) = (Readable::default(), BTreeSet::new());
    let mut fan = bus.fan_out(&encoder, &repliers);
    fan.publish(2, b"a", b"x");
    fan.publish(1, b"a", b"x");
}
