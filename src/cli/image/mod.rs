//! `ringkeeper image`: reads a server's images and never writes to them.

pub mod compare;
pub mod dump;
mod source;
pub mod top;
pub mod verify;
mod znode;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::outcome::end;

const AFTER: &str = "\
Examples:
  ringkeeper image verify /srv/ringkeeper                     are they whole?
  ringkeeper image dump /srv/ringkeeper --path /config        what was there
  ringkeeper image compare /srv/one /srv/two                  what is different
  ringkeeper image top /srv/ringkeeper                        what is large

Where a directory is named, the newest image in it or in its directory images is meant. Nothing is changed and no lock is
taken: an image that has its name is never changed by a server either.

Exit codes: 0 fine, 1 damaged or different, 2 wrong usage or nothing to read.";

/// Read a server's images: print, check, compare, weigh.
#[derive(Args, Debug)]
#[command(disable_help_subcommand = true, arg_required_else_help = true, after_help = AFTER)]
pub struct Image {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Subcommand, Debug)]
enum ImageCommand {
    Dump(dump::Dump),
    Verify(verify::Verify),
    Compare(compare::Compare),
    Top(top::Top),
}

impl Image {
    /// Does what was asked for.
    #[must_use]
    pub fn run(self) -> ExitCode {
        end(match self.command {
            ImageCommand::Dump(command) => command.run(),
            ImageCommand::Verify(command) => command.run(),
            ImageCommand::Compare(command) => command.run(),
            ImageCommand::Top(command) => command.run(),
        })
    }
}
