//! Probe: writes and flushes in one way for a while, and tells how long each took.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::fs::{FallocateFlags, Mode, OFlags};

use super::setting::{Method, Setting, State};

/// What O_DIRECT wants memory and places to be a multiple of, bytes.
const BLOCK: usize = 4096;

/// Bytes of one write while a file is made.
const STRIDE: usize = 1 << 20;

/// The longest write that is told apart, ns.
const LONGEST_NS: u64 = 600_000_000_000;

/// Why it cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The directory takes no file.
    #[error("cannot make a file in {0}: {1}")]
    Make(PathBuf, io::Error),
    /// The drive is full.
    #[error("{0} is full: make room there, or ask for smaller files by --file-mib")]
    Full(PathBuf),
    /// A write or a flush failed.
    #[error("a write in {0} failed: {1}")]
    Write(PathBuf, io::Error),
    /// The file system has no O_DIRECT.
    #[error("{0} takes no O_DIRECT")]
    NoDirect(PathBuf),
}

/// How long writes took.
#[derive(Debug)]
pub struct Times {
    /// ns, within 1 %.
    ns: Histogram<u64>,
}

impl Default for Times {
    fn default() -> Self {
        Self { ns: Histogram::new_with_bounds(1, LONGEST_NS, 2).expect("the bounds are in order") }
    }
}

impl Times {
    fn record(&mut self, took: Duration) {
        self.ns.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(LONGEST_NS).max(1));
    }

    fn add(&mut self, other: &Self) {
        self.ns.add(&other.ns).expect("both have the same bounds");
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.ns.len()
    }

    /// The time that a part of them did not exceed, us; 0 where there were none.
    pub fn quantile_us(&self, part: f64) -> f64 {
        self.ns.value_at_quantile(part) as f64 / 1000.0
    }

    /// The longest, us.
    pub fn max_us(&self) -> f64 {
        self.ns.max() as f64 / 1000.0
    }
}

/// What a setting has shown.
#[derive(Debug, Default)]
pub struct Measured {
    /// All writes.
    pub times: Times,
    /// Those of each second, where that was asked.
    pub seconds: Vec<Times>,
    /// How long it was measured, s.
    pub lasted: f64,
}

impl Measured {
    /// Writes a second.
    pub fn rate(&self) -> f64 {
        self.times.count() as f64 / self.lasted.max(1e-9)
    }
}

/// Files without a name in a directory: they are gone with whoever holds them, however that ends.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
    /// Length of each, bytes.
    length: u64,
    zeroed: Option<File>,
}

impl Scratch {
    /// In `dir`, of so many bytes each.
    pub fn new(dir: &Path, length: u64) -> Self {
        Self { dir: dir.to_owned(), length, zeroed: None }
    }

    fn failed(&self, error: io::Error) -> ProbeError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ProbeError::Full(self.dir.clone()),
            _ => ProbeError::Write(self.dir.clone(), error),
        }
    }

    fn nameless(&self) -> Result<File, ProbeError> {
        let make = |error| ProbeError::Make(self.dir.clone(), error);
        let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        match rustix::fs::open(&self.dir, flags | OFlags::TMPFILE, mode) {
            Ok(file) => Ok(file.into()),
            // Some file systems make no such files: then it has a name for a moment.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
                let path = self.dir.join(format!(".ringkeeper-tune-{}", std::process::id()));
                let file = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL, mode).map_err(|e| make(e.into()))?;
                std::fs::remove_file(&path).map_err(make)?;
                Ok(file.into())
            }
            Err(error) => Err(make(error.into())),
        }
    }

    /// Tries whether anything can be written here, and says whether O_DIRECT can.
    pub fn has_direct(&self) -> Result<bool, ProbeError> {
        let file = self.nameless()?;
        match opened(&file, OFlags::WRONLY | OFlags::DIRECT) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::INVAL) => Ok(false),
            Err(error) => Err(self.failed(error.into())),
        }
    }

    /// Reserves a file's blocks, and writes them with zeros where that is wanted; durable when it returns.
    fn made(&self, state: State, stop: &AtomicBool) -> Result<File, ProbeError> {
        let file = self.nameless()?;
        if state == State::Growing {
            return Ok(file);
        }
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.length) {
            // Where blocks cannot be reserved, writing them is all that can be done.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) if state == State::Zeroed => {
                let zeros = vec![0; STRIDE];
                let mut at = 0;
                while at < self.length && !stop.load(Ordering::Relaxed) {
                    let len = STRIDE.min(usize::try_from(self.length - at).unwrap_or(STRIDE));
                    file.write_all_at(&zeros[..len], at).map_err(|error| self.failed(error))?;
                    at += len as u64;
                }
            }
            Ok(()) => {}
            Err(error) => return Err(self.failed(error.into())),
        }
        file.sync_all().map_err(|error| self.failed(error))?;
        Ok(file)
    }

    /// Measures one setting for so long, or until the file ends where each place counts once, or until it is told to stop. With
    /// `by_second` what each second has shown is kept apart.
    pub fn measure(
        &mut self,
        setting: Setting,
        length: Duration,
        by_second: bool,
        stop: &AtomicBool,
    ) -> Result<Measured, ProbeError> {
        if setting.state == State::Zeroed && self.zeroed.is_none() {
            self.zeroed = Some(self.made(State::Zeroed, stop)?);
        }
        let fresh = if setting.state == State::Zeroed { None } else { Some(self.made(setting.state, stop)?) };
        let file = fresh.as_ref().or(self.zeroed.as_ref()).expect("one of them was made");
        let mut flags = OFlags::WRONLY;
        flags.set(OFlags::DIRECT, setting.direct);
        flags.set(OFlags::DSYNC, setting.method == Method::Dsync);
        let file = opened(file, flags).map_err(|error| match error {
            rustix::io::Errno::INVAL if setting.direct => ProbeError::NoDirect(self.dir.clone()),
            error => self.failed(error.into()),
        })?;
        let run = Run { file: &file, setting, end: self.length, length, by_second, stop, next: AtomicU64::new(0) };
        run.all().map_err(|error| self.failed(error))
    }
}

