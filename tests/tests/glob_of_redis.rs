//! Glob matching against a real redis-server: which channels each lists for `PUBSUB CHANNELS pattern`.

use corgi_base::glob::matches;
use corgi_tests::{RawClient, ports, wait};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;
use std::cell::RefCell;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// What means something in a pattern, often, and some that mean nothing. None is above 127: there Redis depends on the
/// machine it was built for.
const BYTES: &[u8] = b"aaabbcz**??[[]]^-\\\\! \x00";

/// A redis-server that ends with the test.
struct Redis {
    process: Child,
    port: u16,
    _dir: TempDir,
}

impl Redis {
    fn start() -> Self {
        let dir =
            TempDir::with_prefix("corgi-redis-").expect("the temporary folder can be written");
        let port = ports::free();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed (scripts/setup)");
        wait::until(wait::SOON, "redis-server serves", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self {
            process,
            port,
            _dir: dir,
        }
    }

    fn connect(&self) -> RawClient {
        RawClient::connect(self.port, SOON)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Whether or not it still runs, it is gone afterwards.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Reads an array of bulk strings without line ends in them.
fn array(client: &mut RawClient) -> Vec<Vec<u8>> {
    let count: usize = client.line()[1..].parse().expect("an array");
    let mut items = Vec::new();
    for _ in 0..count {
        assert!(client.line().starts_with('$'));
        items.push(client.line().into_bytes());
    }
    items.sort();
    items
}

#[test]
fn every_pattern_means_what_it_means_to_redis() {
    let redis = Redis::start();
    let connections = RefCell::new((redis.connect(), redis.connect()));
    let text = || vec(select(BYTES), 0..8);
    let cases = (btree_set(text(), 1..40), vec(vec(select(BYTES), 0..10), 60));
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&cases, |(texts, patterns)| {
        let (listener, asker) = &mut *connections.borrow_mut();
        let mut subscribe: Vec<&[u8]> = vec![b"SUBSCRIBE"];
        subscribe.extend(texts.iter().map(Vec::as_slice));
        listener.command(&subscribe).unwrap();
        listener.skip_to(&format!(":{}", texts.len()));
        let mut wrong = None;
        for pattern in &patterns {
            asker.command(&[b"PUBSUB", b"CHANNELS", pattern]).unwrap();
            let theirs = array(asker);
            let ours: Vec<Vec<u8>> = texts
                .iter()
                .filter(|t| matches(pattern, t))
                .cloned()
                .collect();
            if ours != theirs && wrong.is_none() {
                wrong = Some(format!(
                    "{}: {ours:?}, Redis {theirs:?}",
                    pattern.escape_ascii()
                ));
            }
        }
        listener.command(&[b"UNSUBSCRIBE"]).unwrap();
        listener.skip_to(":0");
        prop_assert_eq!(wrong, None);
        Ok(())
    });
    result.unwrap();
}
