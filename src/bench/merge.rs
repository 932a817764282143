//! Merge: one record of what several generator machines measured together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use super::record::{FORMAT, Record, RecordError, Slice, Stall};
use super::show::table;
use super::spec::Pace;

/// Why records are no parts of one measurement.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// There are none.
    #[error("there is nothing to merge")]
    Nothing,
    /// They were asked for different things, or loaded different targets.
    #[error("{what} differs: {one:?} in the first, {other:?} in number {number}; only parts of one measurement can be merged")]
    Different {
        /// What.
        what: &'static str,
        /// What the first has.
        one: String,
        /// What another has.
        other: String,
        /// Which other, counted from 1.
        number: usize,
    },
    /// No moment is in all of them.
    #[error("number {number} was measured {seconds:.1} s after another had ended; only what ran at the same time can be merged")]
    Apart {
        /// Which, counted from 1.
        number: usize,
        /// Between the end of the one and the beginning of the other, seconds.
        seconds: f64,
    },
    /// A file is no record.
    #[error(transparent)]
    File(#[from] RecordError),
    /// The file to write is one of those to merge.
    #[error("{0} is one of the files to merge; give --json another name")]
    Same(String),
}

/// Joins what several machines measured at the same time against the same target, as if one had measured it all. The order does
/// not matter, and parts may be merged first. Counts and histograms are sums, slices are added by the second of wall-clock time
/// they began in, and rates and connections of the spec add up. Stalls are those that any one machine saw. The measured time is
/// from when the first began to when the last ended, so that no rate is told higher than it was. How late requests left is what
/// it was on the worst machine. A part that ended early makes the whole one that did.
///
/// # Errors
/// Where they are not parts of one measurement.
pub fn merge(records: &[Record]) -> Result<Record, MergeError> {
    let first = records.first().ok_or(MergeError::Nothing)?;
    for (i, record) in records.iter().enumerate() {
        compare(first, record, i + 1)?;
    }
    overlap(records)?;

    let began_unix_ms = records.iter().map(|record| record.began_unix_ms).min().expect("there is a first");
    let ended = records.iter().map(|record| began_ms(record, began_unix_ms) / 1000.0 + record.seconds).fold(0.0, f64::max);
    let mut merged = Record {
        format: FORMAT,
        command: distinct(records.iter().map(|record| record.command.clone())).join(" + "),
        target: first.target.clone(),
        spec: first.spec.clone(),
        machines: Vec::new(),
        began_unix_ms,
        seconds: ended,
        ended_early: None,
        arrivals: super::record::Arrived::default(),
        operations: BTreeMap::new(),
        slices: Vec::new(),
        stalls: Vec::new(),
        generator: super::record::Generator::default(),
    };
    merged.target.servers = distinct(records.iter().flat_map(|record| record.target.servers.iter().cloned()));
    let versions = distinct(records.iter().filter_map(|record| record.target.version.clone()));
    merged.target.version = (!versions.is_empty()).then(|| versions.join(" / "));
    merged.target.quorum = records.iter().find_map(|record| record.target.quorum);
    merged.target.durability = records.iter().find_map(|record| record.target.durability.clone());
    merged.spec.connections = 0;
    merged.spec.threads = 0;
    let mut rate = 0.0;
    for record in records {
        add(&mut merged, record);
        rate += record.spec.rate().unwrap_or(0.0);
    }
    if let Pace::Open { rate: asked, .. } = &mut merged.spec.pace {
        *asked = rate;
    }
    merged.stalls.sort_by(|a, b| a.at.total_cmp(&b.at));
    let why = distinct(records.iter().filter_map(|record| record.ended_early.clone()));
    merged.ended_early = (!why.is_empty()).then(|| why.join("; "));
    Ok(merged)
}

