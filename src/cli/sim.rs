//! `ringkeeper sim`: plays simulated ensembles from seeds and says which promise was broken.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::outcome::{Failed, Outcome, end};
use crate::show::progress::Progress;
use crate::sim::case::Case;
use crate::sim::shrink::shrink;
use crate::sim::stats::Stats;
use crate::sim::{Failure, Tells, play};

const AFTER: &str = "\
Examples:
  ringkeeper sim --seeds 0..1000                   play a thousand worlds
  ringkeeper sim --seed 17 --trace                 play one, and tell everything
  ringkeeper sim --seed 17 --shrink > small.txt    make it as small as it still fails
  ringkeeper sim --case small.txt                  play what was made small

A world is a few servers with the real Zab core, log and recovery, on pretended clocks, nets and disks that break by a plan. Equal seeds are
equal worlds: every 50th is played twice to see that. Settings and plan of a seed may differ from one release to the next; a case in a
file stays what it is.

Exit codes: 0 nothing broken, 1 a promise broken, 2 wrong usage.";

/// Runs between two checks that equal seeds are equal worlds.
const TWICE: u64 = 50;

/// Runs that may be made to make a case smaller.
const SHRINK_RUNS: usize = 2000;

/// How often a campaign's counters are written: what a run that is killed had played since is played again.
const KEPT_EVERY: Duration = Duration::from_secs(30);

/// Failures that are told before a campaign stops.
const TOLD: usize = 10;

/// Play simulated ensembles from seeds.
#[derive(Args, Debug)]
#[command(after_help = AFTER)]
pub struct Sim {
    /// Play one seed
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Play the seeds from A to just before B
    #[arg(long, value_name = "A..B", value_parser = range, conflicts_with = "seed")]
    seeds: Option<(u64, u64)>,
    /// Play a case from a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "seeds"])]
    case: Option<PathBuf>,
    /// Tell everything that happens
    #[arg(long)]
    trace: bool,
    /// Make what fails smaller, and print the case
    #[arg(long)]
    shrink: bool,
    /// Print the case of a seed and do not play it
    #[arg(long, requires = "seed")]
    show: bool,
    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Threads; as many as there are cores unless told otherwise
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Go on with the seeds after the last one in this file, and add up its counters
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "seeds", "case"])]
    campaign: Option<PathBuf>,
    /// Keep playing after a failure
    #[arg(long)]
    keep_going: bool,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let parse = |word: &str| word.parse::<u64>().map_err(|error| format!("{word}: {error}"));
    let (from, to) = text.split_once("..").ok_or("two numbers with .. between them")?;
    let (from, to) = (parse(from)?, parse(to)?);
    if from < to { Ok((from, to)) } else { Err("the first is to be less than the second".to_owned()) }
}

fn commit() -> &'static str {
    option_env!("RINGKEEPER_COMMIT").unwrap_or(env!("CARGO_PKG_VERSION"))
}

/// What many runs came to.
#[derive(Default)]
struct Sum {
    stats: Stats,
    failures: Vec<(u64, Failure)>,
    unequal: Vec<u64>,
}

impl Sim {
    /// Does what was asked for.
    #[must_use]
    pub fn run(self) -> ExitCode {
        end(self.carry_out())
    }

    fn carry_out(&self) -> Result<Outcome, Failed> {
        if let Some(path) = &self.case {
            let text = fs::read_to_string(path).map_err(Failed::on("read", path))?;
            let case = Case::parse(&text).map_err(|why| Failed::NotThere(format!("{}: {why}", path.display())))?;
            return Ok(self.one(&case, &format!("--case {}", path.display())));
        }
        if let Some(path) = &self.campaign {
            return self.go_on(path);
        }
        match (self.seed, self.seeds) {
            (Some(seed), _) => {
                let case = Case::draw(seed);
                if self.show {
                    print!("{case}");
                    return Ok(Outcome::Fine);
                }
                Ok(self.one(&case, &format!("--seed {seed}")))
            }
            (None, seeds) => {
                let (from, to) = seeds.unwrap_or((0, 1000));
                let sum = self.many(from, to, self.seconds.map(Duration::from_secs));
                Ok(self.conclude(&sum))
            }
        }
    }

    /// One case, told as was asked.
    fn one(&self, case: &Case, how: &str) -> Outcome {
        let tells = if self.trace { Tells::All } else { Tells::Last };
        let outcome = play(case, tells);
        let Some(failure) = outcome.failure else {
            eprint!("{}", outcome.stats);
            eprintln!("state {:016x}: no promise broken", outcome.fingerprint);
            return Outcome::Fine;
        };
        tell(case.seed, &failure, how);
        if self.shrink {
            let fails = |case: &Case| play(case, Tells::Nothing).failure.map(|failure| failure.invariant);
            let told = |case: &Case| eprint!("\r{} faults, {} requests   ", case.plan.len(), case.settings.ops);
            let small = shrink(case, SHRINK_RUNS, fails, told);
            eprintln!();
            let failure = play(&small, Tells::Last).failure.expect("it fails as before");
            println!("# {failure}\n# commit {}\n{small}", commit());
            failure.last.iter().for_each(|line| eprintln!("{line}"));
        }
        Outcome::Wrong
    }

