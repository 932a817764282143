//! Command: `ringkeeper bench` on the command line.

pub mod echo;
pub mod run;
pub mod verify;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Subcommand};

use super::control::Control;

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
    Verify(verify::Verify),
    Echo(echo::EchoServer),
}

impl Bench {
    /// Does it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Run(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Echo(command) => command.run(),
        }
    }
}

/// Ends the process with one line.
fn failed(line: &str) -> ExitCode {
    // Where standard error is closed nobody can be told.
    let _ = writeln!(std::io::stderr().lock(), "ringkeeper: {line}");
    ExitCode::FAILURE
}

/// Prints a result.
fn print(text: &str) -> Result<(), ExitCode> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| failed(&format!("standard output: {error}")))
}

/// A control that Ctrl-C and SIGTERM stop; the second of them ends the process at once.
fn stoppable(is_quiet: bool, pin: bool) -> Result<Control, ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let ended_by = 128 + signal;
        // In this order: the first signal finds the flag unset.
        signal_hook::flag::register_conditional_shutdown(signal, ended_by, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| failed(&format!("signals: {error}")))?;
    }
    let words: Vec<String> = std::env::args().collect();
    Ok(Control { stop, command: words.join(" "), is_quiet, pin })
}
