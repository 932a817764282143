//! A change: what applying a transaction did to the tree, step by step, for Views to adopt and watches to fire.

use super::record::Record;
use super::view::SlotId;
use crate::proto::event::EventType;

/// What a [`Step::Put`] changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// Data, version and mzxid.
    Data,
    /// What nobody watches: the ACL, or a counter by itself.
    Acl,
    /// What a quota's figures say is used. No request asks for it, and nobody hears of it: a consequence of a step before it.
    Quota,
}

/// One step. The slots are the Tree's choice: Views that adopt the same steps have the same slots.
#[derive(Clone, Debug)]
pub enum Step {
    /// A znode has another record.
    Put {
        /// The znode.
        slot: SlotId,
        /// Its record from now on.
        record: Record,
        /// What is different.
        what: Put,
    },
    /// A znode was created.
    Link {
        /// Its slot, unused before.
        slot: SlotId,
        /// Its record.
        record: Record,
        /// Its parent.
        parent: SlotId,
        /// The parent's record from now on.
        parent_record: Record,
    },
    /// A znode was deleted.
    Unlink {
        /// Its slot, unused from now on.
        slot: SlotId,
        /// The record it had.
        removed: Record,
        /// Its parent.
        parent: SlotId,
        /// The parent's record from now on.
        parent_record: Record,
    },
}

impl Step {
    /// The record of the znode the step is about: the new one, or the one removed. Its ACL says who may hear of it.
    #[must_use]
    pub const fn record(&self) -> &Record {
        match self {
            Self::Put { record, .. } | Self::Link { record, .. } => record,
            Self::Unlink { removed, .. } => removed,
        }
    }

    /// Whether the transaction says so itself, and its answer may tell it; else it is a consequence that the server draws.
    #[must_use]
    pub const fn is_asked(&self) -> bool {
        !matches!(self, Self::Put { what: Put::Quota, .. })
    }

    /// The events that fire, in order, each with the record whose path it happened to.
    pub fn fires(&self) -> impl Iterator<Item = (EventType, &Record)> {
        let (first, second) = match self {
            Self::Put { what: Put::Acl | Put::Quota, .. } => (None, None),
            Self::Put { record, what: Put::Data, .. } => (Some((EventType::NodeDataChanged, record)), None),
            Self::Link { record, parent_record, .. } => {
                (Some((EventType::NodeCreated, record)), Some((EventType::NodeChildrenChanged, parent_record)))
            }
            Self::Unlink { removed, parent_record, .. } => {
                (Some((EventType::NodeDeleted, removed)), Some((EventType::NodeChildrenChanged, parent_record)))
            }
        };
        first.into_iter().chain(second)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Stored;
    use super::*;

    #[test]
    fn what_each_step_fires() {
        let record = Record::new("/a/b", None, None, &Stored::default());
        let parent_record = Record::new("/a", None, None, &Stored::default());
        let (slot, parent) = (SlotId::ROOT, SlotId::ROOT);
        let fired = |step: Step| step.fires().map(|(kind, record)| (kind, record.path().to_owned())).collect::<Vec<_>>();
        let children = (EventType::NodeChildrenChanged, "/a".to_owned());
        assert_eq!(
            fired(Step::Put { slot, record: record.clone(), what: Put::Data }),
            [(EventType::NodeDataChanged, "/a/b".to_owned())]
        );
        for (what, is_asked) in [(Put::Acl, true), (Put::Quota, false)] {
            let step = Step::Put { slot, record: record.clone(), what };
            assert_eq!((step.is_asked(), fired(step)), (is_asked, vec![]));
        }
        assert_eq!(
            fired(Step::Link { slot, record: record.clone(), parent, parent_record: parent_record.clone() }),
            [(EventType::NodeCreated, "/a/b".to_owned()), children.clone()]
        );
        assert_eq!(
            fired(Step::Unlink { slot, removed: record, parent, parent_record }),
            [(EventType::NodeDeleted, "/a/b".to_owned()), children]
        );
    }
}
