//! `ringkeeper recover`: what an ensemble has lost for good is told, and accepted where an operator says so.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::logging;
use super::serve::property;
use crate::runtime::clock::Clock;
use crate::server::config::reader::{Request, read};
use crate::server::config::resolve::Overrides;
use crate::server::recover::loss::Case;
use crate::show::tell::tell;

const LONG: &str = "\
For an ensemble that has lost its majority for good.

A server that may have forgotten what it acknowledged is impaired: it has no vote until a leader has
restored it. So is one whose disk is new, and one beside whose log an operator has made a file
\"impaired\" because the data are an old copy. When too few servers are left that are not impaired,
nobody leads and nobody is restored. If what is gone cannot be brought back, one impaired server
after the other can be given its vote as it is. Whatever only those had that are gone is lost then.

Without --accept-loss it says what is there and what may be lost, and changes nothing. The server
must be stopped.";

const AFTER: &str = "\
What to do, with three servers of which two have lost their disks:
  1. Leave the one that has data as it is; start it if it is stopped. It has its vote.
  2. Start the other two with empty disks. They wait, or say that they learn without a vote.
  3. Stop ONE of them: with the one that has data it makes a majority.
  4. ringkeeper recover /etc/zookeeper/zoo.cfg                  there, and read what it says
  5. ringkeeper recover /etc/zookeeper/zoo.cfg --accept-loss    there, and start it again
Never give an empty server its vote while more than a minority of the others is empty AND has one:
they would agree on having nothing, and whoever has data would follow them.
Among servers that all have some data, begin with the one whose zxid is the highest.

Exit codes: 0 told, or done; 1 there is nothing to accept, or it could not be done; 2 wrong usage.";

/// Give an impaired server of an ensemble its vote back, with what it has.
#[derive(Args, Debug)]
#[command(long_about = LONG, after_long_help = AFTER)]
pub struct Recover {
    /// The server's zoo.cfg.
    config: PathBuf,

    /// A system property, as `serve` takes it.
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,

    /// Where the server keeps everything, whatever dataDir and dataLogDir say.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Accept what is lost: the server has its vote from its next start on.
    #[arg(long)]
    accept_loss: bool,

    /// The newest epoch that anybody knows the ensemble had.
    ///
    /// The first eight digits of a zxid of 16 hexadecimal digits, here as a decimal number: of a server that is
    /// gone, or in a client's log. Where nobody knows, leave it out: 1000 epochs are left out in any case.
    #[arg(verbatim_doc_comment, long, value_name = "EPOCH", default_value_t = 0)]
    beyond_epoch: u32,
}

impl Recover {
    /// Tells, and accepts.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let done = logging::start(None).and_then(|_| self.go());
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(line) => {
                tell(&line);
                ExitCode::FAILURE
            }
        }
    }

    fn go(self) -> Result<(), String> {
        // Nothing listens, so it does not matter where a server would: it may be told that on its own command line.
        let listen = Some("127.0.0.1:0".to_owned());
        let overrides = Overrides { data_dir: self.data_dir, listen, ..Overrides::default() };
        let request = Request { config: Some(self.config), properties: self.properties, overrides, strict: false };
        let config = read(&request).map_err(|error| error.to_string())?.config;
        let clock = Clock::default();
        let case = Case::open(&config, self.beyond_epoch, clock).map_err(|error| error.to_string())?;
        // Told before anything is done: who cannot be told has accepted nothing.
        let told = |line: &str| {
            let mut out = io::stdout().lock();
            writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| format!("standard output: {error}"))
        };
        told(&case.loss().to_string())?;
        if !self.accept_loss {
            return told(
                "nothing was changed; with --accept-loss the server has its vote from its next start on, with what is there",
            );
        }
        let loss = case.accept(&config, clock).map_err(|error| error.to_string())?;
        told(&format!("accepted: the server has its vote from its next start on, with what is there up to zxid {}", loss.last()))
    }
}
