//! `ringkeeper tune flush`: which settings of group commit suit a drive, by trying them on the real log under load.

mod apply;
mod knobs;
mod pictures;
mod profiles;
mod trial;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Args;
use serde::{Deserialize, Serialize};

use self::knobs::{DEFAULT, Grid, Knobs, shuffled};
use self::profiles::{Aim, Point, Profile, Under, front, profiles};
use self::trial::{Load, Seen, Trial};
use super::disk::{Method, parse_size, probe_direct};
use super::{Failed, count, print, seconds, survey};
use crate::show::figure;
use crate::show::grid;
use crate::show::progress::Progress;
use crate::show::tell::stop_flag;

const LONG: &str = "\
Starts a server of its own below --dir, loads it at several rates and as fast as it answers, and tries
the defaults, by which the server finds its setting itself (flush.mode=adaptive), and a grid of fixed
settings: flush.method x flush.batchBytes x flush.flights x flush.lingerMicros. It tells the 99th
percentile and the most that was carried of each, those that no other beats in both, and a setting for
each of three aims: latency, balanced, throughput, with its reason.

Within 5 % settings count as alike, and the one nearest to the defaults is chosen: a difference that
small is noise. Each is measured several times (--rounds), in an order that mixes the grid, and
medians are told.

With --apply the lines are written into the configuration, and the server that runs by it takes them
up without a restart: by the word rlod, or by SIGHUP where that word is not allowed.

The server of the trial listens on a port of 127.0.0.1 that is free, and its directory is removed at
the end, also after Ctrl-C. Where the process is killed, the next run removes it.";

const EXAMPLES: &str = "\
Examples:
  ringkeeper tune flush --dir /var/lib                       the whole grid, about eleven minutes
  ringkeeper tune flush --dir /mnt/nvme --rate 2000,20000 --flights 1,4,16 --linger 0,50
  ringkeeper tune flush --dir /var/lib --json flush.json --plots .
  ringkeeper tune flush --from flush.json --apply balanced --config /etc/ringkeeper/zoo.cfg

Exit codes: 0 done, 1 could not, or was stopped before the end, 2 wrong usage.";

/// Parts of the most that a server carries by default, offered where no rates are given.
const PARTS: [f64; 3] = [0.01, 0.1, 0.5];

/// Room that is wanted, bytes: segments and snapshots of a server that is written to for a while.
const ROOM: u64 = 1 << 30;

/// What a measurement takes beside its seconds, s: for the estimate.
const BESIDE: f64 = 0.15;

/// Seconds of load before an adaptive server is measured, unless measuring itself takes less than a tenth: it has to find its setting.
const SETTLES: f64 = 10.0;

/// The form of the file that `--json` writes.
const FORMAT: u32 = 1;

/// Find the settings of group commit for a drive.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = EXAMPLES)]
pub struct Flush {
    /// A directory on the drive.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// Writes a second that are offered; where none are given, 1, 10 and 50 % of what the defaults carry.
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = rate)]
    rate: Vec<f64>,

    /// Seconds of each measurement.
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,

    /// Times that each setting is measured.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// flush.lingerMicros.
    #[arg(long, value_name = "US,...", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(0..=1_000_000), default_value = "0,100,1000")]
    linger: Vec<u64>,

    /// flush.batchBytes.
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',', value_parser = batch_bytes, default_value = "64k,1m")]
    batch_bytes: Vec<usize>,

    /// flush.flights.
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = flights, default_value = "1,2,4,8,16")]
    flights: Vec<usize>,

    /// flush.method.
    #[arg(long, value_name = "METHOD,...", value_delimiter = ',', value_enum, default_value = "dsync,fdatasync")]
    methods: Vec<Method>,

    /// Connections that write.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = count)]
    connections: usize,

    /// Bytes of a value.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=500_000))]
    value_size: u32,

    /// A line more in the configuration of the server that is measured, such as shards=4; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = line)]
    set: Vec<String>,

    /// Measure nothing: take what an earlier run wrote with --json.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rate", "json", "dir"])]
    from: Option<PathBuf>,

    /// Write the setting for this aim into --config, and tell the server.
    #[arg(long, value_name = "AIM", value_enum, requires = "config")]
    apply: Option<Aim>,

    /// The zoo.cfg for --apply.
    #[arg(long, value_name = "FILE", requires = "apply")]
    config: Option<PathBuf>,

    /// Write everything that was measured here, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Draw pictures into this directory: flush-*.svg.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,

    /// Measure on a network file system too.
    #[arg(long)]
    anyway: bool,

    /// No progress on standard error.
    #[arg(long)]
    quiet: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate| (1.0..=1e7).contains(rate))
        .ok_or_else(|| "expected writes a second, 1 to 10000000".to_owned())
}

