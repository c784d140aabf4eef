//! Clients that never pause, that never read, and that wait for the end of a pause.

use super::*;
use corgi_session::Pause;
use std::time::Instant;
use tokio::task::JoinHandle;

/// Sends commands without pause and reads the replies, until the server closes.
fn presses(client: TcpStream) -> JoinHandle<()> {
    let (mut reader, mut writer) = client.into_split();
    tokio::spawn(async move {
        let commands = b"PING\r\n".repeat(5000);
        while writer.write_all(&commands).await.is_ok() {}
    });
    tokio::spawn(async move {
        let mut replies = vec![0; 64 << 10];
        while reader.read(&mut replies).await.is_ok_and(|n| n > 0) {}
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_never_pauses_does_not_keep_the_server_from_stopping() {
    let server = start(settings());
    let pressing = presses(server.connect().await);
    // So that it is in the middle of it.
    let mut other = server.connect().await;
    for _ in 0..100 {
        other.write_all(b"PING\r\n").await.unwrap();
        expect(&mut other, b"+PONG\r\n").await;
    }
    timeout(DEADLINE, server.clients.stop())
        .await
        .expect("it stops in time");
    pressing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stranger_that_never_pauses_is_closed_too() {
    let patience = deadlines::Patience {
        stranger: Duration::from_millis(300),
        ..deadlines::Patience::new(Duration::ZERO)
    };
    let env = Env {
        users: Users::new(Acl::stored(0, require_pass(b"s").into_iter())),
        ..Env::default()
    };
    let (stranger, _script) = serve_one(patience, env).await;
    // Far less than the pauses that a client makes by chance would take.
    timeout(DEADLINE / 4, presses(stranger))
        .await
        .expect("it is closed in time")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_pause_held_runs_when_the_pause_is_over_however_short_it_was() {
    let server = start(settings());
    let mut client = server.connect().await;
    for micros in 0..600 {
        let length = Duration::from_micros(micros % 60);
        server
            .local
            .registry
            .pause(length, Pause::All, Instant::now());
        client.write_all(b"PING\r\n").await.unwrap();
        expect(&mut client, b"+PONG\r\n").await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_during_a_pause_gives_its_place_back() {
    let server = start(settings());
    let hour = Duration::from_secs(3600);
    server
        .local
        .registry
        .pause(hour, Pause::All, Instant::now());
    let mut client = server.connect().await;
    client.write_all(b"PING\r\n").await.unwrap();
    drop(client);
    server.script.closed(1).await;
}

#[tokio::test]
async fn a_client_that_a_pause_keeps_waiting_is_not_idle() {
    let server = start(Settings {
        idle_max: Duration::from_millis(300),
        ..settings()
    });
    let hour = Duration::from_secs(3600);
    server
        .local
        .registry
        .pause(hour, Pause::All, Instant::now());
    let mut client = server.connect().await;
    client.write_all(b"PING\r\n").await.unwrap();
    // Another that comes now and asks nothing is closed: so long has the first waited.
    expect_end(&mut server.connect().await).await;
    server.local.registry.unpause();
    expect(&mut client, b"+PONG\r\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monitor_that_does_not_read_is_closed_before_it_costs_too_much() {
    let server = start(settings());
    let mut monitor = server.connect().await;
    monitor.write_all(b"MONITOR\r\n").await.unwrap();
    expect(&mut monitor, b"+OK\r\n").await;
    let mut client = server.connect().await;
    let mut command = b"*2\r\n$4\r\nECHO\r\n$1000000\r\n".to_vec();
    command.resize(command.len() + 1_000_000, b'x');
    command.extend_from_slice(b"\r\n");
    let mut reply = vec![0; b"$1000000\r\n".len() + 1_000_002];
    // Half more than a monitor may have waiting, and what the sockets take.
    for _ in 0..100 {
        client.write_all(&command).await.unwrap();
        timeout(DEADLINE, client.read_exact(&mut reply))
            .await
            .expect("an answer in time")
            .unwrap();
    }
    assert_eq!(server.script.closed(1).await, [ClientId(1)]);
}
