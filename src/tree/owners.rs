//! Owners: which ephemerals a session owns.

use std::collections::{BTreeMap, BTreeSet};

use super::record::Record;
use super::view::SlotId;
use crate::ground::ids::SessionId;
use crate::proto::owner::Owner;

/// The ephemerals of one session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Owned {
    slots: BTreeSet<SlotId>,
    /// See [`Owners::bytes`].
    bytes: usize,
}

/// Sessions that own ephemerals, each with these.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Owners(BTreeMap<SessionId, Owned>);

impl Owners {
    /// A znode is there.
    #[inline]
    pub(super) fn came(&mut self, slot: SlotId, record: &Record) {
        if let Owner::Session(session) = Owner::of(record.ephemeral_owner()) {
            let owned = self.0.entry(session).or_default();
            owned.slots.insert(slot);
            owned.bytes += listed(record);
        }
    }

    /// A znode is there no more.
    #[inline]
    pub(super) fn went(&mut self, slot: SlotId, record: &Record) {
        if let Owner::Session(session) = Owner::of(record.ephemeral_owner()) {
            let owned = self.0.get_mut(&session).expect("an ephemeral is its owner's");
            owned.slots.remove(&slot);
            owned.bytes -= listed(record);
            if owned.slots.is_empty() {
                self.0.remove(&session);
            }
        }
    }

    /// A session's, in the order of their slots.
    pub(super) fn of(&self, session: SessionId) -> impl Iterator<Item = SlotId> {
        self.0.get(&session).into_iter().flat_map(|owned| &owned.slots).copied()
    }

    /// Bytes that the paths of a session's ephemerals take in a list, their lengths included.
    pub(super) fn bytes(&self, session: SessionId) -> usize {
        self.0.get(&session).map_or(0, |owned| owned.bytes)
    }

    /// The sessions, in order.
    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.0.keys().copied()
    }
}

/// A record's part of [`Owners::bytes`]: a length and the path.
fn listed(record: &Record) -> usize {
    4 + record.path_bytes().len()
}
