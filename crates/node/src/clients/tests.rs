//! What is told to whom, in which order.

use super::*;

fn text(told: &[Told]) -> Vec<String> {
    told.iter()
        .map(|told| match told {
            Told::Deliver(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => format!("{other:?}"),
        })
        .collect()
}

fn deliver(clients: &mut Clients, client: u64, bytes: &'static [u8]) {
    clients.tell(ClientId(client), Told::Deliver(Bytes::from_static(bytes)));
}

#[test]
fn each_client_is_told_in_order_and_together() {
    let mut clients = Clients::default();
    clients.open(ClientId(1), QueuedBytes::default());
    clients.open(ClientId(2), QueuedBytes::default());
    for (client, bytes) in [(2, &b"a"[..]), (1, b"b"), (2, b"c"), (1, b"d")] {
        deliver(&mut clients, client, bytes);
    }
    let told = clients.take();
    let shown: Vec<_> = told
        .iter()
        .map(|(client, told)| (client.0, text(told)))
        .collect();
    let strings = |words: [&str; 2]| words.map(str::to_owned).to_vec();
    assert_eq!(shown, [(2, strings(["a", "c"])), (1, strings(["b", "d"]))]);
    deliver(&mut clients, 1, b"e");
    assert_eq!(clients.take().len(), 1, "what was taken is not told again");
    assert!(clients.is_quiet());
}

#[test]
fn messages_count_in_the_queue_and_replies_do_not() {
    let mut clients = Clients::default();
    let queued = QueuedBytes::default();
    clients.open(ClientId(1), queued.clone());
    deliver(&mut clients, 1, b"12345");
    clients.reply(ClientId(1), Seq(0), Reply::Integer(1));
    assert_eq!(clients.queued_bytes(ClientId(1)), 5);
    assert!(!queued.sub(5), "nobody waits for it");
    assert_eq!(clients.queued_bytes(ClientId(1)), 0);
}

#[test]
fn who_is_gone_is_told_nothing() {
    let mut clients = Clients::default();
    clients.open(ClientId(1), QueuedBytes::default());
    assert!(clients.close(ClientId(1)) && !clients.close(ClientId(1)));
    clients.error(ClientId(1), Seq(0), "ERR late");
    assert!(clients.is_quiet() && !clients.contains(ClientId(1)));
}

#[test]
#[should_panic(expected = "unique")]
fn an_id_is_used_once() {
    let mut clients = Clients::default();
    clients.open(ClientId(1), QueuedBytes::default());
    clients.open(ClientId(1), QueuedBytes::default());
}
