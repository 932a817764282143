//! Run: `ringkeeper bench run`, one measurement from the command line.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{failed, print, stoppable};
use crate::bench::latency::{Latency, QUANTILES};
use crate::bench::record::{Record, Target};
use crate::bench::run::run;
use crate::bench::spec::{Arrivals, Pace, Spec, Workload};

/// Arrivals a second where nothing is said: any server of this kind carries them on any machine, so what is measured is how it
/// answers and not how it drowns.
const RATE: f64 = 1000.0;

/// Znodes where nothing is said: more than a cache line's worth, made in no time.
const NODES: usize = 1000;

/// Znodes of a closed loop of deletes where nothing is said: some seconds of work for a fast server.
const NODES_TO_DELETE: usize = 1_000_000;

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

const AFTER: &str = "\
Workloads:
  read, set, exists     of a random one of --nodes znodes
  list                  the children of the parent of all --nodes znodes
  mixed                 reads and sets, --read-ratio of them reads
  create                new znodes, as children of the --nodes znodes in turn
  delete                of znodes made before: as many as arrive, or --nodes of them in a closed loop,
                        which is over when they are gone (default 1000000 there)
  multi, multi-read     --multi-size sets, or reads, in one request
  churn                 creates an ephemeral sequential znode, deletes it
  lock                  the lock recipe
  session-churn         opens sessions and closes them
  connect-storm         all connections open their sessions at once, again and again
  fan-out               one writer, --watchers that wait for its change
  reconnect             connections are lost and come back with --watches watches each
  keeper-bench          what the file --config says

Examples:
  ringkeeper bench run --servers a:2181,b:2181,c:2181 --workload set --rate 5000 --seconds 60
  ringkeeper bench run --workload mixed --read-ratio 0.95 --rate 20000 --arrivals constant
  ringkeeper bench run --workload create --closed --in-flight 1 --connections 200 --json create.json

Exit codes: 0 measured, 1 could not run or ended early (what was measured until then is told), 2 wrong
usage.";

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Kind {
    Read,
    Set,
    Create,
    Delete,
    Exists,
    List,
    Mixed,
    Multi,
    MultiRead,
    Churn,
    Lock,
    SessionChurn,
    ConnectStorm,
    FanOut,
    Reconnect,
    KeeperBench,
}

/// Load servers, and tell how long requests took.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = AFTER)]
pub struct Run {
    /// Servers; the connections are spread over them.
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', default_value = "127.0.0.1:2181", value_parser = server)]
    servers: Vec<String>,

    /// What is asked; --help lists what each does.
    #[arg(long, value_enum, default_value = "read", hide_possible_values = false)]
    workload: Kind,

    /// Part of reads in the mixed workload, 0 to 1.
    #[arg(long, value_name = "PART", default_value_t = 0.8, value_parser = ratio)]
    read_ratio: f64,

    /// Members of a multi.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    multi_size: u16,

    /// Watchers of the fan-out, each with a session.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    watchers: u32,

    /// Watches of each connection that comes back.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    watches: u32,

    /// A keeper-bench file.
    #[arg(long, value_name = "FILE", required_if_eq("workload", "keeper-bench"))]
    config: Option<PathBuf>,

    /// Requests a second over all connections, whether the server keeps up or not.
    ///
    /// The default, 1000, is what any server of this kind carries: it shows how the server answers, not
    /// how it drowns.
    #[arg(verbatim_doc_comment, long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// How arrivals are spaced: as independent clients come, or evenly.
    #[arg(long, value_enum, default_value = "poisson")]
    arrivals: Arrivals,

    /// Ask again as soon as an answer is there, and not at a rate.
    #[arg(long, conflicts_with_all = ["rate", "arrivals"])]
    closed: bool,

    /// Connections, each with its session.
    ///
    /// Servers let 60 connections of one address in unless their maxClientCnxns says otherwise (0: any
    /// number).
    #[arg(verbatim_doc_comment, long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,

    /// Requests in flight on one connection: at most in the open loop, always in the closed one.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    in_flight: u32,

    /// Bytes of data in each znode.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    value_size: u32,

    /// Znodes worked on; 1000 where nothing is said.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    nodes: Option<u32>,

