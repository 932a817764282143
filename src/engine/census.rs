//! The census: what admin words tell, gathered from all shards and the sequencer.

use core::net::SocketAddr;

use super::stages::Stages;
use crate::ground::ids::{SessionId, Zxid};
use crate::ground::time::Millis;
use crate::zab::{Learner, Role};

/// A four-letter word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Word {
    /// Are you there.
    Ruok,
    /// Server summary.
    Srvr,
    /// Server summary and connections.
    Stat,
    /// Metrics.
    Mntr,
    /// Configuration.
    Conf,
    /// Connections in full.
    Cons,
    /// Whether the server is read-only.
    Isro,
    /// Environment.
    Envi,
    /// Sessions and their ephemerals.
    Dump,
    /// Watches in numbers.
    Wchs,
    /// Watches by session.
    Wchc,
    /// Watches by path.
    Wchp,
    /// Reset the connections' statistics.
    Crst,
    /// Reset the server's statistics.
    Srst,
    /// Sizes of the directories.
    Dirs,
    /// The mask of what is traced.
    Gtmk,
    /// Sets it.
    Stmk,
    /// Digests of the tree as it was lately.
    Hash,
    /// Make an image now (ClickHouse Keeper's word).
    Csnp,
    /// Where log and images stand (ClickHouse Keeper's word).
    Lgif,
    /// Read the configuration again (a word of ours).
    Rlod,
}

impl Word {
    /// All of them, with their four letters.
    pub const ALL: [(&'static str, Self); 21] = [
        ("ruok", Self::Ruok),
        ("srvr", Self::Srvr),
        ("stat", Self::Stat),
        ("mntr", Self::Mntr),
        ("conf", Self::Conf),
        ("cons", Self::Cons),
        ("isro", Self::Isro),
        ("envi", Self::Envi),
        ("dump", Self::Dump),
        ("wchs", Self::Wchs),
        ("wchc", Self::Wchc),
        ("wchp", Self::Wchp),
        ("crst", Self::Crst),
        ("srst", Self::Srst),
        ("dirs", Self::Dirs),
        ("gtmk", Self::Gtmk),
        ("stmk", Self::Stmk),
        ("hash", Self::Hash),
        ("csnp", Self::Csnp),
        ("lgif", Self::Lgif),
        ("rlod", Self::Rlod),
    ];

    /// The word these four bytes spell.
    #[must_use]
    pub fn parse(bytes: [u8; 4]) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| name.as_bytes() == bytes).map(|&(_, word)| word)
    }

    /// Its four letters.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, word)| *word == self).map_or("", |(name, _)| name)
    }

    /// Whether it is answered from what every shard knows by itself.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Ruok | Self::Conf | Self::Envi | Self::Gtmk | Self::Stmk | Self::Rlod)
    }
}

/// Latency of requests in ms, as ZooKeeper counts it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latency {
    /// Smallest; [`u64::MAX`] before the first request.
    pub min: u64,
    /// Largest.
    pub max: u64,
    /// Sum, for the average.
    pub total: u64,
    /// Requests counted.
    pub count: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { min: u64::MAX, max: 0, total: 0, count: 0 }
    }
}

impl Latency {
    /// Counts one request.
    pub fn record(&mut self, ms: u64) {
        self.min = self.min.min(ms);
        self.max = self.max.max(ms);
        self.total += ms;
        self.count += 1;
    }

    /// Adds what another counted.
    pub fn merge(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.total += other.total;
        self.count += other.count;
    }

    /// Smallest, 0 before the first request.
    #[must_use]
    pub const fn min_or_zero(&self) -> u64 {
        if self.count == 0 { 0 } else { self.min }
    }

    /// Average, 0 before the first request.
    #[must_use]
    pub fn average(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.total as f64 / self.count as f64 }
    }
}

/// One connection, for `cons` and `stat`.
#[derive(Clone, Debug)]
pub struct ConnCensus {
    /// The client's address.
    pub peer: SocketAddr,
    /// Its session; none while it has none.
    pub session: Option<SessionId>,
    /// Requests that wait for their answer.
    pub queued: u64,
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Last operation, four letters.
    pub last_op: &'static str,
    /// When the connection was made, ms since 1970.
    pub established: i64,
    /// Session timeout, ms.
    pub timeout_ms: u32,
    /// xid of the last request.
    pub last_xid: Option<i32>,
    /// zxid of the last reply.
    pub last_zxid: Zxid,
    /// When the last reply was made, ms of the monotonic clock; 0 before the first.
    pub last_response: i64,
    /// Latency of the last request, ms.
    pub last_latency: u64,
    /// Latencies, ms.
    pub latency: Latency,
    /// Whether the socket is being read (interest of ZooKeeper's selector).
    pub reading: bool,
    /// Whether output waits for the socket.
    pub writing: bool,
}

/// Counters of one shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Connections there are.
    pub connections: u64,
    /// Requests that wait for their answer.
    pub outstanding: u64,
    /// Latencies of all requests, ms.
    pub latency: Latency,
    /// Connections dropped by the server.
    pub dropped: u64,
    /// Failed authentications.
    pub auth_failed: u64,
    /// Requests not done because they were held back too long.
    pub throttled: u64,
    /// Connections ended for one large request too many.
    pub large_rejected: u64,
    /// Bytes of the last, smallest and largest reply; -1 before the first.
    pub response_last: i64,
    /// See `response_last`.
    pub response_min: i64,
    /// See `response_last`.
    pub response_max: i64,
}

