//! Load: the options that say what is asked of servers, and how fast.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::bench::keeper_bench::settling::Given;
use crate::bench::spec::{Arrivals, Pace, Spec, Workload};

/// Arrivals a second where nothing is said: any server of this kind carries them on any machine, so what is measured is how it
/// answers and not how it drowns.
const RATE: f64 = 1000.0;

/// Znodes where nothing is said: more than a cache line's worth, made in no time.
const NODES: usize = 1000;

/// Znodes of a closed loop of deletes where nothing is said: some seconds of work for a fast server.
const NODES_TO_DELETE: usize = 1_000_000;

/// What each workload does, for the help of every command that takes one.
pub const WORKLOADS: &str = "\
Workloads:
  read, set, exists     of a random one of --nodes znodes
  list                  the children of the parent of all --nodes znodes
  mixed                 reads and sets, --read-ratio of them reads
  create                new znodes, as children of the --nodes znodes in turn
  delete                of znodes made before: as many as arrive, or --nodes of them in a closed loop,
                        which is over when they are gone (default 1000000 there)
  multi, multi-read     --multi-size sets, or reads, in one request
  churn                 creates an ephemeral sequential znode, deletes it
  lock                  the lock recipe
  session-churn         opens sessions and closes them
  connect-storm         all connections open their sessions at once, again and again
  fan-out               one writer, --watchers that wait for its change
  reconnect             connections are lost and come back with --watches watches each
  keeper-bench          what --config says, a YAML file of ClickHouse's keeper-bench: in a closed loop, as
                        there, or at --rate; its hosts, sessions, times and limits hold unless they are
                        said here; docs/bench.md tells what is different";

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Kind {
    Read,
    Set,
    Create,
    Delete,
    Exists,
    List,
    Mixed,
    Multi,
    MultiRead,
    Churn,
    Lock,
    SessionChurn,
    ConnectStorm,
    FanOut,
    Reconnect,
    KeeperBench,
}

/// What is asked, and how fast.
#[derive(Args, Clone, Debug)]
pub struct Load {
    /// What is asked; --help lists what each does.
    #[arg(long, value_enum, default_value = "read", hide_possible_values = false)]
    workload: Kind,

    /// Part of reads in the mixed workload, 0 to 1.
    #[arg(long, value_name = "PART", default_value_t = 0.8, value_parser = ratio)]
    read_ratio: f64,

    /// Members of a multi.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    multi_size: u16,

    /// Watchers of the fan-out, each with a session.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    watchers: u32,

    /// Watches of each connection that comes back.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    watches: u32,

    /// A keeper-bench file. What it says of servers, sessions and times holds unless it is said here.
    #[arg(long, value_name = "FILE", required_if_eq("workload", "keeper-bench"))]
    config: Option<PathBuf>,

    /// Requests a second over all connections, whether the server keeps up or not.
    ///
    /// The default, 1000, is what any server of this kind carries: it shows how the server answers, not
    /// how it drowns.
    #[arg(verbatim_doc_comment, long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// How arrivals are spaced: as independent clients come, or evenly.
    #[arg(long, value_enum, default_value = "poisson")]
    arrivals: Arrivals,

    /// Ask again as soon as an answer is there, and not at a rate.
    #[arg(long, conflicts_with_all = ["rate", "arrivals"])]
    closed: bool,

    /// Connections, each with its session [default: 50]. Servers let 60 of one address in unless their maxClientCnxns says more.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: Option<u32>,

    /// Requests in flight on one connection: at most in the open loop, always in the closed one [default: 32].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    in_flight: Option<u32>,

    /// Bytes of data in each znode.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    value_size: u32,

    /// Znodes worked on; 1000 where nothing is said.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    nodes: Option<u32>,

    /// Seconds measured [default: 10].
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<f64>,

    /// Seconds of the same load before [default: 2].
    #[arg(long, value_name = "S", value_parser = warmup)]
    warmup: Option<f64>,

