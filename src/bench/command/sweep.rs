//! Sweep: `ringkeeper bench sweep`, one thing varied rung by rung.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::keep::Keep;
use super::load::{Load, WORKLOADS};
use super::place::Place;
use super::{failed, print, stoppable};
use crate::bench::ladder::{Ladder, Rail, knee};
use crate::bench::record::Record;
use crate::bench::run::run;
use crate::bench::show::plot;
use crate::bench::show::report::{Picture, Report};
use crate::bench::show::table;
use crate::show::figure;

const LONG: &str = "\
Runs the same load several times with one thing varied, and tells latency over throughput: how fast
a server answers the more it is asked.

A ladder of rates has a knee: the highest rate that was carried (99 % of all arrivals answered, no
run cut short) with a 99th percentile below --p99-under.";

const EXAMPLES: &str = "\
Ladders:
  --ladder rate=1000,5000,20000      these values
  --ladder rate=1000..64000*2        from, to, times
  --ladder depth=1..33+8             from, to, step
  what can be varied: rate, connections, depth (closed loop), read-ratio (mixed), value-size

Examples:
  ringkeeper bench sweep --workload set --ladder rate=1000..128000*2 --p99-under-ms 5
  ringkeeper bench sweep --servers zk=a:2181 --servers rk=b:2181 --ladder value-size=100,1000,10000 --rate 2000

Exit codes: 0 measured, 1 could not run or ended early, 2 wrong usage.";

/// Vary one thing, and tell latency over throughput.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = format!("{WORKLOADS}\n\n{EXAMPLES}"))]
pub struct Sweep {
    /// Servers; given several times, one series each on the same axes.
    #[arg(long, value_name = "[LABEL=]HOST:PORT,...", default_value = "127.0.0.1:2181")]
    servers: Vec<Place>,

    /// What is varied, and its values; given several times, one ladder after the other.
    #[arg(long, value_name = "NAME=VALUES", required = true)]
    ladder: Vec<Ladder>,

    /// What the 99th percentile has to stay below, for the knee.
    #[arg(long, value_name = "MS", default_value_t = 10.0, value_parser = limit)]
    p99_under_ms: f64,

    #[command(flatten)]
    load: Load,

    /// For the record: how the servers make writes durable.
    #[arg(long, value_name = "WORDS")]
    durability: Option<String>,

    /// For the record: voting servers.
    #[arg(long, value_name = "N")]
    quorum: Option<u32>,

    #[command(flatten)]
    keep: Keep,

    /// No progress on standard error.
    #[arg(long)]
    quiet: bool,
}

fn limit(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|ms: &f64| *ms > 0.0 && ms.is_finite()).ok_or_else(|| "expected milliseconds, above 0".into())
}

impl Sweep {
    /// Measures.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.measure() {
            Ok(None) => ExitCode::SUCCESS,
            Ok(Some(why)) => failed(&why),
            Err(code) => code,
        }
    }

    fn measure(self) -> Result<Option<String>, ExitCode> {
        let kept = self.keep.claim()?;
        let control = stoppable(self.quiet, true)?;
        let base = self.load.spec();
        let mut ended = None;
        // Of each ladder and target, in order.
        let mut climbs: Vec<(&Ladder, &Place, Vec<Record>)> = Vec::new();
        'all: for ladder in &self.ladder {
            for place in &self.servers {
                let mut records = Vec::new();
                let target = place.target(self.durability.as_ref(), self.quorum);
                for spec in ladder.specs(&base) {
                    match run(&spec, &target, &control) {
                        Ok(record) => records.push(record),
                        Err(error) => ended = Some(error.to_string()),
                    }
                    if control.is_stopped() {
                        ended = Some("stopped before all rungs were measured".to_owned());
                    }
                    if ended.is_some() {
                        climbs.push((ladder, place, records));
                        break 'all;
                    }
                }
                climbs.push((ladder, place, records));
            }
        }
        climbs.retain(|(_, _, records)| !records.is_empty());
        let limit = Duration::from_secs_f64(self.p99_under_ms / 1000.0);
        let limit_us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        let mut pictures = Vec::new();
        let mut facts = Vec::new();
        for ladder in &self.ladder {
            let climbed = || climbs.iter().filter(|(of, ..)| of == &ladder);
            let records: Vec<&Record> = climbed().flat_map(|(_, _, records)| records).collect();
            if records.is_empty() {
                continue;
            }
            print(&format!("{}\n{}\n", ladder.rail.name(), table::overview(&records).text()))?;
            let mut series = Vec::new();
            for (_, place, records) in climbed() {
                let knee = if ladder.rail == Rail::Rate { knee(records, limit_us).map(Record::achieved) } else { None };
                if ladder.rail == Rail::Rate {
                    let carried = knee.map_or("no rate".to_owned(), figure::rate);
                    let name = format!("{}: highest rate with p99 under {} ms", place.label, self.p99_under_ms);
                    print(&format!("{name}: {carried}\n"))?;
                    facts.push((name, carried));
                }
                series.push(plot::Ladder { label: place.label.clone(), records: records.iter().collect(), knee });
            }
            let name = ladder.rail.name();
            let caption = format!("{}: latency over throughput, {name} varied", base.workload);
            pictures.push(Picture { name: format!("{name}-throughput"), caption, svg: plot::over_throughput(&series) });
        }
        let title =
            format!("{}: {} varied", base.workload, self.ladder.iter().map(|l| l.rail.name()).collect::<Vec<_>>().join(", "));
        let records = climbs.iter().flat_map(|(_, _, records)| records).collect();
        kept.write(Report { title, command: control.command, facts, pictures, records, ..Report::default() })?;
        Ok(ended)
    }
}