/// Adds one to what was merged so far, whose beginning is that of the first of all.
fn add(merged: &mut Record, record: &Record) {
    merged.machines.extend(record.machines.iter().cloned());
    merged.spec.connections += record.spec.connections;
    merged.spec.threads += record.spec.threads;
    merged.spec.seconds = merged.spec.seconds.max(record.spec.seconds);
    merged.spec.warmup = merged.spec.warmup.max(record.spec.warmup);
    merged.spec.seed = merged.spec.seed.min(record.spec.seed);
    merged.arrivals.offered += record.arrivals.offered;
    merged.arrivals.answered += record.arrivals.answered;
    merged.arrivals.delayed += record.arrivals.delayed;
    merged.arrivals.dropped += record.arrivals.dropped;
    merged.arrivals.unanswered += record.arrivals.unanswered;
    merged.generator.processor_seconds += record.generator.processor_seconds;
    merged.generator.cores += record.generator.cores;
    merged.generator.late_p99_us = merged.generator.late_p99_us.max(record.generator.late_p99_us);
    for (name, operation) in &record.operations {
        let sum = merged.operations.entry(name.clone()).or_default();
        sum.latency.add(&operation.latency);
        for (code, count) in &operation.errors {
            *sum.errors.entry(code.clone()).or_default() += count;
        }
    }
    let shift = (record.began_unix_ms / 1000 - merged.began_unix_ms / 1000) as usize;
    if !record.slices.is_empty() && merged.slices.len() < shift + record.slices.len() {
        merged.slices.resize_with(shift + record.slices.len(), Slice::default);
    }
    for (sum, slice) in merged.slices.iter_mut().skip(shift).zip(&record.slices) {
        sum.offered += slice.offered;
        sum.errors += slice.errors;
        sum.latency.add(&slice.latency);
    }
    let later = began_ms(record, merged.began_unix_ms) / 1000.0;
    merged.stalls.extend(record.stalls.iter().map(|stall| Stall { at: stall.at + later, ms: stall.ms }));
}

fn began_ms(record: &Record, since: u64) -> f64 {
    record.began_unix_ms.saturating_sub(since) as f64
}

