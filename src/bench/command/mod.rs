//! Command: `ringkeeper bench` on the command line.

pub mod compare;
pub mod echo;
mod keep;
mod load;
mod place;
pub mod run;
pub mod show;
pub mod sweep;
pub mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::control::Control;
use super::merge::Merge;
use crate::show::tell;

const LONG: &str = "\
Measures what clients wait for, on any server that speaks the ZooKeeper client protocol.

Requests arrive at their rate whether the server keeps up or not, and their latency counts from the
moment at which they were meant to start. So a server that stands still for 200 ms is told with
200 ms, and with all the requests that came meanwhile; a closed loop, which waits for an answer
before it asks again, would tell one.";

const AFTER: &str = "\
Examples:
  ringkeeper bench run                                     1,000 reads a second for 10 s, from 127.0.0.1:2181
  ringkeeper bench run --workload mixed --rate 20000 --json mixed.json
  ringkeeper bench sweep --workload set --ladder rate=1000..64000*2
  ringkeeper bench compare ours=127.0.0.1:2181 theirs=127.0.0.1:2281 --workload mixed --rate 20000
  ringkeeper bench verify                                  does the tool tell the truth on this machine?

Exit codes: 0 measured, 1 could not run or ended early, 2 wrong usage.";

/// Measure latency under load.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = AFTER, arg_required_else_help = true)]
pub struct Bench {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Run(Box<run::Run>),
    Compare(Box<compare::Compare>),
    Sweep(Box<sweep::Sweep>),
    Merge(Merge),
    Show(show::Show),
    Verify(verify::Verify),
    Echo(echo::EchoServer),
}

impl Bench {
    /// Does it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Run(command) => command.run(),
            Command::Compare(command) => command.run(),
            Command::Sweep(command) => command.run(),
            Command::Merge(command) => command.run(),
            Command::Show(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Echo(command) => command.run(),
        }
    }
}

/// Ends the process with one line.
fn failed(line: &str) -> ExitCode {
    tell::tell(line);
    ExitCode::FAILURE
}

/// Prints a result.
fn print(text: &str) -> Result<(), ExitCode> {
    tell::print(text).map_err(|line| failed(&line))
}

/// A control that Ctrl-C and SIGTERM stop; the second of them ends the process at once.
fn stoppable(is_quiet: bool, pin: bool) -> Result<Control, ExitCode> {
    let stop = tell::stop_flag().map_err(|line| failed(&line))?;
    let words: Vec<String> = std::env::args().collect();
    Ok(Control { stop, command: words.join(" "), is_quiet, pin })
}
