//! One process of a server, with its folder.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(2);

/// A process that runs until this is dropped; then its folder is removed.
#[derive(Debug)]
pub struct Node {
    /// Where clients connect.
    pub port: u16,
    /// Its command line, with `DIR` and `PORT` for what differs from run to run.
    pub command: String,
    child: Child,
    folder: TempDir,
}

impl Node {
    /// Starts `binary` in a folder that was made for it. Its command is told without the ports `hide`.
    ///
    /// # Errors
    /// If the binary cannot be run.
    pub fn start(
        binary: &Path,
        arguments: &[String],
        port: u16,
        hide: &[u16],
        folder: TempDir,
    ) -> Result<Self> {
        let child = spawn(binary, arguments, folder.path())?;
        let name = binary.file_name().unwrap_or_default().to_string_lossy();
        let place = folder.path().to_string_lossy().into_owned();
        let words = arguments.iter().map(|word| {
            let word = word.replace(&place, "DIR");
            let word = hide
                .iter()
                .fold(word, |word, port| word.replace(&port.to_string(), "PORT"));
            if word.is_empty() {
                "''".to_owned()
            } else {
                word
            }
        });
        let command = std::iter::once(name.into_owned())
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ");
        Ok(Self {
            port,
            command,
            child,
            folder,
        })
    }

    /// Starts the process again on `port`, after it was killed, with its folder as it was.
    ///
    /// # Errors
    /// If the binary cannot be run.
    pub fn start_again(&mut self, binary: &Path, arguments: &[String], port: u16) -> Result<()> {
        self.child = spawn(binary, arguments, self.folder.path())?;
        self.port = port;
        Ok(())
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends it with `kill -9` and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// If it does not in time, or the process ends: with the end of what it logged.
    pub fn wait(
        &mut self,
        limit: Duration,
        what: &str,
        mut ready: impl FnMut(u16) -> bool,
    ) -> Result<()> {
        let begun = Instant::now();
        while !ready(self.port) {
            if let Some(status) = self.child.try_wait().context("look at the process")? {
                bail!("it ended with {status} before {what}:\n{}", self.log_end());
            }
            if begun.elapsed() > limit {
                bail!("not in {limit:?}: {what}:\n{}", self.log_end());
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn log_end(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        let end = &log[log.len().saturating_sub(2000)..];
        String::from_utf8_lossy(end).into_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(binary: &Path, arguments: &[String], folder: &Path) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .context("create the log of a server")?;
    let errors = log.try_clone().context("create the log of a server")?;
    Command::new(binary)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("run {}", binary.display()))
}

/// Returns a folder for a process.
pub(super) fn folder() -> Result<TempDir> {
    TempDir::with_prefix("corgi-bench-").context("create a temporary folder")
}

/// Returns `count` different ports that the system says are free.
pub(super) fn free_ports(count: usize) -> Result<Vec<u16>> {
    let open: Result<Vec<TcpListener>, _> = (0..count)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect();
    let open = open.context("find a free port")?;
    open.iter()
        .map(|listener| Ok(listener.local_addr().context("read a port")?.port()))
        .collect()
}

/// Whether somebody accepts connections there.
pub(super) fn accepts(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}
