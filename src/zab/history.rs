//! History: which transactions the log holds, and the newest of them, for learners that lag a little.

use std::collections::VecDeque;

use crate::ground::ids::Zxid;

use super::{Found, Record};

/// The log, as the protocol sees it. Within an epoch zxids have no gaps, so that the last one of each epoch tells them all.
#[derive(Debug)]
pub struct History {
    /// The transaction before the log's first. A foreign leader's state may stand at an epoch's mark (counter 0).
    base: Zxid,
    /// For each epoch with transactions after `base`, its last.
    ends: Vec<Zxid>,
    /// The newest transactions, to the end of the log.
    recent: VecDeque<Record>,
    /// The transaction before the first of them.
    recent_base: Zxid,
    /// Bytes of their bodies.
    bytes: usize,
    /// How many bytes are kept of what is committed.
    limit: usize,
}

impl History {
    /// As recovery found it.
    #[must_use]
    pub fn new(found: &Found, limit: usize) -> Self {
        let mut before = found.base;
        for end in &found.ends {
            assert!(end.counter() > 0 && *end > before, "ends of epochs rise, and are transactions");
            assert!(before == found.base || end.epoch() > before.epoch(), "one end an epoch");
            before = *end;
        }
        let (base, ends) = (found.base, found.ends.clone());
        Self { base, ends, recent: VecDeque::new(), recent_base: found.last(), bytes: 0, limit }
    }

    /// Whether `next` may follow `before` in a log: the next of its epoch, or the first of a later one.
    #[must_use]
    pub fn follows(before: Zxid, next: Zxid) -> bool {
        if cfg!(mutant = "m26") && next.0 == before.0.wrapping_add(1) {
            return true;
        }
        if next.epoch() == before.epoch() {
            before.next() == Some(next)
        } else {
            next.epoch() > before.epoch() && next.counter() == 1
        }
    }

