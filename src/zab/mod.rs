//! Zab: how servers agree on one order of transactions. Election, discovery, synchronisation, broadcast, as ZooKeeper has
//! them on the wire. Pure: what comes is handed in ([`In`]), what is to be done is handed out ([`Out`]), time is a number.
//!
//! The driver's duties:
//!
//! - Every effect is carried out in the order in which it is handed out, per kind: packets of one link, writes to the disk.
//! - A write ([`Out::Store`]) is answered by [`In::Stored`] with the same token when, and only when, it is durable; a write that
//!   fails ends the process. Nothing is answered early, nothing is answered twice, the answers come in the order of the writes.
//! - A link is a connection of the quorum port with a number of its own, never used again. What comes from a link that was given up
//!   ([`Out::HangUp`]) or has broken ([`In::LinkDown`]) is not handed in any more.
//! - [`In::Time`] comes at [`Peer::deadline`], or as soon after it as can be.
//! - After [`In::Leave`] nothing is proposed any more, up to [`In::Return`].
//!
//! A zxid whose counter is 0 names no transaction: foreign leaders and learners use it as a mark ("synchronised in this epoch"). It stands
//! in no record. Only a foreign leader's state may stand at one; until there are transactions after it, it is the end of the log, and the
//! delivered mark.
//!
//! Invariants kept here, asserted inside and checked again from outside by the simulator (numbers of the house):
//!
//! 2. An acknowledgement leaves only after its record is durable; on joining an epoch the order is history, epoch, acknowledgement.
//! 3. Commit rises only to a zxid acknowledged by a quorum of the current epoch.
//! 4. Nothing at or below the delivered mark is ever cut.
//! 10. A promise is durable before it is spoken.

mod books;
mod discovery;
mod election;
mod following;
mod founding;
mod history;
mod leading;
mod peer;
mod progress;
mod quorum;
mod sync;

use std::sync::Arc;

pub use self::books::{EPOCH_LENGTH, HISTORY_BYTES};
pub use self::peer::{Learner, Peer};

use crate::ground::ids::{ServerId, SessionId, Zxid};
use crate::proto::packet::{Blob, Packet};
use crate::proto::vote::Notification;

/// A connection of the quorum port, from its beginning to its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Link(pub u64);

/// Names a write, so that its end can be told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// A transaction: its zxid, and its bytes as the log has them, which nobody here looks into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its zxid.
    pub zxid: Zxid,
    /// Its bytes.
    pub blob: Blob,
}

/// What a server is in the ensemble, at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It seeks a leader: nobody is served.
    Looking,
    /// It has found one and catches up with it: nobody is served.
    Joining {
        /// The leader.
        leader: ServerId,
    },
    /// It follows, and may serve.
    Following {
        /// The leader.
        leader: ServerId,
        /// Its epoch.
        epoch: u32,
    },
    /// It observes, and may serve.
    Observing {
        /// The leader.
        leader: ServerId,
        /// Its epoch.
        epoch: u32,
    },
    /// It leads an epoch and may propose: it has delivered all of the history that it begins with.
    Leading {
        /// The epoch.
        epoch: u32,
    },
}

impl Role {
    /// Whether clients may be served in it.
    #[must_use]
    pub const fn serves(self) -> bool {
        matches!(self, Self::Leading { .. } | Self::Following { .. } | Self::Observing { .. })
    }
}