    /// The seeds from one to just before another, on all threads, for so long.
    fn many(&self, from: u64, to: u64, limit: Option<Duration>) -> Sum {
        let threads = self.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)).max(1);
        let began = Instant::now();
        let next = AtomicU64::new(from);
        let stops = AtomicBool::new(false);
        let sum = Mutex::new((Sum::default(), Progress::new(false)));
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while !stops.load(Ordering::Relaxed) && limit.is_none_or(|limit| began.elapsed() < limit) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= to {
                            break;
                        }
                        let case = Case::draw(seed);
                        let outcome = play(&case, Tells::Nothing);
                        let again = seed.is_multiple_of(TWICE).then(|| play(&case, Tells::Nothing));
                        let told = outcome.failure.is_some().then(|| play(&case, Tells::Last).failure).flatten();
                        let mut sum = sum.lock().expect("no thread fails with it");
                        let (sum, progress) = &mut *sum;
                        sum.stats.add(&outcome.stats);
                        if let Some(failure) = told.or(outcome.failure) {
                            tell(seed, &failure, &format!("--seed {seed}"));
                            sum.failures.push((seed, failure));
                        }
                        if again.is_some_and(|again| again.fingerprint != outcome.fingerprint) {
                            eprintln!("FAILED seed {seed}: two runs of it differ");
                            sum.unequal.push(seed);
                        }
                        let failed = sum.failures.len() + sum.unequal.len();
                        if failed > 0 && !self.keep_going || failed >= TOLD {
                            stops.store(true, Ordering::Relaxed);
                        }
                        progress.tell(|| {
                            let (runs, seconds) = (sum.stats.runs, began.elapsed().as_secs_f64());
                            format!("{runs} seeds, {:.1} a second, {} failed", runs as f64 / seconds, sum.failures.len())
                        });
                    }
                });
            }
        });
        let (mut sum, progress) = sum.into_inner().expect("no thread fails with it");
        drop(progress);
        let seconds = began.elapsed();
        sum.stats.counts.insert("wall ms".to_owned(), u64::try_from(seconds.as_millis()).unwrap_or(u64::MAX));
        sum
    }

    fn conclude(&self, sum: &Sum) -> Outcome {
        print!("{}", sum.stats);
        let wall = sum.stats.counts.get("wall ms").copied().unwrap_or_default().max(1) as f64 / 1000.0;
        let (runs, failed) = (sum.stats.runs, sum.failures.len() + sum.unequal.len());
        println!(
            "{runs} seeds in {wall:.1} s ({:.1} a second, {:.0} events a second, {:.0} times as fast as time), {failed} failed",
            runs as f64 / wall,
            sum.stats.events as f64 / wall,
            sum.stats.time as f64 / 1e6 / wall,
        );
        if failed == 0 { Outcome::Fine } else { Outcome::Wrong }
    }

    /// Goes on with a campaign: the file holds the next seed and the counters, one `VALUE NAME` a line.
    fn go_on(&self, path: &Path) -> Result<Outcome, Failed> {
        let limit = self.seconds.map(Duration::from_secs);
        let began = Instant::now();
        let mut all = Sum::default();
        loop {
            let left = limit.map(|limit| limit.saturating_sub(began.elapsed()));
            let sum = self.slice(path, left.map_or(KEPT_EVERY, |left| left.min(KEPT_EVERY)))?;
            all.stats.add(&sum.stats);
            all.failures.extend(sum.failures);
            all.unequal.extend(sum.unequal);
            let failed = all.failures.len() + all.unequal.len();
            if failed > 0 && !self.keep_going || failed >= TOLD || limit.is_some_and(|limit| began.elapsed() >= limit) {
                return Ok(self.conclude(&all));
            }
        }
    }

    /// Plays for so long, and writes the counters.
    fn slice(&self, path: &Path, limit: Duration) -> Result<Sum, Failed> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failed::on("read", path)(error)),
        };
        let mut before: Vec<(String, u64)> = Vec::new();
        for line in text.lines() {
            let row = line.trim().split_once(' ').and_then(|(value, name)| Some((name.trim().to_owned(), value.parse().ok()?)));
            before.push(row.ok_or_else(|| Failed::NotThere(format!("{}: not a counter: {line}", path.display())))?);
        }
        let value = |name: &str| before.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value);
        let from = value("next seed");
        let sum = self.many(from, u64::MAX, Some(limit));
        let mut rows = sum.stats.rows();
        rows.push(("failed".to_owned(), (sum.failures.len() + sum.unequal.len()) as u64));
        for (name, old) in &before {
            match rows.iter_mut().find(|(known, _)| known == name) {
                Some((_, new)) if name.starts_with("slowest") => *new = (*new).max(*old),
                Some((_, new)) => *new += old,
                None if name == "next seed" => {}
                None => rows.push((name.clone(), *old)),
            }
        }
        rows.push(("next seed".to_owned(), from + sum.stats.runs));
        let text: String = rows.iter().map(|(name, value)| format!("{value} {name}\n")).collect();
        let fresh = path.with_extension("new");
        fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, path)).map_err(Failed::on("write", path))?;
        Ok(sum)
    }
}

/// What has failed, what happened before, and how to see it again.
fn tell(seed: u64, failure: &Failure, how: &str) {
    failure.last.iter().for_each(|line| eprintln!("  {line}"));
    eprintln!("FAILED seed {seed}, commit {}: {failure}", commit());
    eprintln!("  again: ringkeeper sim {how} --trace; smaller: ringkeeper sim {how} --shrink");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_two_ends() {
        assert_eq!(range("3..9"), Ok((3, 9)));
        assert!(range("9..3").is_err() && range("3").is_err() && range("a..b").is_err());
    }
}
