//! Settings: the configuration in effect, every default filled in and every unit in its name or its comment.

use super::ensemble::Ensemble;
use super::throttles::Throttles;
use crate::auth::SaslConfig;
use crate::engine::sequencer::Lifetimes;
use crate::ground::ids::ServerId;
use crate::storage::retention::Policy;
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The configuration in effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerConfig {
    /// Where clients are met. Port 0 (from `--listen` only) lets the system choose one.
    pub client_addr: SocketAddr,
    /// No address was named, only a port: `client_addr` is the IPv4 wildcard. Java's wildcard takes IPv6 clients too, so the
    /// listener should be `[::]` for both families, and `client_addr` where the machine has no IPv6.
    pub client_dual_stack: bool,
    /// `myid` and the images. As written, perhaps relative to the working directory.
    pub data_dir: PathBuf,
    /// The log. `data_dir` unless `dataLogDir` says otherwise.
    pub data_log_dir: PathBuf,
    /// Make the directories where they are missing; otherwise that is an error.
    pub data_dir_autocreate: bool,
    /// ZooKeeper's unit of time, milliseconds, at least 1.
    pub tick_time_ms: u32,
    /// Shortest session time-out granted, milliseconds.
    pub min_session_timeout_ms: u32,
    /// Longest session time-out granted, milliseconds; not below the shortest.
    pub max_session_timeout_ms: u32,
    /// Connections of one client address; 0 is without limit.
    pub max_client_cnxns: u32,
    /// Connections in all; 0 is without limit.
    pub max_cnxns: u32,
    /// Connections the system may hold before they are accepted; none leaves it to the system.
    pub listen_backlog: Option<u32>,
    /// The ensemble that this server belongs to; none is a server alone.
    pub ensemble: Option<Ensemble>,
    /// `myid`, or 1 where there is no such file.
    pub my_id: ServerId,
    /// High byte of session ids: `myid` in an ensemble. ZooKeeper's standalone server always uses 1, whatever `myid` says.
    pub session_server_id: u8,
    /// `serverId` as `conf` shows it: `myid` in an ensemble. ZooKeeper's standalone server always shows 0.
    pub conf_server_id: u8,
    /// Largest frame a client may send, bytes (`jute.maxbuffer`); 1024 to `limits::FRAME_MAX_CEILING`.
    pub jute_maxbuffer: usize,
    /// How much is let in at a time.
    pub throttles: Throttles,
    /// Four-letter words that are answered.
    pub four_letter_words: FourLetterWords,
    /// `user:hash` of the superuser, if there is one.
    pub super_digest: Option<Secret>,
    /// Whether the digest scheme authenticates.
    pub digest_auth_enabled: bool,
    /// Proof of names by SASL, and what every client must prove.
    pub sasl: Sasl,
    /// No ACL is checked.
    pub skip_acl: bool,
    /// What a hard limit of a quota does not allow is refused (`enforceQuota`).
    pub enforce_quota: bool,
    /// How containers and znodes with a time to live are dealt with.
    pub lifetimes: Lifetimes,
    /// `readonlymode.enabled`; for a server alone it only opens the word `isro`.
    pub readonlymode: bool,
    /// Sessions of a member's clients are known to it alone at first (`localSessionsEnabled`). Nothing to a server alone.
    pub local_sessions: bool,
    /// The first ephemeral znode makes such a session everybody's (`localSessionsUpgradingEnabled`).
    pub local_sessions_upgrading: bool,
    /// `SO_KEEPALIVE` on client sockets.
    pub tcp_keepalive: bool,
    /// How long a connection may stay without a session, milliseconds, at least 1.
    pub sessionless_timeout_ms: u64,
    /// Size of a log segment, bytes: a multiple of `limits::BLOCK`, at least `limits::SEGMENT_MIN`.
    pub segment_bytes: u64,
    /// Transactions after which an image is made at the latest, at least 2 (`snapCount`).
    pub snap_count: u64,
    /// Bytes of log after which an image is made at the latest, 0 is never (`snapSizeLimitInKb`).
    pub snap_bytes: u64,
    /// How the log is made durable.
    pub flush: FlushConfig,
    /// A flush that takes longer is told, milliseconds.
    pub fsync_warning_ms: u64,
    /// Whether the digest of the tree that transactions carry is checked when the log is read back.
    pub tree_digest_enabled: bool,
    /// Shards; 0 lets the plan of cores decide (`placement`).
    pub shards: u16,
    /// Where the sequencer runs.
    pub sequencer_placement: SequencerPlacement,
    /// Whether executors are bound to cores.
    pub pin: Pin,
    /// How long an executor spins before it parks, microseconds.
    pub spin_micros: u64,
    /// How much is told on standard error; none leaves it to the command line and the environment.
    pub log_level: Option<String>,
    /// Size of the log at which, and at each doubling of which, the operator is told; bytes, 0 is never.
    pub log_warn_bytes: u64,
    /// What is kept of images and log; none keeps everything.
    pub retain: Option<Policy>,
    /// How often what is kept is read back, seconds; 0 is never.
    pub scrub_interval_s: u64,
    /// Where clients' changes are told; none tells of none.
    pub audit: Option<AuditConfig>,
    /// Where metrics are collected by HTTP; none where they are not.
    pub metrics: Option<SocketAddr>,
    /// Memory registered for direct I/O by each executor, bytes. It is locked about three times over.
    pub io_memory_bytes: usize,
}

