//! Room: what a member of an ensemble does when its log has no room for more, and when it has again.
//!
//! What a leader cannot log nobody can be told, and a follower that cannot log counts for no quorum. So a leader hands over and a follower leaves, while
//! there is still room for all that is under way; the others go on without it. Its clients find another server.

use super::{Ahead, Sequencer};
use crate::ground::time::Now;
use crate::zab::In;

/// What has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// There is none: it makes way, and serves nobody until there is.
    Gone,
    /// There is some: it seeks a leader again.
    Back,
}

impl Sequencer {
    /// Makes way where the log is nearly full and nothing can follow the segment in use; comes back when something can. Says what has
    /// changed. Nothing does in a server alone, and in one whose ensemble has no other voter: those decline writes.
    pub fn heed_room(&mut self, now: Now) -> Option<Room> {
        let is_full = self.declines();
        let has_room = self.ahead == Ahead::Ready || !self.is_nearly_full();
        let member = self.member.as_mut()?;
        if member.is_full && has_room && member.peer.has_gone() {
            (member.is_full, member.is_leaving) = (false, false);
            self.advance(In::Return, now);
            return Some(Room::Back);
        }
        if is_full && !member.is_leaving && !member.peer.is_only_voter() {
            member.is_full = true;
            self.make_way(now);
            return Some(Room::Gone);
        }
        None
    }

    /// Whether writes are declined for want of room by a server that does not make way for another instead.
    #[must_use]
    pub fn declines_alone(&self) -> bool {
        self.declines() && self.member.as_ref().is_none_or(|member| member.peer.is_only_voter())
    }
}
