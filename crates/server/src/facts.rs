//! What only the process knows of itself, for `INFO`
//! (<https://redis.io/docs/latest/commands/info/>).
//!
//! Names and units are Redis', because dashboards and client libraries read them; what Corgi has no
//! counterpart for is left out rather than made up, except for the few lines that clients refuse to
//! start without (`loading:0`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corgi_node::Facts;

use crate::clients::Counters;

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    /// `redis_version`, as `HELLO` gives it.
    pub(crate) redis_version: String,
    /// 40 hexadecimal digits, new at each start.
    pub(crate) run_id: String,
    /// `port`.
    pub(crate) port: u16,
    /// `maxclients`.
    pub(crate) clients_max: u64,
    /// How often the node ticks in a second.
    pub(crate) hz: u64,
    /// The file given on the command line, if any.
    pub(crate) config_file: Option<PathBuf>,
    /// What is counted over all connections.
    pub(crate) counters: Arc<Counters>,
}

impl Process {
    /// Reads everything anew. `up` is how long the process runs.
    pub(crate) fn facts(&self, up: Duration) -> Facts {
        Facts {
            server: self.server(up),
            clients: self.clients(),
            memory: memory(&Status::read()),
            persistence: persistence(),
            stats: self.stats(),
            cpu: cpu(),
        }
    }

    fn server(&self, up: Duration) -> Vec<String> {
        let seconds = up.as_secs();
        let file = self
            .config_file
            .as_ref()
            .map_or_else(String::new, |path| one_line(path));
        let executable =
            std::env::current_exe().map_or_else(|_| String::new(), |path| one_line(&path));
        let pairs: [(&str, &dyn std::fmt::Display); 13] = [
            ("redis_version", &self.redis_version),
            ("corgi_version", &env!("CARGO_PKG_VERSION")),
            ("redis_mode", &"standalone"),
            ("os", &os()),
            ("arch_bits", &usize::BITS),
            ("process_id", &std::process::id()),
            ("run_id", &self.run_id),
            ("tcp_port", &self.port),
            ("uptime_in_seconds", &seconds),
            ("uptime_in_days", &(seconds / 86400)),
            ("hz", &self.hz),
            ("executable", &executable),
            ("config_file", &file),
        ];
        lines(&pairs)
    }

    fn clients(&self) -> Vec<String> {
        lines(&[
            ("connected_clients", &self.counters.connected()),
            ("maxclients", &self.clients_max),
            ("blocked_clients", &0),
        ])
    }

    fn stats(&self) -> Vec<String> {
        let (read, written) = self.counters.bytes();
        lines(&[
            ("total_connections_received", &self.counters.received()),
            ("rejected_connections", &self.counters.rejected()),
            ("total_net_input_bytes", &read),
            ("total_net_output_bytes", &written),
        ])
    }
}

fn lines(pairs: &[(&str, &dyn std::fmt::Display)]) -> Vec<String> {
    pairs
        .iter()
        .map(|(name, value)| format!("{name}:{value}"))
        .collect()
}

/// A path cannot be trusted to hold no line ends, and `INFO` is lines.
fn one_line(path: &std::path::Path) -> String {
    path.display().to_string().replace(['\r', '\n'], "?")
}

fn os() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("Linux {} {}", release.trim(), std::env::consts::ARCH)
}

/// The lines of `/proc/self/status` that matter here (proc_pid_status(5)), in bytes; 0 where there
/// is no such file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Status {
    rss: u64,
    rss_peak: u64,
}

impl Status {
    fn read() -> Self {
        std::fs::read_to_string("/proc/self/status")
            .map_or_else(|_| Self::default(), |text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let kilobytes = |name: &str| -> u64 {
            text.lines()
                .find_map(|line| {
                    line.strip_prefix(name)?
                        .split_ascii_whitespace()
                        .next()?
                        .parse()
                        .ok()
                })
                .unwrap_or(0)
        };
        Self {
            rss: kilobytes("VmRSS:") << 10,
            rss_peak: kilobytes("VmHWM:") << 10,
        }
    }
}

fn memory(status: &Status) -> Vec<String> {
    // The allocator is not asked: what the process has from the system is what an operator must
    // provide.
    lines(&[
        ("used_memory", &status.rss),
        ("used_memory_human", &human(status.rss)),
        ("used_memory_rss", &status.rss),
        ("used_memory_rss_human", &human(status.rss)),
        ("used_memory_peak", &status.rss_peak),
        ("used_memory_peak_human", &human(status.rss_peak)),
    ])
}

/// Bytes as Redis writes them for people: `512B`, `1.50M`.
fn human(bytes: u64) -> String {
    let units = [(30, 'G'), (20, 'M'), (10, 'K')];
    units
        .into_iter()
        .find(|(shift, _)| bytes >> shift > 0)
        .map_or_else(
            || format!("{bytes}B"),
            |(shift, unit)| {
                let hundredths = (bytes * 100) >> shift;
                format!("{}.{:02}{unit}", hundredths / 100, hundredths % 100)
            },
        )
}

fn persistence() -> Vec<String> {
    // Clients connect only to a server that is not loading; this one listens only when it has
    // loaded.
    lines(&[
        ("loading", &0),
        ("aof_enabled", &1),
        ("aof_last_write_status", &"ok"),
    ])
}

/// The kernel counts in hundredths of a second towards programs, on every architecture that this
/// builds for.
const TICKS_PER_SECOND: u64 = 100;

fn cpu() -> Vec<String> {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (user, system) = cpu_ticks(&stat).unwrap_or_default();
    lines(&[
        ("used_cpu_sys", &seconds(system)),
        ("used_cpu_user", &seconds(user)),
    ])
}

fn seconds(ticks: u64) -> String {
    format!(
        "{}.{:02}0000",
        ticks / TICKS_PER_SECOND,
        ticks % TICKS_PER_SECOND
    )
}

/// Reads `utime` and `stime`, fields 14 and 15 (proc_pid_stat(5)). Field 2 is the program's name in
/// brackets and may hold anything, so fields are counted behind the last bracket.
fn cpu_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_one_name_and_one_value() {
        let process = Process {
            redis_version: "7.4.0".to_owned(),
            run_id: "ab".repeat(20),
            port: 6379,
            clients_max: 10,
            hz: 100,
            config_file: Some(PathBuf::from("odd\r\nname.conf")),
            counters: Arc::default(),
        };
        let facts = process.facts(Duration::from_secs(90_000));
        let all = [
            &facts.server,
            &facts.clients,
            &facts.memory,
            &facts.persistence,
            &facts.stats,
            &facts.cpu,
        ];
        for line in all.into_iter().flatten() {
            assert!(
                line.contains(':') && !line.contains(['\r', '\n']),
                "{line:?}"
            );
        }
        assert!(facts.server.contains(&"uptime_in_days:1".to_owned()));
        assert!(
            facts
                .server
                .contains(&format!("process_id:{}", std::process::id()))
        );
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(
            Status::parse(text),
            Status {
                rss: 1 << 20,
                rss_peak: 2 << 20
            }
        );
        assert_eq!(Status::parse(""), Status::default());
    }

    #[test]
    fn sizes_are_written_as_redis_writes_them() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1536, "1.50K"),
            (3 << 29, "1.50G"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn a_program_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194304 100 0 0 0 1234 56 0 0 20 0 9 0 1";
        assert_eq!(cpu_ticks(stat), Some((1234, 56)));
        assert_eq!(seconds(1234), "12.340000");
        assert_eq!(cpu_ticks("garbage"), None);
    }
}
