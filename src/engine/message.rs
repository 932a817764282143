//! Messages between shards and the sequencer, and the batch, the unit of everything.

use std::ops::Range;
use std::sync::Arc;

use super::census::{Census, ShardCensus, Word};
use super::stages::Times;
use crate::auth::Identities;
use crate::ground::ids::{ConnId, SessionId, Ticket, Zxid};
use crate::proto::code::Code;
use crate::tree::change::Step;
use crate::tree::view::View;

/// From a shard to the sequencer.
#[derive(Debug)]
pub enum Inward {
    /// The requests of one turn, in the order they arrived.
    Train(Box<Train>),
    /// Sessions heard of since the last time.
    Touched(Vec<SessionId>),
    /// A connection asks for an admin word that needs the whole server.
    Ask(ConnId, Word),
    /// A shard's part of a census.
    Part(u64, Box<ShardCensus>),
}

/// Requests of one turn; their bodies lie in one arena.
#[derive(Debug, Default)]
pub struct Train {
    /// Bodies, one after the other.
    pub arena: Vec<u8>,
    /// When the first of them came, monotonic us.
    pub since_us: u64,
    /// What is asked, in order.
    pub items: Vec<Item>,
}

/// One request on its way to the ledger.
#[derive(Debug)]
pub struct Item {
    /// Where the answer goes.
    pub conn: ConnId,
    /// What is asked.
    pub ask: Ask,
}

/// What a shard asks of the sequencer.
#[derive(Debug)]
pub enum Ask {
    /// A new session.
    Open {
        /// Negotiated timeout, ms.
        timeout_ms: i32,
    },
    /// A session that comes back on a new connection.
    Attach {
        /// The session.
        session: SessionId,
        /// Whether the password was its own. Even a wrong one closes the old connection, as in ZooKeeper.
        password_ok: bool,
        /// Timeout negotiated anew, ms.
        timeout_ms: i32,
    },
    /// A write, or the closing of the session.
    Write {
        /// The session.
        session: SessionId,
        /// xid, echoed.
        xid: i32,
        /// Operation code.
        op: i32,
        /// The record, in the train's arena.
        body: Range<usize>,
        /// Identities of the connection when it asked.
        who: Arc<Identities>,
    },
}

/// From the sequencer to a shard.
#[derive(Clone, Debug)]
pub enum Outward {
    /// Delivered transactions.
    Batch(Arc<Batch>),
    /// The answer to [`Ask::Attach`], and to [`Ask::Open`] where no transaction opens the session: the timeout where it succeeded.
    Attached(ConnId, SessionId, Option<i32>),
    /// A write is not done and not logged: the log has no room.
    Declined {
        /// Who asked.
        conn: ConnId,
        /// xid, echoed.
        xid: i32,
        /// Operation code.
        op: i32,
        /// Bytes of credit that the shard gets back.
        cost: u32,
        /// What it is answered with.
        code: Code,
    },
    /// A session that this server alone knew is over. Its connection, if it is there, ends, with an answer where that was asked for.
    Ended(SessionId, Option<Farewell>),
    /// The session of this connection lives elsewhere now, or cannot be opened.
    HangUp(ConnId),
    /// A `sync` is done: whoever led when it was asked still did so, and all that was written before it has been delivered.
    Synced {
        /// Who asked.
        conn: ConnId,
        /// xid, echoed.
        xid: i32,
        /// Bytes of credit that the shard gets back.
        cost: u32,
        /// The request's record.
        body: Box<[u8]>,
    },
    /// Whether clients are served from now on.
    Doors(Doors),
    /// The whole state was replaced, doors being shut: a new View, and the zxid at which it stands.
    Reset(Box<View>, Zxid),
    /// A census is taken: send your part under this number.
    Count(u64, Word),
    /// All parts are in: answer the connection.
    Counted(ConnId, Word, Arc<Census>),
}

/// A client's wish to end its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Farewell {
    /// Who asked.
    pub conn: ConnId,
    /// xid, echoed.
    pub xid: i32,
    /// Bytes of credit that the shard gets back.
    pub cost: u32,
}

/// Whether clients are served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doors {
    /// Every connection is closed, and none comes to a session: this server knows of no leader.
    Shut,
    /// Clients that say that they may be served so read what this server last knew, which may be old: it knows of no leader.
    ReadOnly,
    /// Clients are served.
    Open,
}

/// Transactions that are written, delivered and adopted together.
#[derive(Debug, Default)]
pub struct Batch {
    /// First zxid.
    pub first: Zxid,
    /// Last zxid.
    pub last: Zxid,
    /// One a transaction, in zxid order.
    pub entries: Vec<Entry>,
    /// Changes of all of them; an entry has those up to its `steps_end`, from where the one before it ended.
    pub steps: Vec<Step>,
    /// Bytes in the log, which stand for what a queue of batches holds in memory.
    pub bytes: usize,
    /// Its moments so far.
    pub times: Times,
}

impl Batch {
    /// Takes off what comes after `mark`. Bytes stay with the first part.
    #[must_use]
    pub fn split_after(&mut self, mark: Zxid) -> Option<Self> {
        let count = self.entries.partition_point(|entry| entry.zxid <= mark);
        if count == 0 || count == self.entries.len() {
            return None;
        }
        let mut rest = Self { first: self.entries[count].zxid, last: self.last, times: self.times, ..Self::default() };
        rest.entries = self.entries.split_off(count);
        let steps = self.entries[count - 1].steps_end;
        rest.steps = self.steps.split_off(steps as usize);
        rest.entries.iter_mut().for_each(|entry| entry.steps_end -= steps);
        self.last = self.entries[count - 1].zxid;
        Some(rest)
    }

    /// Transactions in it.
    #[must_use]
    pub fn records(&self) -> u32 {
        u32::try_from(self.entries.len()).expect("a batch is bounded by its bytes")
    }
}

/// One transaction as shards see it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its zxid.
    pub zxid: Zxid,
    /// The session that asked.
    pub session: SessionId,
    /// xid of the request.
    pub xid: i32,
    /// Operation code of the request.
    pub op: i32,
    /// Who waits for the answer; none for what the server did by itself.
    pub ticket: Option<Ticket>,
    /// Bytes of credit that the shard gets back.
    pub cost: u32,
    /// End of this entry's changes within the batch.
    pub steps_end: u32,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done; the answer is made from the entry's only change.
    Done,
    /// Refused, and nothing changed.
    Refused(Code),
    /// A multi, member by member.
    Multi(Box<[Member]>),
    /// A session was opened.
    Opened {
        /// Its timeout, ms.
        timeout_ms: i32,
    },
    /// A session was closed.
    Closed,
}

/// What became of a member of a multi.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Member {
    /// create: answers with the path.
    Created,
    /// create2: answers with path and Stat.
    Created2,
    /// delete.
    Deleted,
    /// setData: answers with the Stat.
    Set,
    /// check.
    Checked,
    /// The code this member is answered with when the multi failed; 0 for those before the one that failed.
    Error(i32),
}