/// What may come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum In {
    /// Time has passed.
    Time,
    /// A connection of the election port was made: what comes first on it may have been said long ago, by a server that has moved on since.
    Met {
        /// With whom.
        from: ServerId,
    },
    /// A notification came on the election port.
    Notification {
        /// Who sent it.
        from: ServerId,
        /// It.
        notification: Notification,
    },
    /// A link to the leader that [`Out::Connect`] asked for stands.
    Connected {
        /// The leader.
        leader: ServerId,
        /// The link.
        link: Link,
    },
    /// The leader could not be reached.
    Unreachable {
        /// The leader.
        leader: ServerId,
    },
    /// A learner has connected to the quorum port.
    Accepted {
        /// The link.
        link: Link,
    },
    /// A packet came.
    Packet {
        /// From where.
        link: Link,
        /// It.
        packet: Packet,
    },
    /// Packets came, one after the other: as that many [`In::Packet`], but what they lead to is written to the log at once.
    Train {
        /// From where.
        link: Link,
        /// They.
        packets: Vec<Packet>,
    },
    /// A link has broken.
    LinkDown {
        /// Which.
        link: Link,
    },
    /// A write is durable.
    Stored(Token),
    /// A leader's own transactions, made by its ledger: consecutive zxids of its epoch. Only while [`Role::Leading`].
    Propose(Vec<Record>),
    /// What [`Out::Read`] asked for: transactions that follow one another without a gap from the one asked for, in the order of the log; one
    /// at least. The rest is asked for again, so the answer may wait until the link has room. `None` where the log does not reach back that
    /// far, or a piece of it cannot be read: the learner gets the state whole.
    History {
        /// For which learner.
        link: Link,
        /// The next piece.
        records: Option<Vec<Record>>,
    },
    /// The state that [`Out::SendState`] asked for has been sent whole, after [`Packet::Snap`] with this zxid; the log has all that follows it.
    StateSent {
        /// To which learner.
        link: Link,
        /// The last transaction in it.
        at: Zxid,
    },
    /// The state that followed [`Packet::Snap`] has come whole. What else it needs follows: [`Out::Fold`], [`Out::Finish`].
    StateReceived {
        /// From where.
        link: Link,
    },
    /// The state that came stands where [`Out::Finish`] said, and waits in a place of its own. [`Out::Store`] will put it in force. One that
    /// cannot be finished breaks its link.
    StateFinished {
        /// From where.
        link: Link,
    },
    /// Sessions that clients were heard in since the last time, and their time-outs in ms: for the leader's next ping.
    Touched(Vec<(SessionId, i32)>),
    /// The server is to stop, or cannot log: a leader makes way for another in good order; whoever it is, it ends up [`Role::Looking`] and stays
    /// there, but for [`In::Return`].
    Leave,
    /// What the server left for is over: it seeks a leader again. Only once [`Peer::has_gone`].
    Return,
}

