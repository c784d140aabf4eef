//! What only the process knows of itself, for `INFO`
//! (<https://redis.io/docs/latest/commands/info/>).
//!
//! Names and units are Redis', because dashboards and client libraries read them. What Corgi has no
//! counterpart for has the value of a Redis in which it does not happen if dashboards show it, and is
//! left out if not.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corgi_node::Facts;
use corgi_session::{ClientFilter, Reason};

use crate::local::{Local, line};

/// What does not change while the process runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    /// `redis_version`, as `HELLO` gives it.
    pub(crate) redis_version: String,
    /// 40 hexadecimal digits, new at each start.
    pub(crate) run_id: String,
    /// `port`.
    pub(crate) port: u16,
    /// How often the node ticks in a second.
    pub(crate) hz: u64,
    /// The file given on the command line, if any.
    pub(crate) config_file: Option<PathBuf>,
    /// How many bytes the Raft log holds.
    pub(crate) log_bytes: Arc<AtomicU64>,
}

impl Local {
    /// Reads everything anew.
    pub(crate) fn facts(&self) -> Facts {
        let clients = self.sums();
        Facts {
            server: self.process.server(self.uptime()),
            clients: self.clients_lines(&clients),
            memory: memory(
                &Status::read(),
                system_memory(),
                clients.memory,
                self.live.config().keys_bytes_max,
            ),
            persistence: self.persistence_lines(),
            stats: self.stats_lines(),
            cpu: cpu(),
            commandstats: self.stats.command_lines(),
            errorstats: self.stats.error_lines(),
            latencystats: self.stats.latency_lines(),
        }
    }

    /// Returns what the process has of memory, and had at most, and what its clients take.
    pub(crate) fn memory_bytes(&self) -> (u64, u64, u64) {
        let status = Status::read();
        (status.rss, status.rss_peak, self.sums().memory as u64)
    }

    fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for (_, seen) in self
            .registry
            .select(&ClientFilter::default(), Instant::now())
        {
            sums.memory += line::memory(&seen);
            sums.input_max = sums.input_max.max(seen.input);
            sums.output_max = sums.output_max.max(seen.view.output);
            sums.blocked += u64::from(seen.view.paused || seen.view.blocked);
            sums.watching += u64::from(seen.view.watched > 0);
            sums.watched += seen.view.watched;
            sums.listening += u64::from(line::listens(&seen));
        }
        sums
    }

    fn clients_lines(&self, sums: &Sums) -> Vec<String> {
        lines(&[
            ("connected_clients", &self.counters.connected()),
            ("cluster_connections", &0),
            ("maxclients", &self.live.clients_max()),
            ("client_recent_max_input_buffer", &sums.input_max),
            ("client_recent_max_output_buffer", &sums.output_max),
            ("blocked_clients", &sums.blocked),
            ("tracking_clients", &0),
            ("pubsub_clients", &sums.listening),
            ("watching_clients", &sums.watching),
            ("clients_in_timeout_table", &0),
            ("total_watched_keys", &sums.watched),
            ("total_blocking_keys", &0),
            ("total_blocking_keys_on_nokey", &0),
        ])
    }

    /// Every acknowledged write is in the log on disk: nothing waits to be saved.
    fn persistence_lines(&self) -> Vec<String> {
        lines(&[
            // Clients connect only to a server that is not loading; this one listens only when it has loaded.
            ("loading", &0),
            ("async_loading", &0),
            ("rdb_changes_since_last_save", &0),
            ("rdb_bgsave_in_progress", &0),
            ("rdb_last_save_time", &self.last_save()),
            ("rdb_last_bgsave_status", &"ok"),
            ("rdb_last_bgsave_time_sec", &-1),
            ("rdb_current_bgsave_time_sec", &-1),
            ("aof_enabled", &1),
            ("aof_rewrite_in_progress", &0),
            ("aof_rewrite_scheduled", &0),
            ("aof_last_rewrite_time_sec", &-1),
            ("aof_current_rewrite_time_sec", &-1),
            ("aof_last_bgrewrite_status", &"ok"),
            ("aof_last_write_status", &"ok"),
            ("log_bytes", &self.process.log_bytes.load(Ordering::Relaxed)),
        ])
    }

    fn stats_lines(&self) -> Vec<String> {
        let (read, written) = self.counters.bytes();
        let now = [self.stats.processed(), read, written];
        let [operations, input, output] = self.rates.since_last(now, self.uptime());
        let kilobytes = |bytes: f64| format!("{:.2}", bytes / 1024.0);
        lines(&[
            ("total_connections_received", &self.counters.received()),
            ("total_commands_processed", &self.stats.processed()),
            ("instantaneous_ops_per_sec", &(operations as u64)),
            ("total_net_input_bytes", &read),
            ("total_net_output_bytes", &written),
            ("total_net_repl_input_bytes", &0),
            ("total_net_repl_output_bytes", &0),
            ("instantaneous_input_kbps", &kilobytes(input)),
            ("instantaneous_output_kbps", &kilobytes(output)),
            ("rejected_connections", &self.counters.rejected()),
            ("sync_full", &0),
            ("sync_partial_ok", &0),
            ("sync_partial_err", &0),
            ("expired_keys", &0),
            ("evicted_keys", &0),
            ("evicted_clients", &self.registry.evicted()),
            ("keyspace_hits", &0),
            ("keyspace_misses", &0),
            ("latest_fork_usec", &0),
            ("total_forks", &0),
            ("tracking_total_keys", &0),
            ("tracking_total_items", &0),
            ("tracking_total_prefixes", &0),
            ("acl_access_denied_auth", &self.denied_count(Reason::Auth)),
            ("acl_access_denied_cmd", &self.denied_count(Reason::Command)),
            ("acl_access_denied_key", &self.denied_count(Reason::Key)),
            (
                "acl_access_denied_channel",
                &self.denied_count(Reason::Channel),
            ),
            ("unexpected_error_replies", &0),
            ("total_error_replies", &self.stats.errors()),
            (
                "client_output_buffer_limit_disconnections",
                &self.counters.were_cut(),
            ),
        ])
    }
}