    /// Of the choice of znodes and of the arrivals: the same seed, the same requests at the same times [default: 1].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Generator threads; 0 is as many as are sensible: one drives over a million requests a second.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=256))]
    threads: u16,

    /// Timeout asked for each session [default: 30000].
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(i32).range(1000..))]
    session_timeout_ms: Option<i32>,
}

fn number(text: &str, what: &str, is_good: impl Fn(f64) -> bool) -> Result<f64, String> {
    text.parse().ok().filter(|number| is_good(*number)).ok_or_else(|| format!("expected {what}"))
}

fn ratio(text: &str) -> Result<f64, String> {
    number(text, "a part, 0 to 1", |ratio| (0.0..=1.0).contains(&ratio))
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, "requests a second, above 0 and up to 100000000; --closed is without a rate", |rate| rate > 0.0 && rate <= 1e8)
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    number(text, "seconds, above 0 and up to a week", |seconds| seconds > 0.0 && seconds <= 7.0 * 86_400.0)
}

fn warmup(text: &str) -> Result<f64, String> {
    number(text, "seconds, 0 to a day", |seconds| (0.0..=86_400.0).contains(&seconds))
}

impl Load {
    /// What is to be done.
    #[must_use]
    pub fn spec(&self) -> Spec {
        let workload = match self.workload {
            Kind::Read => Workload::Read,
            Kind::Set => Workload::Set,
            Kind::Create => Workload::Create,
            Kind::Delete => Workload::Delete,
            Kind::Exists => Workload::Exists,
            Kind::List => Workload::List,
            Kind::Mixed => Workload::Mixed { read_ratio: self.read_ratio },
            Kind::Multi => Workload::Multi { size: self.multi_size.into() },
            Kind::MultiRead => Workload::MultiRead { size: self.multi_size.into() },
            Kind::Churn => Workload::Churn,
            Kind::Lock => Workload::Lock,
            Kind::SessionChurn => Workload::SessionChurn,
            Kind::ConnectStorm => Workload::ConnectStorm,
            Kind::FanOut => Workload::FanOut { watchers: self.watchers as usize },
            Kind::Reconnect => Workload::Reconnect { watches: self.watches as usize },
            Kind::KeeperBench => Workload::KeeperBench { file: self.config.clone().unwrap_or_default() },
        };
        let open = Pace::Open { rate: self.rate.unwrap_or(RATE), arrivals: self.arrivals };
        // keeper-bench is a closed loop; its files ask for one.
        let is_closed = self.closed || self.workload == Kind::KeeperBench && self.rate.is_none();
        let unsaid = Spec::default();
        let nodes = if self.closed && workload == Workload::Delete { NODES_TO_DELETE } else { NODES };
        Spec {
            workload,
            pace: if is_closed { Pace::Closed } else { open },
            connections: self.connections.map_or(unsaid.connections, |count| count as usize),
            in_flight: self.in_flight.map_or(unsaid.in_flight, |count| count as usize),
            value_size: self.value_size as usize,
            nodes: self.nodes.map_or(nodes, |nodes| nodes as usize),
            seconds: self.seconds.unwrap_or(unsaid.seconds),
            warmup: self.warmup.unwrap_or(unsaid.warmup),
            seed: self.seed.unwrap_or(unsaid.seed),
            threads: self.threads.into(),
            session_timeout_ms: self.session_timeout_ms.unwrap_or(unsaid.session_timeout_ms),
        }
    }

    /// What a keeper-bench file has no say in. Whether servers were named is the caller's to know.
    pub const fn given(&self, servers: bool) -> Given {
        Given {
            servers,
            connections: self.connections.is_some(),
            in_flight: self.in_flight.is_some(),
            seconds: self.seconds.is_some(),
            warmup: self.warmup.is_some(),
            seed: self.seed.is_some(),
            session_timeout_ms: self.session_timeout_ms.is_some(),
        }
    }
}
