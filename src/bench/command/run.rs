//! Run: `ringkeeper bench run`, one measurement from the command line.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::keep::Keep;
use super::load::{Load, WORKLOADS};
use super::place::Place;
use super::{failed, print, stoppable};
use crate::bench::keeper_bench;
use crate::bench::record::Record;
use crate::bench::run::run;
use crate::bench::show::plot;
use crate::bench::show::report::{Picture, Report};
use crate::bench::show::table;
use crate::bench::spec::Workload;

const LONG: &str = "\
Loads servers with requests of one kind and tells how long they took.

Open loop, which is the default: --rate requests a second arrive whether the server keeps up or not,
and a latency counts from when its request was meant to start. If all connections have as many
requests in flight as they may (--in-flight), arrivals wait: their latency counts that too, and how
many they were is told (delayed). What is offered and what is achieved stand side by side.

Closed loop (--closed): every connection keeps --in-flight requests in flight. That is for finding
out how much a server can do; its latencies forget whoever would have come while it stood still.

All happens under a znode of its own, /ringkeeper-bench-..., which is removed at the end, also after
Ctrl-C, which ends the run and tells what was measured so far.";

const EXAMPLES: &str = "\
Examples:
  ringkeeper bench run --servers a:2181,b:2181,c:2181 --workload set --rate 5000 --seconds 60
  ringkeeper bench run --workload mixed --read-ratio 0.95 --rate 20000 --arrivals constant
  ringkeeper bench run --workload create --closed --in-flight 1 --connections 200 --json create.json

Exit codes: 0 measured, 1 could not run or ended early (what was measured until then is told), 2 wrong
usage.";

/// Load servers, and tell how long requests took.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = format!("{WORKLOADS}\n\n{EXAMPLES}"))]
pub struct Run {
    /// Servers; the connections are spread over them [default: 127.0.0.1:2181].
    #[arg(long, value_name = "[LABEL=]HOST:PORT,...")]
    servers: Option<Place>,

    #[command(flatten)]
    load: Load,

    /// Bind generator threads to the last cores, away from the server's; without effect below 4 cores.
    #[arg(long, overrides_with = "no_pin")]
    pin: bool,

    /// Do not.
    #[arg(long)]
    no_pin: bool,

    /// For the record: how the server makes writes durable.
    #[arg(long, value_name = "WORDS")]
    durability: Option<String>,

    /// For the record: voting servers.
    #[arg(long, value_name = "N")]
    quorum: Option<u32>,

    /// Write the whole record here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    #[command(flatten)]
    keep: Keep,

    /// No progress on standard error.
    #[arg(long)]
    quiet: bool,
}

impl Run {
    /// Measures.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.measure() {
            Ok(None) => ExitCode::SUCCESS,
            Ok(Some(why)) => failed(&format!("the run ended early, {why}")),
            Err(code) => code,
        }
    }

    /// Measures, and returns why the run ended early where it did.
    fn measure(self) -> Result<Option<String>, ExitCode> {
        if let Some(file) = &self.json {
            writable(file).map_err(|error| failed(&format!("cannot write {}: {error}", file.display())))?;
        }
        let kept = self.keep.claim()?;
        let control = stoppable(self.quiet, !self.no_pin)?;
        let place = self.servers.clone().unwrap_or_default();
        let (mut spec, mut target) = (self.load.spec(), place.target(self.durability.as_ref(), self.quorum));
        if let Workload::KeeperBench { file } = &spec.workload {
            let description = keeper_bench::read(file).map_err(|error| failed(&error.to_string()))?;
            for note in description.settle(&self.load.given(self.servers.is_some()), &mut spec, &mut target.servers) {
                control.note(&note);
            }
            if self.servers.is_none() {
                // Some may be named several times.
                let servers: BTreeSet<&str> = target.servers.iter().map(String::as_str).collect();
                target.label = servers.into_iter().collect::<Vec<_>>().join(",");
            }
        }
        let record = run(&spec, &target, &control).map_err(|error| failed(&error.to_string()))?;
        print(&table::text(&record))?;
        if let Some(file) = &self.json {
            record.write(file).map_err(|error| failed(&error.to_string()))?;
        }
        let pictures = pictures(&record.spec.workload.to_string(), &[&record]);
        let (title, command) = (format!("{} on {}", record.spec.workload, record.target.label), control.command);
        kept.write(Report { title, command, pictures, records: vec![&record], ..Report::default() })?;
        Ok(record.ended_early)
    }
}

