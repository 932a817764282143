//! Rewatch: what a path means to a client that reconnects with the watches it had (setWatches).
//!
//! The comparison is of signed longs, as in ZooKeeper 3.9.4: a client that sends a negative zxid has everything fire. It
//! asks neither for a legal path nor for READ, and a path listed twice is judged twice.

use crate::ground::ids::Zxid;
use crate::proto::event::EventType;

/// What becomes of one watch of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rewatch {
    /// The client missed it: told now, and nothing is armed. The event's header carries zxid -1.
    Fire(EventType),
    /// Nothing missed: the watch is armed again.
    Arm,
}

/// A watch left by getData. `mzxid` is the znode's, `None` where the znode is missing.
#[must_use]
pub const fn data(relative: Zxid, mzxid: Option<Zxid>) -> Rewatch {
    changed_since(relative, mzxid, EventType::NodeDataChanged)
}

/// A data watch left by exists on a missing znode. `mzxid` is the znode's, `None` where it is missing still.
#[must_use]
pub const fn exist(mzxid: Option<Zxid>) -> Rewatch {
    match mzxid {
        None => Rewatch::Arm,
        Some(_) => Rewatch::Fire(EventType::NodeCreated),
    }
}

/// A watch left by getChildren. `pzxid` is the znode's, `None` where the znode is missing.
#[must_use]
pub const fn child(relative: Zxid, pzxid: Option<Zxid>) -> Rewatch {
    changed_since(relative, pzxid, EventType::NodeChildrenChanged)
}

const fn changed_since(relative: Zxid, changed: Option<Zxid>, event: EventType) -> Rewatch {
    match changed {
        None => Rewatch::Fire(EventType::NodeDeleted),
        Some(zxid) if zxid.as_wire() > relative.as_wire() => Rewatch::Fire(event),
        Some(_) => Rewatch::Arm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Zxid = Zxid::new(1, 10);

    #[test]
    fn a_missing_znode_was_deleted_unless_its_birth_was_awaited() {
        assert_eq!(data(SEEN, None), Rewatch::Fire(EventType::NodeDeleted));
        assert_eq!(child(SEEN, None), Rewatch::Fire(EventType::NodeDeleted));
        assert_eq!(exist(None), Rewatch::Arm);
        assert_eq!(exist(Some(Zxid::ZERO)), Rewatch::Fire(EventType::NodeCreated));
    }

    #[test]
    fn only_what_is_newer_than_the_client_saw_fires() {
        assert_eq!(data(SEEN, Some(Zxid::new(1, 11))), Rewatch::Fire(EventType::NodeDataChanged));
        assert_eq!(data(SEEN, Some(SEEN)), Rewatch::Arm);
        assert_eq!(child(SEEN, Some(Zxid::new(2, 0))), Rewatch::Fire(EventType::NodeChildrenChanged));
        assert_eq!(child(SEEN, Some(Zxid::new(0, u32::MAX))), Rewatch::Arm);
    }

    #[test]
    fn a_negative_zxid_is_before_everything() {
        assert_eq!(data(Zxid::from_wire(-1), Some(Zxid::ZERO)), Rewatch::Fire(EventType::NodeDataChanged));
    }
}
