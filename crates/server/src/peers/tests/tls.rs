//! The same transports with TLS, and with peers that have none or another authority's.

use super::*;
use crate::tls::tests::Authority;

fn tls_of(authority: &Authority) -> Option<Arc<Tls>> {
    Some(Arc::new(Tls::load(authority.options()).unwrap()))
}

fn start_tls(id: u64, authority: &Authority) -> TestNode {
    let tls = tls_of(authority);
    Options {
        tls,
        ..Options::new(id)
    }
    .start()
}

#[tokio::test]
async fn messages_arrive_in_order_on_both_lanes_with_tls() {
    let authority = Authority::new();
    in_order_on_both_lanes(start_tls(1, &authority), start_tls(2, &authority)).await;
}

#[tokio::test]
async fn a_peer_that_is_gone_has_hung_up_with_tls_too() {
    let authority = Authority::new();
    let (mut a, b) = (start_tls(1, &authority), start_tls(2, &authority));
    a.members(&[(2, b.addr)]);
    assert_eq!(a.next().await, Event::Up(hello(2)));
    drop(b);
    assert_eq!(a.next().await, Event::HungUp(node(2)));
    assert_eq!(a.next().await, Event::Down(node(2)));
}

/// Returns what `from` hears when it asks who is at `to`.
async fn heard(from: &mut TestNode, to: &TestNode) -> Result<PeerHello, String> {
    from.peers.probe(Probe {
        number: 7,
        id: to.recorder.hello.id,
        addr: to.addr.to_string().into(),
    });
    let Event::Probed(7, answer) = from.next().await else {
        panic!()
    };
    answer
}

#[tokio::test]
async fn who_has_no_tls_or_another_authority_is_refused_with_the_reason() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut a = start_tls(1, &authority);
    let mut plain = start(2);
    let mut stranger = start_tls(3, &other);
    let friend = start_tls(4, &authority);
    assert_eq!(heard(&mut a, &friend).await, Ok(hello(4)));
    let same = "tls-cluster must be the same on all nodes";
    let text = heard(&mut a, &plain).await.unwrap_err();
    assert!(text.contains(same), "{text}");
    let text = heard(&mut plain, &a).await.unwrap_err();
    assert!(text.contains(same), "{text}");
    let text = heard(&mut a, &stranger).await.unwrap_err();
    assert!(text.contains("invalid peer certificate"), "{text}");
    let text = heard(&mut stranger, &a).await.unwrap_err();
    assert!(text.contains("invalid peer certificate"), "{text}");
    let checks = &a.recorder.checks;
    assert_eq!(checks.load(Ordering::SeqCst), 0, "nobody came so far");
}

#[tokio::test]
async fn who_shows_no_certificate_gets_no_frame_read() {
    let authority = Authority::new();
    let a = start_tls(1, &authority);
    let mut by_hand = ByHand::new(TcpStream::connect(a.addr).await.unwrap());
    let secret = Bytes::from_static(b"s");
    let (_, message) = Dialer::new(secret, &hello(2), node(1), Lane::Control, &nonce());
    by_hand.say(&message).await;
    let mut read = by_hand.reader.into_inner();
    let mut said = Vec::new();
    timeout(DEADLINE, read.read_to_end(&mut said))
        .await
        .expect("closed in time")
        .unwrap_or(0);
    // At most a refusal in words of TLS.
    assert!(said.is_empty() || said[0] == 0x15, "{said:?}");
}
