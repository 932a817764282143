//! Stats: what was counted in runs: faults, elections, ways to synchronise, events.

use std::collections::BTreeMap;
use std::fmt;

use super::faults::Kind;

/// Counters. Those of many runs add up.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Runs.
    pub runs: u64,
    /// Events of the worlds.
    pub events: u64,
    /// Inputs of peers.
    pub steps: u64,
    /// Answers of disks.
    pub syncs: u64,
    /// Simulated time, us.
    pub time: u64,
    /// Transactions proposed.
    pub proposed: u64,
    /// Transactions delivered, by each server.
    pub delivered: u64,
    /// Transactions whose clients were told that they are done.
    pub acked: u64,
    /// Longest time that a core took to work, us.
    pub slowest: u64,
    /// Whatever else, by name.
    pub counts: BTreeMap<String, u64>,
}

impl Stats {
    /// One more of something.
    pub fn count(&mut self, what: &str) {
        match self.counts.get_mut(what) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(what.to_owned(), 1);
            }
        }
    }

    /// A fault has struck.
    pub fn fault(&mut self, kind: Kind) {
        self.count(&format!("fault: {}", kind.name()));
    }

    /// A peer has hung up.
    pub fn hung_up(&mut self, why: &str) {
        self.count(&format!("hung up: {why}"));
    }

    /// The core works after so long.
    pub fn settled(&mut self, after: u64) {
        self.slowest = self.slowest.max(after);
    }

    /// Adds those of other runs.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.events += other.events;
        self.steps += other.steps;
        self.syncs += other.syncs;
        self.time += other.time;
        self.proposed += other.proposed;
        self.delivered += other.delivered;
        self.acked += other.acked;
        self.slowest = self.slowest.max(other.slowest);
        for (what, count) in &other.counts {
            *self.counts.entry(what.clone()).or_default() += count;
        }
    }

    /// Names and values, as one line each holds them.
    #[must_use]
    pub fn rows(&self) -> Vec<(String, u64)> {
        let fixed = [
            ("runs", self.runs),
            ("events", self.events),
            ("inputs of peers", self.steps),
            ("syncs", self.syncs),
            ("simulated us", self.time),
            ("proposed", self.proposed),
            ("delivered", self.delivered),
            ("acknowledged to clients", self.acked),
            ("slowest ending us", self.slowest),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
        fixed.chain(self.counts.iter().map(|(name, value)| (name.clone(), *value))).collect()
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows().iter().try_for_each(|(name, value)| writeln!(f, "{value:>14}  {name}"))
    }
}
