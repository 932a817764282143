//! Expiry: the znodes that go by themselves, by when they may go. Only those without children are in it: who takes them away looks at
//! those whose time has come, and at no others.

use std::collections::BTreeSet;

use super::record::Record;
use super::view::SlotId;
use crate::proto::owner::Owner;

/// How long a znode without children is let be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Leniency {
    /// A container that never had children goes when it was not written to for so long, ms; none lets it be for ever.
    pub unused_ms: Option<i64>,
    /// Znodes go when their time to live is over; otherwise it means nothing.
    pub ttls: bool,
}

/// Znodes without children that go by themselves. All times are those of transactions, ms since 1970.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Expiry {
    /// Containers that had children.
    used: BTreeSet<SlotId>,
    /// Containers that had none yet, by their last setData.
    unused: BTreeSet<(i64, SlotId)>,
    /// Znodes with a time to live, by its end.
    ttls: BTreeSet<(i64, SlotId)>,
}

impl Expiry {
    /// A znode has this record from now on.
    #[inline]
    pub(super) fn came(&mut self, slot: SlotId, record: &Record) {
        match Owner::of(record.ephemeral_owner()) {
            Owner::Nobody | Owner::Session(_) | Owner::Ttl(0) => {}
            _ if record.num_children() > 0 => {}
            Owner::Container if record.cversion() > 0 => drop(self.used.insert(slot)),
            Owner::Container => drop(self.unused.insert((record.mtime(), slot))),
            Owner::Ttl(ms) => drop(self.ttls.insert((record.mtime().saturating_add(ms), slot))),
        }
    }

    /// A znode has this record no more.
    #[inline]
    pub(super) fn went(&mut self, slot: SlotId, record: &Record) {
        match Owner::of(record.ephemeral_owner()) {
            Owner::Nobody | Owner::Session(_) | Owner::Ttl(0) => {}
            _ if record.num_children() > 0 => {}
            Owner::Container if record.cversion() > 0 => drop(self.used.remove(&slot)),
            Owner::Container => drop(self.unused.remove(&(record.mtime(), slot))),
            Owner::Ttl(ms) => drop(self.ttls.remove(&(record.mtime().saturating_add(ms), slot))),
        }
    }

    /// Paths of all that is in it.
    #[cfg(test)]
    pub(super) fn paths<'a>(&self, view: &'a super::view::View) -> BTreeSet<&'a str> {
        let timed = self.unused.iter().chain(&self.ttls).map(|(_, slot)| slot);
        self.used.iter().chain(timed).map(|&slot| view.record(slot).path()).collect()
    }

    /// A znode whose time had come before `time`.
    pub(super) fn due(&self, time: i64, leniency: Leniency) -> Option<SlotId> {
        let before = |set: &BTreeSet<(i64, SlotId)>, end: i64| set.first().filter(|(at, _)| *at < end).map(|(_, slot)| *slot);
        let unused = || leniency.unused_ms.and_then(|ms| before(&self.unused, time.saturating_sub(ms)));
        let ttls = || if leniency.ttls { before(&self.ttls, time) } else { None };
        self.used.first().copied().or_else(unused).or_else(ttls)
    }
}
