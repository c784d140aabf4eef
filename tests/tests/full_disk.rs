//! A disk that runs full: a clear refusal or one clear line and an end, and nothing lost that was acknowledged.
//!
//! The small disk is a tmpfs in a mount namespace of its own, which needs root. Without it the test says so and checks
//! nothing.

#![expect(
    clippy::print_stdout,
    reason = "a test that checks nothing must say so"
)]

use corgi_tests::dump::{self, Logged};
use corgi_tests::node::has_all;
use corgi_tests::{Node, RawClient, node, ports};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use tempfile::TempDir;

/// Room for a log's files and some messages, and soon full.
const SMALL_DISK_MIB: usize = 96;
/// Room for RocksDB's files while writes are still refused.
const MEDIUM_DISK_MIB: usize = 1024;
const FREE_MIN_MIB: usize = 800;
const LARGER_DISK_SIZE: &str = "remount,size=3g";
const PAYLOAD_BYTES: usize = 64 * 1024;

/// A mount namespace with a small disk at a path. It lives as long as a process that waits for its standard input to
/// end.
struct SmallDisk {
    holder: Child,
    input: Option<ChildStdin>,
    path: PathBuf,
}

impl SmallDisk {
    /// Returns `None`, with a line that says why, if this machine does not let us.
    fn mount(path: &Path, size_mib: usize) -> Option<Self> {
        let script =
            format!("mount -t tmpfs -o size={size_mib}m tmpfs \"$1\" && echo mounted && exec cat");
        let mut holder = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                &script,
                "sh",
            ])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .ok()?;
        let mut said = [0; 8];
        let mounted = holder.stdout.take()?.read_exact(&mut said).is_ok() && said == *b"mounted\n";
        if !mounted {
            println!("skipped: no mount namespace with a tmpfs can be made here (it takes root)");
            holder.wait().expect("the shell ends when it cannot mount");
            return None;
        }
        let input = holder.stdin.take();
        Some(Self {
            holder,
            input,
            path: path.to_owned(),
        })
    }

    /// A command that runs where the small disk is.
    fn enter(&self, program: &std::ffi::OsStr) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()))
            .arg("--")
            .arg(program);
        command
    }

    fn node_command(&self, node: &Node) -> Command {
        let inner = node.command();
        let mut command = self.enter(inner.get_program());
        command.args(inner.get_args());
        command
    }

    fn enlarge(&self) {
        let status = self
            .enter("mount".as_ref())
            .args(["-o", LARGER_DISK_SIZE])
            .arg(&self.path)
            .status()
            .expect("mount can be run");
        assert!(status.success(), "mount ended with {status}");
    }

    /// The path of a file on the small disk as it is seen from outside.
    fn seen_from_here(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(
            path.strip_prefix("/")
                .expect("temporary folders have absolute names"),
        )
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.input.take());
        let _status = self.holder.wait();
    }
}

fn payload(n: usize) -> Vec<u8> {
    let mut payload = format!("{n:06}-").into_bytes();
    payload.resize(PAYLOAD_BYTES, b'x');
    payload
}

fn number(logged: &Logged) -> usize {
    logged.payload[..6]
        .parse()
        .expect("each payload begins with its number")
}

/// How many payloads do not fit on a disk, however fast it takes them.
fn more_than_fit(size_mib: usize) -> usize {
    (size_mib << 20) / PAYLOAD_BYTES
}

/// Publishes until the node refuses or ends, which must be before the disk cannot have taken it; returns the numbers
/// that were acknowledged.
fn fill(node: &mut Node, size_mib: usize) -> Vec<usize> {
    let mut client = RawClient::connect(node.port, node::REPLY_TIMEOUT);
    let mut acknowledged = Vec::new();
    for n in 0..more_than_fit(size_mib) {
        if client.command(&[b"PUBLISH", b"fill", &payload(n)]).is_err() {
            break;
        }
        match client.try_line() {
            Some(reply) if reply.starts_with(':') => acknowledged.push(n),
            Some(reply) => {
                assert!(reply.starts_with("-MISCONF "), "{reply:?}");
                assert_eq!(
                    client.ask(&[b"PING"]),
                    "+PONG",
                    "refusing is all that has changed"
                );
                return acknowledged;
            }
            None => break,
        }
    }
    let status = node.wait_exit();
    assert!(!status.success(), "a disk error is no success");
    acknowledged
}

