//! `ringkeeper log`: reads a server's log and never writes to it.

mod counter;
pub mod dump;
mod entry;
mod hot;
mod rate;
#[cfg(test)]
mod sample;
mod source;
pub mod stats;
pub mod verify;
mod walk;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::outcome::end;

const AFTER: &str = "\
Examples:
  ringkeeper log verify /srv/ringkeeper                      would a server start from it?
  ringkeeper log dump /srv/ringkeeper --path /config         who changed what, when
  ringkeeper log stats /srv/ringkeeper                       what was written most

Nothing is changed and no lock is taken: a directory in which a server works can be read too.

Exit codes: 0 fine, 1 damaged, 2 wrong usage or nothing to read.";

/// Read a server's log: print it, check it, count it.
#[derive(Args, Debug)]
#[command(disable_help_subcommand = true, arg_required_else_help = true, after_help = AFTER)]
pub struct Log {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Subcommand, Debug)]
enum LogCommand {
    Dump(dump::Dump),
    Verify(verify::Verify),
    Stats(stats::Stats),
}

impl Log {
    /// Does what was asked for.
    #[must_use]
    pub fn run(self) -> ExitCode {
        end(match self.command {
            LogCommand::Dump(command) => command.run(),
            LogCommand::Verify(command) => command.run(),
            LogCommand::Stats(command) => command.run(),
        })
    }
}
