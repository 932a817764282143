//! Floor 6: fitting the machine and the server to each other.

mod disk;
pub mod doctor;
mod flush;
mod machine;

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Subcommand};
use serde::Serialize;

const LONG: &str = "\
Finds the settings of group commit that suit the drive at hand, by measuring.

First `tune disk`: what does a flush cost here, and do flushes overlap? It needs no server and writes
only files that have no name, so nothing is left behind, whatever ends it.

Then `tune flush`: a server of its own is started on the drive and loaded; which setting answers best?
Its --apply writes the lines into a configuration, and a running server takes them up at once.";

/// Fit group commit to the drive.
#[derive(Args, Debug)]
#[command(long_about = LONG, arg_required_else_help = true)]
pub struct Tune {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Disk(Box<disk::Disk>),
    Flush(Box<flush::Flush>),
}

impl Tune {
    /// Does it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Disk(command) => command.run(),
            Command::Flush(command) => command.run(),
        }
    }
}

/// Why it ended, in one line.
#[derive(Debug)]
struct Failed(String);

impl Failed {
    fn new(why: impl Display) -> Self {
        Self(why.to_string())
    }
}

fn end(outcome: Result<(), Failed>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(why)) => {
            // Where standard error is closed nobody can be told.
            let _ = writeln!(io::stderr().lock(), "ringkeeper: {why}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failed(format!("standard output: {error}")))
}

fn write_json(path: &Path, report: &impl Serialize) -> Result<(), Failed> {
    let mut bytes = serde_json::to_vec_pretty(report).map_err(Failed::new)?;
    bytes.push(b'\n');
    fs::write(path, bytes).map_err(|error| Failed(format!("{}: {error}", path.display())))
}

/// Set by Ctrl-C and SIGTERM; the second of them ends the process at once.
fn stop_flag() -> Result<Arc<AtomicBool>, Failed> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // In this order: the first signal finds the flag unset.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| Failed(format!("signals: {error}")))?;
    }
    Ok(stop)
}

/// A time that something is measured, s.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    if (0.05..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("expected 0.05 to 3600 seconds".to_owned()) }
}

/// A number of things at a time.
fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=64).contains(n)).ok_or_else(|| "expected 1 to 64".to_owned())
}
