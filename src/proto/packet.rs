//! Packet: what a leader and its learners tell each other on the quorum port.

use std::sync::Arc;

use crate::ground::ids::{ServerId, SessionId, Zxid};

/// A transaction as the log has it: header, record and digest.
pub type Blob = Arc<[u8]>;

/// How a learner introduces itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerInfo {
    /// It; `None` for one that has no number (an anonymous observer).
    pub server: Option<ServerId>,
    /// The newest epoch it has accepted.
    pub accepted: u32,
    /// Version of the configuration it knows.
    pub config_version: u64,
    /// It observes, and has no vote.
    pub is_observer: bool,
}

/// A request that a learner sends on to its leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forwarded {
    /// Session it came in, or which it opens.
    pub session: SessionId,
    /// The client's number of it.
    pub cxid: i32,
    /// Its opcode.
    pub op: i32,
    /// The request's record as the client sent it.
    pub body: Arc<[u8]>,
    /// Who the client is: schemes and ids.
    pub who: Vec<(Box<str>, Box<str>)>,
}

/// One packet; what of a `QuorumPacket` is not told here has one value only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet {
    /// A learner's first word.
    Info(LearnerInfo),
    /// The leader's epoch.
    LeaderInfo {
        /// It.
        epoch: u32,
    },
    /// The learner has accepted the epoch.
    AckEpoch {
        /// End of its durable log.
        last: Zxid,
        /// Its current epoch; `None` where it had accepted this epoch before, and must not be counted again.
        current: Option<u32>,
    },
    /// The transactions that lead to `to` follow.
    Diff {
        /// Where they lead.
        to: Zxid,
    },
    /// The learner is to cut its log.
    Trunc {
        /// The last transaction that stays.
        to: Zxid,
    },
    /// The whole state follows, in a stream that is no packet.
    Snap {
        /// Where the leader stood at least when the stream began.
        at: Zxid,
    },
    /// All that the learner needs for this epoch has been sent.
    NewLeader {
        /// The epoch.
        epoch: u32,
        /// The leader's configuration in text.
        config: Option<Arc<[u8]>>,
    },
    /// The learner may serve.
    UpToDate,
    /// A transaction to log.
    Proposal {
        /// Its zxid.
        zxid: Zxid,
        /// It.
        blob: Blob,
    },
    /// It is durable here. The epoch's first zxid acknowledges the new leader.
    Ack {
        /// Its zxid.
        zxid: Zxid,
    },
    /// It is committed.
    Commit {
        /// Its zxid.
        zxid: Zxid,
    },
    /// A committed transaction, for an observer.
    Inform {
        /// Its zxid.
        zxid: Zxid,
        /// It.
        blob: Blob,
    },
    /// A sign of life.
    Ping {
        /// What the leader has proposed; the learner repeats it.
        zxid: Zxid,
        /// From a learner: sessions heard of since the last one, and their time-outs in ms.
        touched: Vec<(SessionId, i32)>,
    },
    /// A session comes to this learner: is it alive?
    Revalidate {
        /// It.
        session: SessionId,
        /// Its time-out, ms.
        timeout_ms: i32,
    },
    /// The leader's answer to that.
    Revalidated {
        /// The session.
        session: SessionId,
        /// It is alive.
        is_valid: bool,
    },
    /// A request sent on.
    Request(Forwarded),
    /// The oldest `sync` of this learner that is unanswered is done.
    Sync,
}
