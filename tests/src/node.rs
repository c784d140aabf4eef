//! One server process with its folder and ports.

use crate::{binary, info, ports, wait};
use redis::{Client, Connection, ConnectionAddr, IntoConnectionInfo, ProtocolVersion};
use redis::{RedisConnectionInfo, RedisResult};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// How long a client of a test waits for a reply: longer than `write-timeout`, so that silence is told from a late
/// answer.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a node's log a failing test prints.
const LOG_LINES_SHOWN: usize = 40;

/// A server process, which is killed when this is dropped.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub id: u64,
    /// Where clients connect.
    pub port: u16,
    /// Where peers connect.
    pub peer_port: u16,
    dir: PathBuf,
    log: PathBuf,
    args: Vec<String>,
    /// Whether the id is on the command line.
    told_id: bool,
    child: Option<Child>,
    /// The folder, if nobody else keeps it.
    temp: Option<TempDir>,
}

impl Node {
    /// Prepares a node that forms a cluster of its own, in a new folder. `args` are added to the command line.
    pub fn single(args: &[&str]) -> Self {
        let temp =
            TempDir::with_prefix("corgi-node-").expect("the temporary folder can be written");
        let dir = temp.path().to_owned();
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut node = Self::new(1, ports::free(), ports::free(), &dir, args);
        node.temp = Some(temp);
        node
    }

    /// Prepares a node; its data will be in `dir/data` and its log in `dir/log`.
    pub fn new(id: u64, port: u16, peer_port: u16, dir: &Path, args: Vec<String>) -> Self {
        Self {
            id,
            port,
            peer_port,
            dir: dir.join("data"),
            log: dir.join("log"),
            args,
            told_id: true,
            child: None,
            temp: None,
        }
    }

    /// Prepares a node that is not told its id, because a cluster gives it; `id` is what the test expects.
    pub fn joining(id: u64, port: u16, peer_port: u16, dir: &Path, args: Vec<String>) -> Self {
        let mut node = Self::new(id, port, peer_port, dir, args);
        node.told_id = false;
        node
    }