fn line(text: &str) -> Result<String, String> {
    let is_line = text.contains('=') && !text.contains(char::is_control) && !text.ends_with('\\');
    if is_line { Ok(text.to_owned()) } else { Err("expected KEY=VALUE".to_owned()) }
}

fn flights(text: &str) -> Result<usize, String> {
    count(text).ok().filter(|n| *n <= crate::ground::limits::FLIGHTS_MAX).ok_or_else(|| "expected 1 to 16".to_owned())
}

fn batch_bytes(text: &str) -> Result<usize, String> {
    parse_size(text).ok().filter(|n| *n <= 1 << 20).ok_or_else(|| "expected whole blocks of 4k, up to 1m".to_owned())
}

/// Everything that was measured.
#[derive(Serialize, Deserialize)]
struct Report {
    format: u32,
    tool: String,
    ground: Vec<(String, String)>,
    seconds: f64,
    rounds: u32,
    connections: usize,
    value_size: u32,
    set: Vec<String>,
    points: Vec<Point>,
    front: Vec<Knobs>,
    profiles: Vec<Profile>,
    complete: bool,
}

impl Flush {
    /// Measures, tells, and applies.
    #[must_use]
    pub fn run(self) -> ExitCode {
        super::end(self.tune())
    }

    fn tune(&self) -> Result<(), Failed> {
        if let Some(config) = &self.config {
            // Before ten minutes are spent.
            fs::metadata(config).map_err(|error| Failed(format!("{}: {error}", config.display())))?;
        }
        let report = match &self.from {
            Some(path) => {
                let text = fs::read_to_string(path).map_err(|error| Failed(format!("{}: {error}", path.display())))?;
                let report: Report = serde_json::from_str(&text)
                    .map_err(|error| Failed(format!("{}: no report of tune flush: {error}", path.display())))?;
                if report.format != FORMAT {
                    return Err(Failed(format!("{}: its form is {}, and {FORMAT} is known", path.display(), report.format)));
                }
                report
            }
            None => self.measure()?,
        };
        self.tell(&report)?;
        if !report.complete {
            return Err(Failed("stopped before everything was measured; nothing was applied".to_owned()));
        }
        match (self.apply, &self.config) {
            (Some(aim), Some(config)) => {
                let profile = report.profiles.iter().find(|profile| profile.aim == aim);
                let profile = profile.ok_or_else(|| Failed(format!("there is no setting for {}", aim.name())))?;
                apply::write(config, &profile.knobs, &format!("{}: {}", aim.name(), profile.why))?;
                print(&format!("\n{} has the lines for {} now\n", config.display(), aim.name()))?;
                print(&format!("{}\n", apply::tell(config)?))
            }
            _ => Ok(()),
        }
    }

