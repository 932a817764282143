//! Tally: what one thread of a scenario has counted, errors without a code of the protocol among it.

use std::collections::BTreeMap;

use crate::bench::record::Operation;
use crate::bench::recorder::Recorder;
use crate::show::latency::Latency;

/// Counts nothing while it is muted, as in rounds that began before the measured time.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) recorder: Recorder,
    /// How late cycles of the open loop left that found a client free.
    pub(super) late: Latency,
    pub(super) is_muted: bool,
    names: &'static [&'static str],
    failed: BTreeMap<(usize, &'static str), u64>,
}

impl Tally {
    pub(super) fn new(names: &'static [&'static str], from: u64, until: u64) -> Self {
        let recorder = Recorder::new(names, from, until);
        Self { recorder, late: Latency::default(), is_muted: false, names, failed: BTreeMap::new() }
    }

    /// An operation was to start at this moment.
    pub(super) fn offered(&mut self, at: u64) {
        if !self.is_muted {
            self.recorder.offered(at);
        }
    }

    /// It is answered; `err` is the protocol's code, 0 for success.
    pub(super) fn answered(&mut self, now: u64, operation: usize, start: u64, err: i32) {
        if !self.is_muted {
            self.recorder.answered(now, operation, start, err);
        }
    }

    /// It was not answered, and never will be.
    pub(super) fn failed(&mut self, now: u64, operation: usize, why: &'static str) {
        if !self.is_muted && self.recorder.covers(now) {
            self.recorder.unanswered(1);
            *self.failed.entry((operation, why)).or_default() += 1;
        }
    }

    /// It was done, but not right: an error beside the counts of what was answered.
    pub(super) fn wrong(&mut self, now: u64, operation: usize, why: &'static str) {
        if !self.is_muted && self.recorder.covers(now) {
            *self.failed.entry((operation, why)).or_default() += 1;
        }
    }

    /// Adds what another thread has counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.recorder.add(&other.recorder);
        self.late.add(&other.late);
        for (key, count) in &other.failed {
            *self.failed.entry(*key).or_default() += count;
        }
    }

    /// Adds the errors that have no code to the operations.
    pub(super) fn add_failed(&self, operations: &mut BTreeMap<String, Operation>) {
        for ((operation, why), count) in &self.failed {
            let errors = &mut operations.entry(self.names[*operation].to_owned()).or_default().errors;
            *errors.entry((*why).to_owned()).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_without_a_code_are_told_by_name_and_only_in_the_measured_time() {
        let mut tally = Tally::new(&["open", "close"], 100, 1_000_000);
        tally.failed(50, 0, "CONNECTION LOST");
        tally.failed(150, 0, "CONNECTION LOST");
        tally.is_muted = true;
        tally.failed(160, 0, "CONNECTION LOST");
        tally.answered(170, 0, 160, 0);
        tally.is_muted = false;
        tally.wrong(200, 1, "MISSED WATCH");
        let mut both = Tally::new(&["open", "close"], 100, 1_000_000);
        both.wrong(200, 1, "MISSED WATCH");
        both.add(&tally);
        let (arrived, mut operations, ..) = both.recorder.clone().finish(1_000_000);
        both.add_failed(&mut operations);
        assert_eq!((arrived.answered, arrived.unanswered), (0, 1));
        assert_eq!(operations["open"].errors["CONNECTION LOST"], 1);
        assert_eq!(operations["close"].errors["MISSED WATCH"], 2);
    }
}
