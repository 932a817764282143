//! `ringkeeper tune disk`: what a flush costs on a drive, in every way that a log could be written.

mod path;
mod pictures;
mod probe;
mod setting;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Serialize;

pub use self::path::Ground;
use self::probe::{Measured, Scratch};
pub use self::setting::{Method, parse_size, size};
use self::setting::{Setting, State, matrix};
use self::verdict::{Cell, Second, Verdict, verdict};
use super::{Failed, count, print, seconds, survey};
use crate::show::figure;
use crate::show::grid::Grid;
use crate::show::progress::Progress;
use crate::show::tell::stop_flag;

const LONG: &str = "\
Measures durable writes on a drive: {O_DSYNC, fdatasync} x {O_DIRECT, page cache} x sizes x files that
are {written with zeros, reserved, growing} x writes under way at a time. Then it writes steadily for
a while, because many drives are fast only until their cache is full. Percentiles, not averages.

The server's log is a file of zeros, written past the page cache (O_DIRECT): its rows say what the
server gets, the others why it is done so.

It writes only files without a name in --dir, so nothing is left behind, whatever ends it. It refuses a
directory in which a server works: their writes would wait for each other. Ctrl-C ends it, and what was
measured until then is told.";

const EXAMPLES: &str = "\
Examples:
  ringkeeper tune disk --dir /var/lib/ringkeeper                 everything, about six minutes
  ringkeeper tune disk --dir /mnt/nvme --steady 900              does a consumer drive keep its speed?
  ringkeeper tune disk --sizes 4k --states zeroed --in-flight 1,2,4 --steady 0    ten seconds
  ringkeeper tune disk --json disk.json --plots .                 for the record

Exit codes: 0 measured, 1 could not, or was stopped before the end, 2 wrong usage.";

/// Writes under way while it is written steadily: what the server does by default.
const STEADY_IN_FLIGHT: usize = 4;

/// Bytes of such a write: a batch of some hundred transactions.
const STEADY_BYTES: usize = 65_536;

/// How long it is written before anything counts.
const WARM_UP: Duration = Duration::from_millis(500);

/// What a setting takes beside its time, s: for the estimate.
const BESIDE: f64 = 0.1;

/// Bytes of zeros written in a second: for the estimate.
const ZEROS: f64 = 500e6;

/// Past the page cache or through it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Cache {
    /// O_DIRECT.
    Direct,
    /// Through the page cache.
    Buffered,
}

/// Measure what a flush costs on a drive.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = EXAMPLES)]
pub struct Disk {
    /// A directory on the drive.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// Seconds of each setting.
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,

    /// Seconds of steady writing at the end; 0 is without.
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=3600))]
    steady: u32,

    /// Length of the files, MiB; two are there at a time at most.
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    file_mib: u64,

    /// Sizes of a write.
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',', value_parser = parse_size, default_value = "4k,16k,64k,256k,1m")]
    sizes: Vec<usize>,

    /// Writes under way at a time.
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = count, default_value = "1,2,4,8,16")]
    in_flight: Vec<usize>,

    /// What makes a write durable.
    #[arg(long, value_name = "METHOD,...", value_delimiter = ',', value_enum, default_value = "dsync,fdatasync")]
    methods: Vec<Method>,

    /// Past the page cache, or through it.
    #[arg(long, value_name = "CACHE,...", value_delimiter = ',', value_enum, default_value = "direct,buffered")]
    caches: Vec<Cache>,

    /// What the file is where it is written.
    #[arg(long, value_name = "STATE,...", value_delimiter = ',', value_enum, default_value = "zeroed,reserved,growing")]
    states: Vec<State>,

    /// Write everything that was measured here, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Draw pictures into this directory: disk-*.svg.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,

    /// Measure on a network file system too.
    #[arg(long)]
    anyway: bool,

    /// No progress on standard error.
    #[arg(long)]
    quiet: bool,
}

/// Everything that was measured.
#[derive(Serialize)]
struct Report<'a> {
    tool: String,
    kernel: String,
    ground: &'a Ground,
    direct: bool,
    file_mib: u64,
    seconds: f64,
    cells: &'a [Cell],
    steady: Steady<'a>,
    verdict: &'a Verdict,
    complete: bool,
}