/// Proof of names by SASL, and what every client must prove.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sasl {
    /// Whom it lets in; none where there are no users.
    pub exchange: Option<Arc<SaslConfig>>,
    /// There are ACLs of the scheme `sasl` (`authProvider.N`).
    pub acls: bool,
    /// The id of ACLs that match whoever has proved a name (`letAnySaslUserDoX`).
    pub any_user: Option<String>,
    /// Who fails to prove a name stays (`allowSaslFailedClients`).
    pub keeps_failed: bool,
    /// Schemes of which every client needs an identity; empty is none.
    pub enforced: Vec<String>,
}

/// The audit log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditConfig {
    /// Its newest file; older ones have `.1` (the younger) to `.N` behind it.
    pub file: PathBuf,
    /// Bytes at which a new one is begun; 0 is never.
    pub file_bytes: u64,
    /// Older files kept.
    pub files: u32,
}

/// How the log is made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlushConfig {
    /// By which call.
    pub method: FlushMethod,
    /// Flushes in flight at most, 1 to `limits::FLIGHTS_MAX`.
    pub flights: usize,
    /// How long a batch may wait for company while a flush is in flight, microseconds.
    pub linger_micros: u64,
    /// Payload at which a batch closes though it could wait, bytes.
    pub batch_bytes: usize,
    /// A controller moves flights and linger.
    pub is_adaptive: bool,
    /// Each flush is made so much longer, microseconds: for trials.
    pub delay_micros: u64,
}

/// By which call the log is made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushMethod {
    /// `O_DSYNC`: the write returns when it is durable.
    Dsync,
    /// A write, then `fdatasync`.
    Fdatasync,
    /// Neither: a machine that stops loses acknowledged writes.
    None,
}

/// Where the sequencer runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SequencerPlacement {
    /// On its own executor where cores are enough.
    Auto,
    /// On its own executor.
    Own,
    /// On the executor of shard 0.
    Shared,
}

/// Whether executors are bound to cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pin {
    /// Where cores are plenty.
    Auto,
    /// Always.
    Yes,
    /// Never.
    No,
}

/// Which four-letter words are answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FourLetterWords {
    /// `*` was in the list.
    pub all: bool,
    /// The words named, with those that are always there.
    pub words: BTreeSet<String>,
}

impl FourLetterWords {
    /// Whether `word` is answered.
    #[must_use]
    pub fn allows(&self, word: &str) -> bool {
        self.all || self.words.contains(word)
    }
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

impl fmt::Display for FlushMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dsync => "dsync",
            Self::Fdatasync => "fdatasync",
            Self::None => "none",
        })
    }
}

impl fmt::Display for SequencerPlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Own => "own",
            Self::Shared => "shared",
        })
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Yes => "yes",
            Self::No => "no",
        })
    }
}

impl fmt::Display for FourLetterWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.all {
            return f.write_str("*");
        }
        for (i, word) in self.words.iter().enumerate() {
            write!(f, "{}{word}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}
