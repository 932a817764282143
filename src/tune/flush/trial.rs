//! Trial: a server of its own in a directory of its own, asked by the bench. Both are this program, so what is measured is the whole.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::knobs::{DEFAULT, Knobs};
use crate::client::started::Started;
use crate::client::word;
use crate::server::in_use::worker_of;
use crate::server::recover::LOG;
use crate::show::latency::Latency;
use crate::show::tell::tell;
use crate::tune::Failed;

/// What names of such directories begin with; the rest is the process that made it.
const PREFIX: &str = "ringkeeper-tune-";

/// How long a server may take to start, to stop, and to answer a word.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server that is there for the measurement alone. It ends, and its directory is removed, when this is dropped.
#[derive(Debug)]
pub struct Trial {
    dir: PathBuf,
    started: Started,
    address: SocketAddr,
    program: PathBuf,
    /// Lines of its configuration.
    more: Vec<String>,
}

/// What is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Writes a second; none is as many as it can.
    pub rate: Option<f64>,
    /// Seconds measured.
    pub seconds: f64,
    /// Seconds of the same load before.
    pub warmup: f64,
    /// Connections.
    pub connections: usize,
    /// Bytes of a value.
    pub value_size: usize,
}

/// What the bench tells of a run, as far as it is of interest here.
#[derive(Deserialize)]
struct Told {
    ended_early: Option<String>,
    seconds: f64,
    arrivals: Arrived,
    operations: BTreeMap<String, Operation>,
}

#[derive(Deserialize)]
struct Arrived {
    offered: u64,
    answered: u64,
    dropped: u64,
}

#[derive(Deserialize)]
struct Operation {
    latency: Latency,
}

/// What one measurement has shown. Times are us.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Seen {
    /// Half of the writes took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// Writes answered a second.
    pub achieved: f64,
    /// All that was offered was answered.
    pub carried: bool,
}

