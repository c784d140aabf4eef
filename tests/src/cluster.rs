//! Three nodes that form one cluster.

use crate::dump::{self, Logged};
use crate::{Network, Node, ports, wait};
use tempfile::TempDir;

/// Nodes that were given the same `initial-cluster`. Dropped, it takes processes and folders with it.
#[derive(Debug)]
pub struct Cluster {
    /// Node 1 first.
    pub nodes: Vec<Node>,
    temp: TempDir,
}

impl Cluster {
    /// Starts `count` nodes with one secret, and waits until each acknowledges a publish.
    ///
    /// # Panics
    /// If they do not in time.
    pub fn start(count: usize) -> Self {
        Self::start_with(count, &[])
    }

    /// As [`Cluster::start`], with `args` added to each command line.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    pub fn start_with(count: usize, args: &[&str]) -> Self {
        let mut cluster = Self::prepare(count, |_| {
            let secret = ["--cluster-secret", "a secret of the tests"];
            secret
                .iter()
                .chain(args)
                .map(|arg| (*arg).to_owned())
                .collect()
        });
        cluster.nodes.iter_mut().for_each(Node::spawn);
        cluster.wait_ready();
        cluster
    }

    /// Prepares `count` nodes without starting any; `args` gives what is added to the command line of each id.
    ///
    /// # Panics
    /// If the temporary folder cannot be written.
    pub fn prepare(count: usize, args: impl Fn(u64) -> Vec<String>) -> Self {
        let peers: Vec<u16> = (0..count).map(|_| ports::free()).collect();
        Self::with_doors(&peers, &peers, args)
    }

    /// Starts `count` nodes that know each other by doors of `network`, and returns these: node 1's first.
    ///
    /// # Panics
    /// As [`Cluster::start`].
    pub fn start_behind(network: &Network, count: usize) -> (Self, Vec<u16>) {
        let peers: Vec<u16> = (0..count).map(|_| ports::free()).collect();
        let doors: Vec<u16> = peers.iter().map(|port| network.door(*port)).collect();
        let mut cluster = Self::with_doors(&peers, &doors, |_| {
            ["--cluster-secret", "a secret of the tests"]
                .map(str::to_owned)
                .into()
        });
        cluster.nodes.iter_mut().for_each(Node::spawn);
        cluster.wait_ready();
        (cluster, doors)
    }

    fn with_doors(peers: &[u16], doors: &[u16], args: impl Fn(u64) -> Vec<String>) -> Self {
        let temp =
            TempDir::with_prefix("corgi-cluster-").expect("the temporary folder can be written");
        let members: Vec<String> = (1..)
            .zip(doors)
            .map(|(id, port): (u64, _)| format!("{id}=127.0.0.1:{port}"))
            .collect();
        let nodes = (1..)
            .zip(peers)
            .map(|(id, peer_port)| {
                let dir = temp.path().join(format!("n{id}"));
                std::fs::create_dir(&dir).expect("a new folder can be written to");
                let mut all = vec!["--initial-cluster".to_owned(), members.join(",")];
                all.extend(args(id));
                Node::new(id, ports::free(), *peer_port, &dir, all)
            })
            .collect();
        Self { nodes, temp }
    }

    /// Waits until every node acknowledges a publish.
    ///
    /// # Panics
    /// If one does not in time.
    pub fn wait_ready(&mut self) {
        self.nodes.iter_mut().for_each(Node::wait_ready);
    }

    /// Waits until exactly one running node says that it leads, and returns its position in [`Cluster::nodes`].
    ///
    /// # Panics
    /// If none does in time.
    pub fn leader(&mut self) -> usize {
        wait::until(wait::SOON, "one node leads", || {
            let leads: Vec<usize> = (0..self.nodes.len())
                .filter(|&at| self.nodes[at].runs() && self.nodes[at].leads())
                .collect();
            <[usize; 1]>::try_from(leads).ok().map(|[leader]| leader)
        })
    }

    /// Ends all nodes that run, gracefully, and returns what each one's log says was published to `channel`.
    ///
    /// # Panics
    /// If a node does not end cleanly, or its log cannot be read.
    pub fn stop_and_dump(&mut self, channel: &str) -> Vec<Vec<Logged>> {
        for node in &mut self.nodes {
            if node.runs() {
                let status = node.terminate();
                assert!(status.success(), "node {} ended with {status}", node.id);
            }
        }
        self.nodes
            .iter()
            .map(|node| dump::publishes(node.dir(), channel))
            .collect()
    }

    /// A folder of the cluster's own, for tests that need one.
    pub fn folder(&self) -> &std::path::Path {
        self.temp.path()
    }
}
