//! Time as an argument.

/// The time at which an input arrived. Pure code gets it from its caller and never reads a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never goes back; its zero means nothing. Timeouts use only this.
    pub mono_ms: u64,
    /// Milliseconds since 1970 as this machine believes. Enters the log only through the leader's stamps.
    pub wall_ms: u64,
}
