//! The same connections from `tls-port`: a client of rustls at the other end.

use super::*;
use crate::tls::tests::Authority;
use crate::tls::{AuthClients, Tls, TlsOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io::ErrorKind;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

struct TlsServer {
    server: Server,
    authority: Authority,
}

fn start_tls(settings: Settings, auth_clients: AuthClients) -> TlsServer {
    let authority = Authority::new();
    authority.sign("client", |_| {});
    let options = TlsOptions {
        auth_clients,
        names_users: false,
        ..authority.options()
    };
    let tls = Arc::new(Tls::load(options).unwrap());
    let listener = listen::bind_tcp("127.0.0.1:0".parse().unwrap(), 128).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = start_on(listen::Bound::Tls(listener, tls), addr, settings);
    TlsServer { server, authority }
}

/// Trusts `authority`, and shows its certificate `client` if it shall.
fn connector(authority: &Authority, shows: bool) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.path("ca.crt")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if shows {
        let chain = vec![CertificateDer::from_pem_file(authority.path("client.crt")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(authority.path("client.key")).unwrap();
        builder.with_client_auth_cert(chain, key).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    Arc::new(config).into()
}

impl TlsServer {
    async fn connect(&self, shows: bool) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        let connector = connector(&self.authority, shows);
        connector.connect(name, self.server.connect().await).await
    }
}

#[tokio::test]
async fn commands_and_their_replies_pass_in_order_and_the_end_is_told() {
    let tls = start_tls(settings(), AuthClients::Required);
    let mut client = tls.connect(true).await.unwrap();
    client
        .write_all(b"PUBLISH a b\r\nPING\r\nPUBLISH a c\r\n")
        .await
        .unwrap();
    let script = &tls.server.script;
    let asks = script.asked(2).await;
    script.tell(
        asks[0].0,
        vec![integer(&asks[0].1, 5), integer(&asks[1].1, 6)],
    );
    expect(&mut client, b":5\r\n+PONG\r\n:6\r\n").await;
    // Byte by byte: each in a record of its own.
    for byte in b"PING\r\n" {
        client.write_all(&[*byte]).await.unwrap();
    }
    expect(&mut client, b"+PONG\r\n").await;
    client.write_all(b"QUIT\r\n").await.unwrap();
    let mut rest = Vec::new();
    // An end without a word of TLS would be an error here.
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"+OK\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_larger_than_every_buffer_passes_whole() {
    let tls = start_tls(settings(), AuthClients::Required);
    let mut client = tls.connect(true).await.unwrap();
    let payload: Vec<u8> = (0..3_000_000_u32).map(|k| (k % 251) as u8).collect();
    let head = format!("*2\r\n$4\r\nECHO\r\n${}\r\n", payload.len());
    let (mut read, mut write) = tokio::io::split(&mut client);
    let expected = [
        format!("${}\r\n", payload.len()).as_bytes(),
        &payload,
        b"\r\n",
    ]
    .concat();
    let talk = async {
        write.write_all(head.as_bytes()).await.unwrap();
        write.write_all(&payload).await.unwrap();
        write.write_all(b"\r\n").await.unwrap();
        write.flush().await.unwrap();
    };
    let mut got = vec![0; expected.len()];
    let listen = async {
        read.read_exact(&mut got).await.unwrap();
    };
    timeout(DEADLINE, async { tokio::join!(talk, listen) })
        .await
        .expect("in time");
    assert!(got == expected);
}

#[tokio::test]
async fn messages_for_a_client_that_does_not_read_wait_and_come_whole() {
    let tls = start_tls(settings(), AuthClients::Required);
    let mut client = tls.connect(true).await.unwrap();
    client.write_all(b"PING\r\n").await.unwrap();
    expect(&mut client, b"+PONG\r\n").await;
    let script = &tls.server.script;
    let message = Bytes::from(vec![b'x'; 1 << 20]);
    let told = (0..32).map(|_| Told::Deliver(message.clone())).collect();
    script.tell(ClientId(1), told);
    let queued = script.seen.lock().unwrap().open[&ClientId(1)].1.clone();
    let mut got = vec![0; 32 << 20];
    timeout(DEADLINE, client.read_exact(&mut got))
        .await
        .expect("in time")
        .unwrap();
    assert!(got.iter().all(|byte| *byte == b'x'));
    let empty = async {
        while queued.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, empty).await.expect("all is given back");
}

#[tokio::test]
async fn who_shows_no_certificate_is_let_in_only_where_it_may() {
    for (auth, shows, let_in) in [
        (AuthClients::Required, false, false),
        (AuthClients::Required, true, true),
        (AuthClients::Optional, false, true),
        (AuthClients::Optional, true, true),
        (AuthClients::No, false, true),
    ] {
        let tls = start_tls(settings(), auth);
        let asked = async {
            let mut client = tls.connect(shows).await?;
            client.write_all(b"PING\r\n").await?;
            let mut pong = [0; 7];
            client.read_exact(&mut pong).await
        };
        let asked = timeout(DEADLINE, asked).await.expect("in time");
        assert_eq!(asked.is_ok(), let_in, "{auth:?} {shows} {asked:?}");
        if let Err(error) = asked {
            let text = error.to_string();
            assert!(text.contains("CertificateRequired"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_handshake_that_is_never_finished_ends_with_a_strangers_time() {
    let authority = Authority::new();
    let tls = Tls::load(authority.options()).unwrap();
    let patience = deadlines::Patience {
        stranger: Duration::from_millis(300),
        ..deadlines::Patience::new(Duration::ZERO)
    };
    let as_tls = |socket| {
        let stream = super::super::tls::TlsStream::new(socket, tls.clients(), false).unwrap();
        stream::Stream::Tls(Box::new(stream))
    };
    let (mut client, script) = serve_one_as(as_tls, patience, Env::default()).await;
    // The head of a ClientHello.
    client.write_all(&[0x16, 3, 1, 1, 0, 1]).await.unwrap();
    expect_end(&mut client).await;
    assert_eq!(script.closed(1).await, [ClientId(1)]);
}

#[tokio::test]
async fn words_of_the_wrong_port_end_the_connection_and_run_nothing() {
    let tls = start_tls(settings(), AuthClients::Required);
    let mut plain = tls.server.connect().await;
    plain.write_all(b"PUBLISH a b\r\n").await.unwrap();
    expect_end(&mut plain).await;
    assert_eq!(tls.server.script.seen.lock().unwrap().asks, []);

    let plain_server = start(settings());
    let connector = connector(&tls.authority, true);
    let name = ServerName::try_from("localhost").unwrap();
    let connected = connector.connect(name, plain_server.connect().await);
    let error = timeout(DEADLINE, connected)
        .await
        .expect("an end in time")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
    assert_eq!(plain_server.script.seen.lock().unwrap().asks, []);
}

#[tokio::test]
async fn one_too_many_is_told_so_after_the_handshake() {
    let settings = Settings {
        clients_max: 1,
        ..settings()
    };
    let tls = start_tls(settings, AuthClients::Required);
    let _first = tls.connect(true).await.unwrap();
    let mut second = tls.connect(true).await.unwrap();
    let mut said = String::new();
    timeout(DEADLINE, second.read_to_string(&mut said))
        .await
        .expect("in time")
        .unwrap();
    assert_eq!(said, "-ERR max number of clients reached\r\n");
}
