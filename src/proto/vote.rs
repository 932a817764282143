//! Vote: what servers tell each other on the election port.

use std::sync::Arc;

use crate::ground::ids::{ServerId, Zxid};

/// What a server that sends a notification does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Standing {
    /// It seeks a leader.
    Looking,
    /// It follows one.
    Following,
    /// It leads.
    Leading,
    /// It observes a leader; it has no vote.
    Observing,
}

/// Whom a server proposes to lead, and what makes that one fit: compared by epoch, then zxid, then server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Vote {
    /// Current epoch of the proposed leader, as its promise has it.
    pub epoch: u32,
    /// End of the proposed leader's durable log.
    pub zxid: Zxid,
    /// The proposed leader.
    pub leader: ServerId,
}

/// A notification, as ZooKeeper's version 2 has it (`FastLeaderElection.Notification`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// What the sender does.
    pub standing: Standing,
    /// Its vote; `None` from one that has none to give (an observer; the least 64-bit integer thrice on the wire).
    pub vote: Option<Vote>,
    /// Round of the election that the vote belongs to.
    pub round: u64,
    /// The sender's configuration in text, where it told one.
    pub config: Option<Arc<[u8]>>,
}
