//! What a process has cost: processor time and memory, as the kernel tells it in /proc (Linux, proc(5)).

use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// The kernel's unit of processor time in /proc/PID/stat, the same on every Linux that matters here.
const TICKS_PER_SECOND: u32 = 100;

/// Returns the processor time of all threads of a process since it began, in user and kernel mode.
///
/// # Errors
/// If there is no such process.
pub fn cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    ticks(&stat)
        .map(|ticks| Duration::from_secs(ticks) / TICKS_PER_SECOND)
        .with_context(|| format!("{path} does not have the times"))
}

/// Returns utime + stime.
fn ticks(stat: &str) -> Option<u64> {
    // The name of the command, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

/// Returns the processor time of this process.
///
/// # Errors
/// If /proc is not there.
pub fn own_cpu() -> Result<Duration> {
    cpu(std::process::id())
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident.
    pub rss: u64,
    /// Resident, with what is shared divided among those who share it.
    pub pss: u64,
}

/// Returns the memory of a process.
///
/// # Errors
/// If there is no such process.
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let field = |name| kilobytes(&text, name).with_context(|| format!("{path} has no {name}"));
    Ok(Memory {
        rss: field("Rss:")?,
        pss: field("Pss:")?,
    })
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("12 (a"), None);
    }

    #[test]
    fn memory_is_found_by_its_name() {
        let text = "Rss:                1000 kB\nPss:                 750 kB\nPss_Dirty:  1 kB\n";
        assert_eq!(kilobytes(text, "Pss:"), Some(750 * 1024));
        assert_eq!(kilobytes(text, "Swap:"), None);
    }

    #[test]
    fn this_process_has_memory() {
        let memory = memory(std::process::id()).expect("Linux tells");
        assert!(memory.pss > 0 && memory.pss <= memory.rss);
        own_cpu().expect("Linux tells");
    }
}
