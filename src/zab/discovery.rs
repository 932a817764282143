//! Discovery: how a leader-to-be finds an epoch that nobody has promised yet, and learns that no history is newer than its own.

use std::collections::BTreeSet;

use crate::ground::ids::{ServerId, Zxid};

use super::quorum::Quorum;

/// The last epoch that may be accepted: epochs are signed on the wire, and one more must always be possible.
pub const EPOCH_MAX: u32 = u32::MAX >> 2;

/// Discovery, as the leader-to-be sees it.
#[derive(Debug)]
pub struct Discovery {
    me: ServerId,
    quorum: Quorum,
    epoch: u32,
    is_fixed: bool,
    connected: BTreeSet<ServerId>,
    agreed: BTreeSet<ServerId>,
}

impl Discovery {
    /// With this server in it, which has accepted `accepted`.
    #[must_use]
    pub fn new(me: ServerId, quorum: Quorum, accepted: u32) -> Self {
        let mut discovery = Self { me, quorum, epoch: 0, is_fixed: false, connected: BTreeSet::new(), agreed: BTreeSet::new() };
        discovery.connect(Some(me), accepted);
        discovery
    }

    /// The epoch, final once it [is fixed](Self::is_fixed).
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether a quorum has said what it has accepted.
    #[must_use]
    pub const fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// A learner has accepted `accepted`; it is named if it has a vote.
    pub fn connect(&mut self, voter: Option<ServerId>, accepted: u32) {
        if self.is_fixed {
            return;
        }
        assert!(accepted <= EPOCH_MAX, "epochs are within bounds");
        self.epoch = self.epoch.max(accepted + 1);
        self.connected.extend(voter);
        self.is_fixed = self.connected.contains(&self.me) && self.quorum.is_met(self.connected.iter().copied());
    }

    /// A voter has accepted the epoch, for the first time.
    pub fn agree(&mut self, voter: ServerId) {
        self.agreed.insert(voter);
    }

    /// Whether a quorum has accepted the epoch.
    #[must_use]
    pub fn is_agreed(&self) -> bool {
        self.agreed.contains(&self.me) && self.quorum.is_met(self.agreed.iter().copied())
    }
}

/// Whether a history, told as current epoch and end of the log, may hold something that ours lacks.
///
/// A log that ends at the mark of an epoch (counter 0) holds nothing of that epoch: ours, that was brought up to an epoch not older, has all
/// of it.
#[must_use]
pub fn is_newer(theirs: (u32, Zxid), ours: (u32, Zxid)) -> bool {
    let is_mark = theirs.1.counter() == 0 && theirs.1.epoch() <= ours.0;
    !cfg!(mutant = "m19") && (theirs.0 > ours.0 || theirs.0 == ours.0 && theirs.1 > ours.1 && !is_mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_is_above_all_of_a_quorum_and_fixed_once() {
        let quorum = Quorum::new(vec![ServerId(1), ServerId(2), ServerId(3), ServerId(4), ServerId(5)]);
        let mut discovery = Discovery::new(ServerId(2), quorum, 3);
        discovery.connect(Some(ServerId(2)), 3);
        discovery.connect(None, 8);
        discovery.connect(Some(ServerId(4)), 5);
        assert!(!discovery.is_fixed());
        discovery.connect(Some(ServerId(5)), 1);
        discovery.connect(Some(ServerId(1)), 20);
        assert!(discovery.is_fixed() && discovery.epoch() == 9);
        for voter in [4, 5, 4] {
            discovery.agree(ServerId(voter));
            assert!(!discovery.is_agreed());
        }
        discovery.agree(ServerId(2));
        assert!(discovery.is_agreed());
    }

    #[test]
    fn newer_is_by_epoch_then_zxid_and_marks_hold_nothing() {
        let ours = (5, Zxid::new(4, 10));
        assert!(is_newer((6, Zxid::ZERO), ours) && is_newer((5, Zxid::new(4, 11)), ours) && is_newer((5, Zxid::new(5, 1)), ours));
        assert!(!is_newer(ours, ours) && !is_newer((4, Zxid::new(4, 99)), ours) && !is_newer((5, Zxid::new(5, 0)), ours));
    }
}
