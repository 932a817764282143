//! Spec: what a run was asked to do, apart from where.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How requests are paced.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// Arrivals come at their rate, whatever the server does, and their latency counts from when they were meant to start.
    Open {
        /// Arrivals a second, over all connections.
        rate: f64,
        /// How they are spaced.
        arrivals: Arrivals,
    },
    /// Every connection keeps its depth of requests in flight.
    Closed,
}

/// Spacing of arrivals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// As independent clients come: exponential gaps.
    Poisson,
    /// Equal gaps.
    Constant,
}

/// What is asked.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// getData of a random znode.
    Read,
    /// setData of a random znode.
    Set,
    /// create of new znodes.
    Create,
    /// delete of znodes that were created before.
    Delete,
    /// exists of a random znode.
    Exists,
    /// getChildren of the parent of all.
    List,
    /// Reads and sets.
    Mixed {
        /// Part of reads, 0 to 1.
        read_ratio: f64,
    },
    /// Transactions of several sets.
    Multi {
        /// Sets in each.
        size: usize,
    },
    /// Several reads in one request.
    MultiRead {
        /// Reads in each.
        size: usize,
    },
    /// Creates an ephemeral sequential znode, then deletes it.
    Churn,
    /// The lock recipe: an ephemeral sequential znode, the list of its siblings, a watch on the one before, and release.
    Lock,
    /// Opens sessions and closes them.
    SessionChurn,
    /// All connections open their sessions at once, again and again.
    ConnectStorm,
    /// One writer, and watchers that wait for its change.
    FanOut {
        /// Watchers, each with a session.
        watchers: usize,
    },
    /// Connections are lost and come back with their watches.
    Reconnect {
        /// Watches of each.
        watches: usize,
    },
    /// What a keeper-bench file says.
    KeeperBench {
        /// The file.
        file: PathBuf,
    },
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("read"),
            Self::Set => f.write_str("set"),
            Self::Create => f.write_str("create"),
            Self::Delete => f.write_str("delete"),
            Self::Exists => f.write_str("exists"),
            Self::List => f.write_str("list"),
            Self::Mixed { read_ratio } => write!(f, "mixed, {:.0} % reads", read_ratio * 100.0),
            Self::Multi { size } => write!(f, "multi of {size} sets"),
            Self::MultiRead { size } => write!(f, "multi of {size} reads"),
            Self::Churn => f.write_str("ephemeral sequential churn"),
            Self::Lock => f.write_str("lock recipe"),
            Self::SessionChurn => f.write_str("session churn"),
            Self::ConnectStorm => f.write_str("connect storm"),
            Self::FanOut { watchers } => write!(f, "watch fan-out to {watchers}"),
            Self::Reconnect { watches } => write!(f, "reconnect with {watches} watches each"),
            Self::KeeperBench { file } => write!(f, "keeper-bench {}", file.display()),
        }
    }
}

/// What a run does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// What is asked.
    pub workload: Workload,
    /// How it is paced.
    pub pace: Pace,
    /// Connections, each with its session.
    pub connections: usize,
    /// Requests in flight on one connection at most (the depth of the closed loop).
    pub in_flight: usize,
    /// Bytes of data in each znode.
    pub value_size: usize,
    /// Znodes worked on.
    pub nodes: usize,
    /// Seconds measured.
    pub seconds: f64,
    /// Seconds before the measurement.
    pub warmup: f64,
    /// Seed of the choice of znodes and of the arrivals.
    pub seed: u64,
    /// Generator threads.
    pub threads: usize,
    /// Timeout asked for each session, ms.
    pub session_timeout_ms: i32,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            workload: Workload::Read,
            pace: Pace::Closed,
            connections: 50,
            in_flight: 32,
            value_size: 100,
            nodes: 1000,
            seconds: 10.0,
            warmup: 2.0,
            seed: 1,
            threads: 1,
            session_timeout_ms: 30_000,
        }
    }
}

impl Spec {
    /// The offered rate, arrivals a second, where there is one.
    #[must_use]
    pub const fn rate(&self) -> Option<f64> {
        match self.pace {
            Pace::Open { rate, .. } => Some(rate),
            Pace::Closed => None,
        }
    }
}
