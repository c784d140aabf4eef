//! The real binary as a child process, on ports of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Long enough that only a fault takes so long, also on a machine that is busy with other tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at something that gives no sign when it changes.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Asks again and again until `check` finds something.
pub(crate) fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// Returns a port that nobody uses now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A node that was started, whether it came up or not. Killed when dropped.
pub(crate) struct Node {
    child: Child,
    pub(crate) port: u16,
    pub(crate) peer_port: u16,
    log: PathBuf,
}

impl Node {
    /// Starts a node with its data in `dir`, on free ports, and does not wait for it.
    pub(crate) fn spawn(dir: &Path, options: &[&str]) -> Self {
        Self::spawn_on(dir, free_port(), free_port(), options)
    }

    pub(crate) fn spawn_on(dir: &Path, port: u16, peer_port: u16, options: &[&str]) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_corgi-server"));
        Self::spawn_with(command, dir, port, peer_port, options)
    }

    /// Starts a node for which every file ends at `blocks` of 512 bytes: a write beyond is an
    /// error, as on a full disk.
    pub(crate) fn spawn_with_small_files(dir: &Path, blocks: u32) -> Self {
        let mut command = Command::new("sh");
        // The signal that would come with the error is ignored, and stays so in the node.
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_corgi-server")]);
        Self::spawn_with(command, dir, free_port(), free_port(), &[])
    }

    /// Starts a node that may have so many files open.
    pub(crate) fn spawn_with_few_files(dir: &Path, files: u32) -> Self {
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {files}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_corgi-server")]);
        Self::spawn_with(command, dir, free_port(), free_port(), &[])
    }

    fn spawn_with(
        mut command: Command,
        dir: &Path,
        port: u16,
        peer_port: u16,
        options: &[&str],
    ) -> Self {
        let log = dir.with_extension(format!("{port}.log"));
        let child = command
            .args([
                "--port",
                &port.to_string(),
                "--peer-port",
                &peer_port.to_string(),
            ])
            .arg("--dir")
            .arg(dir)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(
                File::options()
                    .create(true)
                    .append(true)
                    .open(&log)
                    .unwrap(),
            )
            .spawn()
            .unwrap();
        Self {
            child,
            port,
            peer_port,
            log,
        }
    }

    /// Starts a node and waits until it serves.
    pub(crate) fn start(dir: &Path, options: &[&str]) -> Self {
        let mut node = Self::spawn(dir, options);
        node.wait_until_it_serves();
        node
    }

    pub(crate) fn wait_until_it_serves(&mut self) {
        until("a node that serves", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status}:\n{}", self.log());
            }
            let mut client = Client::try_connect(self.port)?;
            client.send("PUBLISH ready yes\r\n");
            client.try_line().filter(|line| line == ":0").map(drop)
        });
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("the end of a node", || self.child.try_wait().unwrap())
    }

    pub(crate) fn connect(&self) -> Client {
        until("a connection", || Client::try_connect(self.port))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        if std::thread::panicking() {
            println!("--- log of the node on port {}\n{}", self.port, self.log());
        }
    }
}

/// A raw connection: what is sent and received is what stands in the test.
pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) fn try_connect(port: u16) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Some(Self(stream))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        assert!(self.try_send(bytes), "the server is gone");
    }

    /// Returns false if the server is gone.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).is_ok()
    }

    /// Reads as many bytes as are expected, and compares.
    pub(crate) fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = String::from_utf8_lossy(expected.as_ref()).into_owned();
        let mut got = vec![0; expected.len()];
        let mut len = 0;
        while len < got.len() {
            match self.0.read(&mut got[len..]) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(error) => panic!("{error}, expected {expected:?}"),
            }
        }
        assert_eq!(String::from_utf8_lossy(&got[..len]), expected);
    }

    /// Reads until the server closes.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Reads one line, without its end; `None` if the connection ends before.
    pub(crate) fn try_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            if self.0.read(&mut byte).ok()? == 0 {
                return None;
            }
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// Sends a command and reads the line that answers it; `None` if the connection ends before.
    pub(crate) fn try_ask(&mut self, command: &str) -> Option<String> {
        self.try_send(command).then(|| self.try_line())?
    }

    /// Sends an inline command and returns the text of the bulk string that answers it.
    pub(crate) fn text(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n"));
        let head = self.try_line().expect("an answer");
        let len = head
            .strip_prefix('$')
            .expect("a bulk string")
            .parse::<usize>()
            .unwrap();
        let mut text = vec![0; len + 2];
        self.0.read_exact(&mut text).unwrap();
        text.truncate(len);
        String::from_utf8(text).unwrap()
    }
}

/// Runs the binary to its end and returns its exit code, output and errors.
pub(crate) fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let command = Command::new(env!("CARGO_BIN_EXE_corgi-server"))
        .args(args)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        command.status.code(),
        text(command.stdout),
        text(command.stderr),
    )
}