/// Something to be made durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// The epochs promised. Neither falls.
    Promise {
        /// The newest epoch accepted.
        accepted: u32,
        /// The newest epoch whose history is this server's.
        current: u32,
    },
    /// Transactions to the end of the log.
    Append(Vec<Record>),
    /// The log ends at `to` from now on; so does everything made from it. Never below what was delivered.
    Cut {
        /// The last transaction that stays; it is in the log.
        to: Zxid,
    },
    /// The state that came from a link takes the place of everything there is, and `tail` is the log that follows it: both or neither, for
    /// a crash between them could lose what was acknowledged. `at` may lie below the delivered mark, `at` with the tail never does; the
    /// delivered mark, told again at once when this is durable, says how much of the tail is to be shown.
    Install {
        /// The link.
        link: Link,
        /// The last transaction in the state.
        at: Zxid,
        /// The transactions after it, as far as they are needed so that nothing is lost.
        tail: Vec<Record>,
    },
    /// The server has again all that it may have forgotten: from the next start on it is found unimpaired.
    Restored,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Out {
    /// A notification is to be sent on the election port, in place of any that still waits for the same server.
    Notify {
        /// To whom.
        to: ServerId,
        /// It.
        notification: Notification,
    },
    /// A link to the leader's quorum port is wanted.
    Connect {
        /// The leader.
        leader: ServerId,
    },
    /// A link is to be closed.
    HangUp {
        /// Which.
        link: Link,
        /// Why, for the operator.
        why: &'static str,
    },
    /// A packet is to be sent.
    Send {
        /// Where.
        link: Link,
        /// It.
        packet: Packet,
    },
    /// Something is to be made durable.
    Store {
        /// Its name.
        token: Token,
        /// What.
        write: Write,
    },
    /// The next piece of the log after `after` is wanted, up to `to` at most.
    Read {
        /// For which learner.
        link: Link,
        /// The transaction before the first one wanted; it must be in the log, or be its very beginning.
        after: Zxid,
        /// The last one wanted.
        to: Zxid,
    },
    /// The whole state is to be sent to a learner: [`Packet::Snap`] with the state's own zxid, and the state. It may be any state of
    /// delivered transactions from whose zxid on the log has all; the log keeps them until the link ends or the learner has them.
    SendState {
        /// To which learner.
        link: Link,
    },
    /// A committed transaction, the next one, belongs into the state that came by a link, which may hold effects of it and of later ones: it
    /// is taken in by the rules of a replay.
    Fold {
        /// The link.
        link: Link,
        /// The transaction.
        record: Record,
    },
    /// The state that came by a link is whole, and exact, now that it stands at `at`: it is to be made ready to be put in force.
    Finish {
        /// The link.
        link: Link,
        /// The last transaction in it.
        at: Zxid,
    },
    /// Everything up to this zxid is committed, and durable here: it may be shown.
    Deliver {
        /// The mark, which never falls. The same mark comes again after [`Write::Install`].
        up_to: Zxid,
    },
    /// What this server is from now on. Where it is [`Role::Looking`], what is logged beyond the delivered mark belongs to nobody until a
    /// leader says so: ledgers go back to that mark, or to an installed state that stands beyond it (whose leader was lost before it said
    /// that it was agreed; no client is served from it).
    Became(Role),
    /// A packet of the crafts above (requests, sessions, sync, pings' touches) came from a link whose other end is in good standing.
    Upward {
        /// From where.
        link: Link,
        /// It.
        packet: Packet,
    },
}

/// What a server knows of itself when it starts: recovery found it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The newest epoch accepted.
    pub accepted: u32,
    /// The newest epoch whose history is this server's.
    pub current: u32,
    /// Where the log begins: the last transaction before its first one. All that follows is in it.
    pub base: Zxid,
    /// For each epoch that has transactions in the log, the last of them, ascending. The first of an epoch has counter 1, unless `base`
    /// is of the same epoch.
    pub ends: Vec<Zxid>,
    /// Up to where it is known to be committed.
    pub delivered: Zxid,
    /// It may have forgotten something that it acknowledged: it learns, and has no vote until a leader has restored it.
    pub is_impaired: bool,
    /// It is impaired because it has nothing at all: where its ensemble is a new one, by this rule, that is as it should be.
    pub is_new: Option<Bootstrap>,
}

/// Which voters have to be empty where an ensemble is new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bootstrap {
    /// All of them.
    All,
    /// A majority. An operator who says so vouches for it that there is no old one.
    Majority,
}

impl Found {
    /// End of the durable log.
    #[must_use]
    pub fn last(&self) -> Zxid {
        self.ends.last().copied().unwrap_or(self.base)
    }
}

/// Who belongs to the ensemble; majority quorums.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Members {
    /// Those with a vote, ascending.
    pub voters: Vec<ServerId>,
    /// Those without, ascending.
    pub observers: Vec<ServerId>,
    /// As text, in the form that servers exchange (`server.N=...` lines and `version=`).
    pub text: Arc<[u8]>,
    /// Version of the configuration.
    pub version: u64,
}

/// Times, ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// `tickTime`.
    pub tick: u64,
    /// Ticks that joining may take (`initLimit`).
    pub init_limit: u64,
    /// Ticks of silence between a leader and its followers (`syncLimit`).
    pub sync_limit: u64,
    /// First wait for notifications before they are repeated (`fastleader.minNotificationInterval`); doubles each time.
    pub notification_min: u64,
    /// Longest such wait (`fastleader.maxNotificationInterval`).
    pub notification_max: u64,
    /// How long a winner waits for a better vote.
    pub finalize_wait: u64,
}