    /// Seconds measured.
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,

    /// Seconds of the same load before.
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = warmup)]
    warmup: f64,

    /// Of the choice of znodes and of the arrivals: the same seed, the same requests at the same times.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Generator threads; 0 is as many as are sensible: one drives over a million requests a second.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=256))]
    threads: u16,

    /// Bind generator threads to the last cores, away from the server's; without effect below 4 cores.
    #[arg(long, overrides_with = "no_pin")]
    pin: bool,

    /// Do not.
    #[arg(long)]
    no_pin: bool,

    /// Timeout asked for each session.
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(i32).range(1000..))]
    session_timeout_ms: i32,

    /// Name in tables and pictures; the servers where nothing is said.
    #[arg(long, value_name = "NAME")]
    label: Option<String>,

    /// For the record: how the server makes writes durable.
    #[arg(long, value_name = "WORDS")]
    durability: Option<String>,

    /// For the record: voting servers.
    #[arg(long, value_name = "N")]
    quorum: Option<u32>,

    /// Write the whole record here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// No progress on standard error.
    #[arg(long)]
    quiet: bool,
}

fn server(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_some_and(|port| port > 0) { Ok(text.to_owned()) } else { Err("expected HOST:PORT,HOST:PORT".into()) }
}

fn number(text: &str, what: &str, is_good: impl Fn(f64) -> bool) -> Result<f64, String> {
    text.parse().ok().filter(|number| is_good(*number)).ok_or_else(|| format!("expected {what}"))
}

fn ratio(text: &str) -> Result<f64, String> {
    number(text, "a part, 0 to 1", |ratio| (0.0..=1.0).contains(&ratio))
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, "requests a second, above 0 and up to 100000000; --closed is without a rate", |rate| rate > 0.0 && rate <= 1e8)
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    number(text, "seconds, above 0 and up to a week", |seconds| seconds > 0.0 && seconds <= 7.0 * 86_400.0)
}

fn warmup(text: &str) -> Result<f64, String> {
    number(text, "seconds, 0 to a day", |seconds| (0.0..=86_400.0).contains(&seconds))
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

    /// What is to be done.
    #[must_use]
    pub fn spec(&self) -> Spec {
        let workload = match self.workload {
            Kind::Read => Workload::Read,
            Kind::Set => Workload::Set,
            Kind::Create => Workload::Create,
            Kind::Delete => Workload::Delete,
            Kind::Exists => Workload::Exists,
            Kind::List => Workload::List,
            Kind::Mixed => Workload::Mixed { read_ratio: self.read_ratio },
            Kind::Multi => Workload::Multi { size: self.multi_size.into() },
            Kind::MultiRead => Workload::MultiRead { size: self.multi_size.into() },
            Kind::Churn => Workload::Churn,
            Kind::Lock => Workload::Lock,
            Kind::SessionChurn => Workload::SessionChurn,
            Kind::ConnectStorm => Workload::ConnectStorm,
            Kind::FanOut => Workload::FanOut { watchers: self.watchers as usize },
            Kind::Reconnect => Workload::Reconnect { watches: self.watches as usize },
            Kind::KeeperBench => Workload::KeeperBench { file: self.config.clone().unwrap_or_default() },
        };
        let open = Pace::Open { rate: self.rate.unwrap_or(RATE), arrivals: self.arrivals };
        let nodes = if self.closed && workload == Workload::Delete { NODES_TO_DELETE } else { NODES };
        Spec {
            workload,
            pace: if self.closed { Pace::Closed } else { open },
            connections: self.connections as usize,
            in_flight: self.in_flight as usize,
            value_size: self.value_size as usize,
            nodes: self.nodes.map_or(nodes, |nodes| nodes as usize),
            seconds: self.seconds,
            warmup: self.warmup,
            seed: self.seed,
            threads: self.threads.into(),
            session_timeout_ms: self.session_timeout_ms,
        }
    }

    /// Where it goes.
    #[must_use]
    pub fn target(&self) -> Target {
        Target {
            label: self.label.clone().unwrap_or_else(|| self.servers.join(",")),
            servers: self.servers.clone(),
            version: None,
            quorum: self.quorum,
            durability: self.durability.clone(),
        }
    }

    /// Measures, and returns why the run ended early where it did.
    fn measure(self) -> Result<Option<String>, ExitCode> {
        if let Some(file) = &self.json {
            writable(file).map_err(|error| failed(&format!("cannot write {}: {error}", file.display())))?;
        }
        let control = stoppable(self.quiet, !self.no_pin)?;
        let record = run(&self.spec(), &self.target(), &control).map_err(|error| failed(&error.to_string()))?;
        print(&summary(&record))?;
        if let Some(file) = &self.json {
            record.write(file).map_err(|error| failed(&error.to_string()))?;
        }
        Ok(record.ended_early)
    }
}