/// What one shard knows.
#[derive(Clone, Debug, Default)]
pub struct ShardCensus {
    /// Its counters.
    pub counters: Counters,
    /// Its connections, for the words that list them.
    pub connections: Vec<ConnCensus>,
    /// Watchers, paths and watches of the data table (`wchs` counts paths within a shard).
    pub watchers: u64,
    /// Distinct paths watched for data, sorted; filled for `wchs`, `wchc` and `wchp`, so that shards can be joined.
    pub data_watches: Vec<(String, Vec<SessionId>)>,
    /// Data and child watches.
    pub watches_total: u64,
    /// Where the time of writes goes, for `mntr`.
    pub stages: Option<Box<Stages>>,
    /// Digests of the tree at some of the last transactions, for `hash`. All shards have the same, as far as they are.
    pub digests: Vec<(Zxid, u64)>,
}

/// How group commit behaves, and by which estimates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlushCensus {
    /// A controller moves the knobs.
    pub adapts: bool,
    /// Flushes in flight at most, now.
    pub flights: u64,
    /// Linger now, us.
    pub linger_us: u64,
    /// Mean time of the last flushes, us: until a batch and all before it are durable.
    pub flush_us: u64,
    /// Transactions a second when there were last some.
    pub arrivals: u64,
    /// Times that the controller went over to another setting. Trials are not counted.
    pub decisions: u64,
}

/// What the sequencer knows.
#[derive(Clone, Debug, Default)]
pub struct LedgerCensus {
    /// Last delivered transaction.
    pub zxid: Zxid,
    /// Znodes, as ZooKeeper counts them (its map has the root twice).
    pub node_count: u64,
    /// Ephemeral znodes.
    pub ephemerals: u64,
    /// Bytes of paths and data.
    pub data_size: u64,
    /// Sessions that every server knows.
    pub sessions: u64,
    /// The chance that a session may not begin, millionths; 0 where that is not limited.
    pub refusal_chance: u32,
    /// Sessions that might not begin.
    pub throttled: u64,
    /// Sessions that this server alone knows; none where it keeps no such.
    pub local_sessions: Option<u64>,
    /// Sessions that every server knows by the moment they expire, for `dump` of the server that lets them.
    pub buckets: Vec<(Millis, Vec<SessionId>)>,
    /// The same with their time-outs, ms, for `dump` of a learner.
    pub timeouts: Option<Vec<(SessionId, i32)>>,
    /// Local sessions by the moment they expire, for `dump`.
    pub local_buckets: Vec<(Millis, Vec<SessionId>)>,
    /// Ephemerals by session, for `dump`.
    pub ephemeral_paths: Vec<(SessionId, Vec<String>)>,
    /// Bytes in the log's segments so far.
    pub log_bytes: u64,
    /// Flushes so far.
    pub flushes: u64,
    /// How group commit behaves.
    pub flush: FlushCensus,
    /// Transactions so far.
    pub transactions: u64,
    /// Last transaction that is durable in the log.
    pub logged: Zxid,
    /// Where the time of writes goes, for `mntr`.
    pub stages: Option<Box<Stages>>,
    /// What the archivist has told.
    pub archive: ArchiveCensus,
    /// The server's part in its ensemble; none for a server alone.
    pub standing: Option<Standing>,
}

/// A server's part in its ensemble.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// What it is.
    pub role: Role,
    /// It serves reads alone, as it knows of no leader.
    pub is_read_only: bool,
    /// It may have forgotten something that it acknowledged, and has no vote until it has learnt it again.
    pub is_impaired: bool,
    /// The newest epoch promised, and the newest joined.
    pub promise: (u32, u32),
    /// End of what it has issued or received.
    pub proposed: Zxid,
    /// A leader's learners.
    pub learners: Vec<Learner>,
    /// Servers with a vote.
    pub voters: usize,
    /// Sizes of the transactions that it has proposed.
    pub proposals: ProposalSizes,
}

/// Sizes of a leader's proposals, bytes; -1 before the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProposalSizes {
    /// Of the last one.
    pub last: i64,
    /// Of the smallest.
    pub min: i64,
    /// Of the largest.
    pub max: i64,
}

impl Default for ProposalSizes {
    fn default() -> Self {
        Self { last: -1, min: -1, max: -1 }
    }
}

impl ProposalSizes {
    /// Counts one.
    pub fn note(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.last = bytes;
        self.min = if self.min < 0 { bytes } else { self.min.min(bytes) };
        self.max = self.max.max(bytes);
    }
}

/// What the archivist tells of its images. Figures of an image are those of the newest one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ArchiveCensus {
    /// The newest image's zxid, zero where there is none. What the server was started from counts.
    pub archived: Zxid,
    /// Digest of its tree; of one made before the start, 0.
    pub digest: u64,
    /// Bytes of its file; of one made before the start, 0.
    pub bytes: u64,
    /// Znodes and sessions in it; of one made before the start, 0.
    pub items: u64,
    /// When it was finished, ms since 1970; of one made before the start, 0.
    pub finished: i64,
    /// How long images took from their first chunk to their name, ms.
    pub took: Latency,
    /// Images that could not be written since the start.
    pub errors: u64,
    /// Images given up since the start because too much waited for them.
    pub abandoned: u64,
    /// Znode and session items of the image being written that are done; none while none is written.
    pub under_way: Option<u64>,
}

/// The whole server.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// One a shard.
    pub shards: Vec<ShardCensus>,
    /// The sequencer's part.
    pub ledger: LedgerCensus,
    /// Monotonic clock when it was taken.
    pub mono: Millis,
    /// Wall clock when it was taken, ms since 1970.
    pub wall: i64,
    /// When the server began to serve, on the monotonic clock.
    pub since: Millis,
}