/// Percentile curve and latency over time of some runs.
pub(super) fn pictures(name: &str, records: &[&Record]) -> Vec<Picture> {
    let stem: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let picture =
        |kind: &str, what: &str, svg| Picture { name: format!("{stem}-{kind}"), caption: format!("{name}: {what}"), svg };
    vec![
        picture("percentiles", "latency by percentile", plot::percentiles(records)),
        picture("time", "latency over time", plot::over_time(records)),
    ]
}

/// Whether a file can be written, found out before the run and not after it. Leaves nothing behind.
fn writable(file: &Path) -> std::io::Result<()> {
    let is_new = !file.exists();
    OpenOptions::new().write(true).create(true).truncate(false).open(file)?;
    if is_new { std::fs::remove_file(file) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::bench::spec::{Arrivals, Pace};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: Run,
    }

    fn parse(line: &str) -> Result<Run, clap::error::ErrorKind> {
        Line::try_parse_from(std::iter::once("run").chain(line.split_whitespace())).map(|line| line.run).map_err(|e| e.kind())
    }

    #[test]
    fn the_words_of_the_line_become_a_spec() {
        let run = parse("").unwrap();
        assert_eq!(run.load.spec().pace, Pace::Open { rate: 1000.0, arrivals: Arrivals::Poisson });
        assert_eq!(run.servers.unwrap_or_default().label, "127.0.0.1:2181");
        let run = parse("--servers x=a:1,b:2 --workload mixed --read-ratio 0.5 --rate 5e3 --arrivals constant").unwrap();
        assert_eq!(run.load.spec().workload, Workload::Mixed { read_ratio: 0.5 });
        assert_eq!(run.load.spec().rate(), Some(5000.0));
        let place = run.servers.unwrap();
        assert_eq!((place.servers, place.label), (vec!["a:1".to_owned(), "b:2".to_owned()], "x".to_owned()));
        let deletes = parse("--workload delete --closed").unwrap().load.spec();
        assert_eq!((deletes.pace, deletes.nodes), (Pace::Closed, 1_000_000));
        assert_eq!(parse("--workload delete --closed --nodes 5").unwrap().load.spec().nodes, 5);
        assert_eq!(parse("--workload fan-out --watchers 7").unwrap().load.spec().workload, Workload::FanOut { watchers: 7 });
    }

    #[test]
    fn nonsense_is_wrong_usage() {
        use clap::error::ErrorKind::{ArgumentConflict, InvalidValue, MissingRequiredArgument, ValueValidation};
        for (line, kind) in [
            ("--servers nowhere", ValueValidation),
            ("--servers :2181", ValueValidation),
            ("--servers a:0", ValueValidation),
            ("--servers a:1,", ValueValidation),
            ("--workload none", InvalidValue),
            ("--workload keeper-bench", MissingRequiredArgument),
            ("--read-ratio 1.1", ValueValidation),
            ("--read-ratio NaN", ValueValidation),
            ("--rate 0", ValueValidation),
            ("--rate inf", ValueValidation),
            ("--rate 5 --closed", ArgumentConflict),
            ("--arrivals constant --closed", ArgumentConflict),
            ("--connections 0", ValueValidation),
            ("--in-flight 0", ValueValidation),
            ("--nodes 0", ValueValidation),
            ("--seconds 0", ValueValidation),
            ("--seconds -1", ValueValidation),
            ("--warmup -1", ValueValidation),
            ("--value-size 2000000", ValueValidation),
            ("--session-timeout-ms 10", ValueValidation),
        ] {
            assert_eq!(parse(&line.replace(" -1", "=-1")).err(), Some(kind), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_found_out_before_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.json");
        writable(&file).unwrap();
        assert!(!file.exists());
        std::fs::write(&file, "before").unwrap();
        writable(&file).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "before");
        assert!(writable(&directory.path().join("none/a.json")).is_err());
        assert!(writable(directory.path()).is_err());
    }
}