#[derive(Serialize)]
struct Steady<'a> {
    #[serde(flatten)]
    setting: Setting,
    each_second: &'a [Second],
}

impl Disk {
    /// Measures, and tells.
    #[must_use]
    pub fn run(self) -> ExitCode {
        super::end(self.measure())
    }

    fn measure(&self) -> Result<(), Failed> {
        // Two files, and a drive that is not quite full afterwards.
        let (dir, ground) = survey(&self.dir, self.anyway, (self.file_mib << 20) / 8 * 17)?;
        let mut scratch = Scratch::new(&dir, self.file_mib << 20);
        let has_direct = scratch.has_direct().map_err(Failed::new)?;
        if let Some(plots) = &self.plots {
            fs::create_dir_all(plots).map_err(|error| Failed(format!("{}: {error}", plots.display())))?;
        }
        let stop = stop_flag().map_err(Failed)?;
        for (name, value) in ground.facts() {
            print(&format!("{name:12} {value}\n"))?;
        }
        if !has_direct {
            print("O_DIRECT     this file system takes none: only writes through the page cache are measured\n")?;
        }
        let direct: Vec<bool> = self.caches.iter().map(|cache| *cache == Cache::Direct).filter(|it| has_direct || !it).collect();
        let settings = matrix(&self.states, &self.methods, &direct, &self.sizes, &self.in_flight);
        let cells = self.matrix(&mut scratch, &settings, &stop)?;
        let setting = Setting {
            state: State::Zeroed,
            method: *self.methods.first().unwrap_or(&Method::Dsync),
            direct: has_direct,
            bytes: STEADY_BYTES,
            in_flight: STEADY_IN_FLIGHT,
        };
        let steady = self.steady(&mut scratch, setting, &stop)?;
        let verdict = verdict(&cells, &steady);
        print(&tables(&cells))?;
        for line in &verdict.lines {
            print(&format!("- {line}\n"))?;
        }
        if !verdict.settings.is_empty() {
            print(&format!(
                "\nto begin with, in the zoo.cfg (`ringkeeper tune flush` measures the log itself):\n{}\n",
                verdict.settings.join("\n")
            ))?;
        }
        let complete = !stop.load(Ordering::Relaxed);
        let told = [format!("{} {}", ground.model, ground.file_system).trim().to_owned(), kernel()];
        if let Some(plots) = &self.plots {
            for (name, svg) in pictures::all(&cells, &steady, setting, &told) {
                let path = plots.join(name);
                fs::write(&path, svg).map_err(|error| Failed(format!("{}: {error}", path.display())))?;
            }
        }
        if let Some(path) = &self.json {
            let report = Report {
                tool: format!("ringkeeper {}", env!("CARGO_PKG_VERSION")),
                kernel: kernel(),
                ground: &ground,
                direct: has_direct,
                file_mib: self.file_mib,
                seconds: self.seconds,
                cells: &cells,
                steady: Steady { setting, each_second: &steady },
                verdict: &verdict,
                complete,
            };
            super::write_json(path, &report)?;
        }
        if complete { Ok(()) } else { Err(Failed("stopped before everything was measured".to_owned())) }
    }

    fn matrix(&self, scratch: &mut Scratch, settings: &[Setting], stop: &Arc<AtomicBool>) -> Result<Vec<Cell>, Failed> {
        let mut progress = Progress::new(false);
        let zeros = (self.file_mib << 20) as f64 / ZEROS;
        let left = |n: usize| n as f64 * (self.seconds + BESIDE) + f64::from(self.steady) + zeros;
        if !self.quiet {
            let (n, seconds, steady, minutes) = (settings.len(), self.seconds, self.steady, left(settings.len()) / 60.0);
            eprintln!("{n} settings of {seconds} s and {steady} s of steady writing: about {minutes:.1} minutes");
        }
        let mut cells = Vec::new();
        if let Some(&first) = settings.first() {
            // The first to be measured would pay for what the drive and the kernel do once.
            scratch.measure(first, WARM_UP, false, stop).map_err(Failed::new)?;
        }
        let began = Instant::now();
        for (n, &setting) in settings.iter().enumerate() {
            if !self.quiet {
                progress.tell(|| {
                    // By what it has taken so far, once that says something.
                    let each = if n < 8 { self.seconds + BESIDE } else { began.elapsed().as_secs_f64() / n as f64 };
                    let left = each * (settings.len() - n) as f64 + f64::from(self.steady);
                    let Setting { state, in_flight, .. } = setting;
                    format!(
                        "{} of {}: {} {}, {in_flight} at a time; {left:.0} s left",
                        n + 1,
                        settings.len(),
                        state.name(),
                        setting.way()
                    )
                });
            }
            let measured = scratch.measure(setting, Duration::from_secs_f64(self.seconds), false, stop).map_err(Failed::new)?;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            cells.push(cell(setting, &measured));
        }
        Ok(cells)
    }

