//! `INFO`.

/// What only the process around the node knows of itself, for `INFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whole lines for the section `Server`, in order: `redis_version:7.4.0` and so on, without line ends.
    pub server: Vec<String>,
    /// Whole lines for the section `Clients`.
    pub clients: Vec<String>,
    /// Whole lines for the section `Memory`.
    pub memory: Vec<String>,
    /// Whole lines for the section `Persistence`.
    pub persistence: Vec<String>,
    /// Whole lines for the section `Stats`; the node adds its own.
    pub stats: Vec<String>,
    /// Whole lines for the section `CPU`.
    pub cpu: Vec<String>,
}
