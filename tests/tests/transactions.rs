//! Transactions and scripts on three nodes: one step for everybody, whoever looks from wherever.

use corgi_tests::raw::encode;
use corgi_tests::{Cluster, Listener, Node, PROTOCOLS, RawClient, Subscription};
use redis::ProtocolVersion;
use std::thread;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// How many transactions each publisher sends, and how many messages each holds.
const TRANSACTIONS: usize = 60;
const MESSAGES: usize = 5;

fn connect(node: &Node) -> RawClient {
    RawClient::connect(node.port, SOON)
}

/// Publishes transactions of messages `who-n-k`, one after the other. Returns those that were acknowledged.
fn publish(node: &Node, who: &str) -> Vec<usize> {
    let mut connection = node.connect(ProtocolVersion::RESP2).expect("the node runs");
    let mut acknowledged = Vec::new();
    for n in 0..TRANSACTIONS {
        let mut transaction = redis::pipe();
        transaction.atomic();
        for k in 0..MESSAGES {
            let channel = format!("tx.{}", k % 2);
            transaction.publish(channel, format!("{who}-{n}-{k}"));
        }
        let replies: redis::RedisResult<Vec<i64>> = transaction.query(&mut connection);
        match replies {
            Ok(replies) => {
                assert_eq!(replies.len(), MESSAGES);
                acknowledged.push(n);
            }
            Err(error) if error.code() == Some("INDETERMINATE") => {}
            Err(error) => panic!("{who}: {error}"),
        }
    }
    acknowledged
}

#[test]
fn the_messages_of_an_exec_are_contiguous_for_every_subscriber_also_when_the_leader_dies() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let (dying, lasting): (Vec<_>, Vec<_>) = (0..3).partition(|at| *at == leader);
    let listeners: Vec<Listener> = lasting
        .iter()
        .zip(PROTOCOLS)
        .map(|(at, protocol)| {
            let pattern = Subscription::Pattern("tx.*".to_owned());
            Listener::start(cluster.nodes[*at].port, protocol, pattern).expect("the node runs")
        })
        .collect();
    let acknowledged = thread::scope(|scope| {
        let publishers: Vec<_> = ["a", "b", "c", "d"]
            .into_iter()
            .zip(lasting.iter().cycle())
            .map(|(who, at)| {
                let node = &cluster.nodes[*at];
                (who, scope.spawn(move || publish(node, who)))
            })
            .collect();
        listeners[0].wait_count(TRANSACTIONS * MESSAGES);
        let pid = i32::try_from(cluster.nodes[dying[0]].pid()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(pid).expect("not 0");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
        let done = |(who, publisher): (&str, thread::ScopedJoinHandle<'_, Vec<usize>>)| {
            let numbers = publisher.join().expect("no panic");
            numbers
                .into_iter()
                .map(|n| format!("{who}-{n}"))
                .collect::<Vec<_>>()
        };
        publishers
            .into_iter()
            .flat_map(done)
            .collect::<Vec<String>>()
    });
    assert!(acknowledged.len() * MESSAGES > 3 * TRANSACTIONS, "most are");
    let payloads: Vec<Vec<String>> = listeners
        .iter()
        .map(|listener| {
            listener.wait_count(acknowledged.len() * MESSAGES);
            listener.payloads()
        })
        .collect();
    let len = payloads.iter().map(Vec::len).min().unwrap_or(0);
    assert_eq!(payloads[0][..len], payloads[1][..len], "one order");
    for payloads in payloads {
        let groups: Vec<&[String]> = payloads.chunks(MESSAGES).collect();
        let mut names = Vec::new();
        for group in &groups {
            let (name, _) = group[0].rsplit_once('-').expect("who-n-k");
            let whole: Vec<String> = (0..group.len()).map(|k| format!("{name}-{k}")).collect();
            assert_eq!(
                *group, whole,
                "nothing comes between the messages of an EXEC"
            );
            names.push(name.to_owned());
        }
        for name in &acknowledged {
            assert_eq!(names.iter().filter(|n| *n == name).count(), 1, "{name}");
        }
    }
}

#[test]
fn own_messages_follow_the_whole_reply() {
    let cluster = Cluster::start(3);
    for node in &cluster.nodes {
        let mut client = connect(node);
        client.command(&[b"HELLO", b"3"]).unwrap();
        client.skip_to("*0");
        let commands: [&[&[u8]]; 6] = [
            &[b"SUBSCRIBE", b"own"],
            &[b"MULTI"],
            &[b"PUBLISH", b"own", b"1"],
            &[b"PING"],
            &[b"PUBLISH", b"own", b""],
            &[b"EXEC"],
        ];
        client.send(&commands.map(encode).concat()).unwrap();
        client.expect(
            ">3\r\n$9\r\nsubscribe\r\n$3\r\nown\r\n:1\r\n\
             +OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n:1\r\n+PONG\r\n:1\r\n\
             >3\r\n$7\r\nmessage\r\n$3\r\nown\r\n$1\r\n1\r\n\
             >3\r\n$7\r\nmessage\r\n$3\r\nown\r\n$0\r\n\r\n",
        );
        client.command(&[b"UNSUBSCRIBE"]).unwrap();
        client.expect(">3\r\n$11\r\nunsubscribe\r\n$3\r\nown\r\n:0\r\n");

        // RESP2 can listen to itself only if it subscribes in the transaction.
        let mut client = connect(node);
        let commands: [&[&[u8]]; 5] = [
            &[b"MULTI"],
            &[b"SUBSCRIBE", b"", b"own"],
            &[b"PUBLISH", b"", b"1"],
            &[b"EXEC"],
            &[b"PING"],
        ];
        client.send(&commands.map(encode).concat()).unwrap();
        client.expect(
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n*3\r\n$9\r\nsubscribe\r\n$0\r\n\r\n:1\r\n\
             *3\r\n$9\r\nsubscribe\r\n$3\r\nown\r\n:2\r\n:1\r\n\
             *3\r\n$7\r\nmessage\r\n$0\r\n\r\n$1\r\n1\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n",
        );
    }
}