/// Whether a file can be written, found out before the run and not after it. Leaves nothing behind.
fn writable(file: &Path) -> std::io::Result<()> {
    let is_new = !file.exists();
    OpenOptions::new().write(true).create(true).truncate(false).open(file)?;
    if is_new { std::fs::remove_file(file) } else { Ok(()) }
}

/// What was measured, in a few lines.
fn summary(record: &Record) -> String {
    let mut text = String::new();
    let mut add = |line: String| writeln!(text, "{line}").expect("a string takes what it is given");
    let (spec, arrived) = (&record.spec, record.arrivals);
    let version = record.target.version.as_ref().map_or_else(String::new, |version| format!(" ({version})"));
    add(format!(
        "{} on {}{version}: {} connections, {:.1} s",
        spec.workload, record.target.label, spec.connections, record.seconds
    ));
    let (offered, achieved) = (record.offered(), record.achieved());
    match spec.pace {
        Pace::Open { rate, .. } => add(format!(
            "open loop at {rate}/s: offered {offered:.0}/s, answered {achieved:.0}/s; delayed {}, dropped {}, unanswered {}",
            arrived.delayed, arrived.dropped, arrived.unanswered
        )),
        Pace::Closed => add(format!("closed loop, {} deep: answered {achieved:.0}/s", spec.in_flight)),
    }
    for (name, operation) in &record.operations {
        add(format!("  {name}: {}", quantiles(&operation.latency)));
        for (error, count) in &operation.errors {
            add(format!("  {name}: {count} times {error}"));
        }
    }
    for stall in &record.stalls {
        add(format!("  stood still for {:.0} ms, {:.2} s after the begin", stall.ms, stall.at));
    }
    let share = record.generator.share(record.seconds.max(1e-9)) * 100.0;
    let late = match spec.pace {
        Pace::Open { .. } => format!(", its requests left {} us late at the 99th percentile", record.generator.late_p99_us),
        Pace::Closed => String::new(),
    };
    add(format!("the generator took {share:.0} % of this machine's {} cores{late}", record.generator.cores));
    text
}

fn quantiles(latency: &Latency) -> String {
    let each: Vec<String> = QUANTILES.iter().map(|(name, q)| format!("{name} {}", latency.quantile_us(*q))).collect();
    format!("{} answered, {}, max {} us", latency.count(), each.join(", "), latency.max_us())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

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
        assert_eq!(run.spec().pace, Pace::Open { rate: 1000.0, arrivals: Arrivals::Poisson });
        assert_eq!(run.target().label, "127.0.0.1:2181");
        let run = parse("--servers a:1,b:2 --workload mixed --read-ratio 0.5 --rate 5e3 --arrivals constant --label x").unwrap();
        assert_eq!(run.spec().workload, Workload::Mixed { read_ratio: 0.5 });
        assert_eq!(run.spec().rate(), Some(5000.0));
        assert_eq!((run.target().servers, run.target().label), (vec!["a:1".to_owned(), "b:2".to_owned()], "x".to_owned()));
        let deletes = parse("--workload delete --closed").unwrap().spec();
        assert_eq!((deletes.pace, deletes.nodes), (Pace::Closed, 1_000_000));
        assert_eq!(parse("--workload delete --closed --nodes 5").unwrap().spec().nodes, 5);
        assert_eq!(parse("--workload fan-out --watchers 7").unwrap().spec().workload, Workload::FanOut { watchers: 7 });
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