/// Each once, in order, so that the order of the parts does not show.
fn distinct(all: impl Iterator<Item = String>) -> Vec<String> {
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether `record` was asked for the same as `first` and loaded the same.
fn compare(first: &Record, record: &Record, number: usize) -> Result<(), MergeError> {
    let kind = |record: &Record| match record.spec.pace {
        Pace::Open { arrivals, .. } => format!("open loop, {arrivals:?}"),
        Pace::Closed => "closed loop".to_owned(),
    };
    let told = |value: &Option<String>| value.clone().unwrap_or_default();
    let differs = |what, one: String, other: String| {
        if one == other { Ok(()) } else { Err(MergeError::Different { what, one, other, number }) }
    };
    let (a, b) = (&first.spec, &record.spec);
    differs("the target", first.target.label.clone(), record.target.label.clone())?;
    if first.target.durability.is_some() && record.target.durability.is_some() {
        differs("durability", told(&first.target.durability), told(&record.target.durability))?;
    }
    if let (Some(one), Some(other)) = (first.target.quorum, record.target.quorum) {
        differs("the number of voting servers", one.to_string(), other.to_string())?;
    }
    // The text of a workload rounds its ratio.
    differs("the workload", format!("{:?}", a.workload), format!("{:?}", b.workload))?;
    differs("the pace", kind(first), kind(record))?;
    differs("the size of values", a.value_size.to_string(), b.value_size.to_string())?;
    differs("the number of znodes", a.nodes.to_string(), b.nodes.to_string())?;
    differs("the number in flight on a connection", a.in_flight.to_string(), b.in_flight.to_string())
}

/// Whether there is a time in which all measured.
fn overlap(records: &[Record]) -> Result<(), MergeError> {
    let since = records.iter().map(|record| record.began_unix_ms).min().unwrap_or(0);
    let first_end = records.iter().map(|record| began_ms(record, since) / 1000.0 + record.seconds).fold(f64::INFINITY, f64::min);
    for (i, record) in records.iter().enumerate() {
        let late = began_ms(record, since) / 1000.0 - first_end;
        if late >= 0.0 && records.len() > 1 {
            return Err(MergeError::Apart { number: i + 1, seconds: late });
        }
    }
    Ok(())
}

/// Join what several machines measured at the same time against the same servers.
#[derive(clap::Args, Debug)]
pub struct Merge {
    /// Files that `bench --json` wrote, one a machine.
    #[arg(required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// Where to write the whole.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Print the table as Markdown.
    #[arg(long)]
    pub markdown: bool,
}

impl Merge {
    /// Prints the table of all together, and writes the file where one is asked for. Exit code 1 where it cannot be done.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.merged() {
            Ok(record) => {
                print!("{}", if self.markdown { table::markdown(&record) } else { table::text(&record) });
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("ringkeeper bench merge: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn merged(&self) -> Result<Record, MergeError> {
        let mut records = Vec::with_capacity(self.files.len());
        for file in &self.files {
            if let Some(json) = &self.json
                && (json == file || json.canonicalize().is_ok_and(|json| file.canonicalize().is_ok_and(|file| file == json)))
            {
                return Err(MergeError::Same(file.display().to_string()));
            }
            records.push(Record::read(file)?);
        }
        let merged = merge(&records)?;
        if let Some(json) = &self.json {
            merged.write(json)?;
        }
        Ok(merged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bench::show::sample;
    use crate::bench::spec::{Arrivals, Workload};

    /// An answer: machine, second of the machine's run, operation, nanoseconds, and whether it failed.
    type Answer = (usize, usize, bool, u64, bool);

    /// What a machine that began `began_ms` after the others' base records of its answers, with seconds shifted by `shift`.
    fn recorded<'a>(answers: impl Iterator<Item = &'a Answer>, began_ms: u64, shift: impl Fn(usize) -> usize) -> Record {
        let mut record = sample::empty("a");
        record.began_unix_ms += began_ms;
        record.operations.clear();
        for &(machine, second, set, ns, failed) in answers {
            let second = second + shift(machine);
            if record.slices.len() <= second {
                record.slices.resize_with(second + 1, Slice::default);
            }
            let slice = &mut record.slices[second];
            let operation = record.operations.entry(if set { "set" } else { "get" }.to_owned()).or_default();
            slice.offered += 1;
            record.arrivals.offered += 1;
            record.arrivals.answered += 1;
            if failed {
                slice.errors += 1;
                *operation.errors.entry(if ns % 2 == 0 { "NoNode" } else { "NodeExists" }.to_owned()).or_default() += 1;
            } else {
                slice.latency.record_ns(ns);
                operation.latency.record_ns(ns);
            }
        }
        record
    }

    proptest! {
        #[test]
        fn merging_is_recording_all_in_one(
            answers in prop::collection::vec((0..3usize, 0..8usize, any::<bool>(), 0..100_000_000_000u64, any::<bool>()), 0..300),
            starts in prop::collection::vec(0..4000u64, 3),
        ) {
            let base = *starts.iter().min().unwrap();
            let parts: Vec<Record> =
                (0..3).map(|m| recorded(answers.iter().filter(|a| a.0 == m), starts[m], |_| 0)).collect();
            let shifts: Vec<usize> = starts.iter().map(|s| (s / 1000 - base / 1000) as usize).collect();
            let whole = recorded(answers.iter(), base, |machine| shifts[machine]);
            let merged = merge(&parts).unwrap();
            // Not prop_assert_eq: a histogram prints thousands of counts.
            prop_assert!(merged.operations == whole.operations);
            prop_assert!(merged.slices == whole.slices);
            prop_assert_eq!(merged.arrivals, whole.arrivals);
            prop_assert!(merged.all() == whole.all());
            prop_assert_eq!(merged.began_unix_ms, whole.began_unix_ms);

            let turned: Vec<Record> = parts.iter().rev().cloned().collect();
            prop_assert!(merge(&turned).unwrap() == merged);
            let two = merge(&parts[..2]).unwrap();
            let stepwise = merge(&[two, parts[2].clone()]).unwrap();
            prop_assert!((&stepwise.slices, &stepwise.operations) == (&merged.slices, &merged.operations));
            prop_assert!((stepwise.seconds - merged.seconds).abs() < 1e-6);

            let text = serde_json::to_string(&merged).unwrap();
            let read: Record = serde_json::from_str(&text).unwrap();
            prop_assert!((read.slices, read.operations) == (merged.slices, merged.operations));
        }
    }

    #[test]
    fn specs_and_generators_add_up_and_a_part_that_ended_early_marks_the_whole() {
        let (a, mut b) = (sample::record("a", 1000.0), sample::record("a", 2000.0));
        b.began_unix_ms += 1250;
        b.seconds = 4.0;
        b.ended_early = Some("lost its session".to_owned());
        b.target.servers = vec!["10.0.0.2:2181".to_owned()];
        b.generator.late_p99_us = 50;
        let merged = merge(&[a.clone(), b]).unwrap();
        assert_eq!(merged.spec.pace, Pace::Open { rate: 3000.0, arrivals: Arrivals::Poisson });
        assert_eq!((merged.spec.connections, merged.spec.threads, merged.machines.len()), (100, 2, 2));
        assert_eq!((merged.generator.processor_seconds, merged.generator.cores, merged.generator.late_p99_us), (5.0, 4, 50));
        assert_eq!(merged.ended_early.as_deref(), Some("lost its session"));
        assert_eq!((merged.seconds, merged.slices.len()), (10.0, 11));
        assert_eq!(merged.slices[0], a.slices[0]);
        assert_eq!(merged.stalls.iter().map(|stall| stall.at).collect::<Vec<_>>(), [6.6, 7.85, 8.25, 9.5]);
        assert_eq!(merged.target.servers, ["10.0.0.1:2181", "10.0.0.2:2181"]);
        assert_eq!(merge(std::slice::from_ref(&a)).unwrap(), a, "one alone is the whole");
    }

    #[test]
    fn what_measured_something_else_is_refused() {
        let one = sample::record("a", 1000.0);
        type Change = (&'static str, fn(&mut Record));
        let changes: [Change; 8] = [
            ("the workload", |r| r.spec.workload = Workload::Mixed { read_ratio: 0.901 }),
            ("the pace", |r| r.spec.pace = Pace::Closed),
            ("the pace", |r| r.spec.pace = Pace::Open { rate: 1000.0, arrivals: Arrivals::Constant }),
            ("the size of values", |r| r.spec.value_size = 1),
            ("the target", |r| r.target.label = "b".to_owned()),
            ("durability", |r| r.target.durability = Some("none".to_owned())),
            ("the number of voting servers", |r| r.target.quorum = Some(1)),
            ("the number of znodes", |r| r.spec.nodes = 1),
        ];
        for (expected, change) in changes {
            let mut other = one.clone();
            change(&mut other);
            match merge(&[one.clone(), other]) {
                Err(MergeError::Different { what, number: 2, .. }) => assert_eq!(what, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
        assert!(matches!(merge(&[]), Err(MergeError::Nothing)));
    }

    #[test]
    fn what_did_not_run_at_the_same_time_is_refused() {
        let (one, mut other) = (sample::record("a", 1000.0), sample::record("a", 1000.0));
        other.began_unix_ms += 12_500;
        for parts in [[one.clone(), other.clone()], [other, one]] {
            match merge(&parts) {
                Err(MergeError::Apart { seconds, .. }) => assert_eq!(seconds, 2.5),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn files_are_merged_into_another_file_only() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let record = sample::record("a", 1000.0);
        record.write(&file("a.json")).unwrap();
        record.write(&file("b.json")).unwrap();
        let files = vec![file("a.json"), file("b.json")];
        let whole = Merge { files: files.clone(), json: Some(file("all.json")), markdown: false }.merged().unwrap();
        assert_eq!(Record::read(&file("all.json")).unwrap(), whole);
        let over = Merge { files: files.clone(), json: Some(directory.path().join("./b.json")), markdown: false };
        assert!(matches!(over.merged(), Err(MergeError::Same(_))));
        let nowhere = Merge { files, json: Some(file("none/all.json")), markdown: false };
        assert!(matches!(nowhere.merged(), Err(MergeError::File(RecordError::File("write", ..)))));
        assert_eq!(Record::read(&file("b.json")).unwrap(), record, "a part stays as it is");
    }
}