    /// Returns the command line that starts the node.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary::server());
        for (name, value) in [
            ("--port", self.port.to_string()),
            ("--peer-port", self.peer_port.to_string()),
            ("--dir", self.dir.display().to_string()),
        ] {
            command.args([name, &value]);
        }
        if self.told_id {
            command.args(["--node-id", &self.id.to_string()]);
        }
        command.args(&self.args);
        command
    }

    /// Starts the process; it may not serve yet.
    ///
    /// # Panics
    /// If it runs already or the binary cannot be run.
    pub fn spawn(&mut self) {
        let command = self.command();
        self.spawn_command(command);
    }

    /// Starts `command` as this node's process, for wrappers around the server.
    ///
    /// # Panics
    /// As [`Node::spawn`].
    pub fn spawn_command(&mut self, mut command: Command) {
        assert!(self.child.is_none(), "node {} runs already", self.id);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("open node log");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be had twice"))
            .stderr(log)
            .spawn()
            .expect("the server binary can be run");
        self.child = Some(child);
    }

    /// Starts the process and waits until it serves.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn start(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Waits until a publish is acknowledged here: the node serves and has a leader.
    ///
    /// # Panics
    /// If it does not in time, or the process ends.
    pub fn wait_ready(&mut self) {
        let what = format!("node {} acknowledges a publish", self.id);
        wait::until_true(wait::SOON, &what, || {
            if let Some(status) = self.try_exit() {
                panic!("node {} ended with {status}: {}", self.id, self.log_tail());
            }
            self.try_publish("ready", "?").is_ok()
        });
    }

    fn try_publish(&self, channel: &str, payload: &str) -> RedisResult<i64> {
        let mut connection = self.connect(ProtocolVersion::RESP2)?;
        redis::cmd("PUBLISH")
            .arg(channel)
            .arg(payload)
            .query(&mut connection)
    }

    /// Connects with redis-rs.
    ///
    /// # Errors
    /// If the node does not take the connection.
    pub fn connect(&self, protocol: ProtocolVersion) -> RedisResult<Connection> {
        connect(self.port, protocol)
    }

    /// Returns a field of `INFO`, if the node answers and has it.
    pub fn info(&self, field: &str) -> Option<String> {
        let mut connection = self.connect(ProtocolVersion::RESP2).ok()?;
        let text: String = redis::cmd("INFO")
            .arg("everything")
            .query(&mut connection)
            .ok()?;
        info::field(&text, field)
    }

    /// Whether the node says that it leads.
    pub fn leads(&self) -> bool {
        self.info(info::ROLE)
            .is_some_and(|role| role == info::LEADER)
    }

    /// The process' id.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the node runs").id()
    }

    /// `kill -9`: returns when the process is gone.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the node runs");
        child.kill().expect("a child can be killed");
        child.wait().expect("a killed child ends");
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// If the process does not run or does not end in time.
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, Signal::TERM).expect("a child can be sent a signal");
        self.wait_exit()
    }

    /// Waits until the process ends by itself.
    ///
    /// # Panics
    /// If it does not in time.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let what = format!("node {} ends", self.id);
        let status = wait::until(wait::SOON, &what, || self.try_exit());
        self.child = None;
        status
    }

    fn try_exit(&mut self) -> Option<ExitStatus> {
        self.child
            .as_mut()?
            .try_wait()
            .expect("a child can be waited for")
    }

    /// Whether the process runs.
    pub fn runs(&mut self) -> bool {
        self.child.is_some() && self.try_exit().is_none()
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Everything that the node has logged since its folder exists.
    pub fn log(&self) -> String {
        match fs::read(&self.log) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => panic!("read {}: {error}", self.log.display()),
        }
    }

    /// Waits for a line of the log that has all of `words`, in any case, and returns it.
    ///
    /// # Panics
    /// If none comes in time.
    pub fn wait_log(&self, words: &[&str]) -> String {
        wait::until(
            wait::SOON,
            &format!("node {} logs {words:?}", self.id),
            || {
                self.log()
                    .lines()
                    .find(|line| has_all(line, words))
                    .map(str::to_owned)
            },
        )
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Node {
    #[expect(
        clippy::print_stderr,
        reason = "the log of a node explains why a test failed"
    )]
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; either way it is gone afterwards.
            let _ended_already = child.kill();
            let _status = child.wait();
        }
        if thread::panicking() {
            eprintln!("--- node {} (port {}), end of its log:", self.id, self.port);
            eprintln!("{}", self.log_tail());
        }
    }
}

/// Whether `line` has all of `words`, in any case.
pub fn has_all(line: &str, words: &[&str]) -> bool {
    let line = line.to_lowercase();
    words.iter().all(|word| line.contains(&word.to_lowercase()))
}

/// Returns redis-rs' settings for a port of this machine.
///
/// # Errors
/// None are known: the address is one.
pub fn client(port: u16, protocol: ProtocolVersion) -> RedisResult<Client> {
    let settings = RedisConnectionInfo::default().set_protocol(protocol);
    let address = ConnectionAddr::Tcp("127.0.0.1".to_owned(), port);
    Client::open(address.into_connection_info()?.set_redis_settings(settings))
}

/// Connects to a port of this machine with redis-rs.
///
/// # Errors
/// If nobody takes the connection.
pub fn connect(port: u16, protocol: ProtocolVersion) -> RedisResult<Connection> {
    let connection = client(port, protocol)?.get_connection_with_timeout(REPLY_TIMEOUT)?;
    connection.set_read_timeout(Some(REPLY_TIMEOUT))?;
    connection.set_write_timeout(Some(REPLY_TIMEOUT))?;
    Ok(connection)
}
