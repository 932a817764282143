//! The journal: what it takes to undo the Tree's latest steps, until they are delivered.

use std::collections::VecDeque;

use super::record::Record;
use super::view::SlotId;
use crate::ground::ids::Zxid;

/// How to undo one step.
#[derive(Debug)]
pub(super) enum Undo {
    /// Put the record back.
    Put { slot: SlotId, before: Record },
    /// Remove the znode; its slot had been used before, or was the first never used.
    Link { slot: SlotId, parent: SlotId, parent_before: Record, reused: bool },
    /// Put the znode back, after the sibling it came after.
    Unlink { slot: SlotId, removed: Record, parent: SlotId, parent_before: Record, prev: u32 },
}

/// A moment to roll back to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mark(u64);

/// Undo entries in the order of their steps, each with its transaction.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<(Zxid, Undo)>,
    forgotten: u64,
}

impl Journal {
    pub(super) fn mark(&self) -> Mark {
        Mark(self.forgotten + self.entries.len() as u64)
    }

    pub(super) fn push(&mut self, zxid: Zxid, undo: Undo) {
        debug_assert!(self.entries.back().is_none_or(|(last, _)| *last <= zxid), "transactions are applied in order");
        self.entries.push_back((zxid, undo));
    }

    /// The latest entry made after `mark`.
    pub(super) fn pop_after(&mut self, mark: Mark) -> Option<Undo> {
        assert!(mark.0 >= self.forgotten, "what is delivered is never undone");
        if self.mark() > mark { self.entries.pop_back().map(|(_, undo)| undo) } else { None }
    }

    /// The latest entry if its transaction is newer than `zxid`.
    pub(super) fn pop_above(&mut self, zxid: Zxid) -> Option<Undo> {
        if self.entries.back()?.0 > zxid { self.entries.pop_back().map(|(_, undo)| undo) } else { None }
    }

    pub(super) fn forget(&mut self, up_to: Zxid) {
        while self.entries.front().is_some_and(|(first, _)| *first <= up_to) {
            self.entries.pop_front();
            self.forgotten += 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