    fn measure(&self) -> Result<Report, Failed> {
        let (dir, ground) = survey(&self.dir, self.anyway, ROOM)?;
        if !probe_direct(&dir)? {
            return Err(Failed(format!(
                "{} takes no O_DIRECT, by which the log is written: name a directory on ext4 or xfs",
                dir.display()
            )));
        }
        if let Some(plots) = &self.plots {
            fs::create_dir_all(plots).map_err(|error| Failed(format!("{}: {error}", plots.display())))?;
        }
        let stop = stop_flag().map_err(Failed)?;
        let facts: Vec<(String, String)> = ground.facts().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for (name, value) in &facts {
            print(&format!("{name:12} {value}\n"))?;
        }
        let mut trial = Trial::start(&dir, &self.set)?;
        let grid = Grid {
            fdatasync: self.methods.iter().map(|method| *method == Method::Fdatasync).collect(),
            batch_bytes: self.batch_bytes.clone(),
            flights: self.flights.clone(),
            linger_us: self.linger.clone(),
        };
        let points = self.grid(&mut trial, &grid.all(), &stop)?;
        drop(trial);
        let complete = !stop.load(Ordering::Relaxed);
        Ok(Report {
            format: FORMAT,
            tool: format!("ringkeeper {}", env!("CARGO_PKG_VERSION")),
            ground: facts,
            seconds: self.seconds,
            rounds: self.rounds,
            connections: self.connections,
            value_size: self.value_size,
            set: self.set.clone(),
            front: front(&points).into_iter().map(|point| point.knobs).collect(),
            profiles: profiles(&points),
            points,
            complete,
        })
    }

    /// Seconds of load before a setting is measured.
    fn warmup(&self, knobs: &Knobs) -> f64 {
        if knobs.adaptive { (self.seconds * 10.0).min(SETTLES) } else { (self.seconds / 5.0).min(1.0) }
    }

    fn load(&self, rate: Option<f64>, knobs: &Knobs) -> Load {
        let value_size = self.value_size as usize;
        Load { rate, seconds: self.seconds, warmup: self.warmup(knobs), connections: self.connections, value_size }
    }

    /// Measures all settings. Where it is told to stop, those that were measured in every way.
    fn grid(&self, trial: &mut Trial, all: &[Knobs], stop: &Arc<AtomicBool>) -> Result<Vec<Point>, Failed> {
        let rates = if self.rate.is_empty() {
            // The first run of a server pays for its first segments.
            let mut most = 0.0;
            for _ in 0..2 {
                let Some(seen) = trial.measure(&self.load(None, &DEFAULT), stop)? else { return Ok(Vec::new()) };
                most = f64::max(most, seen.achieved);
            }
            PARTS.iter().map(|part| (most * part).round().max(1.0)).collect()
        } else {
            let mut rates = self.rate.clone();
            rates.sort_by(f64::total_cmp);
            rates
        };
        let loads: Vec<Option<f64>> = rates.iter().copied().map(Some).chain([None]).collect();
        let rounds = self.rounds as usize;
        let runs = all.len() * loads.len() * rounds;
        // What a measurement takes, on average.
        let expected = all.iter().map(|knobs| self.warmup(knobs) + self.seconds + BESIDE).sum::<f64>() / all.len() as f64;
        let mut progress = Progress::new(false);
        if !self.quiet {
            let offered: Vec<String> = rates.iter().map(|rate| figure::rate(*rate)).collect();
            let minutes = runs as f64 * expected / 60.0;
            eprintln!(
                "{} settings, {rounds} times each, at {} writes a second and as fast as it goes: about {minutes:.1} minutes",
                all.len(),
                offered.join(", ")
            );
        }
        let mut seen: Vec<Vec<Vec<Seen>>> = vec![vec![Vec::new(); loads.len()]; all.len()];
        let (began, mut done) = (Instant::now(), 0);
        'rounds: for round in 0..rounds {
            for setting in shuffled(all.len(), round) {
                let knobs = &all[setting];
                trial.set(knobs)?;
                for (n, rate) in loads.iter().enumerate() {
                    if !self.quiet {
                        progress.tell(|| {
                            let each = if done < 8 { expected } else { began.elapsed().as_secs_f64() / done as f64 };
                            format!("{} of {runs}: {knobs}; {:.0} s left", done + 1, each * (runs - done) as f64)
                        });
                    }
                    let Some(measured) = trial.measure(&self.load(*rate, knobs), stop)? else { break 'rounds };
                    seen[setting][n].push(measured);
                    done += 1;
                }
            }
        }
        let points = all.iter().zip(&seen).filter(|(_, seen)| seen.iter().all(|seen| !seen.is_empty()));
        Ok(points.map(|(knobs, seen)| point(*knobs, &rates, seen)).collect())
    }

