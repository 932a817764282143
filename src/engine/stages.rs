//! Stages: where the time of a write goes, from its bytes in a shard to its answer in the socket.
//!
//! Every core counts the stages that end on it; they are joined when somebody asks. Their sum is what a write spends in this server,
//! whoever it was that waited: what a batch waits for, all its transactions wait for.

use core::array;

use hdrhistogram::Histogram;

use super::message::Batch;

/// Longest time that is told from longer ones, us: an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// A stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// From its bytes in a shard until the sequencer takes it.
    Queue,
    /// Until the batch that it joined is closed.
    Batch,
    /// Until that batch is durable in the log, those before it too. A server alone answers for it then.
    Flush,
    /// Until a quorum holds it durably. A server alone has no such stage, a learner only this one from `queue` to `deliver`.
    Replicate,
    /// Until the shard that owes the answer takes it.
    Deliver,
    /// Until the answer is in the socket.
    Respond,
}

impl Stage {
    /// All of them, in the order in which a write goes through them.
    pub const ALL: [Self; 6] = [Self::Queue, Self::Batch, Self::Flush, Self::Replicate, Self::Deliver, Self::Respond];

    /// Its name, as figures have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Batch => "batch",
            Self::Flush => "flush",
            Self::Replicate => "replicate",
            Self::Deliver => "deliver",
            Self::Respond => "respond",
        }
    }
}

/// Moments of a batch, monotonic us; 0 where one has not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Times {
    /// It was closed.
    pub closed: u64,
    /// It was durable in this server's log.
    pub durable: u64,
    /// It was delivered.
    pub shown: u64,
}

/// What one core has counted.
#[derive(Clone, Debug)]
pub struct Stages {
    times: [Histogram<u64>; Stage::ALL.len()],
    /// Their sums, exact, us.
    sums: [u64; Stage::ALL.len()],
}

impl Default for Stages {
    fn default() -> Self {
        // Two digits: 20 KiB each, and an error below 1 %.
        let times = array::from_fn(|_| Histogram::new_with_bounds(1, LONGEST_US, 2).expect("the bounds are in order"));
        Self { times, sums: [0; Stage::ALL.len()] }
    }
}

impl Stages {
    /// `count` writes have spent the time from `from` to `to`, monotonic us, in a stage. Clocks of different cores may differ by a little:
    /// what would be negative is nothing.
    pub fn record(&mut self, stage: Stage, from: u64, to: u64, count: u64) {
        if count > 0 {
            let us = to.saturating_sub(from);
            self.times[stage as usize].saturating_record_n(us, count);
            let sum = &mut self.sums[stage as usize];
            *sum = sum.saturating_add(us.saturating_mul(count));
        }
    }

    /// A batch, and all before it, are durable in this server's log.
    pub fn flushed(&mut self, batch: &mut Batch, now_us: u64) {
        self.record(Stage::Flush, batch.times.closed, now_us, batch.entries.len() as u64);
        batch.times.durable = now_us;
    }

    /// What was counted of a stage, us.
    #[must_use]
    pub const fn of(&self, stage: Stage) -> &Histogram<u64> {
        &self.times[stage as usize]
    }

    /// All the time that was spent in a stage, us.
    #[must_use]
    pub const fn sum(&self, stage: Stage) -> u64 {
        self.sums[stage as usize]
    }

    /// Adds what another core has counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.times.iter_mut().zip(&other.times) {
            mine.add(theirs).expect("all have the same bounds");
        }
        for (mine, theirs) in self.sums.iter_mut().zip(&other.sums) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        self.times.iter_mut().for_each(Histogram::reset);
        self.sums = [0; Stage::ALL.len()];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cores_have_counted_is_joined() {
        let (mut one, mut other) = (Stages::default(), Stages::default());
        one.record(Stage::Queue, 1000, 1010, 3);
        other.record(Stage::Queue, 1000, 1030, 1);
        other.record(Stage::Respond, 1000, 900, 2);
        other.record(Stage::Flush, 0, u64::MAX, 1);
        other.record(Stage::Batch, 0, 5, 0);
        one.merge(&other);
        let queue = one.of(Stage::Queue);
        assert_eq!((queue.len(), queue.min(), queue.max(), one.sum(Stage::Queue)), (4, 10, 30, 60));
        assert_eq!((one.of(Stage::Respond).len(), one.of(Stage::Respond).max()), (2, 0));
        assert!(one.of(Stage::Flush).max() >= LONGEST_US, "too long is longest");
        assert_eq!(one.of(Stage::Batch).len(), 0);
        one.reset();
        assert!(Stage::ALL.iter().all(|stage| one.of(*stage).is_empty() && one.sum(*stage) == 0));
    }
}
