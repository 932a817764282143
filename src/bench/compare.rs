//! Compare: two targets under the same load in turn, and what may be said of the difference.

use std::collections::BTreeSet;

use super::control::{Control, RunError};
use super::noise::Difference;
use super::record::{Record, Target};
use super::spec::Spec;

/// One kind of load, run against both.
#[derive(Clone, PartialEq, Debug)]
pub struct Case {
    /// Name in tables and files.
    pub name: String,
    /// The load. Its seed is that of the first pair; each pair has its own, the same for both targets.
    pub spec: Spec,
}

/// What the runs of one case were.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The case.
    pub case: Case,
    /// Runs of the first target.
    pub a: Vec<Record>,
    /// Runs of the second target, in the same order.
    pub b: Vec<Record>,
}

/// One figure of a case, compared.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// What is compared.
    pub name: String,
    /// Unit of the medians.
    pub unit: &'static str,
    /// Whether more is better: throughput, not latency.
    pub more_is_better: bool,
    /// The difference.
    pub difference: Difference,
}

/// Runs one case `pairs` times against each target in turn. `run` does one run; after each, `done` is told of it. Where the
/// user ends it, or a run fails, what is whole so far is the outcome: pairs only.
pub fn compare(
    case: &Case,
    targets: [&Target; 2],
    pairs: usize,
    control: &Control,
    mut run: impl FnMut(&Spec, &Target, &Control) -> Result<Record, RunError>,
    mut done: impl FnMut(usize, &Record),
) -> (Outcome, Result<(), RunError>) {
    let mut outcome = Outcome { case: case.clone(), a: Vec::new(), b: Vec::new() };
    for pair in 0..pairs {
        let spec = Spec { seed: case.spec.seed.wrapping_add(pair as u64), ..case.spec.clone() };
        let mut two = Vec::with_capacity(2);
        for target in targets {
            if control.is_stopped() {
                return (outcome, Ok(()));
            }
            match run(&spec, target, control) {
                Ok(record) => {
                    done(pair, &record);
                    two.push(record);
                }
                Err(error) => return (outcome, Err(error)),
            }
        }
        if two.iter().any(|record| record.ended_early.is_some()) && control.is_stopped() {
            return (outcome, Ok(()));
        }
        outcome.b.extend(two.pop());
        outcome.a.extend(two.pop());
    }
    (outcome, Ok(()))
}

