//! Floor 6: fitting the machine and the server to each other.

mod disk;
pub mod doctor;
mod flush;
mod machine;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use self::disk::Ground;
use self::machine::Machine;
use crate::server::in_use::worker_of;
use crate::server::recover::LOG;
use crate::show::tell;

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
            tell::tell(&why);
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> Result<(), Failed> {
    tell::print(text).map_err(Failed)
}

/// What a directory lies on. Refuses one that is in use by a server, by its data or by its log, and one that says nothing of a drive or has less
/// than `wanted` bytes of room.
fn survey(dir: &Path, anyway: bool, wanted: u64) -> Result<(PathBuf, Ground), Failed> {
    let dir = dir.canonicalize().map_err(|error| Failed(format!("{}: {error}", dir.display())))?;
    let ground = Ground::of(&Machine::at(Path::new("/")), &dir);
    if let Some(pid) = worker_of(&dir).or_else(|| worker_of(&dir.join(LOG))) {
        let dir = dir.display();
        return Err(Failed(format!(
            "a server works in {dir} (process {pid}): name another directory on its drive, at a quiet time"
        )));
    }
    let room = rustix::fs::statvfs(&dir).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    ground.check(anyway, room, wanted).map_err(Failed::new)?;
    Ok((dir, ground))
}

fn write_json(path: &Path, report: &impl Serialize) -> Result<(), Failed> {
    let mut bytes = serde_json::to_vec_pretty(report).map_err(Failed::new)?;
    bytes.push(b'\n');
    fs::write(path, bytes).map_err(|error| Failed(format!("{}: {error}", path.display())))
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