    fn tell(&self, report: &Report) -> Result<(), Failed> {
        print(&format!("\n{}\n", table(&report.points, &report.front)))?;
        for profile in &report.profiles {
            let lines = profile.knobs.lines().join("\n");
            print(&format!("# {}: {}\n# {}\n{lines}\n\n", profile.aim.name(), profile.knobs, profile.why))?;
        }
        let told: Vec<String> = report.ground.iter().skip(1).take(3).map(|(name, value)| format!("{name} {value}")).collect();
        if let Some(plots) = &self.plots {
            for (name, svg) in pictures::all(&report.points, &told) {
                let path = plots.join(name);
                fs::write(&path, svg).map_err(|error| Failed(format!("{}: {error}", path.display())))?;
            }
        }
        self.json.as_ref().map_or(Ok(()), |path| super::write_json(path, report))
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    match all.len() {
        0 => 0.0,
        n if n.is_multiple_of(2) => f64::midpoint(all[middle - 1], all[middle]),
        _ => all[middle],
    }
}

/// What the rounds of a setting have shown: under each rate, and as fast as it goes.
fn point(knobs: Knobs, rates: &[f64], seen: &[Vec<Seen>]) -> Point {
    let loads = rates.iter().zip(seen).map(|(&rate, seen)| {
        let tails = || seen.iter().map(|seen| seen.p99);
        Under {
            rate,
            p50: median(seen.iter().map(|seen| seen.p50)),
            p99: median(tails()),
            spread: (tails().fold(f64::INFINITY, f64::min), tails().fold(0.0, f64::max)),
            carried: seen.iter().all(|seen| seen.carried),
        }
    });
    let most = seen.last().map_or(0.0, |seen| median(seen.iter().map(|seen| seen.achieved)));
    Point { knobs, loads: loads.collect(), most }
}

/// A row for each setting; those of the front are marked.
fn table(points: &[Point], front: &[Knobs]) -> String {
    let rates = points.first().map_or(Vec::new(), |point| point.loads.iter().map(|load| load.rate).collect());
    let heads = rates.iter().map(|rate| format!("p50 / p99 at {}/s", figure::rate(*rate)));
    let mut table = grid::Grid::new(
        std::iter::once("setting (* no other is better in both)".to_owned()).chain(heads).chain(["most, /s".to_owned()]),
    );
    for point in points {
        let mark = if front.contains(&point.knobs) { " *" } else { "" };
        let cells = point.loads.iter().map(|load| {
            let lost = if load.carried { "" } else { " (!)" };
            format!("{} / {}{lost}", figure::short(load.p50), figure::short(load.p99))
        });
        table.push(std::iter::once(format!("{}{mark}", point.knobs)).chain(cells).chain([figure::rate(point.most)]));
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_become_medians() {
        let seen = |p99, achieved| Seen { p50: p99 / 2.0, p99, achieved, carried: p99 < 1000.0 };
        let rounds = [vec![seen(100.0, 5.0), seen(300.0, 5.0), seen(120.0, 5.0)], vec![seen(9.0, 100.0), seen(9.0, 200.0)]];
        let found = point(DEFAULT, &[10.0], &rounds);
        assert_eq!((found.loads[0].p99, found.loads[0].spread, found.loads[0].carried), (120.0, (100.0, 300.0), true));
        assert_eq!(found.most, 150.0);
        let text = table(&[found], &[DEFAULT]);
        assert!(text.contains("dsync adaptive, 1m *") && text.contains("60 us / 120 us") && text.contains("150"), "{text}");
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