impl Trial {
    /// Starts it below `dir`, with lines more in its configuration. What an earlier one has left there is removed.
    pub fn start(dir: &Path, more: &[String]) -> Result<Self, Failed> {
        remove_leftovers(dir)?;
        let program = std::env::current_exe().map_err(|error| Failed(format!("cannot find this program: {error}")))?;
        let own = dir.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&own).map_err(|error| Failed(format!("{}: {error}", own.display())))?;
        let started = Self::start_in(&own, program, more);
        if started.is_err() {
            // What could not be started leaves nothing either.
            let _ = fs::remove_dir_all(&own);
        }
        started
    }

    fn start_in(dir: &Path, program: PathBuf, more: &[String]) -> Result<Self, Failed> {
        write_config(dir, &DEFAULT, more)?;
        let mut command = Command::new(&program);
        command
            .args(["serve", "zoo.cfg", "--listen", "127.0.0.1:0", "--data-dir", "data", "--log-level", "warn"])
            .current_dir(dir);
        let mut started =
            Started::start(&mut command).map_err(|error| Failed(format!("cannot start {}: {error}", program.display())))?;
        let since = Instant::now();
        loop {
            let text = started.said();
            let ready = text.lines().find_map(|line| line.strip_prefix("ready: ")?.split(' ').next()?.parse().ok());
            if let Some(address) = ready {
                return Ok(Self { dir: dir.to_owned(), started, address, program, more: more.to_vec() });
            }
            if !matches!(started.ended(), Ok(None)) || since.elapsed() > PATIENCE {
                return Err(Failed(format!("the server did not start; its last words: {}", started.last_words())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// From now on it commits like this: the file is written anew, and the server is told.
    pub fn set(&mut self, knobs: &Knobs) -> Result<(), Failed> {
        write_config(&self.dir, knobs, &self.more)?;
        let answer = word::ask(self.address, "rlod", PATIENCE)
            .map_err(|error| Failed(format!("the server does not answer: {error}; {}", self.started.last_words())))?;
        if answer.contains("restart") || answer.contains("nothing is changed") || answer.contains("takes longer") {
            return Err(Failed(format!("the server does not take {knobs}: {answer}")));
        }
        Ok(())
    }

    /// Measures a load. `None` where it was told to stop.
    pub fn measure(&mut self, load: &Load, stop: &AtomicBool) -> Result<Option<Seen>, Failed> {
        let record = self.dir.join("run.json");
        let mut bench = Command::new(&self.program);
        bench.args(["bench", "run", "--workload", "set", "--quiet", "--servers", &self.address.to_string()]);
        bench.args(["--connections", &load.connections.to_string(), "--value-size", &load.value_size.to_string()]);
        bench.args(["--seconds", &load.seconds.to_string(), "--warmup", &load.warmup.to_string(), "--json"]).arg(&record);
        match load.rate {
            Some(rate) => bench.args(["--in-flight", "256", "--rate", &rate.to_string()]),
            None => bench.args(["--in-flight", "32", "--closed"]),
        };
        let out = bench.stdin(Stdio::null()).output().map_err(|error| Failed(format!("cannot start the bench: {error}")))?;
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let said = || String::from_utf8_lossy(&out.stderr).trim().to_owned();
        if !out.status.success() {
            return Err(Failed(format!("the bench failed: {}; the server's last words: {}", said(), self.started.last_words())));
        }
        let text = fs::read_to_string(&record).map_err(|error| Failed(format!("{}: {error}", record.display())))?;
        let told: Told = serde_json::from_str(&text).map_err(|error| Failed(format!("{}: {error}", record.display())))?;
        if let Some(why) = told.ended_early {
            return Err(Failed(format!("the bench ended early: {why}; the server's last words: {}", self.started.last_words())));
        }
        let latency = told.operations.get("set").map(|operation| &operation.latency);
        let at = |part| latency.map_or(0.0, |latency| latency.quantile_us(part) as f64);
        let Arrived { offered, answered, dropped } = told.arrivals;
        let achieved = answered as f64 / told.seconds.max(1e-9);
        // What came last is under way when the time is over.
        let under_way = load.rate.unwrap_or(0.0) * (at(0.99) / 1e6).min(load.seconds / 10.0);
        let carried = load.rate.is_none() || dropped == 0 && answered as f64 + under_way >= offered as f64 * 0.97;
        Ok(Some(Seen { p50: at(0.5), p99: at(0.99), achieved, carried }))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.started.stop();
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tell(&format!("{}: {error}; it can be removed", self.dir.display()));
        }
    }
}

fn write_config(dir: &Path, knobs: &Knobs, more: &[String]) -> Result<(), Failed> {
    let rest = "clientPort=2181\ndataDir=data\n4lw.commands.whitelist=rlod,mntr\nmaxClientCnxns=0\npreAllocSize=16384\n";
    let path = dir.join("zoo.cfg");
    let more: String = more.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&path, format!("{rest}{more}{}\n", knobs.lines().join("\n")))
        .map_err(|error| Failed(format!("{}: {error}", path.display())))
}

/// Removes what was left by one that was killed. Nothing else has such a name, and one in which a server works stays.
fn remove_leftovers(dir: &Path) -> Result<(), Failed> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error| Failed(format!("{path}: {error}"))
    };
    for entry in fs::read_dir(dir).map_err(failed(dir))? {
        let entry = entry.map_err(failed(dir))?;
        let path = entry.path();
        let is_ours = entry.file_name().to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok()).is_some();
        if !is_ours || !path.is_dir() {
            continue;
        }
        if let Some(pid) = worker_of(&path.join("data").join(LOG)) {
            return Err(Failed(format!("{}: a server of an earlier measurement still works there: kill {pid}", path.display())));
        }
        fs::remove_dir_all(&path).map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["ringkeeper-tune-123", "ringkeeper-tune-mine", "data"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("a"), "a").unwrap();
        }
        fs::write(dir.path().join("ringkeeper-tune-7"), "a file").unwrap();
        remove_leftovers(dir.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["data", "ringkeeper-tune-7", "ringkeeper-tune-mine"]);
    }
}