/// The same file, opened in another way.
fn opened(file: &File, flags: OFlags) -> Result<File, rustix::io::Errno> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).map(File::from)
}

/// One measurement.
struct Run<'a> {
    file: &'a File,
    setting: Setting,
    /// Where the file ends, bytes.
    end: u64,
    length: Duration,
    by_second: bool,
    stop: &'a AtomicBool,
    next: AtomicU64,
}

impl Run<'_> {
    fn all(&self) -> io::Result<Measured> {
        let measured = Mutex::new(Measured::default());
        let since = Instant::now();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.setting.in_flight).map(|_| scope.spawn(|| self.one(since, &measured))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
        })?;
        let mut measured = measured.into_inner().expect("nobody panicked with it");
        measured.lasted = since.elapsed().as_secs_f64();
        Ok(measured)
    }

    /// Where the next write goes; nothing where the file has no place left that counts.
    fn place(&self) -> Option<u64> {
        let bytes = self.setting.bytes as u64;
        let at = self.next.fetch_add(bytes, Ordering::Relaxed);
        match self.setting.state {
            State::Zeroed => Some(at % (self.end / bytes * bytes)),
            State::Reserved | State::Growing => Some(at).filter(|at| at + bytes <= self.end),
        }
    }

    /// One write after the other.
    fn one(&self, since: Instant, measured: &Mutex<Measured>) -> io::Result<()> {
        // What is written differs from zeros, which some drives do not store at all.
        let memory: Vec<u8> = (0..self.setting.bytes + BLOCK).map(|n| (n % 251) as u8).collect();
        let from = memory.as_ptr().align_offset(BLOCK);
        let bytes = &memory[from..from + self.setting.bytes];
        let (mut times, mut second) = (Times::default(), 0);
        let put = |times: &mut Times, second: usize| {
            let mut measured = measured.lock().expect("nobody panics with it");
            measured.times.add(times);
            if self.by_second {
                let least = measured.seconds.len().max(second + 1);
                measured.seconds.resize_with(least, Times::default);
                measured.seconds[second].add(times);
            }
            times.ns.reset();
        };
        loop {
            let began = Instant::now();
            let after = began.duration_since(since);
            let place = if after < self.length && !self.stop.load(Ordering::Relaxed) { self.place() } else { None };
            let Some(at) = place else { break };
            let this = usize::try_from(after.as_secs()).unwrap_or(usize::MAX);
            if self.by_second && this != second {
                put(&mut times, second);
                second = this;
            }
            self.file.write_all_at(bytes, at)?;
            if self.setting.method == Method::Fdatasync {
                self.file.sync_data()?;
            }
            times.record(began.elapsed());
        }
        put(&mut times, second);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::disk::setting::matrix;

    /// A directory that is on a drive: `TMPDIR` may be memory.
    fn dir() -> tempfile::TempDir {
        tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap()
    }

    #[test]
    fn every_setting_writes_and_leaves_nothing() {
        let dir = dir();
        let mut scratch = Scratch::new(dir.path(), 1 << 20);
        let direct: &[bool] = if scratch.has_direct().unwrap() { &[true, false] } else { &[false] };
        let states = [State::Zeroed, State::Reserved, State::Growing];
        let stop = AtomicBool::new(false);
        for setting in matrix(&states, &[Method::Dsync, Method::Fdatasync], direct, &[4096, 65536], &[1, 3]) {
            let measured = scratch.measure(setting, Duration::from_millis(20), false, &stop).unwrap();
            let count = measured.times.count();
            assert!(count > 0, "{setting:?}");
            assert!(setting.state == State::Zeroed || count <= (1 << 20) / setting.bytes as u64, "{setting:?}: {count}");
            let (p50, p99, max) = (measured.times.quantile_us(0.5), measured.times.quantile_us(0.99), measured.times.max_us());
            assert!(p50 > 0.0 && p50 <= p99 && p99 <= max * 1.01, "{p50} {p99} {max}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the files have no name");
        }
    }

    #[test]
    fn seconds_are_kept_apart_and_stopping_ends_it() {
        let dir = dir();
        let mut scratch = Scratch::new(dir.path(), 1 << 20);
        let setting = Setting { state: State::Zeroed, method: Method::Fdatasync, direct: false, bytes: 4096, in_flight: 2 };
        let stop = AtomicBool::new(false);
        let measured = scratch.measure(setting, Duration::from_millis(1200), true, &stop).unwrap();
        assert_eq!(measured.seconds.len(), 2);
        assert_eq!(measured.seconds.iter().map(Times::count).sum::<u64>(), measured.times.count());
        stop.store(true, Ordering::Relaxed);
        let none = scratch.measure(setting, Duration::from_secs(3600), false, &stop).unwrap();
        assert_eq!(none.times.count(), 0);
    }

    #[test]
    fn a_directory_that_takes_nothing_is_told() {
        let dir = dir();
        let error = Scratch::new(&dir.path().join("none"), 1 << 20).has_direct().unwrap_err().to_string();
        assert!(error.starts_with("cannot make a file in ") && error.contains("No such file"), "{error}");
    }
}
