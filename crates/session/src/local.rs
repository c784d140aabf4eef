//! What a session asks of the process around its node: who else is connected, how the server is configured, what it
//! measured. None of it is agreed with other nodes, so the node never sees it.
//!
//! A local ask is a barrier. It is answered by [`crate::Told::Reply`] to the same session.

use bytes::Bytes;
use corgi_base::Protocol;

/// One question to the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalAsk {
    /// About what was denied.
    AclLog(AclLogAsk),
    /// About the clients of this process.
    Clients(ClientsAsk),
    /// `ACL LOAD`: the process reads the file, and asks the node to take on its users.
    LoadUsers,
    /// `ACL SAVE`.
    SaveUsers,
    /// About the configuration of this process.
    Config(ConfigAsk),
    /// `DEBUG …`: the words behind it.
    Debug(Vec<Bytes>),
    /// `LASTSAVE`.
    LastSave,
    /// About what took long.
    Latency(LatencyAsk),
    /// About memory.
    Memory(MemoryAsk),
    /// `SAVE`, `BGSAVE`, `BGREWRITEAOF`: to be answered with this when noted.
    Save(&'static str),
    /// `SHUTDOWN`; not answered.
    Shutdown,
    /// About slow commands.
    SlowLog(SlowLogAsk),
    /// `TIME`.
    Time,
}

/// `ACL LOG …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclLogAsk {
    /// The last so many.
    Get(u64),
    /// Forget them.
    Reset,
}

/// `CONFIG …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigAsk {
    /// The options whose names match one of the patterns.
    Get(Vec<Bytes>),
    /// Forget what was counted.
    ResetStat,
    /// Write what was set to the file.
    Rewrite,
    /// Set all of these, or none.
    Set(Vec<(Bytes, Bytes)>),
}

/// `LATENCY …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LatencyAsk {
    /// For people.
    Doctor,
    /// One event, for people.
    Graph(Bytes),
    /// How long commands took; all if none is named.
    Histogram(Vec<Bytes>),
    /// What took how long when, of one event.
    History(Bytes),
    /// The last of each event.
    Latest,
    /// Forget events; all if none is named.
    Reset(Vec<Bytes>),
}

/// `MEMORY …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryAsk {
    /// For people.
    Doctor,
    /// What takes how much.
    Stats,
}

/// `SLOWLOG …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowLogAsk {
    /// The last so many; all without a number.
    Get(Option<u64>),
    /// How many there are.
    Len,
    /// Forget them.
    Reset,
}

/// `CLIENT …`, as far as it concerns other clients than the one that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientsAsk {
    /// `CLIENT INFO`: the line of the one that asks.
    Info,
    /// `CLIENT KILL addr:port`: one client, or an error.
    KillAddr(Bytes),
    /// `CLIENT KILL` with filters: how many were closed.
    Kill(ClientFilter),
    /// `CLIENT LIST`.
    List(ClientFilter),
    /// `CLIENT PAUSE`: for so many milliseconds.
    Pause {
        /// How long.
        ms: u64,
        /// What waits.
        pause: Pause,
    },
    /// `CLIENT UNPAUSE`.
    Unpause,
}

/// Which commands of clients wait (`CLIENT PAUSE`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pause {
    /// None.
    #[default]
    No,
    /// Those that write.
    Writes,
    /// All.
    All,
}

/// Which clients are meant. A client must pass every test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// The tests.
    pub tests: Vec<ClientTest>,
    /// Whether the one that asks is left out; `None` if it was not said.
    pub skip_me: Option<bool>,
}

/// One test of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTest {
    /// The client must not be so.
    pub not: bool,
    /// How it must be.
    pub is: ClientIs,
}

/// What can be asked of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientIs {
    /// It came from this address.
    Addr(Bytes),
    /// It is connected for at least so many seconds.
    AgeMin(u64),
    /// It chose this database.
    Database(u32),
    /// It has all of these flags.
    Flags(Bytes),
    /// It has one of these numbers.
    Id(Vec<u64>),
    /// It has said nothing for at least so many seconds.
    IdleMin(u64),
    /// It came from this IP address.
    Ip(Bytes),
    /// It connected to this address.
    LocalAddr(Bytes),
    /// It has this library name.
    LibName(Bytes),
    /// It has this library version.
    LibVer(Bytes),
    /// It has this name.
    Name(Bytes),
    /// It is of this kind.
    Kind(ClientKind),
    /// It is this user.
    User(Bytes),
}

/// Redis' kinds of clients. Nodes are no clients here, so that nobody is a master or a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Sends commands.
    Normal,
    /// Has subscriptions.
    Pubsub,
    /// Nobody.
    Master,
    /// Nobody.
    Replica,
}

/// What a session knows of its client, for `CLIENT LIST`.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// From `CLIENT SETNAME` or `HELLO`.
    pub name: Option<Bytes>,
    /// From `CLIENT SETINFO`.
    pub lib_name: Option<Bytes>,
    /// From `CLIENT SETINFO`.
    pub lib_ver: Option<Bytes>,
    /// Who it is.
    pub user: Bytes,
    /// It may run commands: it has shown a password, or needs none.
    pub authenticated: bool,
    /// From `SELECT`.
    pub database: u32,
    /// From `HELLO`.
    pub protocol: Protocol,
    /// How many channels it listens to.
    pub channels: u64,
    /// How many patterns it listens to.
    pub patterns: u64,
    /// How many shard channels it listens to.
    pub shard_channels: u64,
    /// How many commands wait for `EXEC`; `None` without `MULTI`.
    pub multi: Option<usize>,
    /// How many bytes they take.
    pub multi_bytes: usize,
    /// How many keys are watched.
    pub watched: usize,
    /// The last command that it sent, subcommand included; `NULL` before the first.
    pub command: &'static str,
    /// How many commands it sent.
    pub commands: u64,
    /// `MONITOR`.
    pub monitor: bool,
    /// A command waits for the end of a pause.
    pub paused: bool,
    /// A command waits for entries of a stream.
    pub blocked: bool,
    /// `CLIENT NO-EVICT ON`.
    pub no_evict: bool,
    /// `CLIENT NO-TOUCH ON`.
    pub no_touch: bool,
    /// `CLIENT CAPA redirect`.
    pub may_redirect: bool,
    /// Bytes of replies that wait to be written.
    pub output: usize,
}