/// Over all clients.
#[derive(Debug, Default)]
struct Sums {
    memory: usize,
    input_max: usize,
    output_max: usize,
    blocked: u64,
    listening: u64,
    watching: u64,
    watched: usize,
}

/// Turns counts into rates: from each time they are asked for to the next.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    at: Duration,
    counts: [u64; 3],
    rates: [f64; 3],
}

impl Rates {
    /// Returns how many there were in a second. Whoever asks again at once gets the same.
    fn since_last(&self, counts: [u64; 3], at: Duration) -> [f64; 3] {
        const SHORTEST: Duration = Duration::from_millis(100);
        let mut last = self.0.lock().expect("a panic ends the process");
        let length = at.saturating_sub(last.at);
        if length >= SHORTEST {
            let before = last.counts;
            let rate = |k: usize| counts[k].saturating_sub(before[k]) as f64 / length.as_secs_f64();
            *last = Last {
                at,
                counts,
                rates: [rate(0), rate(1), rate(2)],
            };
        }
        last.rates
    }
}

impl Process {
    fn server(&self, up: Duration) -> Vec<String> {
        let seconds = up.as_secs();
        let file = self
            .config_file
            .as_ref()
            .map_or_else(String::new, |path| one_line(path));
        let executable =
            std::env::current_exe().map_or_else(|_| String::new(), |path| one_line(&path));
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let time = time.map_or(0, |since| since.as_micros());
        let pairs: [(&str, &dyn std::fmt::Display); 24] = [
            ("redis_version", &self.redis_version),
            ("corgi_version", &env!("CARGO_PKG_VERSION")),
            ("redis_git_sha1", &"00000000"),
            ("redis_git_dirty", &0),
            ("redis_build_id", &"0"),
            ("redis_mode", &"standalone"),
            ("os", &os()),
            ("arch_bits", &usize::BITS),
            ("monotonic_clock", &"POSIX clock_gettime"),
            ("multiplexing_api", &"epoll"),
            ("atomicvar_api", &"c11-builtin"),
            ("process_id", &std::process::id()),
            ("process_supervised", &"no"),
            ("run_id", &self.run_id),
            ("tcp_port", &self.port),
            ("server_time_usec", &time),
            ("uptime_in_seconds", &seconds),
            ("uptime_in_days", &(seconds / 86400)),
            ("hz", &self.hz),
            ("configured_hz", &self.hz),
            ("lru_clock", &0),
            ("executable", &executable),
            ("config_file", &file),
            ("io_threads_active", &1),
        ];
        lines(&pairs)
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

/// Returns the machine's memory from `/proc/meminfo` (proc_meminfo(5)).
fn system_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes << 10)
}

fn memory(status: &Status, system: u64, clients: usize, keys_max: u64) -> Vec<String> {
    // The allocator is not asked: what the process has from the system is what an operator must
    // provide.
    let percent = 100.0 * status.rss as f64 / status.rss_peak.max(1) as f64;
    lines(&[
        ("used_memory", &status.rss),
        ("used_memory_human", &human(status.rss)),
        ("used_memory_rss", &status.rss),
        ("used_memory_rss_human", &human(status.rss)),
        ("used_memory_peak", &status.rss_peak),
        ("used_memory_peak_human", &human(status.rss_peak)),
        ("used_memory_peak_perc", &format!("{percent:.2}%")),
        ("total_system_memory", &system),
        ("total_system_memory_human", &human(system)),
        ("used_memory_lua", &0),
        ("used_memory_scripts", &0),
        ("maxmemory", &keys_max),
        ("maxmemory_human", &human(keys_max)),
        ("maxmemory_policy", &"noeviction"),
        ("mem_fragmentation_ratio", &"1.00"),
        ("mem_fragmentation_bytes", &0),
        ("mem_clients_slaves", &0),
        ("mem_clients_normal", &clients),
        ("mem_cluster_links", &0),
        ("mem_allocator", &"libc"),
        ("active_defrag_running", &0),
        ("lazyfree_pending_objects", &0),
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

/// The kernel counts in hundredths of a second towards programs, on every architecture that this
/// builds for.
const TICKS_PER_SECOND: u64 = 100;

fn cpu() -> Vec<String> {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (user, system) = cpu_ticks(&stat).unwrap_or_default();
    lines(&[
        ("used_cpu_sys", &seconds(system)),
        ("used_cpu_user", &seconds(user)),
        ("used_cpu_sys_children", &seconds(0)),
        ("used_cpu_user_children", &seconds(0)),
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
            hz: 100,
            log_bytes: Arc::default(),
            config_file: Some(PathBuf::from("odd\r\nname.conf")),
        };
        let server = process.server(Duration::from_secs(90_000));
        let facts = Facts {
            server,
            ..Local::default().facts()
        };
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
    fn rates_are_taken_between_questions() {
        let rates = Rates::default();
        let seconds = Duration::from_secs;
        assert_eq!(rates.since_last([10, 0, 4], seconds(2)), [5.0, 0.0, 2.0]);
        assert_eq!(rates.since_last([999, 9, 9], seconds(2)), [5.0, 0.0, 2.0]);
        assert_eq!(rates.since_last([13, 0, 0], seconds(3)), [3.0, 0.0, 0.0]);
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
