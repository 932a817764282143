//! Wheel: the sessions filed by the tick in which they may expire.
//!
//! A touch only moves the deadline that the session itself carries; its filing stays in the old bucket. When that bucket
//! comes due, a session that has been touched since is filed again under its new deadline. So a session costs the wheel one
//! filing a timeout instead of one a touch. A filing whose session is gone, or was filed anew elsewhere, is stale and dropped.

use std::collections::BTreeMap;

use crate::ground::ids::SessionId;
use crate::ground::time::Millis;

/// Filings looked at in one call, so that a bucket of many thousands does not hold up its caller.
pub(super) const SLICE: usize = 4096;

/// Stale filings allowed besides one for each live one, before the wheel is swept.
const SLACK: usize = 1024;

/// What a session carries for the wheel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Deadline {
    /// The moment from which on it is expired, a multiple of the tick.
    pub(super) due: Millis,
    /// The bucket it is filed in, at or before `due` while there is time left; 0 for none.
    filed: Millis,
}

/// The filings.
#[derive(Debug)]
pub(super) struct Wheel {
    tick_ms: u64,
    buckets: BTreeMap<Millis, Vec<SessionId>>,
    filings: usize,
}

impl Wheel {
    pub(super) fn new(tick_ms: u64) -> Self {
        assert!(tick_ms > 0, "tickTime is at least a millisecond");
        Self { tick_ms, buckets: BTreeMap::new(), filings: 0 }
    }

    /// The end of the tick in which a session touched now would run out: it lives for its timeout and up to a tick more
    /// (`ExpiryQueue.roundToNextInterval`).
    pub(super) const fn due(&self, now: Millis, timeout_ms: i32) -> Millis {
        let timeout = if timeout_ms < 0 { 0 } else { timeout_ms.cast_unsigned() as u64 };
        Millis((now.plus(timeout).0 / self.tick_ms + 1).saturating_mul(self.tick_ms))
    }

    /// Sets a new deadline. Touches no bucket unless the deadline moved before the filing.
    pub(super) fn set(&mut self, id: SessionId, deadline: &mut Deadline, due: Millis) {
        deadline.due = due;
        if deadline.filed == Millis(0) || due < deadline.filed {
            self.file(id, deadline, due);
        }
    }

    /// Takes the session out.
    pub(super) const fn clear(deadline: &mut Deadline) {
        deadline.filed = Millis(0);
    }

    fn file(&mut self, id: SessionId, deadline: &mut Deadline, bucket: Millis) {
        deadline.filed = bucket;
        self.buckets.entry(bucket).or_default().push(id);
        self.filings += 1;
    }

    /// Takes up to [`SLICE`] filings out of the buckets that are due, each with its bucket.
    pub(super) fn take_due(&mut self, now: Millis) -> Vec<(SessionId, Millis)> {
        let mut taken = Vec::new();
        while let Some(mut first) = self.buckets.first_entry() {
            let bucket = *first.key();
            if bucket > now || taken.len() == SLICE {
                break;
            }
            let ids = first.get_mut();
            let keep = ids.len().saturating_sub(SLICE - taken.len());
            taken.extend(ids.drain(keep..).map(|id| (id, bucket)));
            if ids.is_empty() {
                first.remove();
            }
        }
        self.filings -= taken.len();
        taken
    }

    /// Judges a filing taken out at `now`: whether its session is expired. A session with time left is filed again under its
    /// deadline; an expired one under the next tick, so that it is named again if nothing came of it.
    pub(super) fn judge(&mut self, id: SessionId, bucket: Millis, deadline: &mut Deadline, now: Millis) -> bool {
        if deadline.filed != bucket {
            return false;
        }
        let expired = deadline.due <= now;
        let next = if expired { self.due(now, 0) } else { deadline.due };
        self.file(id, deadline, next);
        expired
    }

    /// Whether so many filings are stale that it is time to [`Wheel::sweep`].
    pub(super) const fn is_littered(&self, live: usize) -> bool {
        self.filings > 2 * live + SLACK
    }

    /// Drops the stale filings: `filed` tells whether a session is filed in a bucket.
    pub(super) fn sweep(&mut self, filed: impl Fn(SessionId) -> Option<Deadline>) {
        self.filings = 0;
        self.buckets.retain(|&bucket, ids| {
            ids.sort_unstable();
            ids.dedup();
            ids.retain(|&id| filed(id).is_some_and(|deadline| deadline.filed == bucket));
            self.filings += ids.len();
            !ids.is_empty()
        });
    }

    /// Drops every filing.
    pub(super) fn reset(&mut self) {
        self.buckets.clear();
        self.filings = 0;
    }

    #[cfg(test)]
    pub(super) const fn filings(&self) -> usize {
        self.filings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId(5);

    #[test]
    fn deadlines_are_rounded_up_to_the_next_tick_always() {
        let wheel = Wheel::new(2000);
        assert_eq!(wheel.due(Millis(0), 4000), Millis(6000));
        assert_eq!(wheel.due(Millis(1), 4000), Millis(6000));
        assert_eq!(wheel.due(Millis(1999), 4000), Millis(6000));
        assert_eq!(wheel.due(Millis(2000), 4000), Millis(8000));
        assert_eq!(wheel.due(Millis(7), -1), Millis(2000));
        assert_eq!(wheel.due(Millis(u64::MAX), i32::MAX), Millis((u64::MAX / 2000 + 1).saturating_mul(2000)));
    }

    #[test]
    fn a_later_deadline_files_nothing_and_an_earlier_one_files_anew() {
        let mut wheel = Wheel::new(10);
        let mut d = Deadline::default();
        wheel.set(ID, &mut d, Millis(50));
        wheel.set(ID, &mut d, Millis(90));
        assert_eq!(wheel.filings(), 1);
        wheel.set(ID, &mut d, Millis(20));
        assert_eq!(wheel.filings(), 2);
        assert_eq!(wheel.take_due(Millis(19)), []);
        assert_eq!(wheel.take_due(Millis(50)), [(ID, Millis(20)), (ID, Millis(50))]);
        assert!(wheel.judge(ID, Millis(20), &mut d, Millis(50)));
        assert!(!wheel.judge(ID, Millis(50), &mut d, Millis(50)), "the other filing is stale");
        assert_eq!(wheel.take_due(Millis(60)), [(ID, Millis(60))], "named again a tick later");
    }

    #[test]
    fn a_large_bucket_comes_in_slices() {
        let mut wheel = Wheel::new(10);
        for i in 0..SLICE + 1 {
            wheel.set(SessionId(i as i64), &mut Deadline::default(), Millis(10));
        }
        wheel.set(ID, &mut Deadline::default(), Millis(20));
        assert_eq!(wheel.take_due(Millis(20)).len(), SLICE);
        assert_eq!(wheel.take_due(Millis(20)).len(), 2);
        assert_eq!((wheel.take_due(Millis(20)).len(), wheel.filings()), (0, 0));
    }

    #[test]
    fn a_sweep_keeps_one_filing_for_each_live_session() {
        let mut wheel = Wheel::new(10);
        let mut d = Deadline::default();
        for round in (1..2000).rev() {
            wheel.set(ID, &mut d, Millis(10 * round));
        }
        assert!(wheel.is_littered(1));
        wheel.sweep(|id| (id == ID).then_some(d));
        assert_eq!((wheel.filings(), wheel.take_due(Millis(10))), (1, vec![(ID, Millis(10))]));
    }
}