impl Outcome {
    /// Names of the operations that both have done, in order.
    fn operations(&self) -> BTreeSet<&str> {
        let of = |records: &'_ [Record]| -> BTreeSet<String> {
            records.iter().flat_map(|record| record.operations.keys().cloned()).collect()
        };
        let (a, b) = (of(&self.a), of(&self.b));
        let first = self.a.iter().flat_map(|record| record.operations.keys());
        first.filter(|name| a.contains(*name) && b.contains(*name)).map(String::as_str).collect()
    }

    /// The figures of this case: throughput where nothing paces it, and latencies of all operations, each by itself where there
    /// are several.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        let mut add = |name: String, unit, more_is_better, value: &dyn Fn(&Record) -> f64| {
            let row = |records: &[Record]| records.iter().map(value).collect::<Vec<_>>();
            if let Some(difference) = Difference::of(&row(&self.a), &row(&self.b)) {
                figures.push(Figure { name, unit, more_is_better, difference });
            }
        };
        if self.case.spec.rate().is_none() {
            add("throughput".to_owned(), "/s", true, &Record::achieved);
        }
        let operations = self.operations();
        for name in &operations {
            let prefix = if operations.len() == 1 { String::new() } else { format!("{name} ") };
            for (quantile, q) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
                let of = |record: &Record| {
                    record.operations.get(*name).map_or(0.0, |operation| operation.latency.quantile_us(q) as f64)
                };
                // A quantile says nothing that fewer than ten lie beyond: the maximum would be told under another name.
                let needed = 10.0 / (1.0 - q);
                let count = |record: &Record| record.operations.get(*name).map_or(0, |operation| operation.latency.count());
                if self.a.iter().chain(&self.b).all(|record| count(record) as f64 >= needed) {
                    add(format!("{prefix}{quantile}"), "us", false, &of);
                }
            }
            let max = |record: &Record| record.operations.get(*name).map_or(0.0, |operation| operation.latency.max_us() as f64);
            add(format!("{prefix}max"), "us", false, &max);
        }
        figures
    }

    /// What forbids to take the figures at their face: errors, arrivals that were not carried, runs that ended early.
    #[must_use]
    pub fn cautions(&self) -> Vec<String> {
        let mut cautions = Vec::new();
        for record in self.a.iter().chain(&self.b) {
            let label = &record.target.label;
            if let Some(why) = &record.ended_early {
                cautions.push(format!("{label}: a run ended early, {why}"));
            }
            if record.errors() > 0 {
                cautions.push(format!("{label}: {} of {} answers were errors", record.errors(), record.arrivals.answered));
            }
            if record.spec.rate().is_some() && record.achieved() < 0.99 * record.offered() {
                cautions.push(format!("{label}: {:.0}/s of {:.0}/s were answered", record.achieved(), record.offered()));
            }
        }
        cautions.sort();
        cautions.dedup();
        cautions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::{Arrived, FORMAT, Generator, Operation};
    use crate::bench::spec::{Arrivals, Pace};
    use crate::show::latency::Latency;

    fn record(spec: &Spec, target: &Target, us: u64, count: u64) -> Record {
        let mut latency = Latency::default();
        for n in 0..count {
            latency.record_ns((us + n % 3) * 1000);
        }
        Record {
            format: FORMAT,
            command: String::new(),
            target: target.clone(),
            spec: spec.clone(),
            machines: Vec::new(),
            began_unix_ms: 0,
            seconds: 1.0,
            ended_early: None,
            arrivals: Arrived { offered: count, answered: count, ..Arrived::default() },
            operations: [("read".to_owned(), Operation { latency, ..Operation::default() })].into(),
            slices: Vec::new(),
            stalls: Vec::new(),
            generator: Generator::default(),
        }
    }

    fn target(label: &str) -> Target {
        Target { label: label.to_owned(), ..Target::default() }
    }

    #[test]
    fn targets_take_turns_with_the_same_seeds() {
        let case = Case { name: "reads".to_owned(), spec: Spec { seed: 7, ..Spec::default() } };
        let (a, b) = (target("a"), target("b"));
        let mut order = Vec::new();
        let (outcome, result) = compare(
            &case,
            [&a, &b],
            5,
            &Control::default(),
            |spec, target, _| {
                order.push((target.label.clone(), spec.seed));
                let us = if target.label == "a" { 100 } else { 200 };
                Ok(record(spec, target, us + spec.seed, 2000))
            },
            |_, _| {},
        );
        assert!(result.is_ok());
        assert_eq!(order[..4], [("a".to_owned(), 7), ("b".to_owned(), 7), ("a".to_owned(), 8), ("b".to_owned(), 8)]);
        let figures = outcome.figures();
        let names: Vec<_> = figures.iter().map(|figure| figure.name.as_str()).collect();
        // 2,000 answers say nothing of a p99.9.
        assert_eq!(names, ["throughput", "p50", "p99", "max"]);
        assert_eq!(figures[0].difference.verdict(true), "no difference beyond the noise");
        assert_eq!(figures[1].difference.verdict(false), "better by 1.91 times");
        assert!(outcome.cautions().is_empty());
    }

    #[test]
    fn a_failure_leaves_whole_pairs() {
        let case = Case { name: "reads".to_owned(), spec: Spec::default() };
        let (a, b) = (target("a"), target("b"));
        let mut runs = 0;
        let (outcome, failed) = compare(
            &case,
            [&a, &b],
            5,
            &Control::default(),
            |spec, target, _| {
                runs += 1;
                if runs == 4 { Err(RunError::Spec("gone".to_owned())) } else { Ok(record(spec, target, 1, 10)) }
            },
            |_, _| {},
        );
        let error = failed.unwrap_err();
        assert_eq!((error.to_string().as_str(), outcome.a.len(), outcome.b.len()), ("gone", 1, 1));
    }

    #[test]
    fn what_was_not_carried_is_told() {
        let pace = Pace::Open { rate: 1000.0, arrivals: Arrivals::Constant };
        let spec = Spec { pace, ..Spec::default() };
        let mut slow = record(&spec, &target("slow"), 10, 500);
        slow.arrivals.offered = 1000;
        slow.operations.get_mut("read").unwrap().errors.insert("NoNode".to_owned(), 3);
        let case = Case { name: "reads".to_owned(), spec };
        let outcome = Outcome { case, a: vec![slow.clone()], b: vec![slow] };
        assert_eq!(outcome.cautions(), ["slow: 3 of 500 answers were errors", "slow: 500/s of 1000/s were answered"]);
        assert!(outcome.figures().iter().all(|figure| figure.name != "throughput"), "the rate is given");
    }
}
