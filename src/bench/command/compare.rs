//! Compare: `ringkeeper bench compare`, two targets under the same load in turn.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};

use super::keep::Keep;
use super::load::{Load, WORKLOADS};
use super::place::Place;
use super::run::pictures;
use super::{failed, print, stoppable};
use crate::bench::compare::{Case, Outcome, compare};
use crate::bench::noise::RUNS_MIN;
use crate::bench::process::Server;
use crate::bench::record::Record;
use crate::bench::run::run;
use crate::bench::show::report::Report;
use crate::show::figure;
use crate::show::grid::Grid;

const LONG: &str = "\
Loads two targets in turn (A B A B ...) with the same requests at the same times, and tells the ratio
of the medians with its spread, and whether there is a difference at all: what two rows of runs could
show by chance (Mann and Whitney's test at 5 %) is called noise and nothing else.";

const EXAMPLES: &str = "\
Cases: one that the options of the load make, or several, each with options of its own:
  --case 'reads, 32 deep: --workload read --closed'
  --cases FILE                       one a line in the same form; lines that begin with # are none

Examples:
  ringkeeper bench compare rk=127.0.0.1:2181 zk=127.0.0.1:2281 --workload mixed --rate 20000
  ringkeeper bench compare new=127.0.0.1:2181 old=127.0.0.1:2281 --pairs 9 \\
      --with-command 'target/release/ringkeeper serve --listen 127.0.0.1:2181 --data-dir /tmp/new' \\
      --against-command 'old/ringkeeper serve --listen 127.0.0.1:2281 --data-dir /tmp/old'

Exit codes: 0 measured, 1 could not run or ended early (whole pairs until then are told), 2 wrong usage.";

/// Compare two targets under the same load.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = format!("{WORKLOADS}\n\n{EXAMPLES}"))]
pub struct Compare {
    /// The first target.
    #[arg(value_name = "[LABEL=]HOST:PORT,...")]
    a: Place,

    /// The second target.
    #[arg(value_name = "[LABEL=]HOST:PORT,...")]
    b: Place,

    /// Starts the first target, by the shell; it is stopped at the end.
    #[arg(long, value_name = "COMMAND")]
    with_command: Option<String>,

    /// Starts the second target.
    #[arg(long, value_name = "COMMAND")]
    against_command: Option<String>,

    /// Pairs of runs.
    #[arg(long, value_name = "N", default_value_t = RUNS_MIN as u16, value_parser = clap::value_parser!(u16).range(RUNS_MIN as i64..=1000))]
    pairs: u16,

    /// A load with a name; given several times, one after the other.
    #[arg(long, value_name = "NAME: OPTIONS")]
    case: Vec<String>,

    /// A file of such loads.
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,

    #[command(flatten)]
    load: Load,

    /// For the record: how the first target makes writes durable.
    #[arg(long, value_name = "WORDS")]
    durability_a: Option<String>,

    /// For the record: how the second does.
    #[arg(long, value_name = "WORDS")]
    durability_b: Option<String>,

    /// For the record: voting servers of each.
    #[arg(long, value_name = "N")]
    quorum: Option<u32>,

    #[command(flatten)]
    keep: Keep,

    /// No progress on standard error.
    #[arg(long)]
    quiet: bool,
}

/// The options of a case, read as a command line.
#[derive(Parser, Debug)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct CaseLine {
    #[command(flatten)]
    load: Load,
}

/// `NAME: OPTIONS`.
fn case(text: &str) -> Result<Case, String> {
    let (name, options) = text.split_once(':').ok_or_else(|| format!("{text:?} is no case: expected NAME: OPTIONS"))?;
    let line = CaseLine::try_parse_from(options.split_whitespace()).map_err(|error| {
        let told = error.to_string();
        let first = told.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("case {name:?}: {first}")
    })?;
    Ok(Case { name: name.trim().to_owned(), spec: line.load.spec() })
}

