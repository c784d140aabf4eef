//! Whether something is worth a line of the log that anybody who connects can cause again and again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same trouble with the same address is logged again after so long.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Beyond so many addresses with trouble the log forgets them and may repeat itself.
const LOG_ADDRS_MAX: usize = 256;

/// What was logged lately.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<BTreeMap<(IpAddr, &'static str), Instant>>);

impl Seldom {
    /// Whether `what` should be logged now of `ip`; if so, it counts as logged.
    pub(crate) fn should_log(&self, ip: IpAddr, what: &'static str) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logged
            .get(&(ip, what))
            .is_some_and(|at| at.elapsed() < LOG_INTERVAL)
        {
            return false;
        }
        if logged.len() >= LOG_ADDRS_MAX {
            logged.clear();
        }
        logged.insert((ip, what), Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn an_address_gets_one_line_a_minute_for_each_kind_of_trouble() {
        let seldom = Seldom::default();
        let ip = |k| IpAddr::from(Ipv4Addr::new(127, 0, k, 1));
        assert!(seldom.should_log(ip(0), "one"));
        assert!(!seldom.should_log(ip(0), "one"));
        assert!(seldom.should_log(ip(0), "two") && seldom.should_log(ip(1), "one"));
        for k in 0..=255 {
            seldom.should_log(ip(k), "many");
        }
        let kept = seldom.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(kept.len() <= LOG_ADDRS_MAX);
    }
}