    fn steady(&self, scratch: &mut Scratch, setting: Setting, stop: &Arc<AtomicBool>) -> Result<Vec<Second>, Failed> {
        if self.steady == 0 || stop.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        if !self.quiet {
            eprintln!("steady writing: {}, {} at a time, {} s", setting.way(), setting.in_flight, self.steady);
        }
        let measured = scratch.measure(setting, Duration::from_secs(self.steady.into()), true, stop).map_err(Failed::new)?;
        let second = |times: &probe::Times| Second {
            count: times.count(),
            p50: times.quantile_us(0.5),
            p99: times.quantile_us(0.99),
            max: times.max_us(),
        };
        Ok(measured.seconds.iter().map(second).collect())
    }
}

/// Whether files in a directory can be written past the page cache.
pub fn probe_direct(dir: &Path) -> Result<bool, Failed> {
    Scratch::new(dir, 0).has_direct().map_err(Failed::new)
}

fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn cell(setting: Setting, measured: &Measured) -> Cell {
    let times = &measured.times;
    let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|part| times.quantile_us(part));
    Cell { setting, count: times.count(), rate: measured.rate(), p50, p90, p99, p999, max: times.max_us() }
}

/// A table for each state of the file: ways down, writes under way across.
fn tables(cells: &[Cell]) -> String {
    let mut text = String::new();
    for state in [State::Zeroed, State::Reserved, State::Growing] {
        let of: Vec<&Cell> = cells.iter().filter(|cell| cell.setting.state == state).collect();
        let mut across: Vec<usize> = of.iter().map(|cell| cell.setting.in_flight).collect();
        across.sort_unstable();
        across.dedup();
        let mut ways: Vec<String> = of.iter().map(|cell| cell.setting.way()).collect();
        ways.dedup();
        if ways.is_empty() {
            continue;
        }
        let head = across.iter().map(|n| format!("{n} at a time"));
        let mut grid = Grid::new(std::iter::once(format!("{} file: p50 / p99, writes a second", state.name())).chain(head));
        for way in ways {
            let at = |n: usize| of.iter().find(|cell| cell.setting.in_flight == n && cell.setting.way() == way);
            let told = |n: usize| {
                at(n).map_or_else(String::new, |cell| {
                    format!("{} / {}, {}", figure::short(cell.p50), figure::short(cell.p99), figure::rate(cell.rate))
                })
            };
            grid.push(std::iter::once(way.clone()).chain(across.iter().map(|n| told(*n))));
        }
        text += &format!("\n{}", grid.text());
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_row_for_each_way() {
        let cell = |in_flight, bytes, p50| {
            let setting = Setting { state: State::Zeroed, method: Method::Dsync, direct: true, bytes, in_flight };
            Cell { setting, count: 9, rate: 1e6 / p50, p50, p90: p50, p99: 2.0 * p50, p999: p50, max: p50 }
        };
        let text = tables(&[cell(1, 4096, 50.0), cell(4, 4096, 80.0), cell(1, 65536, 100.0)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("zeroed file: p50 / p99, writes a second") && lines[1].ends_with("4 at a time"), "{text}");
        assert!(lines[2].starts_with("dsync direct 4k ") && lines[2].contains("50 us / 100 us, 20,000"), "{text}");
        assert!(lines[3].trim_end().ends_with("100 us / 200 us, 10,000"), "{text}");
        assert_eq!(tables(&[]), "\n");
    }
}
