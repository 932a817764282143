//! Record: what one run has measured, as `--json` writes it and every table and picture reads it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::spec::Spec;
use crate::show::latency::Latency;

/// The format that this release writes; it reads this and all before it.
pub const FORMAT: u32 = 1;

/// Why a file is no record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read or written.
    #[error("cannot {0} {1}: {2}")]
    File(&'static str, String, std::io::Error),
    /// It says something else.
    #[error("{0} is not a record of a run: {1}")]
    Malformed(String, serde_json::Error),
    /// A later release wrote it.
    #[error("{0} has format {1}, this release reads up to {FORMAT}: use the release that wrote it")]
    TooNew(String, u32),
}

/// What one run has measured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form.
    pub format: u32,
    /// The command line that made it.
    pub command: String,
    /// Where the load went.
    pub target: Target,
    /// What was asked.
    pub spec: Spec,
    /// Where the load came from; several where files were merged.
    pub machines: Vec<Machine>,
    /// When the measurement began, ms since 1970.
    pub began_unix_ms: u64,
    /// Seconds measured.
    pub seconds: f64,
    /// Why it ended before its time, where it did: the figures are those of the time until then.
    pub ended_early: Option<String>,
    /// Arrivals and what became of them.
    pub arrivals: Arrived,
    /// By name of the operation.
    pub operations: BTreeMap<String, Operation>,
    /// Second by second.
    pub slices: Vec<Slice>,
    /// Times in which requests waited and none was answered.
    pub stalls: Vec<Stall>,
    /// What the load itself took of the machine.
    pub generator: Generator,
}

/// Where the load went.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Target {
    /// Name in tables and pictures.
    pub label: String,
    /// The servers, `host:port`.
    pub servers: Vec<String>,
    /// What the first of them says of its version (four-letter word `srvr`), where it says something.
    pub version: Option<String>,
    /// Voting servers, as far as it is known: 1 for a standalone one.
    pub quorum: Option<u32>,
    /// How its writes are made durable, as told by who ran it.
    pub durability: Option<String>,
}

/// Arrivals and what became of them, in the measured time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Arrived {
    /// Requests that were to start.
    pub offered: u64,
    /// Answered, errors included.
    pub answered: u64,
    /// Started late because all connections had as many in flight as they may; their latency counts the wait.
    pub delayed: u64,
    /// Never started, because too many waited.
    pub dropped: u64,
    /// Started but unanswered when the time was over.
    pub unanswered: u64,
}

/// One kind of operation.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Operation {
    /// Latencies of those that succeeded.
    pub latency: Latency,
    /// Errors by the protocol's name of their code.
    pub errors: BTreeMap<String, u64>,
}

/// One second.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Slice {
    /// Requests that were to start in it.
    pub offered: u64,
    /// Errors answered in it.
    pub errors: u64,
    /// Latencies of what was answered in it, all operations together.
    pub latency: Latency,
}

/// A time in which requests waited and none was answered.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Stall {
    /// Seconds since the measurement began.
    pub at: f64,
    /// Milliseconds.
    pub ms: f64,
}

/// What the load itself took of the machine.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Generator {
    /// Processor time of its threads in the measured time, seconds.
    pub processor_seconds: f64,
    /// Cores there are.
    pub cores: usize,
    /// How late requests of the open loop left, us, in the 99th percentile: what the tool adds to a latency.
    pub late_p99_us: u64,
}

impl Generator {
    /// Its part of the machine, 0 to 1, over `seconds`.
    #[must_use]
    pub fn share(&self, seconds: f64) -> f64 {
        self.processor_seconds / (seconds * self.cores.max(1) as f64)
    }
}

/// A machine.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Its processor.
    pub processor: String,
    /// Cores that may be used.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Version of the tool.
    pub tool: String,
}

impl Record {
    /// Answers a second, errors included.
    #[must_use]
    pub fn achieved(&self) -> f64 {
        if self.seconds > 0.0 { self.arrivals.answered as f64 / self.seconds } else { 0.0 }
    }

    /// Arrivals a second.
    #[must_use]
    pub fn offered(&self) -> f64 {
        if self.seconds > 0.0 { self.arrivals.offered as f64 / self.seconds } else { 0.0 }
    }

    /// All operations together.
    #[must_use]
    pub fn all(&self) -> Latency {
        let mut all = Latency::default();
        for operation in self.operations.values() {
            all.add(&operation.latency);
        }
        all
    }

    /// Errors of all operations.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.operations.values().flat_map(|operation| operation.errors.values()).sum()
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| RecordError::File("read", name.clone(), error))?;
        let format: Format = serde_json::from_str(&text).map_err(|error| RecordError::Malformed(name.clone(), error))?;
        if format.format > FORMAT {
            return Err(RecordError::TooNew(name, format.format));
        }
        serde_json::from_str(&text).map_err(|error| RecordError::Malformed(name, error))
    }

    /// Writes a file, in place of one that is there.
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        let text = serde_json::to_string_pretty(self).expect("a record has a form in JSON");
        std::fs::write(path, text + "\n").map_err(|error| RecordError::File("write", path.display().to_string(), error))
    }
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}