impl Compare {
    /// Measures.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.measure() {
            Ok(None) => ExitCode::SUCCESS,
            Ok(Some(why)) => failed(&why),
            Err(code) => code,
        }
    }

    fn wanted(&self) -> Result<Vec<Case>, String> {
        let mut lines = self.case.clone();
        if let Some(file) = &self.cases {
            let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            lines
                .extend(text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned));
        }
        if lines.is_empty() {
            let spec = self.load.spec();
            return Ok(vec![Case { name: spec.workload.to_string(), spec }]);
        }
        lines.iter().map(|line| case(line)).collect()
    }

    fn measure(self) -> Result<Option<String>, ExitCode> {
        let cases = self.wanted().map_err(|line| failed(&line))?;
        let kept = self.keep.claim()?;
        let control = stoppable(self.quiet, true)?;
        let mut started = Vec::new();
        for (command, place) in [(&self.with_command, &self.a), (&self.against_command, &self.b)] {
            if let Some(command) = command {
                started.push(Server::start(command, &place.servers).map_err(|error| failed(&error.to_string()))?);
            }
        }
        let a = self.a.target(self.durability_a.as_ref(), self.quorum);
        let b = self.b.target(self.durability_b.as_ref(), self.quorum);
        let pairs = usize::from(self.pairs);
        let mut outcomes: Vec<Outcome> = Vec::new();
        let mut ended = None;
        for case in &cases {
            let told = |pair: usize, record: &Record| control.note(&one_line(&case.name, pair + 1, pairs, record));
            let (outcome, result) = compare(case, [&a, &b], pairs, &control, run, told);
            if !outcome.a.is_empty() {
                print(&format!("{}\n{}\n", case.name, figures(&[&outcome], false).text()))?;
                outcomes.push(outcome);
            }
            if let Err(error) = result {
                ended = Some(format!("{}: {error}", case.name));
            } else if control.is_stopped() {
                ended = Some("stopped before all cases were measured".to_owned());
            }
            if ended.is_some() {
                break;
            }
        }
        drop(started);
        let title = format!("{} beside {}", a.label, b.label);
        let mut report = Report { title, command: control.command.clone(), ..Report::default() };
        report.facts.push(("pairs of runs".to_owned(), pairs.to_string()));
        report.grids.push(("Comparison".to_owned(), figures(&outcomes.iter().collect::<Vec<_>>(), true)));
        for outcome in &outcomes {
            let two = [middle(&outcome.a), middle(&outcome.b)];
            report.pictures.extend(pictures(&outcome.case.name, &two));
            report.records.extend(two);
            let rest = outcome.a.iter().chain(&outcome.b).filter(|record| !two.iter().any(|shown| std::ptr::eq(*shown, *record)));
            report.others.extend(rest);
            report.limits.extend(outcome.cautions().into_iter().map(|caution| format!("{}: {caution}", outcome.case.name)));
        }
        report.limits.extend(ended.clone());
        kept.write(report)?;
        Ok(ended)
    }
}

/// The run in the middle, by its 99th percentile or, without a rate, by its throughput.
fn middle(records: &[Record]) -> &Record {
    let mut sorted: Vec<&Record> = records.iter().collect();
    sorted.sort_by(|a, b| match a.spec.rate() {
        Some(_) => a.all().quantile_us(0.99).cmp(&b.all().quantile_us(0.99)),
        None => a.achieved().total_cmp(&b.achieved()),
    });
    sorted[sorted.len() / 2]
}

fn one_line(case: &str, pair: usize, pairs: usize, record: &Record) -> String {
    let (all, label) = (record.all(), &record.target.label);
    let (p50, p99) = (figure::latency(all.quantile_us(0.5)), figure::latency(all.quantile_us(0.99)));
    let ended = record.ended_early.as_ref().map_or_else(String::new, |why| format!(", ENDED EARLY: {why}"));
    let (rate, max) = (figure::rate(record.achieved()), figure::latency(all.max_us()));
    format!("{case}, {pair}/{pairs} {label}: {rate}, p50 {p50}, p99 {p99}, max {max}{ended}")
}

fn figures(outcomes: &[&Outcome], with_case: bool) -> Grid {
    let Some(first) = outcomes.iter().find_map(|outcome| Some((outcome.a.first()?, outcome.b.first()?))) else {
        return Grid::new(["Nothing was measured"]);
    };
    let (a, b) = (&first.0.target.label, &first.1.target.label);
    let mut columns = vec!["Figure".to_owned(), a.clone(), b.clone(), "Ratio".to_owned(), "Spread".to_owned(), format!("{a} is")];
    if with_case {
        columns.insert(0, "Case".to_owned());
    }
    let mut grid = Grid::new(columns);
    for outcome in outcomes {
        for figure in outcome.figures() {
            let of = |value: f64| if figure.unit == "us" { figure::latency(value as u64) } else { figure::rate(value) };
            let (difference, spread) = (figure.difference, figure.difference.ratio_spread());
            let mut row = vec![
                figure.name.clone(),
                of(difference.a),
                of(difference.b),
                format!("{:.2}", difference.ratio()),
                format!("{:.2} to {:.2}", spread.0, spread.1),
                difference.verdict(figure.more_is_better),
            ];
            if with_case {
                row.insert(0, outcome.case.name.clone());
            }
            grid.push(row);
        }
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::spec::{Pace, Workload};

    #[test]
    fn a_case_is_a_name_and_options() {
        let got = case("reads, 32 deep: --workload read --closed --in-flight 32").unwrap();
        assert_eq!((got.name.as_str(), got.spec.pace, got.spec.in_flight), ("reads, 32 deep", Pace::Closed, 32));
        assert_eq!(case("fan: --workload fan-out --watchers 5").unwrap().spec.workload, Workload::FanOut { watchers: 5 });
        for wrong in ["reads", "reads: --workload", "reads: --nonsense 1", "reads: --rate 0", "reads: stray"] {
            let told = case(wrong).unwrap_err();
            assert!(told.contains("reads") && !told.contains('\n'), "{told}");
        }
    }
}
