//! Waiting for a condition, with a deadline that names what did not come.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what should come soon. Generous, because continuous integration has two cores and other
/// tests beside it; a condition that holds is seen at once, whatever this is.
pub const SOON: Duration = Duration::from_secs(30);

/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(10);

/// Asks `probe` until it gives a value, and returns that.
///
/// # Panics
/// When `within` has passed; the text names `what`.
pub fn until<T>(within: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(
            start.elapsed() < within,
            "waited {within:?} in vain until {what}"
        );
        thread::sleep(POLL);
    }
}

/// Asks `probe` until it says yes.
///
/// # Panics
/// As [`until`].
pub fn until_true(within: Duration, what: &str, mut probe: impl FnMut() -> bool) {
    until(within, what, || probe().then_some(()));
}

/// Lets time pass, to be somewhere in the middle of what another process does. Never to wait for something to come.
pub fn pass(time: Duration) {
    thread::sleep(time);
}
