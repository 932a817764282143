//! Progress: how far one learner has come, as its leader sees it.

use crate::ground::ids::{ServerId, Zxid};
use crate::ground::time::Millis;
use crate::proto::packet::LearnerInfo;

/// Where a learner stands on its way to serving.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// It has said nothing yet.
    Fresh,
    /// It has introduced itself, and waits for the epoch.
    Registered,
    /// It was told the epoch.
    Told,
    /// It has accepted the epoch, with the end of its log, and waits until a quorum has.
    Agreed {
        /// End of its log.
        last: Zxid,
    },
    /// Transactions are read from the log for it.
    Reading {
        /// The last one sent.
        sent: Zxid,
        /// Where its log is to be cut first; it is told so once the first piece has been read.
        opening: Option<Opening>,
    },
    /// The state is being sent to it.
    Copying,
    /// It gets everything from now on; the new leader is to be acknowledged.
    Attached,
    /// It has acknowledged the new leader.
    Synced,
    /// It may serve.
    UpToDate,
}

/// What the stream of transactions begins with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Opening {
    /// They follow what the learner has.
    Diff,
    /// The learner cuts its log first.
    Trunc,
}

/// A learner on a link.
#[derive(Clone, Debug)]
pub struct Progress {
    /// How it introduced itself.
    pub info: Option<LearnerInfo>,
    /// It counts for quorums.
    pub is_voter: bool,
    /// Where it stands.
    pub stage: Stage,
    /// What it has acknowledged, all before it included; from [`Stage::Attached`] on.
    pub acked: Zxid,
    /// When it was last heard.
    pub heard: Millis,
    /// Since when it has stood there, or has owed the next word.
    pub since: Millis,
}

impl Progress {
    /// A link that has just been made.
    #[must_use]
    pub const fn new(now: Millis) -> Self {
        Self { info: None, is_voter: false, stage: Stage::Fresh, acked: Zxid::ZERO, heard: now, since: now }
    }

    /// Who it is, once it has said so.
    #[must_use]
    pub fn server(&self) -> Option<ServerId> {
        self.info.and_then(|info| info.server)
    }

    /// It observes.
    #[must_use]
    pub fn is_observer(&self) -> bool {
        self.info.is_some_and(|info| info.is_observer)
    }

    /// It gets what is live.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.stage >= Stage::Attached
    }

    /// It comes to a stage.
    pub const fn enter(&mut self, stage: Stage, now: Millis) {
        (self.stage, self.since) = (stage, now);
    }
}
