//! Addresses that have shown wrong passwords, for `auth-failures-limit`.
//!
//! An address that passes the limit is not talked to until its minute is over: the connection that passes it ends, and
//! new ones are turned away. Whoever has shown a good password before is not disturbed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For so long wrong passwords count together.
const PERIOD: Duration = Duration::from_secs(60);
/// Beyond so many addresses those whose time is over are forgotten, and if there are none, all.
const ADDRS_MAX: usize = 10_000;

/// How often each address has failed.
#[derive(Debug, Default)]
pub(super) struct Guesses(Mutex<BTreeMap<IpAddr, (Instant, u64)>>);

impl Guesses {
    /// Counts wrong passwords that came from an address.
    pub(super) fn count(&self, ip: IpAddr, times: u64, now: Instant) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ip = of_one_owner(ip);
        if counts.len() >= ADDRS_MAX && !counts.contains_key(&ip) {
            counts.retain(|_, (since, _)| now.duration_since(*since) < PERIOD);
            if counts.len() >= ADDRS_MAX {
                counts.clear();
            }
        }
        let (since, count) = counts.entry(ip).or_insert((now, 0));
        if now.duration_since(*since) >= PERIOD {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(times);
    }

    /// Whether an address has shown more than `max` within its minute; 0 is no limit.
    pub(super) fn too_many(&self, ip: IpAddr, max: u64, now: Instant) -> bool {
        if max == 0 {
            return false;
        }
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let guessed =
            |(since, count): &(Instant, u64)| *count > max && now.duration_since(*since) < PERIOD;
        counts.get(&of_one_owner(ip)).is_some_and(guessed)
    }
}

/// Whoever has one address of IPv6 has 64 bits of them.
fn of_one_owner(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_is_turned_away_until_its_minute_is_over() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        guesses.count(ip("10.0.0.1"), 3, at(0));
        assert!(
            !guesses.too_many(ip("10.0.0.1"), 3, at(1)),
            "as many as may be"
        );
        guesses.count(ip("10.0.0.1"), 1, at(30));
        assert!(guesses.too_many(ip("10.0.0.1"), 3, at(59)));
        assert!(
            guesses.too_many(ip("::ffff:10.0.0.1"), 3, at(59)),
            "the same one"
        );
        assert!(!guesses.too_many(ip("10.0.0.2"), 3, at(59)), "another one");
        assert!(!guesses.too_many(ip("10.0.0.1"), 0, at(59)), "no limit");
        assert!(!guesses.too_many(ip("10.0.0.1"), 3, at(60)));
        guesses.count(ip("10.0.0.1"), 1, at(61));
        assert!(!guesses.too_many(ip("10.0.0.1"), 3, at(61)), "a new minute");
    }

    #[test]
    fn neighbours_of_ipv6_are_one_and_the_crowd_is_bounded() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        guesses.count(ip("2001:db8::1"), 9, now);
        assert!(guesses.too_many(ip("2001:db8::2"), 3, now));
        assert!(!guesses.too_many(ip("2001:db8:0:1::1"), 3, now));
        for k in 0..=20_000_u32 {
            guesses.count(std::net::Ipv4Addr::from_bits(k).into(), 1, now);
        }
        let kept = guesses.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(kept.len() <= ADDRS_MAX);
    }
}