#[test]
fn a_transaction_may_be_as_large_as_a_message_and_no_larger() {
    let cluster = Cluster::start(3);
    let listener = Listener::start(
        cluster.nodes[0].port,
        ProtocolVersion::RESP3,
        Subscription::Channel("big".to_owned()),
    )
    .expect("the node runs");
    let mut client = connect(&cluster.nodes[1]);
    let payload = vec![b'x'; 2 << 20];
    let mut fill = |count: usize| {
        assert_eq!(client.ask(&[b"MULTI"]), "+OK");
        let replies: Vec<String> = (0..count)
            .map(|_| client.ask(&[b"PUBLISH", b"big", &payload]))
            .collect();
        (replies, client.ask(&[b"EXEC"]))
    };
    let (replies, exec) = fill(9);
    assert!(
        replies[..8].iter().all(|reply| reply == "+QUEUED"),
        "{replies:?}"
    );
    assert!(
        replies[8].starts_with("-ERR the transaction is too large"),
        "{replies:?}"
    );
    assert!(exec.starts_with("-EXECABORT"), "{exec}");
    let (replies, exec) = fill(8);
    assert!(
        replies.iter().all(|reply| reply == "+QUEUED"),
        "{replies:?}"
    );
    assert_eq!(exec, "*8");
    listener.wait_count(8);
}

#[test]
fn laravel_publishes_to_several_channels_as_one_step() {
    let cluster = Cluster::start(3);
    let listener = Listener::start(
        cluster.nodes[2].port,
        ProtocolVersion::RESP3,
        Subscription::Pattern("*".to_owned()),
    )
    .expect("the node runs");
    let script = "for i = 2, #ARGV do\n  redis.call('publish', ARGV[i], ARGV[1])\nend";
    let mut connection = cluster.nodes[0].connect(ProtocolVersion::RESP2).unwrap();
    let () = redis::cmd("EVAL")
        .arg(script)
        .arg(0)
        .arg("event")
        .arg(&["one", "two", "three"])
        .query(&mut connection)
        .unwrap();
    let channels: Vec<String> = listener
        .wait_count(3)
        .iter()
        .map(|m| m.channel.clone())
        .collect();
    assert_eq!(channels, ["one", "two", "three"]);
    // By name where it is known, which is where it was sent: as with Redis' replicas.
    let by_name = |connection: &mut redis::Connection| -> redis::RedisResult<()> {
        redis::cmd("EVALSHA")
            .arg("6f799f6e3f4ab9f8b891f6405d5fc1348a6a0595")
            .arg(&["0", "event", "four"])
            .query(connection)
    };
    by_name(&mut connection).unwrap();
    listener.wait_count(4);
    let mut other = cluster.nodes[1].connect(ProtocolVersion::RESP3).unwrap();
    let unknown = by_name(&mut other).unwrap_err();
    assert_eq!(unknown.code(), Some("NOSCRIPT"));
    let refused: redis::RedisResult<i64> =
        redis::cmd("EVAL").arg("return 1").arg(0).query(&mut other);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("does not run Lua"), "{refused}");
}

/// An entry that no message between nodes could carry would stop the cluster: what is taken is sent, and what cannot be
/// sent is refused.
#[test]
fn the_largest_write_that_a_client_may_ask_for_is_agreed_and_a_larger_one_refused() {
    let bulk = 1 << 20;
    let mut cluster = Cluster::start_with(3, &["--proto-max-bulk-len", "1mb"]);
    let leader = cluster.leader();
    let script = b"for i = 2, #ARGV do redis.call('publish', ARGV[i], ARGV[1]) end";
    let copies = 16;
    // A message takes its tag, two lengths, and two strings; all of them may take 1 MiB beyond the longest string.
    let room = bulk + (1 << 20);
    for (payload_bytes, taken) in [(room / copies - 10, true), (room / copies - 9, false)] {
        let payload = vec![b'x'; payload_bytes];
        let mut args: Vec<&[u8]> = vec![b"EVAL", script, b"0", &payload];
        args.extend(vec![&b"c"[..]; copies]);
        for at in [leader, (leader + 1) % 3] {
            let reply = connect(&cluster.nodes[at]).ask(&args);
            let expected = if taken { "$-1" } else { "-ERR " };
            assert!(reply.starts_with(expected), "{payload_bytes}: {reply}");
            assert_eq!(
                connect(&cluster.nodes[at]).ask(&[b"PUBLISH", b"a", b"b"]),
                ":0"
            );
        }
    }
}
