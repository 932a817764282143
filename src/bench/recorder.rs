//! Recorder: counts what one generator thread sees, and joins what several have seen.

use std::collections::BTreeMap;

use super::record::{Arrived, Operation, Slice, Stall};
use crate::client::answer::Refusal;
use crate::show::latency::Latency;

/// Shortest time without answers, while requests wait, that is told as a stall.
pub const STALL_MS: u64 = 100;

/// Nanoseconds of a bucket by which stalls are found.
const BUCKET_NS: u64 = 10_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// `KeeperException.Code.CONNECTIONLOSS`: what became of a request whose connection died. No server sends it, clients say it.
pub const CONNECTION_LOSS: i32 = -4;

/// Ten milliseconds.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    answered: u32,
    /// Earliest start of what was answered in it.
    earliest: u64,
}

/// What one thread sees. Times are nanoseconds since a moment that all threads of a run share.
#[derive(Clone, Debug)]
pub struct Recorder {
    from: u64,
    until: u64,
    names: Vec<&'static str>,
    latencies: Vec<Latency>,
    errors: BTreeMap<(usize, i32), u64>,
    slices: Vec<Slice>,
    buckets: Vec<Bucket>,
    arrived: Arrived,
}

impl Recorder {
    /// Counts what happens from `from` until before `until`, for operations of these names.
    #[must_use]
    pub fn new(names: &[&'static str], from: u64, until: u64) -> Self {
        let span = until.saturating_sub(from);
        let slices = usize::try_from(span.div_ceil(SECOND_NS)).expect("a run is shorter than that");
        let buckets = usize::try_from(span.div_ceil(BUCKET_NS)).expect("a run is shorter than that");
        Self {
            from,
            until,
            names: names.to_vec(),
            latencies: vec![Latency::default(); names.len()],
            errors: BTreeMap::new(),
            slices: vec![Slice::default(); slices],
            buckets: vec![Bucket { answered: 0, earliest: u64::MAX }; buckets],
            arrived: Arrived::default(),
        }
    }

    /// Whether a moment is measured.
    #[must_use]
    pub const fn covers(&self, at: u64) -> bool {
        at >= self.from && at < self.until
    }

    /// A request was to start at this moment.
    #[inline]
    pub fn offered(&mut self, at: u64) {
        if self.covers(at) {
            self.arrived.offered += 1;
            self.slices[((at - self.from) / SECOND_NS) as usize].offered += 1;
        }
    }

    /// A request had to wait because all connections were full, or did not start at all because too many waited.
    pub fn held_up(&mut self, at: u64, is_dropped: bool) {
        if self.covers(at) {
            *(if is_dropped { &mut self.arrived.dropped } else { &mut self.arrived.delayed }) += 1;
        }
    }

    /// Requests that are unanswered at the end.
    pub const fn unanswered(&mut self, count: u64) {
        self.arrived.unanswered += count;
    }

    /// A request that was to start at `start` is answered now; `err` is the protocol's code, 0 for success.
    #[inline]
    pub fn answered(&mut self, now: u64, operation: usize, start: u64, err: i32) {
        if !self.covers(now) {
            return;
        }
        self.arrived.answered += 1;
        let at = now - self.from;
        let bucket = &mut self.buckets[(at / BUCKET_NS) as usize];
        bucket.answered = bucket.answered.saturating_add(1);
        bucket.earliest = bucket.earliest.min(start);
        let slice = &mut self.slices[(at / SECOND_NS) as usize];
        if err == 0 {
            let ns = now.saturating_sub(start);
            slice.latency.record_ns(ns);
            self.latencies[operation].record_ns(ns);
        } else {
            slice.errors += 1;
            *self.errors.entry((operation, err)).or_default() += 1;
        }
    }

    /// Answers so far, and all their latencies of the newest second that has begun, for a progress line.
    #[must_use]
    pub fn so_far(&self, now: u64) -> (u64, Option<&Latency>) {
        let at = now.saturating_sub(self.from) / SECOND_NS;
        (self.arrived.answered, usize::try_from(at).ok().and_then(|at| self.slices.get(at)).map(|slice| &slice.latency))
    }

    /// The second of the measured time that a moment lies in.
    #[must_use]
    pub fn second(&self, at: u64) -> Option<&Slice> {
        self.slices.get(usize::try_from(at.checked_sub(self.from)? / SECOND_NS).ok()?)
    }

    /// Adds what another thread of the same run has seen.
    pub fn add(&mut self, other: &Self) {
        assert!(self.names == other.names && self.from == other.from && self.until == other.until, "threads of one run");
        for (mine, theirs) in self.latencies.iter_mut().zip(&other.latencies) {
            mine.add(theirs);
        }
        for (key, count) in &other.errors {
            *self.errors.entry(*key).or_default() += count;
        }
        for (mine, theirs) in self.slices.iter_mut().zip(&other.slices) {
            mine.offered += theirs.offered;
            mine.errors += theirs.errors;
            mine.latency.add(&theirs.latency);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            mine.answered = mine.answered.saturating_add(theirs.answered);
            mine.earliest = mine.earliest.min(theirs.earliest);
        }
        let (mine, theirs) = (&mut self.arrived, other.arrived);
        mine.offered += theirs.offered;
        mine.answered += theirs.answered;
        mine.delayed += theirs.delayed;
        mine.dropped += theirs.dropped;
        mine.unanswered += theirs.unanswered;
    }

    /// What was seen until `end`: arrivals, operations by name (those that were used), seconds, and stalls.
    #[must_use]
    pub fn finish(mut self, end: u64) -> (Arrived, BTreeMap<String, Operation>, Vec<Slice>, Vec<Stall>) {
        let stalls = self.stalls(end);
        let seconds = usize::try_from(end.clamp(self.from, self.until).saturating_sub(self.from).div_ceil(SECOND_NS));
        self.slices.truncate(seconds.expect("no more than there are"));
        let mut operations: BTreeMap<String, Operation> = BTreeMap::new();
        for (name, latency) in self.names.iter().zip(self.latencies) {
            if latency.count() > 0 {
                operations.entry((*name).to_owned()).or_default().latency = latency;
            }
        }
        for ((operation, code), count) in self.errors {
            let errors = &mut operations.entry(self.names[operation].to_owned()).or_default().errors;
            *errors.entry(name_of(code)).or_default() += count;
        }
        (self.arrived, operations, self.slices, stalls)
    }

    /// A row of buckets without an answer is a stall where what was answered next, or never, had waited since before.
    fn stalls(&self, end: u64) -> Vec<Stall> {
        let mut stalls = Vec::new();
        let mut since = None;
        let used = usize::try_from(end.clamp(self.from, self.until).saturating_sub(self.from) / BUCKET_NS);
        let used = &self.buckets[..used.expect("no more than there are").min(self.buckets.len())];
        let mut told = |first: usize, after: usize, waited: bool| {
            let ms = (after - first) as u64 * (BUCKET_NS / 1_000_000);
            if waited && ms >= STALL_MS {
                stalls.push(Stall { at: (first as u64 * BUCKET_NS) as f64 / 1e9, ms: ms as f64 });
            }
        };
        for (i, bucket) in used.iter().enumerate() {
            if bucket.answered == 0 {
                since.get_or_insert(i);
            } else if let Some(first) = since.take() {
                told(first, i, bucket.earliest <= self.from + (first as u64 + 1) * BUCKET_NS);
            }
        }
        if let Some(first) = since {
            told(first, used.len(), self.arrived.unanswered > 0);
        }
        stalls
    }
}

/// The protocol's name of an error code, with the code.
pub(super) fn name_of(code: i32) -> String {
    if code == CONNECTION_LOSS { format!("CONNECTIONLOSS ({code})") } else { Refusal(code).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Ten seconds of a request a millisecond, answered after one, but for a stop of 200 ms at 4 s.
    fn with_a_stall() -> Recorder {
        let mut recorder = Recorder::new(&["read", "set"], 1000 * MS, 11_000 * MS);
        for n in 0..12_000 {
            let start = n * MS;
            recorder.offered(start);
            let done = start + MS;
            let is_stopped = (5000 * MS..5200 * MS).contains(&done);
            recorder.answered(if is_stopped { 5200 * MS } else { done }, usize::from(n % 10 == 0), start, 0);
        }
        recorder
    }

    #[test]
    fn only_the_measured_time_counts() {
        let (arrived, operations, slices, stalls) = with_a_stall().finish(11_000 * MS);
        assert_eq!((arrived.offered, arrived.answered), (10_000, 10_000));
        assert_eq!(slices.len(), 10);
        assert!(slices.iter().all(|slice| slice.offered == 1000));
        assert_eq!(slices.iter().map(|slice| slice.latency.count()).sum::<u64>(), 10_000);
        assert_eq!(operations["set"].latency.count(), 1000);
        assert_eq!(stalls, [Stall { at: 4.0, ms: 200.0 }]);
    }

    #[test]
    fn silence_without_requests_is_no_stall() {
        let mut recorder = Recorder::new(&["read"], 0, 3000 * MS);
        recorder.answered(100 * MS, 0, 99 * MS, 0);
        recorder.answered(2000 * MS, 0, 1999 * MS, 0);
        assert_eq!(recorder.clone().finish(3000 * MS).3, []);
        recorder.unanswered(1);
        assert_eq!(recorder.finish(3000 * MS).3, [Stall { at: 2.01, ms: 990.0 }], "the last request was never answered");
    }

    #[test]
    fn threads_joined_are_as_one() {
        let whole = with_a_stall();
        let mut even = Recorder::new(&["read", "set"], 1000 * MS, 11_000 * MS);
        let mut odd = even.clone();
        for n in 0..12_000u64 {
            let half = if n % 2 == 0 { &mut even } else { &mut odd };
            half.offered(n * MS);
            let done = (n + 1) * MS;
            let is_stopped = (5000 * MS..5200 * MS).contains(&done);
            half.answered(if is_stopped { 5200 * MS } else { done }, usize::from(n % 10 == 0), n * MS, 0);
        }
        even.add(&odd);
        assert_eq!(even.finish(11_000 * MS), whole.finish(11_000 * MS));
    }

    #[test]
    fn errors_are_told_by_their_name_and_do_not_count_as_latencies() {
        let mut recorder = Recorder::new(&["delete"], 0, 1000 * MS);
        recorder.answered(MS, 0, 0, -101);
        recorder.answered(2 * MS, 0, 0, -101);
        recorder.answered(3 * MS, 0, 0, -12345);
        let (_, operations, slices, _) = recorder.finish(500 * MS);
        let delete = &operations["delete"];
        assert_eq!((delete.latency.count(), slices[0].errors), (0, 3));
        assert_eq!(delete.errors.values().sum::<u64>(), 3);
        assert_eq!(delete.errors.len(), 2, "{:?}", delete.errors);
    }
}