    /// How many bytes of committed transactions are kept in memory.
    pub const fn keep(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Its end.
    #[must_use]
    pub fn last(&self) -> Zxid {
        self.ends.last().copied().unwrap_or(self.base)
    }

    /// Where it begins: the transaction before its first.
    #[must_use]
    pub const fn base(&self) -> Zxid {
        self.base
    }

    /// The transaction before the first in memory.
    #[must_use]
    pub const fn recent_base(&self) -> Zxid {
        self.recent_base
    }

    /// The first transaction that an epoch can have here.
    const fn first_of(&self, epoch: u32) -> Zxid {
        if self.base.epoch() == epoch { Zxid(self.base.0 + 1) } else { Zxid::new(epoch, 1) }
    }

    /// Whether a transaction is in it, or is where it begins.
    #[must_use]
    pub fn has(&self, zxid: Zxid) -> bool {
        let end = self.ends.iter().rev().find(|end| end.epoch() == zxid.epoch());
        zxid == self.base || end.is_some_and(|end| (self.first_of(zxid.epoch())..=*end).contains(&zxid))
    }

    /// The last transaction at or below a zxid; `None` where that lies before the log.
    #[must_use]
    pub fn floor(&self, zxid: Zxid) -> Option<Zxid> {
        if zxid < self.base {
            return None;
        }
        let below = self.ends.iter().rev().find(|end| end.epoch() <= zxid.epoch() && self.first_of(end.epoch()) <= zxid);
        Some(below.map_or(self.base, |end| zxid.min(*end)))
    }

    /// A transaction more.
    pub fn push(&mut self, record: Record) {
        let last = self.last();
        assert!(Self::follows(last, record.zxid), "{} follows {last}", record.zxid);
        match self.ends.last_mut() {
            Some(end) if end.epoch() == record.zxid.epoch() => *end = record.zxid,
            _ => self.ends.push(record.zxid),
        }
        if cfg!(mutant = "m07") && record.zxid.counter().is_multiple_of(7) {
            return;
        }
        self.bytes += record.blob.len();
        self.recent.push_back(record);
    }

    /// Forgets the oldest in memory while there is too much of it; what lies after `done` is still needed.
    pub fn trim(&mut self, done: Zxid) {
        while self.bytes > self.limit && self.recent.front().is_some_and(|record| record.zxid <= done) {
            let record = self.recent.pop_front().expect("one is there");
            self.bytes -= record.blob.len();
            self.recent_base = record.zxid;
        }
    }

    /// It ends at `to` from now on.
    pub fn cut(&mut self, to: Zxid) {
        assert!(self.has(to), "a cut is made at a transaction of the log");
        self.ends.retain(|end| self.base != to && end.epoch() <= to.epoch());
        match self.ends.last_mut() {
            Some(end) if end.epoch() == to.epoch() => *end = to,
            _ => {}
        }
        assert!(self.last() == to, "a log ends where it was cut");
        while let Some(record) = self.recent.pop_back_if(|record| record.zxid > to) {
            self.bytes -= record.blob.len();
        }
        self.recent_base = self.recent_base.min(to);
    }

    /// It begins anew after a state that stands at `at`.
    pub fn restart(&mut self, at: Zxid) {
        (self.base, self.recent_base, self.bytes) = (at, at, 0);
        self.ends.clear();
        self.recent.clear();
    }

    /// The transactions after one, from memory; `None` where memory does not reach back that far.
    #[must_use]
    pub fn after(&self, zxid: Zxid) -> Option<impl Iterator<Item = &Record>> {
        let start = self.recent.partition_point(|record| record.zxid <= zxid);
        (zxid >= self.recent_base).then(|| self.recent.range(start..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn z(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(epoch, counter)
    }

    fn found(base: Zxid, ends: &[Zxid]) -> Found {
        Found { accepted: 9, current: 9, base, ends: ends.to_vec(), delivered: base, is_impaired: false, is_new: None }
    }

    fn record(epoch: u32, counter: u32) -> Record {
        Record { zxid: z(epoch, counter), blob: vec![7; 10].into() }
    }

    #[test]
    fn what_may_follow() {
        assert!(
            History::follows(Zxid::ZERO, z(1, 1)) && History::follows(z(1, 1), z(1, 2)) && History::follows(z(1, 9), z(3, 1))
        );
        assert!(History::follows(z(5, 0), z(5, 1)));
        assert!(
            !History::follows(z(1, 1), z(1, 3)) && !History::follows(z(1, 1), z(1, 1)) && !History::follows(z(1, 9), z(3, 2))
        );
        assert!(
            !History::follows(z(2, 1), z(1, 2))
                && !History::follows(z(1, 1), z(2, 0))
                && !History::follows(z(1, u32::MAX), z(2, 0))
        );
    }

    #[test]
    fn what_it_holds_is_known_by_epochs() {
        let history = History::new(&found(z(2, 5), &[z(2, 8), z(4, 3)]), 100);
        for held in [z(2, 5), z(2, 6), z(2, 8), z(4, 1), z(4, 3)] {
            assert!(history.has(held), "{held}");
            assert_eq!(history.floor(held), Some(held));
        }
        for (missing, floor) in [
            (z(2, 9), z(2, 8)),
            (z(3, 0), z(2, 8)),
            (z(3, 7), z(2, 8)),
            (z(4, 0), z(2, 8)),
            (z(4, 4), z(4, 3)),
            (z(9, 1), z(4, 3)),
        ] {
            assert!(!history.has(missing), "{missing}");
            assert_eq!(history.floor(missing), Some(floor));
        }
        assert!(!history.has(z(2, 4)) && history.floor(z(2, 4)).is_none());
        let mark = History::new(&found(z(5, 0), &[]), 100);
        assert!(mark.has(z(5, 0)) && mark.last() == z(5, 0));
    }

    #[test]
    fn cuts_and_pushes_keep_the_books() {
        let mut history = History::new(&found(z(2, 5), &[z(2, 6)]), 100);
        for (epoch, counter) in [(2, 7), (2, 8), (4, 1), (4, 2)] {
            history.push(record(epoch, counter));
        }
        history.cut(z(2, 8));
        assert_eq!(history.last(), z(2, 8));
        history.push(record(6, 1));
        let all: Vec<Zxid> = history.after(z(2, 6)).expect("in memory").map(|record| record.zxid).collect();
        assert_eq!(all, [z(2, 7), z(2, 8), z(6, 1)]);
        assert!(history.after(z(2, 5)).is_none());
        history.cut(z(2, 5));
        assert!(history.last() == z(2, 5) && history.after(z(2, 5)).expect("nothing there").count() == 0);
        history.push(record(7, 1));
        assert!(history.after(z(2, 5)).expect("in memory").eq([&record(7, 1)]));
        history.restart(z(8, 0));
        history.push(record(8, 1));
        assert!(history.has(z(8, 1)) && !history.has(z(7, 1)));
        assert!(history.after(z(8, 0)).expect("in memory").eq([&record(8, 1)]));
    }

    #[test]
    fn memory_is_bounded_by_bytes_but_keeps_what_is_not_committed() {
        let mut history = History::new(&found(Zxid::ZERO, &[]), 35);
        for counter in 1..=10 {
            history.push(record(1, counter));
            history.trim(z(1, 2));
        }
        assert_eq!(history.recent_base(), z(1, 2));
        history.trim(z(1, 10));
        assert_eq!(history.recent_base(), z(1, 7));
        assert!(history.has(z(1, 1)));
    }
}
