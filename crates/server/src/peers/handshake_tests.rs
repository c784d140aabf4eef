//! The handshake, played by hand: who is let in, and what a liar achieves.

use super::*;

fn node(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

fn hello(id: u64) -> PeerHello {
    let formation = (id > 1).then(|| Formation {
        cluster: ClusterId(9),
        founder: node(1),
    });
    PeerHello {
        id: node(id),
        instance: InstanceId(u128::from(id) << 64),
        boot: Boot(id + 3),
        nonce: corgi_base::Nonce(u128::from(id) + 4),
        formation,
    }
}

fn secret(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn dial(text: &'static str, to: u64, lane: Lane, nonce: u8) -> (Dialer, Bytes) {
    let (dialer, message) = Dialer::new(secret(text), &hello(1), node(to), lane, &[nonce; 32]);
    (dialer, message.into())
}

/// Node 2 is called.
fn accept(text: &'static str, message: &Bytes, nonce: u8) -> (Acceptor, Bytes) {
    let own = hello(2);
    let (acceptor, challenge) = Acceptor::hello(secret(text), &own, &[nonce; 32], message.clone())
        .ok()
        .unwrap();
    (acceptor, challenge.into())
}

fn kind<T>(result: Result<T, HandshakeError>) -> (RefusalKind, bool, Option<Vec<u8>>) {
    match result.err().unwrap() {
        HandshakeError::RefusedByPeer(refusal) => (refusal.kind, true, None),
        HandshakeError::Refused { refusal, tell } => (refusal.kind, false, tell),
        HandshakeError::Malformed(err) => panic!("{err}"),
    }
}

#[test]
fn both_sides_learn_who_the_other_is() {
    for (text, lane) in [("s", Lane::Control), ("", Lane::Bulk)] {
        let (dialer, message) = dial(text, 2, lane, 1);
        let (acceptor, challenge) = accept(text, &message, 2);
        let (dialer, proof) = dialer.challenge(challenge).ok().unwrap();
        let acceptor = acceptor.proof(proof.into()).ok().unwrap();
        assert_eq!((acceptor.peer, acceptor.lane), (hello(1), lane));
        let dialer = dialer
            .verdict(acceptor.verdict(&Ok(())).into())
            .ok()
            .unwrap();
        assert_eq!(dialer.peer, hello(2));
        acceptor.answer(dialer.answer(&Ok(())).into()).unwrap();
    }
}

#[test]
fn another_secret_is_refused_by_both_without_words() {
    let (dialer, message) = dial("a", 2, Lane::Bulk, 1);
    let (acceptor, challenge) = accept("b", &message, 2);
    let (dialer, proof) = dialer.challenge(challenge).ok().unwrap();
    let (refused, by_peer, tell) = kind(acceptor.proof(proof.into()));
    assert_eq!((refused, by_peer), (RefusalKind::Secret, false));
    let tell = tell.unwrap();
    assert_eq!(tell.len(), 7, "a number and no words");
    let (refused, by_peer, _) = kind(dialer.verdict(tell.into()));
    assert_eq!((refused, by_peer), (RefusalKind::Secret, true));
}

#[test]
fn an_acceptor_that_does_not_know_the_secret_is_not_believed() {
    let (dialer, message) = dial("a", 2, Lane::Bulk, 1);
    let (_, challenge) = accept("b", &message, 2);
    let (dialer, _proof) = dialer.challenge(challenge.clone()).ok().unwrap();
    // It skips the proof that it cannot check and says yes, under its own secret.
    let forged = Transcript {
        secret: secret("b"),
        messages: [message.to_vec(), challenge.to_vec()].concat(),
    };
    let (refused, by_peer, _) =
        kind(dialer.verdict(forged.verdict(Role::Acceptor, &Ok(())).into()));
    assert_eq!((refused, by_peer), (RefusalKind::Secret, false));
}

#[test]
fn a_recorded_proof_is_worthless_in_another_handshake() {
    let (dialer, message) = dial("s", 2, Lane::Control, 1);
    let (acceptor, challenge) = accept("s", &message, 2);
    let (_, proof) = dialer.challenge(challenge).ok().unwrap();
    assert!(acceptor.proof(proof.clone().into()).is_ok());
    // The same hello and proof again; only the acceptor's nonce is new.
    let (acceptor, _) = accept("s", &message, 3);
    assert_eq!(
        kind(acceptor.proof(proof.clone().into())).0,
        RefusalKind::Secret
    );
    // The same with another lane, another id, another instance in the hello.
    for (at, bit) in [(6, 1), (14, 2), (20, 1), (31, 1)] {
        let mut changed = message.to_vec();
        changed[at] ^= bit;
        let result = Acceptor::hello(secret("s"), &hello(2), &[2; 32], changed.into());
        let Ok((acceptor, _)) = result else { continue };
        assert!(acceptor.proof(proof.clone().into()).is_err(), "byte {at}");
    }
}

#[test]
fn a_reflected_message_is_worthless() {
    // Somebody without the secret answers node 1 with what node 1 itself says elsewhere.
    let (dialer, message) = dial("s", 2, Lane::Control, 1);
    let own = hello(1);
    let (mirror, challenge) = Acceptor::hello(secret("s"), &own, &[2; 32], message)
        .ok()
        .unwrap();
    let (dialer, proof) = dialer.challenge(challenge.into()).ok().unwrap();
    // Its own proof is not the acceptor's verdict, …
    assert!(
        dialer
            .transcript
            .read_verdict(Role::Acceptor, proof.clone().into())
            .is_err()
    );
    // … and calling itself as node 2 ends with the wrong id.
    let (refused, _, tell) = kind(mirror.proof(proof.into()));
    assert_eq!(refused, RefusalKind::WrongId);
    let (refused, by_peer, _) = kind(dialer.verdict(tell.unwrap().into()));
    assert_eq!((refused, by_peer), (RefusalKind::WrongId, true));
    // A dialer's verdict is not an acceptor's.
    let (dialer, message) = dial("s", 2, Lane::Control, 1);
    let (_, challenge) = accept("s", &message, 2);
    let (dialer, _) = dialer.challenge(challenge).ok().unwrap();
    let reflected = dialer.transcript.verdict(Role::Dialer, &Ok(()));
    assert_eq!(
        kind(dialer.verdict(reflected.into())).0,
        RefusalKind::Secret
    );
}

#[test]
fn refusals_in_words_come_through_and_cannot_be_changed() {
    let (dialer, message) = dial("s", 2, Lane::Control, 1);
    let (acceptor, challenge) = accept("s", &message, 2);
    let (dialer, proof) = dialer.challenge(challenge).ok().unwrap();
    let acceptor = acceptor.proof(proof.into()).ok().unwrap();
    let text = format!("{}é\n", "x".repeat(TEXT_BYTES_MAX - 1));
    let refusal = Refusal {
        kind: RefusalKind::NotMember,
        text,
    };
    let verdict = acceptor.verdict(&Err(refusal));
    assert!(verdict.len() <= MESSAGE_BYTES_MAX);
    let mut changed = verdict.clone();
    *changed.last_mut().unwrap() ^= 1;
    let changed = dialer
        .transcript
        .read_verdict(Role::Acceptor, changed.into());
    assert_eq!(kind(changed).0, RefusalKind::Secret);
    let mut yes = verdict.clone();
    yes[6] = 0;
    assert!(
        dialer
            .transcript
            .read_verdict(Role::Acceptor, yes.into())
            .is_err()
    );
    let Err(HandshakeError::RefusedByPeer(refusal)) = dialer.verdict(verdict.into()) else {
        panic!()
    };
    assert_eq!(refusal.kind, RefusalKind::NotMember);
    assert_eq!(refusal.text, "x".repeat(TEXT_BYTES_MAX - 1));
}

#[test]
fn a_refusal_without_proof_counts_only_for_secret_and_version() {
    for number in 0..=8 {
        let (dialer, _) = dial("s", 2, Lane::Control, 1);
        let mut message = start(REFUSAL);
        message.push(number);
        let result = dialer.challenge(message.into()).map(|_| ()).unwrap_err();
        match number {
            1 | 2 => assert!(matches!(result, HandshakeError::RefusedByPeer(_))),
            _ => assert!(matches!(result, HandshakeError::Malformed(_)), "{number}"),
        }
    }
}

#[test]
fn another_version_is_told_so() {
    let (dialer, message) = dial("s", 2, Lane::Control, 1);
    let mut newer = message.to_vec();
    newer[4] = 9;
    let result = Acceptor::hello(secret("s"), &hello(2), &[2; 32], newer.into());
    let (refused, by_peer, tell) = kind(result);
    assert_eq!((refused, by_peer), (RefusalKind::Version, false));
    let (refused, by_peer, _) = kind(dialer.challenge(tell.unwrap().into()));
    assert_eq!((refused, by_peer), (RefusalKind::Version, true));
}

#[test]
fn rubbish_and_cut_messages_are_errors_and_never_panics() {
    let (_, message) = dial("s", 2, Lane::Bulk, 1);
    for len in 0..message.len() {
        let cut = message.slice(..len);
        let result = Acceptor::hello(secret("s"), &hello(2), &[2; 32], cut);
        assert!(matches!(result, Err(HandshakeError::Malformed(_))), "{len}");
    }
    for rubbish in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"*1\r\n$4\r\nPING\r\n",
        b"CRGI\x01\x09",
    ] {
        let rubbish = Bytes::from_static(rubbish);
        let result = Acceptor::hello(secret("s"), &hello(2), &[2; 32], rubbish);
        assert!(matches!(result, Err(HandshakeError::Malformed(_))));
    }
    let mut trailing = message.to_vec();
    trailing.push(0);
    assert!(Acceptor::hello(secret("s"), &hello(2), &[2; 32], trailing.into()).is_err());
}
