//! Keep: the options that say what is kept of a measurement, and where.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use super::{failed, print};
use crate::bench::show::report::Report;
use crate::bench::show::results::Results;

/// What is kept.
#[derive(Args, Clone, Debug)]
pub struct Keep {
    /// Keep everything in a new directory RESULTS/YYYY-MM-DD-TOPIC: tables, pictures, a report, raw data.
    #[arg(long, value_name = "TOPIC")]
    keep: Option<String>,

    /// Where such directories are.
    #[arg(long, value_name = "RESULTS", default_value = "results", requires = "keep")]
    results: PathBuf,

    /// For the record: a path on the disk of the servers' logs.
    #[arg(long, value_name = "PATH", requires = "keep")]
    disk: Option<PathBuf>,

    /// For the record: what the figures do not say; may be given several times.
    #[arg(long = "limit", value_name = "WORDS", requires = "keep")]
    limits: Vec<String>,
}

/// Where it is kept: claimed before the measurement.
pub struct Kept {
    results: Option<Results>,
    disk: Option<PathBuf>,
    limits: Vec<String>,
}

impl Keep {
    /// Makes the directory where one is wanted, so that a disk that takes nothing is known before anything is measured.
    pub fn claim(&self) -> Result<Kept, ExitCode> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let claim = |topic: &String| Results::claim(&self.results, topic, now).map_err(|error| failed(&error.to_string()));
        let results = self.keep.as_ref().map(claim).transpose()?;
        Ok(Kept { results, disk: self.disk.clone(), limits: self.limits.clone() })
    }
}

impl Kept {
    /// Writes the report, if it is to be kept, and says where it is.
    pub fn write(self, mut report: Report<'_>) -> Result<(), ExitCode> {
        let Some(results) = self.results else { return Ok(()) };
        report.limits.extend(self.limits);
        let directory = results.keep(&report, self.disk.as_deref()).map_err(|error| failed(&error.to_string()))?;
        print(&format!("kept in {}\n", directory.display()))
    }
}