/// A node that refuses writes when less than so much is free.
fn small_disk_node(dir: &Path, free_min_mib: usize) -> Node {
    let free_min = format!("{free_min_mib}mb");
    let args = ["--disk-free-min", &free_min, "--disk-free-min-percent", "0"];
    let args = args.map(str::to_owned).to_vec();
    Node::new(1, ports::free(), ports::free(), dir, args)
}

#[test]
fn a_disk_that_fills_up_refuses_writes_and_takes_them_again() {
    let temp = TempDir::new().unwrap();
    let disk_path = temp.path().join("data");
    std::fs::create_dir(&disk_path).unwrap();
    let Some(disk) = SmallDisk::mount(&disk_path, MEDIUM_DISK_MIB) else {
        return;
    };
    let mut node = small_disk_node(temp.path(), FREE_MIN_MIB);
    let command = disk.node_command(&node);
    node.spawn_command(command);
    node.wait_ready();
    let acknowledged = fill(&mut node, MEDIUM_DISK_MIB);
    assert!(node.runs(), "it refuses, and goes on");
    assert!(
        !acknowledged.is_empty()
            && acknowledged.len() < more_than_fit(MEDIUM_DISK_MIB - FREE_MIN_MIB / 2)
    );
    node.wait_log(&["disk", "almost full"]);
    let mut client = RawClient::connect(node.port, node::REPLY_TIMEOUT);
    let confirmed = client.ask(&[b"SUBSCRIBE", b"fill"]);
    assert_eq!(confirmed, "*3", "subscriptions go on");

    disk.enlarge();
    // By itself, on a connection that was there before.
    node.wait_ready();
    assert!(node.terminate().success());
    let logged = dump::publishes(&disk.seen_from_here(node.dir()), "fill");
    let numbers: Vec<usize> = logged.iter().map(number).collect();
    assert_eq!(numbers, acknowledged, "what was refused is not in the log");
}

#[test]
fn a_full_disk_is_named_and_loses_nothing_that_was_acknowledged() {
    let temp = TempDir::new().unwrap();
    let disk_path = temp.path().join("data");
    std::fs::create_dir(&disk_path).unwrap();
    let Some(disk) = SmallDisk::mount(&disk_path, SMALL_DISK_MIB) else {
        return;
    };
    // The data folder is the disk, the log of the process is beside it.
    let mut node = small_disk_node(temp.path(), 0);
    let command = disk.node_command(&node);
    node.spawn_command(command);
    node.wait_ready();
    let acknowledged = fill(&mut node, SMALL_DISK_MIB);
    assert!(!acknowledged.is_empty());
    let log = node.log();
    let named = log
        .lines()
        .any(|line| has_all(line, &["space"]) && line.contains("data"));
    assert!(named, "a line names the folder and the cause: {log}");

    if node.runs() {
        node.kill();
    }
    disk.enlarge();
    let command = disk.node_command(&node);
    node.spawn_command(command);
    node.wait_ready();
    assert!(node.terminate().success());
    let logged = dump::publishes(&disk.seen_from_here(node.dir()), "fill");
    let numbers: Vec<usize> = logged.iter().map(number).collect();
    assert!(
        numbers.starts_with(&acknowledged),
        "acknowledged are the first, each once"
    );
    // Beyond them at most the one whose fate its client does not know.
    assert!(
        numbers.len() <= acknowledged.len() + 1,
        "{} logged",
        numbers.len()
    );
}
